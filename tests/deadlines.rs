//! Conformance: deadlines. Most of it on a clock that the test moves by hand.

mod util;

use netpoll::{Clock, Direction, Error, Instant, Interest, PollerStorage, Timeout, Token, Waiter};
use std::cell::Cell;
use std::io::Write as _;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use util::{BOTH, PATIENCE, READ, TestPoller, WRITE, drain, fill, pipe, socket_pair, tcp_pair, write};

const READING: Direction = Direction::Read;
const WRITING: Direction = Direction::Write;
const LATE: Poll<Result<Vec<u8>, Error>> = Poll::Ready(Err(Error::TimedOut));

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1_000) };
}

/// A clock for each test thread, which starts at 1000.
fn by_hand() -> Instant {
    Instant::from_nanos(NOW.get())
}

const BY_HAND: Clock = Clock::Custom(by_hand);

fn at(nanos: u64) -> Option<Instant> {
    Some(Instant::from_nanos(nanos))
}

/// Moves the clock, and polls.
fn turn_at(poller: &mut TestPoller<'_>, nanos: u64) -> Vec<u32> {
    NOW.set(nanos);
    let mut run = poller.turn(Timeout::Now);
    run.sort_unstable();
    run
}

fn set(poller: &mut TestPoller<'_>, token: Token, direction: Direction, nanos: Option<u64>) {
    poller.io(Waiter::new(0)).set_deadline(token, direction, nanos.map(Instant::from_nanos)).unwrap();
}

fn after(poller: &mut TestPoller<'_>, token: Token, direction: Direction, timeout: Duration) {
    poller.io(Waiter::new(0)).set_timeout(token, direction, Some(timeout)).unwrap();
}

/// Case 57.
#[test]
fn read_deadline_fires_no_data() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    for timeout in [1, 5, 20].map(Duration::from_millis) {
        poller.wait_read(1, token);
        after(&mut poller, token, READING, timeout);
        let begin = std::time::Instant::now();
        assert_eq!(poller.turn(Timeout::Never), [1]);
        let elapsed = begin.elapsed();
        assert!(elapsed >= timeout.saturating_sub(Duration::from_millis(1)) && elapsed < PATIENCE, "{elapsed:?}");
        for _ in 0..3 {
            assert_eq!(poller.read(1, token), LATE);
        }
        poller.expect_nobody();
        poller.io(Waiter::new(0)).set_timeout(token, READING, None).unwrap();
    }
    assert_eq!(poller.read(1, token), Poll::Pending);
    write(&theirs, b"x");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
}

/// Case 57, G31: not a nanosecond early, also when the wait ends before the deadline.
#[test]
fn never_early() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    set(&mut poller, token, READING, Some(2_000));
    assert_eq!(turn_at(&mut poller, 1_999), []);
    assert_eq!(poller.read(1, token), Poll::Pending);
    assert_eq!(turn_at(&mut poller, 2_000), [1]);
    assert_eq!(poller.read(1, token), LATE);
}

/// Case 58, G32: it beats data, which is still there afterwards.
#[test]
fn past_deadline_beats_ready_data() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    write(&theirs, b"x");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    for past in [0, 1, 999, 1_000] {
        set(&mut poller, token, READING, Some(past));
        assert_eq!(poller.read(1, token), LATE);
        assert_eq!(poller.io(Waiter::new(1)).poll_ready(token, READING), Poll::Ready(Err(Error::TimedOut)));
        // Nobody waits: nobody is run.
        poller.expect_nobody();
        set(&mut poller, token, READING, None);
        assert!(poller.is_ready(token, READING));
    }
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
}

/// Case 58, G32: who waits already when a deadline is set into the past is run by the next poll, which does not block.
#[test]
fn g32_past_deadline_runs_the_waiter_at_once() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    for past in [0, 1, 1_000] {
        poller.wait_read(1, token);
        poller.wait_write(2, token);
        poller.turn(Timeout::Now);
        set(&mut poller, token, READING, Some(past));
        assert_eq!(poller.turn(Timeout::Never), [1]);
        set(&mut poller, token, WRITING, Some(past));
        assert_eq!(poller.turn(Timeout::Never), [2]);
        assert_eq!((poller.read(1, token), poller.write(2, token, b"x")), (LATE, Poll::Ready(Err(Error::TimedOut))));
        poller.expect_nobody();
        set(&mut poller, token, READING, None);
        set(&mut poller, token, WRITING, None);
    }
}

/// Case 59, G34.
#[test]
fn clear_deadline_must_not_return() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    // Passed, seen, cleared.
    poller.wait_read(1, token);
    set(&mut poller, token, READING, Some(1_010));
    assert_eq!(turn_at(&mut poller, 1_010), [1]);
    assert_eq!(poller.read(1, token), LATE);
    set(&mut poller, token, READING, None);
    assert_eq!(poller.read(1, token), Poll::Pending);
    assert_eq!(turn_at(&mut poller, 5_000), []);
    // Cleared before it passes.
    set(&mut poller, token, READING, Some(5_010));
    set(&mut poller, token, READING, None);
    assert_eq!(turn_at(&mut poller, 6_000), []);
    assert_eq!(poller.next_deadline(), None);
}

/// Case 59, G33, G34: cleared, or pushed out, in the pass in which it passes.
#[test]
fn deadline_cleared_in_the_pass_in_which_it_passes() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    for later in [None, Some(9_000)] {
        poller.turn(Timeout::Now);
        set(&mut poller, token, READING, Some(NOW.get() + 10));
        NOW.set(NOW.get() + 10);
        set(&mut poller, token, READING, later);
        poller.expect_nobody();
        assert_eq!(poller.read(1, token), Poll::Pending);
    }
    assert_eq!(turn_at(&mut poller, 9_000), [1]);
}

/// Case 60, G35.
#[test]
fn write_deadline_does_not_touch_reader() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    let room = poller.wait_write(2, token);
    poller.turn(Timeout::Now);

    set(&mut poller, token, WRITING, Some(1_010));
    assert_eq!(turn_at(&mut poller, 1_010), [2]);
    assert_eq!(poller.write(2, token, b"x"), Poll::Ready(Err(Error::TimedOut)));
    assert_eq!(poller.read(1, token), Poll::Pending);
    write(&theirs, b"x");
    assert_eq!(poller.turn(Timeout::Now), [1]);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));

    set(&mut poller, token, WRITING, None);
    assert_eq!(poller.write(2, token, b"x"), Poll::Pending);
    poller.wait_read(1, token);
    set(&mut poller, token, READING, Some(1_020));
    assert_eq!(turn_at(&mut poller, 1_020), [1]);
    assert_eq!(drain(&theirs), room);
    assert_eq!(poller.turn(Timeout::Never), [2]);
    assert_eq!((poller.read(1, token), poller.write(2, token, b"x")), (LATE, Poll::Ready(Ok(1))));
}

/// Case 61, G35.
#[test]
fn equal_rw_deadline_one_timer_both_fire() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    poller.wait_write(2, token);
    poller.turn(Timeout::Now);
    set(&mut poller, token, READING, Some(1_010));
    set(&mut poller, token, WRITING, Some(1_010));
    assert_eq!(turn_at(&mut poller, 1_010), [1, 2]);
    assert_eq!(poller.stats().deadlines, 1);
    assert_eq!(poller.next_deadline(), None);
    // Apart: two looks at one entry.
    set(&mut poller, token, READING, Some(1_020));
    set(&mut poller, token, WRITING, Some(1_030));
    assert_eq!((poller.read(1, token), poller.write(2, token, b"x")), (Poll::Pending, Poll::Pending));
    assert_eq!(turn_at(&mut poller, 1_020), [1]);
    assert_eq!(turn_at(&mut poller, 1_030), [2]);
    assert_eq!(poller.stats().deadlines, 3);
}

/// Case 62: a number is stored, and looked at again when the entry comes up.
#[test]
fn re_arm_earlier_and_later() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    // Later: it comes up once at the old time, and is not forgotten.
    set(&mut poller, token, READING, Some(1_010));
    for later in 1_011..1_100 {
        set(&mut poller, token, READING, Some(later));
    }
    assert_eq!(turn_at(&mut poller, 1_010), []);
    assert_eq!(poller.next_deadline(), at(1_099));
    assert_eq!(turn_at(&mut poller, 1_098), []);
    assert_eq!(turn_at(&mut poller, 1_099), [1]);
    assert_eq!(poller.stats().deadlines, 2);
    // Earlier, before and after the entry was looked at.
    for look in [false, true] {
        let now = NOW.get();
        set(&mut poller, token, READING, Some(now + 10));
        assert_eq!(poller.read(1, token), Poll::Pending);
        set(&mut poller, token, READING, Some(now + 100));
        if look {
            assert_eq!(turn_at(&mut poller, now + 10), []);
        }
        set(&mut poller, token, READING, Some(now + 20));
        assert_eq!(turn_at(&mut poller, now + 19), []);
        assert_eq!(turn_at(&mut poller, now + 20), [1]);
    }
    // From passed to ahead: no longer passed.
    let now = NOW.get();
    set(&mut poller, token, READING, Some(now + 1));
    assert_eq!(poller.read(1, token), Poll::Pending);
    assert_eq!(turn_at(&mut poller, now + 1), [1]);
    assert_eq!(poller.stats().deadlines, 7);
}

/// Case 62: as Go's `TestReadWriteProlongedTimeout`, in real time: an idle timeout that each arrival pushes out.
#[test]
fn prolonged_timeout_ends_when_arrivals_end() {
    const IDLE: Duration = Duration::from_millis(100);
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    let sender = thread::spawn(move || {
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(2));
            write(&theirs, b"x");
        }
        theirs
    });
    let (mut bytes, mut last) = (0, std::time::Instant::now());
    after(&mut poller, token, READING, IDLE);
    loop {
        match poller.read(1, token) {
            Poll::Ready(Ok(some)) => {
                bytes += some.len();
                last = std::time::Instant::now();
                after(&mut poller, token, READING, IDLE);
            }
            Poll::Ready(Err(error)) => break assert_eq!(error, Error::TimedOut),
            Poll::Pending => assert_eq!(poller.turn(Timeout::Never), [1]),
        }
    }
    assert!(last.elapsed() >= IDLE);
    // Where the sender is held up for as long as that, the last ones come too late.
    assert!(bytes >= 1);
    drop(sender.join().unwrap());
}

/// Case 63.
#[test]
fn deadline_set_in_handler() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    set(&mut poller, token, READING, Some(1_010));
    for now in (1_010..1_100).step_by(10) {
        assert_eq!(turn_at(&mut poller, now), [1]);
        // Into the past: run once per pass, not for ever in one.
        set(&mut poller, token, READING, None);
        assert_eq!(poller.read(1, token), Poll::Pending);
        set(&mut poller, token, READING, Some(now));
        assert_eq!(turn_at(&mut poller, now), [1]);
        // Ahead: in its time.
        set(&mut poller, token, READING, Some(now + 10));
        assert_eq!(poller.read(1, token), Poll::Pending);
        poller.expect_nobody();
    }
}

/// Case 64, G36.
#[test]
fn deadline_of_closed_slot_never_fires() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let old = poller.open(ours, READ);
    poller.wait_read(1, old);
    set(&mut poller, old, READING, Some(1_010));
    let ours = poller.io(Waiter::new(1)).close(old).unwrap();
    assert_eq!(turn_at(&mut poller, 1_010), []);
    // The slot is taken again while the entry of its last use is still there.
    let old = poller.open(ours, READ);
    poller.wait_read(1, old);
    set(&mut poller, old, READING, Some(1_020));
    let ours = poller.io(Waiter::new(1)).close(old).unwrap();
    let new = poller.open(ours, READ);
    assert_eq!(new.index(), old.index());
    poller.wait_read(2, new);
    set(&mut poller, new, READING, Some(1_030));
    assert_eq!(poller.io(Waiter::new(1)).set_deadline(old, READING, at(1_001)), Err(Error::Closed));
    assert_eq!(turn_at(&mut poller, 1_020), []);
    assert_eq!(poller.read(2, new), Poll::Pending);
    assert_eq!(turn_at(&mut poller, 1_030), [2]);
}

/// Case 65.
#[test]
fn deadline_order_and_ties() {
    const MANY: usize = 50;
    let mut storage = PollerStorage::<MANY>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let mut others = Vec::new();
    for waiter in 0..MANY as u32 {
        let (ours, theirs) = socket_pair();
        let token = poller.open(ours, READ);
        poller.wait(waiter, token, READING);
        // Two of each.
        let nanos = 2_000 + (u64::from(waiter) * 7 % MANY as u64) / 2;
        set(&mut poller, token, READING, Some(nanos));
        others.push(theirs);
    }
    // One by one.
    for nanos in 2_000..2_010 {
        assert_eq!(turn_at(&mut poller, nanos).len(), 2);
    }
    // All at once, the earlier ones first.
    NOW.set(3_000);
    let order: Vec<u64> = poller.turn(Timeout::Now).into_iter().map(|waiter| (u64::from(waiter) * 7 % MANY as u64) / 2).collect();
    assert!(order.len() == MANY - 20 && order.is_sorted(), "{order:?}");
    assert_eq!(poller.next_deadline(), None);
}

/// Case 66: a flood that only a deadline can stop, as in Go's `TestVariousDeadlines`.
#[test]
fn various_deadlines_1ns_to_1s() {
    let mut storage = PollerStorage::<1>::new();
    for (runs, nanos) in [
        (3, 1),
        (3, 2),
        (3, 100),
        (3, 1_000),
        (3, 10_000),
        (3, 100_000),
        (3, 1_000_000),
        (3, 5_000_000),
        (2, 20_000_000),
        (1, 100_000_000),
        (1, 1_000_000_000),
    ] {
        for _ in 0..runs {
            let timeout = Duration::from_nanos(nanos);
            let mut poller = TestPoller::new(&mut storage);
            let (client, mut server) = tcp_pair();
            server.set_nonblocking(false).unwrap();
            let flood = thread::spawn(move || while server.write_all(&[0; 16384]).is_ok() {});
            let token = poller.open(client, READ);
            let begin = std::time::Instant::now();
            after(&mut poller, token, READING, timeout);
            let error = loop {
                match poller.read(1, token) {
                    Poll::Ready(Ok(bytes)) => {
                        assert!(!bytes.is_empty());
                        // As a reactor: deadlines are looked at in every pass, also in a flood.
                        poller.turn(Timeout::Now);
                    }
                    Poll::Ready(Err(error)) => break error,
                    Poll::Pending => assert_eq!(poller.turn(Timeout::After(PATIENCE)), [1]),
                }
            };
            let elapsed = begin.elapsed();
            assert_eq!(error, Error::TimedOut);
            assert!(elapsed >= timeout && elapsed < timeout + PATIENCE, "{elapsed:?} for {timeout:?}");
            drop(poller); // which closes the socket and ends the flood
            flood.join().unwrap();
        }
    }
}

/// Case 67, G37.
#[test]
fn overflow_saturates() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_nanos(u64::MAX)] {
        after(&mut poller, token, READING, timeout);
        assert_eq!(poller.read(1, token), Poll::Pending);
        assert_eq!(turn_at(&mut poller, NOW.get() + 1_000_000), []);
    }
    set(&mut poller, token, READING, Some(u64::MAX));
    assert_eq!(poller.next_deadline(), None);
    set(&mut poller, token, READING, Some(u64::MAX - 1));
    assert_eq!(poller.next_deadline(), at(u64::MAX - 1));
    write(&theirs, b"x");
    assert_eq!(poller.turn(Timeout::Never), [1]);
}

/// Case 68, G38: every descriptor of a full table has room for both of its deadlines, and an error changes nothing.
#[test]
fn timer_table_full_keeps_old() {
    const MANY: usize = 100;
    let mut storage = PollerStorage::<MANY>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let mut pairs = Vec::new();
    for waiter in 0..MANY as u32 {
        let (ours, theirs) = socket_pair();
        let token = poller.open(ours, BOTH);
        poller.wait_read(waiter, token);
        poller.wait_write(waiter, token);
        set(&mut poller, token, READING, Some(2_000 + u64::from(waiter)));
        set(&mut poller, token, WRITING, Some(4_000 - u64::from(waiter)));
        pairs.push((token, theirs));
    }
    let unknown = Token::from_u64(5 << 32).unwrap();
    assert_eq!(poller.io(Waiter::new(0)).set_deadline(unknown, READING, at(1_500)), Err(Error::Closed));
    assert_eq!(poller.io(Waiter::new(0)).set_deadline(unknown, READING, None), Err(Error::Closed));
    poller.turn(Timeout::Now);
    for (waiter, (token, _)) in pairs.iter().enumerate() {
        poller.wait(waiter as u32, *token, WRITING);
    }
    assert_eq!(turn_at(&mut poller, 1_999), []);
    assert_eq!(turn_at(&mut poller, 3_000).len(), MANY);
    assert_eq!(turn_at(&mut poller, 5_000).len(), MANY);
}

/// Case 69, G33.
#[test]
fn ready_and_deadline_same_pass_rule() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    set(&mut poller, token, READING, Some(1_010));
    write(&theirs, b"x");
    assert_eq!(turn_at(&mut poller, 1_010), [1]);
    assert_eq!(poller.read(1, token), LATE);
    poller.expect_nobody();
    set(&mut poller, token, READING, None);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
    // Data that comes while the deadline stays passed is remembered as well.
    assert_eq!(poller.read(1, token), Poll::Pending);
    set(&mut poller, token, READING, Some(0));
    assert_eq!(poller.turn(Timeout::Now), [1]);
    assert_eq!(poller.read(1, token), LATE);
    write(&theirs, b"y");
    poller.expect_nobody();
    set(&mut poller, token, READING, None);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'y'))));
}

/// The priority gate obeys the read deadline.
#[test]
fn priority_obeys_the_read_deadline() {
    if !util::has_priority("priority_obeys_the_read_deadline") {
        return;
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ | Interest::PRIORITY);
    poller.wait_read(1, token);
    assert_eq!(poller.io(Waiter::new(3)).poll_ready(token, Direction::Priority), Poll::Pending);
    set(&mut poller, token, WRITING, Some(1_005));
    set(&mut poller, token, READING, Some(1_010));
    assert_eq!(turn_at(&mut poller, 1_005), []);
    assert_eq!(turn_at(&mut poller, 1_010), [1, 3]);
    assert_eq!(poller.io(Waiter::new(3)).poll_ready(token, Direction::Priority), Poll::Ready(Err(Error::TimedOut)));
}

/// A withdrawn wait is not run by its deadline, which passes all the same.
#[test]
fn unwait_then_deadline_runs_nobody() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    set(&mut poller, token, READING, Some(1_010));
    poller.io(Waiter::new(1)).unwait(token, READING).unwrap();
    assert_eq!(turn_at(&mut poller, 1_010), []);
    assert_eq!(poller.read(1, token), LATE);
}

/// A10: `now` is the time of the pass; durations read the clock when they are set.
#[test]
fn a10_now_is_the_time_of_the_pass() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.turn(Timeout::Now);
    assert_eq!(poller.io(Waiter::new(0)).now(), Instant::from_nanos(1_000));
    // A long pass.
    NOW.set(3_000);
    assert_eq!(poller.io(Waiter::new(0)).now(), Instant::from_nanos(1_000));
    poller.wait_read(1, token);
    after(&mut poller, token, READING, Duration::from_nanos(500));
    assert_eq!(poller.next_deadline(), at(3_500));
    let early = poller.io(Waiter::new(0)).now() + Duration::from_nanos(500);
    poller.io(Waiter::new(0)).set_deadline(token, READING, Some(early)).unwrap();
    // Ahead when it was set, passed at the next look: run by the next poll.
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.read(1, token), LATE);
    assert_eq!(poller.io(Waiter::new(0)).now(), Instant::from_nanos(3_000));
    drop(theirs);
}

/// G60: the clock that goes on in suspend; that it does cannot be shown here.
#[test]
fn g60_boottime() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, Clock::Boottime);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    let before = Clock::Boottime.now();
    after(&mut poller, token, READING, Duration::from_millis(3));
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert!(Clock::Boottime.now() >= before + Duration::from_millis(3));
    let monotonic = Clock::Monotonic.now();
    assert!(Clock::Boottime.now() >= monotonic);
    assert_eq!(poller.read(1, token), LATE);
}

/// Case 91, G60: to be woken from suspend is a timerfd's affair, which is a descriptor like any other.
#[cfg(target_os = "linux")]
#[test]
fn timerfd_boottime_source() {
    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC).unwrap();
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: Timespec { tv_sec: 0, tv_nsec: 3_000_000 } };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once).unwrap();
    let token = poller.open(timer, READ);
    for _ in 0..2 {
        if let Poll::Ready(expirations) = poller.read(1, token) {
            return assert_eq!(expirations, Ok(1u64.to_ne_bytes().to_vec()));
        }
        assert_eq!(poller.turn(Timeout::After(PATIENCE)), [1]);
    }
    panic!("it never expired");
}

/// Cases 62, 64, 65 at random, against what the documentation says.
#[test]
fn deadlines_agree_with_a_model() {
    const MANY: usize = 16;
    #[derive(Clone, Copy, Default)]
    struct Model {
        deadline: [Option<u64>; 2],
        passed: [bool; 2],
        waits: [bool; 2],
    }
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |limit: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % limit
    };
    let mut storage = PollerStorage::<MANY>::new();
    let mut poller = TestPoller::with_clock(&mut storage, BY_HAND);
    let mut peers = Vec::new();
    let mut slots = Vec::new();
    for _ in 0..MANY {
        let (ours, theirs) = socket_pair();
        fill(&ours);
        slots.push((poller.open(ours, BOTH), Model::default()));
        peers.push(theirs);
    }
    for _ in 0..20_000 {
        let slot = below(MANY as u64) as usize;
        let side = below(2) as usize;
        let direction = [READING, WRITING][side];
        let waiter = (slot * 2 + side) as u32;
        let (token, model) = &mut slots[slot];
        match below(8) {
            // Wait. The gates are idle for ever: nobody reads or writes at the other ends.
            0..=2 => {
                let mut io = poller.io(Waiter::new(waiter));
                io.clear_ready(*token, direction).unwrap();
                let answer = io.poll_ready(*token, direction);
                assert_eq!(answer, if model.passed[side] { Poll::Ready(Err(Error::TimedOut)) } else { Poll::Pending });
                model.waits[side] |= !model.passed[side];
            }
            3 | 4 => {
                let nanos = NOW.get() + below(200);
                set(&mut poller, *token, direction, Some(nanos));
                model.passed[side] = nanos <= NOW.get();
                model.deadline[side] = (!model.passed[side]).then_some(nanos);
            }
            5 => {
                set(&mut poller, *token, direction, None);
                (model.deadline[side], model.passed[side]) = (None, false);
            }
            6 if below(4) == 0 => {
                let ours = poller.io(Waiter::new(waiter)).close(*token).unwrap();
                // The other direction's waiter comes out; nothing else of this use ever does.
                let mut run = poller.turn(Timeout::Now);
                run.retain(|&other| other / 2 == slot as u32);
                assert!(!run.contains(&waiter));
                poller_pass(&mut slots, slot);
                slots[slot] = (poller.open(ours, BOTH), Model::default());
            }
            _ => {
                NOW.set(NOW.get() + below(60));
                let run = turn_at(&mut poller, NOW.get());
                let mut expected = Vec::new();
                for (slot, (_, model)) in slots.iter_mut().enumerate() {
                    for side in 0..2 {
                        if model.deadline[side].is_some_and(|nanos| nanos <= NOW.get()) {
                            (model.deadline[side], model.passed[side]) = (None, true);
                        }
                        if model.passed[side] && std::mem::take(&mut model.waits[side]) {
                            expected.push((slot * 2 + side) as u32);
                        }
                    }
                }
                assert_eq!(run, expected);
            }
        }
    }

    /// A pass in which time does not move runs those whose deadlines were set into the past.
    fn poller_pass(slots: &mut [(Token, Model)], closed: usize) {
        for (slot, (_, model)) in slots.iter_mut().enumerate() {
            for side in 0..2 {
                if slot != closed && model.passed[side] {
                    model.waits[side] = false;
                }
            }
        }
    }
}

/// A full pipe's writer and its deadline.
#[test]
fn write_deadline_fires_without_room() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(write_end, WRITE);
    poller.wait_write(1, token);
    after(&mut poller, token, WRITING, Duration::from_millis(2));
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Err(Error::TimedOut)));
    drain(&read_end);
    // Room, and still late.
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Err(Error::TimedOut)));
    poller.expect_nobody();
    poller.io(Waiter::new(0)).set_timeout(token, WRITING, None).unwrap();
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Ok(1)));
}
