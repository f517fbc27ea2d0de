//! [`TcpListener`]: listening and accepting.

use core::net::SocketAddr;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketType, sockopt};

use super::accept::listener;
use super::{KeepAlive, ListenOptions, TcpStream, inet_socket};
use crate::arch;
use crate::descriptor::{Unopened, descriptor};
use crate::error::Error;
use crate::interest::Interest;
use crate::poller::Io;
use crate::token::Token;

/// A listening TCP socket. Go's `net.TCPListener`. Closing it resets the connections in its backlog.
///
/// ```no_run
/// # use core::task::{Poll, ready};
/// use netpoll::net::{TcpListener, TcpStream};
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// enum Server { Listener(TcpListener), Connection(TcpStream) }
///
/// impl Handler for Server {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         match self {
///             Server::Listener(listener) => loop {
///                 let (socket, peer) = ready!(listener.accept(cx))?;
///                 cx.spawn_with(socket, Server::Connection)?;
///             },
///             Server::Connection(stream) => stream.read(cx, &mut [0; 64]).map_ok(drop),
///         }
///     }
/// }
///
/// let mut storage = ReactorStorage::<Server, 64, 64>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// let listener = TcpListener::bind("127.0.0.1:7777".parse().unwrap())?;
/// reactor.spawn_with(listener, Server::Listener)?;
/// reactor.run(&mut ())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct TcpListener {
    token: Token,
}

// There is no `MSG_DONTWAIT` for accept4(2).
descriptor!(TcpListener, interest: Interest::READ, must_not_block: true);
listener!(TcpListener, socket: TcpStream, address: SocketAddr, peer: peer);

/// Every connection of TCP has a peer's address, but for one that macOS hands out although it was reset.
fn peer(addr: Option<SocketAddrAny>) -> Result<SocketAddr, Errno> {
    inet_socket::ip(addr.ok_or(Errno::CONNABORTED)?)
}

impl Unopened<TcpListener> {
    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as getsockname(2).
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        inet_socket::local_addr(self.as_fd())
    }
}

impl TcpListener {
    /// Listens on an address, with Go's options. Port 0 lets the system choose: see [`Unopened::local_addr`].
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as socket(2), bind(2) and listen(2): `EADDRINUSE` when somebody listens there ("address already in use"),
    /// `EADDRNOTAVAIL`, `EACCES` for a privileged port, `EMFILE`.
    pub fn bind(addr: SocketAddr) -> Result<Unopened<TcpListener>, Error> {
        TcpListener::bind_with(addr, &ListenOptions::default())
    }

    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// As [`bind`](TcpListener::bind).
    pub fn bind_with(addr: SocketAddr, options: &ListenOptions) -> Result<Unopened<TcpListener>, Error> {
        let fd = inet_socket::socket(addr, SocketType::STREAM)?;
        if options.reuse_address {
            sockopt::set_socket_reuseaddr(&fd, true)?;
        }
        if options.reuse_port {
            arch::share_port(&fd)?;
        }
        if let (SocketAddr::V6(_), Some(v6_only)) = (addr, options.v6_only) {
            arch::set_v6_only(&fd, v6_only)?;
        }
        if options.keep_alive.is_some() {
            KeepAlive::apply(options.keep_alive, fd.as_fd())?;
        }
        if options.nodelay {
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
        rustix::net::bind(&fd, &addr)?;
        rustix::net::listen(&fd, options.backlog.into())?;
        Ok(Unopened::new(fd))
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`].
    pub fn local_addr(&self, io: &mut Io<'_>) -> Result<SocketAddr, Error> {
        inet_socket::local_addr(io.fd(self.token)?)
    }
}
