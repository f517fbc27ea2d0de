//! [`pipe`], [`PipeReader`] and [`PipeWriter`]: pipes without a name, and with one (FIFOs).

use core::task::Poll;

use rustix::fs::OFlags;

use super::Arg;
use crate::descriptor::{Unopened, descriptor, read_deadline, reader, write_deadline, writer};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// Makes a pipe: what is written to the one end is read from the other (pipe(7)). Go's `os.Pipe`.
///
/// Both ends are non-blocking and close-on-exec, which does for threads and handlers of one program. A child wants a blocking end: see
/// [`PipeReader`].
///
/// ```
/// use netpoll::os;
/// let (reader, writer) = os::pipe()?; // each for `spawn_with`, or `open`
/// # Ok::<(), netpoll::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Os`], as pipe(2): `EMFILE`, `ENFILE`.
pub fn pipe() -> Result<(Unopened<PipeReader>, Unopened<PipeWriter>), Error> {
    let (reader, writer) = crate::arch::pipe()?;
    Ok((Unopened::new(reader), Unopened::new(writer)))
}

/// The end of a pipe or FIFO that is read from.
///
/// # A child's output
///
/// Each end of a pipe has a mode of its own, so the parent's end can be made non-blocking and the child's stays as programs expect it. A
/// blocking one is refused with `EINVAL` when it is opened.
///
/// ```no_run
/// use netpoll::{Unopened, os::PipeReader};
/// use netpoll::OwnedFd;
/// use std::process::{Command, Stdio};
///
/// let mut child = Command::new("logread").arg("-f").stdout(Stdio::piped()).spawn()?;
/// let ours = OwnedFd::from(child.stdout.take().unwrap());
/// rustix::io::ioctl_fionbio(&ours, true)?;
/// let output = Unopened::<PipeReader>::from(ours);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # A FIFO's writers come and go
///
/// ```
/// # use core::task::{Poll, ready};
/// use netpoll::os::PipeReader;
/// use netpoll::{Direction, Error, Io};
///
/// /// Reads commands from whoever writes some, and never ends.
/// fn read_command(io: &mut Io<'_>, fifo: &PipeReader, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
///     loop {
///         match ready!(fifo.read(io, buf))? {
///             0 => io.clear_ready(fifo.token(), Direction::Read)?, // nobody writes: wait for the next edge
///             n => return Poll::Ready(Ok(n)),
///         }
///         ready!(io.poll_ready(fifo.token(), Direction::Read))?;
///     }
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct PipeReader {
    token: Token,
}

descriptor!(PipeReader, interest: Interest::READ, must_not_block: true);
reader!(PipeReader);
read_deadline!(PipeReader);

impl PipeReader {
    /// Opens a FIFO (fifo(7), mkfifo(3)) for reading, whether or not somebody has it open for writing.
    ///
    /// While nobody has, a read answers 0, as at the end: before the first writer too, and again after the last one. Wait for the next one as
    /// above, or open it [for writing too](PipeReader::open_fifo_read_write): on illumos only so, where a wait ends at once as long as there
    /// is no writer. On macOS, which does not tell a reader that the last writer has gone, it is [`Error::NotPollable`]. A path of something else is opened as well; what cannot be waited
    /// for is refused with [`Error::NotPollable`] when the descriptor is opened.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as open(2): `ENOENT`, `EACCES`, `EMFILE`; `ENXIO` for a Unix socket, `ENAMETOOLONG`. On macOS and iOS
    /// [`Error::NotPollable`] when it is opened: their kqueue does not tell a FIFO's reader that the last writer is gone, and Go and libuv
    /// do not wait for them either.
    pub fn open_fifo(path: impl Arg) -> Result<Unopened<PipeReader>, Error> {
        Ok(Unopened::new(super::open(path, OFlags::RDONLY)?))
    }

    /// As [`open_fifo`](PipeReader::open_fifo), for reading and writing: the reader is a writer itself, so there is no end, and a read waits
    /// until somebody writes.
    ///
    /// POSIX leaves it undefined; Linux and the BSDs know it.
    ///
    /// # Errors
    ///
    /// As [`open_fifo`](PipeReader::open_fifo); `EISDIR` for a directory.
    pub fn open_fifo_read_write(path: impl Arg) -> Result<Unopened<PipeReader>, Error> {
        Ok(Unopened::new(super::open(path, OFlags::RDWR)?))
    }

    /// Reads what is there, at most `buf.len()` bytes; 0 when nobody has the other end open for writing and all is read. An empty `buf`
    /// answers 0 without a look.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the read deadline, [`Error::Os`] as read(2), [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io(self.token, Direction::Read, |fd| rustix::io::read(fd, &mut *buf))
    }
}

/// The end of a pipe or FIFO that is written to.
///
/// # SIGPIPE
///
/// A write that nobody can read raises `SIGPIPE`, which ends the program; pipes know no `MSG_NOSIGNAL`. So the program ignores the signal,
/// once, before its first write, and the write answers `EPIPE`. Programs with `std` do from the start. One without makes the call itself:
/// `signal(SIGPIPE, SIG_IGN)` where there is a C library, else the system call behind it, `rt_sigaction`. Children inherit it over exec(2).
///
/// # Room
///
/// A full pipe (64 KiB on Linux, 16 KiB and more on the BSDs) has room again when its reader has emptied a page of it, or on the BSDs
/// [`PIPE_BUF`](super::PIPE_BUF) bytes, not after each byte. Up to [`PIPE_BUF`](super::PIPE_BUF)
/// bytes are written whole or not at all, so that lines of several writers do not mix; more may be written in part.
#[derive(Debug, PartialEq, Eq)]
pub struct PipeWriter {
    token: Token,
}

descriptor!(PipeWriter, interest: Interest::WRITE, must_not_block: true);
writer!(PipeWriter);
write_deadline!(PipeWriter);

impl PipeWriter {
    /// Opens a FIFO (fifo(7)) for writing, which somebody must have open for reading.
    ///
    /// There is no waiting for a reader: come again by a timer. A path of something else is opened as well; what cannot be waited for is
    /// refused with [`Error::NotPollable`] when the descriptor is opened.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `ENXIO` when nobody reads; else as open(2): `ENOENT`, `EACCES`, `EISDIR`, `EMFILE`.
    pub fn open_fifo(path: impl Arg) -> Result<Unopened<PipeWriter>, Error> {
        Ok(Unopened::new(super::open(path, OFlags::WRONLY)?))
    }

    /// Writes as much as there is room for, and says how much; up to [`PIPE_BUF`](super::PIPE_BUF) bytes go whole or wait.
    /// An empty `buf` answers 0 without a look.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EPIPE` when nobody has the other end open for reading (and `SIGPIPE`: see [above](PipeWriter#sigpipe)).
    /// [`Error::TimedOut`] by the write deadline, [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn write(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io(self.token, Direction::Write, |fd| rustix::io::write(fd, buf))
    }
}
