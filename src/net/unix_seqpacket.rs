//! [`UnixSeqpacket`]: connections that keep the bounds of what is sent.

use core::task::Poll;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::SocketType;

use super::unix_socket::unix_connection;
use super::{RECV, SEND, UnixReceived, unix_fds};
use crate::descriptor::{deadlines, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A connection between two processes of one machine that carries records: what was sent by one call is received by one call. Go's
/// `net.UnixConn` of the network "unixpacket"; unix(7).
///
/// * **A record is received whole or cut**: what does not fit in the buffer is lost, without an error.
///   [`recv_with_fds`](UnixSeqpacket::recv_with_fds), with room for none, says whether it was.
/// * **0 is the end, or an empty record**: the kernel answers the same to both (so that Go takes an empty record for the end, too). A
///   protocol that wants to be understood sends none. What does tell them apart is `SO_PASSCRED`, set by the receiver: a record then has
///   credentials, the end has none.
/// * Records arrive in order, and none is lost: who sends too fast waits.
///
/// When the peer closes with records unread, the next call answers `ECONNRESET`, once, and then the end; sending to who is gone is `EPIPE`,
/// never `SIGPIPE`.
///
/// # Platform
///
/// Linux, FreeBSD, NetBSD, OpenBSD, DragonFly. macOS and iOS have none: making one is `EPROTONOSUPPORT`. Whether the end and an empty record
/// look alike is Linux's word.
///
/// ```no_run
/// # use core::task::{Poll, ready};
/// # use netpoll::{Error, Io};
/// use netpoll::net::UnixSeqpacket;
///
/// /// One question, one answer; nothing has to say where they end.
/// fn ask(io: &mut Io<'_>, socket: &UnixSeqpacket, asked: &mut bool, answer: &mut [u8]) -> Poll<Result<usize, Error>> {
///     if !*asked {
///         ready!(socket.send(io, b"status"))?;
///         *asked = true;
///     }
///     socket.recv(io, answer)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct UnixSeqpacket {
    token: Token,
}

descriptor!(UnixSeqpacket, interest: Interest::READ.union(Interest::WRITE), must_not_block: false);
deadlines!(UnixSeqpacket);
unix_connection!(UnixSeqpacket, SocketType::SEQPACKET);

impl UnixSeqpacket {
    /// Receives one record, at most `buf.len()` bytes of it; what does not fit is lost, and descriptors that come with it are closed. 0 is
    /// the end, or an empty record. An empty `buf` takes a record like any other.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the read deadline, [`Error::Os`] as recv(2), [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn recv(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token, Direction::Read, |fd| rustix::net::recv(fd, &mut *buf, RECV).map(|(n, _)| n))
    }

    /// Sends one record, whole or not at all. The peer takes an empty one for the end.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the write deadline, [`Error::Os`] as send(2): `EMSGSIZE` when it is longer than the send buffer (212992 bytes
    /// on Linux unless changed, less some bookkeeping; the BSDs have less), `EPIPE` when the peer is gone, or reads no more.
    /// [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn send(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token, Direction::Write, |fd| rustix::net::send(fd, buf, SEND))
    }

    /// As [`send`](UnixSeqpacket::send), and passes copies of descriptors, at most 253, with the record; see
    /// [`UnixStream::send_with_fds`](super::UnixStream::send_with_fds).
    ///
    /// # Errors
    ///
    /// As [`send`](UnixSeqpacket::send), and [`Error::Os`] with `EINVAL` for more descriptors, `ETOOMANYREFS` when this user has more under
    /// way than a process may have open.
    pub fn send_with_fds(&self, io: &mut Io<'_>, buf: &[u8], fds: &[BorrowedFd<'_>]) -> Poll<Result<usize, Error>> {
        unix_fds::send(io, self.token, buf, fds)
    }

    /// As [`recv`](UnixSeqpacket::recv), puts descriptors that come with the record into the empty slots of `fds`, in order, and tells all
    /// there is to know, also whether the record was cut. They are close-on-exec. What finds no room is closed, and
    /// [said](UnixReceived::fds_truncated).
    ///
    /// # Errors
    ///
    /// As [`recv`](UnixSeqpacket::recv).
    pub fn recv_with_fds(&self, io: &mut Io<'_>, buf: &mut [u8], fds: &mut [Option<OwnedFd>]) -> Poll<Result<UnixReceived, Error>> {
        unix_fds::recv(io, self.token, buf, fds)
    }
}
