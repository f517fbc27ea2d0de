//! mio: a `Waker`, which writes each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use super::{Peer, Wake};

const WAKE: Token = Token(0);

pub struct Mio {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    woken: &'static AtomicU64,
}

impl Peer for Mio {
    type Waker = Arc<Waker>;

    fn new(woken: &'static AtomicU64) -> Mio {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).unwrap());
        Mio { poll, events: Events::with_capacity(128), waker, woken }
    }

    fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    fn turn(&mut self, wait: bool) {
        self.poll.poll(&mut self.events, (!wait).then_some(Duration::ZERO)).unwrap();
        for event in &self.events {
            if event.token() == WAKE {
                self.woken.fetch_add(1, Ordering::Release);
            }
        }
    }
}

impl Wake for Arc<Waker> {
    fn wake(&self) {
        Waker::wake(self).unwrap();
    }
}
