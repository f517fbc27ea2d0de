//! [`Poller`]: Go's contract, `new open close poll wake`, over the table, the deadline queue and a back-end; and [`Io`], the poller as one
//! waiter sees it.

mod arm;
mod io;
mod run;
mod storage;
mod wait;

use core::time::Duration;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};

pub use io::Io;
pub(crate) use io::is_blocking;
pub(crate) use run::{Marks, Run};
#[cfg(feature = "alloc")]
pub use storage::BoxedPollerStorage;
pub use storage::{LendPoller, PollerParts, PollerStorage};

use crate::arch;
use crate::breaker::Breaker;
use crate::deadline::{Queue, QueueState};
use crate::error::Error;
use crate::gates::Waiter;
use crate::poll_desc::{NOBODY, Owner};
use crate::table::TableState;
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

/// The part of a poller that is not its tables.
#[derive(Debug)]
pub(crate) struct PollerState {
    table: TableState,
    queue: QueueState,
    clock: fn() -> Instant,
    custom_clock: bool,
    /// The time of this pass, once somebody has asked.
    now: Option<Instant>,
    /// The kernel will not report the break pipe before it is asked to.
    break_is_spent: bool,
    stats: Stats,
    pub(crate) run: Run,
}

impl PollerState {
    fn new(clock: Clock) -> PollerState {
        PollerState {
            table: TableState::new(),
            queue: QueueState::new(),
            clock: clock.function(),
            custom_clock: matches!(clock, Clock::Custom(_)),
            now: None,
            break_is_spent: false,
            stats: Stats::default(),
            run: Run::NONE,
        }
    }

    #[inline]
    fn now(&mut self) -> Instant {
        match self.now {
            Some(now) => now,
            None => self.read_now(),
        }
    }

    #[cold]
    fn read_now(&mut self) -> Instant {
        *self.now.insert((self.clock)())
    }

    fn stats(&self) -> Stats {
        Stats { retired_slots: self.table.retired().into(), ..self.stats }
    }
}

/// The network poller: owns descriptors, remembers what the kernel said of them, and says *who is to be run*. Go's `runtime/netpoll.go`.
///
/// This is the layer for authors of runtimes, who have tasks of their own; programs without one take a [`Reactor`](crate::Reactor). All
/// operations on descriptors go through [`io`](Poller::io), in the name of a [`Waiter`]: a number that stands for a task.
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
/// Dropping a poller closes its descriptors; it does not unregister them, so that a forked child that drops its copy leaves the parent's
/// registrations alone. That is all that a child may do with it: the kernel's set and the break pipe are shared with the parent. It makes a
/// poller of its own. Where the back-end is kqueue not even that: a child does not inherit the kqueue, whose number is soon another
/// descriptor's, which the drop would close. There it forgets its copy ([`core::mem::forget`]).
#[derive(Debug)]
pub struct Poller<'s> {
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
    /// [`Error::Os`] with `EMFILE`, `ENFILE` or `ENOMEM` when the kernel has no descriptor or memory left, `ENOSPC` when the user's limit
    /// of epoll watches is reached.
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
        let poller = Poller { state: PollerState::new(clock), parts };
        if let Some(read_end) = poller.parts.pipe.read_end() {
            poller.parts.selector.open_break(read_end, Token::BREAK)?;
        }
        Ok(poller)
    }

    /// The poller as `waiter` sees it: every operation on descriptors.
    ///
    /// On a bare poller any waiter may use any descriptor; when two wait for the same direction of one, the last one is run, as with
    /// futures.
    #[inline]
    pub fn io(&mut self, waiter: Waiter) -> Io<'_> {
        self.io_of(waiter, NOBODY)
    }

    #[inline]
    pub(crate) fn io_of(&mut self, waiter: Waiter, owner: Owner) -> Io<'_> {
        let PollerParts { selector, pipe, slots, nodes, .. } = &mut self.parts;
        Io { selector, pipe, state: &mut self.state, slots: slots.reborrow(), nodes: nodes.reborrow(), waiter, owner }
    }

    #[inline]
    pub(crate) fn run(&mut self) -> &mut Run {
        &mut self.state.run
    }

    /// Waits until somebody is to be run, and hands them to `each`: whoever waited for what the kernel reports, for a deadline that has
    /// passed, or for a descriptor that was closed since. Go's `netpoll`.
    ///
    /// A waiter may come out more than once. Signals do not end the wait (use a [`Breaker`]), nor does anything else that leaves nobody to
    /// run. Deadlines are never early; they are late by up to one unit of the kernel's wait: 1 ms on Linux (1 ns with `linux_5_11`), illumos and
    /// Solaris, two ticks of its clock, of 10 ms each, on NetBSD, and less than 1 ms where kevent(2) counts nanoseconds.
    ///
    /// With a [`Clock::Custom`] it returns after one wait, also if nobody is to be run: that clock may not have moved meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the wait fails, which takes a seccomp filter or somebody who closed the poller's descriptors; or, with the feature
    /// `linux_5_11`, an older kernel: `ENOSYS` each time. Whoever was handed out before the error is to be run; the others are by a later
    /// poll.
    ///
    /// # Panics
    ///
    /// Only if `each` does, which it should not: who else would have been handed out is then forgotten.
    pub fn poll(&mut self, timeout: impl Into<Timeout>, each: impl FnMut(Waiter)) -> Result<Polled, Error> {
        self.io(Waiter::new(NOBODY)).wait(timeout.into(), each)
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
        // A break pipe that the kernel does not report wakes nobody: the next poll tries again, or says why not.
        if self.state.table.is_closing() || arch::BREAK_IS_ONE_SHOT && self.state.break_is_spent {
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
        self.parts.selector.as_fd().as_raw_fd() == fd.as_raw_fd() || self.parts.pipe.is_end(fd)
    }
}

impl AsFd for Poller<'_> {
    /// Readable while an event waits: nest it in a foreign loop, together with [`next_deadline`](Poller::next_deadline).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.parts.selector.as_fd()
    }
}

impl Drop for Poller<'_> {
    fn drop(&mut self) {
        self.parts.pipe.close();
        self.io(Waiter::new(NOBODY)).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interest::Interest;
    use core::num::NonZeroU32;

    #[test]
    fn retired_slots_are_counted() {
        let mut storage = PollerStorage::<2>::new();
        let mut poller = Poller::new(&mut storage).unwrap();
        let (read, _write) = arch::pipe().unwrap();
        let token = poller.io(Waiter::new(1)).open(read, Interest::READ).unwrap();
        assert_eq!(poller.stats().retired_slots, 0);
        poller.parts.slots.get_mut(token.index()).unwrap().generation = u32::MAX;
        let last = Token::new(token.index(), NonZeroU32::MAX);
        poller.io(Waiter::new(1)).close(last).unwrap();
        assert_eq!((poller.stats().retired_slots, poller.io(Waiter::new(1)).stats().retired_slots), (1, 1));
    }
}
