//! Conformance: how long a poll waits, and what it hands out in one go.

mod util;

use netpoll::{Clock, Direction, OwnedFd, Poller, PollerStorage, Timeout, Waiter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};
use util::{BOTH, PATIENCE, READ, TestPoller, alone, dup, eventually, pipe, socket_pair, write};

const MS: Duration = Duration::from_millis(1);

/// Case 48.
#[test]
fn zero_timeout_never_blocks() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, _write_end) = pipe();
    let token = poller.open(read_end, READ);
    poller.wait_read(1, token);
    let begin = Instant::now();
    for timeout in [Timeout::Now, Timeout::After(Duration::ZERO), Timeout::At(netpoll::Instant::from_nanos(0))] {
        for _ in 0..100 {
            assert_eq!(poller.turn(timeout), []);
        }
    }
    assert_eq!(poller.stats().polls, 300);
    assert!(begin.elapsed() < PATIENCE);
}

/// Case 49, G31.
#[test]
fn timeout_never_early_100us_1ms_3_1ms() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    for timeout in [100, 1000, 3100].map(Duration::from_micros) {
        for _ in 0..10 {
            let begin = Instant::now();
            assert_eq!(poller.turn(timeout), []);
            assert!(begin.elapsed() >= timeout, "{:?} of {timeout:?}", begin.elapsed());
        }
        for _ in 0..10 {
            let at = Clock::Monotonic.now() + timeout;
            assert_eq!(poller.turn(at), []);
            assert!(Clock::Monotonic.now() >= at);
        }
    }
}

/// Case 50, G29, G31: what the kernel cannot count is rounded up, not to zero.
#[test]
fn sub_ms_does_not_spin() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    for micros in [1, 10, 100, 500, 999, 1001, 1999] {
        for _ in 0..5 {
            let before = poller.stats().polls;
            poller.turn(Duration::from_micros(micros));
            let waits = poller.stats().polls - before;
            assert!(waits <= 2 || !util::is_orderly(), "{waits} waits for {micros} us");
        }
    }
}

/// Case 51, G29, G37.
#[test]
fn huge_timeout_clamped() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    let days = Duration::from_secs(100 * 24 * 3600); // more than an i32 of milliseconds
    let timeouts = [Timeout::Never, Timeout::After(Duration::MAX), Timeout::After(days), Timeout::At(netpoll::Instant::FAR_FUTURE)];
    for timeout in timeouts {
        poller.wait_read(1, token);
        let before = poller.stats().polls;
        let writer = dup(&write_end);
        let late = thread::spawn(move || {
            thread::sleep(2 * MS);
            write(&writer, b"x");
        });
        assert_eq!(poller.turn(timeout), [1]);
        assert!(poller.stats().polls - before <= 2);
        late.join().unwrap();
    }
}

/// Case 52.
#[test]
fn negative_or_past_deadline_returns() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    poller.wait_read(1, token);
    let now = Clock::Monotonic.now();
    for past in [netpoll::Instant::from_nanos(0), netpoll::Instant::from_nanos(1), netpoll::Instant::from_nanos(now.as_nanos() - 1), now] {
        assert_eq!(poller.turn(past), []);
    }
    assert_eq!(poller.stats().polls, 4);
    // It looks, although it does not wait.
    write(&write_end, b"x");
    assert_eq!(poller.turn(now), [1]);
}

/// Signals this process about every `period` until it drops the answer; the handler does nothing but interrupt.
fn signals(period: Duration) -> (Arc<AtomicBool>, impl Drop) {
    struct Stop(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            self.1.take().unwrap().join().unwrap();
        }
    }
    let came = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, came.clone()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    // SAFETY: a plain call.
    let target = unsafe { libc::pthread_self() };
    let stopped = stop.clone();
    let sender = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            thread::sleep(period);
            // SAFETY: the thread that waits outlives this one, which it joins.
            assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR1) }, 0);
        }
    });
    (came, Stop(stop, Some(sender)))
}

/// Case 53, G30: a signal neither ends a wait early nor makes it begin anew.
#[test]
fn eintr_resumes_remaining() {
    alone(|| {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (came, stop) = signals(25 * MS);
        // Until a busy machine has sent one in the midst of a wait.
        for timeout in [60, 300, 1000, 3000].map(|timeout| timeout * MS) {
            let before = poller.stats().polls;
            let begin = Instant::now();
            assert_eq!(poller.turn(timeout), []);
            let elapsed = begin.elapsed();
            assert!(elapsed >= timeout && elapsed < PATIENCE, "{elapsed:?}");
            if poller.stats().polls - before >= 2 {
                assert!(came.load(Ordering::Relaxed));
                return drop(stop);
            }
        }
        panic!("no wait was interrupted");
    });
}

/// Case 53, G30: a wait without an end goes on, too, and a poll that does not wait is not told of signals.
#[test]
fn g30_eintr_does_not_end_an_endless_wait() {
    alone(|| {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let breaker = poller.breaker();
        let (came, stop) = signals(MS);
        thread::scope(|scope| {
            scope.spawn(|| {
                eventually("a signal", || came.load(Ordering::Relaxed));
                thread::sleep(20 * MS);
                breaker.wake().unwrap();
            });
            let mut run = 0;
            let polled = poller.poll(Timeout::Never, |_| run += 1).unwrap();
            assert_eq!((polled.woken, polled.waiters, run), (true, 0, 0));
        });
        drop(stop);
        assert!(poller.stats().polls >= 2, "the wait was not interrupted");
    });
}

/// Case 54, G30: signals that come faster than the deadline do not push it out.
#[test]
fn eintr_storm_does_not_delay_deadline() {
    alone(|| {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (read_end, _write_end) = pipe();
        let token = poller.open(read_end, READ);
        let (_, stop) = signals(Duration::from_micros(200));
        let polls = poller.stats().polls;
        // Until a busy machine has sent enough of them in one wait.
        for timeout in [30, 100, 300, 1000].map(|timeout| timeout * MS) {
            let begin = Instant::now();
            poller.io(Waiter::new(1)).set_timeout(token, Direction::Read, Some(timeout)).unwrap();
            poller.wait_read(1, token);
            assert_eq!(poller.turn(Timeout::After(PATIENCE)), [1]);
            let elapsed = begin.elapsed();
            assert!(elapsed >= timeout && elapsed < PATIENCE / 2, "{elapsed:?}");
            if poller.stats().polls - polls > 5 {
                return drop(stop);
            }
        }
        panic!("only {} waits", poller.stats().polls - polls);
    });
}

/// Case 55, G44: a full batch does not keep deadlines waiting, nor a poll from coming back.
#[test]
fn full_batch_repoll_bounded_and_timers_run() {
    if !util::is_orderly() {
        return util::skip("full_batch_repoll_bounded_and_timers_run", "events that belong together may come apart");
    }
    const MANY: usize = 200;
    let mut storage = PollerStorage::<{ MANY + 1 }>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, _write_end) = pipe();
    let timed = poller.open(read_end, READ);
    poller.wait_read(u32::MAX - 1, timed);
    let pairs: Vec<_> = (0..MANY).map(|_| socket_pair()).collect();
    let tokens: Vec<_> = pairs.iter().map(|(ours, _)| poller.open(dup(ours), READ)).collect();
    poller.io(Waiter::new(0)).set_timeout(timed, Direction::Read, Some(5 * MS)).unwrap();
    let end = Instant::now() + PATIENCE;
    let mut timed_out = false;
    // All of them have news in every pass.
    while !timed_out {
        for (waiter, &token) in tokens.iter().enumerate() {
            poller.wait(waiter as u32, token, Direction::Read);
        }
        for (_, theirs) in &pairs {
            write(theirs, b"x");
        }
        let before = poller.stats().polls;
        let batch = poller.turn(Timeout::Never);
        assert!(poller.stats().polls - before <= 2, "one poll that polls {} times", poller.stats().polls - before);
        assert!(batch.len() >= 100);
        timed_out = batch.contains(&(u32::MAX - 1));
        assert!(Instant::now() < end);
    }
}

/// Case 56, G44.
#[test]
fn many_fds_over_batch_all_served() {
    const MANY: usize = 300;
    let mut storage = PollerStorage::<MANY>::new();
    let mut poller = TestPoller::new(&mut storage);
    let pairs: Vec<_> = (0..MANY).map(|_| socket_pair()).collect();
    let tokens: Vec<_> = pairs.iter().map(|(ours, _)| poller.open(dup(ours), READ)).collect();
    for round in 1..=3 {
        for (waiter, &token) in tokens.iter().enumerate() {
            poller.wait_read(waiter as u32, token);
        }
        for (_, theirs) in &pairs {
            write(theirs, b"x");
        }
        let mut served = Vec::new();
        let mut turns = 0;
        while served.len() < MANY {
            served.extend(poller.turn(Timeout::Now));
            turns += 1;
            assert!(turns <= 10 || !util::is_orderly());
        }
        served.sort_unstable();
        assert!(served.iter().copied().eq(0..MANY as u32), "round {round}: {served:?}");
        poller.expect_nobody();
    }
}

fn readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

/// Case 89, G59: a foreign loop that waits on the poller's descriptor.
#[test]
fn nested_in_outer_loop() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    poller.turn(Timeout::Now);
    assert!(!readable(&*poller));
    assert_eq!(poller.next_deadline(), None);

    write(&theirs, b"x");
    assert!(readable(&*poller));
    assert_eq!(poller.turn(Timeout::Now), [1]);
    assert!(!readable(&*poller));

    poller.breaker().wake().unwrap();
    assert!(readable(&*poller));
    poller.turn(Timeout::Now);
    if util::KQUEUE {
        // That the pipe is empty is seen by the scan that finds it so.
        poller.turn(Timeout::Now);
    }
    assert!(!readable(&*poller));

    // Deadlines do not make the descriptor readable: they are exported.
    let at = Clock::Monotonic.now() + 5 * MS;
    poller.wait_read(1, token);
    poller.io(Waiter::new(1)).set_deadline(token, Direction::Read, Some(at)).unwrap();
    let next = poller.next_deadline().unwrap();
    assert!(next <= at);
    while Clock::Monotonic.now() < at {
        thread::yield_now();
    }
    assert!(!readable(&*poller));
    assert_eq!(poller.turn(Timeout::Now), [1]);
    assert_eq!(poller.next_deadline(), None);
}

/// Case 89, G59: edge-triggered, the outer epoll says it once; the inner poll takes all that there is.
#[cfg(target_os = "linux")]
#[test]
fn nested_in_outer_epoll() {
    if !util::EPOLL {
        return util::skip("nested_in_outer_epoll", "what an outer epoll is told by an inner one");
    }
    use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add, create, wait};
    use std::mem::MaybeUninit;
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    poller.turn(Timeout::Now);
    for (flags, repeats) in [(EventFlags::IN, true), (EventFlags::IN | EventFlags::ET, false)] {
        let outer = create(CreateFlags::CLOEXEC).unwrap();
        add(&outer, &*poller, EventData::new_u64(7), flags).unwrap();
        let events = || {
            let mut buffer = [const { MaybeUninit::uninit() }; 4];
            let (events, _) = wait(&outer, &mut buffer, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
            events.len()
        };
        for _ in 0..3 {
            poller.wait(1, token, Direction::Read);
            assert_eq!(events(), 0);
            write(&theirs, b"x");
            assert_eq!(events(), 1);
            assert_eq!(events() > 0, repeats);
            assert_eq!(poller.turn(Timeout::Now), [1]);
            assert_eq!(events(), 0);
        }
    }
}

/// A poller in a poller, both of this crate.
#[test]
fn nested_in_another_poller() {
    let mut storage = (PollerStorage::<1>::new(), PollerStorage::<1>::new());
    let mut inner = TestPoller::new(&mut storage.0);
    let mut outer = TestPoller::new(&mut storage.1);
    let (read_end, write_end) = pipe();
    let token = inner.open(read_end, READ);
    inner.wait_read(1, token);
    // It is never read, so only that it is ready matters; a poller's descriptor may not be made non-blocking.
    rustix::fs::fcntl_setfl(&*inner, rustix::fs::OFlags::NONBLOCK).unwrap();
    let nested: OwnedFd = dup(&*inner);
    let nested = outer.open(nested, READ);
    for _ in 0..3 {
        outer.wait(2, nested, Direction::Read);
        outer.expect_nobody();
        write(&write_end, b"x");
        outer.expect_waiters(&[2]);
        inner.expect_waiters(&[1]);
        inner.wait_read(1, token);
    }
}

/// A9: somebody is to be run already, of whom the descriptor says nothing.
#[test]
fn a9_next_deadline_is_now_when_somebody_is_to_be_run() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    poller.turn(Timeout::Now);
    assert_eq!(poller.next_deadline(), None);
    assert!(poller.io(Waiter::new(2)).close(token).is_ok());
    assert!(!readable(&*poller));
    let now = poller.next_deadline().unwrap();
    assert!(now <= Clock::Monotonic.now());
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.next_deadline(), None);
}

/// A9: so is whoever waits under a deadline that was set into the past.
#[test]
fn a9_next_deadline_of_a_past_deadline() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    poller.io(Waiter::new(1)).set_deadline(token, Direction::Read, Some(netpoll::Instant::from_nanos(1))).unwrap();
    assert!(poller.next_deadline().unwrap() <= Clock::Monotonic.now());
    assert_eq!(poller.turn(Timeout::Never), [1]);
}

/// The clock is looked at only if something depends on the time.
#[test]
fn no_look_at_the_clock_without_a_deadline() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    fn counted() -> netpoll::Instant {
        netpoll::Instant::from_nanos(LOOKS.fetch_add(1, Ordering::Relaxed))
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::with_clock(&mut storage, Clock::Custom(counted)).unwrap();
    let (ours, _theirs) = socket_pair();
    let token = poller.io(Waiter::new(1)).open(ours, READ).unwrap();
    poller.poll(Timeout::Now, |_| ()).unwrap();
    assert_eq!(LOOKS.load(Ordering::Relaxed), 0);
    poller.io(Waiter::new(1)).set_deadline(token, Direction::Read, Some(netpoll::Instant::FAR_FUTURE)).unwrap();
    poller.poll(Timeout::Now, |_| ()).unwrap();
    assert_eq!(LOOKS.load(Ordering::Relaxed), 1);
}

/// G13: nobody is run for an event that nobody waits for; the wait goes on behind it.
#[test]
fn events_without_waiters_do_not_end_the_wait() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    let (other_end, other_writer) = pipe();
    let other = poller.open(other_end, READ);
    poller.wait_read(2, other);
    write(&write_end, b"x");
    let late = thread::spawn(move || {
        thread::sleep(5 * MS);
        write(&other_writer, b"y");
        other_writer
    });
    assert_eq!(poller.turn(Timeout::Never), [2]);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
    late.join().unwrap();
}

/// Case 90: the end of a child is an event like any other.
#[cfg(target_os = "linux")]
#[test]
fn pidfd_exit_event() {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::process::Command;
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let mut child = Command::new("sleep").arg("0.01").spawn().unwrap();
    match pidfd_open(Pid::from_child(&child), PidfdFlags::NONBLOCK) {
        Ok(pidfd) => {
            let token = poller.open(pidfd, READ);
            poller.wait(1, token, Direction::Read);
            assert_eq!(poller.turn(Timeout::After(PATIENCE)), [1]);
            assert!(child.try_wait().unwrap().is_some());
        }
        Err(errno) => util::skip("pidfd_exit_event", errno),
    }
    assert!(child.wait().unwrap().success());
}
