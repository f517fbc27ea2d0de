//! netpoll: a handler for each connection, and a budget of operations for each run of one.

use std::num::NonZeroU8;
use std::os::fd::OwnedFd;
use std::task::{Poll, ready};

use netpoll::net::{TcpStream, Unopened};
use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};

use super::{Counters, READ};

struct Connection {
    stream: TcpStream,
    is_quiet: bool,
}

impl Handler for Connection {
    type Shared = &'static Counters;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        loop {
            let n = ready!(self.stream.read(cx, &mut [0; READ]))?;
            assert_ne!(n, 0, "the client is gone");
            let counters: &Counters = cx.shared();
            if !self.is_quiet {
                counters.count();
                continue;
            }
            counters.has_run();
            if counters.is_over() {
                cx.stop();
            }
        }
    }
}

pub fn serve<const BUDGET: u8>(mut counters: &'static Counters, streams: Vec<std::net::TcpStream>) {
    let budget = NonZeroU8::new(BUDGET).unwrap();
    // On this thread's stack: each round has its own.
    let mut storage = ReactorStorage::<Connection, 16, 16>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap().with_budget(budget);
    let quiet = streams.len() - 1;
    for (at, stream) in streams.into_iter().enumerate() {
        let stream = Unopened::<TcpStream>::from(OwnedFd::from(stream));
        reactor.spawn_with(stream, |stream| Connection { stream, is_quiet: at == quiet }).unwrap();
    }
    reactor.run(&mut counters).unwrap();
}
