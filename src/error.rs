//! [`Error`]: what can happen to a wait, apart from what the system call said; [`OpError`]: to whom; and
//! [`Rejected`], which gives back what was offered.

use core::fmt;
use core::net::SocketAddr;

use rustix::io::Errno;

/// Why an operation failed.
///
/// Everything the kernel said is [`Error::Os`]; the others are the poller's own words, and the streams' `UnexpectedEof`. Prints as users know it:
///
/// ```
/// use netpoll::{Errno, Error};
/// assert_eq!(Error::Closed.to_string(), "use of closed network connection");
/// assert_eq!(Error::TimedOut.to_string(), "i/o timeout");
/// assert_eq!(Error::Os(Errno::CONNREFUSED).to_string(), "connection refused");
/// assert_eq!(Error::Os(Errno::from_raw_os_error(254)).to_string(), "os error 254");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A table of fixed capacity has no free slot. Nothing was done; what was offered comes back in a [`Rejected`].
    Full,
    /// The token or handler id is stale: closed, ended, or its poller is gone. Go's `ErrNetClosing`.
    Closed,
    /// The deadline of this direction has passed, and stays passed until it is set anew. Go's `ErrDeadlineExceeded`.
    TimedOut,
    /// The descriptor belongs to another handler.
    NotOwner,
    /// The kernel cannot say when this descriptor is ready (a regular file, a directory, `/dev/null`), or this direction was not opened.
    NotPollable,
    /// The stream ended in the middle of what was to be read. Go's `io.ErrUnexpectedEOF`.
    UnexpectedEof,
    /// What a system call answered.
    Os(Errno),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error::Os(errno)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Error::Full => "table is full",
            Error::Closed => "use of closed network connection",
            Error::TimedOut => "i/o timeout",
            Error::NotOwner => "descriptor belongs to another handler",
            Error::NotPollable => "not pollable",
            Error::UnexpectedEof => "unexpected EOF",
            Error::Os(errno) => match message(errno) {
                Some(message) => message,
                None => return write!(f, "os error {}", errno.raw_os_error()),
            },
        })
    }
}

impl core::error::Error for Error {}

/// What `strerror` says, in the spelling that Go prints, for the errors that sockets, serial lines, children, timers and epoll give.
fn message(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::ACCESS => "permission denied",
        Errno::ADDRINUSE => "address already in use",
        Errno::ADDRNOTAVAIL => "cannot assign requested address",
        Errno::AFNOSUPPORT => "address family not supported by protocol",
        Errno::AGAIN => "resource temporarily unavailable",
        Errno::ALREADY => "operation already in progress",
        Errno::BADF => "bad file descriptor",
        Errno::BADMSG => "bad message",
        Errno::CANCELED => "operation canceled",
        Errno::CHILD => "no child processes",
        Errno::CONNABORTED => "software caused connection abort",
        Errno::CONNREFUSED => "connection refused",
        Errno::CONNRESET => "connection reset by peer",
        Errno::DESTADDRREQ => "destination address required",
        Errno::EXIST => "file exists",
        Errno::HOSTUNREACH => "no route to host",
        Errno::INTR => "interrupted system call",
        Errno::ISCONN => "transport endpoint is already connected",
        Errno::INVAL => "invalid argument",
        Errno::IO => "input/output error",
        Errno::MFILE => "too many open files",
        Errno::MSGSIZE => "message too long",
        Errno::NAMETOOLONG => "file name too long",
        Errno::NETDOWN => "network is down",
        Errno::NETUNREACH => "network is unreachable",
        Errno::NFILE => "too many open files in system",
        Errno::NOBUFS => "no buffer space available",
        Errno::NODEV => "no such device",
        Errno::NOENT => "no such file or directory",
        Errno::NOMEM => "cannot allocate memory",
        Errno::NOSPC => "no space left on device",
        Errno::NOSYS => "function not implemented",
        Errno::NOTDIR => "not a directory",
        Errno::NOTTY => "inappropriate ioctl for device",
        Errno::NOTCONN => "transport endpoint is not connected",
        Errno::NOTSOCK => "socket operation on non-socket",
        Errno::OPNOTSUPP => "operation not supported",
        Errno::PROTONOSUPPORT => "protocol not supported",
        Errno::NXIO => "no such device or address",
        Errno::OVERFLOW => "value too large for defined data type",
        Errno::PERM => "operation not permitted",
        Errno::PIPE => "broken pipe",
        Errno::PROTO => "protocol error",
        Errno::PROTOTYPE => "protocol wrong type for socket",
        Errno::SRCH => "no such process",
        Errno::TIMEDOUT => "connection timed out",
        Errno::TOOMANYREFS => "too many references: cannot splice",
        _ => return None,
    })
}

/// An [`Error`] and what was being done to whom: Go's `net.OpError`. Prints as Go does, without the names of
/// the network and of the system call.
///
/// `?` turns it into its [`Error`] where that is what a function returns.
///
/// ```
/// use netpoll::{Errno, Error, OpError};
/// let addr: core::net::SocketAddr = "127.0.0.1:9".parse().unwrap();
/// assert_eq!(OpError::new("dial", addr, Errno::CONNREFUSED).to_string(), "dial 127.0.0.1:9: connection refused");
/// assert_eq!(OpError::new("read", "/dev/ttyS0", Error::TimedOut).to_string(), "read /dev/ttyS0: i/o timeout");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct OpError<A = SocketAddr> {
    /// What was being done: "dial", "listen", "accept", "read", "write" ….
    pub op: &'static str,
    /// To whom.
    pub addr: A,
    /// Why it failed.
    pub error: Error,
}

impl<A> OpError<A> {
    /// Says what an error is about.
    pub fn new(op: &'static str, addr: A, error: impl Into<Error>) -> OpError<A> {
        OpError { op, addr, error: error.into() }
    }
}

impl<A> From<OpError<A>> for Error {
    fn from(error: OpError<A>) -> Error {
        error.error
    }
}

impl<A: fmt::Display> fmt::Display for OpError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.op, self.addr, self.error)
    }
}

impl<A: fmt::Debug + fmt::Display> core::error::Error for OpError<A> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// An offer that was not taken: what was offered, untouched, and why.
///
/// `?` turns it into its [`Error`] and drops the value (which closes a descriptor).
///
/// ```no_run
/// # fn f(io: &mut netpoll::Io<'_>, fd: netpoll::OwnedFd) -> Result<(), netpoll::Error> {
/// use netpoll::{Error, Interest};
/// match io.open(fd, Interest::default()) {
///     Ok(token) => { /* the poller owns the descriptor */ }
///     Err(rejected) if rejected.error == Error::NotPollable => { let file = rejected.value; /* still ours */ }
///     Err(rejected) => return Err(rejected.into()),
/// }
/// # Ok(())
/// # }
/// ```
pub struct Rejected<T> {
    /// What was offered.
    pub value: T,
    /// Why it was not taken.
    pub error: Error,
}

impl<T> Rejected<T> {
    pub(crate) fn new(value: T, error: impl Into<Error>) -> Rejected<T> {
        Rejected { value, error: error.into() }
    }

    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Rejected<U> {
        Rejected { value: f(self.value), error: self.error }
    }
}

impl<T> From<Rejected<T>> for Error {
    fn from(rejected: Rejected<T>) -> Error {
        rejected.error
    }
}

impl<T> fmt::Debug for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Rejected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> core::error::Error for Rejected<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::error::Error as _;
    use std::format;
    use std::string::ToString;

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn messages_are_those_of_strerror() {
        let mut known = 0;
        for number in 1..200 {
            if let Some(message) = message(Errno::from_raw_os_error(number)) {
                known += 1;
                let strerror = std::io::Error::from_raw_os_error(number).to_string();
                assert_eq!(format!("{message} (os error {number})"), strerror[..1].to_lowercase() + &strerror[1..]);
            }
        }
        assert_eq!(known, 47);
    }

    #[test]
    fn errors_print_what_they_are_about() {
        let refused = OpError::new("dial", "127.0.0.1:9", Errno::CONNREFUSED);
        assert_eq!(refused.to_string(), "dial 127.0.0.1:9: connection refused");
        assert_eq!(refused.source().map(ToString::to_string).as_deref(), Some("connection refused"));
        let rejected = Rejected::new(7, Error::Full);
        assert_eq!(rejected.to_string(), "table is full");
        assert_eq!(format!("{rejected:?}"), "Rejected { error: Full, .. }");
    }
}
