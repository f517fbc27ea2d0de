//! The ring of eventfds on mio and on netpoll.

use std::os::fd::{AsRawFd, RawFd};
use std::task::{Poll, ready};

use netpoll::linux::EventFd;
use netpoll::{BorrowedFd, Context, Direction, Error, Handler, Interest, OwnedFd, Reactor, ReactorStorage, Timeout, Token, Unopened};
use rustix::event::{EventfdFlags, eventfd};
use static_cell::ConstStaticCell;

use super::{BATCH, MOST, raise_limit};
use crate::work::{Case, Work};

const LINKS: usize = MOST as usize;

/// The counters of the ring, and for each the one that it is added to.
fn ring(case: &Case) -> (Vec<OwnedFd>, Vec<RawFd>) {
    let &[n, stride] = case.parameters else { panic!("{case:?}") };
    raise_limit();
    let fds: Vec<OwnedFd> = (0..n).map(|_| eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("a descriptor")).collect();
    let next = (0..n).map(|link| fds[((link + stride) % n) as usize].as_raw_fd()).collect();
    (fds, next)
}

/// Adds to a counter of the ring.
fn add(counter: RawFd, count: &[u8; 8]) {
    // SAFETY: no counter is closed before the process ends.
    let counter = unsafe { BorrowedFd::borrow_raw(counter) };
    assert_eq!(rustix::io::write(counter, count), Ok(8));
}

/// Lets `BATCH` of them count.
fn set_off(next: &[RawFd]) {
    next.iter().step_by(next.len() / BATCH).take(BATCH).for_each(|&counter| add(counter, &1u64.to_ne_bytes()));
}

/// A link: its counter, and the next one's.
#[derive(Debug)]
enum Link {
    /// As the library's own type has it: every event is read until it says `EAGAIN`.
    Natural(EventFd, RawFd),
    /// Registered for reading alone; and it knows that a counter that was read is zero.
    ReadOnly(Token, RawFd),
}

/// How far the ring has come.
#[derive(Debug, Default)]
struct Progress {
    events: u64,
    target: u64,
}

impl Handler for Link {
    type Shared = Progress;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        loop {
            match self {
                Link::Natural(counter, next) => {
                    let count = ready!(counter.poll_read(cx))?;
                    add(*next, &count.to_ne_bytes());
                }
                Link::ReadOnly(token, next) => {
                    let mut count = [0; 8];
                    ready!(cx.poll_io(*token, Direction::Read, |fd| rustix::io::read(fd, &mut count)))?;
                    cx.clear_ready(*token, Direction::Read)?;
                    add(*next, &count);
                }
            }
            let progress = cx.shared();
            progress.events += 1;
            if progress.events == progress.target {
                cx.stop();
            }
        }
    }
}

struct OnReactor {
    reactor: Reactor<'static, Link>,
    progress: Progress,
}

impl Work for OnReactor {
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

fn on_reactor(case: &Case, spawn: impl Fn(&mut Reactor<'static, Link>, OwnedFd, RawFd)) -> Box<dyn Work> {
    static STORAGE: ConstStaticCell<ReactorStorage<Link, LINKS, LINKS>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take()).expect("a reactor");
    let (fds, nexts) = ring(case);
    for (fd, &next) in fds.into_iter().zip(&nexts) {
        spawn(&mut reactor, fd, next);
    }
    // All of them find nothing, and wait.
    let mut progress = Progress::default();
    reactor.run_once(Timeout::Now, &mut progress).expect("a wait");
    set_off(&nexts);
    Box::new(OnReactor { reactor, progress })
}

pub fn natural(case: &Case) -> Box<dyn Work> {
    on_reactor(case, |reactor, fd, next| {
        reactor.spawn_with(Unopened::from(fd), |counter| Link::Natural(counter, next)).expect("room");
    })
}

pub fn read_only(case: &Case) -> Box<dyn Work> {
    on_reactor(case, |reactor, fd, next| {
        reactor.spawn_with((fd, Interest::READ), |token| Link::ReadOnly(token, next)).expect("room");
    })
}

struct Mio {
    poll: mio::Poll,
    events: mio::Events,
    fds: Vec<OwnedFd>,
    next: Vec<RawFd>,
    waits: u64,
}

pub fn mio(case: &Case) -> Box<dyn Work> {
    let poll = mio::Poll::new().expect("a poll");
    let (fds, next) = ring(case);
    for (link, fd) in fds.iter().enumerate() {
        let registered = poll.registry().register(&mut mio::unix::SourceFd(&fd.as_raw_fd()), mio::Token(link), mio::Interest::READABLE);
        registered.expect("room");
    }
    set_off(&next);
    Box::new(Mio { poll, events: mio::Events::with_capacity(128), fds, next, waits: 0 })
}

impl Work for Mio {
    fn run(&mut self, ops: u64) {
        let mut left = ops;
        while left > 0 {
            self.poll.poll(&mut self.events, None).expect("a wait");
            self.waits += 1;
            for event in &self.events {
                let mio::Token(link) = event.token();
                let mut count = [0; 8];
                if rustix::io::read(&self.fds[link], &mut count).is_ok() {
                    add(self.next[link], &count);
                    left = left.saturating_sub(1);
                }
            }
        }
    }

    fn waits(&self) -> Option<u64> {
        Some(self.waits)
    }
}
