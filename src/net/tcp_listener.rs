//! [`TcpListener`]: listening and accepting.

use core::net::SocketAddr;
use core::task::{Poll, ready};
use core::time::Duration;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};

use super::{KeepAlive, ListenOptions, TcpStream};
use crate::descriptor::{Unopened, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::time::Instant;
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

/// How many dead connections one call passes over.
const PASSED_OVER: usize = 32;

// There is no `MSG_DONTWAIT` for accept4(2).
descriptor!(TcpListener, interest: Interest::READ, must_not_block: true);

impl Unopened<TcpListener> {
    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as getsockname(2).
    pub fn local_addr(&self) -> Result<SocketAddr, Error> {
        super::local_addr(self.as_fd())
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
        let fd = super::tcp_socket(addr)?;
        if options.reuse_address {
            sockopt::set_socket_reuseaddr(&fd, true)?;
        }
        if options.reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        if let (SocketAddr::V6(_), Some(v6_only)) = (addr, options.v6_only) {
            sockopt::set_ipv6_v6only(&fd, v6_only)?;
        }
        if options.keep_alive.is_some() {
            KeepAlive::apply(options.keep_alive, fd.as_fd())?;
        }
        rustix::net::bind(&fd, &addr)?;
        rustix::net::listen(&fd, options.backlog.into())?;
        Ok(Unopened::new(fd))
    }

    /// Takes the next connection and its peer's address; the new socket is non-blocking and close-on-exec. Go's `Accept`.
    ///
    /// While there is no [room](Io::has_room) for a handler with the connection this makes no system call, so that the backlog keeps the
    /// client, and the handler is run when a slot is freed. Connections that died in the backlog are passed over.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EMFILE`, `ENFILE`, `ENOBUFS` or `ENOMEM` when the process or the system has no more: the connection is still in
    /// the backlog and the readiness is kept; set a timer and come again. (The handler is also run when one of its reactor's slots is
    /// freed.) `ECONNABORTED` when 32 connections in a row had died. [`Error::TimedOut`], [`Error::Closed`], [`Error::NotOwner`].
    /// [`Error::Full`] on a bare poller without room.
    pub fn accept(&self, io: &mut Io<'_>) -> Poll<Result<(Unopened<TcpStream>, SocketAddr), Error>> {
        if !io.has_room() {
            ready!(self.hold(io))?;
            ready!(io.poll_room())?;
        }
        self.accept_now(io)
    }

    /// As [`accept`](TcpListener::accept), for a handler that opens the connection for itself: no room for another handler is waited for.
    ///
    /// # Errors
    ///
    /// As [`accept`](TcpListener::accept).
    pub fn accept_own(&self, io: &mut Io<'_>) -> Poll<Result<(Unopened<TcpStream>, SocketAddr), Error>> {
        if !io.has_descriptor_room() {
            ready!(self.hold(io))?;
            ready!(io.poll_descriptor_room())?;
        }
        self.accept_now(io)
    }

    /// There is no room: waits until a client is there, before it waits for room. A deadline counts all the same.
    fn hold(&self, io: &mut Io<'_>) -> Poll<Result<(), Error>> {
        ready!(io.poll_ready(self.token, Direction::Read))?;
        io.hold(self.token);
        Poll::Ready(Ok(()))
    }

    fn accept_now(&self, io: &mut Io<'_>) -> Poll<Result<(Unopened<TcpStream>, SocketAddr), Error>> {
        let accepted = ready!(io.poll_io(self.token, Direction::Read, |fd| {
            for _ in 0..PASSED_OVER {
                match acceptfrom_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    Err(Errno::CONNABORTED) => {}
                    answer => return answer,
                }
            }
            Err(Errno::CONNABORTED)
        }));
        match accepted {
            Ok((fd, Some(peer))) => Poll::Ready(super::ip(peer).map(|peer| (Unopened::new(fd), peer))),
            Ok((_, None)) => Poll::Ready(Err(Errno::NOTCONN.into())),
            Err(error) => {
                if let Error::Os(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) = error {
                    io.run_when_freed();
                }
                Poll::Ready(Err(error))
            }
        }
    }

    /// Sets or clears the moment after which `accept` answers [`Error::TimedOut`]. Go's `SetDeadline`.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`].
    pub fn set_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) -> Result<(), Error> {
        io.set_deadline(self.token, Direction::Read, at)
    }

    /// As [`set_deadline`](TcpListener::set_deadline), from now.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`].
    pub fn set_timeout(&self, io: &mut Io<'_>, after: Option<Duration>) -> Result<(), Error> {
        io.set_timeout(self.token, Direction::Read, after)
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`].
    pub fn local_addr(&self, io: &mut Io<'_>) -> Result<SocketAddr, Error> {
        super::local_addr(io.fd(self.token)?)
    }
}
