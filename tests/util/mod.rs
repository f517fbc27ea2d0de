//! What the integration tests share: descriptors of each kind, a poller that collects whom it would run, and processes of their own.
//!
//! Nothing here sleeps for a fixed time: what must happen is polled for up to [`PATIENCE`], what must not happen is asked for with
//! [`Timeout::Now`] after something that the kernel does at once (pipes and Unix sockets report before the call that causes it returns;
//! TCP need not).

#![allow(dead_code)] // each test program uses a part of it

use netpoll::{BorrowedFd, Clock, Direction, Errno, Error, Interest, LendPoller, OwnedFd, Poller, Timeout, Token, Waiter};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::fcntl_getfd;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::task::Poll;
use std::time::{Duration, Instant};

#[allow(clippy::duplicate_mod)] // some programs have both halves of this folder
#[path = "here.rs"]
mod here;
#[allow(unused_imports)] // each test program uses a part of it
pub use here::{EPOLL, EVENT_PORT, KQUEUE, has_fifos, has_priority, has_throughput, is_orderly, skip};

/// Longer than anything here takes on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Directions that are not chosen together with another one.
pub const READ: Interest = Interest::READ;
pub const WRITE: Interest = Interest::WRITE;
pub const BOTH: Interest = Interest::READ.union(Interest::WRITE);

// ---- Descriptors; all of them non-blocking and close-on-exec

/// The read end, then the write end.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap()
}

/// Two connected Unix stream sockets.
pub fn socket_pair() -> (OwnedFd, OwnedFd) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (a.into(), b.into())
}

/// A listener on a free port of the loopback interface.
pub fn tcp_listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Two connected TCP sockets without delays: the client, then the server.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    (client, server)
}

/// An unconnected UDP socket on a free port of the loopback interface.
pub fn udp_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Both ends of a pseudo-terminal in raw mode: the master, then the slave.
pub fn pty() -> (OwnedFd, OwnedFd) {
    use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    fcntl_setfl(&master, fcntl_getfl(&master).unwrap() | OFlags::NONBLOCK).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let slave = open(ptsname(&master, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
    let mut attributes = tcgetattr(&slave).unwrap();
    attributes.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &attributes).unwrap();
    (master, slave)
}

/// Another number for the same open file.
pub fn dup(fd: impl AsFd) -> OwnedFd {
    fd.as_fd().try_clone_to_owned().unwrap()
}

/// Writes all of `bytes`, which must fit.
pub fn write(fd: impl AsFd, bytes: &[u8]) {
    assert_eq!(rustix::io::write(fd, bytes), Ok(bytes.len()));
}

/// Writes until there is no room; says how much.
pub fn fill(fd: impl AsFd) -> usize {
    count_until_again(|| rustix::io::write(&fd, &[0; 4096]))
}

/// Reads until nothing is left or the stream ends; says how much.
pub fn drain(fd: impl AsFd) -> usize {
    count_until_again(|| rustix::io::read(&fd, &mut [0; 4096]))
}

fn count_until_again(mut call: impl FnMut() -> Result<usize, Errno>) -> usize {
    let mut total = 0;
    loop {
        match call() {
            Ok(0) | Err(Errno::AGAIN) => return total,
            Ok(n) => total += n,
            Err(errno) => panic!("after {total} bytes: {errno}"),
        }
    }
}

/// The descriptors that this process has open. Other tests of the same program open and close theirs: see [`alone`].
pub fn open_fds() -> Vec<i32> {
    // SAFETY: the number is asked for its flags only, which says EBADF for one that nobody has.
    (0..1024).filter(|&fd| fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok()).collect()
}

/// Both ends of the break pipe, by their numbers.
pub fn break_pipe_of(is_poll_descriptor: impl Fn(BorrowedFd<'_>) -> bool) -> [BorrowedFd<'static>; 2] {
    // SAFETY: the break pipe's are open, and nobody closes them while their owner lives; of others only the number is looked at.
    let fds = open_fds().into_iter().map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let modes = fds.filter(|&fd| is_poll_descriptor(fd)).map(|fd| (fcntl_getfl(fd).unwrap() & OFlags::RWMODE, fd));
    let ends = modes.filter(|&(mode, _)| mode != OFlags::RDWR).map(|(mode, fd)| (mode == OFlags::WRONLY, fd));
    let mut ends: Vec<_> = ends.collect();
    ends.sort_by_key(|end| end.0);
    let [(false, read), (true, write)] = ends[..] else { panic!("{ends:?}") };
    [read, write]
}

/// From here on the number stands for another open file.
pub fn replace(fd: BorrowedFd<'_>, with: impl AsFd) {
    // SAFETY: the number stays open.
    assert_ne!(unsafe { libc::dup2(with.as_fd().as_raw_fd(), fd.as_raw_fd()) }, -1);
}

// ---- The poller

/// A [`Poller`] whose waiters are plain numbers, handed out as a list.
pub struct TestPoller<'s>(Poller<'s>);

impl<'s> TestPoller<'s> {
    pub fn new<S: LendPoller>(storage: &'s mut S) -> TestPoller<'s> {
        TestPoller(Poller::new(storage).unwrap())
    }

    pub fn with_clock<S: LendPoller>(storage: &'s mut S, clock: Clock) -> TestPoller<'s> {
        TestPoller(Poller::with_clock(storage, clock).unwrap())
    }

    /// Opens a descriptor that there is room for and that can be waited for.
    pub fn open(&mut self, fd: impl Into<OwnedFd>, interest: Interest) -> Token {
        self.io(Waiter::new(0)).open(fd.into(), interest).unwrap()
    }

    /// Closes a descriptor in the name of nobody who waits.
    pub fn close(&mut self, token: Token) -> Result<OwnedFd, Error> {
        self.io(Waiter::new(u32::MAX)).close(token)
    }

    /// One `read` of up to 64 KiB in the name of `waiter`.
    pub fn read(&mut self, waiter: u32, token: Token) -> Poll<Result<Vec<u8>, Error>> {
        let mut bytes = vec![0; 65536];
        let read = self.io(Waiter::new(waiter)).poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut *bytes));
        read.map_ok(|n| bytes[..n].to_vec())
    }

    /// One `read` of a single byte in the name of `waiter`.
    pub fn read_byte(&mut self, waiter: u32, token: Token) -> Poll<Result<Option<u8>, Error>> {
        let mut byte = [0];
        let read = self.io(Waiter::new(waiter)).poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut byte));
        read.map_ok(|n| (n == 1).then_some(byte[0]))
    }

    /// One `write` in the name of `waiter`.
    pub fn write(&mut self, waiter: u32, token: Token, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        self.io(Waiter::new(waiter)).poll_io(token, Direction::Write, |fd| rustix::io::write(fd, bytes))
    }

    /// Reads to `EAGAIN`, so that `waiter` waits; says how much there was.
    pub fn wait_read(&mut self, waiter: u32, token: Token) -> usize {
        let mut total = 0;
        while let Poll::Ready(read) = self.read(waiter, token) {
            let bytes = read.unwrap();
            assert!(!bytes.is_empty(), "end of the stream instead of a wait");
            total += bytes.len();
        }
        total
    }

    /// Writes to `EAGAIN`, so that `waiter` waits; says how much there was room for.
    pub fn wait_write(&mut self, waiter: u32, token: Token) -> usize {
        let mut total = 0;
        while let Poll::Ready(written) = self.write(waiter, token, &[0; 4096]) {
            total += written.unwrap();
        }
        total
    }

    /// Forgets the readiness of `direction` and lets `waiter` wait for the next edge, without a system call.
    pub fn wait(&mut self, waiter: u32, token: Token, direction: Direction) {
        let mut io = self.io(Waiter::new(waiter));
        io.clear_ready(token, direction).unwrap();
        assert_eq!(io.poll_ready(token, direction), Poll::Pending);
    }

    /// Whether the next operation would make its system call. Whoever waits in that direction does not wait any more.
    pub fn is_ready(&mut self, token: Token, direction: Direction) -> bool {
        let mut io = self.io(Waiter::new(u32::MAX));
        match io.poll_ready(token, direction) {
            Poll::Ready(ready) => ready.map(|()| true).unwrap(),
            Poll::Pending => io.unwait(token, direction).map(|()| false).unwrap(),
        }
    }

    /// One poll: whom it handed out, in order.
    pub fn turn(&mut self, timeout: impl Into<Timeout>) -> Vec<u32> {
        let mut run = Vec::new();
        let polled = self.0.poll(timeout, |waiter| run.push(waiter.get())).unwrap();
        assert_eq!(polled.waiters as usize, run.len());
        run
    }

    /// Polls until each of `expected` was handed out; anybody else fails the test.
    #[track_caller]
    pub fn expect_waiters(&mut self, expected: &[u32]) {
        let (mut seen, end) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            seen.extend(self.turn(Timeout::After(Duration::from_millis(100))));
            seen.sort_unstable();
            seen.dedup();
            assert!(seen.iter().all(|waiter| expected.contains(waiter)), "expected {expected:?}, got {seen:?}");
            if expected.iter().all(|waiter| seen.contains(waiter)) {
                return;
            }
            assert!(Instant::now() < end, "expected {expected:?}, got {seen:?}");
        }
    }

    /// Nobody is to be run now.
    #[track_caller]
    pub fn expect_nobody(&mut self) {
        assert_eq!(self.turn(Timeout::Now), []);
    }

    /// Polls until the kernel has reported `events` more than when `before` was counted, whether or not anybody waits for them.
    #[track_caller]
    pub fn expect_events(&mut self, before: u64, events: u64) {
        let end = Instant::now() + PATIENCE;
        while self.stats().events < before + events {
            assert!(Instant::now() < end, "{} of {events} events", self.stats().events - before);
            self.expect_nobody();
        }
        assert_eq!(self.stats().events, before + events);
    }
}

impl<'s> Deref for TestPoller<'s> {
    type Target = Poller<'s>;

    fn deref(&self) -> &Poller<'s> {
        &self.0
    }
}

impl DerefMut for TestPoller<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Asks again and again until the answer is yes.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

// ---- Processes

/// Runs the test in a process of its own: for descriptor numbers and counts, signals, limits and forks. The test is the function that the
/// closure is written in, and runs on the process's main thread.
#[track_caller]
pub fn alone<F: FnOnce()>(test: F) {
    let name = name_of::<F>();
    if is_alone() { test() } else { expect_passed(&run_alone(name)) }
}

/// Ends this process if it takes longer: what hangs must fail.
pub fn limit_this_process(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("not finished in {limit:?}");
        std::process::exit(101);
    });
}

/// Whether this is the process that [`alone`] made.
pub fn is_alone() -> bool {
    std::env::var_os("NETPOLL_TEST_ALONE").is_some()
}

/// Runs the test `name` of this program again, in a process where [`is_alone`] holds.
pub fn run_alone(name: &str) -> Output {
    let arguments = ["--exact", name, "--test-threads=1", "--nocapture", "--include-ignored"];
    Command::new(std::env::current_exe().unwrap()).args(arguments).env("NETPOLL_TEST_ALONE", "1").output().unwrap()
}

#[track_caller]
pub fn expect_passed(output: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{}\n{stdout}\n{stderr}", output.status);
    // Lines that say what was skipped.
    std::io::stderr().write_all(&output.stderr).unwrap();
}

/// The path, within its program, of the test that a closure is written in.
pub fn name_of<F>() -> &'static str {
    let path = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_program, name)| name)
}
