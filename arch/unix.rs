//! All that systems differ in besides their selectors.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::ControlModes;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::time::Instant;

/// Turns parity into a bit that is always the same; empty where there is none.
pub(crate) const STICK_PARITY: ControlModes = ControlModes::CMSPAR;

pub(crate) fn monotonic() -> Instant {
    instant(clock_gettime(ClockId::Monotonic))
}

pub(crate) fn boottime() -> Instant {
    instant(clock_gettime(ClockId::Boottime))
}

fn instant(time: Timespec) -> Instant {
    Instant::from_nanos((time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64))
}

/// A non-blocking close-on-exec pipe, read end first.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
}
