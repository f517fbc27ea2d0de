//! Conformance: what a poller means to its process: descriptors that it holds, forks, limits.

mod util;

use netpoll::{BorrowedFd, Direction, Errno, Error, Poller, PollerStorage, Timeout, Waiter};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, getrlimit, setrlimit, waitpid};
use std::os::fd::{AsFd, AsRawFd};
use std::task::Poll;
use std::time::Duration;
use util::{BOTH, READ, TestPoller, alone, open_fds, pipe, socket_pair, write};

/// The numbers of the poller's own descriptors.
fn own(poller: &Poller<'_>) -> Vec<i32> {
    // SAFETY: each of the numbers is open, and the poller says only whether it is its own.
    open_fds().into_iter().filter(|&fd| poller.is_poll_descriptor(unsafe { BorrowedFd::borrow_raw(fd) })).collect()
}

/// Case 84, G50.
#[test]
fn cloexec_on_all_fds() {
    alone(|| {
        let before = open_fds();
        let mut storage = PollerStorage::<1>::new();
        let poller = Poller::new(&mut storage).unwrap();
        let new: Vec<i32> = open_fds().into_iter().filter(|fd| !before.contains(fd)).collect();
        assert_eq!(new.len(), 3);
        for fd in new {
            // SAFETY: the poller has it open.
            let flags = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) });
            assert_eq!(flags, Ok(FdFlags::CLOEXEC), "{fd}");
        }
        drop(poller);
    });
}

/// G40: neither a waker nor the poller's drain can block, whatever is in the pipe.
#[test]
fn g40_break_pipe_is_nonblocking() {
    alone(|| {
        let mut storage = PollerStorage::<1>::new();
        let poller = Poller::new(&mut storage).unwrap();
        let ends: Vec<i32> = own(&poller).into_iter().filter(|&fd| fd != poller.as_fd().as_raw_fd()).collect();
        assert_eq!(ends.len(), 2);
        for fd in ends {
            // SAFETY: the poller has it open.
            let flags = rustix::fs::fcntl_getfl(unsafe { BorrowedFd::borrow_raw(fd) }).unwrap();
            assert!(flags.contains(rustix::fs::OFlags::NONBLOCK), "{fd}");
        }
    });
}

/// Go's `netpollIsPollDescriptor`.
#[test]
fn is_poll_descriptor() {
    alone(|| {
        let before = open_fds();
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let mine: Vec<i32> = open_fds().into_iter().filter(|fd| !before.contains(fd)).collect();
        assert_eq!(own(&poller), mine);
        assert!(poller.is_poll_descriptor(&*poller));
        let (ours, theirs) = socket_pair();
        let token = poller.open(ours, READ);
        assert!(!poller.is_poll_descriptor(&theirs) && !poller.is_poll_descriptor(std::io::stdin()));
        assert_eq!(own(&poller), mine);
        let ours = poller.close(token).unwrap();
        assert!(!poller.is_poll_descriptor(&ours));
        // Another poller's are not this one's.
        let mut storage = PollerStorage::<1>::new();
        let other = Poller::new(&mut storage).unwrap();
        assert!(!poller.is_poll_descriptor(&other));
        assert_eq!(own(&other).len(), 3);
    });
}

/// Forks; the child runs `child` and ends with 0, or with 1 if that panics. The process has one thread.
fn fork(child: impl FnOnce()) -> Pid {
    // SAFETY: there is no other thread that could hold a lock.
    match unsafe { libc::fork() } {
        0 => {
            let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_err();
            // SAFETY: a plain system call, which runs no destructors of the parent's.
            unsafe { libc::_exit(i32::from(failed)) }
        }
        pid => Pid::from_raw(pid).unwrap(),
    }
}

#[track_caller]
fn expect_success(child: Pid) {
    let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0));
}

/// Case 85, G50: dropping only closes.
#[test]
fn fork_child_drop_keeps_parent_set() {
    alone(|| {
        let mut storage = PollerStorage::<2>::new();
        let poller = TestPoller::new(&mut storage);
        let mut poller = Some(poller);
        let (ours, theirs) = socket_pair();
        let token = poller.as_mut().unwrap().open(ours, BOTH);
        poller.as_mut().unwrap().wait_read(1, token);
        poller.as_mut().unwrap().turn(Timeout::Now);
        expect_success(fork(|| drop(poller.take())));
        let poller = poller.as_mut().unwrap();
        for _ in 0..3 {
            write(&theirs, b"x");
            assert_eq!(poller.turn(Timeout::Never), [1]);
            assert_eq!(poller.wait_read(1, token), 1);
        }
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Timeout::Never, |_| {}).unwrap().woken);
        assert_eq!(poller.stats().lost_descriptors, 0);
    });
}

/// Case 86: the child drops what it has inherited and makes its own, on the same storage.
#[test]
fn reinit_after_fork() {
    alone(|| {
        let mut storage = PollerStorage::<2>::new();
        let (ours, theirs) = socket_pair();
        let mut poller = TestPoller::new(&mut storage);
        let token = poller.open(util::dup(&ours), READ);
        poller.wait_read(1, token);
        drop(poller);
        let child = fork(|| {
            let mut poller = TestPoller::new(&mut storage);
            let token = poller.open(util::dup(&ours), READ);
            poller.wait_read(2, token);
            write(&theirs, b"from the child to itself");
            assert_eq!(poller.turn(Timeout::Never), [2]);
            assert_eq!(poller.wait_read(2, token), 24);
            poller.breaker().wake().unwrap();
            assert!(poller.poll(Timeout::Never, |_| {}).unwrap().woken);
        });
        expect_success(child);
        let mut poller = TestPoller::new(&mut storage);
        let token = poller.open(ours, READ);
        poller.wait_read(3, token);
        write(&theirs, b"x");
        assert_eq!(poller.turn(Timeout::Never), [3]);
    });
}

/// Case 87.
#[test]
fn fd_leak_over_1000_create_drop() {
    alone(|| {
        let before = open_fds();
        let mut storage = PollerStorage::<4>::new();
        for _ in 0..1000 {
            let mut poller = TestPoller::new(&mut storage);
            let (ours, theirs) = socket_pair();
            let (read_end, write_end) = pipe();
            let tokens = (poller.open(ours, BOTH), poller.open(read_end, READ));
            poller.wait_read(1, tokens.0);
            poller.wait_read(2, tokens.1);
            poller.io(Waiter::new(1)).set_timeout(tokens.0, Direction::Read, Some(Duration::ZERO)).unwrap();
            write(&write_end, b"x");
            poller.breaker().wake().unwrap();
            poller.expect_waiters(&[1, 2]);
            drop(poller.close(tokens.1).unwrap());
            // The other one is closed by the poller's end.
            drop(poller);
            assert_eq!(rustix::io::read(&theirs, &mut [0; 1]), Ok(0));
        }
        drop(storage);
        assert_eq!(open_fds(), before);
    });
}

/// Case 88: one, two or no descriptor left for the three that a poller takes.
#[test]
fn init_emfile_clean_error() {
    alone(|| {
        // The model of a kernel keeps some of its own.
        let (model, models) = (cfg!(netpoll_model), if util::KQUEUE { 3 } else { 1 });
        let before = open_fds();
        let hard = getrlimit(Resource::Nofile).maximum;
        let limit = |room: i32| {
            // Numbers below the limit that are free.
            let free = (0..).filter(|fd| !before.contains(fd)).nth(room as usize).unwrap();
            setrlimit(Resource::Nofile, Rlimit { current: Some(free as u64), maximum: hard }).unwrap();
        };
        let mut lent_again = PollerStorage::<1>::new();
        for room in [0, 1, 2] {
            let mut storage = PollerStorage::<1>::new();
            limit(room);
            for _ in 0..3 {
                assert_eq!(Poller::new(&mut storage).unwrap_err(), Error::Os(Errno::MFILE), "room for {room}");
            }
            drop(storage);
            assert!(model || open_fds() == before, "room for {room}");
        }
        limit(2);
        assert!(Poller::new(&mut lent_again).is_err());
        limit(if model { 3 + models } else { 3 });
        let poller = Poller::new(&mut lent_again).unwrap();
        assert_eq!(own(&poller).len(), 3);
        drop(poller);
        drop(lent_again);
        assert!(model || open_fds() == before);
    });
}

/// Case 88: whoever has no descriptor left still has those that are open.
#[test]
fn emfile_does_not_disturb_a_running_poller() {
    alone(|| {
        let mut storage = PollerStorage::<2>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (ours, theirs) = socket_pair();
        let (read_end, _write_end) = pipe();
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(read_end.as_raw_fd() as u64), maximum }).unwrap();
        assert_eq!(rustix::io::dup(&theirs).unwrap_err(), Errno::MFILE);
        let tokens = (poller.open(ours, READ), poller.open(read_end, READ));
        poller.wait_read(1, tokens.0);
        assert_eq!(poller.read(2, tokens.1), Poll::Pending);
        write(&theirs, b"x");
        assert_eq!(poller.turn(Timeout::Never), [1]);
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Timeout::Never, |_| {}).unwrap().woken);
        assert!(poller.close(tokens.1).is_ok());
    });
}

/// G50: what a program that is started meanwhile inherits: nothing.
#[cfg(target_os = "linux")]
#[test]
fn g50_nothing_is_inherited() {
    alone(|| {
        let list = || {
            let output = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let before = list();
        let mut storage = PollerStorage::<1>::new();
        let poller = TestPoller::new(&mut storage);
        assert_eq!(list(), before);
        drop(poller);
    });
}
