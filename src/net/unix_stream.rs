//! [`UnixStream`]: connecting, reading, writing, passing descriptors.

use core::task::Poll;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::SocketType;

use super::byte_stream::byte_stream;
use super::unix_socket::unix_connection;
use super::{RECV, SEND, UnixReceived, unix_fds};
use crate::descriptor::{deadlines, descriptor, reader, writer};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A stream of bytes between two processes of one machine. Go's `net.UnixConn` of the network "unix"; unix(7).
///
/// Reads and writes are those of a [`TcpStream`](super::TcpStream). When the peer closes with data unread, the next read answers
/// `ECONNRESET`, once, and then the end; a write to who is gone is `EPIPE`, never `SIGPIPE`.
///
/// A short read proves nothing here: the kernel does not read across a message with descriptors, so there may be more behind it. It is
/// `EAGAIN` that says that there is none.
///
/// ```no_run
/// use netpoll::net::{SocketAddrUnix, UnixStream};
/// let by_path = UnixStream::connect(&SocketAddrUnix::new("/run/gateway.sock")?)?;
/// # #[cfg(any(target_os = "linux", target_os = "android"))]
/// let by_name = UnixStream::connect(&SocketAddrUnix::new_abstract_name(b"gateway")?)?; // Linux: no file, and no access rights
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct UnixStream {
    token: Token,
}

descriptor!(UnixStream, interest: Interest::READ.union(Interest::WRITE), must_not_block: false);
reader!(UnixStream);
writer!(UnixStream);
deadlines!(UnixStream);
byte_stream!(UnixStream);
unix_connection!(UnixStream, SocketType::STREAM);

impl UnixStream {
    /// Reads what is there, at most `buf.len()` bytes; 0 is the end of the stream. Data always comes before the end or an error. An empty
    /// `buf` answers 0 without a look. Descriptors that come with the data are closed.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the read deadline, [`Error::Os`] as recv(2), [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io(self.token, Direction::Read, |fd| rustix::net::recv(fd, &mut *buf, RECV).map(|(n, _)| n))
    }

    /// Writes as much as the kernel takes, and says how much. An empty `buf` answers 0 without a look.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the write deadline, [`Error::Os`] as send(2): `EPIPE` when the peer is gone, or reads no more.
    /// [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn write(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io(self.token, Direction::Write, |fd| rustix::net::send(fd, buf, SEND))
    }

    /// As [`write`](UnixStream::write), and passes copies of descriptors, at most 253, with the first byte (`SCM_RIGHTS`): as soon as this
    /// has answered a number, also a short one, they are under way, and the rest of `buf` is for [`write_all`](UnixStream::write_all).
    ///
    /// The receiver's copies share the open file, its offset and its `O_NONBLOCK`. A descriptor that the poller has is
    /// [closed](UnixStream::close) first, which gives it back.
    ///
    /// ```no_run
    /// # use core::task::{Poll, ready};
    /// # use netpoll::{AsFd, Error, Io, OwnedFd};
    /// # use netpoll::net::UnixStream;
    /// fn hand_over(io: &mut Io<'_>, stream: &UnixStream, file: &OwnedFd, line: &[u8], sent: &mut usize) -> Poll<Result<(), Error>> {
    ///     if *sent == 0 {
    ///         *sent = ready!(stream.send_with_fds(io, line, &[file.as_fd()]))?;
    ///     }
    ///     stream.write_all(io, line, sent)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`write`](UnixStream::write), and [`Error::Os`] with `EINVAL` for more descriptors, or some without a byte to carry them;
    /// `ETOOMANYREFS` when this user has more under way than a process may have open. Other systems may take fewer: `EINVAL`, `EMSGSIZE` or
    /// `ENOBUFS`.
    pub fn send_with_fds(&self, io: &mut Io<'_>, buf: &[u8], fds: &[BorrowedFd<'_>]) -> Poll<Result<usize, Error>> {
        match (buf, fds) {
            ([], []) => self.write(io, buf),
            // The kernel would answer 0 and pass nothing.
            ([], _) => Poll::Ready(Err(io.fd(self.token).err().unwrap_or(Errno::INVAL.into()))),
            _ => unix_fds::send(io, self.token, buf, fds),
        }
    }

    /// As [`read`](UnixStream::read), and puts descriptors that come with the data into the empty slots of `fds`, in order. They are
    /// close-on-exec, from the start where the kernel can do that (not on macOS, iOS, illumos and Solaris: a child that another thread starts
    /// at that moment inherits them). What finds no room is closed, and [said](UnixReceived::fds_truncated).
    ///
    /// They come with the first byte that they were sent with, at the latest: what was sent before without any may be read in one go with
    /// it, but never the descriptors of two messages.
    ///
    /// ```no_run
    /// # use core::task::{Poll, ready};
    /// # use netpoll::{Errno, Error, Io, OwnedFd};
    /// # use netpoll::net::UnixStream;
    /// /// Takes exactly one descriptor, with a byte.
    /// fn take(io: &mut Io<'_>, stream: &UnixStream) -> Poll<Result<OwnedFd, Error>> {
    ///     let mut fds = [None];
    ///     let received = ready!(stream.recv_with_fds(io, &mut [0], &mut fds))?;
    ///     let [fd] = fds;
    ///     Poll::Ready(match fd {
    ///         Some(fd) if !received.fds_truncated => Ok(fd),
    ///         _ => Err(Errno::BADMSG.into()),
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`read`](UnixStream::read).
    pub fn recv_with_fds(&self, io: &mut Io<'_>, buf: &mut [u8], fds: &mut [Option<OwnedFd>]) -> Poll<Result<UnixReceived, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).and_then(|_| UnixReceived::nothing()));
        }
        unix_fds::recv(io, self.token, buf, fds)
    }
}
