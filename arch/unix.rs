//! What Unix systems differ in besides the selector: how descriptors are made, what keeps SIGPIPE away, addresses, options, clocks.
//!
//! One rule for what a system does not have: the call is there, and answers `EOPNOTSUPP`. What is asked for by default must not fail, and
//! is left at the system's choice.

use core::net::Ipv4Addr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketType, sockopt};
use rustix::termios::ControlModes;
use rustix::time::{ClockId, clock_gettime};

use crate::time::Instant;

// One name is enough: nowhere do the two differ.
static_assertions::const_assert_eq!(Errno::AGAIN.raw_os_error(), Errno::WOULDBLOCK.raw_os_error());

/// Descriptors that are non-blocking and close-on-exec from the start.
#[cfg(not(any(target_vendor = "apple", netpoll_model)))]
mod make {
    use super::*;
    use rustix::net::SocketFlags;
    use rustix::pipe::PipeFlags;

    const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

    pub(crate) fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
        rustix::net::socket_with(family, kind, FLAGS, None)
    }

    /// Two Unix sockets.
    pub(crate) fn socket_pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Errno> {
        rustix::net::socketpair(AddressFamily::UNIX, kind, FLAGS, None)
    }

    pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
        rustix::net::acceptfrom_with(listener, FLAGS)
    }

    /// The read end first.
    pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
    }
}

/// The same where the flags take calls of their own. What another thread starts between the calls inherits the descriptor.
#[cfg(any(target_vendor = "apple", netpoll_model))]
mod make {
    use super::*;
    use rustix::net::SocketFlags;

    pub(crate) fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
        let fd = rustix::net::socket(family, kind, None)?;
        set_flags(&fd)?;
        prepare_socket(fd.as_fd())?;
        Ok(fd)
    }

    /// Two Unix sockets.
    pub(crate) fn socket_pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Errno> {
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None)?;
        for fd in [&one, &other] {
            set_flags(fd)?;
            prepare_socket(fd.as_fd())?;
        }
        Ok((one, other))
    }

    pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
        let (fd, peer) = rustix::net::acceptfrom(listener)?;
        set_flags(&fd)?;
        match prepare_socket(fd.as_fd()) {
            Ok(()) => Ok((fd, peer)),
            // A connection that is over takes no options.
            Err(Errno::INVAL) => Err(Errno::CONNABORTED),
            Err(errno) => Err(errno),
        }
    }

    /// The read end first.
    pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
        let (read, write) = rustix::pipe::pipe()?;
        set_flags(&read)?;
        set_flags(&write)?;
        Ok((read, write))
    }

    fn set_flags(fd: &OwnedFd) -> Result<(), Errno> {
        set_close_on_exec(fd)?;
        rustix::io::ioctl_fionbio(fd, true)
    }
}

pub(crate) use make::{accept, pipe, socket, socket_pair};

#[cfg(any(target_vendor = "apple", target_os = "solaris", target_os = "illumos", netpoll_model))]
fn set_close_on_exec(fd: &OwnedFd) -> Result<(), Errno> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)
}

/// What keeps a write to a socket whose peer is gone from raising SIGPIPE.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
/// It is a property of the socket: see [`prepare_socket`].
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// What a socket, also one that was made elsewhere, needs before it is written to; nothing for what is no socket.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn prepare_socket(_: BorrowedFd<'_>) -> Result<(), Errno> {
    Ok(())
}

#[cfg(target_vendor = "apple")]
pub(crate) fn prepare_socket(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match sockopt::set_socket_nosigpipe(fd, true) {
        Err(Errno::NOTSOCK) => Ok(()),
        answer => answer,
    }
}

/// What makes received descriptors close-on-exec, together with [`received`].
#[cfg(not(any(target_vendor = "apple", target_os = "solaris", target_os = "illumos", netpoll_model)))]
pub(crate) const RECV_FDS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(any(target_vendor = "apple", target_os = "solaris", target_os = "illumos", netpoll_model))]
pub(crate) const RECV_FDS: RecvFlags = RecvFlags::empty();

/// Makes a received descriptor what [`RECV_FDS`] could not.
#[cfg(not(any(target_vendor = "apple", target_os = "solaris", target_os = "illumos", netpoll_model)))]
pub(crate) fn received(_: &OwnedFd) -> Result<(), Errno> {
    Ok(())
}

#[cfg(any(target_vendor = "apple", target_os = "solaris", target_os = "illumos", netpoll_model))]
pub(crate) fn received(fd: &OwnedFd) -> Result<(), Errno> {
    set_close_on_exec(fd)
}

/// The answer of connect(2), as Go's `connect` understands it.
pub(crate) fn connected(answer: Result<(), Errno>) -> Result<(), Errno> {
    match answer {
        // The server has accepted it and closed it already: reads and writes will tell.
        Err(Errno::INVAL) if cfg!(any(target_os = "solaris", target_os = "illumos")) => Ok(()),
        answer => answer,
    }
}

/// The answer of a write to a stream.
#[inline]
pub(crate) fn written(answer: Result<usize, Errno>) -> Result<usize, Errno> {
    match answer {
        // What Apple's kernels say of a connection that is just being torn down.
        Err(Errno::PROTOTYPE) if cfg!(target_vendor = "apple") => Err(Errno::CONNRESET),
        answer => answer,
    }
}

/// Several sockets on an address, among which the kernel spreads connections, or peers.
pub(crate) fn share_port(fd: &OwnedFd) -> Result<(), Errno> {
    #[cfg(target_os = "freebsd")]
    return sockopt::set_socket_reuseport_lb(fd, true);
    #[cfg(any(target_os = "solaris", target_os = "illumos"))]
    return unsupported(fd);
    #[cfg(not(any(target_os = "freebsd", target_os = "solaris", target_os = "illumos")))]
    sockopt::set_socket_reuseport(fd, true)
}

/// Several UDP sockets on an address, each of which gets what is sent to a group: as in Go, the BSDs want both options.
pub(crate) fn share_datagrams(fd: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_socket_reuseaddr(fd, true)?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "solaris", target_os = "illumos")))]
    sockopt::set_socket_reuseport(fd, true)?;
    Ok(())
}

/// Whether an IPv6 socket is for IPv6 only. Where it always is, asking for both is no error, as in Go.
pub(crate) fn set_v6_only(fd: &OwnedFd, on: bool) -> Result<(), Errno> {
    if cfg!(any(target_os = "openbsd", target_os = "dragonfly")) {
        return Ok(());
    }
    sockopt::set_ipv6_v6only(fd, on)
}

/// The lifetime of what an IPv6 socket sends to IPv4 peers. Elsewhere the socket has one for both.
pub(crate) fn set_mapped_ttl(fd: BorrowedFd<'_>, ttl: u8) -> Result<(), Errno> {
    match cfg!(any(target_os = "linux", target_os = "android")) && !sockopt::ipv6_v6only(fd)? {
        true => sockopt::set_ip_ttl(fd, ttl.into()),
        false => Ok(()),
    }
}

/// Silence before the first probe, time between probes, and how many of them; whole seconds.
#[cfg(not(target_os = "openbsd"))]
pub(crate) fn set_keep_alive_times(fd: BorrowedFd<'_>, idle: u64, interval: u64, count: u32) -> Result<(), Errno> {
    use core::time::Duration;
    sockopt::set_tcp_keepidle(fd, Duration::from_secs(idle))?;
    sockopt::set_tcp_keepintvl(fd, Duration::from_secs(interval))?;
    sockopt::set_tcp_keepcnt(fd, count)
}

#[cfg(target_os = "openbsd")]
pub(crate) fn set_keep_alive_times(fd: BorrowedFd<'_>, _: u64, _: u64, _: u32) -> Result<(), Errno> {
    unsupported(fd)
}

/// IPv4 groups on an interface that is given by its number.
#[cfg(not(any(target_os = "netbsd", target_os = "solaris", target_os = "illumos")))]
pub(crate) mod by_index {
    use super::*;

    const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

    pub(crate) fn join(fd: BorrowedFd<'_>, group: Ipv4Addr, index: u32) -> Result<(), Errno> {
        sockopt::set_ip_add_membership_with_ifindex(fd, &group, &ANY, index)
    }

    pub(crate) fn leave(fd: BorrowedFd<'_>, group: Ipv4Addr, index: u32) -> Result<(), Errno> {
        sockopt::set_ip_drop_membership_with_ifindex(fd, &group, &ANY, index)
    }

    pub(crate) fn set_interface(fd: BorrowedFd<'_>, index: u32) -> Result<(), Errno> {
        sockopt::set_ip_multicast_if_with_ifindex(fd, &ANY, &ANY, index)
    }
}

#[cfg(any(target_os = "netbsd", target_os = "solaris", target_os = "illumos"))]
pub(crate) mod by_index {
    use super::*;

    pub(crate) fn join(fd: BorrowedFd<'_>, _: Ipv4Addr, _: u32) -> Result<(), Errno> {
        unsupported(fd)
    }

    pub(crate) fn leave(fd: BorrowedFd<'_>, _: Ipv4Addr, _: u32) -> Result<(), Errno> {
        unsupported(fd)
    }

    pub(crate) fn set_interface(fd: BorrowedFd<'_>, _: u32) -> Result<(), Errno> {
        unsupported(fd)
    }
}

/// OpenBSD takes a byte for this and for the next one, which rustix does not give.
pub(crate) fn set_multicast_ttl(fd: BorrowedFd<'_>, ttl: u8) -> Result<(), Errno> {
    if cfg!(target_os = "openbsd") { unsupported(fd) } else { sockopt::set_ip_multicast_ttl(fd, ttl.into()) }
}

pub(crate) fn set_multicast_loop(fd: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    if cfg!(target_os = "openbsd") { unsupported(fd) } else { sockopt::set_ip_multicast_loop(fd, on) }
}

/// What this system, or rustix on it, does not have.
#[allow(dead_code, reason = "Linux has everything")]
fn unsupported(_: impl AsFd) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// Process, user and group of who is at the other end.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> Result<(Option<u32>, u32, u32), Errno> {
    match sockopt::socket_peercred(fd) {
        Ok(peer) => Ok((Some(peer.pid.as_raw_nonzero().get().unsigned_abs()), peer.uid.as_raw(), peer.gid.as_raw())),
        // The kernel refuses nobody who has a peer: this is process 0, which rustix cannot express.
        Err(_) => Err(Errno::SRCH),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn peer_credentials(_: BorrowedFd<'_>) -> Result<(Option<u32>, u32, u32), Errno> {
    Err(Errno::OPNOTSUPP)
}

/// Addresses of Unix sockets: how a missing name is written, and how names are read that rustix does not take apart without a panic.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod names {
    use super::*;

    /// `sizeof(struct sockaddr_un)`, the longest address that rustix takes apart. It panics at a longer one: the kernel adds a NUL to a
    /// path of 108 bytes.
    const LONGEST: u32 = 110;

    pub(crate) fn unnamed() -> Result<SocketAddrUnix, Errno> {
        Ok(SocketAddrUnix::new_unnamed())
    }

    pub(crate) fn unix_address(addr: SocketAddrAny) -> Result<SocketAddrUnix, Errno> {
        let unnamed = SocketAddrUnix::new_unnamed();
        // rustix reads an unnamed address as an abstract one without a name.
        let is_unnamed = addr.addr_len() <= SocketAddrAny::from(unnamed.clone()).addr_len();
        if is_unnamed || addr.addr_len() > LONGEST { Ok(unnamed) } else { SocketAddrUnix::try_from(addr) }
    }

    /// Not so what rustix makes of an empty path. It would be a name that anybody on the system can reach.
    pub(crate) fn may_bind(addr: &SocketAddrUnix) -> bool {
        addr.abstract_name() != Some(&[])
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod names {
    use super::*;

    /// Of `sun_path`, on all of these.
    const OFFSET: usize = 2;

    pub(crate) fn unnamed() -> Result<SocketAddrUnix, Errno> {
        SocketAddrUnix::new(&[][..])
    }

    /// By hand: rustix expects one NUL behind the path, which a program in C need not have counted, or of which there may be many.
    #[allow(unsafe_code)]
    pub(crate) fn unix_address(addr: SocketAddrAny) -> Result<SocketAddrUnix, Errno> {
        if addr.address_family() != AddressFamily::UNIX {
            return Err(Errno::AFNOSUPPORT);
        }
        // SAFETY: the storage of an address is initialised up to its length, and outlives this borrow.
        let bytes = unsafe { core::slice::from_raw_parts(addr.as_ptr().cast::<u8>(), addr.addr_len() as usize) };
        let path = bytes.get(OFFSET..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        // A longer one than rustix can express looks unnamed.
        SocketAddrUnix::new(path).or_else(|_| unnamed())
    }

    pub(crate) fn may_bind(addr: &SocketAddrUnix) -> bool {
        addr.path_bytes().is_some()
    }
}

pub(crate) use names::{may_bind, unix_address, unnamed};

pub(crate) fn monotonic() -> Instant {
    read(ClockId::Monotonic)
}

/// A clock that goes on while the machine is suspended, where there is one.
pub(crate) fn boottime() -> Instant {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "openbsd"))]
    return read(ClockId::Boottime);
    // Apple's own one goes on; the others have none.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "openbsd")))]
    monotonic()
}

fn read(clock: ClockId) -> Instant {
    let time = clock_gettime(clock);
    Instant::from_nanos((time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64))
}

/// Up to how many bytes a write to a pipe is whole or not at all.
#[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
pub(crate) const PIPE_BUF: usize = rustix::pipe::PIPE_BUF;
/// That of limits.h.
#[cfg(any(target_os = "solaris", target_os = "illumos"))]
pub(crate) const PIPE_BUF: usize = 5120;

/// Turns parity of a serial line into a bit that is always the same; empty where there is none.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const STICK_PARITY: ControlModes = ControlModes::CMSPAR;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const STICK_PARITY: ControlModes = ControlModes::empty();

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::FdFlags;

    #[track_caller]
    fn assert_made(fd: &OwnedFd) {
        assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
        assert!(rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    }

    // Also with `--cfg netpoll_model`, by the calls that Apple's systems have.
    #[test]
    fn whatever_is_made_is_close_on_exec_and_does_not_block() {
        let listener = socket(AddressFamily::INET, SocketType::STREAM).unwrap();
        assert_made(&listener);
        rustix::net::bind(&listener, &core::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        assert_eq!(accept(listener.as_fd()).unwrap_err(), Errno::AGAIN);
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::connect(&client, &rustix::net::getsockname(&listener).unwrap()).unwrap();
        rustix::io::ioctl_fionbio(&listener, false).unwrap(); // it takes a moment on NetBSD
        let (accepted, peer) = accept(listener.as_fd()).unwrap();
        assert_made(&accepted);
        assert_eq!(peer.unwrap(), rustix::net::getsockname(&client).unwrap());
        let (one, other) = socket_pair(SocketType::STREAM).unwrap();
        let (read, write) = pipe().unwrap();
        for fd in [&one, &other, &read, &write] {
            assert_made(fd);
        }
        rustix::io::write(&write, b"x").unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0; 2]), Ok(1)); // the read end is the first one
    }

    #[test]
    fn what_is_no_socket_needs_no_preparation() {
        assert_eq!(prepare_socket(pipe().unwrap().0.as_fd()), Ok(()));
    }

    #[test]
    fn a_missing_name_is_nobodys() {
        let unnamed = unnamed().unwrap();
        assert!(unnamed.path_bytes().is_none());
        let (one, _other) = socket_pair(SocketType::STREAM).unwrap();
        assert_eq!(unix_address(rustix::net::getsockname(&one).unwrap()), Ok(unnamed));
        assert!(!may_bind(&SocketAddrUnix::new("").unwrap()));
        assert!(may_bind(&SocketAddrUnix::new("/x").unwrap()));
        let inet = core::net::SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(unix_address(inet.into()), Err(Errno::AFNOSUPPORT));
    }

    #[test]
    fn answers_that_mean_something_else_elsewhere() {
        let is_solaris = cfg!(any(target_os = "solaris", target_os = "illumos"));
        assert_eq!(connected(Err(Errno::INVAL)), if is_solaris { Ok(()) } else { Err(Errno::INVAL) });
        assert_eq!(written(Err(Errno::PROTOTYPE)), Err(if cfg!(target_vendor = "apple") { Errno::CONNRESET } else { Errno::PROTOTYPE }));
        assert_eq!((connected(Err(Errno::CONNREFUSED)), written(Err(Errno::PIPE))), (Err(Errno::CONNREFUSED), Err(Errno::PIPE)));
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn mapped_lifetime_is_not_for_sockets_without_mapped_addresses() {
        for (v6_only, expected) in [(true, None), (false, Some(5))] {
            let fd = socket(AddressFamily::INET6, SocketType::DGRAM).unwrap();
            set_v6_only(&fd, v6_only).unwrap();
            let before = sockopt::ip_ttl(&fd).unwrap();
            set_mapped_ttl(fd.as_fd(), 5).unwrap();
            assert_eq!(sockopt::ip_ttl(&fd), Ok(expected.unwrap_or(before)));
        }
    }

    #[test]
    fn clocks_go_on() {
        assert!(monotonic() <= monotonic() && boottime() <= boottime());
        assert!(monotonic() > Instant::from_nanos(0));
    }
}
