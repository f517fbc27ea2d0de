//! [`TcpStream`]: connecting, reading, writing.

use core::net::SocketAddr;
use core::task::Poll;
use core::time::Duration;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketType, sockopt};

use super::byte_stream::byte_stream;
use super::inet_socket::{inet_socket, socket};
use super::{ConnectOptions, KeepAlive, RECV, SEND};
use crate::arch;
use crate::descriptor::{Unopened, deadlines, descriptor, reader, writer};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A TCP connection. Go's `net.TCPConn`.
///
/// Reads and writes answer `Pending` where Go would block, [`Error::TimedOut`] once their deadline has passed (also when data is there),
/// and otherwise what the kernel says: `ECONNRESET`, `EPIPE` (never `SIGPIPE`), `ETIMEDOUT` when the kernel itself gave up.
///
/// After a short read or write the next one makes no system call until the kernel reports something, as long as it has never reported a
/// half-close, an error or urgent data.
///
/// ```no_run
/// # use core::task::{Poll, ready};
/// # use netpoll::{Error, Io};
/// # use netpoll::net::TcpStream;
/// /// Sends a request and reads the start of the answer.
/// fn ask(io: &mut Io<'_>, stream: &TcpStream, connected: &mut bool, sent: &mut usize, answer: &mut [u8]) -> Poll<Result<usize, Error>> {
///     if !*connected {
///         ready!(stream.poll_connected(io))?;
///         *connected = true;
///     }
///     ready!(stream.write_all(io, b"GET / HTTP/1.0\r\n\r\n", sent))?; // resumes where it stopped
///     stream.read(io, answer)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct TcpStream {
    token: Token,
}

// Urgent data stops a read short of what is there: without it in the interest, a short read would prove nothing.
descriptor!(TcpStream, interest: Interest::READ.union(Interest::WRITE).union(Interest::PRIORITY), must_not_block: false);
reader!(TcpStream);
writer!(TcpStream);
deadlines!(TcpStream);
inet_socket!(TcpStream);
byte_stream!(TcpStream);

impl TcpStream {
    /// Begins to connect, with Go's options. Open what it gives, then wait with [`poll_connected`](TcpStream::poll_connected); a write
    /// deadline limits the wait. [`Dial`](super::Dial) does all of it, for several addresses.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as socket(2) and connect(2), for what is known at once: `ENETUNREACH`, `EADDRNOTAVAIL`, `EACCES`, `EMFILE`. A refusal
    /// comes later, on Linux also on the same machine (measured); the BSDs may tell it at once.
    pub fn connect(addr: SocketAddr) -> Result<Unopened<TcpStream>, Error> {
        TcpStream::connect_with(addr, &ConnectOptions::default())
    }

    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// As [`connect`](TcpStream::connect), and bind(2): `EADDRINUSE`, `EADDRNOTAVAIL`; `EINVAL` or `EAFNOSUPPORT` when the local address is
    /// of another family.
    pub fn connect_with(addr: SocketAddr, options: &ConnectOptions) -> Result<Unopened<TcpStream>, Error> {
        let fd = socket(addr, SocketType::STREAM)?;
        if options.keep_alive.is_some() {
            KeepAlive::apply(options.keep_alive, fd.as_fd())?;
        }
        if options.nodelay {
            sockopt::set_tcp_nodelay(&fd, true)?;
        }
        if let Some(local) = options.local {
            rustix::net::bind(&fd, &local)?;
        }
        match arch::connected(rustix::net::connect(&fd, &addr)) {
            Ok(()) => Ok(Unopened::new(fd)),
            // An interrupted connect goes on by itself, like one that takes its time.
            Err(Errno::INPROGRESS | Errno::INTR) => Ok(Unopened::connecting(fd)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until the connection is established. Two system calls; reads and writes wait by themselves, but tell less of why it failed.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with what connect(2) says late: `ECONNREFUSED`, `ETIMEDOUT`, `EHOSTUNREACH`; `ENOTCONN` if that was answered before (macOS and
    /// iOS do not tell it from a connection that is over, and answer `Ok`).
    /// [`Error::TimedOut`] when the write deadline passes first. [`Error::Closed`], [`Error::NotOwner`].
    pub fn poll_connected(&self, io: &mut Io<'_>) -> Poll<Result<(), Error>> {
        let answer = io.poll_io(self.token, Direction::Write, |fd| {
            sockopt::socket_error(fd)??;
            match rustix::net::getpeername(fd) {
                // EINVAL is macOS's word for one that is over already: reads and writes will tell.
                Ok(_) | Err(Errno::INVAL) => Ok(()),
                // No error and no peer: the edge was not the connection's.
                Err(Errno::NOTCONN) => Err(Errno::AGAIN),
                Err(errno) => Err(errno),
            }
        });
        if answer.is_pending() && io.is_broken(self.token) {
            // It has failed: since the first look at the error, or whoever asked before was told why.
            let errno = self.take_error(io)?.unwrap_or(Errno::NOTCONN);
            return Poll::Ready(Err(errno.into()));
        }
        answer
    }

    /// Reads what is there, at most `buf.len()` bytes; 0 is the end of the stream. Data always comes before the end or an error. An empty
    /// `buf` answers 0 without a look.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the read deadline, [`Error::Os`] as recv(2), [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io_drained(self.token, Direction::Read, |fd| {
            // Without `MSG_TRUNC` both answers are the same; the first was compared with the room once more.
            let (_, n) = rustix::net::recv(fd, &mut *buf, RECV)?;
            // 0 is the end of the stream, and says so again.
            Ok((n, super::is_short(n, buf.len())))
        })
    }

    /// Writes as much as the kernel takes, and says how much. An empty `buf` answers 0 without a look.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the write deadline, [`Error::Os`] as send(2): `EPIPE` and `ECONNRESET` when the peer is gone (also where macOS
    /// says `EPROTOTYPE`, of a connection that is being torn down), `ENOBUFS` on the BSDs when the kernel has no memory: no edge follows, so
    /// set a timer. [`Error::Closed`], [`Error::NotOwner`].
    #[inline(always)]
    pub fn write(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io_drained(self.token, Direction::Write, |fd| {
            let n = arch::written(rustix::net::send(fd, buf, SEND))?;
            Ok((n, n < buf.len()))
        })
    }

    /// Closes one direction or both while the descriptor stays open (shutdown(2)). After `Shutdown::Write` the peer reads what is under
    /// way, then the end of the stream.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `ENOTCONN`, [`Error::Closed`], [`Error::NotOwner`].
    pub fn shutdown(&self, io: &mut Io<'_>, how: Shutdown) -> Result<(), Error> {
        self.option(io, |fd| rustix::net::shutdown(fd, how))
    }

    /// Sends small writes at once instead of gathering them (`TCP_NODELAY`): how connections start, unless the options say otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`].
    pub fn set_nodelay(&self, io: &mut Io<'_>, on: bool) -> Result<(), Error> {
        self.option(io, |fd| sockopt::set_tcp_nodelay(fd, on))
    }

    /// Sets keep-alive probes, or turns them off. Accepted connections have their listener's.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`].
    pub fn set_keepalive(&self, io: &mut Io<'_>, keep_alive: Option<KeepAlive>) -> Result<(), Error> {
        self.option(io, |fd| KeepAlive::apply(keep_alive, fd))
    }

    /// Makes the end of the connection a reset: data that is still to be sent is thrown away, and the peer sees `ECONNRESET` (`SO_LINGER`
    /// with zero; Go's `SetLinger(0)`).
    ///
    /// Turned off, which is how connections start, closing returns at once and the kernel goes on sending. The third choice of socket(7),
    /// to block in close(2), would stop the loop, and is not offered.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`].
    pub fn set_reset_on_close(&self, io: &mut Io<'_>, on: bool) -> Result<(), Error> {
        self.option(io, |fd| sockopt::set_socket_linger(fd, on.then_some(Duration::ZERO)))
    }
}
