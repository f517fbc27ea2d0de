//! Numbers that 32 bits do not hold, on machines of any width: tokens through the kernel, moments after 2038 and more than 2^32 ns away,
//! long waits.

#[path = "util/mod.rs"]
mod util;

use netpoll::{Clock, Direction, Instant, PollerStorage, Timeout, Token, Waiter};
use std::task::Poll;
use std::time::Duration;
use util::{READ, TestPoller, pipe, write};

const SECOND: u64 = 1_000_000_000;
/// 2038-01-19, where seconds that are signed numbers of 32 bits end.
const END_OF_32_BITS: u64 = (1 << 31) * SECOND;

/// Both halves come back: the slot's index in one, the generation in the other.
#[test]
fn tokens_come_back_whole() {
    let mut storage = PollerStorage::<4>::new();
    let mut poller = TestPoller::new(&mut storage);
    let held: Vec<_> = (0..3).map(|_| pipe()).map(|(reader, writer)| (poller.open(reader, READ), writer)).collect();
    for generation in 1..50 {
        let (reader, writer) = pipe();
        let token = poller.open(reader, READ);
        assert_eq!((token.index(), token.generation()), (3, generation));
        assert_eq!(Token::from_u64(token.to_u64()), Some(token));
        poller.wait_read(generation, token);
        write(&writer, b"x");
        assert_eq!(poller.turn(Timeout::Never), [generation]);
        drop(poller.close(token));
    }
    assert_eq!(held.len(), 3);
}

fn in_2040() -> Instant {
    Instant::from_nanos(END_OF_32_BITS + 2 * 365 * 86_400 * SECOND)
}

/// The clock says a time after 2038; deadlines are before and after it.
#[test]
fn deadlines_after_2038() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::with_clock(&mut storage, Clock::Custom(in_2040));
    let (reader, _writer) = pipe();
    let token = poller.open(reader, READ);
    poller.wait_read(1, token);

    let later = in_2040() + Duration::from_secs(20 * 365 * 86_400);
    poller.io(Waiter::new(1)).set_deadline(token, Direction::Read, Some(later)).unwrap();
    assert_eq!(poller.next_deadline(), Some(later));
    assert_eq!(poller.turn(Timeout::After(Duration::from_millis(1))), []);

    // What would be ahead if only the lower 32 bits counted has passed.
    let passed = Instant::from_nanos(END_OF_32_BITS - 1);
    poller.io(Waiter::new(1)).set_deadline(token, Direction::Read, Some(passed)).unwrap();
    assert_eq!(poller.turn(Timeout::Now), [1]);
}

/// Waits of more than 2^32 ns (4.3 s), of more than 2^31 ms (24.8 days) and of more than 2^32 s are waits.
#[test]
fn long_waits_do_not_end_early() {
    for wait in [(1 << 32) + 1, (1 << 31) * 1_000_000 + 1, ((1 << 32) + 1) * SECOND] {
        let wait = Duration::from_nanos(wait);
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (reader, writer) = pipe();
        let token = poller.open(reader, READ);
        poller.wait_read(1, token);
        poller.io(Waiter::new(1)).set_timeout(token, Direction::Read, Some(wait)).unwrap();
        let ahead = poller.next_deadline().unwrap() - Clock::Monotonic.now();
        assert!(ahead <= wait && wait - ahead < util::PATIENCE, "{ahead:?} instead of {wait:?}");
        // Cut off to 32 bits, each would end at once; the byte comes after that.
        let began = std::time::Instant::now();
        let byte = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                write(&writer, b"x");
            });
            assert_eq!(poller.turn(Timeout::After(wait)), [1]);
            poller.read_byte(1, token)
        });
        assert_eq!(byte, Poll::Ready(Ok(Some(b'x'))));
        assert!(began.elapsed() >= Duration::from_millis(20));
    }
}

/// The clock's seconds and nanoseconds are put together in 64 bits.
#[test]
fn clocks_go_on() {
    let std_then = std::time::Instant::now();
    for clock in [Clock::Monotonic, Clock::Boottime] {
        let then = clock.now();
        assert!(then.as_nanos() > 0);
        std::thread::sleep(Duration::from_millis(2));
        let passed = clock.now() - then;
        assert!(passed >= Duration::from_millis(2) && passed <= std_then.elapsed(), "{passed:?}");
    }
}
