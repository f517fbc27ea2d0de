//! What Unix sockets have in common: making them, their addresses, the files that are their names, and who is at the other end.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketType};

use crate::arch;
use crate::error::Error;

pub(super) fn socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    arch::socket(AddressFamily::UNIX, kind)
}

pub(super) fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Errno> {
    arch::socket_pair(kind)
}

pub(super) fn bind(fd: &OwnedFd, addr: &SocketAddrUnix) -> Result<(), Errno> {
    if !arch::may_bind(addr) {
        return Err(Errno::INVAL);
    }
    rustix::net::bind(fd, addr)
}

pub(super) fn connect(kind: SocketType, addr: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let fd = socket(kind)?;
    connect_to(&fd, addr)?;
    Ok(fd)
}

/// On Linux this is done or refused at once; `EAGAIN` promises no edge.
pub(super) fn connect_to(fd: &OwnedFd, addr: &SocketAddrUnix) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::net::connect(fd, addr))
}

/// What the kernel says of an address; unnamed if it says nothing, or a name that rustix cannot express.
pub(super) fn address(addr: Option<SocketAddrAny>) -> Result<SocketAddrUnix, Errno> {
    addr.map_or_else(arch::unnamed, arch::unix_address)
}

pub(super) fn local_addr(fd: BorrowedFd<'_>) -> Result<SocketAddrUnix, Error> {
    Ok(address(Some(rustix::net::getsockname(fd)?))?)
}

pub(super) fn peer_addr(fd: BorrowedFd<'_>) -> Result<SocketAddrUnix, Error> {
    Ok(address(rustix::net::getpeername(fd)?)?)
}

/// Who made a connection, or listens for it: what the kernel vouches for. Taken when that process called `connect`, `listen` or
/// `socketpair`, whoever has the descriptor since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The process, where the kernel keeps it (Linux). It may have ended, and its number may be somebody else's by now.
    pub pid: Option<u32>,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}

pub(super) fn peer_credentials(fd: BorrowedFd<'_>) -> Result<PeerCredentials, Error> {
    // Linux would tell who has no peer of process 0.
    rustix::net::getpeername(fd)?;
    let (pid, uid, gid) = arch::peer_credentials(fd)?;
    Ok(PeerCredentials { pid, uid, gid })
}

/// Removes the file of a Unix socket that nobody has any more, and says whether there was one: to be called before `bind`, which answers
/// `EADDRINUSE` as long as the file is there, or after `close`, which leaves it.
///
/// Nothing else is removed: no socket that somebody has, be it a listener, busy or just being made, or of another type; no file that is no
/// socket; no symbolic link. The owner of the socket does not notice that it was asked for. An abstract name has no file.
///
/// Two programs that call this and then `bind` at the same moment are not kept apart: one can remove the file that the other has just made.
/// Where that may happen, hold a lock on another file meanwhile (flock(2)).
///
/// ```
/// use netpoll::net::{SocketAddrUnix, UnixListener, unlink_stale};
/// # let path = format!("{}/netpoll-doc-stale-{}", std::env::temp_dir().display(), std::process::id());
/// let addr = SocketAddrUnix::new(path.as_str())?;
/// drop(UnixListener::bind(&addr)?); // it crashes, say, and leaves its file
/// assert!(UnixListener::bind(&addr).is_err());
/// assert!(unlink_stale(&addr)?);
/// let listener = UnixListener::bind(&addr)?;
/// assert!(!unlink_stale(&addr)?); // somebody listens
/// # drop(listener);
/// # unlink_stale(&addr)?;
/// # Ok::<(), netpoll::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Os`], as lstat(2), connect(2) and unlink(2): `EACCES` or `EPERM` when the directory, or the socket, is closed to us, `ENOTDIR`,
/// `EMFILE`.
pub fn unlink_stale(addr: &SocketAddrUnix) -> Result<bool, Error> {
    let Some(path) = addr.path_bytes() else { return Ok(false) };
    // rustix leaves the NUL at a path of 107 bytes.
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    match rustix::fs::lstat(path) {
        Ok(file) if FileType::from_raw_mode(file.st_mode) == FileType::Socket => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    // By a datagram socket: a listener of the other types answers EPROTOTYPE, also one that does not listen yet, and has nothing to accept.
    match connect(SocketType::DGRAM, addr) {
        Err(Errno::CONNREFUSED) => {}
        // EPERM: a datagram socket that is connected to another one.
        Ok(_) | Err(Errno::PROTOTYPE | Errno::PERM | Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    match rustix::fs::unlink(path) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The addresses, before and after it is opened, and the kernel's error.
macro_rules! unix_addresses {
    ($kind:ty) => {
        impl $crate::Unopened<$kind> {
            /// The socket's own address; unnamed if it was not bound.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os), as getsockname(2).
            pub fn local_addr(&self) -> Result<rustix::net::SocketAddrUnix, $crate::Error> {
                $crate::net::unix_socket::local_addr(rustix::fd::AsFd::as_fd(self))
            }

            /// The peer's address; unnamed for a client that was not bound, and for the other one of a pair.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os), as getpeername(2): `ENOTCONN` without a peer.
            pub fn peer_addr(&self) -> Result<rustix::net::SocketAddrUnix, $crate::Error> {
                $crate::net::unix_socket::peer_addr(rustix::fd::AsFd::as_fd(self))
            }
        }

        impl $kind {
            /// The socket's own address; unnamed if it was not bound.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner), [`Error::Os`](crate::Error::Os).
            pub fn local_addr(&self, io: &mut $crate::Io<'_>) -> Result<rustix::net::SocketAddrUnix, $crate::Error> {
                $crate::net::unix_socket::local_addr(io.fd(self.token)?)
            }

            /// The peer's address; unnamed for a client that was not bound, and for the other one of a pair.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os) with `ENOTCONN` without a peer, [`Error::Closed`](crate::Error::Closed),
            /// [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn peer_addr(&self, io: &mut $crate::Io<'_>) -> Result<rustix::net::SocketAddrUnix, $crate::Error> {
                $crate::net::unix_socket::peer_addr(io.fd(self.token)?)
            }

            /// Takes the error that the kernel keeps for the socket (`SO_ERROR`); operations report it by themselves.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner), [`Error::Os`](crate::Error::Os) when
            /// the kernel cannot say.
            pub fn take_error(&self, io: &mut $crate::Io<'_>) -> Result<Option<$crate::Errno>, $crate::Error> {
                Ok(rustix::net::sockopt::socket_error(io.fd(self.token)?)?.err())
            }
        }
    };
}

/// What has a peer that listened for it: made by `connect`, by `pair` or by a [`UnixListener`](super::UnixListener).
macro_rules! unix_connection {
    ($kind:ty, $type:expr) => {
        $crate::net::unix_socket::unix_addresses!($kind);

        impl $crate::net::unix_listener::UnixConnection for $kind {
            const TYPE: rustix::net::SocketType = $type;
        }

        impl $crate::Unopened<$kind> {
            /// Who is at the other end (`SO_PEERCRED`), to decide whether to open it at all.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os) with `ENOTCONN` without a peer, `ESRCH` for a process that has no number here, `EOPNOTSUPP`
            /// outside Linux and Android.
            pub fn peer_credentials(&self) -> Result<$crate::net::PeerCredentials, $crate::Error> {
                $crate::net::unix_socket::peer_credentials(rustix::fd::AsFd::as_fd(self))
            }
        }

        impl $kind {
            /// Connects, which is done or refused at once: there is nothing to wait for.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os), as socket(2) and connect(2): `ENOENT` when there is no such file, `ECONNREFUSED` when
            /// nobody listens or it is no socket, `EPROTOTYPE` when it is one of another type, `EACCES` without the right to write to the
            /// file, `EMFILE`. `EAGAIN` when the listener's backlog is full (`ECONNREFUSED` on the BSDs, macOS and iOS): nothing tells when
            /// there is room, so set a timer and call again.
            pub fn connect(addr: &rustix::net::SocketAddrUnix) -> Result<$crate::Unopened<$kind>, $crate::Error> {
                Ok($crate::Unopened::new($crate::net::unix_socket::connect($type, addr)?))
            }

            /// Two that are connected to each other, without names: to talk to a child, or to another thread. socketpair(2).
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os), as socketpair(2): `EMFILE`, `ENFILE`, `ENOMEM`.
            pub fn pair() -> Result<($crate::Unopened<$kind>, $crate::Unopened<$kind>), $crate::Error> {
                let (one, other) = $crate::net::unix_socket::pair($type)?;
                Ok(($crate::Unopened::new(one), $crate::Unopened::new(other)))
            }

            /// Who is at the other end: `SO_PEERCRED`, unix(7).
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os) with `ENOTCONN` without a peer, `ESRCH` for a process that has no number here, because it
            /// lives in another PID namespace; `EOPNOTSUPP` outside Linux and Android: the BSDs have getpeereid(3), which no safe call makes.
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn peer_credentials(&self, io: &mut $crate::Io<'_>) -> Result<$crate::net::PeerCredentials, $crate::Error> {
                $crate::net::unix_socket::peer_credentials(io.fd(self.token)?)
            }

            /// Closes one direction or both while the descriptor stays open (shutdown(2)). After `Shutdown::Write` the peer reads what is
            /// under way, then the end.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os) with `ENOTCONN`, [`Error::Closed`](crate::Error::Closed),
            /// [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn shutdown(&self, io: &mut $crate::Io<'_>, how: $crate::net::Shutdown) -> Result<(), $crate::Error> {
                Ok(rustix::net::shutdown(io.fd(self.token)?, how)?)
            }
        }
    };
}

pub(super) use {unix_addresses, unix_connection};
