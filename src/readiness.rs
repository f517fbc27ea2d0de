//! [`Readiness`]: what the kernel said about a descriptor, and the parsers of its event words.
//!
//! Everything here is pure and compiled on every host, so that each system's parser is tested and fuzzed on all of them.

use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign};

use crate::interest::{Direction, Directions};

/// `EPOLL*` of `epoll_ctl(2)`; pinned to rustix's in `arch/epoll.rs`.
pub(crate) mod epoll_bits {
    pub(crate) const IN: u32 = 0x1;
    pub(crate) const PRI: u32 = 0x2;
    pub(crate) const OUT: u32 = 0x4;
    pub(crate) const ERR: u32 = 0x8;
    pub(crate) const HUP: u32 = 0x10;
    pub(crate) const RDHUP: u32 = 0x2000;
}

/// `EV_*` of `kqueue(2)`, the same on every system that has it.
pub(crate) mod kqueue_bits {
    pub(crate) const EOF: u32 = 0x8000;
    pub(crate) const ERROR: u32 = 0x4000;
}

/// `POLL*` of `poll(2)` on illumos. `POLLRDHUP` is not Linux's.
pub(crate) mod event_port_bits {
    pub(crate) const IN: i32 = 0x1;
    pub(crate) const PRI: i32 = 0x2;
    pub(crate) const OUT: i32 = 0x4;
    pub(crate) const ERR: i32 = 0x8;
    pub(crate) const HUP: i32 = 0x10;
    pub(crate) const NVAL: i32 = 0x20;
    pub(crate) const RDNORM: i32 = 0x40;
    pub(crate) const RDBAND: i32 = 0x80;
    pub(crate) const RDHUP: i32 = 0x4000;
}

/// What the kernel said about a descriptor: a set of bits, which opens gates.
///
/// A bit is an invitation to try, never a promise: the call that follows may still say `EAGAIN`, and it alone tells how much there is,
/// whether the stream has ended and which error it was.
///
/// | bit | opens the gate of | epoll | kqueue | event ports |
/// |---|---|---|---|---|
/// | [`READ`](Self::READ) | reading | `EPOLLIN` | `EVFILT_READ` | `POLLIN`, `POLLRDNORM` |
/// | [`WRITE`](Self::WRITE) | writing | `EPOLLOUT` | `EVFILT_WRITE`; `EVFILT_READ` with `EV_EOF` | `POLLOUT` |
/// | [`PRIORITY`](Self::PRIORITY) | priority | `EPOLLPRI` | | `POLLPRI`, `POLLRDBAND` |
/// | [`READ_CLOSED`](Self::READ_CLOSED) | reading | `EPOLLRDHUP` | `EVFILT_READ` with `EV_EOF` | `POLLRDHUP` |
/// | [`HUP`](Self::HUP) | all | `EPOLLHUP` | `EVFILT_WRITE` with `EV_EOF` | `POLLHUP` |
/// | [`ERROR`](Self::ERROR) | all | `EPOLLERR` | `EV_EOF` with an error, `EV_ERROR` | `POLLERR`, `POLLNVAL` |
///
/// ```
/// use netpoll::readiness::Readiness;
/// // The peer of a Linux socket has sent its last bytes: EPOLLIN | EPOLLRDHUP.
/// let readiness = Readiness::from_epoll(0x2001);
/// assert_eq!(readiness, Readiness::READ | Readiness::READ_CLOSED);
/// assert!(readiness.wakes_reader() && !readiness.wakes_writer());
/// assert_eq!(format!("{readiness:?}"), "Readiness(READ | READ_CLOSED)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Readiness(u16);

// epoll's own values, so that `from_epoll` is one mask.
static_assertions::const_assert_eq!(Readiness::READ.0 as u32, epoll_bits::IN);
static_assertions::const_assert_eq!(Readiness::PRIORITY.0 as u32, epoll_bits::PRI);
static_assertions::const_assert_eq!(Readiness::WRITE.0 as u32, epoll_bits::OUT);
static_assertions::const_assert_eq!(Readiness::ERROR.0 as u32, epoll_bits::ERR);
static_assertions::const_assert_eq!(Readiness::HUP.0 as u32, epoll_bits::HUP);
static_assertions::const_assert_eq!(Readiness::READ_CLOSED.0 as u32, epoll_bits::RDHUP);

impl Readiness {
    /// Nothing was said.
    pub const EMPTY: Readiness = Readiness(0);
    /// There may be something to read or to accept, or the stream has ended.
    pub const READ: Readiness = Readiness(0x1);
    /// There may be something urgent: out-of-band data, a GPIO edge, a message in the error queue.
    pub const PRIORITY: Readiness = Readiness(0x2);
    /// There may be room to write, or a connect has come to its end.
    pub const WRITE: Readiness = Readiness(0x4);
    /// There is an error to be fetched; the next call says which.
    pub const ERROR: Readiness = Readiness(0x8);
    /// The other side has hung up. What it had sent is still there to be read.
    pub const HUP: Readiness = Readiness(0x10);
    /// The peer will send nothing more (half-close). What it had sent is still there to be read.
    pub const READ_CLOSED: Readiness = Readiness(0x2000);
    /// All that is not plain readiness: after one of these a short read does not mean that nothing is left.
    pub const TROUBLE: Readiness = Self::PRIORITY.union(Self::ERROR).union(Self::HUP).union(Self::READ_CLOSED);

    const NAMES: [(Readiness, &'static str); 6] = [
        (Self::READ, "READ"),
        (Self::WRITE, "WRITE"),
        (Self::PRIORITY, "PRIORITY"),
        (Self::READ_CLOSED, "READ_CLOSED"),
        (Self::HUP, "HUP"),
        (Self::ERROR, "ERROR"),
    ];

    /// Parses an event word of `epoll_wait(2)`; the bits are those of `epoll_ctl(2)`. Bits that are not in the table above say nothing.
    #[inline]
    pub const fn from_epoll(events: u32) -> Readiness {
        const SAME: u32 = epoll_bits::IN | epoll_bits::PRI | epoll_bits::OUT | epoll_bits::ERR | epoll_bits::HUP | epoll_bits::RDHUP;
        Readiness((events & SAME) as u16)
    }

    /// Parses an event of `kqueue(2)`, on a system whose filters are numbered as `filters` says.
    ///
    /// `EVFILT_READ` with `EV_EOF` opens the write gate too, as in Go: the write end of a pipe whose reader has gone may get this event and
    /// no `EVFILT_WRITE`. For a socket that is only half closed it costs one call that finds out.
    #[inline]
    pub const fn from_kqueue(event: &Kevent, filters: Filters) -> Readiness {
        let eof = event.flags & kqueue_bits::EOF != 0;
        let plain = if event.filter == filters.read {
            if eof { Self::READ.union(Self::READ_CLOSED).union(Self::WRITE) } else { Self::READ }
        } else if event.filter == filters.write {
            if eof { Self::WRITE.union(Self::HUP) } else { Self::WRITE }
        } else {
            return Self::EMPTY;
        };
        if event.flags & kqueue_bits::ERROR != 0 {
            // The answer to a change, not an event: an errno, or 0 where EV_RECEIPT asked for a receipt.
            if event.data != 0 { Self::ERROR } else { Self::EMPTY }
        } else if eof && event.fflags != 0 {
            plain.union(Self::ERROR)
        } else {
            plain
        }
    }

    /// Parses an event of a `PORT_SOURCE_FD` of `port_associate(3C)`; the bits are those of illumos' `poll(2)`. Bits that are not in the
    /// table above say nothing.
    ///
    /// `POLLRDBAND` is priority: sockets report urgent data so, with `POLLPRI` or without, and an ordinary read does not fetch it. Nothing
    /// is lost to readers of banded streams, since `POLLIN` speaks of every band.
    #[inline]
    pub const fn from_event_port(events: i32) -> Readiness {
        use event_port_bits::{ERR, HUP, IN, NVAL, OUT, PRI, RDBAND, RDHUP, RDNORM};
        // RDNORM and RDBAND lie six bits above IN and PRI, NVAL two above ERR, RDHUP one above READ_CLOSED.
        Readiness(
            (events & (IN | PRI | OUT | ERR | HUP)) as u16
                | ((events & (RDNORM | RDBAND)) >> 6) as u16
                | ((events & NVAL) >> 2) as u16
                | ((events & RDHUP) >> 1) as u16,
        )
    }

    /// Which gates open.
    #[inline]
    pub(crate) const fn opens(self) -> Directions {
        // The plain bits are the directions'.
        let plain = self.0 as u8 & Directions::ALL.0;
        if !self.intersects(Self::TROUBLE) {
            Directions(plain)
        } else if self.intersects(Self::HUP.union(Self::ERROR)) {
            Directions::ALL
        } else {
            // The half-close opens the read gate.
            Directions(plain | (self.0 >> 13) as u8)
        }
    }

    /// Whether the read gate opens.
    pub const fn wakes_reader(self) -> bool {
        self.opens().intersects(Directions::of(Direction::Read))
    }

    /// Whether the write gate opens.
    pub const fn wakes_writer(self) -> bool {
        self.opens().intersects(Directions::of(Direction::Write))
    }

    /// Whether the priority gate opens.
    pub const fn wakes_priority(self) -> bool {
        self.opens().intersects(Directions::of(Direction::Priority))
    }

    /// Whether all bits of `other` are in `self`.
    #[inline]
    pub const fn contains(self, other: Readiness) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is in `self`.
    #[inline]
    pub const fn intersects(self, other: Readiness) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing was said.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bits of both; `|` in constants.
    #[inline]
    pub const fn union(self, other: Readiness) -> Readiness {
        Readiness(self.0 | other.0)
    }

    /// The set as a number.
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }
}

impl BitOr for Readiness {
    type Output = Readiness;

    #[inline]
    fn bitor(self, other: Readiness) -> Readiness {
        self.union(other)
    }
}

impl BitOrAssign for Readiness {
    #[inline]
    fn bitor_assign(&mut self, other: Readiness) {
        *self = self.union(other);
    }
}

impl BitAnd for Readiness {
    type Output = Readiness;

    #[inline]
    fn bitand(self, other: Readiness) -> Readiness {
        Readiness(self.0 & other.0)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readiness(")?;
        if self.is_empty() {
            f.write_str("EMPTY")?;
        }
        let mut separator = "";
        for (bit, name) in Self::NAMES {
            if self.contains(bit) {
                f.write_str(separator)?;
                f.write_str(name)?;
                separator = " | ";
            }
        }
        f.write_str(")")
    }
}

/// What [`Readiness::from_kqueue`] reads of a `struct kevent` (`kqueue(2)`), in types wide enough for every system.
///
/// `data` is used as the errno of an `EV_ERROR` and for nothing else: what systems count in it differs, and it is 0 in events that are
/// worth a try.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Kevent {
    /// `EVFILT_*`.
    pub filter: i32,
    /// `EV_*`.
    pub flags: u32,
    /// With `EV_EOF`: the errno of the socket, or 0. A back-end that cannot see it says 0, and the call that follows finds the error.
    pub fflags: u32,
    /// With `EV_ERROR`: an errno.
    pub data: i64,
}

/// How a system numbers the filters of `kqueue(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Filters {
    /// `EVFILT_READ`.
    pub read: i32,
    /// `EVFILT_WRITE`.
    pub write: i32,
}

impl Filters {
    /// FreeBSD, OpenBSD, DragonFly and macOS.
    pub const COMMON: Filters = Filters { read: -1, write: -2 };
    /// NetBSD.
    pub const NETBSD: Filters = Filters { read: 0, write: 1 };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    /// Miri interprets: it takes samples.
    const STEP: usize = if cfg!(miri) { 61 } else { 1 };

    const EOF: u32 = kqueue_bits::EOF;
    const ERROR: u32 = kqueue_bits::ERROR;
    const ECONNRESET: u32 = 54;

    /// Reader, writer, priority.
    fn wakes(readiness: Readiness) -> (bool, bool, bool) {
        (readiness.wakes_reader(), readiness.wakes_writer(), readiness.wakes_priority())
    }

    fn read(flags: u32, fflags: u32, data: i64) -> Readiness {
        same_on_all(|filters| Kevent { filter: filters.read, flags, fflags, data })
    }

    fn write(flags: u32, fflags: u32, data: i64) -> Readiness {
        same_on_all(|filters| Kevent { filter: filters.write, flags, fflags, data })
    }

    fn same_on_all(event: impl Fn(Filters) -> Kevent) -> Readiness {
        let common = Readiness::from_kqueue(&event(Filters::COMMON), Filters::COMMON);
        assert_eq!(common, Readiness::from_kqueue(&event(Filters::NETBSD), Filters::NETBSD));
        common
    }

    #[test]
    fn err_alone_wakes_reader_and_writer() {
        // G18
        assert_eq!(wakes(Readiness::from_epoll(0x8)), (true, true, true));
    }

    #[test]
    fn hup_wakes_both() {
        // G19
        assert_eq!(wakes(Readiness::from_epoll(0x10)), (true, true, true));
        assert_eq!(Readiness::from_epoll(0x11), Readiness::HUP | Readiness::READ);
    }

    #[test]
    fn rdhup_wakes_reader_only() {
        // G20
        assert_eq!(wakes(Readiness::from_epoll(0x2000)), (true, false, false));
    }

    #[test]
    fn pri_is_not_read() {
        // G54
        assert_eq!(wakes(Readiness::from_epoll(0x2)), (false, false, true));
        assert_eq!(wakes(Readiness::from_event_port(0x2)), (false, false, true));
    }

    #[test]
    fn bits_are_epolls_own() {
        for events in [0x0, 0x1, 0x2, 0x4, 0x8, 0x10, 0x2000, 0x201f] {
            assert_eq!(u32::from(Readiness::from_epoll(events).bits()), events);
        }
    }

    #[test]
    fn plain_bits_wake_their_own_side() {
        for (readiness, expected) in [
            (Readiness::EMPTY, (false, false, false)),
            (Readiness::READ, (true, false, false)),
            (Readiness::WRITE, (false, true, false)),
            (Readiness::PRIORITY, (false, false, true)),
        ] {
            assert_eq!(wakes(readiness), expected, "{readiness:?}");
        }
    }

    #[test]
    fn trouble_is_all_but_plain() {
        for (bit, name) in Readiness::NAMES {
            assert_eq!(Readiness::TROUBLE.contains(bit), !matches!(name, "READ" | "WRITE"), "{name}");
        }
    }

    /// Each bit parsed alone, put together.
    fn by_bits(events: u32, parse: fn(u32) -> Readiness) -> Readiness {
        (0..32).rev().map(|bit| events & (1 << bit)).fold(Readiness::EMPTY, |all, bit| all | parse(bit))
    }

    #[test]
    fn epoll_invents_no_bit_and_order_does_not_matter() {
        let table = |bit| match bit {
            0x1 => Readiness::READ,
            0x2 => Readiness::PRIORITY,
            0x4 => Readiness::WRITE,
            0x8 => Readiness::ERROR,
            0x10 => Readiness::HUP,
            0x2000 => Readiness::READ_CLOSED,
            _ => Readiness::EMPTY,
        };
        for bit in (0..32).map(|bit| 1 << bit) {
            assert_eq!(Readiness::from_epoll(bit), table(bit));
        }
        for low in (0..1 << 14).step_by(STEP) {
            // EPOLLET, EPOLLONESHOT, EPOLLWAKEUP, EPOLLEXCLUSIVE and whatever comes after them.
            for high in [0, 0xffff_c000] {
                let parsed = Readiness::from_epoll(low | high);
                assert_eq!(parsed, by_bits(low, table));
                assert_eq!(parsed, by_bits(low, Readiness::from_epoll));
            }
        }
    }

    #[test]
    fn event_port_invents_no_bit_and_order_does_not_matter() {
        let table = |bit| match bit {
            0x1 | 0x40 => Readiness::READ,
            0x2 | 0x80 => Readiness::PRIORITY,
            0x4 => Readiness::WRITE,
            0x8 | 0x20 => Readiness::ERROR,
            0x10 => Readiness::HUP,
            0x4000 => Readiness::READ_CLOSED,
            _ => Readiness::EMPTY,
        };
        for low in (0..1u32 << 15).step_by(STEP) {
            for high in [0, 0xffff_8000] {
                assert_eq!(Readiness::from_event_port((low | high) as i32), by_bits(low, table));
            }
        }
    }

    #[test]
    fn kqueue_read_is_read_whatever_data_says() {
        for data in [0, 1, 26, i64::MAX, -1] {
            assert_eq!(read(0, 0, data), Readiness::READ);
            assert_eq!(write(0, 0, data), Readiness::WRITE);
        }
    }

    #[test]
    fn kqueue_eof_with_data_is_still_readable() {
        // G21
        for data in [0, 9] {
            assert!(read(EOF, 0, data).contains(Readiness::READ | Readiness::READ_CLOSED));
            assert!(!read(EOF, 0, data).intersects(Readiness::ERROR | Readiness::HUP));
        }
    }

    #[test]
    fn kqueue_read_eof_also_wakes_writer() {
        // G22
        assert_eq!(wakes(read(EOF, 0, 0)), (true, true, false));
    }

    #[test]
    fn kqueue_write_eof_wakes_both() {
        // G22
        assert_eq!(write(EOF, 0, 0), Readiness::WRITE | Readiness::HUP);
        assert_eq!(wakes(write(EOF, 0, 0)), (true, true, true));
    }

    #[test]
    fn kqueue_eof_with_an_errno_is_an_error() {
        assert_eq!(read(EOF, ECONNRESET, 0), Readiness::READ | Readiness::READ_CLOSED | Readiness::WRITE | Readiness::ERROR);
        assert_eq!(write(EOF, ECONNRESET, 0), Readiness::WRITE | Readiness::HUP | Readiness::ERROR);
        // Without EOF they are flags of the filter (NOTE_LOWAT and others).
        assert_eq!(read(0, 1, 0), Readiness::READ);
    }

    #[test]
    fn kqueue_error_while_waiting_wakes_both() {
        // G23; macOS keeps the flags of the change beside EV_ERROR.
        for flags in [ERROR, ERROR | 0x21] {
            assert_eq!(wakes(read(flags, 0, 9)), (true, true, true));
            assert_eq!(write(flags, 0, 9), Readiness::ERROR);
        }
    }

    #[test]
    fn receipt_is_no_event() {
        // G25
        for flags in [ERROR, ERROR | 0x61, ERROR | EOF] {
            assert_eq!(read(flags, 0, 0), Readiness::EMPTY);
            assert_eq!(write(flags, 0, 0), Readiness::EMPTY);
        }
    }

    #[test]
    fn kqueue_unknown_filter_says_nothing() {
        for (filters, known) in [(Filters::COMMON, [-1, -2]), (Filters::NETBSD, [0, 1])] {
            for filter in (-20..20).chain([i32::MIN, i32::MAX]).filter(|filter| !known.contains(filter)) {
                for (flags, fflags, data) in [(0, 0, 1), (EOF, 1, 1), (ERROR, 0, 9)] {
                    assert!(Readiness::from_kqueue(&Kevent { filter, flags, fflags, data }, filters).is_empty());
                }
            }
        }
    }

    #[test]
    fn debug_prints_names() {
        assert_eq!(format!("{:?}", Readiness::default()), "Readiness(EMPTY)");
        assert_eq!(format!("{:?}", Readiness::from_epoll(!0)), "Readiness(READ | WRITE | PRIORITY | READ_CLOSED | HUP | ERROR)");
    }
}
