//! netpoll.

use std::task::{Poll, ready};

use netpoll::linux::EventFd;
use netpoll::net::{TcpStream, UnixStream};
use netpoll::{
    Context, Direction, Error, Handler, Interest, OwnedFd, Poller, PollerStorage, Reactor, ReactorStorage, Reader, Source, Timeout, Token,
    Unopened, Waiter,
};
use static_cell::ConstStaticCell;

use super::BUFFER;
use super::links::{self, Link, Links, forward, pass_on};
use crate::work::{Case, Work};

/// The most links that a case has.
const LINKS: usize = 19_000;

/// How far the chain has come, which all links know.
#[derive(Debug, Default)]
struct Progress {
    events: u64,
    target: u64,
}

/// One event more, and an end if it was the last one that is wanted.
#[inline]
fn count<H: Handler<Shared = Progress>>(cx: &mut Context<'_, H>) {
    let progress = cx.shared();
    progress.events += 1;
    if progress.events == progress.target {
        cx.stop();
    }
}

/// A link whose stream is read as programs read.
#[derive(Debug)]
struct Forward<S> {
    stream: S,
    link: Link,
}

impl<S: Reader> Handler for Forward<S> {
    type Shared = Progress;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let mut buf = [0; BUFFER];
        loop {
            let got = ready!(self.stream.read(cx, &mut buf))?;
            pass_on(self.link, &buf[..got]);
            count(cx);
        }
    }
}

/// A link whose counter is read as programs read it.
#[derive(Debug)]
struct Count {
    counter: EventFd,
    link: Link,
}

impl Handler for Count {
    type Shared = Progress;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        loop {
            let n = ready!(self.counter.poll_read(cx))?;
            pass_on(self.link, &n.to_ne_bytes());
            count(cx);
        }
    }
}

/// A link that makes its own calls: a read that fills less than the buffer was the last one, which is known of these descriptors, and which
/// the reactor is told.
#[derive(Debug)]
struct Short {
    token: Token,
    link: Link,
}

impl Handler for Short {
    type Shared = Progress;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let mut buf = [0; BUFFER];
        loop {
            let got = ready!(cx.poll_io(self.token, Direction::Read, |_| forward(self.link, &mut buf)))?;
            count(cx);
            if got < BUFFER {
                cx.clear_ready(self.token, Direction::Read)?;
            }
        }
    }
}

/// Handlers on a reactor in static storage.
struct OnReactor<H: Handler + 'static> {
    reactor: Reactor<'static, H>,
    progress: Progress,
}

impl<H: Handler<Shared = Progress> + 'static> Work for OnReactor<H> {
    fn run(&mut self, ops: u64) {
        self.progress.target += ops;
        // The pass in which the last one came may have gone beyond it.
        if self.progress.events < self.progress.target {
            self.reactor.run(&mut self.progress).expect("a wait");
        }
    }

    fn waits(&self) -> Option<u64> {
        Some(self.reactor.stats().polls)
    }
}

type Storage<H> = ReactorStorage<H, LINKS, LINKS>;

/// The type of the descriptors that suits the case.
pub fn reactor(case: &Case) -> Box<dyn Work> {
    static UNIX: ConstStaticCell<Storage<Forward<UnixStream>>> = ConstStaticCell::new(ReactorStorage::new());
    static TCP: ConstStaticCell<Storage<Forward<TcpStream>>> = ConstStaticCell::new(ReactorStorage::new());
    static COUNTER: ConstStaticCell<Storage<Count>> = ConstStaticCell::new(ReactorStorage::new());
    match case.parameters.first() {
        Some(&links::UNIX) => start(UNIX.take(), case, Unopened::from, |stream, link| Forward { stream, link }),
        Some(&links::TCP) => start(TCP.take(), case, Unopened::from, |stream, link| Forward { stream, link }),
        _ => start(COUNTER.take(), case, Unopened::from, |counter, link| Count { counter, link }),
    }
}

pub fn reactor_short(case: &Case) -> Box<dyn Work> {
    static STORAGE: ConstStaticCell<Storage<Short>> = ConstStaticCell::new(ReactorStorage::new());
    start(STORAGE.take(), case, |fd| (fd, Interest::READ), |token, link| Short { token, link })
}

fn start<H: Handler<Shared = Progress> + 'static, S: Source>(
    storage: &'static mut Storage<H>,
    case: &Case,
    source: impl Fn(OwnedFd) -> S,
    make: impl Fn(S::Opened, Link) -> H,
) -> Box<dyn Work> {
    let mut reactor = Reactor::new(storage).expect("a reactor");
    let links = Links::new(case);
    for &link in links.links {
        reactor.spawn_with(source(link.from()), |opened| make(opened, link)).map_err(|rejected| rejected.error).expect("room");
    }
    // All of them find nothing, and wait.
    let mut progress = Progress::default();
    reactor.run_once(Timeout::Now, &mut progress).expect("a wait");
    links.start();
    Box::new(OnReactor { reactor, progress })
}

/// The poller without handlers, as a runtime uses it. `SHORT`: a read that fills less than the buffer was the last one, which is known of
/// these descriptors, and which the poller is told.
struct OnPoller<const SHORT: bool> {
    poller: Poller<'static>,
    run: Vec<Waiter>,
    tokens: Vec<Token>,
    links: &'static [Link],
    events: u64,
    target: u64,
}

impl<const SHORT: bool> OnPoller<SHORT> {
    fn link(&mut self, waiter: Waiter) {
        let (token, link) = (self.tokens[waiter.get() as usize], self.links[waiter.get() as usize]);
        let mut io = self.poller.io(waiter);
        let mut buf = [0; BUFFER];
        while let Poll::Ready(got) = io.poll_io(token, Direction::Read, |_| forward(link, &mut buf)) {
            self.events += 1;
            if SHORT && got.expect("a token") < BUFFER {
                io.clear_ready(token, Direction::Read).expect("an open descriptor");
            }
        }
    }

    fn turn(&mut self, timeout: Timeout) {
        let mut run = std::mem::take(&mut self.run);
        self.poller.poll(timeout, |waiter| run.push(waiter)).expect("a wait");
        for waiter in run.drain(..) {
            self.link(waiter);
        }
        self.run = run;
    }
}

impl<const SHORT: bool> Work for OnPoller<SHORT> {
    fn run(&mut self, ops: u64) {
        self.target += ops;
        while self.events < self.target {
            self.turn(Timeout::Never);
        }
    }

    fn waits(&self) -> Option<u64> {
        Some(self.poller.stats().polls)
    }
}

pub fn poller(case: &Case) -> Box<dyn Work> {
    bare::<false>(case)
}

pub fn poller_short(case: &Case) -> Box<dyn Work> {
    bare::<true>(case)
}

fn bare<const SHORT: bool>(case: &Case) -> Box<dyn Work> {
    static STORAGE: ConstStaticCell<PollerStorage<LINKS>> = ConstStaticCell::new(PollerStorage::new());
    let mut poller = Poller::new(STORAGE.take()).expect("a poller");
    let links = Links::new(case);
    let waiters = (0..links.links.len() as u32).map(Waiter::new);
    let open = |(waiter, link): (Waiter, &Link)| poller.io(waiter).open(link.from(), Interest::READ).expect("room");
    let tokens = waiters.clone().zip(links.links).map(open).collect();
    let mut work = OnPoller::<SHORT> { poller, run: Vec::with_capacity(LINKS), tokens, links: links.links, events: 0, target: 0 };
    // All of them find nothing, and wait.
    waiters.for_each(|waiter| work.link(waiter));
    links.start();
    Box::new(work)
}
