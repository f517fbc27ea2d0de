//! The back-end of the crate under test, chosen by the conditions of `arch/mod.rs`, and what cannot be tried here.

#![allow(dead_code)] // each test program uses a part of it

use std::fmt::Display;
use std::io::Write as _;

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

/// Whether events come in order, as many at once as there are, and no more than that: kernels do, but need not, and a model of one that
/// is as nasty as it may be does not.
pub fn is_orderly() -> bool {
    let flavour = std::env::var(if KQUEUE { "NETPOLL_KQUEUE" } else { "NETPOLL_PORT" }).unwrap_or_default();
    !cfg!(netpoll_model) || !["netbsd", "hostile"].contains(&flavour.as_str())
}

/// Whether a wait hands out all that there is to hand out. If not, says that the test cannot be made.
pub fn has_throughput(test: &str) -> bool {
    let starves = KQUEUE && std::env::var("NETPOLL_KQUEUE").is_ok_and(|is| is == "hostile");
    if starves {
        skip(test, "three events at a time are too few for so many connections");
    }
    !starves
}

/// Whether FIFOs that are opened by their names can be waited for: not on Darwin, whose readers are not told that the last writer has gone.
/// If not, says that the test cannot be made.
pub fn has_fifos(test: &str) -> bool {
    let darwin = cfg!(target_vendor = "apple") || cfg!(netpoll_model) && std::env::var("NETPOLL_KQUEUE").is_ok_and(|is| is == "macos");
    if darwin {
        skip(test, "readers of FIFOs are not told that the last writer has gone");
    }
    !darwin
}

/// Says, whether or not output is captured, what could not be tried.
pub fn skip(test: &str, reason: impl Display) {
    std::io::stderr().write_all(format!("skipped: {test}: {reason}\n").as_bytes()).unwrap();
}

/// Whether the kernel tells urgent data apart. If not, says that the test cannot be made.
pub fn has_priority(test: &str) -> bool {
    if KQUEUE {
        skip(test, "kqueue does not tell urgent data apart");
    }
    !KQUEUE
}
