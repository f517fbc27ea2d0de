//! Processes as descriptors, for [`linux::ChildExit`](crate::linux::ChildExit). Android's kernel has them, but rustix does not know them
//! there: each call answers what a kernel answers that is too old.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitIdStatus};

/// pidfd_open(2): always close-on-exec; Linux 5.3.
#[cfg(target_os = "linux")]
pub(crate) fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
}

/// waitid(2) without blocking: the end of the process, which is reaped, or `None` while it runs; Linux 5.4.
#[cfg(target_os = "linux")]
pub(crate) fn try_wait(pidfd: BorrowedFd<'_>) -> Result<Option<WaitIdStatus>, Errno> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
}

/// pidfd_send_signal(2); Linux 5.1.
#[cfg(target_os = "linux")]
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    rustix::process::pidfd_send_signal(pidfd, signal)
}

#[cfg(target_os = "android")]
pub(crate) fn open(_: Pid) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(target_os = "android")]
pub(crate) fn try_wait(_: BorrowedFd<'_>) -> Result<Option<WaitIdStatus>, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(target_os = "android")]
pub(crate) fn send_signal(_: BorrowedFd<'_>, _: Signal) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}
