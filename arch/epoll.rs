//! epoll: Linux and Android, from 4.14 on. Nothing newer is called, nothing is probed; `linux_5_11` chooses `epoll_pwait2` at compile time.

use core::mem::MaybeUninit;
use core::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::Event;
use crate::error::Error;
use crate::interest::{Directions, Interest};
use crate::readiness::{Readiness, epoll_bits};

static_assertions::const_assert_eq!(epoll_bits::IN, EventFlags::IN.bits());
static_assertions::const_assert_eq!(epoll_bits::PRI, EventFlags::PRI.bits());
static_assertions::const_assert_eq!(epoll_bits::OUT, EventFlags::OUT.bits());
static_assertions::const_assert_eq!(epoll_bits::ERR, EventFlags::ERR.bits());
static_assertions::const_assert_eq!(epoll_bits::HUP, EventFlags::HUP.bits());
static_assertions::const_assert_eq!(epoll_bits::RDHUP, EventFlags::RDHUP.bits());

static_assertions::const_assert_eq!(Interest::READ.epoll_bits(), EventFlags::IN.union(EventFlags::RDHUP).bits());
static_assertions::const_assert_eq!(Interest::WRITE.epoll_bits(), EventFlags::OUT.bits());
static_assertions::const_assert_eq!(Interest::PRIORITY.epoll_bits(), EventFlags::PRI.bits());
static_assertions::const_assert_eq!(Interest::EXCLUSIVE.epoll_bits(), EventFlags::EXCLUSIVE.bits());
static_assertions::const_assert_eq!(Interest::WAKEUP.epoll_bits(), EventFlags::WAKEUP.bits());
static_assertions::const_assert_eq!(Interest::CONNECTING.epoll_bits(), 0);

pub(crate) const ON_DEMAND: Directions = Directions::NONE;
pub(crate) const BREAK_IS_ONE_SHOT: bool = false;
pub(crate) const PRIORITY: bool = true;
pub(crate) const REPLACES: bool = false;
pub(crate) const KEPT: u64 = u64::MAX;

/// As many as Go takes at once.
pub(crate) const BATCH: usize = 128;

#[derive(Debug)]
pub(crate) struct Selector {
    epoll: OwnedFd,
}

impl Selector {
    pub(crate) fn new() -> Result<Selector, Errno> {
        Ok(Selector { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    #[inline]
    pub(crate) fn open(&self, fd: BorrowedFd<'_>, bits: u64, interest: Interest) -> Result<Directions, Error> {
        match epoll::add(&self.epoll, fd, EventData::new_u64(bits), flags(interest)) {
            Ok(()) => Ok(Directions::ALL),
            Err(Errno::PERM) => Err(Error::NotPollable),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn open_break(&self, fd: BorrowedFd<'_>, bits: u64) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(bits), EventFlags::IN)
    }

    pub(crate) fn arm(&self, _: BorrowedFd<'_>, _: u64, _: Directions) -> Result<Readiness, Errno> {
        Ok(Readiness::EMPTY)
    }

    pub(crate) fn disarm(&self, _: BorrowedFd<'_>) {}

    #[inline]
    pub(crate) fn close(&self, fd: BorrowedFd<'_>, _: Directions) -> Result<(), Errno> {
        epoll::delete(&self.epoll, fd)
    }

    #[inline]
    pub(crate) fn wait(&self, timeout: Option<Duration>, mut each: impl FnMut(Event)) -> Result<usize, Errno> {
        let mut buffer = [const { MaybeUninit::uninit() }; BATCH];
        // Nothing of it is left to be computed where nobody waits.
        let (events, _) = match timeout {
            Some(Duration::ZERO) => epoll::wait(&self.epoll, &mut buffer, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?,
            timeout => epoll::wait(&self.epoll, &mut buffer, timeout.map(timespec).as_ref())?,
        };
        for event in events.iter() {
            // The kernel's struct is packed on x86_64.
            let (data, flags) = (event.data, event.flags);
            each(Event { bits: data.u64(), readiness: Readiness::from_epoll(flags.bits()), spent: Directions::NONE, fd: -1 });
        }
        Ok(events.len())
    }
}

#[inline]
fn flags(interest: Interest) -> EventFlags {
    let flags = EventFlags::ET | EventFlags::from_bits_retain(interest.epoll_bits());
    // Beside EXCLUSIVE the kernel does not take RDHUP.
    if interest.contains(Interest::EXCLUSIVE) { flags.difference(EventFlags::RDHUP) } else { flags }
}

impl AsFd for Selector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// rustix rounds up to milliseconds, and hands what `epoll_pwait` cannot count to `epoll_pwait2`, which an old kernel does not have: so
/// clamp.
fn timespec(timeout: Duration) -> Timespec {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
    let timeout = timeout.min(LONGEST);
    Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_timeout_clamped() {
        for timeout in [Duration::MAX, Duration::from_secs(1 << 40), Duration::from_millis(i32::MAX as u64 + 1)] {
            let timespec = timespec(timeout);
            assert_eq!((timespec.tv_sec, timespec.tv_nsec), (i32::MAX as i64 / 1000, (i32::MAX as i64 % 1000) * 1_000_000));
        }
    }
}
