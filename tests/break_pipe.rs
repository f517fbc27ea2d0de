//! Conformance: waking a poller from elsewhere.
//!
//! A wake that is lost shows as a poll that comes back after [`PATIENCE`] without `woken`.

mod util;

use netpoll::{Breaker, Direction, Error, Poller, PollerStorage, Timeout, Waiter};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use util::{PATIENCE, READ, TestPoller, alone, pipe, socket_pair, write};

/// One poll: whether it was woken, and how many waiters it handed out.
fn polled(poller: &mut Poller<'_>, timeout: Timeout) -> (bool, u32) {
    let polled = poller.poll(timeout, |_| {}).unwrap();
    (polled.woken, polled.waiters)
}

/// Polls until woken.
#[track_caller]
fn expect_wake(poller: &mut Poller<'_>) {
    assert_eq!(polled(poller, Timeout::After(PATIENCE)), (true, 0), "a wake was lost");
}

/// Case 70, G39.
#[test]
fn wake_before_wait_returns_once() {
    let mut storage = PollerStorage::<0>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    for _ in 0..3 {
        assert_eq!(poller.breaker().wake(), Ok(()));
        assert_eq!(polled(&mut poller, Timeout::Never), (true, 0));
        assert_eq!(polled(&mut poller, Timeout::Now), (false, 0));
    }
    // Any number of them is one.
    for _ in 0..10 {
        assert_eq!(poller.breaker().wake(), Ok(()));
    }
    assert_eq!(polled(&mut poller, Timeout::Now), (true, 0));
    assert_eq!(polled(&mut poller, Timeout::Now), (false, 0));
    assert_eq!(poller.stats().wakes, 4);
}

/// Case 71.
#[test]
fn wake_from_thread() {
    let mut storage = PollerStorage::<0>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let breaker = poller.breaker();
    for delay in [0, 0, 0, 1, 2, 5] {
        thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(delay));
                breaker.wake().unwrap();
            });
            expect_wake(&mut poller);
        });
    }
    // Several at the same time are one wake, or a few.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || breaker.wake().unwrap());
        }
        expect_wake(&mut poller);
    });
    let more = u64::from(polled(&mut poller, Timeout::Now).0);
    assert!(poller.stats().wakes >= 7 + more && poller.stats().wakes <= 14);
}

/// Write calls that this process has made.
#[cfg(target_os = "linux")]
fn writes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("syscw: "))?.parse().ok()
}

/// Case 72, G40: nobody polls; nothing fills up, and only the first makes a system call.
#[test]
fn million_wakes_no_block() {
    alone(|| {
        let mut storage = PollerStorage::<0>::new();
        let mut poller = Poller::new(&mut storage).unwrap();
        let breaker = poller.breaker();
        #[cfg(target_os = "linux")]
        let before = writes();
        for _ in 0..1_000_000 {
            assert_eq!(black_box(breaker).wake(), Ok(()));
        }
        #[cfg(target_os = "linux")]
        match before.zip(writes()) {
            Some((before, after)) => assert_eq!(after - before, 1),
            None => util::skip("million_wakes_no_block", "writes are not counted in /proc/self/io"),
        }
        assert_eq!(polled(&mut poller, Timeout::Never), (true, 0));
        assert_eq!(polled(&mut poller, Timeout::Now), (false, 0));
        assert_eq!(poller.stats().wakes, 1);
    });
}

/// Case 73: whoever is being run wakes; the wait after it does not begin.
#[test]
fn wake_in_handler_next_wait_immediate() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    write(&theirs, b"x");
    let breaker = poller.breaker();
    let first = poller.poll(Timeout::Never, |_| breaker.wake().unwrap()).unwrap();
    assert_eq!((first.waiters, first.woken), (1, false));
    assert_eq!(polled(&mut poller, Timeout::Never), (true, 0));
    assert_eq!(polled(&mut poller, Timeout::Now), (false, 0));
}

static HANDLERS: AtomicU32 = AtomicU32::new(0);

/// Case 74, G42: from a real signal handler, which interrupts everything else there is, the wait and the drain included.
#[test]
fn wake_from_signal_handler() {
    alone(|| {
        let storage: &'static mut PollerStorage<0> = Box::leak(Box::new(PollerStorage::new()));
        let mut poller = Poller::new(storage).unwrap();
        let breaker: Breaker<'static> = poller.breaker();
        let handler = move || {
            HANDLERS.fetch_add(1, Ordering::AcqRel);
            let _ = breaker.wake();
        };
        // SAFETY: the handler does nothing but atomics and a wake, which are async-signal-safe.
        unsafe { signal_hook::low_level::register(signal_hook::consts::SIGUSR1, handler) }.unwrap();
        // SAFETY: a plain call.
        let target = unsafe { libc::pthread_self() };
        let signal = move || {
            // SAFETY: the thread that polls is this process's last one to go.
            assert_eq!(unsafe { libc::pthread_kill(target, libc::SIGUSR1) }, 0);
        };
        // While nobody waits.
        signal();
        expect_wake(&mut poller);
        // One signal for each answer: none may be lost, wherever it interrupts.
        const SIGNALS: u32 = 10_000;
        static SEEN: AtomicU32 = AtomicU32::new(1);
        let sender = thread::spawn(move || {
            for sent in 1..=SIGNALS {
                for _ in 0..sent % 64 {
                    std::hint::spin_loop();
                }
                signal();
                while SEEN.load(Ordering::Acquire) <= sent {
                    thread::yield_now();
                }
            }
        });
        while SEEN.load(Ordering::Acquire) <= SIGNALS {
            assert!(poller.poll(Timeout::After(PATIENCE), |_| {}).unwrap().woken, "a wake was lost");
            SEEN.store(HANDLERS.load(Ordering::Acquire), Ordering::Release);
        }
        sender.join().unwrap();
        assert_eq!(HANDLERS.load(Ordering::Acquire), SIGNALS + 1);
        drop(poller);
        // The handler outlives the poller: its wakes answer `Closed`.
        signal();
        assert_eq!(breaker.wake(), Err(Error::Closed));
    });
}

/// G42: a wake that fails or does nothing leaves `errno` as it was, which a handler must not change.
#[cfg(target_os = "linux")]
#[test]
fn g42_wake_keeps_errno() {
    let mut storage = PollerStorage::<0>::new();
    let poller = Poller::new(&mut storage).unwrap();
    // SAFETY: the address of this thread's own errno.
    let errno = || unsafe { *libc::__errno_location() };
    // SAFETY: as above; close of a number that nobody has.
    unsafe { libc::close(-1) };
    let before = errno();
    assert_ne!(before, 0);
    for _ in 0..3 {
        poller.breaker().wake().unwrap();
        assert_eq!(errno(), before);
    }
    let breaker = poller.breaker();
    drop(poller);
    assert_eq!(breaker.wake(), Err(Error::Closed));
    // SAFETY: as above.
    assert_eq!(unsafe { *libc::__errno_location() }, before);
}

/// Case 75.
#[test]
fn wake_not_reported_as_event() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(7, token);
    poller.breaker().wake().unwrap();
    assert_eq!(polled(&mut poller, Timeout::Never), (true, 0));
    assert_eq!((poller.stats().events, poller.stats().stale_events, poller.stats().wakes), (0, 0, 1));
    // Together with one.
    poller.breaker().wake().unwrap();
    write(&theirs, b"x");
    assert_eq!(polled(&mut poller, Timeout::Never), (true, 1));
    assert_eq!((poller.stats().events, poller.stats().wakes), (1, 2));
    assert_eq!(poller.read_byte(7, token), Poll::Ready(Ok(Some(b'x'))));
}

/// Waits for a number that another thread counts up, without keeping its processor from it.
fn spin_until(is_so: impl Fn() -> bool) {
    let mut spins = 0_u32;
    while !is_so() {
        spins += 1;
        if spins.is_multiple_of(64) { thread::yield_now() } else { std::hint::spin_loop() }
    }
}

/// Case 76, A1, G41: the last wake of a burst, the only one that announces something, comes while an earlier one is being drained; then
/// nobody wakes until it has been seen. Only an optimised build is quick enough to find a store in the place of the swap.
#[test]
fn wake_not_lost_between_drain_and_flag() {
    const BURSTS: u32 = 200_000;
    let mut storage = PollerStorage::<0>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let breaker = poller.breaker();
    let (published, seen, done) = (Line(AtomicU32::new(0)), Line(AtomicU32::new(0)), Line(AtomicBool::new(false)));
    thread::scope(|scope| {
        let (published, seen, done) = (&published.0, &seen.0, &done.0);
        let waker = scope.spawn(move || {
            let begin = std::time::Instant::now();
            let mut last = 0;
            while last < BURSTS && begin.elapsed() < Duration::from_secs(2) {
                for _ in 0..last % 256 {
                    breaker.wake().unwrap();
                }
                last += 1;
                // What is published is seen by relaxed loads only if the wake orders them.
                published.store(last, Ordering::Relaxed);
                breaker.wake().unwrap();
                let begin = std::time::Instant::now();
                spin_until(|| seen.load(Ordering::Acquire) == last || begin.elapsed() > Duration::from_secs(5));
                if seen.load(Ordering::Acquire) != last {
                    break;
                }
            }
            done.store(true, Ordering::Release);
            last
        });
        // Without blocking, so that the drain comes soon after the first of a burst.
        while !done.load(Ordering::Acquire) {
            black_box(published.load(Ordering::Relaxed));
            if poller.poll(Timeout::Now, |_| {}).unwrap().woken {
                seen.store(published.load(Ordering::Relaxed), Ordering::Release);
            }
        }
        assert_eq!(waker.join().unwrap(), seen.load(Ordering::Acquire), "a wake was lost");
    });
}

/// Alone in its cache line.
#[repr(align(128))]
struct Line<T>(T);

/// A1, G41: one producer, a queue of its own, a wake for each message: all come, in order.
#[test]
fn a1_million_messages_spsc() {
    const MESSAGES: u32 = 1_000_000;
    let mut queue = heapless::spsc::Queue::<u32, 64>::new();
    let (mut producer, mut consumer) = queue.split();
    let mut storage = PollerStorage::<0>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let breaker = poller.breaker();
    thread::scope(|scope| {
        scope.spawn(move || {
            for message in 0..MESSAGES {
                spin_until(|| producer.ready());
                producer.enqueue(message).unwrap();
                breaker.wake().unwrap();
            }
        });
        let mut next = 0;
        while next < MESSAGES {
            expect_wake(&mut poller);
            while let Some(message) = consumer.dequeue() {
                assert_eq!(message, next);
                next += 1;
            }
        }
    });
    // At most the last wake is still there.
    polled(&mut poller, Timeout::Now);
    assert_eq!(polled(&mut poller, Timeout::Now), (false, 0));
}

/// A1, G41: as above, from several threads.
#[test]
fn a1_messages_from_four_threads() {
    const THREADS: u64 = 4;
    const MESSAGES: u64 = 50_000;
    let (sender, receiver) = std::sync::mpsc::sync_channel::<u64>(64);
    let mut storage = PollerStorage::<0>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let breaker = poller.breaker();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let sender = sender.clone();
            scope.spawn(move || {
                for message in 1..=MESSAGES {
                    sender.send(message).unwrap();
                    breaker.wake().unwrap();
                }
            });
        }
        let (mut received, mut sum) = (0, 0);
        while received < THREADS * MESSAGES {
            expect_wake(&mut poller);
            for message in receiver.try_iter() {
                received += 1;
                sum += message;
            }
        }
        assert_eq!(sum, THREADS * MESSAGES * (MESSAGES + 1) / 2);
    });
}

/// G43: the poller owns both ends, so that nobody can hang up: closing others does nothing to it.
#[test]
fn g43_break_pipe_never_hangs_up() {
    let mut storage = PollerStorage::<4>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    drop(write_end);
    for _ in 0..10 {
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Timeout::Never, |_| {}).unwrap().woken);
    }
    assert!(poller.close(token).is_ok());
    assert_eq!(polled(&mut poller, Timeout::Now), (false, 0));
}

/// A breaker of a poller that is gone writes nowhere, and says so, from any thread.
#[test]
fn wake_after_the_poller_is_gone_is_closed() {
    alone(|| {
        let mut storage = PollerStorage::<1>::new();
        let poller = TestPoller::new(&mut storage);
        let breaker = poller.breaker();
        assert_eq!(breaker.wake(), Ok(()));
        drop(poller);
        // Whoever takes the numbers that became free hears nothing.
        let pipes: Vec<_> = (0..8).map(|_| pipe()).collect();
        for _ in 0..3 {
            assert_eq!(breaker.wake(), Err(Error::Closed));
        }
        thread::scope(|scope| {
            scope.spawn(move || assert_eq!(breaker.wake(), Err(Error::Closed)));
        });
        for (read_end, _write_end) in &pipes {
            assert_eq!(util::drain(read_end), 0);
        }
        // The storage is as good as new.
        let mut poller = TestPoller::new(&mut storage);
        assert_eq!(polled(&mut poller, Timeout::Now), (false, 0));
        poller.breaker().wake().unwrap();
        assert_eq!(polled(&mut poller, Timeout::Never), (true, 0));
    });
}

/// While a poller goes, wakes come from a thread: each answer is one or the other, and none goes astray.
#[test]
fn wake_while_the_poller_goes() {
    for _ in 0..200 {
        let mut storage = PollerStorage::<0>::new();
        let poller = Poller::new(&mut storage).unwrap();
        let breaker = poller.breaker();
        thread::scope(|scope| {
            scope.spawn(move || {
                loop {
                    match breaker.wake() {
                        Ok(()) => {}
                        Err(error) => break assert_eq!(error, Error::Closed),
                    }
                }
            });
            drop(poller);
        });
    }
}

/// A breaker that owns its share outlives the storage, and is not taken for one of the next poller's.
#[cfg(feature = "alloc")]
#[test]
fn shared_breaker_outlives_the_storage() {
    let mut storage = netpoll::BoxedPollerStorage::with_capacity(1);
    let mut poller = TestPoller::new(&mut storage);
    let shared = poller.shared_breaker().unwrap();
    let thread = thread::spawn({
        let shared = shared.clone();
        move || shared.wake()
    });
    expect_wake(&mut poller);
    assert_eq!(thread.join().unwrap(), Ok(()));
    std::mem::forget(poller);

    let mut poller = TestPoller::new(&mut storage);
    assert_eq!(shared.wake(), Err(Error::Closed));
    assert_eq!(polled(&mut poller, Timeout::Now), (false, 0));
    let second = poller.shared_breaker().unwrap();
    drop(poller);
    drop(storage);
    assert_eq!((shared.wake(), second.wake()), (Err(Error::Closed), Err(Error::Closed)));
}

/// While threads wake, the poller goes, then its storage; then the threads, and with the last of them the pipe.
#[cfg(feature = "alloc")]
#[test]
fn shared_breakers_go_last() {
    alone(|| {
        let before = util::open_fds();
        let begin = std::time::Instant::now();
        for round in 0..500 {
            if begin.elapsed() > Duration::from_secs(2) {
                break;
            }
            let mut storage = netpoll::BoxedPollerStorage::with_capacity(0);
            let mut poller = Poller::new(&mut storage).unwrap();
            let wakers = [0; 6].map(|_| {
                let shared = poller.shared_breaker().unwrap();
                thread::spawn(move || {
                    while shared.wake() == Ok(()) {}
                    assert_eq!(shared.wake(), Err(Error::Closed));
                })
            });
            for _ in 0..round % 4 {
                expect_wake(&mut poller);
            }
            drop(poller);
            drop(storage);
            wakers.into_iter().for_each(|waker| waker.join().unwrap());
        }
        assert_eq!(util::open_fds(), before);
    });
}

/// A wake ends no wait and touches no deadline: whoever waits waits on.
#[test]
fn wake_leaves_waits_and_deadlines_alone() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    poller.io(Waiter::new(1)).set_timeout(token, Direction::Read, Some(Duration::from_millis(500))).unwrap();
    let before = poller.next_deadline();
    poller.breaker().wake().unwrap();
    assert_eq!(polled(&mut poller, Timeout::Never), (true, 0));
    assert_eq!(poller.next_deadline(), before);
    assert_eq!(poller.turn(Timeout::Never), [1]);
}

// An event port that is at its limit does not take the break pipe again: the wake that was taken counts, and the next poll says why.
#[test]
fn wake_lost_when_the_port_is_full() {
    if !util::EVENT_PORT || cfg!(not(netpoll_model)) {
        return util::skip("wake_lost_when_the_port_is_full", "only the model of event ports can be made full");
    }
    alone(|| {
        // SAFETY: this process has no other thread that looks at the environment.
        unsafe { std::env::set_var("NETPOLL_PORT", "full") };
        let mut storage = PollerStorage::<0>::new();
        let mut poller = TestPoller::new(&mut storage);
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Timeout::Never, |_| {}).unwrap().woken);
        // Another one now would not be seen by a foreign loop.
        assert!(poller.next_deadline().is_some());
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Timeout::Never, |_| {}).unwrap().woken);
        assert_eq!(poller.next_deadline(), None);
    });
}
