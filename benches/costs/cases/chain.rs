//! Connections in a ring: whoever receives a token sends it to the next. Nobody but the loop makes a call.

use core::task::{Poll, ready};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netpoll::net::TcpStream;
use netpoll::{Context, Error, Handler, Timeout, Unopened};
use rustix::net::{SendFlags, send};

use super::{listener, reactor, settle, tcp_pair};
use crate::meter::count;

const LINKS: usize = 1000;

struct Link {
    stream: TcpStream,
    next: BorrowedFd<'static>,
}

impl Handler for Link {
    type Shared = u64;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let mut buf = [0; 8];
        loop {
            let n = ready!(self.stream.read(cx, &mut buf))?;
            let _ = send(self.next, &buf[..n], SendFlags::NOSIGNAL);
            *cx.shared() += 1;
        }
    }
}

pub fn chain(active: usize) {
    let mut reactor = reactor();
    let listener = listener();
    let (receivers, senders): (Vec<_>, Vec<OwnedFd>) = (0..LINKS).map(|_| tcp_pair(&listener)).unzip();
    let senders: &'static [OwnedFd] = Box::leak(senders.into_boxed_slice());
    for (index, receiver) in receivers.into_iter().enumerate() {
        let next = senders[(index + 1) % LINKS].as_fd();
        reactor.spawn_with(Unopened::from(receiver), |stream| Link { stream, next }).unwrap();
    }
    let mut events = 0;
    settle(&mut reactor, &mut events);
    for sender in senders.iter().step_by(LINKS / active) {
        send(sender, b"x", SendFlags::NOSIGNAL).unwrap();
    }
    let mut pass = |until: u64| {
        while events < until {
            reactor.run_once(Timeout::Never, &mut events).unwrap();
        }
    };
    pass(1000);
    count(2000, || pass(3000));
}
