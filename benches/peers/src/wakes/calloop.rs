//! calloop: a `Ping`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use calloop::EventLoop;
use calloop::ping::{Ping, make_ping};

use super::{Peer, Wake};

pub struct Calloop {
    event_loop: EventLoop<'static, ()>,
    ping: Ping,
}

impl Peer for Calloop {
    type Waker = Ping;

    fn new(woken: &'static AtomicU64) -> Calloop {
        let event_loop = EventLoop::try_new().unwrap();
        let (ping, source) = make_ping().unwrap();
        event_loop
            .handle()
            .insert_source(source, |(), _, ()| {
                woken.fetch_add(1, Ordering::Release);
            })
            .unwrap();
        Calloop { event_loop, ping }
    }

    fn waker(&self) -> Ping {
        self.ping.clone()
    }

    fn turn(&mut self, wait: bool) {
        self.event_loop.dispatch((!wait).then_some(Duration::ZERO), &mut ()).unwrap();
    }
}

impl Wake for Ping {
    fn wake(&self) {
        self.ping();
    }
}
