//! Conformance: opening and closing descriptors.

mod util;

use netpoll::{Direction, Errno, Error, Interest, OwnedFd, PollerStorage, Timeout, Token, Waiter};
use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::task::Poll;
use util::{BOTH, READ, TestPoller, WRITE, dup, pipe, socket_pair, write};

/// A file that poll(2) can say nothing about.
fn path(path: &str, flags: OFlags) -> OwnedFd {
    open(path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[track_caller]
fn expect_refused(poller: &mut TestPoller<'_>, fd: OwnedFd, interest: Interest, error: Error) -> OwnedFd {
    let (number, open) = (fd.as_raw_fd(), poller.descriptors());
    let rejected = poller.io(Waiter::new(0)).open(fd, interest).unwrap_err();
    assert_eq!((rejected.error, rejected.value.as_raw_fd()), (error, number));
    assert_eq!(poller.descriptors(), open);
    rejected.value
}

/// Case 1.
#[test]
fn open_close_pipe() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let numbers = (read_end.as_raw_fd(), write_end.as_raw_fd());
    let (reader, writer) = (poller.open(read_end, READ), poller.open(write_end, WRITE));
    assert_eq!(poller.descriptors(), 2);
    assert_eq!(poller.io(Waiter::new(0)).fd(reader).map(|fd| fd.as_raw_fd()), Ok(numbers.0));

    assert_eq!(poller.wait_read(1, reader), 0);
    assert_eq!(poller.write(2, writer, b"abc"), Poll::Ready(Ok(3)));
    poller.expect_waiters(&[1]);
    assert_eq!(poller.read(1, reader), Poll::Ready(Ok(b"abc".to_vec())));

    let given_back = (poller.close(reader).unwrap(), poller.close(writer).unwrap());
    assert_eq!((given_back.0.as_raw_fd(), given_back.1.as_raw_fd()), numbers);
    assert_eq!((poller.descriptors(), poller.stats().lost_descriptors), (0, 0));
    write(&given_back.1, b"still open");
}

/// Case 2, G8.
#[test]
fn open_twice_same_fd_errors_both_os() {
    let mut storage = PollerStorage::<4>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let number = read_end.as_raw_fd();
    let token = poller.open(read_end, READ);
    poller.wait_read(1, token);
    // SAFETY: the second owner of the number is given back and forgotten.
    let again = unsafe { OwnedFd::from_raw_fd(number) };
    let again = expect_refused(&mut poller, again, READ, Error::Os(Errno::EXIST));
    let _ = again.into_raw_fd();
    // The first is what it was.
    write(&write_end, b"x");
    poller.expect_waiters(&[1]);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
}

/// Case 3.
#[test]
fn close_twice_errors() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let token = poller.open(pipe().0, READ);
    assert!(poller.close(token).is_ok());
    assert_eq!(poller.close(token).unwrap_err(), Error::Closed);
    assert_eq!(poller.descriptors(), 0);
}

/// Case 4.
#[test]
fn close_without_open() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let token = poller.open(pipe().0, READ);
    for bits in [1 << 32 | 1, 2 << 32, 1 << 32 | 1000, u64::MAX - 1] {
        let unknown = Token::from_u64(bits).unwrap();
        assert_ne!(unknown, token);
        assert_eq!(poller.close(unknown).unwrap_err(), Error::Closed);
        assert_eq!(poller.read(1, unknown), Poll::Ready(Err(Error::Closed)));
        assert_eq!(poller.io(Waiter::new(1)).set_deadline(unknown, Direction::Read, None), Err(Error::Closed));
        assert_eq!(poller.io(Waiter::new(1)).unwait(unknown, Direction::Read), Err(Error::Closed));
    }
    assert_eq!(poller.descriptors(), 1);
}

/// Case 5, G9, G10.
#[test]
fn open_regular_file_not_pollable() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    rustix::fs::fcntl_setfl(&file, OFlags::NONBLOCK).unwrap();
    let file = expect_refused(&mut poller, file.into(), READ, Error::NotPollable);
    assert_eq!(rustix::io::read(&file, &mut [0; 4]), Ok(4));
    expect_refused(&mut poller, path("/", OFlags::RDONLY | OFlags::DIRECTORY), READ, Error::NotPollable);
}

/// Case 6, G9.
#[test]
fn open_dev_null_not_pollable() {
    if !util::EPOLL {
        return util::skip("open_dev_null_not_pollable", "this kernel waits for devices like these");
    }
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    for device in ["/dev/null", "/dev/zero"] {
        expect_refused(&mut poller, path(device, OFlags::RDWR), BOTH, Error::NotPollable);
    }
}

/// Case 7.
#[test]
fn open_bad_fd_errors_and_frees_slot() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    // SAFETY: nobody has this number, and its owner is forgotten.
    let nobodys = unsafe { OwnedFd::from_raw_fd(1_000_000_000) };
    let nobodys = expect_refused(&mut poller, nobodys, READ, Error::Os(Errno::BADF));
    let _ = nobodys.into_raw_fd();
    poller.open(pipe().0, READ);
}

/// Case 8, G49.
#[test]
fn table_full_leaves_fd_unregistered() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, _write_end) = pipe();
    let token = poller.open(read_end, READ);
    assert!(!poller.io(Waiter::new(0)).has_room());
    assert_eq!(poller.io(Waiter::new(0)).poll_room(), Poll::Ready(Err(Error::Full)));
    let (ours, theirs) = socket_pair();
    let ours = expect_refused(&mut poller, ours, BOTH, Error::Full);
    let events = poller.stats().events;
    write(&theirs, b"x");
    poller.expect_nobody();
    assert_eq!(poller.stats().events, events);

    assert!(poller.close(token).is_ok());
    let token = poller.open(ours, BOTH);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
}

/// Case 9, G46.
#[test]
fn reopen_after_close_reuses_slot_new_gen() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let mut old: Vec<Token> = Vec::new();
    for turn in 0..100 {
        let (read_end, write_end) = pipe();
        let token = poller.open(read_end, READ);
        assert!(!old.contains(&token));
        assert_eq!((token.index(), token.generation()), (0, turn + 1));
        poller.wait_read(turn, token);
        write(&write_end, b"x");
        poller.expect_waiters(&[turn]);
        for &stale in &old {
            assert_eq!(poller.read(0, stale), Poll::Ready(Err(Error::Closed)));
            assert_eq!(poller.close(stale).unwrap_err(), Error::Closed);
        }
        assert!(poller.close(token).is_ok());
        old.push(token);
    }
    assert!(poller.stats().stale_events == 0 || !util::is_orderly());
}

/// Case 10: what is registered never changes; closing and opening again is another registration.
#[test]
fn change_interest_without_poll() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Err(Error::NotPollable)));
    assert_eq!(poller.io(Waiter::new(1)).poll_ready(token, Direction::Priority), Poll::Ready(Err(Error::NotPollable)));
    poller.wait_read(1, token);

    // The closer's own wait ends silently, and its slot is free at once.
    let ours = poller.io(Waiter::new(1)).close(token).unwrap();
    let token = poller.open(ours, WRITE);
    write(&theirs, b"nobody asked");
    assert_eq!(poller.read(1, token), Poll::Ready(Err(Error::NotPollable)));
    poller.wait_write(2, token);
    util::drain(&theirs);
    poller.expect_waiters(&[2]);
    assert!(matches!(poller.write(2, token, b"x"), Poll::Ready(Ok(1))));
}

/// Case 11.
#[test]
fn open_in_two_reactors() {
    let mut storage = (PollerStorage::<1>::new(), PollerStorage::<1>::new());
    let mut first = TestPoller::new(&mut storage.0);
    let mut second = TestPoller::new(&mut storage.1);
    let (read_end, write_end) = pipe();
    let tokens = (first.open(dup(&read_end), READ), second.open(read_end, READ));
    first.wait(1, tokens.0, Direction::Read);
    second.wait(2, tokens.1, Direction::Read);
    write(&write_end, b"x");
    first.expect_waiters(&[1]);
    second.expect_waiters(&[2]);
    assert_eq!(first.read_byte(1, tokens.0), Poll::Ready(Ok(Some(b'x'))));
    // G14: what was ready for one is taken by the other.
    assert_eq!(second.read(2, tokens.1), Poll::Pending);
}

/// Case 12.
#[test]
fn no_interest_reports_hup_only() {
    if !util::has_priority("no_interest_reports_hup_only") {
        return;
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, Interest::PRIORITY);
    assert_eq!(poller.io(Waiter::new(1)).poll_ready(token, Direction::Priority), Poll::Pending);
    write(&theirs, b"x");
    poller.expect_nobody();
    assert_eq!(poller.stats().events, 0);
    drop(theirs);
    assert_eq!(poller.turn(Timeout::Never), [1]);
    // Once, although it goes on for ever.
    poller.expect_nobody();
    assert_eq!(poller.stats().events, 1);
}

/// A kernel that does not tell urgent data apart: a direction that would wait for ever is not opened.
#[test]
fn priority_is_opened_where_it_is_told() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, _theirs) = socket_pair();
    let told = !util::KQUEUE;
    let ours = match poller.io(Waiter::new(0)).open(ours, Interest::PRIORITY) {
        Ok(token) if told => poller.close(token).unwrap(),
        Err(rejected) if !told && rejected.error == Error::NotPollable => rejected.value,
        other => panic!("{other:?}"),
    };
    let token = poller.open(ours, READ | Interest::PRIORITY);
    let waits = poller.io(Waiter::new(1)).poll_ready(token, Direction::Priority);
    assert_eq!(waits, if told { Poll::Pending } else { Poll::Ready(Err(Error::NotPollable)) });
    poller.wait_read(2, token);
}

/// Case 13, G9.
#[test]
fn eperm_error_keeps_count() {
    let mut storage = PollerStorage::<3>::new();
    let mut poller = TestPoller::new(&mut storage);
    poller.open(pipe().0, READ);
    for _ in 0..10 {
        expect_refused(&mut poller, path("/", OFlags::RDONLY | OFlags::DIRECTORY), READ, Error::NotPollable);
    }
    assert_eq!(poller.descriptors(), 1);
    // None of the slots was lost.
    poller.open(pipe().0, READ);
    poller.open(pipe().0, READ);
    expect_refused(&mut poller, pipe().0, READ, Error::Full);
}

/// Case 14, G56.
#[cfg(target_os = "linux")]
#[test]
fn max_user_watches_enospc() {
    use rustix::event::epoll;
    /// Far more than any other user of the machine has meanwhile.
    const LIMIT: usize = 20_000;
    const FILE: &str = "/proc/sys/fs/epoll/max_user_watches";

    if util::is_alone() {
        // SAFETY: a plain system call. The count of watches is the user's, and this one has none.
        assert_eq!(unsafe { libc::setuid(64_123) }, 0);
        let mut storage = PollerStorage::<4>::new();
        let mut poller = TestPoller::new(&mut storage);
        poller.open(pipe().0, READ);
        let watched: Vec<_> = (0..400).map(|_| pipe()).collect();
        let mut filled = Vec::new();
        let errno = 'fill: loop {
            assert!(filled.len() * watched.len() <= LIMIT);
            filled.push(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
            for (fd, _) in &watched {
                if let Err(errno) = epoll::add(filled.last().unwrap(), fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN) {
                    break 'fill errno;
                }
            }
        };
        assert_eq!(errno, Errno::NOSPC);

        expect_refused(&mut poller, pipe().0, READ, Error::Os(Errno::NOSPC));
        assert_eq!(netpoll::Poller::new(&mut PollerStorage::<1>::new()).unwrap_err(), Error::Os(Errno::NOSPC));
        drop(filled);
        for _ in 0..3 {
            poller.open(pipe().0, READ);
        }
        return;
    }

    let before = std::fs::read_to_string(FILE).unwrap();
    let unprivileged_can_run = std::fs::metadata(std::env::current_exe().unwrap()).is_ok_and(|file| {
        use std::os::unix::fs::PermissionsExt;
        file.permissions().mode() & 0o1 != 0
    });
    if !rustix::process::geteuid().is_root() || !unprivileged_can_run {
        return util::skip("max_user_watches_enospc", "only root can lower the limit for another user");
    }
    if let Err(error) = std::fs::write(FILE, LIMIT.to_string()) {
        return util::skip("max_user_watches_enospc", error);
    }
    let output = util::run_alone("max_user_watches_enospc");
    std::fs::write(FILE, before).unwrap();
    util::expect_passed(&output);
}

/// G51: the flags of a description that others may share are not touched; a descriptor that would block is found out where debug
/// assertions are on.
#[test]
fn g51_blocking_descriptor_is_refused_not_changed() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, _write_end) = rustix::pipe::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&read_end).unwrap();
    assert!(!flags.contains(OFlags::NONBLOCK));
    let other = dup(&read_end);
    if cfg!(debug_assertions) {
        expect_refused(&mut poller, read_end, READ, Error::Os(Errno::INVAL));
    } else {
        poller.open(read_end, READ);
    }
    assert_eq!(rustix::fs::fcntl_getfl(&other), Ok(flags));
    // A socket may block by itself: it is called with MSG_DONTWAIT.
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    poller.open(ours, BOTH);
}

/// G55: one `EPOLL_CTL_ADD` for the whole life, without RDHUP; with priority the kernel refuses it.
#[test]
fn g55_exclusive() {
    let mut storage = (PollerStorage::<1>::new(), PollerStorage::<2>::new());
    let mut first = TestPoller::new(&mut storage.0);
    let mut second = TestPoller::new(&mut storage.1);
    let listener = util::tcp_listener();
    let address = listener.local_addr().unwrap();
    let tokens = (first.open(dup(&listener), READ | Interest::EXCLUSIVE), second.open(listener, READ | Interest::EXCLUSIVE));
    first.wait(1, tokens.0, Direction::Read);
    second.wait(2, tokens.1, Direction::Read);
    let _client = TcpStream::connect(address).unwrap();
    let mut woken = 0;
    util::eventually("one of the two", || {
        woken += first.turn(Timeout::Now).len() + second.turn(Timeout::Now).len();
        woken > 0
    });
    if util::EPOLL {
        let refused = second.io(Waiter::new(0)).open(socket_pair().0, READ | Interest::PRIORITY | Interest::EXCLUSIVE);
        assert_eq!(refused.unwrap_err().error, Error::Os(Errno::INVAL));
    }
}

/// Measured: a poller that would wait for itself.
#[cfg(target_os = "linux")]
#[test]
fn epoll_that_waits_for_itself_is_refused() {
    if !util::EPOLL {
        return util::skip("epoll_that_waits_for_itself_is_refused", "the poller has no epoll");
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let own = dup(&*poller);
    // Without READ and WRITE: an epoll descriptor is never read, so that it may be blocking does not matter.
    let error = poller.io(Waiter::new(0)).open(own, Interest::PRIORITY).unwrap_err().error;
    assert!(matches!(error, Error::Os(Errno::INVAL | Errno::LOOP)), "{error}");
    assert_eq!(poller.descriptors(), 0);
}
