//! The back-end of the crate under test, chosen by the conditions of `arch/mod.rs`.

/// kqueue: the BSDs, macOS, and the model of it.
pub const KQUEUE: bool = cfg!(any(
    netpoll_backend = "kqueue",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_vendor = "apple"
));

/// Event ports: illumos, Solaris, and the model of them.
pub const EVENT_PORT: bool = cfg!(any(netpoll_backend = "event_port", target_os = "illumos", target_os = "solaris"));

/// epoll: Linux and Android.
pub const EPOLL: bool = !KQUEUE && !EVENT_PORT;
