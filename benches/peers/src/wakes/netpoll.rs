//! netpoll: a `Breaker`, and a handler that waits for it; the same with storage on the heap; the poller alone; and looks before the wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, ready};

use netpoll::{Breaker, Context, Error, Handler, Poller, PollerStorage, Reactor, ReactorStorage, Stats, Timeout};

use super::{Peer, Wake};

/// Looks that find nothing before a wait that blocks.
const LOOKS: u32 = 20;

struct Waits(&'static AtomicU64);

impl Handler for Waits {
    type Shared = ();
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        loop {
            ready!(cx.poll_wake());
            self.0.fetch_add(1, Ordering::Release);
        }
    }
}

fn until(wait: bool) -> Timeout {
    if wait { Timeout::Never } else { Timeout::Now }
}

pub struct OnReactor(Reactor<'static, Waits>);

impl Peer for OnReactor {
    type Waker = Breaker<'static>;

    fn new(woken: &'static AtomicU64) -> OnReactor {
        let mut reactor = Reactor::new(Box::leak(Box::new(ReactorStorage::<Waits, 1, 0>::new()))).unwrap();
        reactor.spawn(Waits(woken)).unwrap();
        OnReactor(reactor)
    }

    fn waker(&self) -> Breaker<'static> {
        self.0.breaker()
    }

    fn turn(&mut self, wait: bool) {
        self.0.run_once(until(wait), &mut ()).unwrap();
    }
}

impl Wake for Breaker<'static> {
    #[inline]
    fn wake(&self) {
        Breaker::wake(*self).unwrap();
    }
}

/// As [`OnReactor`], but blocks only when it has looked some times and found nothing.
pub struct Looks {
    reactor: Reactor<'static, Waits>,
    looks: u32,
}

impl Peer for Looks {
    type Waker = Breaker<'static>;

    fn new(woken: &'static AtomicU64) -> Looks {
        Looks { reactor: OnReactor::new(woken).0, looks: 0 }
    }

    fn waker(&self) -> Breaker<'static> {
        self.reactor.breaker()
    }

    fn turn(&mut self, wait: bool) {
        let happened = |Stats { events, wakes, .. }| (events, wakes);
        let before = happened(self.reactor.stats());
        self.reactor.run_once(until(wait && self.looks >= LOOKS), &mut ()).unwrap();
        self.looks = if happened(self.reactor.stats()) == before { self.looks + 1 } else { 0 };
    }
}

#[cfg(feature = "alloc")]
pub use shared::Shared;

/// Storage on the heap, which the breaker shares.
#[cfg(feature = "alloc")]
mod shared {
    use netpoll::{BoxedReactorStorage, SharedBreaker};

    use super::*;

    pub struct Shared(Reactor<'static, Waits>);

    impl Peer for Shared {
        type Waker = SharedBreaker;

        fn new(woken: &'static AtomicU64) -> Shared {
            let mut reactor = Reactor::new(Box::leak(Box::new(BoxedReactorStorage::with_capacity(1, 0)))).unwrap();
            reactor.spawn(Waits(woken)).unwrap();
            Shared(reactor)
        }

        fn waker(&self) -> SharedBreaker {
            self.0.shared_breaker().unwrap()
        }

        fn turn(&mut self, wait: bool) {
            self.0.run_once(until(wait), &mut ()).unwrap();
        }
    }

    impl Wake for SharedBreaker {
        #[inline]
        fn wake(&self) {
            SharedBreaker::wake(self).unwrap();
        }
    }
}

pub struct OnPoller {
    poller: Poller<'static>,
    woken: &'static AtomicU64,
}

impl Peer for OnPoller {
    type Waker = Breaker<'static>;

    fn new(woken: &'static AtomicU64) -> OnPoller {
        OnPoller { poller: Poller::new(Box::leak(Box::new(PollerStorage::<0>::new()))).unwrap(), woken }
    }

    fn waker(&self) -> Breaker<'static> {
        self.poller.breaker()
    }

    fn turn(&mut self, wait: bool) {
        if self.poller.poll(until(wait), |_| {}).unwrap().woken {
            self.woken.fetch_add(1, Ordering::Release);
        }
    }
}
