//! [`Reactor`]: handlers, run one at a time, each when something it waits for has happened.

mod context;
mod handler;
mod outbox;
mod ready;
mod storage;

use core::num::NonZeroU8;
use core::task::Poll;

use rustix::fd::{AsFd, BorrowedFd};

pub use context::Context;
pub use handler::{Callback, Handler};
pub use outbox::Outbox;
pub use ready::HandlerId;
#[cfg(feature = "alloc")]
pub use storage::BoxedReactorStorage;
pub use storage::{LendReactor, ReactorStorage};

use crate::breaker::Breaker;
use crate::deadline::Queue;
use crate::error::{Error, Rejected};
use crate::gates::Waiter;
use crate::poll_desc::{NOBODY, Turn};
use crate::poller::{Io, Marks, Poller, Run, Stats, Timeout};
use crate::source::Source;
use crate::time::{Clock, Instant};
use context::Handlers;
use ready::{NIL, ReactorState, Roster};
use storage::{Cell, HandlerParts, ReactorParts};

/// System calls per direction of a descriptor and run of a handler, unless [`Reactor::with_budget`] says otherwise.
const DEFAULT_BUDGET: NonZeroU8 = NonZeroU8::new(32).unwrap();

/// The event loop: a [`Poller`] and the handlers that it runs.
///
/// Single-threaded; for several cores make one reactor for each. It is `Send` if its handlers are.
///
/// # A pass
///
/// 1. If nobody is ready: [`Handler::on_sleep`], then wait for the kernel, the next deadline or a wake. Else look without waiting.
/// 2. Who was waited for is put on the ready list: by readiness, then by deadline, then by timer, then by wake.
/// 3. Everyone on the list runs once; who becomes ready meanwhile runs in the next pass. Among equals: first come, first served.
///
/// A panic in a handler passes through `run` (where panics unwind) and leaves the reactor consistent: that handler is ended when the
/// reactor is next entered, everybody else goes on.
///
/// ```
/// # use core::task::Poll;
/// use netpoll::{Callback, Context, Error, Reactor, ReactorStorage};
///
/// fn greet(name: &mut &str, cx: &mut Context<'_, Callback<Vec<String>, &str>>) -> Poll<Result<(), Error>> {
///     let greeting = format!("hello, {name}");
///     cx.shared().push(greeting);
///     Poll::Ready(Ok(()))
/// }
///
/// let mut storage = ReactorStorage::<_, 2, 0>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// reactor.spawn(Callback { f: greet, data: "epoll" })?;
/// reactor.spawn(Callback { f: greet, data: "kqueue" })?;
/// let mut greetings = Vec::new();
/// reactor.run(&mut greetings)?; // returns when no handler is left
/// assert_eq!(greetings, ["hello, epoll", "hello, kqueue"]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Reactor<'s, H: Handler> {
    state: ReactorState,
    handlers: HandlerParts<'s, H>,
    poller: Poller<'s>,
}

static_assertions::assert_impl_all!(Reactor<'static, Callback<(), u32>>: Send);

impl<'s, H: Handler> Reactor<'s, H> {
    /// A reactor on the monotonic clock. Storage that an earlier reactor was forgotten on is emptied first: its handlers are dropped, its
    /// descriptors closed.
    ///
    /// # Errors
    ///
    /// As [`Poller::new`].
    pub fn new<S: LendReactor<H>>(storage: &'s mut S) -> Result<Reactor<'s, H>, Error> {
        Reactor::with_clock(storage, Clock::Monotonic)
    }

    /// As [`new`](Reactor::new), on another clock.
    ///
    /// # Errors
    ///
    /// As [`Poller::new`].
    pub fn with_clock<S: LendReactor<H>>(storage: &'s mut S, clock: Clock) -> Result<Reactor<'s, H>, Error> {
        let ReactorParts { poller, handlers } = storage.lend()?;
        let state = ReactorState::new(handlers.cells.len());
        Ok(Reactor { state, handlers, poller: Poller::on_parts(poller, clock)? }.with_budget(DEFAULT_BUDGET))
    }

    /// Sets how many system calls each direction of a descriptor gets in one run of its handler, 32 if this is not called. When they are
    /// used up its operations answer `Pending` and the handler goes to the tail of the ready list, so that a flood on one descriptor delays
    /// everybody else by at most this many calls for each direction that is flooded. A listener accepts as many in each round; where thousands
    /// of busy handlers make rounds long, several listeners on a port share the work.
    #[must_use]
    pub fn with_budget(mut self, budget: NonZeroU8) -> Reactor<'s, H> {
        self.poller.run().turn = Some(Turn { run: 0, budget });
        self
    }

    /// Adds a handler; it is run in the next pass.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], with the handler.
    pub fn spawn(&mut self, handler: H) -> Result<HandlerId, Rejected<H>> {
        let (mut handlers, mut io) = self.outside();
        handlers.spawn(&mut io, handler)
    }

    /// Opens a source for a new handler, which `make` makes from it; it is run in the next pass.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when there is no room for the handler or for the descriptor, else as [`Io::open`]; with the source, unchanged, and
    /// `make` is not called.
    pub fn spawn_with<S: Source>(&mut self, source: S, make: impl FnOnce(S::Opened) -> H) -> Result<HandlerId, Rejected<S>> {
        let (mut handlers, mut io) = self.outside();
        handlers.spawn_with(&mut io, source, make)
    }

    /// Ends a handler: drops it, closes its descriptors.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it has ended.
    pub fn end(&mut self, id: HandlerId) -> Result<(), Error> {
        let (mut handlers, mut io) = self.outside();
        let (index, _) = handlers.roster().find(id)?;
        handlers.end(&mut io, index);
        Ok(())
    }

    /// Runs a handler in the next pass.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it has ended.
    pub fn notify(&mut self, id: HandlerId) -> Result<(), Error> {
        self.recover();
        let (index, _) = self.roster().find(id)?;
        self.roster().notify(index);
        Ok(())
    }

    /// Notifies every handler: for a graceful end, announced in the shared state.
    pub fn notify_all(&mut self) {
        self.recover();
        self.roster().notify_all();
    }

    /// Makes [`run`](Reactor::run) return, at once if it is called later.
    pub fn stop(&mut self) {
        self.state.stop = true;
    }

    /// Runs handlers until one calls [`Context::stop`], or until none is left.
    ///
    /// # Errors
    ///
    /// As [`Poller::poll`]; the handlers are kept.
    ///
    /// # Panics
    ///
    /// Only if a handler does.
    pub fn run(&mut self, shared: &mut H::Shared) -> Result<(), Error> {
        while !core::mem::take(&mut self.state.stop) && !self.is_empty() {
            self.pass(Timeout::Never, shared)?;
        }
        Ok(())
    }

    /// One pass, which waits for `timeout` at the most: for programs that have a loop of their own. It may come back earlier without having
    /// run anybody, after an event that nobody waits for, or a signal.
    ///
    /// A loop that blocks only when it has looked some times and found nothing answers without the time that a sleeping thread takes to
    /// wake, and keeps its core busy for it. Woken by a [`Breaker`] on a virtual machine, its handler ran after 2 µs instead of 30, if the
    /// wakes were less than 20 looks apart, which take some 5 µs:
    ///
    /// ```
    /// use netpoll::{Error, Handler, Reactor, Timeout};
    ///
    /// fn run<H: Handler>(reactor: &mut Reactor<'_, H>, shared: &mut H::Shared) -> Result<(), Error> {
    ///     let (mut looks, mut seen) = (0, 0);
    ///     while !reactor.is_empty() {
    ///         reactor.run_once(if looks < 20 { Timeout::Now } else { Timeout::Never }, shared)?;
    ///         let stats = reactor.stats();
    ///         let happened = stats.events + stats.wakes;
    ///         looks = if happened == seen { looks + 1 } else { 0 };
    ///         seen = happened;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Poller::poll`].
    ///
    /// # Panics
    ///
    /// Only if a handler does.
    pub fn run_once(&mut self, timeout: impl Into<Timeout>, shared: &mut H::Shared) -> Result<(), Error> {
        self.pass(timeout.into(), shared)
    }

    /// What wakes this reactor from elsewhere: who waits with [`Context::poll_wake`] is run.
    pub fn breaker(&self) -> Breaker<'s> {
        self.poller.breaker()
    }

    /// A breaker that owns its share of the pipe; `None` unless the storage is on the heap.
    #[cfg(feature = "alloc")]
    pub fn shared_breaker(&self) -> Option<crate::SharedBreaker> {
        self.poller.shared_breaker()
    }

    /// Until when a foreign loop may sleep on this reactor's descriptor before it calls [`run_once`](Reactor::run_once): `None` for ever, a
    /// moment in the past while somebody is ready. May be early, never late.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        self.recover();
        self.look_after_freed();
        if self.state.anybody_ready() {
            return Some(self.poller.now());
        }
        let timer = self.timers().next();
        match (self.poller.next_deadline(), timer) {
            (Some(deadline), Some(timer)) => Some(deadline.min(timer)),
            (deadline, timer) => deadline.or(timer),
        }
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.poller.stats()
    }

    /// How many handlers there are.
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether no handler is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many descriptors are open.
    pub fn descriptors(&self) -> usize {
        self.poller.descriptors()
    }

    /// Whether `fd` is one of the reactor's own. Go's `netpollIsPollDescriptor`.
    pub fn is_poll_descriptor(&self, fd: impl AsFd) -> bool {
        self.poller.is_poll_descriptor(fd)
    }

    fn roster(&mut self) -> Roster<'_> {
        Roster { state: &mut self.state, headers: self.handlers.headers.reborrow() }
    }

    fn timers(&mut self) -> Queue<'_> {
        Queue::new(&mut self.state.timers, self.handlers.timers.reborrow())
    }

    /// All handlers, while none runs.
    fn outside(&mut self) -> (Handlers<'_, H>, Io<'_>) {
        self.recover();
        self.parts()
    }

    fn parts(&mut self) -> (Handlers<'_, H>, Io<'_>) {
        let HandlerParts { headers, timers, cells } = &mut self.handlers;
        let (headers, timers) = (headers.reborrow(), timers.reborrow());
        let handlers = Handlers { state: &mut self.state, headers, timers, before: cells, after: &mut [] };
        (handlers, self.poller.io_of(Waiter::new(NOBODY), NOBODY))
    }

    /// Ends a handler that a panic left half-run, and one that it left half-made. Before anything else is done from outside.
    #[inline]
    fn recover(&mut self) {
        // Where panics abort there is nobody left to recover.
        if cfg!(panic = "unwind") && (self.state.running != NIL || self.state.reserved != NIL) {
            self.recover_from_panic();
        }
    }

    #[cold]
    fn recover_from_panic(&mut self) {
        let running = core::mem::replace(&mut self.state.running, NIL);
        let reserved = core::mem::replace(&mut self.state.reserved, NIL);
        let (mut handlers, mut io) = self.parts();
        if reserved != NIL {
            handlers.undo(&mut io, reserved);
            handlers.roster().give_back(reserved);
        }
        if running != NIL {
            handlers.undo(&mut io, running);
            handlers.end(&mut io, running);
        }
    }

    /// Slots may have been freed: whoever waits for room gets a turn.
    fn look_after_freed(&mut self) {
        if self.poller.run().marks.has(Marks::FREED) {
            self.poller.run().marks = Marks::NONE;
            self.roster().begin_release();
        }
        if self.state.is_releasing() {
            // Whoever waits wants one of the two.
            let has_room = self.roster().has_room() || self.parts().1.has_descriptor_room();
            self.roster().release_next(has_room);
        }
    }

    fn pass(&mut self, timeout: Timeout, shared: &mut H::Shared) -> Result<(), Error> {
        self.recover();
        self.look_after_freed();
        let timeout = if self.state.anybody_ready() {
            Timeout::Now
        } else {
            match self.timers().next() {
                Some(timer) => self.poller.earlier(timeout, timer),
                None => timeout,
            }
        };
        if timeout != Timeout::Now {
            H::on_sleep(shared, &self.poller.stats());
        }
        let (state, headers) = (&mut self.state, self.handlers.headers.as_mut_slice());
        // One wait, so that `on_sleep` comes before each.
        let polled = self.poller.wait(timeout, true, |waiter| state.enqueue(headers, waiter.get()))?;
        self.fire_timers();
        if polled.woken {
            self.roster().wake();
        }
        self.roster().begin_round();
        while let Some(index) = self.roster().next() {
            self.dispatch(index, shared);
        }
        Ok(())
    }

    fn fire_timers(&mut self) {
        if self.state.timers.len() == 0 {
            return;
        }
        let now = self.poller.now();
        while let Some(index) = self.timers().due(now) {
            self.poller.count_deadline();
            let Some(header) = self.handlers.headers.get_mut(index) else { return self.timers().remove_first() };
            let passes = header.timer.advance(now);
            match header.timer.ahead() {
                Some(at) => self.timers().postpone_first(at),
                None => self.timers().remove_first(),
            }
            if passes {
                self.roster().enqueue(index);
            }
        }
    }

    #[inline]
    fn dispatch(&mut self, index: u32, shared: &mut H::Shared) {
        let HandlerParts { headers, timers, cells } = &mut self.handlers;
        let state = &mut self.state;
        let Some(header) = headers.get(index) else { return };
        let Some((before, rest)) = cells.split_at_mut_checked(index as usize) else { return };
        let Some((Cell::Live(handler), after)) = rest.split_first_mut() else { return };
        state.running = index;
        let run = self.poller.run();
        if let Some(turn) = &mut run.turn {
            turn.run = turn.run.wrapping_add(1);
        }
        run.owned = header.owned;
        run.marks.keep(Marks::FREED);
        let mut cx = Context {
            io: self.poller.io_of(Waiter::new(index), index),
            handlers: Handlers { state, headers: headers.reborrow(), timers: timers.reborrow(), before, after },
            shared,
        };
        let finished = match handler.on_ready(&mut cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                handler.on_error(error, &mut cx);
                true
            }
        };
        self.state.running = NIL;
        // By far the most common end of a run is a wait, and nothing else.
        if finished || self.poller.run().marks != Marks::WAITED {
            self.settle(index, finished);
        }
    }

    /// The rest of a run that was more than a wait.
    fn settle(&mut self, index: u32, finished: bool) {
        let &mut Run { owned, marks, .. } = self.poller.run();
        if marks.has(Marks::OWNED) {
            self.roster().set_owned(index, owned);
        }
        if finished || marks.has(Marks::ENDED) {
            let (mut handlers, mut io) = self.parts();
            handlers.end(&mut io, index);
        } else if marks.has(Marks::YIELDED) {
            self.roster().enqueue(index);
        } else {
            if marks.has(Marks::ROOM) {
                self.roster().wait_for_room(index);
            }
            if !marks.has(Marks::WAITED) && !marks.has(Marks::ROOM) && self.is_parked(index) {
                self.poller.count_parked();
            }
        }
    }

    /// Whether nothing but a notification will run this handler, which has just said `Pending` and waits for no gate that it waited for
    /// before, no timer, no wake.
    fn is_parked(&mut self, index: u32) -> bool {
        let Some(header) = self.handlers.headers.get(index) else { return false };
        let will_run = header.is_queued() || header.waits_for_wake() || header.timer.ahead().is_some();
        let owned = header.owned;
        !will_run && !self.poller.io_of(Waiter::new(index), index).any_wait(owned)
    }
}

impl<H: Handler> AsFd for Reactor<'_, H> {
    /// Readable while an event waits: nest it in a foreign loop, together with [`next_deadline`](Reactor::next_deadline).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl<H: Handler> Drop for Reactor<'_, H> {
    fn drop(&mut self) {
        self.handlers.clear();
    }
}
