//! polling: `Poller::notify`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use polling::{Events, Poller};

use super::{Peer, Wake};

pub struct Polling {
    poller: Arc<Poller>,
    events: Events,
    woken: &'static AtomicU64,
    /// A wake is no event: `wait` returns without any.
    started: bool,
}

impl Peer for Polling {
    type Waker = Arc<Poller>;

    fn new(woken: &'static AtomicU64) -> Polling {
        Polling { poller: Arc::new(Poller::new().unwrap()), events: Events::new(), woken, started: false }
    }

    fn waker(&self) -> Arc<Poller> {
        Arc::clone(&self.poller)
    }

    fn turn(&mut self, wait: bool) {
        self.events.clear();
        self.poller.wait(&mut self.events, (!wait).then_some(Duration::ZERO)).unwrap();
        // Which is why a turn that does not wait cannot tell: after the first one here each is woken.
        if self.events.is_empty() && std::mem::replace(&mut self.started, true) {
            self.woken.fetch_add(1, Ordering::Release);
        }
    }
}

impl Wake for Arc<Poller> {
    fn wake(&self) {
        self.notify().unwrap();
    }
}
