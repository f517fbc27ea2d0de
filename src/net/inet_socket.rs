//! What IP sockets have in common: making them, their addresses, the error that the kernel keeps.

use core::net::SocketAddr;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketType};

use crate::arch;
use crate::error::Error;

/// A socket of the address's family.
pub(super) fn socket(addr: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    arch::socket(family, kind)
}

pub(super) fn ip(addr: SocketAddrAny) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(addr)
}

pub(super) fn local_addr(fd: BorrowedFd<'_>) -> Result<SocketAddr, Error> {
    Ok(ip(rustix::net::getsockname(fd)?)?)
}

pub(super) fn peer_addr(fd: BorrowedFd<'_>) -> Result<SocketAddr, Error> {
    match rustix::net::getpeername(fd) {
        Ok(peer) => Ok(ip(peer.ok_or(Errno::NOTCONN)?)?),
        // macOS, of a connection that is over in both directions.
        Err(Errno::INVAL) => Err(Errno::NOTCONN.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// What sockets with a peer offer, opened or not.
macro_rules! inet_socket {
    ($kind:ty) => {
        impl $crate::Unopened<$kind> {
            /// The socket's own address.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os), as getsockname(2).
            pub fn local_addr(&self) -> Result<core::net::SocketAddr, $crate::Error> {
                $crate::net::inet_socket::local_addr(rustix::fd::AsFd::as_fd(self))
            }

            /// The peer's address.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os), as getpeername(2): `ENOTCONN` when there is none (yet).
            pub fn peer_addr(&self) -> Result<core::net::SocketAddr, $crate::Error> {
                $crate::net::inet_socket::peer_addr(rustix::fd::AsFd::as_fd(self))
            }
        }

        impl $kind {
            /// The socket's own address.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner), [`Error::Os`](crate::Error::Os).
            pub fn local_addr(&self, io: &mut $crate::Io<'_>) -> Result<core::net::SocketAddr, $crate::Error> {
                $crate::net::inet_socket::local_addr(io.fd(self.token)?)
            }

            /// The peer's address.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os) with `ENOTCONN` when there is none (yet, or any more), [`Error::Closed`](crate::Error::Closed),
            /// [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn peer_addr(&self, io: &mut $crate::Io<'_>) -> Result<core::net::SocketAddr, $crate::Error> {
                $crate::net::inet_socket::peer_addr(io.fd(self.token)?)
            }

            /// Takes the error that the kernel keeps for the socket (`SO_ERROR`); its operations report it by themselves.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner), [`Error::Os`](crate::Error::Os) when the
            /// kernel cannot say.
            pub fn take_error(&self, io: &mut $crate::Io<'_>) -> Result<Option<$crate::Errno>, $crate::Error> {
                Ok(rustix::net::sockopt::socket_error(io.fd(self.token)?)?.err())
            }

            fn option(
                &self,
                io: &mut $crate::Io<'_>,
                set: impl FnOnce(rustix::fd::BorrowedFd<'_>) -> Result<(), $crate::Errno>,
            ) -> Result<(), $crate::Error> {
                Ok(set(io.fd(self.token)?)?)
            }
        }
    };
}

pub(super) use inet_socket;
