//! [`UnixListener`]: listening for streams or for sequences of packets.

use core::fmt;
use core::marker::PhantomData;

use rustix::fd::AsFd;
use rustix::net::{SocketAddrUnix, SocketType};

use super::accept::listener;
use super::{UnixSeqpacket, UnixStream, unix_socket};
use crate::descriptor::{Descriptor, Unopened, descriptor};
use crate::error::Error;
use crate::interest::Interest;
use crate::poller::Io;
use crate::token::Token;

/// What a [`UnixListener`] accepts: [`UnixStream`] or [`UnixSeqpacket`].
pub trait UnixConnection: Descriptor + fmt::Debug + Eq {
    /// The type of the socket.
    #[doc(hidden)]
    const TYPE: SocketType;
}

/// A listening Unix socket, which accepts `S`. Go's `net.UnixListener`.
///
/// **Its file stays** when it is closed, where Go removes it, and while it is there nobody can bind that path again:
/// [`unlink_stale`](super::unlink_stale) removes one that nobody has any more. An abstract name ends with its socket.
///
/// **Who may connect** is whoever may write to the file: `0777` less the umask of the process that binds it, and whoever reaches it through
/// its directories. Put it in a directory of its own where that matters. An abstract name is open to everybody in the network namespace:
/// ask for [`peer_credentials`](UnixStream::peer_credentials).
///
/// An echo server; `socat - UNIX-CONNECT:/tmp/echo.sock` is a client:
///
/// ```no_run
/// use core::{task::{Poll, ready}, time::Duration};
/// use netpoll::net::{SocketAddrUnix, UnixListener, UnixStream, unlink_stale};
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// enum Echo { Listener(UnixListener), Client { stream: UnixStream, buf: [u8; 99], len: usize, sent: usize } }
///
/// impl Handler for Echo {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             match self {
///                 Echo::Listener(listener) => match ready!(listener.accept(cx)) {
///                     Ok((socket, _peer)) => drop(cx.spawn_with(socket, |stream| Echo::Client { stream, buf: [0; 99], len: 0, sent: 0 })),
///                     Err(_) => { cx.set_timer_after(Duration::from_millis(100)); return Poll::Pending } // EMFILE and the like
///                 },
///                 Echo::Client { stream, buf, len, sent } if sent == len => {
///                     (*len, *sent) = (ready!(stream.read(cx, buf))?, 0);
///                     if *len == 0 { return Poll::Ready(Ok(())) }
///                 }
///                 Echo::Client { stream, buf, len, sent } => ready!(stream.write_all(cx, &buf[..*len], sent))?,
///             }
///         }
///     }
/// }
///
/// let addr = SocketAddrUnix::new("/tmp/echo.sock")?;
/// unlink_stale(&addr)?; // of a run that crashed
/// let mut storage = ReactorStorage::<Echo, 64, 64>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// reactor.spawn_with(UnixListener::bind(&addr)?, Echo::Listener)?;
/// reactor.run(&mut ())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct UnixListener<S = UnixStream> {
    token: Token,
    accepts: PhantomData<fn() -> S>,
}

// There is no `MSG_DONTWAIT` for accept4(2).
descriptor!(UnixListener<S> where S: UnixConnection, interest: Interest::READ, must_not_block: true, accepts: PhantomData);
listener!(UnixListener<S> where S: UnixConnection, socket: S, address: SocketAddrUnix, peer: unix_socket::address);

/// How to listen on a Unix socket.
///
/// ```no_run
/// use netpoll::net::{SocketAddrUnix, UnixListenOptions, UnixListener};
/// let mut options = UnixListenOptions::default();
/// options.backlog = 8;
/// let listener = UnixListener::bind_with(&SocketAddrUnix::new("/run/gateway.sock")?, &options)?;
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct UnixListenOptions {
    /// Connections that wait to be accepted; Linux lets one more in. Who comes then is told `EAGAIN`, by the BSDs `ECONNREFUSED`. The kernel
    /// takes its own limit (`/proc/sys/net/core/somaxconn`, `sysctl kern.ipc.somaxconn`) if that is less, which is Go's choice and the default.
    pub backlog: u16,
}

impl Default for UnixListenOptions {
    fn default() -> UnixListenOptions {
        UnixListenOptions { backlog: u16::MAX }
    }
}

impl UnixListener {
    /// Listens for streams. An unnamed address lets Linux choose an abstract one: see [`Unopened::local_addr`].
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as socket(2), bind(2) and listen(2): `EADDRINUSE` when the file is there ("address already in use"), whether or not
    /// somebody listens: see [`unlink_stale`](super::unlink_stale). `ENOENT`, `ENOTDIR`, `EACCES` and `EROFS` from the directory, `EMFILE`.
    /// `EINVAL` for an empty path. (A path that is too long, more than [108 or 104 bytes](crate::net#addresses-of-unix-sockets), is
    /// `ENAMETOOLONG` when its address is made.)
    pub fn bind(addr: &SocketAddrUnix) -> Result<Unopened<UnixListener>, Error> {
        UnixListener::bind_with(addr, &UnixListenOptions::default())
    }

    /// Listens for streams.
    ///
    /// # Errors
    ///
    /// As [`bind`](UnixListener::bind).
    pub fn bind_with(addr: &SocketAddrUnix, options: &UnixListenOptions) -> Result<Unopened<UnixListener>, Error> {
        listen(addr, options)
    }
}

impl UnixListener<UnixSeqpacket> {
    /// Listens for sequences of packets.
    ///
    /// # Errors
    ///
    /// As [`bind`](UnixListener::bind), and `EPROTONOSUPPORT` on [systems without them](UnixSeqpacket#platform).
    pub fn bind_seqpacket(addr: &SocketAddrUnix) -> Result<Unopened<UnixListener<UnixSeqpacket>>, Error> {
        UnixListener::bind_seqpacket_with(addr, &UnixListenOptions::default())
    }

    /// Listens for sequences of packets.
    ///
    /// # Errors
    ///
    /// As [`bind`](UnixListener::bind).
    pub fn bind_seqpacket_with(addr: &SocketAddrUnix, options: &UnixListenOptions) -> Result<Unopened<UnixListener<UnixSeqpacket>>, Error> {
        listen(addr, options)
    }
}

fn listen<S: UnixConnection>(addr: &SocketAddrUnix, options: &UnixListenOptions) -> Result<Unopened<UnixListener<S>>, Error> {
    let fd = unix_socket::socket(S::TYPE)?;
    unix_socket::bind(&fd, addr)?;
    rustix::net::listen(&fd, options.backlog.into())?;
    Ok(Unopened::new(fd))
}

impl<S: UnixConnection> Unopened<UnixListener<S>> {
    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as getsockname(2).
    pub fn local_addr(&self) -> Result<SocketAddrUnix, Error> {
        unix_socket::local_addr(self.as_fd())
    }
}

impl<S: UnixConnection> UnixListener<S> {
    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`].
    pub fn local_addr(&self, io: &mut Io<'_>) -> Result<SocketAddrUnix, Error> {
        unix_socket::local_addr(io.fd(self.token)?)
    }
}
