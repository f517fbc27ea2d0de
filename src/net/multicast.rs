//! [`Multicast`]: groups that a UDP socket listens to, and how it sends to groups.

use core::net::{IpAddr, Ipv4Addr};

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::sockopt;

use super::inet_socket;
use crate::arch;
use crate::error::Error;

/// Which of the machine's interfaces a group is joined on, or datagrams to groups go out of.
///
/// A machine with several networks (a gateway) should always say which: the default follows the route to the group, which without a default
/// route is `ENODEV` or `ENETUNREACH`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MulticastInterface {
    /// The system's choice.
    #[default]
    Any,
    /// By its number: if_nametoindex(3), `/sys/class/net/eth0/ifindex`. Is there before it has an address. For IPv4 groups NetBSD, illumos
    /// and Solaris want an address instead: `EOPNOTSUPP`.
    Index(u32),
    /// By an address of its own; IPv4 only.
    Addr(Ipv4Addr),
}

impl MulticastInterface {
    fn v4(self) -> V4 {
        match self {
            MulticastInterface::Any | MulticastInterface::Index(0) => V4::Addr(Ipv4Addr::UNSPECIFIED),
            MulticastInterface::Index(index) => V4::Index(index),
            MulticastInterface::Addr(addr) => V4::Addr(addr),
        }
    }

    /// What IPv6 wants: a number.
    fn v6(self) -> Result<u32, Errno> {
        match self {
            MulticastInterface::Any => Ok(0),
            MulticastInterface::Index(index) => Ok(index),
            MulticastInterface::Addr(_) => Err(Errno::AFNOSUPPORT),
        }
    }
}

/// What IPv4 wants.
enum V4 {
    /// Unspecified for the system's choice.
    Addr(Ipv4Addr),
    Index(u32),
}

/// The multicast side of a [`UdpSocket`](super::UdpSocket), opened or not: what `multicast` gives. Each method is one `setsockopt`, after a
/// `getsockname` where it depends on the socket's family (ip(7), ipv6(7)).
///
/// Who listens binds a wildcard address with the group's port, with [`reuse_address`](super::UdpOptions::reuse_address), since other
/// programs want the same datagrams, then joins. Such a socket also gets what is sent to its port otherwise, and on Linux what is sent to
/// groups that only others on this machine have joined; one that is bound to the group's own address gets that group alone.
///
/// Who only sends joins nothing. Settings for sending are those of the socket's own family: for IPv4 groups use a socket with an IPv4
/// address.
///
/// ```no_run
/// use core::net::{IpAddr, Ipv4Addr};
/// use netpoll::net::{MulticastInterface, UdpOptions, UdpSocket};
///
/// let lan = MulticastInterface::Addr(Ipv4Addr::new(192, 168, 1, 1));
/// let mut options = UdpOptions::default();
/// options.reuse_address = true;
/// let ssdp = UdpSocket::bind_with("0.0.0.0:1900".parse().unwrap(), &options)?;
/// ssdp.multicast().join(IpAddr::from([239, 255, 255, 250]), lan)?;
/// ssdp.multicast().set_interface(lan)?;
/// ssdp.multicast().set_ttl(2)?; // what UPnP wants
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Multicast<'a> {
    fd: BorrowedFd<'a>,
}

impl<'a> Multicast<'a> {
    pub(super) fn new(fd: BorrowedFd<'a>) -> Multicast<'a> {
        Multicast { fd }
    }

    /// Listens to a group on one interface (`IP_ADD_MEMBERSHIP`, `IPV6_JOIN_GROUP`), until it is left or the socket closed. A socket can
    /// listen on several interfaces, by one call for each.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` for an address that is no group's, `ENODEV` when there is no such interface or no route to choose one by,
    /// `EADDRINUSE` when this socket has joined already, `ENOBUFS` for more groups than the system allows
    /// (`/proc/sys/net/ipv4/igmp_max_memberships`, 20; `ETOOMANYREFS` on the BSDs), `EAFNOSUPPORT` for an IPv6 group and an interface given
    /// by address, `EOPNOTSUPP` for an IPv4 group and an interface given by number where there is [no such thing](MulticastInterface::Index).
    /// The BSDs say `EADDRNOTAVAIL` where Linux says `ENODEV`.
    pub fn join(&self, group: IpAddr, on: MulticastInterface) -> Result<(), Error> {
        match group {
            IpAddr::V4(group) => match on.v4() {
                V4::Addr(addr) => sockopt::set_ip_add_membership(self.fd, &group, &addr)?,
                V4::Index(index) => arch::by_index::join(self.fd, group, index)?,
            },
            IpAddr::V6(group) => sockopt::set_ipv6_add_membership(self.fd, &group, on.v6()?)?,
        }
        Ok(())
    }

    /// Stops listening to a group; `on` as it was joined (`IP_DROP_MEMBERSHIP`, `IPV6_LEAVE_GROUP`). What has arrived can still be read.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EADDRNOTAVAIL` when it was not joined there, else as [`join`](Multicast::join).
    pub fn leave(&self, group: IpAddr, on: MulticastInterface) -> Result<(), Error> {
        match group {
            IpAddr::V4(group) => match on.v4() {
                V4::Addr(addr) => sockopt::set_ip_drop_membership(self.fd, &group, &addr)?,
                V4::Index(index) => arch::by_index::leave(self.fd, group, index)?,
            },
            IpAddr::V6(group) => sockopt::set_ipv6_drop_membership(self.fd, &group, on.v6()?)?,
        }
        Ok(())
    }

    /// Which interface datagrams to groups go out of (`IP_MULTICAST_IF`, `IPV6_MULTICAST_IF`). Default: the route's.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EADDRNOTAVAIL` (IPv4) or `ENODEV` (IPv6) when there is none, `EAFNOSUPPORT` for an address on an IPv6 socket,
    /// `EOPNOTSUPP` as [`join`](Multicast::join).
    pub fn set_interface(&self, on: MulticastInterface) -> Result<(), Error> {
        if self.is_v6()? {
            sockopt::set_ipv6_multicast_if(self.fd, on.v6()?)?;
            return Ok(());
        }
        match on.v4() {
            V4::Addr(addr) => sockopt::set_ip_multicast_if(self.fd, &addr)?,
            V4::Index(index) => arch::by_index::set_interface(self.fd, index)?,
        }
        Ok(())
    }

    /// How many networks datagrams to groups may cross (`IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`): 0 stays on this machine, 1, the
    /// default, on the local network.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EOPNOTSUPP` for IPv4 on OpenBSD.
    pub fn set_ttl(&self, ttl: u8) -> Result<(), Error> {
        match self.is_v6()? {
            true => sockopt::set_ipv6_multicast_hops(self.fd, ttl.into())?,
            false => arch::set_multicast_ttl(self.fd, ttl)?,
        }
        Ok(())
    }

    /// Whether what this socket sends to groups also comes to listeners on this machine, this socket included (`IP_MULTICAST_LOOP`,
    /// `IPV6_MULTICAST_LOOP`; the sender's setting counts). Default: yes; Go's `ListenMulticastUDP` turns it off. The loopback interface
    /// delivers all the same.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EOPNOTSUPP` for IPv4 on OpenBSD.
    pub fn set_loop(&self, on: bool) -> Result<(), Error> {
        match self.is_v6()? {
            true => sockopt::set_ipv6_multicast_loop(self.fd, on)?,
            false => arch::set_multicast_loop(self.fd, on)?,
        }
        Ok(())
    }

    fn is_v6(&self) -> Result<bool, Error> {
        Ok(inet_socket::local_addr(self.fd)?.is_ipv6())
    }
}
