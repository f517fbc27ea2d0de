//! Helpers for tests of the reactor and of `net`: handlers that are closures, and socket pairs with one blocking end.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Once;
use std::task::Poll;
use std::time::{Duration, Instant};

use netpoll::net::{TcpStream, Unopened};
use netpoll::{AsFd, Context, Error, Handler, OwnedFd, Reactor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[allow(clippy::duplicate_mod)] // some programs have both halves of this folder
#[path = "here.rs"]
mod here;
#[allow(unused_imports)] // each test program uses a part of it
pub use here::{EPOLL, EVENT_PORT, KQUEUE, has_fifos, has_throughput, is_orderly, skip};

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1_000_000_000) };
}

/// A clock that each test moves by hand.
pub fn manual() -> netpoll::Instant {
    netpoll::Instant::from_nanos(NOW.get())
}

pub fn advance(by: Duration) {
    NOW.set(NOW.get() + by.as_nanos() as u64);
}

/// A panic that nobody prints.
pub fn planned_panic() -> ! {
    resume_unwind(Box::new("as planned"))
}

/// Longer than anything here takes, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than all tests of a program take together. A loop that never comes back must fail, not hang: the names of those that still run are in libtest's output.
const LIMIT: Duration = Duration::from_secs(240);

pub fn limit_this_program() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::thread::spawn(|| {
            std::thread::sleep(LIMIT);
            eprintln!("not finished in {LIMIT:?}");
            std::process::exit(101);
        });
    });
}

pub type Answer = Poll<Result<(), Error>>;
type Act<S> = dyn FnMut(&mut Context<'_, Script<S>>) -> Answer;

/// The handler finished.
pub const DONE: Answer = Poll::Ready(Ok(()));

/// A handler that is a closure.
pub struct Script<S = ()>(Box<Act<S>>);

impl<S> Handler for Script<S> {
    type Shared = S;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Answer {
        (self.0)(cx)
    }
}

pub fn script<S>(act: impl FnMut(&mut Context<'_, Script<S>>) -> Answer + 'static) -> Script<S> {
    limit_this_program();
    Script(Box::new(act))
}

/// A list that closures share with the test.
pub struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(Rc::clone(&self.0))
    }
}

impl<T> Log<T> {
    pub fn new() -> Log<T> {
        Log(Rc::default())
    }

    pub fn push(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// What was logged since this was last asked.
    pub fn take(&self) -> Vec<T> {
        self.0.borrow_mut().split_off(0)
    }
}

/// Logs when it is dropped.
pub struct Guard<T: Clone>(pub Log<T>, pub T);

impl<T: Clone> Drop for Guard<T> {
    fn drop(&mut self) {
        self.0.push(self.1.clone());
    }
}

/// Passes until `done` says so.
#[track_caller]
pub fn run_until<H: Handler>(reactor: &mut Reactor<'_, H>, shared: &mut H::Shared, mut done: impl FnMut(&mut H::Shared) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(shared) {
        assert!(Instant::now() < end, "not in {PATIENCE:?}: {:?}", reactor.stats());
        reactor.run_once(Duration::from_millis(100), shared).unwrap();
    }
}

/// Passes that do not wait, as many as anything here takes to come to rest.
pub fn settle<H: Handler>(reactor: &mut Reactor<'_, H>, shared: &mut H::Shared) {
    for _ in 0..8 {
        reactor.run_once(Duration::ZERO, shared).unwrap();
    }
}

/// A blocking listener on a port of the system's choice.
pub fn std_listener() -> (StdListener, SocketAddr) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A blocking client, which gives up after [`PATIENCE`].
pub fn std_connect(address: SocketAddr) -> StdStream {
    limit_this_program();
    let stream = StdStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Takes over a socket of the standard library's.
pub fn unopened(stream: StdStream) -> Unopened<TcpStream> {
    stream.set_nonblocking(true).unwrap();
    Unopened::from(OwnedFd::from(stream))
}

/// A blocking peer and our end.
pub fn pair() -> (StdStream, Unopened<TcpStream>) {
    let (listener, address) = std_listener();
    let peer = std_connect(address);
    let (ours, _) = listener.accept().unwrap();
    (peer, unopened(ours))
}

/// A second descriptor of our end, which tells when something has arrived there: TCP need not deliver before `write` returns.
pub struct Probe(OwnedFd);

impl Probe {
    pub fn of(socket: &impl AsFd) -> Probe {
        Probe(socket.as_fd().try_clone_to_owned().unwrap())
    }

    /// Waits until all of `wanted` is reported.
    #[track_caller]
    pub fn wait(&self, wanted: PollFlags) {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut fds = [PollFd::new(&self.0, wanted)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })).unwrap();
            if fds[0].revents().contains(wanted) {
                return;
            }
            assert!(Instant::now() < end, "{:?} instead of {wanted:?}", fds[0].revents());
        }
    }

    #[track_caller]
    pub fn wait_readable(&self) {
        self.wait(PollFlags::IN);
    }
}

/// As [`pair`], and what tells when something has arrived at our end.
pub fn probed_pair() -> (StdStream, Unopened<TcpStream>, Probe) {
    let (peer, ours) = pair();
    let probe = Probe::of(&ours);
    (peer, ours, probe)
}

/// Whether the peer sees an end, or a reset: our end is closed.
#[track_caller]
pub fn assert_closed(mut peer: &StdStream) {
    // Not `read`: that ends by any signal.
    match peer.read_to_end(&mut Vec::new()) {
        Ok(0) => {}
        Ok(n) => panic!("{n} bytes instead of an end"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

/// Whether our end is still open.
#[track_caller]
pub fn assert_open(peer: &StdStream) {
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.peek(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    peer.set_nonblocking(false).unwrap();
}
