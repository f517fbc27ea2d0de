//! [`Poller`]: Go's contract, `new open close poll wake`, over the table, the deadline queue and a back-end; and [`Io`], the poller as one waiter sees it.

use core::cell::Cell;
use core::fmt;
use core::task::Poll;
use core::time::Duration;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::arch::Selector;
use crate::breaker::{BreakPipe, Breaker};
use crate::deadline::{Node, Queue, QueueState};
use crate::error::{Error, Rejected};
use crate::gates::Waiter;
use crate::interest::{Direction, Interest};
use crate::storage::Slots;
use crate::table::{NOBODY, Owner, PollDesc, Step, Table, TableState, Turn, edge};
use crate::time::{Clock, Instant};
use crate::token::Token;

/// How long a poll may block.
///
/// ```
/// use core::time::Duration;
/// use netpoll::Timeout;
/// assert!(matches!(Timeout::from(Duration::from_millis(5)), Timeout::After(_)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timeout {
    /// Until somebody is to be run.
    Never,
    /// Not at all.
    Now,
    /// Until this moment on the poller's clock at the latest.
    At(Instant),
    /// For this long at the most.
    After(Duration),
}

impl From<Duration> for Timeout {
    fn from(after: Duration) -> Timeout {
        Timeout::After(after)
    }
}

impl From<Instant> for Timeout {
    fn from(at: Instant) -> Timeout {
        Timeout::At(at)
    }
}

/// What a poll came back with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Polled {
    /// How many waiters were handed out.
    pub waiters: u32,
    /// Whether a [`Breaker`] was used since the last poll.
    pub woken: bool,
}

/// Counters of a poller's life; they only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Calls into the kernel's wait (`epoll_pwait`).
    pub polls: u64,
    /// Events that the kernel reported, without those of the break pipe.
    pub events: u64,
    /// Events for a use of a slot that was over, and which nobody saw.
    pub stale_events: u64,
    /// Times that the break pipe was found full; any number of wakes in between is one.
    pub wakes: u64,
    /// Deadline entries that came up, those that had been pushed out or withdrawn meanwhile included.
    pub deadlines: u64,
    /// Descriptors that the kernel did not know any more when they were closed: somebody else had closed them.
    pub lost_descriptors: u64,
    /// Times that a handler said `Pending` and waits for nothing: only a notification can run it.
    pub parked_handlers: u64,
    /// Slots whose 2³² generations are used up, in the table of descriptors.
    pub retired_slots: u64,
}

/// What a handler's operations leave for the reactor to see when it has run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marks(u8);

impl Marks {
    /// Nothing happened.
    pub(crate) const NONE: Marks = Marks(0);
    /// A gate was waited for, or a notification.
    pub(crate) const WAITED: Marks = Marks(1);
    /// A budget was spent, or the handler wants to be run again.
    pub(crate) const YIELDED: Marks = Marks(1 << 1);
    /// It cannot go on before a slot is freed, or could do better then.
    pub(crate) const ROOM: Marks = Marks(1 << 2);
    /// It ended itself.
    pub(crate) const ENDED: Marks = Marks(1 << 3);
    /// Its list of descriptors has changed.
    pub(crate) const OWNED: Marks = Marks(1 << 4);
    /// A slot was freed. Stays until the reactor has looked.
    pub(crate) const FREED: Marks = Marks(1 << 5);

    #[inline]
    pub(crate) fn set(&mut self, marks: Marks) {
        self.0 |= marks.0;
    }

    #[inline]
    pub(crate) fn has(self, marks: Marks) -> bool {
        self.0 & marks.0 != 0
    }

    /// Forgets all but these.
    #[inline]
    pub(crate) fn keep(&mut self, marks: Marks) {
        self.0 &= marks.0;
    }
}

/// The part of a poller that is not its tables.
#[derive(Debug)]
pub(crate) struct PollerState {
    table: TableState,
    queue: QueueState,
    clock: Clock,
    /// The time of this pass, once somebody has asked.
    now: Option<Instant>,
    stats: Stats,
    /// Of the handler that runs, or ran last; none on a bare poller.
    pub(crate) turn: Option<Turn>,
    /// Where the list of the running handler's descriptors begins.
    pub(crate) owned: u32,
    pub(crate) marks: Marks,
    /// The reactor's table of handlers has no room.
    pub(crate) handlers_full: bool,
}

impl PollerState {
    fn new(clock: Clock) -> PollerState {
        PollerState {
            table: TableState::new(),
            queue: QueueState::new(),
            clock,
            now: None,
            stats: Stats::default(),
            turn: None,
            owned: u32::MAX,
            marks: Marks::NONE,
            handlers_full: false,
        }
    }

    #[inline]
    fn now(&mut self) -> Instant {
        match self.now {
            Some(now) => now,
            None => *self.now.insert(self.clock.now()),
        }
    }

    pub(crate) fn count_deadline(&mut self) {
        self.stats.deadlines += 1;
    }

    pub(crate) fn count_parked(&mut self) {
        self.stats.parked_handlers += 1;
    }

    fn stats(&self) -> Stats {
        Stats { retired_slots: self.table.retired().into(), ..self.stats }
    }
}

/// Lent storage taken apart.
#[derive(Debug)]
pub struct PollerParts<'s> {
    pipe: &'s BreakPipe,
    #[cfg(feature = "alloc")]
    shared_pipe: Option<&'s alloc::sync::Arc<BreakPipe>>,
    slots: Slots<'s, PollDesc<OwnedFd>>,
    nodes: Slots<'s, Node>,
}

mod sealed {
    pub trait Sealed {}
}

/// Storage that a [`Poller`] can be made on: [`PollerStorage`], or `BoxedPollerStorage` under `alloc`.
pub trait LendPoller: sealed::Sealed {
    /// Empties the storage and makes a new break pipe in it.
    #[doc(hidden)]
    fn lend(&mut self) -> Result<PollerParts<'_>, Error>;
}

/// Room for a [`Poller`] of `N` descriptors: 80 bytes for each, and 500 once.
///
/// Put it into a `static` (in a `static_cell::ConstStaticCell`, say), or, if it is small, on the stack. Nothing is touched before it is used, and a `static` of any
/// `N` lies in `.bss`.
#[derive(Debug)]
pub struct PollerStorage<const N: usize> {
    pipe: BreakPipe,
    slots: heapless::Vec<PollDesc<OwnedFd>, N>,
    nodes: heapless::Vec<Node, N>,
}

impl<const N: usize> PollerStorage<N> {
    /// Empty storage.
    pub const fn new() -> PollerStorage<N> {
        const { assert!(N < u32::MAX as usize, "a token's index has 32 bits") };
        PollerStorage { pipe: BreakPipe::new(), slots: heapless::Vec::new(), nodes: heapless::Vec::new() }
    }
}

impl<const N: usize> Default for PollerStorage<N> {
    fn default() -> PollerStorage<N> {
        PollerStorage::new()
    }
}

impl<const N: usize> sealed::Sealed for PollerStorage<N> {}

impl<const N: usize> LendPoller for PollerStorage<N> {
    fn lend(&mut self) -> Result<PollerParts<'_>, Error> {
        self.pipe.open()?;
        Ok(PollerParts {
            pipe: &self.pipe,
            #[cfg(feature = "alloc")]
            shared_pipe: None,
            slots: Slots::Lent(&mut self.slots),
            nodes: Slots::Lent(&mut self.nodes),
        })
    }
}

/// Room for a [`Poller`] on the heap, with a capacity chosen at run time. Allocates when it is made and never again.
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct BoxedPollerStorage {
    pipe: alloc::sync::Arc<BreakPipe>,
    slots: alloc::vec::Vec<PollDesc<OwnedFd>>,
    nodes: alloc::vec::Vec<Node>,
}

#[cfg(feature = "alloc")]
impl BoxedPollerStorage {
    /// Room for `descriptors` descriptors. Pages are touched when they are first used, not now.
    pub fn with_capacity(descriptors: usize) -> BoxedPollerStorage {
        BoxedPollerStorage {
            pipe: alloc::sync::Arc::new(BreakPipe::new()),
            slots: alloc::vec::Vec::with_capacity(descriptors),
            nodes: alloc::vec::Vec::with_capacity(descriptors),
        }
    }
}

#[cfg(feature = "alloc")]
impl sealed::Sealed for BoxedPollerStorage {}

#[cfg(feature = "alloc")]
impl LendPoller for BoxedPollerStorage {
    fn lend(&mut self) -> Result<PollerParts<'_>, Error> {
        // A new one each time: shared breakers of an earlier poller keep theirs, which says `Closed`.
        let mut pipe = BreakPipe::new();
        pipe.open()?;
        self.pipe.close();
        self.pipe = alloc::sync::Arc::new(pipe);
        Ok(PollerParts {
            pipe: &self.pipe,
            shared_pipe: Some(&self.pipe),
            slots: Slots::Boxed(&mut self.slots),
            nodes: Slots::Boxed(&mut self.nodes),
        })
    }
}

/// The network poller: owns descriptors, remembers what the kernel said of them, and says *who is to be run*. Go's `runtime/netpoll.go`.
///
/// This is the layer for authors of runtimes, who have tasks of their own; programs without one take a [`Reactor`](crate::Reactor). All operations
/// on descriptors go through [`io`](Poller::io), in the name of a [`Waiter`]: a number that stands for a task.
///
/// ```
/// use core::task::Poll;
/// use netpoll::{Direction, Interest, Poller, PollerStorage, Timeout, Waiter};
///
/// let mut storage = PollerStorage::<16>::new();
/// let mut poller = Poller::new(&mut storage)?;
/// let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
///
/// let task = Waiter::new(1);
/// let token = poller.io(task).open(ours, Interest::READ)?;
/// let mut byte = [0];
/// let mut read = |poller: &mut Poller| poller.io(task).poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut byte));
/// assert_eq!(read(&mut poller), Poll::Pending); // one `read`, EAGAIN: the task waits
///
/// rustix::io::write(&theirs, b"x").unwrap();
/// let mut run = Vec::new();
/// poller.poll(Timeout::Never, |waiter| run.push(waiter))?;
/// assert_eq!(run, [task]);
/// assert_eq!(read(&mut poller), Poll::Ready(Ok(1)));
/// # Ok::<(), netpoll::Error>(())
/// ```
///
/// Dropping a poller closes its descriptors; it does not unregister them, so that a forked child that drops its copy leaves the parent's registrations alone.
#[derive(Debug)]
pub struct Poller<'s> {
    selector: Selector,
    state: PollerState,
    parts: PollerParts<'s>,
}

static_assertions::assert_impl_all!(Poller<'static>: Send);

impl<'s> Poller<'s> {
    /// A poller on the monotonic clock. Storage that an earlier poller was forgotten on is emptied first.
    ///
    /// Calls `epoll_create1`, `pipe2` and `epoll_ctl` (Go's `netpollinit`).
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EMFILE`, `ENFILE` or `ENOMEM` when the kernel has no descriptor or memory left, `ENOSPC` when the user's limit of epoll watches is reached.
    pub fn new<S: LendPoller>(storage: &'s mut S) -> Result<Poller<'s>, Error> {
        Poller::with_clock(storage, Clock::Monotonic)
    }

    /// As [`new`](Poller::new), on another clock.
    ///
    /// # Errors
    ///
    /// As [`new`](Poller::new).
    pub fn with_clock<S: LendPoller>(storage: &'s mut S, clock: Clock) -> Result<Poller<'s>, Error> {
        Poller::on_parts(storage.lend()?, clock)
    }

    pub(crate) fn on_parts(parts: PollerParts<'s>, clock: Clock) -> Result<Poller<'s>, Error> {
        let selector = Selector::new().inspect_err(|_| parts.pipe.close())?;
        let mut poller = Poller { selector, state: PollerState::new(clock), parts };
        poller.io(Waiter::new(NOBODY)).clear();
        if let Some(read_end) = poller.parts.pipe.read_end() {
            poller.selector.open_break(read_end, Token::BREAK)?;
        }
        Ok(poller)
    }

    /// The time of this pass.
    pub(crate) fn now(&mut self) -> Instant {
        self.state.now()
    }

    /// The earlier of a timeout and a moment.
    pub(crate) fn earlier(&self, timeout: Timeout, at: Instant) -> Timeout {
        match timeout {
            Timeout::Never => Timeout::At(at),
            Timeout::Now => Timeout::Now,
            Timeout::At(other) => Timeout::At(at.min(other)),
            Timeout::After(after) => Timeout::At(at.min(self.state.clock.now() + after)),
        }
    }

    /// The poller as `waiter` sees it: every operation on descriptors.
    ///
    /// On a bare poller any waiter may use any descriptor; when two wait for the same direction of one, the last one is run, as with futures.
    #[inline]
    pub fn io(&mut self, waiter: Waiter) -> Io<'_> {
        self.io_of(waiter, NOBODY)
    }

    #[inline]
    pub(crate) fn io_of(&mut self, waiter: Waiter, owner: Owner) -> Io<'_> {
        let PollerParts { slots, nodes, .. } = &mut self.parts;
        Io { selector: &self.selector, state: &mut self.state, slots: slots.reborrow(), nodes: nodes.reborrow(), waiter, owner }
    }

    #[inline]
    pub(crate) fn state(&mut self) -> &mut PollerState {
        &mut self.state
    }

    /// Waits until somebody is to be run, and hands them to `each`: whoever waited for what the kernel reports, for a deadline that has passed, or for a descriptor
    /// that was closed since. Go's `netpoll`.
    ///
    /// A waiter may come out more than once. Signals do not end the wait (use a [`Breaker`]), nor does anything else that leaves nobody to run.
    /// Deadlines are never early; they are late by up to one unit of the kernel's wait, 1 ms, or 1 ns with `linux_5_11`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the wait fails, which takes a seccomp filter or somebody who closed the poller's descriptors.
    pub fn poll(&mut self, timeout: impl Into<Timeout>, mut each: impl FnMut(Waiter)) -> Result<Polled, Error> {
        let PollerParts { pipe, slots, nodes, .. } = &mut self.parts;
        let state = &mut self.state;
        let (waiters, mut woken) = (Cell::new(0), false);
        let mut each = |waiter| {
            waiters.set(waiters.get() + 1);
            each(waiter);
        };
        let until = match timeout.into() {
            Timeout::Never => None,
            Timeout::Now => Some(Instant::from_nanos(0)),
            Timeout::At(at) => Some(at),
            Timeout::After(after) => Some(state.clock.now() + after),
        };
        let mut block = until != Some(Instant::from_nanos(0));
        if state.table.is_closing() {
            Table::new(&mut state.table, slots.reborrow()).take_closing(&mut each);
            block = false;
        }
        loop {
            let timeout = if block {
                let first = Queue::new(&mut state.queue, nodes.reborrow()).next();
                match (first, until) {
                    (None, None) => None,
                    (first, until) => {
                        let first = first.unwrap_or(Instant::FAR_FUTURE).min(until.unwrap_or(Instant::FAR_FUTURE));
                        // The handlers have run since this pass began: what counts is the time now.
                        Some(first - state.clock.now())
                    }
                }
            } else {
                Some(Duration::ZERO)
            };
            state.now = None;
            let (mut broken, mut stale) = (false, 0);
            let descs = slots.as_mut_slice();
            let waited = self.selector.wait(timeout, |bits, readiness| {
                if bits == Token::BREAK {
                    broken = true;
                } else if !edge(descs, bits, readiness, &mut each) {
                    stale += 1;
                }
            });
            state.stats.polls += 1;
            match waited {
                Ok(events) => state.stats.events += events as u64 - u64::from(broken),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            state.stats.stale_events += stale;
            if broken {
                woken = true;
                state.stats.wakes += 1;
                pipe.drain()?;
            }
            if state.queue.len() > 0 {
                let now = state.now();
                let mut queue = Queue::new(&mut state.queue, nodes.reborrow());
                let mut table = Table::new(&mut state.table, slots.reborrow());
                while let Some(index) = queue.due(now) {
                    state.stats.deadlines += 1;
                    match table.expire(index, now, &mut each) {
                        Some(at) => queue.postpone_first(at),
                        None => queue.remove_first(),
                    }
                }
            }
            let polled = Polled { waiters: waiters.get(), woken };
            if polled.waiters > 0 || woken || !block || until.is_some_and(|until| until <= state.now()) {
                return Ok(polled);
            }
        }
    }

    /// What wakes this poller from elsewhere. It may outlive the poller.
    pub fn breaker(&self) -> Breaker<'s> {
        Breaker::new(self.parts.pipe)
    }

    /// A breaker that owns its share of the pipe; `None` unless the storage is on the heap.
    #[cfg(feature = "alloc")]
    pub fn shared_breaker(&self) -> Option<crate::SharedBreaker> {
        self.parts.shared_pipe.cloned().map(crate::SharedBreaker::new)
    }

    /// Until when a foreign loop may sleep on this poller's descriptor before it polls: `None` for ever, a moment in the past when a
    /// waiter is already to be run. May be early, never late.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        if self.state.table.is_closing() {
            return Some(self.state.now());
        }
        Queue::new(&mut self.state.queue, self.parts.nodes.reborrow()).next()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// How many descriptors are open.
    pub fn descriptors(&self) -> usize {
        self.state.table.len() as usize
    }

    /// Whether `fd` is one of the poller's own: its epoll descriptor or an end of its break pipe. Go's `netpollIsPollDescriptor`.
    pub fn is_poll_descriptor(&self, fd: impl AsFd) -> bool {
        let fd = fd.as_fd();
        self.selector.as_fd().as_raw_fd() == fd.as_raw_fd() || self.parts.pipe.is_end(fd)
    }
}

impl AsFd for Poller<'_> {
    /// Readable while an event waits: nest it in a foreign loop, together with [`next_deadline`](Poller::next_deadline).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.selector.as_fd()
    }
}

impl Drop for Poller<'_> {
    fn drop(&mut self) {
        self.parts.pipe.close();
        self.io(Waiter::new(NOBODY)).clear();
    }
}

/// The poller as one waiter sees it: what the functions of [`net`](crate::net) take, and what a handler's [`Context`](crate::Context) turns into by itself.
///
/// # The order of an operation
///
/// 1. A stale token is [`Error::Closed`], another handler's descriptor [`Error::NotOwner`].
/// 2. A deadline that has passed is [`Error::TimedOut`], also when data is there, and again each time until it is set anew (Go's order).
/// 3. If the last call said `EAGAIN` and no edge has come since: `Pending` without a system call; the waiter is run when the next edge, deadline or close comes.
/// 4. If this run's budget for this direction is spent (under a reactor): `Pending`, and the handler goes to the tail of the ready list.
/// 5. The call. `EINTR` is tried again, `EAGAIN` waits, anything else is the answer, and the gate stays ready.
pub struct Io<'a> {
    selector: &'a Selector,
    state: &'a mut PollerState,
    slots: Slots<'a, PollDesc<OwnedFd>>,
    nodes: Slots<'a, Node>,
    waiter: Waiter,
    owner: Owner,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("waiter", &self.waiter).field("stats", &self.state.stats()).finish_non_exhaustive()
    }
}

impl<'a> Io<'a> {
    #[inline]
    fn table(&mut self) -> Table<'_, OwnedFd> {
        Table::new(&mut self.state.table, self.slots.reborrow())
    }

    #[inline]
    fn desc(&mut self, token: Token) -> Result<&mut PollDesc<OwnedFd>, Error> {
        let owner = self.owner;
        self.table().get_owned(token, owner)
    }

    #[inline]
    pub(crate) fn state(&mut self) -> &mut PollerState {
        self.state
    }

    /// The same poller, in somebody else's name.
    pub(crate) fn as_owner(&mut self, waiter: Waiter, owner: Owner) -> Io<'_> {
        Io { selector: self.selector, state: self.state, slots: self.slots.reborrow(), nodes: self.nodes.reborrow(), waiter, owner }
    }

    /// Who runs: the waiter in whose name operations wait.
    pub fn waiter(&self) -> Waiter {
        self.waiter
    }

    /// The time of this pass: read when it is first asked for after a wait, and kept until the next one.
    ///
    /// A deadline `now() + d` costs no further look at the clock; after a long pass it is early by as much as the pass has lasted, which [`set_timeout`](Io::set_timeout) avoids.
    #[inline]
    pub fn now(&mut self) -> Instant {
        self.state.now()
    }

    /// The time now, not that of the pass.
    pub(crate) fn read_clock(&self) -> Instant {
        self.state.clock.now()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Takes a descriptor and arms it, edge-triggered, for its whole life: one `epoll_ctl`. Go's `netpollopen`.
    ///
    /// The descriptor belongs to whoever opens it and must be non-blocking, which is not changed here, since others may share it. Register a
    /// socket after `connect` or `listen`.
    ///
    /// # Errors
    ///
    /// All give the descriptor back, unregistered. [`Error::Full`] when the table is. [`Error::NotPollable`] for a regular file, a directory, `/dev/null`
    /// (treat them as always ready). [`Error::Os`]: `EEXIST` when this very descriptor is open already, `ENOSPC` and `ENOMEM` when the kernel's limits are reached,
    /// `EINVAL` for [`Interest::EXCLUSIVE`] with [`Interest::PRIORITY`], for an epoll that would wait for itself, and, where debug assertions are on, for a
    /// descriptor that is no socket and would block.
    pub fn open(&mut self, fd: OwnedFd, interest: Interest) -> Result<Token, Rejected<OwnedFd>> {
        if cfg!(debug_assertions) && would_block(&fd, interest) {
            return Err(Rejected::new(fd, Errno::INVAL));
        }
        self.open_nonblocking(fd, interest)
    }

    pub(crate) fn open_nonblocking(&mut self, fd: OwnedFd, interest: Interest) -> Result<Token, Rejected<OwnedFd>> {
        let state = &mut *self.state;
        let mut table = Table::new(&mut state.table, self.slots.reborrow());
        let token = table.insert_for(self.owner, &mut state.owned, fd, interest)?;
        state.marks.set(Marks::OWNED);
        let armed = match table.get(token).map(PollDesc::fd) {
            Ok(Some(fd)) => self.selector.open(fd.as_fd(), token.to_u64(), interest),
            _ => Err(Error::Closed),
        };
        match armed {
            Ok(()) => Ok(token),
            Err(error) => match table.remove_at(token.index(), &mut state.owned, None) {
                Some(fd) => Err(Rejected::new(fd, error)),
                None => Ok(token),
            },
        }
    }

    /// Disarms a descriptor and gives it back: one `epoll_ctl`. Dropping it closes it. Go's `netpollclose` and `pollUnblock`.
    ///
    /// The token is stale from now on. Waits of the closer's own end silently; whoever else waits comes out of the next poll, which does not
    /// block, and sees [`Error::Closed`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`]. That somebody else has closed the descriptor behind the poller's back is no error, but counted
    /// ([`Stats::lost_descriptors`]).
    pub fn close(&mut self, token: Token) -> Result<OwnedFd, Error> {
        self.desc(token)?;
        self.close_at(token.index()).ok_or(Error::Closed)
    }

    pub(crate) fn close_at(&mut self, index: u32) -> Option<OwnedFd> {
        let state = &mut *self.state;
        let fd = Table::new(&mut state.table, self.slots.reborrow()).remove_at(index, &mut state.owned, Some(self.waiter))?;
        state.marks.set(Marks::FREED);
        state.marks.set(Marks::OWNED);
        // Before the descriptor can be closed: a duplicate would go on reporting under the dead number.
        if self.selector.close(fd.as_fd()).is_err() {
            state.stats.lost_descriptors += 1;
        }
        Some(fd)
    }

    /// Closes every descriptor in the list that begins at `owned`.
    pub(crate) fn close_owned(&mut self, owned: u32) {
        let running = core::mem::replace(&mut self.state.owned, owned);
        while self.close_at(self.state.owned).is_some() {}
        self.state.owned = running;
    }

    /// Closes every descriptor of `owner`, whose list may have been lost.
    pub(crate) fn close_all_of(&mut self, owner: Owner) {
        while let Some(index) = self.table().find_owned_by(owner) {
            self.close_at(index);
        }
    }

    /// Whether anybody waits for a descriptor in the list that begins at `owned`.
    pub(crate) fn any_wait(&mut self, owned: u32) -> bool {
        self.table().owned(owned).any(|(_, desc)| desc.is_waited_for())
    }

    /// Gives a descriptor to another owner, whose list begins at `to_owned`.
    pub(crate) fn give_to(&mut self, token: Token, to: Owner, to_owned: &mut u32) -> Result<(), Error> {
        self.desc(token)?;
        let state = &mut *self.state;
        Table::new(&mut state.table, self.slots.reborrow()).give(token, &mut state.owned, to, to_owned);
        state.marks.set(Marks::OWNED);
        Ok(())
    }

    /// Closes everything without telling the kernel's set.
    fn clear(&mut self) {
        self.table().clear();
        Queue::new(&mut self.state.queue, self.nodes.reborrow()).clear();
    }

    /// The descriptor itself, for calls whose `EAGAIN` says nothing about readiness, for options and names.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    pub fn fd(&mut self, token: Token) -> Result<BorrowedFd<'_>, Error> {
        self.desc(token)?.fd().map(AsFd::as_fd).ok_or(Error::Closed)
    }

    /// One step of an operation that may have to wait; see the order above. The extension point for any descriptor and any system call.
    ///
    /// `call` is made at most once more than it answers `EINTR`. It must answer `EAGAIN` only if an edge will follow; a call whose `EAGAIN` promises
    /// none (`connect` on a Unix stream socket, `send_to` on an unconnected Unix datagram socket) is made on [`fd`](Io::fd) instead.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::TimedOut`], [`Error::NotPollable`] for a direction that was not opened, and [`Error::Os`] with what the call says.
    ///
    /// ```no_run
    /// # use core::task::Poll;
    /// use netpoll::{Direction, Error, Io, Token};
    ///
    /// /// Reads the counter of an eventfd.
    /// fn read_counter(io: &mut Io<'_>, token: Token) -> Poll<Result<u64, Error>> {
    ///     let mut counter = [0; 8];
    ///     io.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut counter)).map_ok(|_| u64::from_ne_bytes(counter))
    /// }
    /// ```
    #[inline]
    pub fn poll_io<T>(
        &mut self,
        token: Token,
        direction: Direction,
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Poll<Result<T, Error>> {
        self.poll_io_drained(token, direction, |fd| call(fd).map(|answer| (answer, false)))
    }

    /// As [`poll_io`](Io::poll_io), for calls that can tell by their answer that the next one would say `EAGAIN`. Believed only while nothing but plain
    /// readiness was ever reported.
    #[inline]
    pub(crate) fn poll_io_drained<T>(
        &mut self,
        token: Token,
        direction: Direction,
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<(T, bool), Errno>,
    ) -> Poll<Result<T, Error>> {
        let (waiter, owner, turn) = (self.waiter, self.owner, self.state.turn);
        let marks = &mut self.state.marks;
        let desc = match Table::new(&mut self.state.table, self.slots.reborrow()).get_owned(token, owner) {
            Ok(desc) => desc,
            Err(error) => return Poll::Ready(Err(error)),
        };
        match desc.prepare(direction, waiter, turn) {
            Step::Call => {}
            Step::Wait => {
                marks.set(Marks::WAITED);
                return Poll::Pending;
            }
            Step::Yield => {
                marks.set(Marks::YIELDED);
                return Poll::Pending;
            }
            Step::Fail(error) => return Poll::Ready(Err(error)),
        }
        let Some(fd) = desc.fd() else { return Poll::Ready(Err(Error::Closed)) };
        loop {
            match call(fd.as_fd()) {
                Ok((answer, drained)) => {
                    if drained && desc.is_quiet() {
                        desc.clear_ready(direction);
                    }
                    return Poll::Ready(Ok(answer));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    desc.wait(direction, waiter);
                    marks.set(Marks::WAITED);
                    return Poll::Pending;
                }
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    /// As [`poll_io`](Io::poll_io) without a call: answers when the descriptor may be ready, or waits. Follow it with calls on [`fd`](Io::fd), and with
    /// [`clear_ready`](Io::clear_ready) when they find nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::TimedOut`], [`Error::NotPollable`].
    pub fn poll_ready(&mut self, token: Token, direction: Direction) -> Poll<Result<(), Error>> {
        self.poll_io(token, direction, |_| Ok(()))
    }

    /// Forgets the readiness of a direction, because a call has found nothing: the next operation waits for an edge.
    ///
    /// No edge is lost: what arrived after the call that found nothing has not been reported yet.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    pub fn clear_ready(&mut self, token: Token, direction: Direction) -> Result<(), Error> {
        self.desc(token)?.clear_ready(direction);
        Ok(())
    }

    /// Withdraws a wait, as for a runtime's future that is dropped. Readiness is not touched, and an edge that comes later is remembered.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    pub fn unwait(&mut self, token: Token, direction: Direction) -> Result<(), Error> {
        self.desc(token)?.unwait(direction);
        Ok(())
    }

    /// Sets or clears the deadline of a direction: absolute, and sticky once it has passed. Go's `SetReadDeadline` and `SetWriteDeadline`.
    ///
    /// One that is already past takes effect at once, and whoever waits in that direction is run by the next poll. `None` clears it, passed or not; data that
    /// arrived meanwhile is still there. It counts also while nobody reads or writes: who stops reading for a while, because its own queue is full, clears it or pushes it
    /// out before it goes on. Pushing a deadline out only stores a number; the poller looks at the entry again when its old time comes up,
    /// which is one wait more than the events need. Setting one makes no system call.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    #[inline]
    pub fn set_deadline(&mut self, token: Token, direction: Direction, at: Option<Instant>) -> Result<(), Error> {
        let owner = self.owner;
        let now = if at.is_some() { self.state.now() } else { Instant::FAR_FUTURE };
        let desc = Table::new(&mut self.state.table, self.slots.reborrow()).get_owned(token, owner)?;
        match desc.set_deadline(direction, at, now) {
            Some(look_at) => Queue::new(&mut self.state.queue, self.nodes.reborrow()).schedule(token.index(), look_at),
            None => Ok(()),
        }
    }

    /// Sets the deadline of a direction `after` from now, by a fresh look at the clock.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    pub fn set_timeout(&mut self, token: Token, direction: Direction, after: Option<Duration>) -> Result<(), Error> {
        let at = after.map(|after| self.read_clock() + after);
        self.set_deadline(token, direction, at)
    }

    /// Whether a descriptor, and under a reactor a handler for it, would find room.
    pub fn has_room(&mut self) -> bool {
        !self.state.handlers_full && self.table().has_room()
    }

    /// Waits for [room](Io::has_room): what to ask before a call whose result could not be kept, such as `accept`.
    ///
    /// Under a reactor `Pending` means that the handler is run when a slot is freed.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] on a bare poller, which does not know who should be run: try again after a close.
    pub fn poll_room(&mut self) -> Poll<Result<(), Error>> {
        if self.has_room() {
            Poll::Ready(Ok(()))
        } else if self.owner == NOBODY {
            Poll::Ready(Err(Error::Full))
        } else {
            self.run_when_freed();
            Poll::Pending
        }
    }

    /// Runs this handler when a slot is freed, if it is not run before.
    pub(crate) fn run_when_freed(&mut self) {
        self.state.marks.set(Marks::ROOM);
    }
}

/// Whether a read or write could stop the whole loop. Sockets are called with `MSG_DONTWAIT`.
fn would_block(fd: &OwnedFd, interest: Interest) -> bool {
    (interest.contains(Interest::READ) || interest.contains(Interest::WRITE))
        && rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| !flags.contains(rustix::fs::OFlags::NONBLOCK))
        && rustix::net::sockopt::socket_type(fd).is_err()
}
