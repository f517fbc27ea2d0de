//! [`UdpSocket`]: datagrams.

use core::net::SocketAddr;
use core::task::{Poll, ready};

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SocketAddrAny, SocketType, sockopt};

use super::inet_socket::{self, inet_socket};
use super::{Multicast, RECV, SEND, UdpOptions};
use crate::arch;
use crate::descriptor::{Unopened, deadlines, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A UDP socket. Go's `net.UDPConn`; udp(7).
///
/// One that is [bound](UdpSocket::bind) talks to anybody, one that is [connected](UdpSocket::connect) to one peer: it sees nobody else's
/// datagrams, and learns by `ECONNREFUSED` that the peer's port is not open.
///
/// * **A datagram is received whole or cut**: what does not fit in the buffer is lost, without an error. Give one byte more than the
///   longest that you expect (65507 over IPv4 is the longest there is), or ask [`recv_msg`](UdpSocket::recv_msg), which says whether it was
///   cut.
/// * **An empty datagram is one**: 0 bytes, no end. There is no end. An empty buffer takes a datagram like any other.
/// * **Datagrams get lost**: when the receive buffer is full the kernel drops what arrives and tells nobody; see
///   [`set_recv_buffer_size`](UdpSocket::set_recv_buffer_size).
/// * **An error concerns one datagram**, and the socket goes on. A server that ends by one lets any client end it.
///
/// On Linux sending costs a turn of the loop more, in which nobody is run: the kernel reports each time that what was sent has left the
/// send buffer (measured; one for several datagrams that are sent in one turn).
///
/// ```no_run
/// use core::net::SocketAddr;
/// use core::task::{Poll, ready};
/// use netpoll::net::UdpSocket;
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// /// Sends every datagram back.
/// struct Echo { socket: UdpSocket, buf: [u8; 2048], answer: Option<(usize, SocketAddr)> }
///
/// impl Handler for Echo {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             if let Some((len, peer)) = self.answer {
///                 let _lost = ready!(self.socket.send_to(cx, &self.buf[..len], peer)); // one peer cannot be reached: go on
///                 self.answer = None;
///             }
///             self.answer = Some(ready!(self.socket.recv_from(cx, &mut self.buf))?);
///         }
///     }
/// }
///
/// let mut storage = ReactorStorage::<Echo, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// let socket = UdpSocket::bind("[::]:7777".parse().unwrap())?; // IPv4 too
/// reactor.spawn_with(socket, |socket| Echo { socket, buf: [0; 2048], answer: None })?;
/// reactor.run(&mut ())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct UdpSocket {
    token: Token,
}

// A short answer proves nothing: only EAGAIN says that there is no other datagram.
descriptor!(UdpSocket, interest: Interest::READ.union(Interest::WRITE), must_not_block: false);
deadlines!(UdpSocket);
inet_socket!(UdpSocket);

/// What [`UdpSocket::recv_msg`] tells of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Received {
    /// How many bytes are in the buffers.
    pub len: usize,
    /// There were more than fitted, and they are lost.
    pub truncated: bool,
    /// Who sent it.
    pub from: SocketAddr,
}

impl Unopened<UdpSocket> {
    /// Its multicast groups and settings.
    pub fn multicast(&self) -> Multicast<'_> {
        Multicast::new(self.as_fd())
    }
}

impl UdpSocket {
    /// Binds an address, with Go's options; then it sends to and receives from anybody. Port 0 lets the system choose: see
    /// [`Unopened::local_addr`]. The wildcard `[::]` is for IPv4 too. Go's `ListenUDP`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as socket(2) and bind(2): `EADDRINUSE` ("address already in use"), `EADDRNOTAVAIL`, `EACCES` for a privileged port,
    /// `EMFILE`.
    pub fn bind(addr: SocketAddr) -> Result<Unopened<UdpSocket>, Error> {
        UdpSocket::bind_with(addr, &UdpOptions::default())
    }

    /// Binds an address.
    ///
    /// # Errors
    ///
    /// As [`bind`](UdpSocket::bind).
    pub fn bind_with(addr: SocketAddr, options: &UdpOptions) -> Result<Unopened<UdpSocket>, Error> {
        let fd = socket(addr, options)?;
        rustix::net::bind(&fd, &addr)?;
        Ok(Unopened::new(fd))
    }

    /// Connects to one peer, with Go's options. Nothing is sent, so it is done at once, whether or not anybody is there. Go's `DialUDP`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as socket(2) and connect(2): `ENETUNREACH` without a route, `EMFILE`.
    pub fn connect(addr: SocketAddr) -> Result<Unopened<UdpSocket>, Error> {
        UdpSocket::connect_with(addr, None, &UdpOptions::default())
    }

    /// Connects to one peer, from a local address if one is given.
    ///
    /// # Errors
    ///
    /// As [`connect`](UdpSocket::connect), and bind(2): `EADDRINUSE`, `EADDRNOTAVAIL`; `EINVAL` or `EAFNOSUPPORT` when the local address is
    /// of another family. `EACCES` for a broadcast address without [`broadcast`](UdpOptions::broadcast).
    pub fn connect_with(addr: SocketAddr, local: Option<SocketAddr>, options: &UdpOptions) -> Result<Unopened<UdpSocket>, Error> {
        let fd = socket(addr, options)?;
        if let Some(local) = local {
            rustix::net::bind(&fd, &local)?;
        }
        rustix::net::connect(&fd, &addr)?;
        Ok(Unopened::new(fd))
    }

    /// Receives one datagram, at most `buf.len()` bytes of it; what does not fit is lost. Go's `Read`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as recv(2): `ECONNREFUSED` once for each refusal that has come back to a connected socket; then call again.
    /// [`Error::TimedOut`] by the read deadline, [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn recv(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token, Direction::Read, |fd| rustix::net::recv(fd, &mut *buf, RECV).map(|(n, _)| n))
    }

    /// As [`recv`](UdpSocket::recv), and says who sent it: [`send_to`](UdpSocket::send_to) that address is the answer. Go's
    /// `ReadFromUDPAddrPort`.
    ///
    /// On an IPv6 socket an IPv4 peer looks like `::ffff:192.0.2.1`.
    ///
    /// # Errors
    ///
    /// As [`recv`](UdpSocket::recv).
    #[inline]
    pub fn recv_from(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<(usize, SocketAddr), Error>> {
        self.recv_from_with(io, buf, RECV)
    }

    /// As [`recv_from`](UdpSocket::recv_from), and leaves the datagram where it is (`MSG_PEEK`), whole: the next call gets it again.
    ///
    /// # Errors
    ///
    /// As [`recv`](UdpSocket::recv).
    pub fn peek_from(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<(usize, SocketAddr), Error>> {
        self.recv_from_with(io, buf, RECV | RecvFlags::PEEK)
    }

    #[inline]
    fn recv_from_with(&self, io: &mut Io<'_>, buf: &mut [u8], flags: RecvFlags) -> Poll<Result<(usize, SocketAddr), Error>> {
        let (n, _, from) = ready!(io.poll_io(self.token, Direction::Read, |fd| rustix::net::recvfrom(fd, &mut *buf, flags)))?;
        Poll::Ready(sender(from).map(|from| (n, from)))
    }

    /// Receives one datagram into several buffers in turn, and tells all there is to know of it, also whether it was cut: recvmsg(2), Go's
    /// `ReadMsgUDP`. At most 1024 buffers; more are an error of the kernel's (`EMSGSIZE`), and the datagram stays.
    ///
    /// ```no_run
    /// # use core::task::{Poll, ready};
    /// # use netpoll::{Errno, Error, Io};
    /// use netpoll::net::{IoSliceMut, UdpSocket};
    ///
    /// fn recv_whole(io: &mut Io<'_>, socket: &UdpSocket, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
    ///     let received = ready!(socket.recv_msg(io, &mut [IoSliceMut::new(buf)]))?;
    ///     Poll::Ready(if received.truncated { Err(Errno::MSGSIZE.into()) } else { Ok(received.len) })
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](UdpSocket::recv).
    pub fn recv_msg(&self, io: &mut Io<'_>, bufs: &mut [IoSliceMut<'_>]) -> Poll<Result<Received, Error>> {
        let message = ready!(
            io.poll_io(self.token, Direction::Read, |fd| { rustix::net::recvmsg(fd, bufs, &mut RecvAncillaryBuffer::default(), RECV) })
        )?;
        let truncated = message.flags.contains(ReturnFlags::TRUNC);
        Poll::Ready(sender(message.address).map(|from| Received { len: message.bytes, truncated, from }))
    }

    /// Sends one datagram to the peer that the socket is connected to, whole or not at all. Go's `Write`.
    ///
    /// `Pending` means that the send buffer is full: the interface takes less than is sent. The loopback interface takes everything.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as send(2). The datagram was not sent: `EDESTADDRREQ` when the socket is not connected, `EMSGSIZE` when it is too
    /// long for UDP (on the BSDs also for the send buffer), `ENETUNREACH`, `EHOSTUNREACH`, `EPERM` when a packet filter forbids it,
    /// `ENOBUFS` and `ENOMEM` when the kernel has no memory, or a queue is full (the BSDs): no edge follows, so set a timer or drop the
    /// datagram. `ECONNREFUSED` speaks of an *earlier* datagram: send this one again. [`Error::TimedOut`] by the write deadline,
    /// [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn send(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token, Direction::Write, |fd| rustix::net::send(fd, buf, SEND))
    }

    /// Sends one datagram to anybody, whole or not at all. Go's `WriteToUDPAddrPort`.
    ///
    /// An IPv6 socket reaches IPv4 peers by `::ffff:192.0.2.1`, on Linux also by their IPv4 address. On a connected socket Linux sends to
    /// the given address all the same; the BSDs answer `EISCONN`, as Go does everywhere.
    ///
    /// # Errors
    ///
    /// As [`send`](UdpSocket::send). `EACCES` for a broadcast address without [`broadcast`](UdpOptions::broadcast), `EAFNOSUPPORT` for an
    /// IPv6 address on an IPv4 socket, `EINVAL` for port 0.
    #[inline]
    pub fn send_to(&self, io: &mut Io<'_>, buf: &[u8], to: SocketAddr) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token, Direction::Write, |fd| rustix::net::sendto(fd, buf, SEND, &to))
    }

    /// Sends one datagram that is made of several buffers, to the connected peer or to anybody: sendmsg(2), Go's `WriteMsgUDP`. At most
    /// 1024 buffers; more are an error of the kernel's (`EMSGSIZE`).
    ///
    /// # Errors
    ///
    /// As [`send`](UdpSocket::send) or [`send_to`](UdpSocket::send_to).
    pub fn send_msg(&self, io: &mut Io<'_>, bufs: &[IoSlice<'_>], to: Option<SocketAddr>) -> Poll<Result<usize, Error>> {
        io.poll_io(self.token, Direction::Write, |fd| {
            let control = &mut SendAncillaryBuffer::default();
            match to {
                Some(to) => rustix::net::sendmsg_addr(fd, &to, bufs, control, SEND),
                None => rustix::net::sendmsg(fd, bufs, control, SEND),
            }
        })
    }

    /// Allows or forbids sending to broadcast addresses (`SO_BROADCAST`).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`].
    pub fn set_broadcast(&self, io: &mut Io<'_>, on: bool) -> Result<(), Error> {
        self.option(io, |fd| sockopt::set_socket_broadcast(fd, on))
    }

    /// How many routers a datagram to one machine may pass (`IP_TTL`, `IPV6_UNICAST_HOPS`; on Linux both for an IPv6 socket that is for IPv4 too, which elsewhere has one for both).
    /// Default: the system's, 64. For groups there is [`Multicast::set_ttl`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`] with `EINVAL` for 0 on IPv4.
    pub fn set_ttl(&self, io: &mut Io<'_>, ttl: u8) -> Result<(), Error> {
        let is_v6 = self.local_addr(io)?.is_ipv6();
        self.option(io, |fd| {
            if !is_v6 {
                return sockopt::set_ip_ttl(fd, ttl.into());
            }
            sockopt::set_ipv6_unicast_hops(fd, Some(ttl))?;
            arch::set_mapped_ttl(fd, ttl)
        })
    }

    /// Makes room for datagrams that were not received yet (`SO_RCVBUF`), in bytes; what finds no room is lost. Go's `SetReadBuffer`.
    ///
    /// Linux takes at most `/proc/sys/net/core/rmem_max` without saying so (but `EINVAL` for more than 2 GiB), and counts its own bookkeeping,
    /// which for a small datagram is several hundred bytes; it doubles the number for that. The BSDs refuse what is more than
    /// `kern.ipc.maxsockbuf` (FreeBSD, macOS; NetBSD and OpenBSD have other names for it).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`] with `ENOBUFS` on the BSDs.
    pub fn set_recv_buffer_size(&self, io: &mut Io<'_>, bytes: usize) -> Result<(), Error> {
        self.option(io, |fd| sockopt::set_socket_recv_buffer_size(fd, bytes))
    }

    /// Makes room for datagrams that the interface has not taken yet (`SO_SNDBUF`), in bytes; counted and limited as for
    /// [receiving](UdpSocket::set_recv_buffer_size), by `wmem_max`. Go's `SetWriteBuffer`.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`].
    pub fn set_send_buffer_size(&self, io: &mut Io<'_>, bytes: usize) -> Result<(), Error> {
        self.option(io, |fd| sockopt::set_socket_send_buffer_size(fd, bytes))
    }

    /// Its multicast groups and settings.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`].
    pub fn multicast<'a>(&self, io: &'a mut Io<'_>) -> Result<Multicast<'a>, Error> {
        io.fd(self.token).map(Multicast::new)
    }
}

/// A UDP socket of the address's family, without an address yet.
fn socket(addr: SocketAddr, options: &UdpOptions) -> Result<OwnedFd, Errno> {
    let fd = inet_socket::socket(addr, SocketType::DGRAM)?;
    if options.reuse_address {
        arch::share_datagrams(&fd)?;
    }
    if options.reuse_port {
        arch::share_port(&fd)?;
    }
    if let (SocketAddr::V6(_), Some(v6_only)) = (addr, options.v6_only) {
        arch::set_v6_only(&fd, v6_only)?;
    }
    if options.broadcast {
        sockopt::set_socket_broadcast(&fd, true)?;
    }
    Ok(fd)
}

/// Every datagram of IP has a sender; only a descriptor of another kind gives none.
fn sender(addr: Option<SocketAddrAny>) -> Result<SocketAddr, Error> {
    Ok(inet_socket::ip(addr.ok_or(Errno::AFNOSUPPORT)?)?)
}
