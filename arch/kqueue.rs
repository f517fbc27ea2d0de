//! kqueue: FreeBSD, NetBSD, OpenBSD, DragonFly, macOS and iOS.
//!
//! Both filters are edge-triggered (`EV_CLEAR`). Reading is armed for life. Writing is armed by a wait for it, and disarmed when it is
//! reported although nobody has used what was reported before: a permanent filter would wake on most acknowledgements of a stream that
//! nobody waits to write to. Adding a filter looks at what is there already, so nothing is lost in between. One that were added for each
//! wait would not do: a socket that takes records whole is writable also where the next one has no room, and a wait would end at once.
//!
//! Changes are never made in a call that waits, and each has its receipt read: errors and events do not mix.

use core::mem::MaybeUninit;
use core::time::Duration;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{Errno, FdFlags};

#[cfg(netpoll_model)]
#[path = "../tests/kernel/kqueue/mod.rs"]
mod kernel;
#[cfg(not(netpoll_model))]
use rustix::event::kqueue as kernel;

use kernel::{EventFilter, EventFlags};

use super::pollable::is_pollable;
use super::{Event, udata};
use crate::error::Error;
use crate::interest::{Directions, Interest};
use crate::readiness::{Filters, Kevent, Readiness, kqueue_bits};

static_assertions::const_assert_eq!(kqueue_bits::EOF, EventFlags::EOF.bits() as u32);
static_assertions::const_assert_eq!(kqueue_bits::ERROR, EventFlags::ERROR.bits() as u32);

pub(crate) const ON_DEMAND: Directions = Directions::WRITING;
pub(crate) const BREAK_IS_ONE_SHOT: bool = false;
pub(crate) const PRIORITY: bool = false;
pub(crate) const REPLACES: bool = true;
pub(crate) const KEPT: u64 = udata::KEPT;

/// As many as Go takes at once.
pub(crate) const BATCH: usize = 128;

const LEVEL: EventFlags = EventFlags::ADD.union(EventFlags::ENABLE);
const EDGE: EventFlags = LEVEL.union(EventFlags::CLEAR);
const DELETE: EventFlags = EventFlags::DELETE;

/// `EVFILT_READ` or `EVFILT_WRITE` of a descriptor.
type Filter = fn(RawFd) -> EventFilter;
const READ: Filter = EventFilter::Read;
const WRITE: Filter = EventFilter::Write;

#[derive(Debug)]
pub(crate) struct Selector {
    kqueue: OwnedFd,
}

impl Selector {
    pub(crate) fn new() -> Result<Selector, Errno> {
        let kqueue = kernel::kqueue()?;
        // A forked child does not inherit it, but a program that takes this one's place would.
        rustix::io::fcntl_setfd(&kqueue, FdFlags::CLOEXEC)?;
        Ok(Selector { kqueue })
    }

    pub(crate) fn open(&self, fd: BorrowedFd<'_>, bits: u64, interest: Interest) -> Result<Directions, Error> {
        if !is_pollable(fd)? {
            return Err(Error::NotPollable);
        }
        udata::pack(bits)?;
        let mut armed = Directions::NONE;
        if interest.contains(Interest::READ) {
            self.change(fd, bits, READ, EDGE).map_err(refused)?;
            armed = Directions::READING;
        }
        let connecting = interest.contains(Interest::CONNECTING);
        if interest.contains(Interest::WRITE) && (connecting || armed == Directions::NONE) {
            // A connection is waited for at once; and nothing else shows what the kernel thinks of a descriptor that is only written to.
            match self.change(fd, bits, WRITE, EDGE) {
                Ok(()) if !connecting && self.change(fd, bits, WRITE, DELETE).is_ok() => {}
                Ok(()) => armed = armed.union(Directions::WRITING),
                Err(errno) if is_broken_pipe(errno) => {}
                Err(errno) => {
                    // Nothing may be left registered.
                    let _ = self.close(fd, armed);
                    return Err(refused(errno));
                }
            }
        }
        Ok(armed)
    }

    pub(crate) fn open_break(&self, fd: BorrowedFd<'_>, bits: u64) -> Result<(), Errno> {
        self.change(fd, bits, READ, LEVEL)
    }

    pub(crate) fn arm(&self, fd: BorrowedFd<'_>, bits: u64, _: Directions) -> Result<Readiness, Errno> {
        match self.change(fd, bits, WRITE, EDGE) {
            Ok(()) => Ok(Readiness::EMPTY),
            Err(errno) if is_broken_pipe(errno) => Ok(Readiness::WRITE),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn disarm(&self, fd: BorrowedFd<'_>) {
        // One that is left over does no harm but to wake, and the next wait arms it again.
        let _ = self.change(fd, 0, WRITE, DELETE);
    }

    pub(crate) fn close(&self, fd: BorrowedFd<'_>, armed: Directions) -> Result<(), Errno> {
        for (directions, filter) in [(Directions::READING, READ), (Directions::WRITING, WRITE)] {
            if armed.intersects(directions) {
                let deleted = self.change(fd, 0, filter, DELETE);
                // Other errors (`ENOTCAPABLE` under Capsicum) say nothing of the descriptor, whose close ends all filters.
                if matches!(deleted, Err(Errno::NOENT | Errno::BADF)) {
                    return deleted;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn wait(&self, timeout: Option<Duration>, mut each: impl FnMut(Event)) -> Result<usize, Errno> {
        let mut room = [const { MaybeUninit::uninit() }; BATCH];
        let events = match self.kevent(&[], &mut room, timeout.map(clamp)) {
            // macOS, where a time-out is seldom an error.
            Err(Errno::TIMEDOUT) => return Ok(0),
            events => events?,
        };
        for event in events.iter() {
            let (filter, fd) = match event.filter() {
                EventFilter::Read(fd) => (Filters::COMMON.read, fd),
                EventFilter::Write(fd) => (Filters::COMMON.write, fd),
                _ => continue,
            };
            // rustix does not show `fflags`: the call that follows finds the error.
            let kevent = Kevent { filter, flags: event.flags().bits().into(), fflags: 0, data: event.data() };
            let readiness = Readiness::from_kqueue(&kevent, Filters::COMMON);
            each(Event { bits: udata::unpack(event.udata()), readiness, spent: Directions::NONE, fd });
        }
        Ok(events.len())
    }

    /// Makes one change, and reads its receipt.
    fn change(&self, fd: BorrowedFd<'_>, bits: u64, filter: Filter, flags: EventFlags) -> Result<(), Errno> {
        let udata = udata::pack(bits).map_err(|_| Errno::NOMEM)?;
        let change = kernel::Event::new(filter(fd.as_raw_fd()), flags | EventFlags::RECEIPT, udata);
        let mut room = [const { MaybeUninit::uninit() }; 1];
        loop {
            match self.kevent(&[change], &mut room, Some(Duration::ZERO)) {
                Ok([receipt]) if receipt.flags().contains(EventFlags::ERROR) => {
                    return match receipt.data() {
                        0 => Ok(()),
                        errno => Err(Errno::from_raw_os_error(errno as i32)),
                    };
                }
                // There was room for it, so this cannot be; and what is not known to be armed must not be waited for.
                Ok(_) => return Err(Errno::IO),
                // The change may have been made already. Adding again does no harm.
                Err(Errno::INTR) if flags != DELETE => {}
                Err(Errno::INTR) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// kevent(2).
    #[allow(unsafe_code)]
    fn kevent<'r>(
        &self,
        changes: &[kernel::Event],
        room: &'r mut [MaybeUninit<kernel::Event>],
        timeout: Option<Duration>,
    ) -> Result<&'r mut [kernel::Event], Errno> {
        // SAFETY: the descriptors in `changes` must be valid as long as the kqueue has their filters. They are borrowed ones, which the
        // table owns until `close` has deleted the filters; if somebody closes one behind the poller's back, the kernel drops its filters
        // itself. The user data are plain numbers. Test: `user_closed_fd_first_then_close_ok`.
        let (events, _) = unsafe { kernel::kevent(&self.kqueue, changes, room, timeout)? };
        Ok(events)
    }
}

impl AsFd for Selector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kqueue.as_fd()
    }
}

/// What a kernel says of what has no such filter: terminals on macOS, devices elsewhere.
fn refused(errno: Errno) -> Error {
    match errno {
        Errno::INVAL | Errno::NODEV | Errno::OPNOTSUPP | Errno::PERM => Error::NotPollable,
        errno => errno.into(),
    }
}

/// Whether this says that nobody can read what a pipe would be written: the write says so itself. `EBADF` is NetBSD's, of a descriptor
/// that is good.
fn is_broken_pipe(errno: Errno) -> bool {
    matches!(errno, Errno::PIPE | Errno::BADF)
}

/// macOS takes no time of more than 10⁸ s, and some of its releases none of much more than 10⁶ s.
fn clamp(timeout: Duration) -> Duration {
    timeout.min(Duration::from_secs(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_timeout_clamped() {
        for timeout in [Duration::MAX, Duration::from_secs(1 << 40), Duration::from_secs(1_000_001)] {
            assert_eq!(clamp(timeout), Duration::from_secs(1_000_000));
        }
        assert_eq!(clamp(Duration::from_nanos(1_500_000_001)), Duration::from_nanos(1_500_000_001));
    }
}
