//! Descriptors by number, and what Linux counts of them.

use std::io::{BufRead, BufReader};
use std::{format, fs};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{self, Errno};
use rustix::ioctl::{Getter, ioctl};

/// SIOCOUTQ, which is TIOCOUTQ; on MIPS, PowerPC and SPARC it is another number.
const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;

/// Where tests that count on the lowest numbers, or count descriptors, do not meet those of the model.
const OUT_OF_THE_WAY: RawFd = 1024;

/// The same under a high number, if the process may have such.
pub(super) fn out_of_the_way(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, OUT_OF_THE_WAY).unwrap_or(fd))
}

/// EBADF unless something is open under this number.
pub(super) fn borrow<'a>(fd: RawFd) -> io::Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: it is not -1. It may be closed at any time, as it may be for a kernel that is given a number: all that is done with it
    // then fails with EBADF, or is done to another open descriptor, and none of it consumes anything.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(fd).map(|_| fd)
}

/// Whether this number still stands for the file that was added to `epoll` by it. Epoll goes by both, and refuses what it has.
pub(super) fn is_watched(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> bool {
    match epoll::add(epoll, fd, EventData::new_u64(0), EventFlags::empty()) {
        Err(errno) => errno == Errno::EXIST,
        Ok(()) => {
            let _ = epoll::delete(epoll, fd);
            false
        }
    }
}

/// Bytes written to a socket that the peer has not acknowledged or read.
pub(super) fn unsent(fd: BorrowedFd<'_>) -> u64 {
    // SAFETY: SIOCOUTQ writes an int.
    unsafe { ioctl(fd, Getter::<SIOCOUTQ, i32>::new()) }.unwrap_or(0).max(0) as u64
}

/// How many connections wait in a listener's queue; `None` if the system does not say so, as for AF_UNIX.
pub(super) fn backlog(fd: BorrowedFd<'_>) -> Option<i64> {
    let inode = std::string::ToString::to_string(&rustix::fs::fstat(fd).ok()?.st_ino);
    ["tcp", "tcp6"].iter().find_map(|family| {
        let table = BufReader::new(fs::File::open(format!("/proc/thread-self/net/{family}")).ok()?);
        // Listeners come first: however many connections there are behind them, they are not read.
        let mut listeners = table.lines().skip(1).map_while(Result::ok).take_while(|line| line.split_whitespace().nth(3) == Some("0A"));
        let socket = listeners.find(|line| line.split_whitespace().nth(9) == Some(&inode))?;
        i64::from_str_radix(socket.split_whitespace().nth(4)?.split(':').nth(1)?, 16).ok()
    })
}

/// Whether it is a FIFO that was opened by its name.
pub(super) fn has_a_name(fd: BorrowedFd<'_>) -> bool {
    fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).is_ok_and(|name| !name.to_string_lossy().starts_with("pipe:"))
}
