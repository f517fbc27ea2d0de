//! Pipes, TCP, deadlines and a wake, in a program for CPUs on which rustix calls a C library (MIPS, s390x) and that Rust brings no
//! standard library for. It prints `ok`, or where it went wrong, and then ends with status 101.

#![no_std]
#![no_main]

use core::ffi::{c_char, c_int};
use core::fmt::Write;
use core::task::Poll;
use core::time::Duration;

use netpoll::net::{TcpListener, TcpStream};
use netpoll::os::pipe;
use netpoll::{Clock, Error, Instant, Io, Poller, PollerStorage, Timeout, Token, Waiter};

struct Output(c_int);

impl Write for Output {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // SAFETY: reads the bytes of the text, and no more.
        unsafe { libc::write(self.0, text.as_ptr().cast(), text.len()) };
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Output(2), "{info}");
    // SAFETY: ends the process.
    unsafe { libc::_exit(101) }
}

#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    tokens_come_back_whole();
    tcp_echo();
    deadlines();
    wakes();
    let _ = writeln!(Output(1), "ok");
    0
}

const ME: Waiter = Waiter::new(7);

/// Polls until an operation is through.
fn block<T>(poller: &mut Poller<'_>, mut operation: impl FnMut(&mut Io<'_>) -> Poll<Result<T, Error>>) -> Result<T, Error> {
    loop {
        if let Poll::Ready(done) = operation(&mut poller.io(ME)) {
            return done;
        }
        let mut run = 0;
        poller.poll(Timeout::Never, |waiter| run += u32::from(waiter == ME)).unwrap();
        assert_eq!(run, 1);
    }
}

/// The index in one half of 64 bits and the generation in the other, wherever the CPU puts which.
fn tokens_come_back_whole() {
    let mut storage = PollerStorage::<4>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let (first, _first) = pipe().unwrap();
    let _first_open = first.open(&mut poller.io(ME)).unwrap();
    for generation in 1..20 {
        let (reader, writer) = pipe().unwrap();
        let reader = reader.open(&mut poller.io(ME)).unwrap();
        let writer = writer.open(&mut poller.io(ME)).unwrap();
        assert_eq!(reader.token().generation(), generation);
        assert_eq!(Token::from_u64(reader.token().to_u64()), Some(reader.token()));
        assert!(reader.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
        assert_eq!(block(&mut poller, |io| writer.write(io, b"token")), Ok(5));
        let mut buf = [0; 8];
        assert_eq!(block(&mut poller, |io| reader.read(io, &mut buf)), Ok(5));
        assert_eq!(&buf[..5], b"token");
        reader.close(&mut poller.io(ME)).unwrap();
        writer.close(&mut poller.io(ME)).unwrap();
    }
}

/// A connection to itself; more than the sockets hold goes through, and the end of the stream.
fn tcp_echo() {
    const LEN: usize = 1 << 20;
    let mut storage = PollerStorage::<4>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = listener.open(&mut poller.io(ME)).unwrap();
    let client = TcpStream::connect(addr).unwrap().open(&mut poller.io(ME)).unwrap();
    let (server, peer) = block(&mut poller, |io| listener.accept(io)).unwrap();
    let server = server.open(&mut poller.io(ME)).unwrap();
    block(&mut poller, |io| client.poll_connected(io)).unwrap();
    assert!(peer.ip().is_loopback());

    let byte_at = |at: usize| (at * 31 / 7) as u8;
    let (mut sent, mut received) = (0, 0);
    let mut buf = [0; 4096];
    while received < LEN {
        let mut through = 0;
        if sent < LEN {
            let mut piece = [0; 4096];
            piece.iter_mut().enumerate().for_each(|(i, byte)| *byte = byte_at(sent + i));
            if let Poll::Ready(n) = client.write(&mut poller.io(ME), &piece[..piece.len().min(LEN - sent)]) {
                through += n.unwrap();
                sent += through;
            }
        }
        if let Poll::Ready(n) = server.read(&mut poller.io(ME), &mut buf) {
            let n = n.unwrap();
            assert!(buf[..n].iter().enumerate().all(|(i, &byte)| byte == byte_at(received + i)));
            through += n;
            received += n;
        }
        if through == 0 {
            poller.poll(Timeout::Never, |_| ()).unwrap();
        }
    }
    drop(client.close(&mut poller.io(ME)).unwrap());
    assert_eq!(block(&mut poller, |io| server.read(io, &mut buf)), Ok(0));
    let refused = TcpListener::bind(addr).map(|_| ()).unwrap_err();
    assert_eq!(refused, Error::Os(netpoll::Errno::ADDRINUSE));
}

/// They pass, never early; those after 2038 and far away do not.
fn deadlines() {
    let mut storage = PollerStorage::<4>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let (reader, _writer) = pipe().unwrap();
    let reader = reader.open(&mut poller.io(ME)).unwrap();
    let read = |poller: &mut Poller<'_>, after: Duration, timeout: Timeout| {
        reader.set_read_timeout(&mut poller.io(ME), Some(after)).unwrap();
        assert!(reader.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
        poller.poll(timeout, |_| ()).unwrap();
        reader.read(&mut poller.io(ME), &mut [0; 8])
    };
    let soon = Duration::from_millis(20);
    let began = Clock::Monotonic.now();
    assert_eq!(read(&mut poller, soon, Timeout::Never), Poll::Ready(Err(Error::TimedOut)));
    assert!(Clock::Monotonic.now() - began >= soon);
    for far in [(1 << 32) + 1, (1 << 31) * 1_000_000_000 + 1, u64::MAX] {
        assert!(read(&mut poller, Duration::from_nanos(far), Timeout::After(Duration::from_millis(1))).is_pending(), "{far}");
    }
    assert!(Clock::Boottime.now() > Instant::from_nanos(0));
}

fn wakes() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    for _ in 0..3 {
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Timeout::Never, |_| ()).unwrap().woken);
        assert!(!poller.poll(Timeout::Now, |_| ()).unwrap().woken);
    }
}
