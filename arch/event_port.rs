//! Event ports: illumos and Solaris.
//!
//! An association ends with its first event, whatever was asked for, so everything is armed by the waits (Go's `netpollarm`). Associating
//! looks at what is there already, so nothing is lost in between.

use core::mem::MaybeUninit;
use core::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{Errno, FdFlags};

#[cfg(netpoll_model)]
#[path = "../tests/kernel/port.rs"]
mod kernel;
#[cfg(not(netpoll_model))]
use rustix::event::port as kernel;

use super::pollable::is_pollable;
use super::{Event, udata};
use crate::error::Error;
use crate::interest::{Direction, Directions, Interest};
use crate::readiness::{Readiness, event_port_bits};

static_assertions::const_assert_eq!(event_port_bits::IN, PollFlags::IN.bits() as i32);
static_assertions::const_assert_eq!(event_port_bits::PRI, PollFlags::PRI.bits() as i32);
static_assertions::const_assert_eq!(event_port_bits::OUT, PollFlags::OUT.bits() as i32);
static_assertions::const_assert_eq!(event_port_bits::ERR, PollFlags::ERR.bits() as i32);
static_assertions::const_assert_eq!(event_port_bits::HUP, PollFlags::HUP.bits() as i32);
static_assertions::const_assert_eq!(event_port_bits::NVAL, PollFlags::NVAL.bits() as i32);
static_assertions::const_assert_eq!(event_port_bits::RDBAND, PollFlags::RDBAND.bits() as i32);

pub(crate) const ON_DEMAND: Directions = Directions::ALL;
pub(crate) const BREAK_IS_ONE_SHOT: bool = true;
pub(crate) const PRIORITY: bool = true;
pub(crate) const REPLACES: bool = true;
pub(crate) const KEPT: u64 = udata::KEPT;

/// As many as Go takes at once.
pub(crate) const BATCH: usize = 128;

#[derive(Debug)]
pub(crate) struct Selector {
    port: OwnedFd,
}

impl Selector {
    pub(crate) fn new() -> Result<Selector, Errno> {
        let port = kernel::create()?;
        rustix::io::fcntl_setfd(&port, FdFlags::CLOEXEC)?;
        Ok(Selector { port })
    }

    pub(crate) fn open(&self, fd: BorrowedFd<'_>, bits: u64, _: Interest) -> Result<Directions, Error> {
        udata::pack(bits)?;
        if !is_pollable(fd)? {
            return Err(Error::NotPollable);
        }
        // Whether the kernel takes it: what is ready now is not of interest, since the gates begin open.
        self.associate(fd, bits, PollFlags::empty()).map_err(refused)?;
        self.dissociate(fd)?;
        Ok(Directions::NONE)
    }

    pub(crate) fn open_break(&self, fd: BorrowedFd<'_>, bits: u64) -> Result<(), Errno> {
        self.associate(fd, bits, PollFlags::IN)
    }

    pub(crate) fn arm(&self, fd: BorrowedFd<'_>, bits: u64, directions: Directions) -> Result<Readiness, Errno> {
        let mut events = PollFlags::empty();
        for (direction, flags) in [
            (Direction::Read, PollFlags::IN),
            (Direction::Write, PollFlags::OUT),
            // Sockets report urgent data as banded.
            (Direction::Priority, PollFlags::PRI.union(PollFlags::RDBAND)),
        ] {
            if directions.intersects(Directions::of(direction)) {
                events |= flags;
            }
        }
        self.associate(fd, bits, events).map(|()| Readiness::EMPTY)
    }

    /// Each association ends by itself.
    pub(crate) fn disarm(&self, _: BorrowedFd<'_>) {}

    pub(crate) fn close(&self, fd: BorrowedFd<'_>, armed: Directions) -> Result<(), Errno> {
        if armed == Directions::NONE {
            return Ok(());
        }
        self.dissociate(fd)
    }

    pub(crate) fn wait(&self, timeout: Option<Duration>, mut each: impl FnMut(Event)) -> Result<usize, Errno> {
        let mut room = [const { MaybeUninit::uninit() }; BATCH];
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = match timeout.map(timespec) {
            Some(timeout) if timeout != zero => {
                // A `port_getn` whose time is up answers ETIME also when an event came at that very moment, and rustix then forgets the
                // event. Without a time to wait it cannot be late.
                poll(&mut [PollFd::new(&self.port, PollFlags::IN)], Some(&timeout))?;
                Some(zero)
            }
            timeout => timeout,
        };
        let (events, _) = match kernel::getn(&self.port, &mut room, 1, timeout.as_ref()) {
            Err(Errno::TIME) => return Ok(0),
            events => events?,
        };
        for event in events.iter() {
            let readiness = Readiness::from_event_port(event.events());
            each(Event { bits: udata::unpack(event.userdata()), readiness, spent: Directions::ALL, fd: event.object() as RawFd });
        }
        Ok(events.len())
    }

    #[allow(unsafe_code)]
    fn associate(&self, fd: BorrowedFd<'_>, bits: u64, events: PollFlags) -> Result<(), Errno> {
        let udata = udata::pack(bits).map_err(|_| Errno::NOMEM)?;
        // SAFETY: the descriptor must be valid as long as it is associated. It is a borrowed one, which the table owns until `close` has
        // dissociated it; if somebody closes it behind the poller's back, the kernel dissociates it itself. The user data is a plain
        // number. Test: `user_closed_fd_first_then_close_ok`.
        unsafe { kernel::associate_fd(&self.port, fd.as_raw_fd(), events, udata) }
    }

    #[allow(unsafe_code)]
    fn dissociate(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: the descriptor must have been associated; where it is not any more, the kernel answers `ENOENT`.
        unsafe { kernel::dissociate_fd(&self.port, fd.as_raw_fd()) }
    }
}

impl AsFd for Selector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

/// What a kernel says of a device whose driver knows no poll(2).
fn refused(errno: Errno) -> Error {
    if errno == Errno::NXIO { Error::NotPollable } else { errno.into() }
}

/// poll(2) counts milliseconds in an `int`.
fn timespec(timeout: Duration) -> Timespec {
    const LONGEST: Duration = Duration::from_secs(1_000_000);
    let timeout = timeout.min(LONGEST);
    Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ }
}
