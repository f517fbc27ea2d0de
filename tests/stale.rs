//! Conformance: what is over stays over.
//!
//! The generation's wrap (case 44, G5) and the break pipe's number (case 45, G4) are tested where they can be forced, in `src/table.rs` and
//! `src/token.rs`.

mod util;

use netpoll::{Direction, Errno, Error, OwnedFd, PollerStorage, Timeout, Token, Waiter};
use rustix::io::FdFlags;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::task::Poll;
use std::time::Duration;
use util::{BOTH, READ, TestPoller, WRITE, alone, dup, fill, pipe, socket_pair, write};

const CLOSED: Poll<Result<Vec<u8>, Error>> = Poll::Ready(Err(Error::Closed));

/// Closes a descriptor behind the poller's back.
fn close_behind(poller: &mut TestPoller<'_>, token: Token) -> i32 {
    let number = poller.io(Waiter::new(0)).fd(token).unwrap().as_raw_fd();
    // SAFETY: this is the mistake that the test is about; the process has one thread, and the poller's owner is forgotten.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    number
}

/// Case 39, G1, G2, G45: of two in one batch the first closes itself.
#[test]
fn close_in_handler_drops_same_batch_event() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_write(2, token);
    poller.wait_read(1, token);
    drop(theirs);
    // Both directions are to be run; whoever comes first closes.
    let batch = poller.turn(Timeout::Never);
    assert_eq!(batch.len(), 2);
    assert!(poller.io(Waiter::new(batch[0])).close(token).is_ok());
    assert_eq!(poller.read(batch[1], token), CLOSED);
    poller.expect_nobody();
    assert_eq!(poller.stats().stale_events, 0);
}

/// Case 40, G45: the first closes the second.
#[test]
fn close_other_in_handler_drops() {
    if !util::is_orderly() {
        return util::skip("close_other_in_handler_drops", "events that belong together may come apart");
    }
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let pairs = [socket_pair(), socket_pair()];
    let mut tokens = Vec::new();
    for (ours, _) in &pairs {
        let token = poller.open(dup(ours), READ);
        poller.wait_read(tokens.len() as u32, token);
        tokens.push(token);
    }
    for (_, theirs) in &pairs {
        write(theirs, b"x");
    }
    let batch = poller.turn(Timeout::Never);
    assert_eq!(batch, [0, 1]);
    assert!(poller.io(Waiter::new(0)).close(tokens[1]).is_ok());
    assert_eq!(poller.read(1, tokens[1]), CLOSED);
    assert_eq!(poller.read_byte(0, tokens[0]), Poll::Ready(Ok(Some(b'x'))));
    poller.expect_nobody();
}

/// Case 40, G45: whoever still waits for what another closes is run, once, and sees it.
#[test]
fn waiter_of_a_closed_descriptor_is_run() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, _theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_write(2, token);
    poller.wait_read(1, token);
    assert!(poller.io(Waiter::new(9)).close(token).is_ok());
    assert!(poller.next_deadline().is_some());
    poller.expect_waiters(&[1, 2]);
    assert_eq!(poller.read(1, token), CLOSED);
    assert_eq!(poller.write(2, token, b"x"), Poll::Ready(Err(Error::Closed)));
    poller.expect_nobody();
}

/// Case 41, G2, G46: the first closes the second and opens another one, which gets its number and its slot.
#[test]
fn close_open_same_fd_number_same_batch() {
    if !util::is_orderly() {
        return util::skip("close_open_same_fd_number_same_batch", "events that belong together may come apart");
    }
    alone(|| {
        let mut storage = PollerStorage::<2>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (first, first_end) = pipe();
        let (second, second_end) = pipe();
        let (first, second) = (poller.open(first, READ), poller.open(second, READ));
        poller.wait_read(1, first);
        poller.wait_read(2, second);
        write(&first_end, b"x");
        write(&second_end, b"x");
        assert_eq!(poller.turn(Timeout::Never), [1, 2]);

        let number = poller.close(second).unwrap().as_raw_fd();
        let (third, third_end) = pipe();
        assert_eq!(third.as_raw_fd(), number);
        let third = poller.open(third, READ);
        assert_eq!(third.index(), second.index());
        poller.wait_read(3, third);

        assert_eq!(poller.read(2, second), CLOSED);
        assert_eq!(poller.close(second).unwrap_err(), Error::Closed);
        poller.expect_nobody();
        write(&third_end, b"y");
        assert_eq!(poller.turn(Timeout::Never), [3]);
        assert_eq!(poller.read_byte(3, third), Poll::Ready(Ok(Some(b'y'))));
    });
}

/// Case 42, G6: closing removes the registration before the number is free, so that a duplicate says nothing.
#[test]
fn dup_alive_after_close_no_event_no_spin() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let _alive = dup(&read_end);
    let token = poller.open(read_end, READ);
    poller.wait_read(1, token);
    drop(poller.io(Waiter::new(1)).close(token).unwrap());
    for _ in 0..10 {
        write(&write_end, b"x");
        poller.expect_nobody();
    }
    assert_eq!((poller.stats().events, poller.stats().lost_descriptors), (0, 0));
}

/// Case 42, G1, G6: closed behind the poller's back while a duplicate lives, the registration cannot be removed; its events are dropped and
/// counted, also after the slot has been taken again.
#[test]
fn dup_alive_after_foreign_close_is_stale() {
    alone(|| {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (ours, theirs) = socket_pair();
        let _alive = dup(&ours);
        let token = poller.open(ours, BOTH);
        poller.wait_read(1, token);
        poller.turn(Timeout::Now);
        close_behind(&mut poller, token);
        let _ = poller.io(Waiter::new(1)).close(token).unwrap().into_raw_fd();
        assert_eq!(poller.stats().lost_descriptors, 1);

        let (other, _other_end) = pipe();
        let other = poller.open(other, READ);
        assert_eq!(other.index(), token.index());
        poller.wait_read(2, other);
        let before = poller.stats();
        write(&theirs, b"x");
        poller.expect_nobody();
        // Also HUP and ERR.
        drop(theirs);
        poller.expect_nobody();
        let after = poller.stats();
        // Elsewhere the number's close ends all.
        assert_eq!(after.stale_events > before.stale_events, util::EPOLL);
        assert_eq!(after.stale_events - before.stale_events, after.events - before.events);
        assert!(!poller.is_ready(other, Direction::Read));
        // They are edges: no spin.
        poller.expect_nobody();
        assert_eq!(poller.stats().events, after.events);
    });
}

/// Case 43, G6, G7.
#[test]
fn user_closed_fd_first_then_close_ok() {
    alone(|| {
        let mut storage = PollerStorage::<2>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (read_end, _write_end) = pipe();
        let token = poller.open(read_end, READ);
        poller.wait_read(1, token);
        close_behind(&mut poller, token);
        let _ = poller.io(Waiter::new(1)).close(token).unwrap().into_raw_fd();
        assert_eq!((poller.descriptors(), poller.stats().lost_descriptors), (0, 1));
        poller.expect_nobody();
        assert_eq!(poller.close(token).unwrap_err(), Error::Closed);
    });
}

/// G8: as case 43, and somebody else has the number now: the poller's own second descriptor keeps its registration.
#[test]
fn g8_number_reused_behind_the_poller() {
    alone(|| {
        let mut storage = PollerStorage::<3>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (read_end, _write_end) = pipe();
        let old = poller.open(read_end, READ);
        poller.wait_read(1, old);
        let number = close_behind(&mut poller, old);
        let (ours, theirs) = socket_pair();
        assert_eq!(ours.as_raw_fd(), number);
        // Not registered yet: the old slot's close finds a stranger (ENOENT) and leaves it alone.
        let closed = poller.io(Waiter::new(1)).close(old).unwrap();
        assert_eq!((closed.into_raw_fd(), poller.stats().lost_descriptors), (number, 1));
        assert!(rustix::io::fcntl_getfd(&ours).is_ok_and(|flags| flags.contains(FdFlags::CLOEXEC)));
        let new = poller.open(ours, READ);
        assert_ne!(new, old);
        poller.wait_read(2, new);
        assert_eq!(poller.read(1, old), CLOSED);
        write(&theirs, b"x");
        assert_eq!(poller.turn(Timeout::Never), [2]);
        assert_eq!(poller.read_byte(2, new), Poll::Ready(Ok(Some(b'x'))));
    });
}

/// G8: the number is registered again while the old slot still holds it: two slots, of which the old one hears nothing.
#[test]
fn g8_number_registered_again_gets_a_slot_of_its_own() {
    alone(|| {
        let mut storage = PollerStorage::<3>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (read_end, _write_end) = pipe();
        let old = poller.open(read_end, READ);
        poller.wait_read(1, old);
        let number = close_behind(&mut poller, old);
        let (ours, theirs) = socket_pair();
        assert_eq!(ours.as_raw_fd(), number);
        if !util::EPOLL && cfg!(debug_assertions) {
            // A kernel that does not tell the two apart would let the second take the first one's place.
            let refused = poller.io(Waiter::new(2)).open(ours, READ).unwrap_err();
            assert_eq!(refused.error, Error::Os(Errno::EXIST));
            let _ = poller.io(Waiter::new(1)).close(old).unwrap().into_raw_fd();
            return drop(refused.value);
        }
        let new = poller.open(ours, READ);
        poller.wait_read(2, new);
        write(&theirs, b"x");
        assert_eq!(poller.turn(Timeout::Never), [2]);
        assert!(!poller.is_ready(old, Direction::Read));
        let _ = poller.io(Waiter::new(1)).close(new).unwrap().into_raw_fd();
        // The number's registration is gone; the old slot is closed without one.
        drop(poller.io(Waiter::new(1)).close(old).unwrap());
        assert_eq!(poller.stats().lost_descriptors, 1);
        assert_eq!(poller.descriptors(), 0);
    });
}

/// Case 46.
#[test]
fn no_events_after_close() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    // The event is there already, and nobody has polled for it.
    write(&theirs, b"x");
    let ours = poller.io(Waiter::new(1)).close(token).unwrap();
    poller.expect_nobody();
    write(&theirs, b"y");
    drop(theirs);
    poller.expect_nobody();
    assert_eq!((poller.stats().events, poller.stats().stale_events), (0, 0));
    // It is the opener's again, with all that came.
    assert_eq!(util::drain(&ours), 2);
}

/// Case 47, G3: both directions of one descriptor come in one batch; the first closes, the second finds a stale token, also when
/// the slot has been taken again.
#[test]
fn kqueue_second_filter_event_after_close() {
    if !util::is_orderly() {
        return util::skip("kqueue_second_filter_event_after_close", "events that belong together may come apart");
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    let room = poller.wait_write(2, token);
    poller.wait_read(1, token);
    assert_eq!(util::drain(&theirs), room);
    write(&theirs, b"x");
    let batch = poller.turn(Timeout::Never);
    assert_eq!(batch.len(), 2);
    drop(poller.io(Waiter::new(batch[0])).close(token).unwrap());
    let (_read_end, write_end) = pipe();
    fill(&write_end);
    let other = poller.open(write_end, WRITE);
    assert_eq!(other.index(), token.index());
    assert_eq!(poller.write(batch[1], token, b"x"), Poll::Ready(Err(Error::Closed)));
    assert_eq!(poller.write(3, other, b"x"), Poll::Pending);
    poller.expect_nobody();
}

/// A7: a wait is over, its slot is taken by another; the old edge, deadline and close run nobody.
#[test]
fn a7_old_wait_runs_nobody() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let old = poller.open(ours, BOTH);
    poller.wait_write(1, old);
    poller.wait_read(1, old);
    poller.io(Waiter::new(1)).set_timeout(old, Direction::Read, Some(Duration::from_millis(1))).unwrap();
    poller.io(Waiter::new(1)).set_timeout(old, Direction::Write, Some(Duration::from_millis(2))).unwrap();
    // Who waits closes: its own waits end silently.
    let ours = poller.io(Waiter::new(1)).close(old).unwrap();
    let (read_end, _write_end) = pipe();
    let new = poller.open(read_end, READ);
    assert_eq!((new.index(), new.generation()), (old.index(), old.generation() + 1));
    poller.wait_read(2, new);
    write(&theirs, b"x");
    util::drain(&theirs);
    assert_eq!(poller.turn(Timeout::After(Duration::from_millis(10))), []);
    assert_eq!(poller.read(2, new), Poll::Pending);
    drop((ours, theirs));
    poller.expect_nobody();
    assert_eq!(poller.stats().stale_events, 0);
}

/// A7, G45: while the waiters of a closed descriptor have not been handed out its slot is not given to anybody.
#[test]
fn a7_closing_slot_is_not_reused_before_its_waiters_are_out() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, _theirs) = socket_pair();
    let old = poller.open(ours, READ);
    poller.wait_read(1, old);
    let ours = poller.io(Waiter::new(9)).close(old).unwrap();
    let rejected = poller.io(Waiter::new(2)).open(ours, READ).unwrap_err();
    assert_eq!(rejected.error, Error::Full);
    assert_eq!(poller.turn(Timeout::Never), [1]);
    let new = poller.open(rejected.value, READ);
    assert_eq!((new.index(), new.generation()), (old.index(), old.generation() + 1));
    poller.wait_read(2, new);
    poller.expect_nobody();
}

/// Storage that is lent again knows nothing of the poller that it was lent to before, also if that was forgotten.
#[test]
fn storage_lent_again_is_empty() {
    alone(|| {
        let mut storage = PollerStorage::<1>::new();
        let before = util::open_fds().len();
        let mut poller = netpoll::Poller::new(&mut storage).unwrap();
        let (read_end, write_end) = pipe();
        let mut io = poller.io(Waiter::new(1));
        let token = io.open(read_end, READ).unwrap();
        assert_eq!(io.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0; 1])), Poll::Pending);
        io.set_timeout(token, Direction::Read, Some(Duration::ZERO)).unwrap();
        let forgotten = dup(&poller);
        std::mem::forget(poller);
        write(&write_end, b"x");

        let mut poller = TestPoller::new(&mut storage);
        assert_eq!((poller.descriptors(), poller.next_deadline()), (0, None));
        assert_eq!(poller.read(1, token), CLOSED);
        poller.expect_nobody();
        let other = poller.open(pipe().0, READ);
        assert_eq!(other.index(), token.index());
        drop((poller, forgotten, write_end));
        // The forgotten poller's own descriptor (1), and the break pipe, which lives as long as its storage (2).
        assert_eq!(util::open_fds().len(), before + 3);
    });
}
