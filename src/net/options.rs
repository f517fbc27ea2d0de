//! What can be chosen for a socket: [`ListenOptions`], [`ConnectOptions`], [`KeepAlive`] and [`UdpOptions`].

use core::net::SocketAddr;
use core::time::Duration;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::arch;

/// How the kernel finds out that a silent peer is gone (`SO_KEEPALIVE`, `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`; tcp(7)).
///
/// Linux takes at most 32 767 s and 127 probes; more is `EINVAL` when it is applied. On OpenBSD a socket has no times of its own: the
/// default stands for the system's (`sysctl net.inet.tcp.keepidle`: two hours), anything else is `EOPNOTSUPP`. Solaris has them from 11.4 on.
///
/// ```
/// use core::time::Duration;
/// use netpoll::net::KeepAlive;
/// assert_eq!(KeepAlive::default(), KeepAlive { idle: Duration::from_secs(15), interval: Duration::from_secs(15), count: 9 }); // Go's
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepAlive {
    /// Silence before the first probe; whole seconds, rounded up, at least one.
    pub idle: Duration,
    /// Time between probes; whole seconds, rounded up, at least one.
    pub interval: Duration,
    /// Unanswered probes before the connection is reset; at least one.
    pub count: u32,
}

impl Default for KeepAlive {
    /// Go's: 15 s, 15 s, 9.
    fn default() -> KeepAlive {
        KeepAlive { idle: Duration::from_secs(15), interval: Duration::from_secs(15), count: 9 }
    }
}

impl KeepAlive {
    pub(super) fn apply(choice: Option<KeepAlive>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(keep_alive) = choice {
            // The kernel counts whole seconds, and refuses none.
            let seconds = |time: Duration| time.as_secs().saturating_add((time.subsec_nanos() > 0).into()).max(1);
            match arch::set_keep_alive_times(fd, seconds(keep_alive.idle), seconds(keep_alive.interval), keep_alive.count.max(1)) {
                Err(Errno::OPNOTSUPP) if keep_alive == KeepAlive::default() => {}
                answer => answer?,
            }
        }
        sockopt::set_socket_keepalive(fd, choice.is_some())
    }
}

/// How to listen; the defaults are Go's.
///
/// ```
/// use netpoll::net::{ListenOptions, TcpListener};
/// let mut options = ListenOptions::default();
/// options.reuse_port = true; // one reactor per core
/// let listener = TcpListener::bind_with("127.0.0.1:0".parse().unwrap(), &options)?;
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Connections that wait to be accepted. The kernel takes its own limit (`/proc/sys/net/core/somaxconn`, `sysctl kern.ipc.somaxconn`) if
    /// that is less, which is Go's choice and the default.
    pub backlog: u16,
    /// Bind also while old connections linger in `TIME_WAIT` (`SO_REUSEADDR`). Default: yes.
    pub reuse_address: bool,
    /// Let several sockets listen on the address, among which the kernel spreads connections (`SO_REUSEPORT`, Linux 3.9; `SO_REUSEPORT_LB`,
    /// FreeBSD 12; DragonFly). NetBSD, OpenBSD, macOS and iOS allow it, but one of the sockets gets everything; illumos and Solaris:
    /// `EOPNOTSUPP`. Default: no.
    pub reuse_port: bool,
    /// Whether an IPv6 wildcard takes IPv6 only; `None` for the system's choice (`/proc/sys/net/ipv6/bindv6only`). Default: `Some(false)`,
    /// both, but for OpenBSD and DragonFly, which have no such sockets: there it is always IPv6 only, as in Go, so listen on both.
    pub v6_only: Option<bool>,
    /// Keep-alive of the accepted connections, which inherit it. Default: [`KeepAlive::default`].
    pub keep_alive: Option<KeepAlive>,
    /// Small writes are sent at once instead of being gathered (`TCP_NODELAY`), by the accepted connections, which inherit it. Default: yes.
    pub nodelay: bool,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions {
            backlog: u16::MAX,
            reuse_address: true,
            reuse_port: false,
            v6_only: Some(false),
            keep_alive: Some(KeepAlive::default()),
            nodelay: true,
        }
    }
}

/// How to connect; the defaults are Go's.
///
/// ```
/// use netpoll::net::{ConnectOptions, TcpStream};
/// let mut options = ConnectOptions::default();
/// options.local = Some("127.0.0.2:0".parse().unwrap()); // a port of the kernel's choice
/// let stream = TcpStream::connect_with("127.0.0.1:7777".parse().unwrap(), &options)?;
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// The address to connect from. Default: the kernel's choice.
    pub local: Option<SocketAddr>,
    /// Keep-alive of the connection: four system calls. Default: [`KeepAlive::default`].
    pub keep_alive: Option<KeepAlive>,
    /// Small writes are sent at once instead of being gathered (`TCP_NODELAY`): one system call. Default: yes.
    pub nodelay: bool,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions { local: None, keep_alive: Some(KeepAlive::default()), nodelay: true }
    }
}

/// What can be chosen for a UDP socket before it has an address; the defaults are Go's.
///
/// ```
/// use netpoll::net::{UdpOptions, UdpSocket};
/// let mut options = UdpOptions::default();
/// options.reuse_address = true; // others on this machine listen to the same group
/// let socket = UdpSocket::bind_with("0.0.0.0:5353".parse().unwrap(), &options);
/// # drop(socket);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct UdpOptions {
    /// Share the address with other sockets that ask for it too (`SO_REUSEADDR`). Default: no.
    ///
    /// For multicast and broadcast, which each of them gets; Go's `ListenMulticastUDP` sets it. A datagram to one machine only goes to one
    /// of them, on Linux to the one that was bound last: any program that asks for it can take the port over. On the BSDs, macOS and iOS it
    /// is `SO_REUSEPORT` as well, without which they do not share, as in Go.
    pub reuse_address: bool,
    /// Let several sockets of one user have the address, among which the kernel spreads the peers (`SO_REUSEPORT`, Linux 3.9): one reactor
    /// per core. On other systems as for [`ListenOptions::reuse_port`]. Default: no.
    pub reuse_port: bool,
    /// Whether an IPv6 socket is for IPv6 only; `None` for the system's choice (`/proc/sys/net/ipv6/bindv6only`). Default: `Some(false)`,
    /// both: IPv4 peers then look like `::ffff:192.0.2.1`. On OpenBSD and DragonFly always IPv6 only, as in Go.
    pub v6_only: Option<bool>,
    /// Allow sending to broadcast addresses (`SO_BROADCAST`), which is `EACCES` otherwise. Default: yes, as Go does for every UDP socket.
    pub broadcast: bool,
}

impl Default for UdpOptions {
    fn default() -> UdpOptions {
        UdpOptions { reuse_address: false, reuse_port: false, v6_only: Some(false), broadcast: true }
    }
}
