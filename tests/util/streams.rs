//! Kinds of streams behind one trait, so that a case can be tried on each of them; blocking calls and goroutines on a bare poller.

#![allow(dead_code)] // each test program uses a part of it

use std::task::Poll;
use std::time::Duration;

use netpoll::net::{TcpStream, UnixStream, Unopened};
use netpoll::{Clock, Direction, Error, Instant, Io, OwnedFd, Token, Waiter};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

use crate::util::{self, PATIENCE, READ, TestPoller, WRITE};

/// A kind of stream. Whoever adds one names it in [`of_every_stream`] or [`of_every_socket`] too.
pub trait Stream: Sized {
    /// Two open ends: what is written to the second is read from the first. Ends of sockets do both.
    fn pair(poller: &mut TestPoller<'_>) -> (Self, Self);

    fn token(&self) -> Token;

    fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token(), Direction::Read, |fd| rustix::io::read(fd, &mut *buf))
    }

    fn write(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token(), Direction::Write, |fd| rustix::io::write(fd, buf))
    }

    fn set_read_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) -> Result<(), Error> {
        io.set_deadline(self.token(), Direction::Read, at)
    }

    fn set_write_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) -> Result<(), Error> {
        io.set_deadline(self.token(), Direction::Write, at)
    }

    fn set_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) -> Result<(), Error> {
        self.set_read_deadline(io, at)?;
        self.set_write_deadline(io, at)
    }
}

/// The library's own types: by their own functions.
macro_rules! by_type {
    ($($kind:ident: $pair:expr;)*) => {$(
        impl Stream for $kind {
            fn pair(poller: &mut TestPoller<'_>) -> (Self, Self) {
                let (first, second) = $pair;
                let mut open = |fd: OwnedFd| Unopened::from(fd).open(&mut poller.io(Waiter::new(0))).unwrap();
                (open(first.into()), open(second.into()))
            }

            fn token(&self) -> Token {
                $kind::token(self)
            }

            fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
                $kind::read(self, io, buf)
            }

            fn write(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
                $kind::write(self, io, buf)
            }

            fn set_read_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) -> Result<(), Error> {
                $kind::set_read_deadline(self, io, at)
            }

            fn set_write_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) -> Result<(), Error> {
                $kind::set_write_deadline(self, io, at)
            }

            fn set_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) -> Result<(), Error> {
                $kind::set_deadline(self, io, at)
            }
        }
    )*};
}

by_type! {
    TcpStream: util::tcp_pair();
    UnixStream: util::socket_pair();
}

/// An end of a pipe, of a named pipe: by the descriptor.
macro_rules! by_descriptor {
    ($($kind:ident: $pair:expr, $first:expr, $second:expr;)*) => {$(
        pub struct $kind(Token);

        impl Stream for $kind {
            fn pair(poller: &mut TestPoller<'_>) -> (Self, Self) {
                let (first, second): (OwnedFd, OwnedFd) = $pair;
                ($kind(poller.open(first, $first)), $kind(poller.open(second, $second)))
            }

            fn token(&self) -> Token {
                self.0
            }
        }
    )*};
}

by_descriptor! {
    Pipe: util::pipe(), READ, WRITE;
    Fifo: fifo(), READ, WRITE;
}

/// Both ends of a named pipe, whose name is gone.
pub fn fifo() -> (OwnedFd, OwnedFd) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("netpoll-fifo-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let end = |flags| open(&path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let ends = (end(OFlags::RDONLY), end(OFlags::WRONLY));
    std::fs::remove_file(&path).unwrap();
    ends
}

/// Makes a test of each case for each kind of stream.
#[allow(unused_macros)]
macro_rules! of_every_stream {
    ($($case:ident),* $(,)?) => {
        $crate::streams::cases!(tcp: netpoll::net::TcpStream; $($case),*);
        $crate::streams::cases!(unix: netpoll::net::UnixStream; $($case),*);
        $crate::streams::cases!(pipe: $crate::streams::Pipe; $($case),*);
        $crate::streams::cases!(fifo: $crate::streams::Fifo; $($case),*);
    };
}

/// Makes a test of each case for each kind of stream whose ends do both.
#[allow(unused_macros)]
macro_rules! of_every_socket {
    ($($case:ident),* $(,)?) => {
        mod both_ways {
            $crate::streams::cases!(tcp: netpoll::net::TcpStream; $($case),*);
            $crate::streams::cases!(unix: netpoll::net::UnixStream; $($case),*);
            use super::*;
        }
    };
}

macro_rules! cases {
    ($kind:ident: $stream:ty; $($case:ident),*) => {
        mod $kind {
            $(
                #[test]
                fn $case() {
                    super::$case::<$stream>();
                }
            )*
        }
    };
}

#[allow(unused_imports)]
pub(crate) use {cases, of_every_socket, of_every_stream};

/// In whose name the test itself works.
pub const ME: Waiter = Waiter::new(1);

/// The time, on the pollers' clock.
pub fn now() -> Instant {
    Clock::Monotonic.now()
}

/// A moment before or after now, which saturates at both ends of the clock.
pub fn from_now(nanos: i64) -> Instant {
    let now = now();
    match u64::try_from(nanos) {
        Ok(ahead) => now + Duration::from_nanos(ahead),
        Err(_) => Instant::from_nanos(now.as_nanos().saturating_sub(nanos.unsigned_abs())),
    }
}

/// Does what a blocking call would do; fails if nobody is run although the operation waits.
#[track_caller]
pub fn block<T>(poller: &mut TestPoller<'_>, mut operation: impl FnMut(&mut Io<'_>) -> Poll<Result<T, Error>>) -> Result<T, Error> {
    loop {
        if let Poll::Ready(answer) = operation(&mut poller.io(ME)) {
            return answer;
        }
        let run = poller.turn(PATIENCE);
        assert_eq!(run, [ME.get()], "whoever waits, and nobody else");
    }
}

/// The operation waits, and goes on waiting for a tenth of a second.
#[track_caller]
pub fn must_not_return<T>(poller: &mut TestPoller<'_>, mut operation: impl FnMut(&mut Io<'_>) -> Poll<Result<T, Error>>) {
    assert!(operation(&mut poller.io(ME)).is_pending());
    assert_eq!(poller.turn(Duration::from_millis(100)), []);
    assert!(operation(&mut poller.io(ME)).is_pending());
}

/// Somebody else closes what the operation waits for: it comes back and says so.
#[track_caller]
pub fn close_ends<T>(poller: &mut TestPoller<'_>, token: Token, mut operation: impl FnMut(&mut Io<'_>) -> Poll<Result<T, Error>>) {
    assert!(operation(&mut poller.io(ME)).is_pending());
    drop(poller.close(token).unwrap());
    assert_eq!(poller.turn(PATIENCE), [ME.get()]);
    assert_eq!(operation(&mut poller.io(ME)).map(Result::err), Poll::Ready(Some(Error::Closed)));
}

/// What Go would run as a goroutine. Waits where it answers `Pending`.
pub type Goroutine<'g> = &'g mut dyn FnMut(&mut Io<'_>) -> Poll<()>;

/// Runs each goroutine once, and again whenever its waiter is handed out, until all have finished. Fails if nobody is run although somebody
/// waits.
#[track_caller]
pub fn go(poller: &mut TestPoller<'_>, goroutines: &mut [Goroutine<'_>]) {
    let mut finished = vec![false; goroutines.len()];
    let mut run: Vec<u32> = (0..goroutines.len() as u32).collect();
    loop {
        for &waiter in &run {
            let index = waiter as usize;
            finished[index] = finished[index] || goroutines[index](&mut poller.io(Waiter::new(waiter))).is_ready();
        }
        if finished.iter().all(|&finished| finished) {
            return;
        }
        run = poller.turn(PATIENCE);
        assert!(!run.is_empty(), "somebody waits, and nobody is run");
    }
}
