//! Descriptors that only Linux has: time, children, files and devices as things to wait for.
//!
//! Those with a type are used like sockets: made [`Unopened`](crate::Unopened), opened by their owner or by `spawn_with`, asked through an
//! [`Io`](crate::Io). For the others a few lines around [`Io::poll_io`](crate::Io::poll_io) do; the crate's examples have them.
//!
//! | source | type or example | Linux | traps |
//! |---|---|---|---|
//! | a child's end | [`ChildExit`] | 5.4 | whoever else waits for children steals the news; so does an ignored `SIGCHLD`. Older kernels: a `SIGCHLD` handler that wakes the [`Breaker`](crate::Breaker), then waitpid(2) with `WNOHANG` |
//! | moments, periods, alarm clocks | [`TimerFd`] | 2.6.27; boot time 3.15, alarms 3.11 | an alarm clock needs `CAP_WAKE_ALARM`, and hardware to wake the machine; a clock that is set may end a wait; for mere time-outs a handler's timer costs no system call |
//! | counters of the kernel, a VM, another process | [`EventFd`] | 2.6.30 | the counter says how often, not what; to wake the loop from a thread the [`Breaker`](crate::Breaker) is cheaper |
//! | files and folders | [`Inotify`] | 2.6.27 | the queue overflows: rescan; nothing is said about network file systems, `/proc` and `/sys` |
//! | devices that come and go | [`Uevents`] | 2.6.10 | overruns: look at `/sys` again; a message comes before the device node is usable |
//! | links, addresses, routes | [`Netlink`] | 2.2 | overruns: ask for everything again |
//! | GPIO lines | example `gpio_watch` | 4.8 | a library's own descriptor: the poller gets a duplicate. By sysfs [`Interest::PRIORITY`](crate::Interest::PRIORITY) alone, whose gate starts closed: read once before the first wait, and from the beginning after each |
//! | CAN | example `can_log` | 2.6.25 | a full queue is `ENOBUFS`, with an edge for each refusal and none for room: a timer; `ENETDOWN` passes, `ENODEV` does not |
//! | a child's pipes | example `pipe_filter` | | `O_NONBLOCK` on our ends only; SIGPIPE ignored here, and not in the child |
//! | sockets of a supervisor | example `inherited` | | they block, and who else has them is for the program to know |
//! | standard input and output | [`Input`], [`Output`] | | others share them and expect them to block: opened anew, never set |
//! | signals | example `signals` | | the mask of a signalfd is inherited over exec(2); a handler need only wake the [`Breaker`](crate::Breaker) |
//! | a watchdog | example `watchdog`: a handler's timer | | feed it only if all is well, and also during a flood: not in [`on_sleep`](crate::Handler::on_sleep) |
//!
//! The table's versions are of the calls; what the crate needs anyway is newer, but for [`ChildExit`].

/// The deadline of a descriptor that is waited for in one direction only.
macro_rules! wait_deadline {
    ($kind:ty) => {
        impl $kind {
            /// Sets or clears the moment after which waiting answers [`Error::TimedOut`](crate::Error::TimedOut), also when there is
            /// something: absolute, sticky. Go's `SetReadDeadline`.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            #[inline]
            pub fn set_deadline(&self, io: &mut $crate::Io<'_>, at: Option<$crate::Instant>) -> Result<(), $crate::Error> {
                io.set_deadline(self.token, $crate::Direction::Read, at)
            }

            /// As [`set_deadline`](Self::set_deadline), from now, by a fresh look at the clock.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn set_timeout(&self, io: &mut $crate::Io<'_>, after: Option<core::time::Duration>) -> Result<(), $crate::Error> {
                io.set_timeout(self.token, $crate::Direction::Read, after)
            }
        }
    };
}

mod child;
mod eventfd;
mod inotify;
mod netlink;
mod stdio;
mod timerfd;
mod uevent;

pub use child::{ChildExit, ExitStatus};
pub use eventfd::EventFd;
pub use inotify::{Inotify, InotifyEvent, InotifyEvents, Watch};
pub use netlink::{Netlink, Notice};
pub use rustix::fs::inotify::{ReadFlags, WatchFlags};
pub use rustix::net::{Protocol, netlink as protocol};
pub use rustix::process::{Pid, Signal};
pub use rustix::time::TimerfdClockId as TimerClock;
pub use stdio::{Input, Output};
#[cfg(feature = "std")]
pub use stdio::{stdin, stdout};
pub use timerfd::{TimerFd, TimerSpec};
pub use uevent::{Uevent, Uevents};

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// The number that an eventfd or a timerfd is read as; `EINVAL` for a descriptor of another kind.
fn read_number(fd: BorrowedFd<'_>) -> Result<Option<u64>, Errno> {
    let mut number = [0; 8];
    match rustix::io::read(fd, &mut number)? {
        8 => Ok(Some(u64::from_ne_bytes(number))),
        0 => Ok(None),
        _ => Err(Errno::INVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;

    #[test]
    fn numbers_are_read_whole() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&write, &7u64.to_ne_bytes()).unwrap();
        assert_eq!(read_number(read.as_fd()), Ok(Some(7)));
        rustix::io::write(&write, b"abc").unwrap();
        assert_eq!(read_number(read.as_fd()), Err(Errno::INVAL));
        drop(write);
        assert_eq!(read_number(read.as_fd()), Ok(None));
    }
}
