//! The contract of a back-end, and the choice of one. This folder is the only place for names of operating systems.
//!
//! A back-end is a module with a type `Selector` and two functions; there is no trait, since exactly one is compiled. It imports value
//! types only. After the comment at the top of Go's `runtime/netpoll.go`:
//!
//! * `Selector::new() -> Result<Selector, Errno>`: makes the kernel's object, close-on-exec. Go's `netpollinit`.
//! * `Selector::open(&self, fd, bits, interest) -> Result<(), Error>`: arms edge-triggered notifications for `fd` until it is closed;
//!   `bits` come back with each. Readiness that is there already must be reported. What the kernel cannot wait for is `NotPollable`.
//!   Failing leaves nothing registered. Go's `netpollopen`.
//! * `Selector::open_break(&self, fd, bits) -> Result<(), Errno>`: the same, level-triggered and for reading only.
//! * `Selector::close(&self, fd) -> Result<(), Errno>`: disarms. Go's `netpollclose`.
//! * `Selector::wait(&self, timeout, each) -> Result<usize, Errno>`: waits for events, for ever (`None`), not at all (zero) or up to a
//!   time, which is rounded up to what the kernel can count and clamped to what it accepts; hands each event's bits and
//!   [`Readiness`](crate::readiness::Readiness) to `each`; says how many there were. `EINTR` is returned. Go's `netpoll`.
//! * `AsFd` for `Selector`: readable while an event waits, so that a foreign loop can wait on it.
//! * `monotonic()`, `boottime()`: the clocks. `pipe()`: a non-blocking close-on-exec pipe, read end first. `STICK_PARITY`: a mode of
//!   serial lines that not every system has.
//!
//! Beside it, `pidfd`: what of [`linux`](crate::linux) is not the same on Linux and Android.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use epoll::{STICK_PARITY, Selector, boottime, monotonic, pipe};

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod pidfd;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
compile_error!("netpoll has no back-end for this operating system: see the platform table in its README");
