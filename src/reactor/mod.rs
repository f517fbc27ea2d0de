//! [`Reactor`]: handlers, run one at a time, each when something it waits for has happened.

mod context;
mod handler;
mod outbox;
mod pass;
mod roster;
mod storage;

use core::num::NonZeroU8;

use rustix::fd::{AsFd, BorrowedFd};

pub use context::Context;
pub use handler::{Callback, Handler};
pub use outbox::Outbox;
pub use roster::HandlerId;
#[cfg(feature = "alloc")]
pub use storage::BoxedReactorStorage;
pub use storage::{LendReactor, ReactorStorage};

use crate::breaker::Breaker;
use crate::error::{Error, Rejected};
use crate::gates::Waiter;
use crate::poll_desc::NOBODY;
use crate::poller::{Io, Poller, Stats, Timeout};
use crate::source::Source;
use crate::time::{Clock, Instant};
use context::Handlers;
use roster::{NIL, ReactorState, Roster};
use storage::{HandlerParts, ReactorParts};

/// System calls per direction of a descriptor and run of a handler, unless [`Reactor::with_budget`] says otherwise.
const DEFAULT_BUDGET: NonZeroU8 = NonZeroU8::new(32).unwrap();

/// The event loop: a [`Poller`] and the handlers that it runs.
///
/// Single-threaded; for several cores make one reactor for each. It is `Send` if its handlers are.
///
/// # A pass
///
/// 1. If nobody is ready: [`Handler::on_sleep`], then wait for the kernel, the next deadline or a wake. Else look without waiting.
/// 2. All that has happened is noted: readiness, then deadlines, then timers, then a wake.
/// 3. Everyone concerned runs once: first whom the kernel has woken, in its order, then the others, first come, first served; but where
///    somebody has waited for room that has come, those who were ready before the wait first. Who becomes ready meanwhile runs in the next
///    pass.
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
        let state = ReactorState::new(handlers.places.len());
        Ok(Reactor { state, handlers, poller: Poller::on_parts(poller, clock)? }.with_budget(DEFAULT_BUDGET))
    }

    /// Sets how many system calls each direction of a descriptor gets at the most in one run of its handler, 32 if this is not called. When
    /// they are used up its operations answer `Pending` and the handler goes to the tail of the ready list, so that a flood on one descriptor
    /// delays everybody else by at most this many calls for each direction that is flooded. Half of them are shared by all that the handler
    /// does, the other half is each direction's own, so that a flood in one starves no other. A listener accepts as many in each round; where thousands
    /// of busy handlers make rounds long, several listeners on a port share the work.
    #[must_use]
    pub fn with_budget(mut self, budget: NonZeroU8) -> Reactor<'s, H> {
        self.poller.run().set_budget(budget);
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
        self.state.stop();
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
        // The last handler may be one that a panic has left half-run.
        self.recover();
        if self.state.take_stop() {
            return Ok(());
        }
        self.turn(Timeout::Never, false, shared)
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
        self.turn(timeout.into(), true, shared)
    }

    // One function for both, so that the loop and the handlers are compiled once.
    fn turn(&mut self, timeout: Timeout, once: bool, shared: &mut H::Shared) -> Result<(), Error> {
        let (handlers, io) = self.outside();
        let mut cx = Context { io, handlers, shared };
        cx.handlers.state.is_over |= once;
        // Of a pass that a panic has ended, which was its answer.
        cx.handlers.state.failed = None;
        loop {
            cx.pass(timeout)?;
            if cx.handlers.state.is_over {
                if let Some(error) = cx.handlers.state.failed.take() {
                    return Err(error);
                }
                if once || cx.handlers.state.take_stop() {
                    return Ok(());
                }
            }
        }
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
        let (mut handlers, mut io) = self.outside();
        handlers.look_after_freed(&mut io);
        if handlers.roster().anybody_ready() {
            return Some(io.now());
        }
        let timer = handlers.timers().next();
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

    /// All handlers, while none runs.
    fn outside(&mut self) -> (Handlers<'_, H>, Io<'_>) {
        self.recover();
        self.parts()
    }

    fn parts(&mut self) -> (Handlers<'_, H>, Io<'_>) {
        let HandlerParts { headers, timers, places } = &mut self.handlers;
        let (headers, timers) = (headers.reborrow(), timers.reborrow());
        let handlers = Handlers { state: &mut self.state, headers, timers, places };
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
        let (mut handlers, mut io) = self.parts();
        handlers.undo_half_made(&mut io);
        if running != NIL {
            handlers.undo(&mut io, running);
            handlers.end(&mut io, running);
        }
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
