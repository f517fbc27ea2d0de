//! [`UnixDatagram`]: datagrams between processes.

use core::task::{Poll, ready};

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::{SocketAddrUnix, SocketType};

use super::{RECV, SEND, UnixReceived, unix_fds, unix_socket};
use crate::descriptor::{Unopened, deadlines, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A socket for datagrams between processes of one machine. Go's `net.UnixConn` of the network "unixgram"; unix(7).
///
/// * **None is lost or overtaken**, unlike on a network: who sends too fast is told. On Linux a receiver keeps 10 datagrams and one more,
///   unless `/proc/sys/net/unix/max_dgram_qlen` says otherwise, and one of a pair as many as fit in the sender's buffer; on the BSDs, macOS
///   and iOS as many as fit in the receiver's, which is a few kilobytes.
/// * **A datagram is received whole or cut**: what does not fit in the buffer is lost, without an error.
///   [`recv_with_fds`](UnixDatagram::recv_with_fds), with room for none, says whether it was.
/// * **An empty datagram is one**: 0 bytes, no end. There is no end.
/// * **Who wants an answer has a name**: the address that `recv_from` gives is where the sender is bound. On Linux a client need not invent
///   a path for that: an unnamed address (`SocketAddrUnix::new_unnamed`) to [`bind`](UnixDatagram::bind) or
///   [`connect_from`](UnixDatagram::connect_from) becomes an abstract one that nobody has.
///
/// The file of a path stays when the socket is closed: see [`unlink_stale`](super::unlink_stale).
///
/// ```no_run
/// # use core::task::{Poll, ready};
/// # use netpoll::{Error, Io};
/// use netpoll::net::{SocketAddrUnix, UnixDatagram};
/// /// A line for the system's log.
/// fn log(io: &mut Io<'_>, socket: &UnixDatagram, line: &str) -> Poll<Result<(), Error>> {
///     socket.send(io, line.as_bytes()).map_ok(drop)
/// }
/// let to_log = UnixDatagram::connect(&SocketAddrUnix::new("/dev/log")?)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct UnixDatagram {
    token: Token,
}

descriptor!(UnixDatagram, interest: Interest::READ.union(Interest::WRITE), must_not_block: false);
deadlines!(UnixDatagram);
unix_socket::unix_addresses!(UnixDatagram);

impl UnixDatagram {
    /// Binds an address, to receive from anybody who may write to the file, and to be answered. Go's `ListenUnixgram`.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::bind`](super::UnixListener::bind).
    pub fn bind(addr: &SocketAddrUnix) -> Result<Unopened<UnixDatagram>, Error> {
        let fd = unix_socket::socket(SocketType::DGRAM)?;
        unix_socket::bind(&fd, addr)?;
        Ok(Unopened::new(fd))
    }

    /// Without an address: for sending where no answer is wanted.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as socket(2): `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn unbound() -> Result<Unopened<UnixDatagram>, Error> {
        Ok(Unopened::new(unix_socket::socket(SocketType::DGRAM)?))
    }

    /// Connects to one receiver, without an address of its own: for sending where no answer is wanted.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as socket(2) and connect(2): `ENOENT` when there is no such file, `ECONNREFUSED` when nobody has it or it is no
    /// socket, `EPROTOTYPE` when it is one of another type, `EACCES` without the right to write to the file, `EPERM` when the receiver is
    /// connected to another one, `EMFILE`.
    pub fn connect(addr: &SocketAddrUnix) -> Result<Unopened<UnixDatagram>, Error> {
        Ok(Unopened::new(unix_socket::connect(SocketType::DGRAM, addr)?))
    }

    /// Binds `local` and connects to one peer: sees nobody else's datagrams, and can be answered. Go's `DialUnix` with two addresses.
    ///
    /// # Errors
    ///
    /// As [`connect`](UnixDatagram::connect) and [`bind`](UnixDatagram::bind). The file of `local` may be there after an error.
    pub fn connect_from(addr: &SocketAddrUnix, local: &SocketAddrUnix) -> Result<Unopened<UnixDatagram>, Error> {
        let fd = unix_socket::socket(SocketType::DGRAM)?;
        unix_socket::bind(&fd, local)?;
        unix_socket::connect_to(&fd, addr)?;
        Ok(Unopened::new(fd))
    }

    /// Two that are connected to each other, without names. socketpair(2).
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as socketpair(2): `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn pair() -> Result<(Unopened<UnixDatagram>, Unopened<UnixDatagram>), Error> {
        let (one, other) = unix_socket::pair(SocketType::DGRAM)?;
        Ok((Unopened::new(one), Unopened::new(other)))
    }

    /// Receives one datagram, at most `buf.len()` bytes of it; what does not fit is lost, and descriptors that come with it are closed. An
    /// empty `buf` takes a datagram like any other.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the read deadline, [`Error::Os`] as recv(2): `ECONNRESET` once when the peer has connected to another one and
    /// lost what it had not received from here. [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn recv(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token, Direction::Read, |fd| rustix::net::recv(fd, &mut *buf, RECV).map(|(n, _)| n))
    }

    /// As [`recv`](UnixDatagram::recv), and says who sent it: [`send_to`](UnixDatagram::send_to) that address is the answer. Unnamed for
    /// one who was not bound.
    ///
    /// # Errors
    ///
    /// As [`recv`](UnixDatagram::recv).
    #[inline]
    pub fn recv_from(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<(usize, SocketAddrUnix), Error>> {
        let (n, _, from) = ready!(io.poll_io(self.token, Direction::Read, |fd| rustix::net::recvfrom(fd, &mut *buf, RECV)))?;
        Poll::Ready(Ok((n, unix_socket::address(from)?)))
    }

    /// Sends one datagram to the peer that the socket is connected to, whole or not at all; on Linux waits while the peer has as many as it
    /// keeps.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the write deadline, [`Error::Os`] as send(2): `ENOTCONN` when it is not connected, `EMSGSIZE` when the
    /// datagram is longer than the send buffer (212992 bytes on Linux unless changed, less some bookkeeping; 2 to 16 KiB elsewhere),
    /// `ECONNREFUSED` when the peer is gone, and `ENOTCONN` from then on, also when somebody has its address again. `ENOBUFS` on the BSDs,
    /// macOS and iOS when the peer has as many as it keeps: nothing tells when there is room, so set a timer and call again.
    /// [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn send(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token, Direction::Write, |fd| rustix::net::send(fd, buf, SEND))
    }

    /// Sends one datagram to anybody, whole or not at all, and never waits: nothing tells when a receiver that is not the connected one has
    /// room again. The write deadline does not count.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as sendto(2): `EAGAIN`, outside Linux `ENOBUFS`, when the receiver has as many as it keeps, so drop the datagram, or set
    /// a timer and call again.
    /// `ENOENT`, `ECONNREFUSED`, `EPROTOTYPE`, `EACCES` and `EPERM` as [`connect`](UnixDatagram::connect), `EMSGSIZE`; `EISCONN` outside
    /// Linux for a connected socket. [`Error::Closed`], [`Error::NotOwner`].
    pub fn send_to(&self, io: &mut Io<'_>, buf: &[u8], to: &SocketAddrUnix) -> Result<usize, Error> {
        let fd = io.fd(self.token)?;
        Ok(rustix::io::retry_on_intr(|| rustix::net::sendto(fd, buf, SEND, to))?)
    }

    /// As [`send`](UnixDatagram::send), and passes copies of descriptors, at most 253, with the datagram; see
    /// [`UnixStream::send_with_fds`](super::UnixStream::send_with_fds).
    ///
    /// # Errors
    ///
    /// As [`send`](UnixDatagram::send), and [`Error::Os`] with `EINVAL` for more descriptors, `ETOOMANYREFS` when this user has more under
    /// way than a process may have open.
    pub fn send_with_fds(&self, io: &mut Io<'_>, buf: &[u8], fds: &[BorrowedFd<'_>]) -> Poll<Result<usize, Error>> {
        unix_fds::send(io, self.token, buf, fds)
    }

    /// As [`recv_from`](UnixDatagram::recv_from), puts descriptors that come with the datagram into the empty slots of `fds`, in order, and
    /// tells all there is to know, also whether the datagram was cut. They are close-on-exec. What finds no room is closed, and
    /// [said](UnixReceived::fds_truncated).
    ///
    /// # Errors
    ///
    /// As [`recv`](UnixDatagram::recv).
    pub fn recv_with_fds(&self, io: &mut Io<'_>, buf: &mut [u8], fds: &mut [Option<OwnedFd>]) -> Poll<Result<UnixReceived, Error>> {
        unix_fds::recv(io, self.token, buf, fds)
    }
}
