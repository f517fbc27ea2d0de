//! Descriptors other than sockets that every Unix has: pipes, terminals.
//!
//! Go's runtime waits for these too, under `os.File`. They have no `MSG_DONTWAIT`, so they must be non-blocking themselves: what is made here
//! is, and what was made elsewhere ([`Unopened::from`](crate::Unopened::from)) is checked when it is opened.
//!
//! Paths are [`Arg`]s: a `&str`, a `&CStr`; with the feature `std` a `&Path`, too.

mod pipe;
mod serial;

pub use pipe::{PipeReader, PipeWriter, pipe};
pub use rustix::path::Arg;
pub use rustix::termios::QueueSelector;
pub use serial::{DataBits, FlowControl, Parity, SerialPort, SerialSettings, StopBits};

/// Up to how many bytes are written to a pipe whole or not at all: 4096 on Linux, 512 on the BSDs and macOS, 5120 on illumos and Solaris.
pub const PIPE_BUF: usize = crate::arch::PIPE_BUF;

/// Opens a path without ever waiting.
fn open(path: impl Arg, how: rustix::fs::OFlags) -> Result<rustix::fd::OwnedFd, rustix::io::Errno> {
    use rustix::fs::{Mode, OFlags};
    path.into_with_c_str(|path| {
        rustix::io::retry_on_intr(|| rustix::fs::open(path, how | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()))
    })
}
