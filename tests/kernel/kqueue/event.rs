//! The values of `rustix::event::kqueue`, by the same names.

use core::ffi::c_void;
use core::ops::{BitOr, BitOrAssign};
use rustix::fd::RawFd;
use rustix::io::Errno;

use super::filter::Filter;

const EVFILT_READ: i16 = -1;
const EVFILT_WRITE: i16 = -2;

/// `struct kevent`.
#[derive(Copy, Clone, Debug)]
pub struct Event {
    ident: usize,
    filter: i16,
    flags: EventFlags,
    data: i64,
    udata: *mut c_void,
}

impl Event {
    pub fn new(filter: EventFilter, flags: EventFlags, udata: *mut c_void) -> Event {
        let (fd, filter) = match filter {
            EventFilter::Read(fd) => (fd, EVFILT_READ),
            EventFilter::Write(fd) => (fd, EVFILT_WRITE),
            EventFilter::Unknown => panic!("unknown filter"),
        };
        Event { ident: fd as usize, filter, flags, data: 0, udata }
    }

    pub fn flags(&self) -> EventFlags {
        self.flags
    }

    pub fn udata(&self) -> *mut c_void {
        self.udata
    }

    pub fn data(&self) -> i64 {
        self.data
    }

    pub fn filter(&self) -> EventFilter {
        match self.filter {
            EVFILT_READ => EventFilter::Read(self.fd()),
            EVFILT_WRITE => EventFilter::Write(self.fd()),
            _ => EventFilter::Unknown,
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.ident as RawFd
    }

    /// What the scan reports.
    pub(super) fn report(fd: RawFd, filter: Filter, flags: EventFlags, data: i64, udata: usize) -> Event {
        let filter = match filter {
            Filter::Read => EventFilter::Read(fd),
            Filter::Write => EventFilter::Write(fd),
        };
        Event { data, ..Event::new(filter, flags, core::ptr::without_provenance_mut(udata)) }
    }

    /// An answer to this change: row 43.
    pub(super) fn answer(&self, outcome: Result<(), Errno>, keep_flags: bool) -> Event {
        let flags = if keep_flags { self.flags | EventFlags::ERROR } else { EventFlags::ERROR };
        Event { flags, data: outcome.err().map_or(0, |errno| errno.raw_os_error().into()), ..*self }
    }
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventFilter {
    Read(RawFd),
    Write(RawFd),
    Unknown,
}

/// The `EV_` bits; what of `bitflags` users of rustix call.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct EventFlags(u16);

impl EventFlags {
    pub const ADD: Self = Self(0x1);
    pub const DELETE: Self = Self(0x2);
    pub const ENABLE: Self = Self(0x4);
    pub const DISABLE: Self = Self(0x8);
    pub const ONESHOT: Self = Self(0x10);
    pub const CLEAR: Self = Self(0x20);
    pub const RECEIPT: Self = Self(0x40);
    pub const ERROR: Self = Self(0x4000);
    pub const EOF: Self = Self(0x8000);

    pub const fn empty() -> Self {
        Self(0)
    }

    pub const fn bits(&self) -> u16 {
        self.0
    }

    pub const fn from_bits_retain(bits: u16) -> Self {
        Self(bits)
    }

    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    pub const fn contains(&self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn intersects(&self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for EventFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for EventFlags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}
