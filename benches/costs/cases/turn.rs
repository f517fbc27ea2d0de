//! One pass of the loop: the wait, and who was waited for is run; they wait again without a call.

use core::task::{Poll, ready};

use netpoll::linux::EventFd;
use netpoll::{AsFd, Context, Direction, Error, Handler, Timeout};

use super::{reactor, settle};
use crate::meter::count;

const HANDLERS: usize = 1000;

struct Waits(EventFd);

impl Handler for Waits {
    type Shared = ();
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        loop {
            ready!(cx.poll_ready(self.0.token(), Direction::Read))?;
            cx.clear_ready(self.0.token(), Direction::Read)?;
        }
    }
}

pub fn turn(ready: usize) {
    let mut reactor = reactor();
    let mut adders = Vec::new();
    for index in 0..HANDLERS {
        let counter = EventFd::counter(0).unwrap();
        if ready > 0 && index % (HANDLERS / ready) == 0 {
            adders.push(counter.as_fd().try_clone_to_owned().unwrap());
        }
        reactor.spawn_with(counter, Waits).unwrap();
    }
    settle(&mut reactor, &mut ());
    for round in 0..16 {
        for adder in &adders {
            rustix::io::write(adder, &1u64.to_ne_bytes()).unwrap();
        }
        if round == 0 {
            reactor.run_once(Timeout::Now, &mut ()).unwrap();
        } else {
            count(1, || reactor.run_once(Timeout::Now, &mut ()).unwrap());
        }
    }
}

pub fn nothing() {
    for _ in 0..10 {
        count(1, || ());
    }
}
