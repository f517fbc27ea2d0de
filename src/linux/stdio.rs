//! [`Input`] and [`Output`]: standard input and output, and whatever else is shared, without changing it for others.

use core::task::Poll;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags};
use rustix::path::DecInt;
use rustix::termios::tcgetsid;

use crate::descriptor::{Unopened, descriptor, read_deadline, reader, write_deadline, writer};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// Bytes from a descriptor that others share and expect to block: standard input.
///
/// `O_NONBLOCK` belongs to the open file, which the shell and other programs use too, and which outlives this one: set there, it makes them fail
/// with `EAGAIN`. So what lies behind is opened anew, in a mode of its own.
///
/// | standard input is | |
/// |---|---|
/// | a terminal | opened anew. It gives lines, unless it is set otherwise; ^D gives 0, and reading may go on. A read of a program in the background stops it (`SIGTTIN`) |
/// | a pipe, a FIFO | opened anew. 0 is the end |
/// | a socket | duplicated, and called with `MSG_DONTWAIT` |
/// | a regular file, a directory, a block device | [`Error::NotPollable`] at once: a file never waits, it is just read |
/// | `/dev/null` and the like | [`Error::NotPollable`] when it is opened by the poller |
///
/// What the standard library's `Stdin` has buffered is not seen here: use the one or the other. Closing it leaves standard input open.
///
/// ```no_run
/// use core::task::{Poll, ready};
/// use netpoll::linux::Input;
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// /// Echoes lines; one that is too long in parts.
/// struct Echo { input: Input, buf: [u8; 256], len: usize }
///
/// impl Handler for Echo {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             let n = ready!(self.input.read(cx, &mut self.buf[self.len..]))?;
///             self.len += n;
///             while let Some(line) = self.buf[..self.len].split_inclusive(|&byte| byte == b'\n').next() {
///                 if !line.ends_with(b"\n") && n > 0 && line.len() < self.buf.len() { break; } // more of it is to come
///                 print!("{}", String::from_utf8_lossy(line));
///                 let end = line.len();
///                 self.buf.copy_within(end..self.len, 0);
///                 self.len -= end;
///             }
///             if n == 0 { return Poll::Ready(Ok(())); }
///         }
///     }
/// }
///
/// let mut storage = ReactorStorage::<Echo, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// let input = Input::reopen(std::io::stdin())?;
/// reactor.spawn_with(input, |input| Echo { input, buf: [0; 256], len: 0 })?;
/// reactor.run(&mut ())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Input {
    token: Token,
}

// Only sockets have a call that does not block on a blocking descriptor.
descriptor!(Input, interest: Interest::READ, must_not_block: true);
reader!(Input);
read_deadline!(Input);

/// Standard input, [opened anew](Input::reopen).
///
/// # Errors
///
/// As [`Input::reopen`].
#[cfg(feature = "std")]
pub fn stdin() -> Result<Unopened<Input>, Error> {
    Input::reopen(rustix::stdio::stdin())
}

impl Input {
    /// Opens anew what lies behind a descriptor: `std::io::stdin()` (with the feature `std`), or another one that the program inherited.
    ///
    /// # Errors
    ///
    /// [`Error::NotPollable`] for a regular file, a directory, a block device. [`Error::Os`]: `EACCES` when the program may not open what it
    /// was given, as a pipe of another user's (then a thread that reads and wakes the loop by its [`Breaker`](crate::Breaker) remains; a
    /// terminal is opened as `/dev/tty`, if it is the program's own). `ENOENT` without a `/proc`; `EIO` for a terminal that has hung up,
    /// `EBUSY` for one that somebody has for itself, `EMFILE`.
    pub fn reopen(fd: impl AsFd) -> Result<Unopened<Input>, Error> {
        Ok(Unopened::new(reopen(fd.as_fd(), OFlags::RDONLY)?))
    }

    /// Reads what is there, at most `buf.len()` bytes; 0 is the end, on a terminal that of a paragraph (^D). An empty `buf` answers 0 without
    /// a look.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as read(2): `EIO` when the terminal has hung up, or the program is in the background and nobody could bring it to the
    /// front. [`Error::TimedOut`] by the read deadline, [`Error::Closed`], [`Error::NotOwner`].
    pub fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io(self.token, Direction::Read, |fd| match rustix::net::recv(fd, &mut *buf, RecvFlags::DONTWAIT) {
            Err(Errno::NOTSOCK) => rustix::io::read(fd, &mut *buf),
            answer => answer.map(|(n, _)| n),
        })
    }
}

/// Bytes to a descriptor that others share and expect to block: standard output, of a program that must not wait for who reads it.
///
/// As [`Input`] has it: opened anew, or duplicated where it is a socket. A regular file is refused: what writes to it anew begins at its start.
/// Closing it leaves standard output open, so that its reader sees no end. `SIGPIPE`: see [`PipeWriter`](crate::os::PipeWriter#sigpipe).
///
/// ```no_run
/// use netpoll::linux::Output;
/// let output = Output::reopen(std::io::stdout())?; // for `spawn_with`
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    token: Token,
}

descriptor!(Output, interest: Interest::WRITE, must_not_block: true);
writer!(Output);
write_deadline!(Output);

/// Standard output, [opened anew](Output::reopen).
///
/// # Errors
///
/// As [`Output::reopen`].
#[cfg(feature = "std")]
pub fn stdout() -> Result<Unopened<Output>, Error> {
    Output::reopen(rustix::stdio::stdout())
}

impl Output {
    /// Opens anew what lies behind a descriptor.
    ///
    /// # Errors
    ///
    /// As [`Input::reopen`]; `ENXIO` for a FIFO that nobody reads.
    pub fn reopen(fd: impl AsFd) -> Result<Unopened<Output>, Error> {
        Ok(Unopened::new(reopen(fd.as_fd(), OFlags::WRONLY)?))
    }

    /// Writes as much as there is room for, and says how much. An empty `buf` answers 0 without a look.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as write(2): `EPIPE` when nobody reads, `EIO` when the terminal has hung up. [`Error::TimedOut`] by the write deadline,
    /// [`Error::Closed`], [`Error::NotOwner`].
    pub fn write(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io(self.token, Direction::Write, |fd| match rustix::net::send(fd, buf, SEND) {
            Err(Errno::NOTSOCK) => rustix::io::write(fd, buf),
            answer => answer,
        })
    }
}

/// The same file in a mode of its own. A socket has none and cannot be opened, so it is duplicated.
fn reopen(fd: BorrowedFd<'_>, how: OFlags) -> Result<OwnedFd, Error> {
    /// Not the place of a standard descriptor that was closed.
    const FIRST: i32 = 3;
    let how = how | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match FileType::from_raw_mode(fstat(fd)?.st_mode) {
        FileType::RegularFile | FileType::Directory | FileType::BlockDevice => return Err(Error::NotPollable),
        FileType::Socket => return Ok(fcntl_dupfd_cloexec(fd, FIRST)?),
        _ => {}
    }
    let own = retry_on_intr(|| open(c"/proc/self/fd", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))?;
    match retry_on_intr(|| openat(&own, DecInt::from_fd(fd), how, Mode::empty())) {
        // The terminal is that of another user who has become this one; it is the program's own all the same.
        Err(Errno::ACCESS | Errno::PERM) if tcgetsid(fd).is_ok() => Ok(retry_on_intr(|| open(c"/dev/tty", how, Mode::empty()))?),
        answer => Ok(answer?),
    }
}
