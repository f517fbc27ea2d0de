//! [`Instant`] and [`Clock`]: monotonic nanoseconds, and who says what time it is.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment on the poller's [`Clock`], in nanoseconds since that clock's zero.
///
/// All arithmetic saturates: a deadline too far away to be written down is [`Instant::FAR_FUTURE`], as in Go.
///
/// ```
/// use core::time::Duration;
/// use netpoll::Instant;
/// let start = Instant::from_nanos(5);
/// assert_eq!((start + Duration::from_nanos(3)).as_nanos(), 8);
/// assert_eq!(start + Duration::MAX, Instant::FAR_FUTURE);
/// assert_eq!(start - Instant::from_nanos(9), Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The last moment there is; 584 years after the clock's zero.
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    /// The moment `nanos` nanoseconds after the clock's zero.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the clock's zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this moment, zero if `earlier` is the later one.
    pub const fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment plus `duration`, [`Instant::FAR_FUTURE`] if that is out of range.
    pub const fn saturating_add(self, duration: Duration) -> Instant {
        // 2^64 ns are 18 446 744 073.7 s: more seconds than that saturate, whatever the rest.
        const PER_SECOND: u64 = 1_000_000_000;
        let nanos = duration.as_secs().saturating_mul(PER_SECOND).saturating_add(duration.subsec_nanos() as u64);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at [`Instant::FAR_FUTURE`].
    fn add(self, duration: Duration) -> Instant {
        self.saturating_add(duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Instant::FAR_FUTURE { f.write_str("FAR_FUTURE") } else { write!(f, "{}ns", self.0) }
    }
}

/// Who says what time it is; chosen when a poller or reactor is made.
///
/// ```
/// use netpoll::{Clock, Instant};
/// fn frozen() -> Instant { Instant::from_nanos(42) }
/// let clock = Clock::Custom(frozen); // for tests and simulation
/// assert_eq!(clock.now(), Instant::from_nanos(42));
/// assert!(Clock::Monotonic.now() <= Clock::Monotonic.now());
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum Clock {
    /// `CLOCK_MONOTONIC`: stands still while the machine is suspended, but for OpenBSD, macOS and iOS, where it goes on.
    #[default]
    Monotonic,
    /// `CLOCK_BOOTTIME`: goes on during suspend, so a deadline that passed meanwhile is seen at the first pass after resume.
    ///
    /// It does not wake a suspended machine: for that, wait on a timerfd with `CLOCK_BOOTTIME_ALARM`.
    ///
    /// Linux, Android and OpenBSD have it; elsewhere this is `Monotonic`, which on FreeBSD, NetBSD, DragonFly, illumos and Solaris is no
    /// help: there a deadline comes as much later as the machine was suspended.
    Boottime,
    /// A function of the program's: for tests, simulation and foreign loops that keep their own time.
    ///
    /// It must never go backwards. Waits still last real time: a wait for a deadline 1 s away blocks for 1 s whatever this clock says
    /// meanwhile.
    Custom(fn() -> Instant),
}

impl Clock {
    /// Reads the clock: one `clock_gettime`, which the vDSO answers without a system call where there is one.
    pub fn now(self) -> Instant {
        self.function()()
    }

    /// What to call for the time. Kept instead of the clock, it leaves what reads the other clocks out of a program that never names them.
    pub(crate) fn function(self) -> fn() -> Instant {
        match self {
            Clock::Monotonic => crate::arch::monotonic,
            Clock::Boottime => crate::arch::boottime,
            Clock::Custom(now) => now,
        }
    }
}

/// A deadline as Go's `pollDesc.rd` keeps it, none, ahead or passed, in eight bytes: the two ends of the clock stand for the two states
/// without a moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) const NONE: Deadline = Deadline(Instant::FAR_FUTURE);
    pub(crate) const PASSED: Deadline = Deadline(Instant(0));

    /// A deadline at `at`, already passed if that is not after `now`.
    pub(crate) fn at(at: Instant, now: Instant) -> Deadline {
        if at <= now { Deadline::PASSED } else { Deadline(at) }
    }

    /// Moves a deadline that is ahead to the same moment or a later one, none included; says whether that is what is asked for. Whoever is
    /// to look at the old moment is early enough.
    #[inline]
    pub(crate) fn push_out(&mut self, at: Instant, now: Instant) -> bool {
        // One comparison for two: what has passed is 0, and wraps.
        let later = self.0.0.wrapping_sub(1) < at.0 && at > now;
        if later {
            self.0 = at;
        }
        later
    }

    /// Sticky: passed until it is set anew.
    #[inline]
    pub(crate) fn is_passed(self) -> bool {
        self == Deadline::PASSED
    }

    /// The moment at which it will pass.
    pub(crate) fn ahead(self) -> Option<Instant> {
        if self == Deadline::NONE || self.is_passed() { None } else { Some(self.0) }
    }

    /// Lets it pass if its moment has come.
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        let passes = self.ahead().is_some_and(|at| at <= now);
        if passes {
            *self = Deadline::PASSED;
        }
        passes
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ahead() {
            Some(at) => at.fmt(f),
            None => f.write_str(if self.is_passed() { "passed" } else { "none" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_saturates() {
        let near_end = Instant::from_nanos(u64::MAX - 1);
        assert_eq!(near_end + Duration::from_nanos(1), Instant::FAR_FUTURE);
        assert_eq!(near_end + Duration::from_nanos(2), Instant::FAR_FUTURE);
        assert_eq!(Instant::from_nanos(0) + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(Instant::from_nanos(0) + Duration::from_secs(18_446_744_074), Instant::FAR_FUTURE);
        assert_eq!(Instant::from_nanos(0) - Instant::FAR_FUTURE, Duration::ZERO);
    }

    #[test]
    fn moments_and_deadlines_print_as_what_they_are() {
        let (zero, one) = (Instant::from_nanos(0), Instant::from_nanos(1));
        assert_eq!(std::format!("{one:?} {:?}", Instant::FAR_FUTURE), "1ns FAR_FUTURE");
        assert_eq!(std::format!("{:?} {:?} {:?}", Deadline::NONE, Deadline::at(one, one), Deadline::at(one, zero)), "none passed 1ns");
    }
}
