//! netpoll.

use std::task::{Poll, ready};

use netpoll::linux::EventFd;
use netpoll::net::{TcpStream, UnixStream};
use netpoll::{Context, Error, Handler, HandlerId, Reactor, ReactorStorage, Timeout, Unopened};
use static_cell::ConstStaticCell;

use super::BUFFER;
use super::links::{self, Link, Links, pass_on};
use crate::work::{Case, Work};

/// The most links that a case has.
const LINKS: usize = 19_000;

/// A link: what it waits for, and where it forwards to.
#[derive(Debug)]
enum Forward {
    Unix(UnixStream, Link),
    Tcp(TcpStream, Link),
    Counter(EventFd, Link),
}

impl Handler for Forward {
    /// Events.
    type Shared = u64;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let mut buf = [0; BUFFER];
        loop {
            match self {
                Forward::Unix(stream, link) => {
                    let got = ready!(stream.read(cx, &mut buf))?;
                    pass_on(*link, &buf[..got]);
                }
                Forward::Tcp(stream, link) => {
                    let got = ready!(stream.read(cx, &mut buf))?;
                    pass_on(*link, &buf[..got]);
                }
                Forward::Counter(counter, link) => {
                    let n = ready!(counter.poll_read(cx))?;
                    pass_on(*link, &n.to_ne_bytes());
                }
            }
            *cx.shared() += 1;
        }
    }
}

/// Handlers on a reactor in static storage.
struct OnReactor {
    reactor: Reactor<'static, Forward>,
    events: u64,
    target: u64,
}

impl Work for OnReactor {
    fn run(&mut self, ops: u64) {
        self.target += ops;
        while self.events < self.target {
            self.reactor.run_once(Timeout::Never, &mut self.events).expect("a wait");
        }
    }

    fn waits(&self) -> Option<u64> {
        Some(self.reactor.stats().polls)
    }
}

fn spawn(reactor: &mut Reactor<'_, Forward>, kind: u64, link: Link) -> Result<HandlerId, Error> {
    let fd = link.from();
    Ok(match kind {
        links::UNIX => reactor.spawn_with(Unopened::from(fd), |stream| Forward::Unix(stream, link))?,
        links::TCP => reactor.spawn_with(Unopened::from(fd), |stream| Forward::Tcp(stream, link))?,
        _ => reactor.spawn_with(Unopened::from(fd), |counter| Forward::Counter(counter, link))?,
    })
}

pub fn reactor(case: &Case) -> Box<dyn Work> {
    static STORAGE: ConstStaticCell<ReactorStorage<Forward, LINKS, LINKS>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take()).expect("a reactor");
    let links = Links::new(case);
    for &link in links.links {
        spawn(&mut reactor, links.kind, link).expect("room");
    }
    // All of them find nothing, and wait.
    reactor.run_once(Timeout::Now, &mut 0).expect("a wait");
    links.start();
    Box::new(OnReactor { reactor, events: 0, target: 0 })
}
