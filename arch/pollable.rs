//! What has to be refused because the kernel would take it, and then report it as ready for ever, or never.

use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::io::Errno;

/// Whether it makes sense to wait for this descriptor: not for files, directories and disks; nor on Darwin for FIFOs that were opened by
/// their name, whose readers are not told that the last writer has gone. Go and libuv refuse the same.
pub(super) fn is_pollable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(match FileType::from_raw_mode(stat.st_mode as _) {
        FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::BlockDevice => false,
        // One without a name has no links.
        FileType::Fifo => cfg!(not(target_vendor = "apple")) || stat.st_nlink == 0,
        _ => true,
    })
}
