//! The Go runtime's network poller as a Rust crate: a single-threaded event loop on raw system calls, without `std`, without allocation,
//! and on Linux without libc and without `unsafe`.
//!
//! Every descriptor is registered once, edge-triggered, for its whole life; what the kernel reports is *remembered*; and the poller does
//! not say which descriptors have events but *who is to be run*. Where Go has goroutines, netpoll has [handlers](Handler): values of your
//! own type that are called back when something they wait for has happened. Every table has a fixed capacity, so a program knows its memory
//! when it is linked.
//!
//! ```no_run
//! use core::{task::{Poll, ready}, time::Duration};
//! use netpoll::net::{TcpListener, TcpStream};
//! use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
//!
//! enum Echo { Listener(TcpListener), Client { stream: TcpStream, buf: [u8; 512], len: usize, sent: usize } }
//!
//! impl Handler for Echo {
//!     type Shared = ();
//!     type Error = Error;
//!     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
//!         loop {
//!             match self {
//!                 Echo::Listener(listener) => match ready!(listener.accept(cx)) { // waits while there is no room
//!                     Ok((socket, _peer)) => drop(cx.spawn_with(socket, |stream| Echo::Client { stream, buf: [0; 512], len: 0, sent: 0 })),
//!                     Err(_) => { cx.set_timer_after(Duration::from_millis(100)); return Poll::Pending } // EMFILE and the like
//!                 },
//!                 Echo::Client { stream, buf, len, sent } if sent == len => {
//!                     (*len, *sent) = (ready!(stream.read(cx, buf))?, 0);
//!                     if *len == 0 { return Poll::Ready(Ok(())) } // the end: dropped, closed
//!                 }
//!                 Echo::Client { stream, buf, len, sent } => ready!(stream.write_all(cx, &buf[..*len], sent))?,
//!             }
//!         }
//!     }
//! }
//!
//! fn main() -> Result<(), Error> {
//!     let mut storage = ReactorStorage::<Echo, 100, 100>::new(); // a static, in real programs
//!     let mut reactor = Reactor::new(&mut storage)?;
//!     reactor.spawn_with(TcpListener::bind("127.0.0.1:7777".parse().unwrap())?, Echo::Listener)?;
//!     reactor.run(&mut ())
//! }
//! ```
//!
//! # The map
//!
//! From the roof to the ground; each layer knows only those below it.
//!
//! * [`Reactor`], [`Handler`], [`Context`]: handlers, their timers, notifications and the ready list;
//!   [`Outbox`]: what one handler writes for many. For programs.
//! * [`net`]: sockets with Go's manners. They need no reactor: a runtime uses them on its own poller.
//! * [`os`]: pipes and terminals; [`linux`]: what only Linux has: timers, children, files, devices as descriptors.
//! * [`frame`]: messages cut out of streams of bytes, in fixed buffers.
//! * [`Descriptor`], [`Unopened`]: what these have in common, and [`Reader`], [`Writer`]: streams of bytes.
//! * [`Poller`] and [`Io`]: Go's contract: `open`, `close`, `poll`, deadlines; and [`poll_io`](Io::poll_io), by which any descriptor and
//!   any system call become pollable. For authors of runtimes, and of new kinds of descriptors.
//! * [`Breaker`]: wakes a poller from a thread or a signal handler.
//! * `arch`: one file per kernel; the only place that names operating systems.
//! * [`table`], [`deadline`], [`readiness`]: pure; no system call. They are public so that they can be fuzzed and read, and may change in
//!   any release.
//! * [`Token`], [`Interest`], [`Direction`], [`Instant`], [`Clock`], [`Error`]: values.
//!
//! # A gate
//!
//! Each direction of a descriptor has a gate ([`table::Gate`]): what Go calls `rg` and `wg`.
//!
//! ```text
//!                 an edge                     an edge: the waiter is run
//!        ┌──────────────────────▶ Ready ◀──────────────────────────┐
//!        │                       │     ▲                           │
//!        │   the call says EAGAIN│     │ the call says anything    │
//!      Idle                      │     │ else: stays               │
//!      ▲ ▲                       ▼     └───┘                       │
//!      │ └──────────────────── Waiting(w) ─────────────────────────┘
//!      │      deadline passes: w is run │ ▲
//!      │      unwait, give: w is not    │ │ an operation while not Ready
//!      └────────────────────────────────┘ └── (no system call)
//! ```
//!
//! What follows: no edge is ever lost, and none has to be asked for again. A handler may stop in the middle, having read half or accepted
//! one connection of two, and keeps its readiness; there is no `rearm`. Nobody is called for a direction that nobody waits for. A
//! descriptor is registered by one `epoll_ctl` and unregistered by another, and none comes in between. `HUP` and `ERR` open every gate; the
//! peer's half-close opens the read gate.
//!
//! A handler that says `Pending` is run again when
//!
//! | it | is run when |
//! |---|---|
//! | was answered `Pending` by an operation | the descriptor's edge or deadline comes |
//! | has used up its budget in one direction | the others on the ready list have run |
//! | was answered `Pending` by `accept` because a table is full, or an `EMFILE` | a slot is freed: the longest waiting first |
//! | has set its timer | that moment comes |
//! | was answered `Pending` by [`poll_wake`](Context::poll_wake) | a [`Breaker`] is used |
//! | is [notified](Context::notify) | the others on the ready list have run |
//! | called [`yield_now`](Context::yield_now) | the others on the ready list have run |
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `alloc` | storage on the heap with a capacity chosen at run time (`BoxedPollerStorage`, `BoxedReactorStorage`), and `SharedBreaker` |
//! | `std` | [`OwnedFd`], [`BorrowedFd`] and [`AsFd`] are those of `std::os::fd`; `linux::stdin` and `linux::stdout`; implies `alloc` |
//! | `linux_5_11` | waits count nanoseconds instead of milliseconds (`epoll_pwait2`); the program then needs Linux 5.11 |
//!
#![doc = include_str!("platforms.md")]
//!
//! # System calls
//!
//! All that the crate makes on Linux, by what makes them. But for that one `prctl` nothing newer than the floor is called, and nothing is
//! probed; only a [`ChildExit`](linux::ChildExit) needs 5.4, and says so where there is less.
//!
//! | when | calls |
//! |---|---|
//! | a poller is made | `epoll_create1`, `pipe2`, `epoll_ctl` |
//! | a descriptor is opened, closed | `epoll_ctl`; `epoll_ctl` and `close`. `fcntl` for a listener made elsewhere, and in debug builds for every descriptor, with `getsockopt` for blocking ones, to find what would block the loop |
//! | each turn of the loop | one `epoll_pwait`; after a wake one `read`; `clock_gettime` (in the vDSO) if a deadline exists |
//! | the clock is first read | `prctl` with `PR_GET_AUXV`, by which rustix finds the vDSO; where the kernel does not know it (before 6.4), `open`, `read` and `close` of `/proc/self/auxv`, and with the feature `alloc` an allocation, freed at once. Where that cannot be opened either, each look at the clock is a `clock_gettime` (on 32-bit machines a `clock_gettime64` first) |
//! | a wake | one `write`, unless one is pending |
//! | listening | `socket`, `setsockopt`, `bind`, `listen`; `accept4` for each connection |
//! | connecting | `socket`, `setsockopt`, with a local address `bind`, `connect`; then `getsockopt`, `getpeername`, and by `Dial` `getsockname` |
//! | a UDP socket is made | `socket`, `setsockopt`, `bind`, `connect` |
//! | a Unix socket is made | `socket`, `bind`, `listen`, `connect`; `socketpair` for two. [`unlink_stale`](net::unlink_stale): `newfstatat` (`statx` on 32 bits), `socket`, `connect`, `close`, `unlinkat` |
//! | reading, writing | one `recvfrom` or `sendto` (vectored, or with descriptors: `recvmsg`, `sendmsg`) for each operation whose gate is ready |
//! | addresses, options, credentials | `getsockname`, `getpeername`, `getsockopt`, `setsockopt`, `shutdown` |
//! | a pipe, a FIFO, a serial line ([`os`]) | `pipe2`, `open`; `ioctl` for a line's settings; `read`, `write` |
//! | standard input and output ([`linux`]) | `fstat`, `openat`, `close`, `fcntl` for a socket; `recvfrom` or `read`, `sendto` or `write` |
//! | a child ([`linux`]) | `pidfd_open`; `waitid` to look; `pidfd_send_signal` |
//! | a timer | `timerfd_create`, `timerfd_settime` and `timerfd_gettime` (on 32-bit machines those with `64`, and the old ones where these are not known); `read` |
//! | a counter | `eventfd2`; `read`, `write` |
//! | files | `inotify_init1`, `inotify_add_watch`, `inotify_rm_watch`; `read` |
//! | devices, links | `socket`, `setsockopt`, `bind`; `recvfrom`, `sendto` |
//!
//! `open` is `openat` where there is no `open`: on aarch64 and riscv64. Deadlines, timers, notifications and waits make none.
//!
//! What comes of each when it fails: [the table](faults). What an event costs beside them: [the functions it passes through](costs).
//!
//! # Panics
//!
//! On Linux the crate's own code has none: in what the compiler makes of all public functions for x86-64, in release builds for speed and for
//! size, no panic is left, and CI looks for one (`.ci/no-panic`). There are no debug assertions either; in debug builds a number that overflowed
//! would panic, and all are bounded by a length or have 64 bits. Not the crate's are panics of the program's own handlers, of what `core`
//! does to format, and, under `alloc`, of an allocation when storage is made. What is left in rustix takes a kernel that breaks its word,
//! or a seccomp filter against the clock: `clock_gettime` where there is no vDSO, or `read` of `/proc/self/auxv`. The file
//! `tests/no_panic/allowed` names every line.

#![no_std]
// No back-end needs any on Linux; the others have one block for each system call that does.
#![cfg_attr(
    all(any(target_os = "linux", target_os = "android"), not(any(netpoll_backend = "kqueue", netpoll_backend = "event_port"))),
    forbid(unsafe_code)
)]
#![deny(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]
// Not in tests, nor in the models of kernels, which are tests.
#![cfg_attr(
    not(any(test, netpoll_model)),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, netpoll_model))]
extern crate std;

#[path = "../arch/mod.rs"]
mod arch;
mod breaker;
#[cfg(doc)]
#[doc = include_str!("conformance.md")]
pub mod conformance {}
#[cfg(doc)]
#[doc = include_str!("costs.md")]
pub mod costs {}
pub mod deadline;
mod descriptor;
mod error;
#[cfg(doc)]
#[doc = include_str!("faults.md")]
pub mod faults {}
pub mod frame;
mod gates;
mod interest;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod linux;
pub mod net;
pub mod os;
mod poll_desc;
mod poller;
mod reactor;
pub mod readiness;
mod source;
mod storage;
mod stream;
pub mod table;
mod time;
mod token;

pub use breaker::Breaker;
#[cfg(feature = "alloc")]
pub use breaker::SharedBreaker;
pub use descriptor::{Descriptor, Unopened};
pub use error::{Error, OpError, Rejected};
pub use gates::Waiter;
pub use interest::{Direction, Interest};
#[cfg(feature = "alloc")]
pub use poller::BoxedPollerStorage;
pub use poller::{Io, LendPoller, Polled, Poller, PollerStorage, Stats, Timeout};
#[cfg(feature = "alloc")]
pub use reactor::BoxedReactorStorage;
pub use reactor::{Callback, Context, Handler, HandlerId, LendReactor, Outbox, Reactor, ReactorStorage};
pub use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
pub use rustix::io::Errno;
pub use source::Source;
pub use stream::{Reader, Writer};
pub use time::{Clock, Instant};
pub use token::Token;

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
