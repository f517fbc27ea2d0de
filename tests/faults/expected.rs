//! What is injected into which call, and what must come of it.
//!
//! The errors are those of the man pages and of the kernel's source, and for every call `EINTR`, `ENOMEM`, `EBADF` and a seccomp filter's
//! `EPERM`. Not what means that the call is to be waited for: `EAGAIN`, `EINPROGRESS`, and `ENOTCONN` of `getpeername`, which the kernel
//! says only while an edge is still to come.

/// What comes of a call that failed once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The operation says so, and succeeds when it is made again.
    Told,
    /// The operation says this instead, and succeeds when it is made again.
    As(&'static str),
    /// Nobody notices: the call is made again, or can be done without.
    Unnoticed,
    /// Nobody notices: the descriptor is taken for closed, and the call is not made again.
    Closed,
    /// Nobody notices, but `Stats::lost_descriptors` counts it.
    Counted,
    /// Nobody notices: a dial goes on to its next address.
    NextAddress,
    /// [`Told`](Outcome::Told) or [`Unnoticed`](Outcome::Unnoticed), by who makes the call; of a server's, `NextAddress`.
    Either,
    /// Cannot arise, or is not the crate's.
    NotTried,
}

use Outcome::{As, Closed, Counted, Either, NextAddress, NotTried, Told, Unnoticed};

/// For the calls of one kind, which errors come to what.
pub struct Rule {
    /// Empty for all.
    life: &'static str,
    call: &'static str,
    /// What strace's line has in it.
    says: &'static str,
    errors: &'static [&'static str],
    outcome: Outcome,
}

const fn rule(call: &'static str, errors: &'static [&'static str], outcome: Outcome) -> Rule {
    Rule { life: "", call, says: "", errors, outcome }
}

impl Rule {
    const fn of(self, life: &'static str) -> Rule {
        Rule { life, ..self }
    }

    const fn that(self, says: &'static str) -> Rule {
        Rule { says, ..self }
    }

    fn is_about(&self, life: &str, call: &str, line: &str) -> bool {
        (self.life.is_empty() || self.life == life) && self.call == call && line.contains(self.says)
    }
}

const ANY: &[&str] = &["EINTR", "ENOMEM", "EBADF", "EPERM"];
const NO_DESCRIPTOR: &[&str] = &["EMFILE", "ENFILE", "EINVAL"];
const DEVICE: &[&str] = &["EINVAL", "EMFILE", "ENFILE", "ENODEV"];
const MAKING_A_SOCKET: &[&str] = &["EACCES", "EAFNOSUPPORT", "EINVAL", "EMFILE", "ENFILE", "ENOBUFS", "EPROTONOSUPPORT"];
const OPTION: &[&str] = &["EINVAL", "ENOPROTOOPT", "ENOTSOCK"];
const CONNECTING: &[&str] = &[
    "EACCES",
    "EADDRINUSE",
    "EADDRNOTAVAIL",
    "EAFNOSUPPORT",
    "EAGAIN",
    "EALREADY",
    "ECONNREFUSED",
    "EHOSTUNREACH",
    "EISCONN",
    "ENETUNREACH",
    "ENOTSOCK",
    "EPROTOTYPE",
    "ETIMEDOUT",
];
const RECEIVING: &[&str] = &["ECONNREFUSED", "ECONNRESET", "EINVAL", "ENOTCONN", "ENOTSOCK", "ETIMEDOUT"];
const SENDING: &[&str] = &[
    "EACCES",
    "ECONNREFUSED",
    "ECONNRESET",
    "EDESTADDRREQ",
    "EHOSTUNREACH",
    "EINVAL",
    "EISCONN",
    "EMSGSIZE",
    "ENETUNREACH",
    "ENOBUFS",
    "ENOTCONN",
    "ENOTSOCK",
    "EOPNOTSUPP",
    "EPIPE",
];
const PATH: &[&str] = &["EACCES", "ELOOP", "ENAMETOOLONG", "ENOTDIR"];
const OPENING: &[&str] = &["EBUSY", "EISDIR", "EMFILE", "ENFILE", "ENODEV", "ENOENT", "ENOSPC", "ENXIO", "EOVERFLOW", "EROFS"];
const READING: &[&str] = &["EINVAL", "EIO", "EISDIR"];
const WRITING: &[&str] = &["EDQUOT", "EFBIG", "EINVAL", "EIO", "ENOSPC", "EPIPE"];

/// The first that is about a call and an error counts.
const RULES: &[Rule] = &[
    // The poller.
    rule("epoll_create1", NO_DESCRIPTOR, Told),
    rule("epoll_create1", ANY, Told),
    rule("pipe2", NO_DESCRIPTOR, Told),
    rule("pipe2", ANY, Told),
    rule("epoll_ctl", &["ENOENT", "EINVAL"], Counted).that("EPOLL_CTL_DEL"),
    rule("epoll_ctl", ANY, Counted).that("EPOLL_CTL_DEL"),
    rule("epoll_ctl", &["EEXIST", "EINVAL", "ELOOP", "ENOSPC", "EBADF", "EINTR", "ENOMEM", "EPERM"], Either)
        .of("server")
        .that("EPOLL_CTL_ADD"),
    rule("epoll_ctl", &["EPERM"], Told).that("{events=EPOLLIN, "), // the break pipe
    rule("epoll_ctl", &["EPERM"], Either).of("poller").that("EPOLL_CTL_ADD"), // also of a file, which is not pollable
    rule("epoll_ctl", &["EPERM"], As("NotPollable")).that("EPOLL_CTL_ADD"),
    rule("epoll_ctl", &["EEXIST", "EINVAL", "ELOOP", "ENOSPC"], Told).that("EPOLL_CTL_ADD"),
    rule("epoll_ctl", ANY, Told).that("EPOLL_CTL_ADD"),
    rule("epoll_pwait", &["EINTR"], Unnoticed),
    rule("epoll_pwait", &["EINVAL", "ENOMEM", "EBADF", "EPERM"], Told),
    rule("close", &["EIO", "ENOSPC", "EDQUOT"], Closed),
    rule("close", ANY, Closed),
    // The clock: rustix takes what the kernel cannot refuse for granted, and finds another way where it can.
    rule("prctl", &["EINVAL", "EPERM"], Unnoticed),
    rule("open", PATH, Unnoticed).of("clock"),
    rule("open", OPENING, Unnoticed).of("clock"),
    rule("open", ANY, Unnoticed).of("clock"),
    rule("read", &["EINTR"], Unnoticed).of("clock"),
    rule("read", READING, NotTried).of("clock"),
    rule("read", ANY, NotTried).of("clock"),
    // The standard library looks whether a descriptor that it closes is open; it aborts where not.
    rule("fcntl", ANY, NotTried).that("F_GETFD"),
    rule("fcntl", ANY, Unnoticed).that("F_GETFL"),
    rule("fcntl", &["EINVAL", "EMFILE"], Told).that("F_DUPFD"),
    rule("fcntl", ANY, Told).that("F_DUPFD"),
    // Reading and writing.
    rule("read", &["EINTR"], Unnoticed),
    rule("read", READING, Told),
    rule("read", ANY, Told),
    rule("write", &["EINTR"], Unnoticed),
    rule("write", WRITING, Told),
    rule("write", ANY, Told),
    rule("recvfrom", &["EINTR"], Unnoticed),
    rule("recvfrom", &["ENOTSOCK"], Unnoticed).of("pipes"),
    rule("recvfrom", &["ENOBUFS"], As("overrun")).of("linux"),
    rule("recvfrom", RECEIVING, Told),
    rule("recvfrom", ANY, Told),
    rule("recvmsg", &["EINTR"], Unnoticed),
    rule("recvmsg", RECEIVING, Told),
    rule("recvmsg", ANY, Told),
    rule("sendto", &["EINTR"], Unnoticed),
    rule("sendto", &["ENOTSOCK"], Unnoticed).of("pipes"),
    rule("sendto", SENDING, Told),
    rule("sendto", ANY, Told),
    rule("sendmsg", &["EINTR"], Unnoticed),
    rule("sendmsg", &["ETOOMANYREFS"], Told).of("unix"),
    rule("sendmsg", SENDING, Told),
    rule("sendmsg", ANY, Told),
    // Sockets.
    rule("socket", MAKING_A_SOCKET, Either).of("server"),
    rule("socket", ANY, Either).of("server"),
    rule("socket", &["EPERM"], As("kept")).of("unix"), // as if `connect` had said so
    rule("socket", MAKING_A_SOCKET, Told),
    rule("socket", ANY, Told),
    rule("socketpair", MAKING_A_SOCKET, Told),
    rule("socketpair", ANY, Told),
    rule("setsockopt", OPTION, Either).of("server"),
    rule("setsockopt", ANY, Either).of("server"),
    rule("setsockopt", &["EPERM"], Unnoticed).that("SO_RCVBUFFORCE"),
    rule("setsockopt", OPTION, Told),
    rule("setsockopt", ANY, Told),
    rule("bind", &["EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EINVAL", "ENOTSOCK"], Told),
    rule("bind", ANY, Told),
    rule("listen", &["EADDRINUSE", "ENOTSOCK", "EOPNOTSUPP"], Told),
    rule("listen", ANY, Told),
    rule("accept4", &["EINTR", "ECONNABORTED"], Unnoticed),
    rule("accept4", &["EMFILE", "ENFILE", "ENOBUFS", "EINVAL", "ENOTSOCK", "EOPNOTSUPP", "EPROTO"], Told),
    rule("accept4", &["ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "ENETUNREACH"], Told),
    rule("accept4", ANY, Told),
    rule("connect", CONNECTING, NextAddress).of("server"),
    rule("connect", ANY, NextAddress).of("server"),
    rule("connect", &["EINTR"], Unnoticed).of("tcp"),
    rule("connect", &["EINTR"], Unnoticed).of("unix"),
    // The look whether a name is stale: what is not refused is left alone.
    rule("connect", &["ECONNREFUSED"], Either).of("unix"),
    rule("connect", &["EPERM"], As("kept")).of("unix"),
    rule("connect", &["EPROTOTYPE"], As("kept")).of("unix"),
    rule("connect", &["ENOENT"], As("kept")).of("unix"),
    rule("connect", CONNECTING, Told),
    rule("connect", ANY, Told),
    rule("getsockopt", &["EINTR"], Unnoticed).of("server").that("SO_ERROR"),
    rule("getsockopt", OPTION, NextAddress).of("server").that("SO_ERROR"),
    rule("getsockopt", ANY, NextAddress).of("server").that("SO_ERROR"),
    rule("getsockopt", &["EINTR"], Either).that("SO_ERROR"),
    // Only where debug assertions are on: whether what blocks is no socket.
    rule("getsockopt", OPTION, Unnoticed).that("SO_TYPE"),
    rule("getsockopt", ANY, Unnoticed).that("SO_TYPE"),
    rule("getsockopt", OPTION, As("ESRCH")).that("SO_PEERCRED"),
    rule("getsockopt", ANY, As("ESRCH")).that("SO_PEERCRED"),
    rule("getsockopt", OPTION, Told),
    rule("getsockopt", ANY, Told),
    rule("getsockname", &["EINVAL", "ENOBUFS", "ENOTSOCK"], Either).of("server"),
    rule("getsockname", ANY, Either).of("server"),
    rule("getsockname", &["EINVAL", "ENOBUFS", "ENOTSOCK"], Told),
    rule("getsockname", ANY, Told),
    rule("getpeername", &["EINTR"], Unnoticed).of("server"),
    rule("getpeername", &["ENOBUFS", "ENOTSOCK"], NextAddress).of("server"),
    rule("getpeername", ANY, NextAddress).of("server"),
    rule("getpeername", &["EINTR"], Either),
    rule("getpeername", &["ENOBUFS", "ENOTSOCK"], Told),
    rule("getpeername", ANY, Told),
    rule("shutdown", &["EINVAL", "ENOTCONN", "ENOTSOCK"], Told),
    rule("shutdown", ANY, Told),
    rule("newfstatat", &["ENOENT"], As("kept")),
    rule("newfstatat", PATH, Told),
    rule("newfstatat", ANY, Told),
    rule("unlinkat", &["ENOENT"], As("kept")),
    rule("unlinkat", PATH, Told),
    rule("unlinkat", &["EBUSY", "EIO", "EISDIR", "EROFS"], Told),
    rule("unlinkat", ANY, Told),
    // Files, terminals, standard input.
    rule("open", &["EINTR"], Unnoticed),
    rule("open", PATH, Told),
    rule("open", OPENING, Told),
    rule("open", ANY, Told),
    rule("fstat", &["EOVERFLOW"], Told),
    rule("fstat", ANY, Told),
    rule("ioctl", &["ENOTTY"], Either),
    rule("ioctl", &["EINVAL", "EIO"], Told),
    rule("ioctl", ANY, Told),
    // Linux.
    rule("eventfd2", DEVICE, Told),
    rule("eventfd2", ANY, Told),
    rule("timerfd_create", DEVICE, Told),
    rule("timerfd_create", ANY, Told),
    rule("timerfd_settime", &["ECANCELED", "EINVAL"], Told),
    rule("timerfd_settime", ANY, Told),
    rule("timerfd_gettime", &["EINVAL"], Told),
    rule("timerfd_gettime", ANY, Told),
    rule("inotify_init1", NO_DESCRIPTOR, Told),
    rule("inotify_init1", ANY, Told),
    rule("inotify_add_watch", PATH, Told),
    rule("inotify_add_watch", &["EEXIST", "EINVAL", "ENOENT", "ENOSPC"], Told),
    rule("inotify_add_watch", ANY, Told),
    rule("inotify_rm_watch", &["EINVAL"], Told),
    rule("inotify_rm_watch", ANY, Told),
    rule("pidfd_open", DEVICE, Told),
    rule("pidfd_open", &["ENOSYS", "ESRCH"], Told),
    rule("pidfd_open", ANY, Told),
    rule("waitid", &["EINTR"], Unnoticed),
    rule("waitid", &["ECHILD", "EINVAL"], Told),
    rule("waitid", ANY, Told),
    rule("pidfd_send_signal", &["EINVAL", "ENOSYS", "ESRCH"], Told),
    rule("pidfd_send_signal", ANY, Told),
];

/// What must come of an error of this call; `None` if nothing is known of it.
pub fn outcome(life: &str, call: &str, line: &str, error: &str) -> Option<Outcome> {
    let rule = RULES.iter().find(|rule| rule.is_about(life, call, line) && rule.errors.contains(&error))?;
    Some(rule.outcome)
}

/// What is injected into this call.
pub fn errors(life: &str, call: &str, line: &str) -> Vec<&'static str> {
    let mut errors: Vec<_> = RULES.iter().filter(|rule| rule.is_about(life, call, line)).flat_map(|rule| rule.errors).copied().collect();
    errors.sort_unstable();
    errors.dedup();
    errors.retain(|error| outcome(life, call, line, error) != Some(NotTried));
    errors
}
