//! [`TimerFd`]: moments and periods on any of the kernel's clocks.

use core::task::Poll;
use core::time::Duration;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_gettime, timerfd_settime};

use super::{TimerClock, read_number};
use crate::descriptor::{Unopened, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A timer of the kernel's, timerfd_create(2): for what the handlers' timers cannot do.
///
/// That is: an alarm clock that wakes the machine from suspend (`BoottimeAlarm`, `RealtimeAlarm`), the time of day (`Realtime`), a period
/// that does not drift, and time that goes on during suspend while the poller's own clock stands still (`Boottime`). For a mere time-out
/// [`Context::set_timer`](crate::Context::set_timer) needs no descriptor and no system call.
///
/// It is never early. Of a period, what was missed is counted.
///
/// An alarm clock wakes the machine, but does not keep it awake until the handler has run: where the system suspends by itself
/// (autosleep), open the descriptor as `(OwnedFd, Interest)` with [`Interest::WAKEUP`].
///
/// ```
/// # use core::task::{Poll, ready};
/// # use core::time::Duration;
/// use netpoll::linux::{TimerClock, TimerFd, TimerSpec};
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// struct Sampler { timer: TimerFd }
///
/// impl Handler for Sampler {
///     type Shared = u64;
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         while *cx.shared() < 5 {
///             *cx.shared() += ready!(self.timer.poll_expirations(cx))?; // more than one if some were missed
///         }
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// let mut storage = ReactorStorage::<Sampler, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// let timer = TimerFd::new(TimerClock::Boottime)?;
/// timer.set(&TimerSpec::after(Duration::from_millis(5)).every(Duration::from_millis(1)))?;
/// reactor.spawn_with(timer, |timer| Sampler { timer })?;
/// let mut samples = 0;
/// reactor.run(&mut samples)?;
/// assert!(samples >= 5);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct TimerFd {
    token: Token,
}

descriptor!(TimerFd, interest: Interest::READ, must_not_block: true);
wait_deadline!(TimerFd);

/// When a timer expires.
///
/// ```
/// use core::time::Duration;
/// use netpoll::linux::TimerSpec;
/// let once = TimerSpec::after(Duration::from_secs(5));
/// let daily = TimerSpec::at(Duration::from_secs(1_800_000_000)).every(Duration::from_secs(86_400)).cancel_on_set();
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a timer is set by `set`"]
pub struct TimerSpec {
    first: Duration,
    every: Option<Duration>,
    flags: TimerfdTimerFlags,
}

impl TimerSpec {
    /// So much time after it is set, on the timer's clock. Zero expires at once.
    pub const fn after(delay: Duration) -> TimerSpec {
        TimerSpec { first: delay, every: None, flags: TimerfdTimerFlags::empty() }
    }

    /// At a moment of the timer's clock, counted from the clock's zero: for `Realtime` that is 1970-01-01 UTC, for `Monotonic` it is that
    /// of the poller's [`Instant`](crate::Instant). One in the past expires at once. Too far to be written down is never.
    pub const fn at(moment: Duration) -> TimerSpec {
        TimerSpec { first: moment, every: None, flags: TimerfdTimerFlags::ABSTIME }
    }

    /// And again and again after each such time.
    pub const fn every(mut self, period: Duration) -> TimerSpec {
        self.every = Some(period);
        self
    }

    /// Also ends the wait, with `ECANCELED`, when somebody sets the clock (`TFD_TIMER_CANCEL_ON_SET`): look at the clock, and set the
    /// timer anew. For a moment on `Realtime` or `RealtimeAlarm`; the other clocks are never set, and ignore it.
    ///
    /// `TimerSpec::at(Duration::MAX).cancel_on_set()` waits for just that.
    pub const fn cancel_on_set(mut self) -> TimerSpec {
        self.flags = self.flags.union(TimerfdTimerFlags::CANCEL_ON_SET);
        self
    }

    fn apply(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        let relative = !self.flags.contains(TimerfdTimerFlags::ABSTIME);
        if self.every == Some(Duration::ZERO) || relative && self.flags.contains(TimerfdTimerFlags::CANCEL_ON_SET) {
            return Err(Errno::INVAL.into());
        }
        // To the kernel zero means to disarm.
        let first = self.first.max(Duration::from_nanos(1));
        settime(fd, self.flags, first, self.every.unwrap_or_default())
    }
}

fn settime(fd: BorrowedFd<'_>, flags: TimerfdTimerFlags, first: Duration, every: Duration) -> Result<(), Error> {
    timerfd_settime(fd, flags, &Itimerspec { it_interval: timespec(every), it_value: timespec(first) })?;
    Ok(())
}

/// As far as seconds can be counted; the kernel clamps to what its clocks reach.
fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos() as _ }
}

impl Unopened<TimerFd> {
    /// Sets the timer before it is opened: as [`TimerFd::set`].
    ///
    /// # Errors
    ///
    /// As [`TimerFd::set`], of the [`Error::Os`] ones.
    pub fn set(&self, spec: &TimerSpec) -> Result<(), Error> {
        spec.apply(self.as_fd())
    }
}

impl TimerFd {
    /// A timer that is not set yet.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as timerfd_create(2): `EPERM` for an alarm clock without `CAP_WAKE_ALARM`, `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new(clock: TimerClock) -> Result<Unopened<TimerFd>, Error> {
        Ok(Unopened::new(timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?))
    }

    /// Sets the timer; what it was set to before, and what has not been asked for, is forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` for a period of zero, and for a relative time with [`cancel_on_set`](TimerSpec::cancel_on_set).
    /// `ECANCELED` when the clock was set while the timer had [`cancel_on_set`](TimerSpec::cancel_on_set) and nobody has learned of it: the
    /// timer is set all the same. `EOVERFLOW` on 32-bit kernels before 5.1 for what 31 bits of seconds do not hold. `EPERM` for an alarm
    /// clock without `CAP_WAKE_ALARM`. [`Error::Closed`], [`Error::NotOwner`].
    pub fn set(&self, io: &mut Io<'_>, spec: &TimerSpec) -> Result<(), Error> {
        spec.apply(io.fd(self.token)?)
    }

    /// Stops the timer. What has not been asked for is forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`]; [`Error::Os`] with `EPERM` for an alarm clock without `CAP_WAKE_ALARM`.
    pub fn disarm(&self, io: &mut Io<'_>) -> Result<(), Error> {
        settime(io.fd(self.token)?, TimerfdTimerFlags::empty(), Duration::ZERO, Duration::ZERO)
    }

    /// How long until it expires next; `None` when nothing is ahead.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::NotOwner`].
    pub fn remaining(&self, io: &mut Io<'_>) -> Result<Option<Duration>, Error> {
        let left = timerfd_gettime(io.fd(self.token)?)?.it_value;
        Ok(Duration::try_from(left).ok().filter(|left| !left.is_zero()))
    }

    /// Waits until it has expired, and says how often since it was set or last asked: more than once if periods were missed.
    ///
    /// What expires after an answer, and be it that the timer was set to the past, is seen in the next turn.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `ECANCELED`, once, when the clock was set and the timer was told to mind: set it anew, since a period does not go
    /// on by itself. [`Error::TimedOut`], [`Error::Closed`], [`Error::NotOwner`]. `EINVAL` for a descriptor of another kind.
    pub fn poll_expirations(&self, io: &mut Io<'_>) -> Poll<Result<u64, Error>> {
        // The clock went back after the timer expired: the kernel has started it again, and there will be an edge.
        io.poll_io_drained(self.token, Direction::Read, |fd| read_number(fd)?.ok_or(Errno::AGAIN).map(|n| (n, true)))
    }
}
