//! The cases of Go's `src/os/pipe_test.go` and `src/os/fifo_test.go`, under Go's names. The comment at each says what Go's test demands;
//! what it demands of a pipe is tried on every kind of stream.
//!
//! Go's cases that do not apply:
//!
//! * `TestStdPipe`: which descriptors' writes raise SIGPIPE is a policy of Go's runtime. This crate never does for sockets; for pipes the
//!   program ignores the signal, as Rust's standard library does.
//! * `TestFdRace`: 100 goroutines that call `Fd` at once; here one thread at a time has the poller. See `fd_read_race`.
//! * `TestOpenFileNonBlocking`, `TestNewFileNonBlock` and other cases of `os.NewFile`: nobody's mode is ever changed; see
//!   `close_with_blocking_read`.

#![cfg(target_os = "linux")]

#[path = "util/streams.rs"]
mod streams;
mod util;

use std::task::{Poll, ready};

use netpoll::net::{TcpStream, UnixStream, Unopened};
use netpoll::{Errno, Error, Io, OwnedFd, PollerStorage, Timeout, Waiter};
use rustix::pipe::{PipeFlags, pipe_with};
use streams::{ME, Pipe, Stream, block, close_ends, from_now, go, of_every_stream};
use util::{PATIENCE, READ, TestPoller};

fn with_poller(test: impl FnOnce(&mut TestPoller<'_>)) {
    test(&mut TestPoller::new(&mut PollerStorage::<4>::new()));
}

fn epipe<S: Stream>() {
    with_poller(|poller| {
        let (reader, writer) = S::pair(poller);
        drop(poller.close(reader.token()).unwrap());
        for _ in 0..20 {
            assert_eq!(block(poller, |io| writer.write(io, b"hi")), Err(Error::Os(Errno::PIPE)));
        }
    });
}

/// Every write to a pipe without a reader is EPIPE, 20 times. (TCP finds out later: see `epipe_never_sigpipe`.)
#[test]
fn epipe_of_what_is_local() {
    epipe::<Pipe>();
    epipe::<streams::Fifo>();
    epipe::<UnixStream>();
}

of_every_stream! {
    closed_pipe_race_read,
    closed_pipe_race_write,
    close_with_waiting_read,
    pipe_eof,
    fd_read_race,
}

/// A read that waits while its end is closed says that it is closed.
fn closed_pipe_race_read<S: Stream>() {
    with_poller(|poller| {
        let (reader, _writer) = S::pair(poller);
        close_ends(poller, reader.token(), |io| reader.read(io, &mut [0]));
    });
}

/// A write of more than fits that waits while its end is closed says that it is closed.
fn closed_pipe_race_write<S: Stream>() {
    with_poller(|poller| {
        let (_reader, writer) = S::pair(poller);
        let more = vec![0; 1 << 20];
        while writer.write(&mut poller.io(ME), &more).is_ready() {}
        close_ends(poller, writer.token(), |io| writer.write(io, &more));
    });
}

/// A read that waits does not keep its end from being closed, nor the other end from noticing.
fn close_with_waiting_read<S: Stream>() {
    with_poller(|poller| {
        let (reader, writer) = S::pair(poller);
        close_ends(poller, reader.token(), |io| reader.read(io, &mut [0]));
        let mut write = |io: &mut Io<'_>| {
            loop {
                if let Err(error) = ready!(writer.write(io, b"x")) {
                    assert!(matches!(error, Error::Os(Errno::PIPE | Errno::CONNRESET)), "{error}");
                    return Poll::Ready(());
                }
            }
        };
        go(poller, &mut [&mut write]);
    });
}

/// Each line is read when it is written, by a reader that waits for it, and the end when the writer is closed. (Go's `TestPipeEOF` and
/// `TestFifoEOF`.)
fn pipe_eof<S: Stream>() {
    if std::any::type_name::<S>().ends_with("::Fifo") && !util::has_fifos("fifo::pipe_eof") {
        return;
    }
    with_poller(|poller| {
        let (reader, writer) = S::pair(poller);
        let mut buf = [0; 64];
        for line in ["line 0\n", "line 1\n", "line 2\n"] {
            assert!(reader.read(&mut poller.io(ME), &mut buf).is_pending());
            assert_eq!(poller.turn(Timeout::Now), []);
            assert_eq!(writer.write(&mut poller.io(Waiter::new(2)), line.as_bytes()), Poll::Ready(Ok(line.len())));
            assert_eq!(block(poller, |io| reader.read(io, &mut buf)), Ok(line.len()));
            assert_eq!(&buf[..line.len()], line.as_bytes());
        }
        assert!(reader.read(&mut poller.io(ME), &mut buf).is_pending());
        drop(poller.close(writer.token()).unwrap());
        assert_eq!(poller.turn(PATIENCE), [ME.get()]);
        assert_eq!(block(poller, |io| reader.read(io, &mut buf)), Ok(0));
    });
}

/// Asking for the descriptor while a read with a deadline waits neither hangs nor ends that wait: data and closing do.
fn fd_read_race<S: Stream>() {
    with_poller(|poller| {
        let (reader, writer) = S::pair(poller);
        reader.set_read_deadline(&mut poller.io(ME), Some(from_now(60_000_000_000))).unwrap();
        assert!(reader.read(&mut poller.io(ME), &mut [0; 10]).is_pending());
        poller.io(Waiter::new(2)).fd(reader.token()).unwrap();
        assert_eq!(poller.turn(Timeout::Now), []);
        assert_eq!(writer.write(&mut poller.io(Waiter::new(2)), &[0; 10]), Poll::Ready(Ok(10)));
        assert_eq!(poller.turn(PATIENCE), [ME.get()]);
        assert_eq!(block(poller, |io| reader.read(io, &mut [0; 10])), Ok(10));
        close_ends(poller, reader.token(), |io| reader.read(io, &mut [0; 10]));
    });
}

/// Issue 20915. Reading from an empty descriptor that somebody else made non-blocking is not "unsupported"; Go answers EAGAIN, and allows
/// for waiting. (It waits.)
#[test]
fn read_nonblocking_fd() {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let somebody_else = util::dup(&ours);
    rustix::io::ioctl_fionbio(&somebody_else, true).unwrap();
    with_poller(|poller| {
        let token = poller.open(ours, READ);
        assert_eq!(poller.read_byte(1, token), Poll::Pending);
        util::write(&theirs, b"x");
        assert_eq!(poller.turn(PATIENCE), [1]);
        assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
    });
}

/// A read of a blocking descriptor does not keep it from being closed. (Go's cases `ByNewFile` and `ByFd`. A blocking pipe is refused where
/// debug assertions are on; a blocking socket is read without blocking.)
#[test]
fn close_with_blocking_read() {
    with_poller(|poller| {
        let (ours, _theirs) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        if cfg!(debug_assertions) {
            let rejected = poller.io(ME).open(ours, READ).unwrap_err();
            assert_eq!(rejected.error, Error::Os(Errno::INVAL));
        }
        let (client, _server) = util::tcp_pair();
        client.set_nonblocking(false).unwrap();
        let stream = Unopened::<TcpStream>::from(OwnedFd::from(client)).open(&mut poller.io(ME)).unwrap();
        close_ends(poller, stream.token(), |io| stream.read(io, &mut [0]));
    });
}
