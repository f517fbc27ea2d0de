//! [`Netlink`]: what the kernel's subsystems announce; and the rule for announcements that were lost.

use core::task::{Poll, ready};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, sockopt};

use crate::descriptor::{Unopened, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A netlink(7) socket: requests to a subsystem of the kernel, and what it announces: links that come up and go down, addresses, routes.
///
/// Messages are bytes; crates like `netlink-packet-route` know what is in them.
///
/// ```no_run
/// # use core::task::{Poll, ready};
/// use netpoll::linux::{Netlink, Notice};
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// struct Links { netlink: Netlink, buf: [u8; 8192] }
///
/// impl Handler for Links {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             match ready!(self.netlink.recv(cx, &mut self.buf))? {
///                 Notice::Message(_message) => { /* an RTM_NEWLINK or RTM_DELLINK */ }
///                 Notice::Overrun => { /* ask for all links: send an RTM_GETLINK with NLM_F_DUMP */ }
///             }
///         }
///     }
/// }
///
/// const RTMGRP_LINK: u32 = 1;
/// let mut storage = ReactorStorage::<Links, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// reactor.spawn_with(Netlink::route(RTMGRP_LINK)?, |netlink| Links { netlink, buf: [0; 8192] })?;
/// reactor.run(&mut ())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Netlink {
    token: Token,
}

descriptor!(Netlink, interest: Interest::READ, must_not_block: false);
wait_deadline!(Netlink);

/// What comes from the kernel: a message, or the news that some did not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice<T> {
    /// The next message.
    Message(T),
    /// The receive buffer was full, and messages are lost (`ENOBUFS`): what is known of the kernel's state may be wrong, so ask for
    /// everything again. It goes on after that, with the messages that were not lost.
    Overrun,
}

/// A socket bound to a port of the kernel's choice and to groups, one bit each.
pub(super) fn socket(protocol: Option<Protocol>, groups: u32) -> Result<OwnedFd, Errno> {
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, protocol)?;
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
    Ok(fd)
}

/// Privileged processes may have as much as they like.
pub(super) fn set_receive_buffer(fd: BorrowedFd<'_>, bytes: usize) -> Result<(), Error> {
    match sockopt::set_socket_recv_buffer_size_force(fd, bytes) {
        Err(Errno::PERM) => Ok(sockopt::set_socket_recv_buffer_size(fd, bytes)?),
        set => Ok(set?),
    }
}

/// The kernel's next message. What other processes send here is passed over: they may say anything.
pub(super) fn recv<'b>(io: &mut Io<'_>, token: Token, buf: &'b mut [u8]) -> Poll<Result<Notice<&'b [u8]>, Error>> {
    let len = loop {
        let received = ready!(io.poll_io(token, Direction::Read, |fd| {
            let (_, len, sender) = rustix::net::recvfrom(fd, &mut *buf, RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
            Ok(is_kernel(sender).then_some(len))
        }));
        match received {
            Ok(Some(len)) => break len,
            Ok(None) => {}
            Err(Error::Os(Errno::NOBUFS)) => return Poll::Ready(Ok(Notice::Overrun)),
            Err(error) => return Poll::Ready(Err(error)),
        }
    };
    let buf: &'b [u8] = buf;
    Poll::Ready(buf.get(..len).map(Notice::Message).ok_or(Errno::MSGSIZE.into()))
}

fn is_kernel(sender: Option<SocketAddrAny>) -> bool {
    sender.is_some_and(|sender| SocketAddrNetlink::try_from(sender).is_ok_and(|sender| sender.pid() == 0))
}

impl Unopened<Netlink> {
    /// How many bytes of messages may wait, counted generously: a short message may take a thousand. The more, the rarer an overrun.
    ///
    /// More than `/proc/sys/net/core/rmem_max` needs `CAP_NET_ADMIN`; without it that is what it will be.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as setsockopt(2).
    pub fn set_receive_buffer(&self, bytes: usize) -> Result<(), Error> {
        set_receive_buffer(self.as_fd(), bytes)
    }
}

impl Netlink {
    /// Links, addresses and routes: rtnetlink(7). Each bit of `groups` is a group of announcements, none for requests only: 1 links, 0x10
    /// IPv4 addresses, 0x40 IPv4 routes, 0x100 IPv6 addresses, 0x400 IPv6 routes (`RTMGRP_…`).
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as socket(2) and bind(2): `EMFILE`, `ENFILE`, `ENOBUFS`.
    pub fn route(groups: u32) -> Result<Unopened<Netlink>, Error> {
        Ok(Unopened::new(socket(None, groups)?))
    }

    /// Another subsystem of the [`protocol`](super::protocol)s, with its first 32 groups.
    ///
    /// # Errors
    ///
    /// As [`route`](Netlink::route); `EPROTONOSUPPORT` when the kernel has no such subsystem, `EPERM` for groups that want privilege.
    pub fn bind(protocol: Protocol, groups: u32) -> Result<Unopened<Netlink>, Error> {
        Ok(Unopened::new(socket(Some(protocol), groups)?))
    }

    /// Receives the kernel's next datagram, which may hold several messages.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EMSGSIZE` when it was larger than `buf` and is lost: 8 KiB are enough for most, 32 KiB for any part of a long
    /// answer. [`Error::TimedOut`], [`Error::Closed`], [`Error::NotOwner`].
    pub fn recv<'b>(&self, io: &mut Io<'_>, buf: &'b mut [u8]) -> Poll<Result<Notice<&'b [u8]>, Error>> {
        recv(io, self.token, buf)
    }

    /// Sends a request to the kernel, which takes it at once: this never waits. Its answers come by [`recv`](Netlink::recv).
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as send(2): `ENOBUFS`, `EMSGSIZE`, `ECONNREFUSED` when the subsystem is not there. [`Error::Closed`],
    /// [`Error::NotOwner`].
    pub fn send(&self, io: &mut Io<'_>, request: &[u8]) -> Result<(), Error> {
        let (fd, kernel) = (io.fd(self.token)?, SocketAddrNetlink::new(0, 0));
        rustix::io::retry_on_intr(|| rustix::net::sendto(fd, request, SendFlags::DONTWAIT, &kernel))?;
        Ok(())
    }
}
