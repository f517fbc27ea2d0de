//! [`Unopened`]: a socket that belongs to nobody yet.

use core::fmt;
use core::marker::PhantomData;
use core::net::SocketAddr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::error::{Error, Rejected};
use crate::interest::Interest;
use crate::poller::{Io, is_blocking};
use crate::source::Source;
use crate::token::Token;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::super::TcpListener {}
    impl Sealed for super::super::TcpStream {}
}

/// A type of socket that an [`Unopened`] becomes.
pub trait Socket: sealed::Sealed + Sized {
    /// The directions to open.
    #[doc(hidden)]
    const INTEREST: Interest;

    /// Whether its calls would block on a blocking descriptor.
    #[doc(hidden)]
    const MUST_NOT_BLOCK: bool;

    #[doc(hidden)]
    fn from_token(token: Token) -> Self;
}

/// A socket that belongs to nobody yet: made by `bind`, `connect` or `accept`, to become a `T` when its owner opens it.
///
/// Dropping it closes it. Options and addresses can be had before, through [`AsFd`] too.
///
/// ```
/// use netpoll::net::TcpListener;
/// let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
/// println!("listening on {}", listener.local_addr()?);
/// # Ok::<(), netpoll::Error>(())
/// ```
#[must_use = "dropping it closes it"]
pub struct Unopened<T> {
    fd: OwnedFd,
    connecting: bool,
    /// Made elsewhere: nobody knows whether it blocks.
    inherited: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: Socket> Unopened<T> {
    pub(super) fn new(fd: OwnedFd) -> Unopened<T> {
        Unopened { fd, connecting: false, inherited: false, kind: PhantomData }
    }

    pub(super) fn connecting(fd: OwnedFd) -> Unopened<T> {
        Unopened { fd, connecting: true, inherited: false, kind: PhantomData }
    }

    /// Opens it for whoever runs: one `epoll_ctl`.
    ///
    /// # Errors
    ///
    /// As [`Io::open`], with the socket, unchanged; `EINVAL` for an inherited listener that blocks.
    pub fn open(self, io: &mut Io<'_>) -> Result<T, Rejected<Unopened<T>>> {
        if self.inherited && T::MUST_NOT_BLOCK && is_blocking(self.fd.as_fd()) {
            return Err(Rejected::new(self, Errno::INVAL));
        }
        let Unopened { fd, connecting, inherited, kind } = self;
        let interest = if connecting { T::INTEREST | Interest::CONNECTING } else { T::INTEREST };
        match io.open_nonblocking(fd, interest) {
            Ok(token) => Ok(T::from_token(token)),
            Err(rejected) => Err(rejected.map(|fd| Unopened { fd, connecting, inherited, kind })),
        }
    }
}

impl Unopened<super::TcpListener> {
    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as getsockname(2).
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        super::local_addr(self.fd.as_fd())
    }
}

impl Unopened<super::TcpStream> {
    /// The socket's own address.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as getsockname(2).
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        super::local_addr(self.fd.as_fd())
    }

    /// The peer's address.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as getpeername(2): `ENOTCONN` while it is connecting.
    pub fn peer_addr(&self) -> Result<SocketAddr, Error> {
        super::peer_addr(self.fd.as_fd())
    }
}

impl<T: Socket> Source for Unopened<T> {
    type Opened = T;

    fn open(self, io: &mut Io<'_>) -> Result<T, Rejected<Self>> {
        Unopened::open(self, io)
    }
}

impl<T: Socket> From<OwnedFd> for Unopened<T> {
    /// A socket that the program made or inherited itself: of the right kind, non-blocking, connected or listening already.
    fn from(fd: OwnedFd) -> Unopened<T> {
        Unopened { inherited: true, ..Unopened::new(fd) }
    }
}

impl<T> From<Unopened<T>> for OwnedFd {
    fn from(unopened: Unopened<T>) -> OwnedFd {
        unopened.fd
    }
}

impl<T> AsFd for Unopened<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T> fmt::Debug for Unopened<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unopened").field("fd", &self.fd).field("connecting", &self.connecting).finish()
    }
}
