//! Conformance: edges, and what is remembered of them.

mod util;

use netpoll::net::{TcpListener, TcpStream as Stream, Unopened};
use netpoll::{Direction, Errno, Error, Interest, OwnedFd, PollerStorage, Timeout, Waiter};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::task::Poll;
use util::{BOTH, READ, TestPoller, WRITE, drain, eventually, fill, pipe, socket_pair, tcp_pair, udp_socket, write};

/// Case 15.
#[test]
fn edge_once_until_drained() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    poller.wait_read(1, token);
    write(&write_end, b"abc");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    for _ in 0..3 {
        poller.expect_nobody();
    }
    assert_eq!(poller.stats().events, 1);
    assert_eq!(poller.wait_read(1, token), 3);
    write(&write_end, b"d");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.stats().events, 2);
}

/// Case 16, G16: the kernel says nothing more, and nothing is lost by it.
#[test]
fn partial_read_no_event_loses_nothing() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    poller.wait_read(1, token);
    write(&write_end, b"abc");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    for expected in b"abc" {
        assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(*expected))));
        poller.expect_nobody();
    }
    // Kqueues report what is left.
    assert!(poller.stats().events == 1 || util::KQUEUE);
    assert_eq!(poller.read_byte(1, token), Poll::Pending);
}

/// Case 17, G17: as above, for a listener.
#[test]
fn accept_one_of_two_loses_nothing() {
    let mut storage = PollerStorage::<4>::new();
    let mut poller = TestPoller::new(&mut storage);
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.open(&mut poller.io(Waiter::new(0))).unwrap();
    assert!(listener.accept(&mut poller.io(Waiter::new(1))).is_pending());
    let clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    poller.expect_waiters(&[1]);
    poller.expect_nobody();
    let Poll::Ready(Ok((_first, peer))) = listener.accept(&mut poller.io(Waiter::new(1))) else { panic!("nothing to accept") };
    assert_eq!(peer, clients[0].local_addr().unwrap());
    poller.expect_nobody();
    let Poll::Ready(Ok((_second, peer))) = listener.accept(&mut poller.io(Waiter::new(1))) else { panic!("the second was lost") };
    assert_eq!(peer, clients[1].local_addr().unwrap());
    assert!(listener.accept(&mut poller.io(Waiter::new(1))).is_pending());
}

/// Case 17, G17, A6: without room nothing is accepted, and nothing is lost; a bare poller says so instead of waiting.
#[test]
fn g17_accept_without_room_makes_no_call() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.open(&mut poller.io(Waiter::new(0))).unwrap();
    let other = poller.open(pipe().0, READ);
    let client = TcpStream::connect(address).unwrap();
    assert!(matches!(listener.accept(&mut poller.io(Waiter::new(1))), Poll::Ready(Err(Error::Full))));
    assert!(poller.close(other).is_ok());
    let Poll::Ready(Ok((_, peer))) = listener.accept(&mut poller.io(Waiter::new(1))) else { panic!("the connection was lost") };
    assert_eq!(peer, client.local_addr().unwrap());
}

/// Case 18.
#[test]
fn second_write_undrained_wakes() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, READ);
    for written in 1..=3 {
        poller.wait(1, token, Direction::Read);
        write(&theirs, b"x");
        assert_eq!(poller.turn(Timeout::Never), [1]);
        assert_eq!(poller.stats().events, written);
    }
    assert_eq!(poller.wait_read(1, token), 3);
}

/// Case 18, for an eventfd.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
#[test]
fn second_write_undrained_wakes_eventfd() {
    use rustix::event::{EventfdFlags, eventfd};
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let counter = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    let writer = util::dup(&counter);
    let token = poller.open(counter, READ);
    assert_eq!(poller.wait_read(1, token), 0);
    for _ in 0..3 {
        write(&writer, &1u64.to_ne_bytes());
        assert_eq!(poller.turn(Timeout::Never), [1]);
        poller.wait(1, token, Direction::Read);
    }
    write(&writer, &1u64.to_ne_bytes());
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.read(1, token), Poll::Ready(Ok(4u64.to_ne_bytes().to_vec())));
}

/// Case 19.
#[test]
fn would_block_then_new_edge() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    for _ in 0..3 {
        let room = poller.wait_write(2, token);
        assert!(room > 0);
        poller.wait_read(1, token);
        poller.expect_nobody();
        assert_eq!(drain(&theirs), room);
        poller.expect_waiters(&[2]);
        write(&theirs, b"x");
        poller.expect_waiters(&[1]);
        assert_eq!(poller.wait_read(1, token), 1);
    }
}

/// Case 20.
#[test]
fn udp_et_recv_until_eagain() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = (udp_socket(), udp_socket());
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    let token = poller.open(ours, READ);
    assert_eq!(poller.read(1, token), Poll::Pending);
    // An empty datagram is not the end of a stream.
    for datagram in [&b"one"[..], b"", b"three"] {
        theirs.send(datagram).unwrap();
    }
    poller.expect_waiters(&[1]);
    let mut got = Vec::new();
    eventually("three datagrams", || {
        while let Poll::Ready(datagram) = poller.read(1, token) {
            got.push(datagram.unwrap());
        }
        poller.turn(Timeout::Now);
        got.len() == 3
    });
    assert_eq!(got, [&b"one"[..], b"", b"three"]);
    assert_eq!(poller.read(1, token), Poll::Pending);
}

/// Case 21: whatever the kernel takes for room enough, a pipe that was drained is writable.
#[test]
fn pipe_writable_after_page_drain() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(write_end, WRITE);
    let room = poller.wait_write(1, token);
    poller.expect_nobody();
    // Less than a page may or may not do; then a whole one has been taken.
    assert_eq!(rustix::io::read(&read_end, &mut [0; 1]), Ok(1));
    let early = poller.turn(Timeout::Now);
    assert_eq!(rustix::io::read(&read_end, &mut [0; 4095]), Ok(4095));
    if early.is_empty() {
        poller.expect_waiters(&[1]);
    }
    assert_eq!(poller.wait_write(1, token), 4096);
    assert_eq!(drain(&read_end), room);
    poller.expect_waiters(&[1]);
    assert_eq!(poller.wait_write(1, token), room);
}

/// Case 22, G13.
#[test]
fn sticky_ready_before_wait() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    assert_eq!(poller.wait_read(1, token), 0);
    poller.io(Waiter::new(1)).unwait(token, Direction::Read).unwrap();
    write(&write_end, b"x");
    poller.expect_nobody();
    assert_eq!(poller.stats().events, 1);
    for _ in 0..3 {
        poller.expect_nobody();
    }
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
}

/// Case 23, G15: an edge between `EAGAIN` and the wait for it.
#[test]
fn reset_does_not_lose_edge() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    for _ in 0..3 {
        let read = poller.io(Waiter::new(1)).poll_io(token, Direction::Read, |fd| {
            let answer = rustix::io::read(fd, &mut [0; 8]);
            write(&write_end, b"x");
            answer.and(Err::<(), _>(Errno::AGAIN))
        });
        assert_eq!(read, Poll::Pending);
        assert_eq!(poller.turn(Timeout::Never), [1]);
    }
    // The same by hand.
    assert_eq!(drain(poller.io(Waiter::new(1)).fd(token).unwrap()), 1);
    write(&write_end, b"y");
    poller.wait(1, token, Direction::Read);
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'y'))));
}

/// Case 23, G15: readiness of one direction is forgotten without the other's.
#[test]
fn g15_directions_are_independent() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    assert!(poller.is_ready(token, Direction::Write));
    poller.wait_write(2, token);
    write(&theirs, b"x");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    // The writer waits on, and the reader's readiness is its own.
    drain(&theirs);
    assert_eq!(poller.turn(Timeout::Never), [2]);
    assert!(poller.is_ready(token, Direction::Read) && poller.is_ready(token, Direction::Write));
}

/// Case 24, G26.
#[test]
fn idle_edge_zero_wakeups() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, _theirs) = socket_pair();
    let (read_end, write_end) = pipe();
    let (idle, unread) = (poller.open(ours, BOTH), poller.open(read_end, READ));
    poller.wait_read(1, idle);
    write(&write_end, b"never read");
    assert!(poller.is_ready(unread, Direction::Read));
    poller.expect_nobody();
    let before = poller.stats();
    assert_eq!(poller.turn(Timeout::After(std::time::Duration::from_millis(50))), []);
    let after = poller.stats();
    assert_eq!(after.events, before.events);
    // One that ends with the timeout, and one more if the clock does not agree yet.
    assert!(after.polls - before.polls <= 2, "{} waits in 50 ms", after.polls - before.polls);
}

/// G14: readiness that somebody has used up costs one call, which waits.
#[test]
fn g14_spurious_readiness_waits_again() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let elsewhere = util::dup(&ours);
    let token = poller.open(ours, READ);
    poller.wait_read(1, token);
    write(&theirs, b"x");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(drain(&elsewhere), 1);
    assert_eq!(poller.read(1, token), Poll::Pending);
    poller.expect_nobody();
    write(&theirs, b"y");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'y'))));
}

/// The gates: while one is idle, operations make no system call and the last waiter is the one that is run.
#[test]
fn idle_gate_makes_no_call_and_last_waiter_wins() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    poller.wait_read(1, token);
    for waiter in 2..5 {
        let pending = poller.io(Waiter::new(waiter)).poll_io(token, Direction::Read, |_| -> Result<(), Errno> { panic!("a system call") });
        assert_eq!(pending, Poll::Pending);
    }
    write(&write_end, b"x");
    assert_eq!(poller.turn(Timeout::Never), [4]);
}

/// The gates: one waiter may wait for both directions.
#[test]
fn one_waiter_for_both_directions() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    poller.wait_write(1, token);
    drop(theirs);
    poller.expect_waiters(&[1]);
    poller.expect_nobody();
    assert!(poller.is_ready(token, Direction::Read) && poller.is_ready(token, Direction::Write));
}

/// `EINTR` of an operation is tried again, `EAGAIN` waits, anything else is the answer and keeps the gate.
#[test]
fn call_is_tried_again_after_eintr() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let token = poller.open(socket_pair().0, READ);
    let mut answers = [Err(Errno::INTR), Err(Errno::INTR), Ok(7)].into_iter();
    let mut io = poller.io(Waiter::new(1));
    assert_eq!(io.poll_io(token, Direction::Read, |_| answers.next().unwrap()), Poll::Ready(Ok(7)));
    assert_eq!(io.poll_io(token, Direction::Read, |_| Err::<(), _>(Errno::CONNRESET)), Poll::Ready(Err(Error::Os(Errno::CONNRESET))));
    assert_eq!(io.poll_io(token, Direction::Read, |_| Ok(8)), Poll::Ready(Ok(8)));
}

fn unix_socket(kind: SocketType) -> OwnedFd {
    rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None).unwrap()
}

/// An address that nobody else has, and that is gone with its socket.
#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(format!("netpoll-{name}-{}", std::process::id()).as_bytes()).unwrap()
}

/// A3, G53: made on the descriptor itself, the refusal is an answer, not a wait.
#[cfg(target_os = "linux")]
#[test]
fn a3_unix_connect_refusal_is_an_answer() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let address = abstract_address("a3");
    let listener = unix_socket(SocketType::STREAM);
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let first = unix_socket(SocketType::STREAM);
    rustix::net::connect(&first, &address).unwrap();

    let token = poller.open(unix_socket(SocketType::STREAM), BOTH);
    let connect = |poller: &mut TestPoller<'_>| rustix::net::connect(poller.io(Waiter::new(1)).fd(token).unwrap(), &address);
    assert_eq!(connect(&mut poller), Err(Errno::AGAIN));
    // No edge would come when there is room again, so nobody may wait for one.
    poller.expect_nobody();
    let events = poller.stats().events;
    let _accepted = rustix::net::accept(&listener).unwrap();
    poller.expect_nobody();
    assert_eq!(poller.stats().events, events);
    assert_eq!(connect(&mut poller), Ok(()));
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Ok(1)));
}

/// A4: as A3, for `send_to` on an unconnected Unix datagram socket.
#[cfg(target_os = "linux")]
#[test]
fn a4_unix_datagram_refusal_is_an_answer() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let address = abstract_address("a4");
    let receiver = unix_socket(SocketType::DGRAM);
    rustix::net::bind(&receiver, &address).unwrap();
    let token = poller.open(unix_socket(SocketType::DGRAM), BOTH);
    let send = |poller: &mut TestPoller<'_>| {
        let mut io = poller.io(Waiter::new(1));
        rustix::net::sendto(io.fd(token).unwrap(), b"x", SendFlags::DONTWAIT, &address)
    };
    while send(&mut poller) == Ok(1) {}
    assert_eq!(send(&mut poller), Err(Errno::AGAIN));
    // The gate is left alone, and an edge for each refusal runs nobody.
    poller.expect_nobody();
    assert!(poller.is_ready(token, Direction::Write));
    drain(&receiver);
    assert_eq!(send(&mut poller), Ok(1));
}

/// A5: a read stops before an urgent byte, which proves nothing about what lies behind it; no event comes for that.
#[cfg(target_os = "linux")]
#[test]
fn a5_data_behind_an_urgent_byte() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (client, server) = tcp_pair();
    let stream = Unopened::<Stream>::from(OwnedFd::from(server)).open(&mut poller.io(Waiter::new(1))).unwrap();
    for (bytes, flags) in [(b"abc", SendFlags::empty()), (b"!!!", SendFlags::OOB), (b"def", SendFlags::empty())] {
        assert_eq!(rustix::net::send(&client, bytes, flags), Ok(3));
    }
    eventually("all to arrive", || {
        let mut unacknowledged: libc::c_int = -1;
        // SAFETY: the request writes one int.
        assert_eq!(unsafe { libc::ioctl(client.as_raw_fd(), libc::TIOCOUTQ, &raw mut unacknowledged) }, 0);
        unacknowledged == 0
    });
    poller.expect_nobody();
    // The last of the three urgent bytes is the one.
    let mut buf = [0; 64];
    for part in [&b"abc!!"[..], b"def"] {
        let mut read = stream.read(&mut poller.io(Waiter::new(1)), &mut buf);
        if util::EVENT_PORT && read.is_pending() {
            // The kernel was not asked before somebody waits.
            poller.expect_waiters(&[1]);
            read = stream.read(&mut poller.io(Waiter::new(1)), &mut buf);
        }
        assert_eq!(read, Poll::Ready(Ok(part.len())));
        assert!(buf.starts_with(part));
    }
    assert_eq!(stream.read(&mut poller.io(Waiter::new(1)), &mut buf), Poll::Pending);
}

/// A writer has found room, and nobody waits any more: where the kernel was asked for that wait it is left in peace. (epoll tells of each
/// read of the peer's, for the whole life of the descriptor.)
#[test]
fn room_that_nobody_waits_for() {
    const ROUNDS: u64 = 50;
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, WRITE);
    poller.turn(Timeout::Now);
    assert!(poller.stats().events == 0 || util::EPOLL);
    poller.wait_write(1, token);
    drain(&theirs);
    poller.expect_waiters(&[1]);
    let before = poller.stats().events;
    for _ in 0..ROUNDS {
        assert_eq!(poller.write(1, token, &[0; 4096]), Poll::Ready(Ok(4096)));
        drain(&theirs);
        poller.turn(Timeout::Now);
    }
    let events = poller.stats().events - before;
    assert!(events <= if util::EPOLL { 2 * ROUNDS } else { 2 } || !util::is_orderly(), "{events} events");
    // And is asked again.
    poller.wait_write(1, token);
    drain(&theirs);
    poller.expect_waiters(&[1]);
}

/// A short read of a TCP stream closes its gate where urgent data are told apart, and the next bytes still wake.
#[test]
fn short_read_saves_the_call_and_loses_nothing() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (client, server) = tcp_pair();
    let stream = Unopened::<Stream>::from(OwnedFd::from(server)).open(&mut poller.io(Waiter::new(1))).unwrap();
    let mut buf = [0; 64];
    for _ in 0..100 {
        if stream.read(&mut poller.io(Waiter::new(1)), &mut buf).is_pending() {
            write(&client, b"ping");
            poller.expect_waiters(&[1]);
            assert_eq!(stream.read(&mut poller.io(Waiter::new(1)), &mut buf), Poll::Ready(Ok(4)));
        }
    }
    assert_eq!(poller.is_ready(stream.token(), Direction::Read), util::KQUEUE);
    drop(client);
    eventually("the end", || {
        poller.turn(Timeout::Now);
        stream.read(&mut poller.io(Waiter::new(1)), &mut buf) == Poll::Ready(Ok(0))
    });
    assert!(poller.is_ready(stream.token(), Direction::Read));
}

/// G54: urgent data opens the priority gate and no other one.
#[test]
fn g54_priority_has_a_gate_of_its_own() {
    if !util::has_priority("g54_priority_has_a_gate_of_its_own") {
        return;
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (client, server) = tcp_pair();
    let token = poller.open(server, READ | Interest::PRIORITY);
    poller.wait_read(1, token);
    assert_eq!(poller.io(Waiter::new(3)).poll_ready(token, Direction::Priority), Poll::Pending);
    assert_eq!(rustix::net::send(&client, b"!", SendFlags::OOB), Ok(1));
    let mut woken = Vec::new();
    eventually("the priority waiter", || {
        woken.extend(poller.turn(Timeout::Now));
        woken.contains(&3)
    });
    let mut byte = [0];
    let fd = poller.io(Waiter::new(3)).fd(token).map(|fd| rustix::net::recv(fd, &mut byte, RecvFlags::OOB | RecvFlags::DONTWAIT));
    assert_eq!((fd, &byte), (Ok(Ok((1, 1))), b"!"));
    // Taken by hand, and said so: the next one is waited for.
    poller.wait(3, token, Direction::Priority);
    assert_eq!(rustix::net::send(&client, b"?", SendFlags::OOB), Ok(1));
    woken.clear();
    eventually("the priority waiter again", || {
        woken.extend(poller.turn(Timeout::Now));
        woken.contains(&3)
    });
}

/// G57: a file as sysfs has them, of which only priority is registered; it is read from the start after each event.
#[cfg(target_os = "linux")]
#[test]
fn g57_sysfs_file_by_priority_alone() {
    if !util::EPOLL {
        return util::skip("g57_sysfs_file_by_priority_alone", "Linux alone has such files");
    }
    use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};
    util::alone(|| {
        let namespace = rustix::thread::UnshareFlags::NEWUTS;
        // SAFETY: no descriptor is unshared.
        if let Err(errno) = unsafe { rustix::thread::unshare_unsafe(namespace) } {
            return util::skip("g57_sysfs_file_by_priority_alone", format_args!("no host name of its own: {errno}"));
        }
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let file = || open("/proc/sys/kernel/hostname", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let token = poller.open(file(), Interest::PRIORITY);
        for name in [&b"first\n"[..], b"second\n"] {
            assert_eq!(poller.io(Waiter::new(1)).poll_ready(token, Direction::Priority), Poll::Pending);
            poller.expect_nobody();
            write(file(), name);
            poller.expect_waiters(&[1]);
            let mut io = poller.io(Waiter::new(1));
            assert_eq!(io.poll_ready(token, Direction::Priority), Poll::Ready(Ok(())));
            let mut value = [0; 64];
            let fd = io.fd(token).unwrap();
            seek(fd, SeekFrom::Start(0)).unwrap();
            let length = rustix::io::read(fd, &mut value).unwrap();
            assert_eq!(&value[..length], name);
            io.clear_ready(token, Direction::Priority).unwrap();
        }
    });
}

/// Readiness that is there when a descriptor is opened needs no edge.
#[test]
fn ready_at_open() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let ((ours, theirs), (read_end, write_end)) = (socket_pair(), pipe());
    write(&theirs, b"x");
    let token = poller.open(ours, BOTH);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
    assert_eq!(poller.write(1, token, b"y"), Poll::Ready(Ok(1)));

    let full = fill(&write_end);
    let token = poller.open(write_end, WRITE);
    assert_eq!(poller.write(2, token, b"z"), Poll::Pending);
    assert_eq!(drain(&read_end), full);
    poller.expect_waiters(&[2]);
}

/// What takes records whole refuses one that it has too little room for, and is writable all the same: `sosend` of the BSDs, of sequences of
/// packets. A waiter that comes back at once would keep the processor busy until somebody reads.
#[test]
fn record_that_does_not_fit_waits_for_room() {
    if util::EVENT_PORT {
        return util::skip(
            "record_that_does_not_fit_waits_for_room",
            "what is ready is reported at each wait; illumos refuses no record that way",
        );
    }
    let (ours, theirs) = socket_pair();
    write(&ours, &[0; 100]);
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let token = poller.open(ours, BOTH);
    let refused = |poller: &mut TestPoller<'_>| poller.io(Waiter::new(1)).poll_io(token, Direction::Write, |_| Err::<(), _>(Errno::AGAIN));
    assert_eq!(refused(&mut poller), Poll::Pending);
    let mut runs = 0;
    for _ in 0..50 {
        if !poller.turn(Timeout::Now).is_empty() {
            runs += 1;
            assert_eq!(refused(&mut poller), Poll::Pending);
        }
    }
    assert!(runs <= 2, "run {runs} times although nothing has changed");
    assert_eq!(drain(&theirs), 100);
    poller.expect_waiters(&[1]);
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Ok(1)));
}
