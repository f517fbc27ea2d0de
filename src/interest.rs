//! [`Direction`] and [`Interest`]: which gates a descriptor has, and how it is registered.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

/// Which gate of a descriptor: each direction has its own readiness and its own waiter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Data, a new connection, or the end of the stream. Go's `rg`.
    Read = 0,
    /// Room for data, or an established connection. Go's `wg`.
    Write = 2,
    /// Exceptional conditions (`EPOLLPRI`): urgent TCP data, a sysfs GPIO edge. Obeys the read deadline.
    Priority = 1,
}

impl Direction {
    /// Which of three is this direction's.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "there is no fourth direction; a match makes larger programs")]
    pub(crate) fn of<T>(self, three: &mut [T; 3]) -> &mut T {
        &mut three[self as usize]
    }
}

/// A set of directions, in the order of epoll's low bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Directions(pub(crate) u8);

impl Directions {
    pub(crate) const NONE: Directions = Directions(0);
    pub(crate) const ALL: Directions = Directions(0b111);
    /// Whose waits the read deadline ends, and the write deadline.
    pub(crate) const READING: Directions = Directions(Self::of(Direction::Read).0 | Self::of(Direction::Priority).0);
    pub(crate) const WRITING: Directions = Self::of(Direction::Write);

    #[inline]
    pub(crate) const fn of(direction: Direction) -> Directions {
        Directions(1 << direction as u8)
    }

    #[inline]
    pub(crate) const fn intersects(self, other: Directions) -> bool {
        self.0 & other.0 != 0
    }

    #[inline]
    pub(crate) const fn union(self, other: Directions) -> Directions {
        Directions(self.0 | other.0)
    }

    #[inline]
    pub(crate) const fn and(self, other: Directions) -> Directions {
        Directions(self.0 & other.0)
    }

    #[inline]
    pub(crate) const fn without(self, other: Directions) -> Directions {
        Directions(self.0 & !other.0)
    }
}

// In epoll's bits, where it has one, so that nothing is translated there.
/// Which directions to open, and how to register; chosen once, when a descriptor is opened.
///
/// Registration is always edge-triggered and lasts until the descriptor is closed. Errors and hang-ups are reported whatever is chosen, and
/// open every gate there is; on kqueue and event ports in directions that are armed when somebody waits only then.
///
/// ```
/// use netpoll::Interest;
/// assert_eq!(Interest::default(), Interest::READ | Interest::WRITE);
/// assert!(Interest::default().contains(Interest::WRITE));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest(u32);

impl Interest {
    /// Open the read gate.
    pub const READ: Interest = Interest(0x2001);
    /// Open the write gate.
    pub const WRITE: Interest = Interest(0x4);
    /// Open the priority gate. Never implies [`READ`](Interest::READ): a sysfs GPIO file wants this one alone.
    /// Unlike the others it starts closed: what is to be known before the first event is read before it is waited for.
    ///
    /// kqueue does not tell such things apart: there the gate is not opened, and opening it alone, or waiting for it, is
    /// [`Error::NotPollable`](crate::Error::NotPollable). Event ports are asked when somebody waits: of what has been read past by then they
    /// say nothing.
    pub const PRIORITY: Interest = Interest(0x2);
    /// Of several pollers that wait for the same descriptor wake one (`EPOLLEXCLUSIVE`, Linux 4.5); the peer's half-close is then not told
    /// apart from data. Ignored where a system has no such thing.
    pub const EXCLUSIVE: Interest = Interest(1 << 28);
    /// Keep the machine from suspending while an event of this descriptor is being handled (`EPOLLWAKEUP`, needs `CAP_BLOCK_SUSPEND`,
    /// without which the kernel ignores it). Ignored elsewhere.
    pub const WAKEUP: Interest = Interest(1 << 29);
    /// The socket is still connecting: its write gate starts idle instead of ready, so that the first write waits for the connection.
    pub const CONNECTING: Interest = Interest(0x8);

    /// Whether all of `other` is chosen.
    pub const fn contains(self, other: Interest) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both choices.
    pub const fn union(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }

    /// What is chosen here but not in `other`.
    pub(crate) const fn without(self, other: Interest) -> Interest {
        Interest(self.0 & !other.0)
    }

    /// As epoll takes them.
    #[allow(dead_code, reason = "other systems do not")]
    #[inline]
    pub(crate) const fn epoll_bits(self) -> u32 {
        self.without(Interest::CONNECTING).0
    }

    /// Which gates are opened.
    #[inline]
    pub(crate) const fn directions(self) -> Directions {
        Directions(self.0 as u8).and(Directions::ALL)
    }
}

impl Default for Interest {
    /// Reading and writing.
    fn default() -> Interest {
        Interest::READ | Interest::WRITE
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        self.union(other)
    }
}

impl BitOrAssign for Interest {
    fn bitor_assign(&mut self, other: Interest) {
        *self = self.union(other);
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Interest, &str); 6] = [
            (Interest::READ, "READ"),
            (Interest::WRITE, "WRITE"),
            (Interest::PRIORITY, "PRIORITY"),
            (Interest::EXCLUSIVE, "EXCLUSIVE"),
            (Interest::WAKEUP, "WAKEUP"),
            (Interest::CONNECTING, "CONNECTING"),
        ];
        let mut separator = "";
        for (interest, name) in NAMES {
            if self.contains(interest) {
                write!(f, "{separator}{name}")?;
                separator = " | ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    const ALL: [(Interest, &str); 6] = [
        (Interest::READ, "READ"),
        (Interest::WRITE, "WRITE"),
        (Interest::PRIORITY, "PRIORITY"),
        (Interest::EXCLUSIVE, "EXCLUSIVE"),
        (Interest::WAKEUP, "WAKEUP"),
        (Interest::CONNECTING, "CONNECTING"),
    ];

    #[test]
    fn choices_are_distinct_and_print_their_names() {
        for (place, (one, name)) in ALL.into_iter().enumerate() {
            assert_eq!(format!("{one:?}"), name);
            assert_eq!(one | one, one);
            for (other, second) in ALL.into_iter().skip(place + 1) {
                let mut both = one;
                both |= other;
                assert!(both.contains(one) && both.contains(other) && !one.contains(both));
                assert_eq!((both | one, both.without(one), one.without(other)), (both, other, one));
                assert_eq!(format!("{both:?}"), format!("{name} | {second}"));
            }
        }
    }

    #[test]
    fn three_choices_have_a_direction() {
        for (interest, name) in ALL {
            let direction = match name {
                "READ" => Directions::of(Direction::Read),
                "WRITE" => Directions::of(Direction::Write),
                "PRIORITY" => Directions::of(Direction::Priority),
                _ => Directions::NONE,
            };
            assert_eq!(interest.directions(), direction, "{name}");
            let both = Directions::of(Direction::Read).union(Directions::of(Direction::Write));
            assert_eq!((Interest::default() | interest).directions(), both.union(direction));
        }
        assert_eq!(Interest::WAKEUP.without(Interest::WAKEUP).directions(), Directions::NONE);
    }

    #[test]
    fn sets_of_directions() {
        let all = (0..8).map(Directions);
        for (a, b) in all.clone().flat_map(|a| all.clone().map(move |b| (a, b))) {
            for bit in [1, 2, 4].map(Directions) {
                let (in_a, in_b) = (a.intersects(bit), b.intersects(bit));
                assert_eq!(a.union(b).intersects(bit), in_a || in_b);
                assert_eq!(a.and(b).intersects(bit), in_a && in_b);
                assert_eq!(a.without(b).intersects(bit), in_a && !in_b);
            }
        }
    }
}
