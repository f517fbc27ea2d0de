//! Names of errors, as strace and the man pages have them.

use netpoll::{Errno, Error};

macro_rules! errors {
    ($($name:ident = $errno:ident),* $(,)?) => {
        const NAMES: &[(Errno, &str)] = &[$((Errno::$errno, stringify!($name))),*];
    };
}

errors! {
    EACCES = ACCESS, EADDRINUSE = ADDRINUSE, EADDRNOTAVAIL = ADDRNOTAVAIL, EAFNOSUPPORT = AFNOSUPPORT, EAGAIN = AGAIN, EALREADY = ALREADY, EBADF = BADF,
    EBUSY = BUSY, ECANCELED = CANCELED, ECHILD = CHILD, ECONNABORTED = CONNABORTED, ECONNREFUSED = CONNREFUSED, ECONNRESET = CONNRESET,
    EDESTADDRREQ = DESTADDRREQ, EEXIST = EXIST, EHOSTDOWN = HOSTDOWN, EHOSTUNREACH = HOSTUNREACH, EINTR = INTR, EINVAL = INVAL, EIO = IO,
    EISCONN = ISCONN, EISDIR = ISDIR, ELOOP = LOOP, EMFILE = MFILE, EMSGSIZE = MSGSIZE, ENAMETOOLONG = NAMETOOLONG, ENETDOWN = NETDOWN,
    ENETUNREACH = NETUNREACH, ENFILE = NFILE, ENOBUFS = NOBUFS, ENODEV = NODEV, ENOENT = NOENT, ENOMEM = NOMEM, ENONET = NONET,
    ENOPROTOOPT = NOPROTOOPT, ENOSPC = NOSPC, ENOSYS = NOSYS, ENOTCONN = NOTCONN, ENOTDIR = NOTDIR, ENOTSOCK = NOTSOCK, ENOTTY = NOTTY,
    ENXIO = NXIO, EOPNOTSUPP = OPNOTSUPP, EOVERFLOW = OVERFLOW, EPERM = PERM, EPIPE = PIPE, EPROTO = PROTO,
    EPROTONOSUPPORT = PROTONOSUPPORT, EPROTOTYPE = PROTOTYPE, EROFS = ROFS, ESRCH = SRCH, ETIMEDOUT = TIMEDOUT,
    ETOOMANYREFS = TOOMANYREFS, EDQUOT = DQUOT, EFBIG = FBIG,
}

/// The name of what the kernel said, or what the crate did.
pub fn name_of(error: Error) -> String {
    match error {
        Error::Os(errno) => match NAMES.iter().find(|(known, _)| *known == errno) {
            Some((_, name)) => (*name).to_owned(),
            None => errno.raw_os_error().to_string(),
        },
        other => format!("{other:?}"),
    }
}
