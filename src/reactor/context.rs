//! [`Context`]: the reactor as the running handler sees it.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::task::Poll;
use core::time::Duration;

use super::handler::Handler;
use super::roster::{HandlerId, Header, NIL, ReactorState, Roster};
use super::storage::{Cell, Place, put};
use crate::deadline::{Node, Queue};
use crate::error::{Error, Rejected};
use crate::gates::Waiter;
use crate::poller::{Io, Marks};
use crate::source::Source;
use crate::storage::Slots;
use crate::time::{Deadline, Instant};
use crate::token::Token;

/// All handlers.
pub(super) struct Handlers<'a, H> {
    pub(super) state: &'a mut ReactorState,
    pub(super) headers: Slots<'a, Header>,
    pub(super) timers: Slots<'a, Node>,
    pub(super) places: &'a [Place<H>],
}

impl<H> Handlers<'_, H> {
    #[inline]
    pub(super) fn roster(&mut self) -> Roster<'_> {
        Roster { state: self.state, headers: self.headers.reborrow() }
    }

    /// Puts a handler into its place, or takes it out and drops it.
    fn put(&self, index: u32, cell: Cell<H>) {
        if let Some(place) = self.places.get(index as usize) {
            put(place, cell);
        }
    }

    /// Takes a handler, or gives it back.
    pub(super) fn spawn(&mut self, io: &mut Io<'_>, handler: H) -> Result<HandlerId, Rejected<H>> {
        self.undo_half_made(io);
        let Some(id) = self.roster().reserve() else { return Err(Rejected::new(handler, Error::Full)) };
        self.settle(io, id, NIL, handler);
        Ok(id)
    }

    /// Opens a source for a new handler, or gives it back.
    pub(super) fn spawn_with<S: Source>(
        &mut self,
        io: &mut Io<'_>,
        source: S,
        make: impl FnOnce(S::Opened) -> H,
    ) -> Result<HandlerId, Rejected<S>> {
        self.undo_half_made(io);
        let Some(id) = self.roster().reserve() else { return Err(Rejected::new(source, Error::Full)) };
        let index = id.index() as u32;
        let (running, marks) = (core::mem::replace(&mut io.run().owned, NIL), io.run().marks);
        let opened = source.open(&mut io.as_owner(Waiter::new(index), index));
        let owned = core::mem::replace(&mut io.run().owned, running);
        // What the source has waited for is no wait of the handler that runs.
        io.run().marks = marks;
        match opened {
            Ok(opened) => {
                self.settle(io, id, owned, make(opened));
                Ok(id)
            }
            Err(rejected) => {
                // What it had opened before it failed.
                io.close_owned(index, owned);
                self.roster().give_back(index);
                Err(rejected)
            }
        }
    }

    fn settle(&mut self, io: &mut Io<'_>, id: HandlerId, owned: u32, handler: H) {
        let index = id.index() as u32;
        self.put(index, Cell::Live(handler));
        let mut roster = self.roster();
        roster.settle(index, owned);
        io.run().handlers_full = !roster.has_room();
    }

    /// Ends a handler that is not running: closes its descriptors, frees its place, drops it.
    pub(super) fn end(&mut self, io: &mut Io<'_>, index: u32) {
        let owned = self.headers.get(index).map_or(NIL, |header| header.owned);
        if owned != NIL {
            io.close_owned(index, owned);
        }
        let mut roster = self.roster();
        roster.leave(index);
        io.run().freed = true;
        io.run().handlers_full = !roster.has_room();
        // Last, because a handler's own drop may panic.
        self.put(index, Cell::Vacant);
    }

    /// Undoes what a panic has left behind of a handler, whose list of descriptors may not be true.
    pub(super) fn undo(&mut self, io: &mut Io<'_>, index: u32) {
        io.close_all_of(index);
        self.roster().set_owned(index, NIL);
        io.run().freed = true;
    }

    /// Gives back the place of a handler that a panic left half-made, and closes what was opened for it. The handler in which that was may
    /// have caught the panic.
    #[inline]
    pub(super) fn undo_half_made(&mut self, io: &mut Io<'_>) {
        // Where panics abort there is nobody left to recover.
        if cfg!(panic = "unwind") && self.state.reserved != NIL {
            self.undo_reserved(io);
        }
    }

    #[cold]
    fn undo_reserved(&mut self, io: &mut Io<'_>) {
        let reserved = self.state.reserved;
        self.undo(io, reserved);
        self.roster().give_back(reserved);
        if self.state.running != NIL {
            // The panic may have come while another list than its own was being made.
            io.relink_all_of(self.state.running);
        }
    }

    #[inline]
    pub(super) fn set_timer(&mut self, index: u32, at: Option<Instant>, now: Instant) {
        let Some(header) = self.headers.get_mut(index) else { return };
        if !at.is_some_and(|at| header.timer.push_out(at, now)) {
            self.schedule_timer(index, at, now);
        }
    }

    /// Sets a timer of which nobody knows, and one that passes at once. Apart, so that a mere push takes few registers.
    #[inline(never)]
    fn schedule_timer(&mut self, index: u32, at: Option<Instant>, now: Instant) {
        let Some(header) = self.headers.get_mut(index) else { return };
        header.timer = at.map_or(Deadline::NONE, |at| Deadline::at(at, now));
        if header.timer.is_passed() {
            self.roster().enqueue(index);
        } else if let Some(at) = header.timer.ahead() {
            // The queue has as many entries as there are handlers.
            let _ = Queue::new(&mut self.state.timers, self.timers.reborrow()).schedule(index, at);
        }
    }
}

/// The reactor as the running handler sees it: what it may do to itself and to others, and, through [`Io`], to descriptors.
///
/// It can be handed to every function of [`net`](crate::net) as it is. There is no `poll` or `run` in it: a loop inside the loop does not
/// compile.
///
/// ```compile_fail
/// fn inside<H: netpoll::Handler<Shared = ()>>(cx: &mut netpoll::Context<'_, H>) {
///     cx.run(&mut ());
/// }
/// ```
pub struct Context<'a, H: Handler> {
    pub(super) io: Io<'a>,
    pub(super) handlers: Handlers<'a, H>,
    pub(super) shared: &'a mut H::Shared,
}

impl<'a, H: Handler> Deref for Context<'a, H> {
    type Target = Io<'a>;

    #[inline]
    fn deref(&self) -> &Io<'a> {
        &self.io
    }
}

impl<'a, H: Handler> DerefMut for Context<'a, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Io<'a> {
        &mut self.io
    }
}

impl<H: Handler> fmt::Debug for Context<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", &self.id()).field("io", &self.io).finish_non_exhaustive()
    }
}

impl<'a, H: Handler> Context<'a, H> {
    #[inline]
    fn index(&self) -> u32 {
        self.io.waiter().get()
    }

    /// The running handler.
    #[inline]
    pub fn id(&self) -> HandlerId {
        HandlerId::of(self.index(), self.handlers.headers.get(self.index()))
    }

    /// The state that was lent to [`Reactor::run`](crate::Reactor::run).
    #[inline]
    pub fn shared(&mut self) -> &mut H::Shared {
        self.shared
    }

    /// Both at once: the poller in this handler's name, and the shared state; for operations on buffers that lie there.
    ///
    /// ```
    /// # use core::task::Poll;
    /// # use netpoll::{Context, Error, Handler, net::TcpStream};
    /// # fn f<H: Handler<Shared = [u8; 64]>>(stream: &TcpStream, cx: &mut Context<'_, H>) -> Poll<Result<usize, Error>> {
    /// let (io, buf) = cx.split();
    /// stream.read(io, buf)
    /// # }
    /// ```
    #[inline]
    pub fn split(&mut self) -> (&mut Io<'a>, &mut H::Shared) {
        (&mut self.io, self.shared)
    }

    /// Adds a handler; it is run in the next round.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], with the handler.
    pub fn spawn(&mut self, handler: H) -> Result<HandlerId, Rejected<H>> {
        self.handlers.spawn(&mut self.io, handler)
    }

    /// Opens a source for a new handler, which `make` makes from it; it is run in the next round.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when there is no room for the handler or for the descriptor, else as [`Io::open`]; with the source, unchanged, and
    /// `make` is not called.
    pub fn spawn_with<S: Source>(&mut self, source: S, make: impl FnOnce(S::Opened) -> H) -> Result<HandlerId, Rejected<S>> {
        self.handlers.spawn_with(&mut self.io, source, make)
    }

    /// Ends a handler: drops it, closes its descriptors. Ending oneself takes effect when `on_ready` returns, whatever it returns.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it has ended.
    pub fn end(&mut self, id: HandlerId) -> Result<(), Error> {
        let (index, _) = self.handlers.roster().find(id)?;
        if index == self.index() {
            self.io.run().marks.set(Marks::ENDED);
        } else {
            self.handlers.end(&mut self.io, index);
        }
        Ok(())
    }

    /// Runs a handler in the next round (in this one, if it is still to be run): what it waits for has happened in the program's own state,
    /// a queue it drains has something in it. Costs no system call, and any number of notifications before it runs are one.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it has ended.
    #[inline]
    pub fn notify(&mut self, id: HandlerId) -> Result<(), Error> {
        let (index, _) = self.handlers.roster().find(id)?;
        self.handlers.roster().notify(index);
        Ok(())
    }

    /// Notifies every handler, this one included: for a graceful end, announced in the shared state.
    pub fn notify_all(&mut self) {
        self.handlers.roster().notify_all();
    }

    /// Gives a descriptor to another handler. Waits end silently; deadlines and readiness go with it. Tell the new owner the token.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] for a stale token or if the handler has ended, [`Error::NotOwner`]; then nothing has changed.
    pub fn give(&mut self, token: Token, to: HandlerId) -> Result<(), Error> {
        let own = self.index();
        let mut roster = self.handlers.roster();
        let (index, header) = roster.find(to)?;
        if index == own {
            return self.io.fd(token).map(drop);
        }
        self.io.give_to(token, index, &mut header.owned)
    }

    /// Makes [`Reactor::run`](crate::Reactor::run) return after this round.
    pub fn stop(&mut self) {
        self.handlers.state.stop();
    }

    /// Runs this handler again in the next round: for those who stop early of their own will and are not done.
    #[inline]
    pub fn yield_now(&mut self) {
        self.io.run().marks.set(Marks::YIELDED);
    }

    /// Sets or clears this handler's timer; it is run when the moment comes, and [`poll_timer`](Context::poll_timer) then answers once.
    ///
    /// A moment in the past runs it in the next round. Setting it later than it was costs one look more when its old time comes up.
    #[inline]
    pub fn set_timer(&mut self, at: Option<Instant>) {
        let now = self.io.seen_from(at);
        self.handlers.set_timer(self.io.waiter().get(), at, now);
    }

    /// Sets the timer `after` from now, by a fresh look at the clock.
    #[inline]
    pub fn set_timer_after(&mut self, after: Duration) {
        let at = self.io.read_clock() + after;
        self.set_timer(Some(at));
    }

    /// Whether this handler's timer has passed; answers once for each time that it was set.
    #[inline]
    pub fn poll_timer(&mut self) -> Poll<()> {
        let index = self.index();
        match self.handlers.headers.get_mut(index) {
            Some(header) if header.timer.is_passed() => {
                header.timer = Deadline::NONE;
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }

    /// Whether this handler was notified since this was last asked; if not, it waits for that.
    ///
    /// A notification runs it in any case; asking makes the wait a declared one, which
    /// [`Stats::parked_handlers`](crate::Stats::parked_handlers) does not count.
    #[inline]
    pub fn poll_notified(&mut self) -> Poll<()> {
        let index = self.index();
        match self.handlers.headers.get_mut(index).is_some_and(Header::take_notified) {
            true => Poll::Ready(()),
            false => {
                self.io.run().marks.set(Marks::WAITED);
                Poll::Pending
            }
        }
    }

    /// Whether the [`Breaker`](crate::Breaker) was used since this handler last learned of it; if not, this handler is run when it is.
    ///
    /// Every handler learns of every wake, whether it waited for it or asks later; any number of wakes in between are one. A new handler
    /// learns of a wake that no other has asked about yet. Look at the queues that a wake announces after this has answered, and ask again
    /// until it is `Pending`: then no wake is lost.
    #[inline]
    pub fn poll_wake(&mut self) -> Poll<()> {
        let index = self.index();
        if self.handlers.roster().take_wake(index) { Poll::Ready(()) } else { Poll::Pending }
    }
}
