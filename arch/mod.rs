//! The contract of a back-end, and the choice of one. This folder is the only place for names of operating systems.
//!
//! A back-end is a module with a type `Selector` and six constants; there is no trait, since exactly one is compiled. It imports value
//! types only. After the comment at the top of Go's `runtime/netpoll.go`:
//!
//! * `Selector::new() -> Result<Selector, Errno>`: makes the kernel's object, close-on-exec. Go's `netpollinit`.
//! * `Selector::open(&self, fd, bits, interest) -> Result<Directions, Error>`: arms edge-triggered notifications for `fd` until it is
//!   closed; `bits` come back with each. Readiness that is there already must be reported. What the kernel cannot wait for is
//!   `NotPollable`. Says which directions it has armed. Failing leaves nothing registered. Go's `netpollopen`.
//! * `Selector::arm(&self, fd, bits, directions) -> Result<Readiness, Errno>`: arms what is armed on demand, when somebody waits for it:
//!   these directions are to be armed from now on. Readiness that is there already must be reported by the next wait, or is answered at
//!   once. Go's `netpollarm`.
//! * `Selector::disarm(&self, fd)`: the kernel need not report any more of what is armed on demand and does not end by itself.
//! * `Selector::close(&self, fd, armed) -> Result<(), Errno>`: disarms; an error means that the kernel does not know the descriptor any
//!   more. Go's `netpollclose`.
//! * `Selector::open_break(&self, fd, bits) -> Result<(), Errno>`: as `open`, level-triggered and for reading only. Where
//!   [`BREAK_IS_ONE_SHOT`] it is called again each time that the pipe has been emptied.
//! * `Selector::wait(&self, timeout, each) -> Result<usize, Errno>`: waits for events, for ever (`None`), not at all (zero) or up to a
//!   time, which is rounded up to what the kernel can count and clamped to what it accepts; hands each [`Event`] to `each`; says how many
//!   there were. `EINTR` is returned. Go's `netpoll`.
//! * `AsFd` for `Selector`: readable while an event waits, so that a foreign loop can wait on it.
//! * `ON_DEMAND: Directions`: those that are armed when somebody waits for them, and again when they are spent (see [`Event`]) or disarmed.
//! * `BREAK_IS_ONE_SHOT: bool`: whether that of the break pipe does.
//! * `PRIORITY: bool`: whether the kernel tells urgent data apart.
//! * `REPLACES: bool`: whether opening a descriptor a second time silently takes the place of the first, instead of being `EEXIST`.
//! * `BATCH: usize`: how many events one wait hands out at the most.
//! * `KEPT: u64`: which of the `bits` come back. What is lost above is checked by the descriptor's number.
//!
//! | | epoll | kqueue | event ports |
//! |---|---|---|---|
//! | `open` arms | everything | reading | nothing |
//! | `ON_DEMAND` | nothing | writing: a permanent filter would wake on most acknowledgements | everything, for one event |
//! | `PRIORITY` | yes | no | yes |
//! | `unsafe` | none | the one call | the two calls that name a descriptor by its number |
//!
//! Beside it, `unix`: all that systems differ in besides this; `pidfd`: what of [`linux`](crate::linux) is not the same on Linux and
//! Android.
//!
//! A back-end is chosen by the system. For tests `--cfg netpoll_backend="kqueue"` or `"event_port"` chooses one on any host; its kernel is
//! then whatever `rustix::event::kqueue` or `rustix::event::port` is there, for example that of a `[patch]`ed rustix. With
//! `--cfg netpoll_model` it is the model of that kernel in `tests/kernel`.

use rustix::fd::RawFd;

use crate::interest::Directions;
use crate::readiness::Readiness;

/// What the kernel says of a descriptor.
pub(crate) struct Event {
    /// What the descriptor was opened with, as far as it is [`KEPT`].
    pub(crate) bits: u64,
    pub(crate) readiness: Readiness,
    /// What is not armed any more.
    pub(crate) spent: Directions,
    /// The descriptor's number, where not all bits are kept.
    pub(crate) fd: RawFd,
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(any(netpoll_backend = "kqueue", netpoll_backend = "event_port"))))]
#[path = "epoll.rs"]
mod backend;

#[cfg(any(
    netpoll_backend = "kqueue",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_vendor = "apple"
))]
#[path = "kqueue.rs"]
mod backend;

#[cfg(any(netpoll_backend = "event_port", target_os = "illumos", target_os = "solaris"))]
#[path = "event_port.rs"]
mod backend;

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(netpoll_backend = "kqueue", netpoll_backend = "event_port")))))]
mod pollable;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(any(netpoll_backend = "kqueue", netpoll_backend = "event_port")))))]
mod udata;

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_vendor = "apple",
    target_os = "illumos",
    target_os = "solaris"
)))]
compile_error!("netpoll has no back-end for this operating system: see the platform table in its README");

mod unix;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod pidfd;

pub(crate) use backend::{BATCH, BREAK_IS_ONE_SHOT, KEPT, ON_DEMAND, PRIORITY, REPLACES, Selector};
pub(crate) use unix::{
    NO_SIGNAL, PIPE_BUF, RECV_FDS, STICK_PARITY, accept, boottime, by_index, connected, may_bind, monotonic, peer_credentials, pipe,
    prepare_socket, received, set_keep_alive_times, set_mapped_ttl, set_multicast_loop, set_multicast_ttl, set_v6_only, share_datagrams,
    share_port, socket, socket_pair, unix_address, unnamed, written,
};
