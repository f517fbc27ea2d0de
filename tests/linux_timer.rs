//! Timers of the kernel's.

#![cfg(target_os = "linux")]

mod util;

use std::fs;
use std::os::fd::AsRawFd;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use netpoll::linux::{TimerClock, TimerFd, TimerSpec};
use netpoll::{Clock, Errno, Error, OwnedFd, PollerStorage, Timeout, Unopened, Waiter};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use rustix::time::{ClockId, Timespec, clock_gettime};
use util::{TestPoller, alone, dup, eventually, skip};

const CLOCKS: [(TimerClock, ClockId); 5] = [
    (TimerClock::Monotonic, ClockId::Monotonic),
    (TimerClock::Realtime, ClockId::Realtime),
    (TimerClock::Boottime, ClockId::Boottime),
    (TimerClock::RealtimeAlarm, ClockId::Realtime),
    (TimerClock::BoottimeAlarm, ClockId::Boottime),
];

/// It does come; what never comes is a failure, not a hang.
const SOON: Timeout = Timeout::After(util::PATIENCE);

const SHORT: Duration = Duration::from_millis(20);

fn now(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    Duration::new(tv_sec as u64, tv_nsec as u32)
}

/// A timer on a clock that this process may use here.
fn timer(test: &str, clock: TimerClock) -> Option<Unopened<TimerFd>> {
    match TimerFd::new(clock) {
        Ok(timer) => Some(timer),
        // No privilege; no real-time clock that could wake the machine.
        Err(Error::Os(errno @ (Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP))) if format!("{clock:?}").ends_with("Alarm") => {
            skip(test, format_args!("{clock:?}: {errno}"));
            None
        }
        Err(error) => panic!("{clock:?}: {error}"),
    }
}

fn open(poller: &mut TestPoller<'_>, timer: Unopened<TimerFd>) -> TimerFd {
    timer.open(&mut poller.io(Waiter::new(1))).unwrap()
}

fn monotonic(poller: &mut TestPoller<'_>) -> TimerFd {
    open(poller, TimerFd::new(TimerClock::Monotonic).unwrap())
}

fn ask(poller: &mut TestPoller<'_>, timer: &TimerFd) -> Poll<Result<u64, Error>> {
    timer.poll_expirations(&mut poller.io(Waiter::new(1)))
}

/// Waits until it has expired, however slow the machine is; says how often.
fn expired(poller: &mut TestPoller<'_>, timer: &TimerFd) -> u64 {
    loop {
        if let Poll::Ready(expirations) = ask(poller, timer) {
            return expirations.unwrap();
        }
        assert_eq!(poller.turn(SOON), [1]);
    }
}

fn set(poller: &mut TestPoller<'_>, timer: &TimerFd, spec: TimerSpec) {
    timer.set(&mut poller.io(Waiter::new(1)), &spec).unwrap();
}

fn remaining(poller: &mut TestPoller<'_>, timer: &TimerFd) -> Option<Duration> {
    timer.remaining(&mut poller.io(Waiter::new(1))).unwrap()
}

/// Case 91, on every clock: once, not early, and nothing after it.
#[test]
fn timerfd_boottime_source() {
    for (kind, clock) in CLOCKS {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let Some(unopened) = timer("timerfd_boottime_source", kind) else { continue };
        let start = now(clock);
        unopened.set(&TimerSpec::after(SHORT)).unwrap();
        let timer = open(&mut poller, unopened);
        assert_eq!(expired(&mut poller, &timer), 1);
        assert!(now(clock) - start >= SHORT, "{kind:?}");
        assert_eq!(ask(&mut poller, &timer), Poll::Pending);
        assert_eq!(remaining(&mut poller, &timer), None);
        poller.expect_nobody();

        let moment = now(clock) + SHORT;
        set(&mut poller, &timer, TimerSpec::at(moment));
        assert_eq!(expired(&mut poller, &timer), 1);
        assert!(now(clock) >= moment, "{kind:?}");
    }
}

/// Case 91, G60: what cannot be done to a machine that others use.
#[test]
fn g60_boottime_goes_on_during_suspend() {
    skip("g60_boottime_goes_on_during_suspend", "the machine would have to be suspended");
}

/// A read makes no second one: an expiration since then is reported.
#[test]
fn an_expiration_is_read_once() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let timer = monotonic(&mut poller);
    set(&mut poller, &timer, TimerSpec::after(Duration::ZERO));
    assert_eq!(expired(&mut poller, &timer), 1);
    set(&mut poller, &timer, TimerSpec::after(Duration::ZERO));
    eventually("its moment", || remaining(&mut poller, &timer).is_none());
    assert_eq!(ask(&mut poller, &timer), Poll::Pending);
    assert_eq!(poller.turn(SOON), [1]);
    assert_eq!(ask(&mut poller, &timer), Poll::Ready(Ok(1)));
}

/// The poller's own clock says when, and the timer agrees.
#[test]
fn a_moment_of_the_pollers_clock() {
    for (clock, kind) in [(Clock::Monotonic, TimerClock::Monotonic), (Clock::Boottime, TimerClock::Boottime)] {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::with_clock(&mut storage, clock);
        let moment = clock.now() + SHORT;
        let timer = open(&mut poller, TimerFd::new(kind).unwrap());
        set(&mut poller, &timer, TimerSpec::at(Duration::from_nanos(moment.as_nanos())));
        assert_eq!(expired(&mut poller, &timer), 1);
        assert!(clock.now() >= moment);
    }
}

/// To the kernel zero means never; to us it means at once.
#[test]
fn at_once() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let timer = monotonic(&mut poller);
    assert_eq!(ask(&mut poller, &timer), Poll::Pending);
    let past = now(ClockId::Monotonic) - Duration::from_millis(1);
    for spec in [TimerSpec::after(Duration::ZERO), TimerSpec::at(Duration::ZERO), TimerSpec::at(past)] {
        set(&mut poller, &timer, spec);
        assert_eq!(poller.turn(SOON), [1]);
        assert_eq!(ask(&mut poller, &timer), Poll::Ready(Ok(1)));
        assert_eq!(ask(&mut poller, &timer), Poll::Pending);
    }
}

/// Nobody asks for a while: every missed period is counted, and none twice.
#[test]
fn missed_periods_are_counted() {
    const PERIOD: Duration = Duration::from_millis(5);
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let timer = monotonic(&mut poller);
    let elapsed_periods = |since: Duration| ((now(ClockId::Monotonic) - since).as_nanos() / PERIOD.as_nanos()) as u64;
    let before = now(ClockId::Monotonic);
    set(&mut poller, &timer, TimerSpec::after(PERIOD).every(PERIOD));
    let after = now(ClockId::Monotonic);
    let mut total = 0;
    for pause in [50, 1, 13, 30] {
        std::thread::sleep(Duration::from_millis(pause));
        let least = elapsed_periods(after);
        eventually("all the periods", || {
            poller.turn(Timeout::Now);
            if let Poll::Ready(expirations) = ask(&mut poller, &timer) {
                total += expirations.unwrap();
            }
            let most = elapsed_periods(before);
            assert!(total <= most, "{total} of {most}");
            total >= least
        });
    }
    assert!(total >= 18);
    // It goes on, and does not drift.
    while total < 40 {
        total += expired(&mut poller, &timer);
    }
    assert!(total <= elapsed_periods(before));
    let left = remaining(&mut poller, &timer).unwrap_or_default();
    assert!(left <= PERIOD, "{left:?}");
}

#[test]
fn set_again_and_disarmed() {
    const LONG: Duration = Duration::from_secs(3600);
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let timer = monotonic(&mut poller);
    assert_eq!(remaining(&mut poller, &timer), None);
    set(&mut poller, &timer, TimerSpec::after(Duration::from_millis(1)));
    let start = now(ClockId::Monotonic);
    set(&mut poller, &timer, TimerSpec::after(SHORT));
    assert_eq!(expired(&mut poller, &timer), 1);
    assert!(now(ClockId::Monotonic) - start >= SHORT);
    // Expired, and nobody has asked: forgotten when it is set again, and when it is disarmed.
    let disarm = |poller: &mut TestPoller<'_>| timer.disarm(&mut poller.io(Waiter::new(1))).unwrap();
    for next in [Some(LONG), None] {
        set(&mut poller, &timer, TimerSpec::after(Duration::from_nanos(1)));
        eventually("its moment", || remaining(&mut poller, &timer).is_none());
        match next {
            Some(next) => set(&mut poller, &timer, TimerSpec::after(next)),
            None => disarm(&mut poller),
        }
        let left = remaining(&mut poller, &timer);
        assert!(left.is_some() == next.is_some() && left <= next && left.is_none_or(|left| left > LONG / 2), "{left:?}");
        poller.turn(Timeout::Now);
        assert_eq!(ask(&mut poller, &timer), Poll::Pending);
    }
    // Disarmed before its moment, it does not come.
    set(&mut poller, &timer, TimerSpec::after(Duration::from_millis(5)).every(Duration::from_millis(5)));
    disarm(&mut poller);
    assert_eq!(remaining(&mut poller, &timer), None);
    assert_eq!(ask(&mut poller, &timer), Poll::Pending);
    assert_eq!(poller.turn(SHORT), []);
}

/// Farther than the kernel's clocks reach is never, and no error.
#[test]
fn never() {
    for (kind, _) in CLOCKS {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let Some(unopened) = timer("never", kind) else { continue };
        let timer = open(&mut poller, unopened);
        for spec in [TimerSpec::after(Duration::MAX), TimerSpec::at(Duration::MAX), TimerSpec::after(SHORT * 1000).every(Duration::MAX)] {
            set(&mut poller, &timer, spec);
            assert_eq!(ask(&mut poller, &timer), Poll::Pending);
            assert!(remaining(&mut poller, &timer) > Some(SHORT));
            poller.expect_nobody();
        }
    }
}

/// Nonsense is refused, and changes nothing.
#[test]
fn nonsense() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let timer = monotonic(&mut poller);
    set(&mut poller, &timer, TimerSpec::after(Duration::from_secs(3600)));
    for spec in [TimerSpec::after(SHORT).every(Duration::ZERO), TimerSpec::after(SHORT).cancel_on_set()] {
        assert_eq!(timer.set(&mut poller.io(Waiter::new(1)), &spec), Err(Error::Os(Errno::INVAL)));
        assert_eq!(TimerFd::new(TimerClock::Realtime).unwrap().set(&spec), Err(Error::Os(Errno::INVAL)));
    }
    assert!(remaining(&mut poller, &timer).unwrap() > Duration::from_secs(3500));
    drop(timer.close(&mut poller.io(Waiter::new(1))).unwrap());
    let mut io = poller.io(Waiter::new(1));
    assert_eq!(timer.set(&mut io, &TimerSpec::after(SHORT)), Err(Error::Closed));
    assert_eq!(timer.disarm(&mut io), Err(Error::Closed));
    assert_eq!(timer.remaining(&mut io), Err(Error::Closed));
}

/// The kernel knows that the timer minds, and its moment comes all the same while nobody sets the clock.
#[test]
fn the_clock_may_be_set() {
    let settings = |fd: &OwnedFd| {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        text.lines().find_map(|line| line.strip_prefix("settime flags: ")).map(|flags| u32::from_str_radix(flags, 8).unwrap())
    };
    for (kind, _) in CLOCKS.into_iter().filter(|(kind, _)| format!("{kind:?}").starts_with("Real")) {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let Some(unopened) = timer("the_clock_may_be_set", kind) else { continue };
        let theirs = dup(&unopened);
        let timer = open(&mut poller, unopened);
        let moment = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + SHORT;
        set(&mut poller, &timer, TimerSpec::at(moment));
        assert_eq!(settings(&theirs), Some(1));
        set(&mut poller, &timer, TimerSpec::at(moment).cancel_on_set());
        assert_eq!(settings(&theirs), Some(3));
        assert_eq!(expired(&mut poller, &timer), 1);
    }
    skip("the_clock_may_be_set", "ECANCELED itself: the clock of the machine would have to be set");
}

#[test]
fn an_alarm_clock_needs_privilege() {
    alone(|| {
        let mut less = capabilities(None).unwrap();
        let was_set = TimerFd::new(TimerClock::BoottimeAlarm);
        less.effective -= CapabilitySet::WAKE_ALARM;
        set_capabilities(None, less).unwrap();
        for clock in [TimerClock::BoottimeAlarm, TimerClock::RealtimeAlarm] {
            let error = TimerFd::new(clock).unwrap_err();
            assert_eq!((error, &*error.to_string()), (Error::Os(Errno::PERM), "operation not permitted"));
        }
        // One that was made before cannot be set any more.
        match was_set {
            Ok(timer) => assert_eq!(timer.set(&TimerSpec::after(SHORT)), Err(Error::Os(Errno::PERM))),
            Err(error) => skip("an_alarm_clock_needs_privilege", format_args!("half of it: {error}")),
        }
    });
}
