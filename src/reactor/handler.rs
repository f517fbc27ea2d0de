//! [`Handler`]: what a program writes; [`Callback`] for those who think in functions.

use core::fmt;
use core::task::Poll;

use super::context::Context;
use crate::error::Error;
use crate::poller::Stats;

/// One activity: a connection, a listener, a serial line, a timer. Usually an enum, whose variants are a program's kinds of activities.
///
/// A handler is written like a hand-made future, so that `core::task::ready!` and `?` make it read from top to bottom. It is run once when
/// it is spawned, and again whenever something that it waits for has happened; it then tries everything again.
///
/// ```
/// use core::task::{Poll, ready};
/// use core::time::Duration;
/// use netpoll::net::TcpStream;
/// use netpoll::{Context, Error, Handler};
///
/// struct Echo { stream: TcpStream, buf: [u8; 512], len: usize, sent: usize }
///
/// impl Handler for Echo {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             if self.sent == self.len { // all echoed: read more
///                 self.len = ready!(self.stream.read(cx, &mut self.buf))?; // TimedOut ends the handler
///                 self.sent = 0;
///                 if self.len == 0 { return Poll::Ready(Ok(())); } // end of file: finished
///                 self.stream.set_read_timeout(cx, Some(Duration::from_secs(60)))?; // pushed out by each arrival
///             }
///             self.sent += ready!(self.stream.write(cx, &self.buf[self.sent..self.len]))?;
///         }
///     }
/// }
/// ```
pub trait Handler: Sized {
    /// State that all handlers reach through [`Context::shared`], lent to [`Reactor::run`](crate::Reactor::run). `()` for none.
    type Shared;

    /// Why a handler fails: [`Error`], or an error of the program's own that `?` turns it into.
    type Error;

    /// Goes on as far as it can.
    ///
    /// `Pending`: keep me, and run me when something that I wait for happens (a gate, my timer, a wake, room, a notification, a yield).
    /// `Ready`: I am finished; the handler is dropped, its descriptors are closed, its slots are free. An `Err` goes to
    /// [`on_error`](Handler::on_error) first.
    ///
    /// A `Pending` that waits for nothing at all sleeps until somebody notifies it; [`Stats::parked_handlers`] counts these.
    ///
    /// # Errors
    ///
    /// Whatever ended the handler: usually passed on from an operation by `?`.
    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Self::Error>>;

    /// The handler failed and is about to be dropped; its descriptors are still open. Does nothing unless overridden, so that a listener's
    /// failure goes unnoticed.
    fn on_error(&mut self, error: Self::Error, cx: &mut Context<'_, Self>) {
        let _ = (error, cx);
    }

    /// The reactor is about to wait, and nobody is to be run; called before every wait. The place to feed a watchdog or to export metrics.
    /// Does nothing unless overridden.
    ///
    /// During a flood the reactor never waits: what must happen even then belongs into a handler with a timer, which runs in every pass.
    fn on_sleep(shared: &mut Self::Shared, stats: &Stats) {
        let _ = (shared, stats);
    }
}

/// A handler that is a plain function and its data.
///
/// ```
/// use core::task::Poll;
/// use netpoll::{Callback, Context, Error, Reactor, ReactorStorage};
///
/// fn count_down(left: &mut u32, cx: &mut Context<'_, Callback<(), u32>>) -> Poll<Result<(), Error>> {
///     if *left == 0 { return Poll::Ready(Ok(())); }
///     *left -= 1;
///     cx.yield_now();
///     Poll::Pending
/// }
///
/// let mut storage = ReactorStorage::<Callback<(), u32>, 1, 0>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// reactor.spawn(Callback { f: count_down, data: 3 })?;
/// reactor.run(&mut ())?;
/// # Ok::<(), Error>(())
/// ```
pub struct Callback<S, D> {
    /// What [`Handler::on_ready`] calls.
    #[allow(clippy::type_complexity)]
    pub f: fn(&mut D, &mut Context<'_, Callback<S, D>>) -> Poll<Result<(), Error>>,
    /// What it is given.
    pub data: D,
}

impl<S, D> Handler for Callback<S, D> {
    type Shared = S;
    type Error = Error;

    #[inline]
    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        (self.f)(&mut self.data, cx)
    }
}

impl<S, D: fmt::Debug> fmt::Debug for Callback<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("data", &self.data).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reactor, ReactorStorage, Timeout};
    use std::format;
    use std::string::String;

    fn describe(polls: &mut u64, cx: &mut Context<'_, Callback<String, u64>>) -> Poll<Result<(), Error>> {
        assert_eq!(cx.stats().polls, *polls);
        *cx.shared() = format!("{cx:?}");
        Poll::Ready(Ok(()))
    }

    #[test]
    fn handlers_and_contexts_print_whose_they_are() {
        let handler = |polls| Callback { f: describe, data: polls };
        assert_eq!(format!("{:?}", handler(7)), "Callback { data: 7, .. }");
        let mut storage = ReactorStorage::<_, 2, 1>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let mut text = String::new();
        for polls in 1..3 {
            let id = reactor.spawn(handler(polls)).unwrap();
            reactor.run_once(Timeout::Now, &mut text).unwrap();
            let start = format!("Context {{ id: {id:?}, io: Io {{ waiter: Waiter({}), stats: Stats {{ polls: {polls}, ", id.index());
            assert!(text.starts_with(&start), "{text}");
        }
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn shared_breaker_is_there_if_the_storage_is_on_the_heap() {
        fn waits_for_a_wake(_: &mut (), cx: &mut Context<'_, Callback<(), ()>>) -> Poll<Result<(), Error>> {
            cx.poll_wake().map(Ok)
        }
        let mut storage = crate::BoxedReactorStorage::with_capacity(1, 1);
        let mut reactor = Reactor::new(&mut storage).unwrap();
        reactor.spawn(Callback { f: waits_for_a_wake, data: () }).unwrap();
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        reactor.shared_breaker().unwrap().wake().unwrap();
        reactor.run(&mut ()).unwrap();
        let mut lent = ReactorStorage::<Callback<(), ()>, 1, 1>::new();
        assert!(Reactor::new(&mut lent).unwrap().shared_breaker().is_none());
    }
}
