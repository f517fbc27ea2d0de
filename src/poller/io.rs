//! [`Io`]: the poller as one waiter sees it.

use core::fmt;
use core::task::Poll;
use core::time::Duration;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;

use super::arm::{Armed, arm};
use super::run::{Marks, Run};
use super::{PollerState, Stats};
use crate::arch::{self, Selector};
use crate::breaker::BreakPipe;
use crate::deadline::{Node, Queue};
use crate::error::{Error, Rejected};
use crate::gates::Waiter;
use crate::interest::{Direction, Directions, Interest};
use crate::poll_desc::{NIL, NOBODY, Owner, PollDesc, Step};
use crate::storage::Slots;
use crate::table::{Table, link, put_before};
use crate::time::Instant;
use crate::token::Token;

/// The poller as one waiter sees it: what the functions of [`net`](crate::net) take, and what a handler's [`Context`](crate::Context) turns
/// into by itself.
///
/// # The order of an operation
///
/// 1. A stale token is [`Error::Closed`], another handler's descriptor [`Error::NotOwner`].
/// 2. A deadline that has passed is [`Error::TimedOut`], also when data is there, and again each time until it is set anew (Go's order).
/// 3. If the last call said `EAGAIN` and no edge has come since: `Pending` without a system call; the waiter is run when the next edge,
///    deadline or close comes.
/// 4. If this run's budget for this direction is spent (under a reactor): `Pending`, and the handler goes to the tail of the ready list.
/// 5. The call. `EINTR` is tried again, `EAGAIN` waits, anything else is the answer, and the gate stays ready, unless the answer tells that it
///    was the last one (a short read of a TCP stream, say).
pub struct Io<'a> {
    pub(super) selector: &'a Selector,
    pub(super) pipe: &'a BreakPipe,
    pub(super) state: &'a mut PollerState,
    pub(super) slots: Slots<'a, PollDesc<OwnedFd>>,
    pub(super) nodes: Slots<'a, Node>,
    pub(super) waiter: Waiter,
    pub(super) owner: Owner,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("waiter", &self.waiter).field("stats", &self.state.stats()).finish_non_exhaustive()
    }
}

impl Io<'_> {
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
    pub(crate) fn run(&mut self) -> &mut Run {
        &mut self.state.run
    }

    /// From now on in a handler's name.
    #[inline]
    pub(crate) fn set_owner(&mut self, owner: Owner) {
        self.waiter = Waiter::new(owner);
        self.owner = owner;
    }

    pub(crate) fn count_deadline(&mut self) {
        self.state.stats.deadlines += 1;
    }

    pub(crate) fn count_parked(&mut self) {
        self.state.stats.parked_handlers += 1;
    }

    /// The same poller, in somebody else's name.
    #[inline(never)]
    pub(crate) fn as_owner(&mut self, waiter: Waiter, owner: Owner) -> Io<'_> {
        Io {
            selector: self.selector,
            pipe: self.pipe,
            state: self.state,
            slots: self.slots.reborrow(),
            nodes: self.nodes.reborrow(),
            waiter,
            owner,
        }
    }

    /// Who runs: the waiter in whose name operations wait.
    #[inline]
    pub fn waiter(&self) -> Waiter {
        self.waiter
    }

    /// The time of this pass: read when it is first asked for after a wait, and kept until the next one.
    ///
    /// A deadline `now() + d` costs no further look at the clock; after a long pass it is early by as much as the pass has lasted, which
    /// [`set_timeout`](Io::set_timeout) avoids.
    #[inline]
    pub fn now(&mut self) -> Instant {
        self.state.now()
    }

    /// The time of this pass, from which a moment is seen; the clock is not looked at where there is none.
    #[inline]
    pub(crate) fn seen_from(&mut self, at: Option<Instant>) -> Instant {
        if at.is_some() { self.now() } else { Instant::FAR_FUTURE }
    }

    /// The time now, not that of the pass.
    pub(crate) fn read_clock(&self) -> Instant {
        (self.state.clock)()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Takes a descriptor and arms it, edge-triggered, for its whole life: one `epoll_ctl`. Go's `netpollopen`. (On kqueue for reading only,
    /// on event ports not at all: the [rest](crate#what-waiting-costs) is armed when somebody waits for it.)
    ///
    /// The descriptor belongs to whoever opens it and must be non-blocking, which is not changed here, since others may share it. Register
    /// a socket after `connect` or `listen`.
    ///
    /// # Errors
    ///
    /// All give the descriptor back, unregistered. [`Error::Full`] when the table is. [`Error::NotPollable`] for a regular file, a
    /// directory, `/dev/null` (treat them as always ready; some BSDs, illumos and Solaris take `/dev/null`, and report it as ready).
    /// [`Error::Os`]: `EEXIST` when this very descriptor is open already, which kqueue and event ports cannot say: there it is checked where
    /// debug assertions are on. `ENOSPC` and `ENOMEM`, on event ports `EAGAIN`, when the kernel's limits are reached, `EINVAL` for
    /// [`Interest::EXCLUSIVE`] with [`Interest::PRIORITY`], for an epoll that would wait for itself, and, where debug assertions are on, for
    /// a descriptor that is no socket and would block.
    #[inline]
    pub fn open(&mut self, fd: OwnedFd, interest: Interest) -> Result<Token, Rejected<OwnedFd>> {
        let blocks = cfg!(debug_assertions) && would_block(&fd, interest);
        self.open_unless(blocks, fd, interest)
    }

    /// Opens what does not block. The kernel goes first: what it cannot wait for is nothing that anybody makes non-blocking.
    #[inline]
    pub(crate) fn open_unless(&mut self, blocks: bool, fd: OwnedFd, interest: Interest) -> Result<Token, Rejected<OwnedFd>> {
        let token = self.open_nonblocking(fd, interest)?;
        if blocks { self.refuse(token) } else { Ok(token) }
    }

    #[cold]
    fn refuse(&mut self, token: Token) -> Result<Token, Rejected<OwnedFd>> {
        match self.close_at(token.index(), self.waiter) {
            Some(fd) => Err(Rejected::new(fd, Errno::INVAL)),
            None => Ok(token),
        }
    }

    /// Whether a descriptor with this number is open, which two can be only if somebody closed the first one behind the poller's back.
    fn is_open(&self, fd: RawFd) -> bool {
        self.slots.as_slice().iter().any(|desc| desc.fd().is_some_and(|open| open.as_raw_fd() == fd))
    }

    #[inline(never)]
    fn open_nonblocking(&mut self, fd: OwnedFd, interest: Interest) -> Result<Token, Rejected<OwnedFd>> {
        let interest = if arch::PRIORITY { interest } else { interest.without(Interest::PRIORITY) };
        if cfg!(debug_assertions) && arch::REPLACES && self.is_open(fd.as_raw_fd()) {
            return Err(Rejected::new(fd, Errno::EXIST));
        }
        let (state, slots) = (&mut *self.state, self.slots.as_mut_slice());
        let Some((token, desc)) = state.table.next(slots) else { return self.open_in_new_slot(fd, interest) };
        let armed = match register(self.selector, &fd, token, interest) {
            Ok(armed) => armed,
            Err(error) => {
                if arch::REPLACES {
                    // What the kernel may have kept of it is stale.
                    desc.generation = desc.generation.saturating_add(1);
                }
                return Err(Rejected::new(fd, error));
            }
        };
        state.table.take(desc);
        desc.begin(fd, interest, armed);
        let next = desc.link(token.index(), self.owner, &mut state.run.owned);
        if next != NIL {
            put_before(self.slots.as_mut_slice(), token.index(), next);
        }
        state.run.marks.set(Marks::OWNED);
        Ok(token)
    }

    #[cold]
    fn open_in_new_slot(&mut self, fd: OwnedFd, interest: Interest) -> Result<Token, Rejected<OwnedFd>> {
        if self.table().grow() { self.open_nonblocking(fd, interest) } else { Err(Rejected::new(fd, Error::Full)) }
    }

    /// Disarms a descriptor and gives it back: one `epoll_ctl`. Dropping it closes it. Go's `netpollclose` and `pollUnblock`.
    ///
    /// The token is stale from now on. Waits of the closer's own end silently; whoever else waits comes out of the next poll, which does
    /// not block, and sees [`Error::Closed`]. Until then the slot is not
    /// free.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`]. That somebody else has closed the descriptor behind the poller's back is
    /// no error, but counted ([`Stats::lost_descriptors`]).
    pub fn close(&mut self, token: Token) -> Result<OwnedFd, Error> {
        let fd = self.desc(token)?.fd.take().ok_or(Error::Closed)?;
        self.disarm(token.index(), fd.as_fd(), self.waiter);
        Ok(fd)
    }

    /// As [`close`](Io::close), by place, in the name of `by`.
    #[inline]
    fn close_at(&mut self, index: u32, by: Waiter) -> Option<OwnedFd> {
        let fd = self.slots.get_mut(index)?.fd.take()?;
        self.disarm(index, fd.as_fd(), by);
        Some(fd)
    }

    /// Takes leave of a descriptor that was taken out of its slot.
    #[inline(always)]
    fn disarm(&mut self, index: u32, fd: BorrowedFd<'_>, by: Waiter) {
        let (state, slots) = (&mut *self.state, self.slots.as_mut_slice());
        let Some(desc) = slots.get(index as usize) else { return };
        let armed = desc.gates.armed();
        state.table.vacate(slots, index, &mut state.run.owned, Some(by));
        state.run.freed = true;
        state.run.marks.set(Marks::OWNED);
        // Before the descriptor can be closed: a duplicate would go on reporting under the dead number.
        if self.selector.close(fd, armed).is_err() {
            state.stats.lost_descriptors += 1;
        }
    }

    /// Closes every descriptor in the list of `owner`, which begins at `owned`.
    pub(crate) fn close_owned(&mut self, owner: Owner, owned: u32) {
        let running = core::mem::replace(&mut self.state.run.owned, owned);
        while self.close_at(self.state.run.owned, Waiter::new(owner)).is_some() {}
        self.state.run.owned = running;
    }

    /// Closes every descriptor of `owner`, whose list may have been lost.
    pub(crate) fn close_all_of(&mut self, owner: Owner) {
        while let Some(index) = self.table().find_owned_by(owner) {
            self.close_at(index, Waiter::new(owner));
        }
    }

    /// Makes the list of `owner`, who runs, anew.
    pub(crate) fn relink_all_of(&mut self, owner: Owner) {
        let (run, slots) = (&mut self.state.run, self.slots.as_mut_slice());
        run.owned = NIL;
        for index in 0..slots.len() {
            if slots.get(index).is_some_and(|desc| desc.owner == owner) {
                link(slots, index as u32, owner, &mut run.owned);
            }
        }
        run.marks.set(Marks::OWNED);
    }

    /// Whether anybody waits for a descriptor in the list that begins at `owned`.
    pub(crate) fn any_wait(&mut self, owned: u32) -> bool {
        self.table().owned(owned).any(|(_, desc)| desc.is_waited_for())
    }

    /// Gives a descriptor to another owner, whose list begins at `to_owned`.
    pub(crate) fn give_to(&mut self, token: Token, to: Owner, to_owned: &mut u32) -> Result<(), Error> {
        self.desc(token)?;
        let state = &mut *self.state;
        Table::new(&mut state.table, self.slots.reborrow()).give(token, &mut state.run.owned, to, to_owned);
        state.run.marks.set(Marks::OWNED);
        Ok(())
    }

    /// Closes everything without telling the kernel's set.
    pub(super) fn clear(&mut self) {
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
    /// `call` is made once, and again each time that it answers `EINTR`. It must answer `EAGAIN` only if an edge will follow, and only while
    /// the descriptor is not ready: event ports report at each wait what is ready then, so that one that wants more than is there (a
    /// `MSG_PEEK` of a whole header) is made over and over. A call whose
    /// `EAGAIN` promises none (`connect` on a Unix stream socket, `send_to` on an unconnected Unix datagram socket) is made on
    /// [`fd`](Io::fd) instead.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::TimedOut`], [`Error::NotPollable`] for a direction that was not opened, and
    /// [`Error::Os`] with what the call says. On kqueue and event ports also with why the kernel cannot be asked for the edge: `ENOMEM`,
    /// `EINVAL` where it does not know this direction of such a descriptor, `EAGAIN` at the limit of events of an event port.
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
    #[inline(always)]
    pub fn poll_io<T>(
        &mut self,
        token: Token,
        direction: Direction,
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Poll<Result<T, Error>> {
        self.poll_io_drained(token, direction, |fd| call(fd).map(|answer| (answer, false)))
    }

    /// As [`poll_io`](Io::poll_io), for calls that can tell by their answer that the next one would say `EAGAIN`. Believed only while
    /// nothing but plain readiness was ever reported.
    // A program reads in more than one place, and would call this then.
    #[inline(always)]
    pub(crate) fn poll_io_drained<T>(
        &mut self,
        token: Token,
        direction: Direction,
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<(T, bool), Errno>,
    ) -> Poll<Result<T, Error>> {
        let (waiter, owner) = (self.waiter, self.owner);
        let run = &mut self.state.run;
        let desc = match Table::new(&mut self.state.table, self.slots.reborrow()).get_owned(token, owner) {
            Ok(desc) => desc,
            Err(error) => return Poll::Ready(Err(error)),
        };
        match desc.prepare_freely(direction, waiter) {
            Step::Call if run.may_call(desc, direction) => {}
            Step::Call | Step::Yield => {
                run.marks.set(Marks::YIELDED);
                return Poll::Pending;
            }
            Step::Wait => match arm(self.selector, token.index(), desc) {
                Armed::Waiting => {
                    run.marks.set(Marks::WAITED);
                    return Poll::Pending;
                }
                Armed::Ready => {}
                Armed::Failed(errno) => return Poll::Ready(Err(not_waiting(desc, direction, errno))),
            },
            Step::Fail(error) => return Poll::Ready(Err(error)),
        }
        let Some(fd) = desc.fd() else { return Poll::Ready(Err(Error::Closed)) };
        loop {
            match call(fd.as_fd()) {
                Ok((answer, drained)) => {
                    // Reading stops before an urgent byte: a kernel that does not tell of it would not tell of what is behind it either.
                    // And where writing may stop short of a full buffer, only a wait that looks at what is there is safe.
                    let looks = Directions::of(direction).without(desc.gates.armed()).intersects(arch::ON_DEMAND);
                    if drained && desc.is_quiet() && (arch::PRIORITY || looks) {
                        desc.clear_ready(direction);
                    }
                    return Poll::Ready(Ok(answer));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    desc.wait(direction, waiter);
                    return match arm(self.selector, token.index(), desc) {
                        Armed::Waiting => {
                            run.marks.set(Marks::WAITED);
                            Poll::Pending
                        }
                        // The reader has gone between the call and the wait.
                        Armed::Ready => Poll::Ready(Err(Errno::PIPE.into())),
                        Armed::Failed(errno) => Poll::Ready(Err(not_waiting(desc, direction, errno))),
                    };
                }
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    /// As [`poll_io`](Io::poll_io) without a call: answers when the descriptor may be ready, or waits. Follow it with calls on
    /// [`fd`](Io::fd), and with [`clear_ready`](Io::clear_ready) when they find nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::TimedOut`], [`Error::NotPollable`].
    #[inline]
    pub fn poll_ready(&mut self, token: Token, direction: Direction) -> Poll<Result<(), Error>> {
        self.poll_io(token, direction, |_| Ok(()))
    }

    /// Forgets the readiness of a direction, because a call has found nothing: the next operation waits for an edge.
    ///
    /// No edge is lost: what arrived after the call that found nothing has not been reported yet. Where the kernel is asked when
    /// somebody waits (everything on event ports, writing on kqueue) a readiness that is still there may count as an edge.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    #[inline]
    pub fn clear_ready(&mut self, token: Token, direction: Direction) -> Result<(), Error> {
        self.desc(token)?.clear_ready(direction);
        Ok(())
    }

    /// Withdraws a wait, as for a runtime's future that is dropped. Readiness is not touched, and an edge that comes later is remembered.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    #[inline]
    pub fn unwait(&mut self, token: Token, direction: Direction) -> Result<(), Error> {
        self.desc(token)?.unwait(direction);
        Ok(())
    }

    /// Sets or clears the deadline of a direction: absolute, and sticky once it has passed. Go's `SetReadDeadline` and `SetWriteDeadline`.
    ///
    /// One that is already past, seen from the [time of this pass](Io::now), takes effect at once, and whoever waits in that direction is
    /// run by the next poll. `None` clears it, passed or not; data that arrived meanwhile is still there. It counts also while nobody reads
    /// or writes: who stops reading for a while, because its own queue is full, clears it or pushes it out before it goes on. Pushing a
    /// deadline out only stores a number; the poller looks at the entry again when its old time comes up, which is one wait more than the
    /// events need. Setting one makes no system call.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    #[inline]
    pub fn set_deadline(&mut self, token: Token, direction: Direction, at: Option<Instant>) -> Result<(), Error> {
        let now = self.seen_from(at);
        self.set_deadline_seen_from(now, token, direction, at)
    }

    /// Sets the deadline of a direction `after` from now, by a fresh look at the clock. Zero has passed at once.
    ///
    /// An idle time-out is set when something has arrived, not before each read: the run that should learn that the time is up would push it
    /// out.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token, [`Error::NotOwner`].
    #[inline]
    pub fn set_timeout(&mut self, token: Token, direction: Direction, after: Option<Duration>) -> Result<(), Error> {
        let now = self.read_clock();
        self.set_deadline_seen_from(now, token, direction, after.map(|after| now + after))
    }

    /// Sets or clears the deadlines of both directions, as [`set_deadline`](Io::set_deadline) does each.
    #[inline]
    pub(crate) fn set_deadlines(&mut self, token: Token, at: Option<Instant>) -> Result<(), Error> {
        let now = self.seen_from(at);
        self.set_deadlines_seen_from(now, token, at)
    }

    /// Sets both deadlines `after` from now, as [`set_timeout`](Io::set_timeout) does each.
    #[inline]
    pub(crate) fn set_timeouts(&mut self, token: Token, after: Option<Duration>) -> Result<(), Error> {
        let now = self.read_clock();
        self.set_deadlines_seen_from(now, token, after.map(|after| now + after))
    }

    #[inline]
    fn set_deadlines_seen_from(&mut self, now: Instant, token: Token, at: Option<Instant>) -> Result<(), Error> {
        let pushed = at.is_some_and(|at| self.desc(token).is_ok_and(|desc| desc.push_out_both(at, now)));
        if pushed { Ok(()) } else { self.schedule_deadlines(now, token, at) }
    }

    /// As [`schedule_deadline`](Io::schedule_deadline), of both directions.
    #[cold]
    #[inline(never)]
    fn schedule_deadlines(&mut self, now: Instant, token: Token, at: Option<Instant>) -> Result<(), Error> {
        self.schedule_deadline(now, token, Direction::Read, at)?;
        self.schedule_deadline(now, token, Direction::Write, at)
    }

    #[inline]
    fn set_deadline_seen_from(&mut self, now: Instant, token: Token, direction: Direction, at: Option<Instant>) -> Result<(), Error> {
        let pushed = at.is_some_and(|at| self.desc(token).is_ok_and(|desc| desc.push_out(direction, at, now)));
        if pushed { Ok(()) } else { self.schedule_deadline(now, token, direction, at) }
    }

    /// Sets a deadline of which nobody knows, and one that passes at once, or says why not. Apart, so that a mere push takes few registers.
    #[cold]
    #[inline(never)]
    fn schedule_deadline(&mut self, now: Instant, token: Token, direction: Direction, at: Option<Instant>) -> Result<(), Error> {
        match self.desc(token)?.set_deadline(direction, at, now) {
            Some(look_at) => Queue::new(&mut self.state.queue, self.nodes.reborrow()).schedule(token.index(), look_at),
            None => Ok(()),
        }
    }

    /// Whether another descriptor would find room.
    pub fn has_descriptor_room(&mut self) -> bool {
        self.table().has_room()
    }

    /// Whether a new handler with a descriptor would find room; on a bare poller, a descriptor.
    pub fn has_room(&mut self) -> bool {
        !self.state.run.handlers_full && self.has_descriptor_room()
    }

    /// Waits for [room](Io::has_descriptor_room) for a descriptor: what to ask before a call whose result could not be kept.
    ///
    /// Under a reactor `Pending` means that the handler is run when a slot is freed.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] on a bare poller, which does not know who should be run: try again after a close.
    pub fn poll_descriptor_room(&mut self) -> Poll<Result<(), Error>> {
        let has_room = self.has_descriptor_room();
        self.room(has_room)
    }

    /// Waits for [room](Io::has_room) for a new handler with a descriptor, as [`poll_descriptor_room`](Io::poll_descriptor_room).
    ///
    /// # Errors
    ///
    /// As [`poll_descriptor_room`](Io::poll_descriptor_room).
    pub fn poll_room(&mut self) -> Poll<Result<(), Error>> {
        let has_room = self.has_room();
        self.room(has_room)
    }

    fn room(&mut self, has_room: bool) -> Poll<Result<(), Error>> {
        if has_room {
            Poll::Ready(Ok(()))
        } else if self.owner == NOBODY {
            Poll::Ready(Err(Error::Full))
        } else {
            self.run_when_freed();
            Poll::Pending
        }
    }

    /// Lets the read deadline of a descriptor end its owner's wait for room.
    pub(crate) fn hold(&mut self, token: Token) {
        if let Ok(desc) = self.desc(token) {
            desc.hold();
        }
    }

    /// Whether the kernel has ever reported a hang-up or an error.
    pub(crate) fn is_broken(&mut self, token: Token) -> bool {
        self.desc(token).is_ok_and(|desc| desc.is_broken())
    }

    /// Runs this handler when a slot is freed, if it is not run before.
    pub(crate) fn run_when_freed(&mut self) {
        self.state.run.marks.set(Marks::ROOM);
    }
}

/// Lets the kernel take a descriptor; says what it is going to report.
#[inline]
fn register(selector: &Selector, fd: &OwnedFd, token: Token, interest: Interest) -> Result<Directions, Error> {
    if !arch::PRIORITY && interest.directions() == Directions::NONE {
        return Err(Error::NotPollable);
    }
    selector.open(fd.as_fd(), token.to_u64(), interest)
}

/// The kernel could not be asked for the edge that would end a wait.
#[cold]
fn not_waiting(desc: &mut PollDesc<OwnedFd>, direction: Direction, errno: Errno) -> Error {
    desc.unwait(direction);
    errno.into()
}

/// Whether a read or write could stop the whole loop. Sockets are called with `MSG_DONTWAIT`.
fn would_block(fd: &OwnedFd, interest: Interest) -> bool {
    (interest.contains(Interest::READ) || interest.contains(Interest::WRITE))
        && is_blocking(fd.as_fd())
        && rustix::net::sockopt::socket_type(fd).is_err()
}

/// Whether the descriptor was not made non-blocking.
pub(crate) fn is_blocking(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| !flags.contains(rustix::fs::OFlags::NONBLOCK))
}
