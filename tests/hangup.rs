//! Conformance: half-closes, hang-ups, resets and errors.

#[cfg(target_os = "linux")]
#[path = "util/network.rs"]
mod network;
mod util;

use netpoll::net::{TcpStream as Stream, Unopened};
use netpoll::{Direction, Errno, Error, Interest, OwnedFd, PollerStorage, Timeout, Waiter};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt::{set_socket_linger, socket_error};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, shutdown};
use std::net::TcpListener;
use std::task::Poll;
use std::time::Duration;
use util::{BOTH, READ, TestPoller, WRITE, alone, drain, eventually, fill, pipe, pty, skip, socket_pair, tcp_pair, udp_socket, write};

const END: Poll<Result<Vec<u8>, Error>> = Poll::Ready(Ok(Vec::new()));

fn tcp_socket() -> OwnedFd {
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None).unwrap()
}

/// Case 25.
#[test]
fn peer_close_read_ready() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    drop(theirs);
    assert_eq!(poller.turn(Timeout::Never), [1]);
    // The end stays the end, without another edge.
    for _ in 0..3 {
        assert_eq!(poller.read(1, token), END);
        poller.expect_nobody();
    }
    assert_eq!(poller.stats().events, 1);
}

/// Case 26, G20.
#[test]
fn peer_shutdown_write_only_read_ready() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let unix = poller.open(ours, BOTH);
    poller.wait_write(2, unix);
    poller.wait_read(1, unix);
    shutdown(&theirs, Shutdown::Write).unwrap();
    // There is no room, and the writer is not told otherwise; but on kqueue, where this may also be the reader of a pipe that has gone.
    assert_eq!(poller.turn(Timeout::Never), if util::KQUEUE { &[1, 2][..] } else { &[1] });
    assert_eq!(poller.read(1, unix), END);
    assert_eq!(poller.write(2, unix, b"x"), Poll::Pending);
    drain(&theirs);
    poller.expect_waiters(&[2]);

    let (ours, theirs) = tcp_pair();
    let tcp = poller.open(ours, BOTH);
    poller.wait_read(3, tcp);
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    poller.expect_waiters(&[3]);
    assert_eq!(poller.read(3, tcp), END);
}

/// Case 27.
#[test]
fn half_close_still_writable() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = tcp_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    poller.expect_waiters(&[1]);
    assert_eq!(poller.read(1, token), END);
    assert_eq!(poller.write(2, token, b"answer"), Poll::Ready(Ok(6)));
    let mut received = [0; 16];
    eventually("the answer", || rustix::io::read(&theirs, &mut received) == Ok(6));
    assert!(received.starts_with(b"answer"));
}

/// Case 28.
#[test]
fn rst_wakes_both_and_error_bit() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = tcp_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_read(1, token);
    poller.wait(2, token, Direction::Write);
    set_socket_linger(&theirs, Some(Duration::ZERO)).unwrap();
    drop(theirs);
    poller.expect_waiters(&[1, 2]);
    assert_eq!(poller.read(1, token), Poll::Ready(Err(Error::Os(Errno::CONNRESET))));
    assert!(poller.is_ready(token, Direction::Write));
}

/// Case 29, G53, A2: while a socket connects its write gate is idle; the edge is not success yet.
#[test]
fn connect_refused_so_error() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    // Bound and never listening: refused.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = tcp_socket();
    match rustix::net::connect(&socket, &nobody) {
        Err(Errno::INPROGRESS) => {}
        Err(Errno::CONNREFUSED) => return skip("connect_refused_so_error", "connect refuses at once here"),
        other => panic!("{other:?}"),
    }
    let token = poller.open(socket, BOTH | Interest::CONNECTING);
    assert_eq!(poller.io(Waiter::new(1)).poll_ready(token, Direction::Write), Poll::Pending);
    poller.expect_waiters(&[1]);
    let error = socket_error(poller.io(Waiter::new(1)).fd(token).unwrap()).unwrap();
    assert_eq!(error, Err(Errno::CONNREFUSED));
}

/// A2, G53: `SO_ERROR` is 0 before there is a connection, too; a stray edge is not taken for one.
#[test]
fn a2_connected_needs_a_peer_name() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    // Never connected: on Linux an edge (HUP), SO_ERROR 0, no peer.
    let stream = Unopened::<Stream>::from(tcp_socket()).open(&mut poller.io(Waiter::new(1))).unwrap();
    poller.turn(Timeout::Now);
    assert_eq!(stream.take_error(&mut poller.io(Waiter::new(1))), Ok(None));
    let connected = stream.poll_connected(&mut poller.io(Waiter::new(1)));
    assert_eq!(connected, if util::EPOLL { Poll::Ready(Err(Error::Os(Errno::NOTCONN))) } else { Poll::Pending });

    let listener = util::tcp_listener();
    let stream = Stream::connect(listener.local_addr().unwrap()).unwrap().open(&mut poller.io(Waiter::new(2))).unwrap();
    eventually("the connection", || match stream.poll_connected(&mut poller.io(Waiter::new(2))) {
        Poll::Ready(connected) => connected.map(|()| true).unwrap(),
        Poll::Pending => {
            poller.turn(Timeout::After(Duration::from_millis(1)));
            false
        }
    });
    assert_eq!(stream.peer_addr(&mut poller.io(Waiter::new(2))), Ok(listener.local_addr().unwrap()));
}

/// Case 30, G18, G22.
#[test]
fn writer_sees_epipe_after_reader_close() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(write_end, WRITE);
    poller.wait(1, token, Direction::Write);
    poller.turn(Timeout::Now);
    poller.wait(1, token, Direction::Write);
    drop(read_end);
    assert_eq!(poller.turn(Timeout::Never), [1]);
    // The Rust runtime ignores SIGPIPE.
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Err(Error::Os(Errno::PIPE))));
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Err(Error::Os(Errno::PIPE))));
}

/// G12: that the reader has gone is no reason to refuse a descriptor, nor to wait in vain: the write says it.
#[test]
fn g12_write_end_of_a_broken_pipe() {
    const BROKEN: Poll<Result<usize, Error>> = Poll::Ready(Err(Error::Os(Errno::PIPE)));
    let mut storage = PollerStorage::<3>::new();
    let mut poller = TestPoller::new(&mut storage);
    // Before it is opened.
    let (read_end, write_end) = pipe();
    drop(read_end);
    let token = poller.open(write_end, WRITE);
    assert_eq!(poller.write(1, token, b"x"), BROKEN);
    // Before somebody waits.
    let (read_end, write_end) = pipe();
    let token = poller.open(write_end, WRITE);
    poller.io(Waiter::new(2)).clear_ready(token, Direction::Write).unwrap();
    drop(read_end);
    if poller.io(Waiter::new(2)).poll_ready(token, Direction::Write).is_pending() {
        poller.expect_waiters(&[2]);
    }
    assert_eq!(poller.write(2, token, b"x"), BROKEN);
    // Between the call that finds no room and the wait for it.
    let (read_end, write_end) = pipe();
    let token = poller.open(write_end, WRITE);
    let mut read_end = Some(read_end);
    let wrote = poller.io(Waiter::new(3)).poll_io(token, Direction::Write, |_| {
        read_end = None;
        Err::<usize, _>(Errno::AGAIN)
    });
    if wrote.is_pending() {
        poller.expect_waiters(&[3]);
    } else {
        assert_eq!(wrote, BROKEN);
    }
    assert_eq!(poller.write(3, token, b"x"), BROKEN);
}

/// Case 31, G18, G22.
#[test]
fn full_pipe_reader_close_err_only_wakes_writer() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(write_end, WRITE);
    assert!(poller.wait_write(1, token) > 0);
    poller.expect_nobody();
    drop(read_end);
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.write(1, token, b"x"), Poll::Ready(Err(Error::Os(Errno::PIPE))));
}

/// Case 32, G18.
#[test]
fn udp_icmp_err_only_wakes_reader() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    for interest in [READ, BOTH] {
        let (ours, theirs) = (udp_socket(), udp_socket());
        ours.connect(theirs.local_addr().unwrap()).unwrap();
        drop(theirs);
        let token = poller.open(ours, interest);
        poller.wait_read(1, token);
        poller.turn(Timeout::Now);
        let sent = poller.io(Waiter::new(1)).fd(token).map(|fd| rustix::net::send(fd, b"anybody?", SendFlags::empty()));
        assert_eq!(sent, Ok(Ok(8)));
        if poller.turn(Timeout::After(util::PATIENCE)).is_empty() {
            panic!("no answer to a datagram that nobody wants");
        }
        assert_eq!(poller.read(1, token), Poll::Ready(Err(Error::Os(Errno::CONNREFUSED))));
        assert_eq!(poller.read(1, token), Poll::Pending);
        poller.expect_nobody();
    }
}

/// Case 33, G19, G21.
#[test]
fn hup_with_pending_data_drains_first() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    for (ours, theirs) in [pipe(), socket_pair()] {
        let token = poller.open(ours, READ);
        poller.wait_read(1, token);
        write(&theirs, b"abc");
        drop(theirs);
        // The other end is gone when its last copy is: a child of another test may have one for a moment.
        eventually("the hang-up", || {
            let mut io = poller.io(Waiter::new(1));
            let fd = io.fd(token).unwrap();
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
            rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap();
            fds[0].revents().contains(PollFlags::HUP)
        });
        assert_eq!(poller.turn(Timeout::Never), [1]);
        for expected in [Some(b'a'), Some(b'b'), Some(b'c'), None, None] {
            assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(expected)));
            poller.expect_nobody();
        }
    }
}

/// Case 33, G19: the event that told of the data has been seen long before the other end closes.
#[test]
fn hup_after_unread_data_is_not_missed() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    let token = poller.open(read_end, READ);
    poller.wait_read(1, token);
    write(&write_end, b"abc");
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.wait_read(1, token), 3);
    drop(write_end);
    assert_eq!(poller.turn(Timeout::Never), [1]);
    assert_eq!(poller.read(1, token), END);
}

/// Case 34, G19.
#[test]
fn pty_hangup_eio() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (master, slave) = pty();
    let token = poller.open(master, BOTH);
    poller.wait_read(1, token);
    write(&slave, b"abc");
    poller.expect_waiters(&[1]);
    assert_eq!(poller.wait_read(1, token), 3);
    write(&slave, b"last");
    drop(slave);
    poller.expect_waiters(&[1]);
    let (mut last, mut error) = (Vec::new(), None);
    eventually("the hang-up", || {
        match poller.read(1, token) {
            Poll::Ready(Ok(bytes)) => last.extend(bytes),
            Poll::Ready(Err(errno)) => error = Some(errno),
            Poll::Pending => drop(poller.turn(Timeout::Now)),
        }
        error.is_some()
    });
    assert_eq!((&last[..], error), (&b"last"[..], Some(Error::Os(Errno::IO))));
    poller.expect_nobody();
}

/// Case 35, G52: what a socket says before it is connected does no harm, and costs one call.
#[test]
fn unconnected_tcp_hup_documented() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let token = poller.open(tcp_socket(), BOTH);
    poller.wait(1, token, Direction::Read);
    if util::EPOLL {
        assert_eq!(poller.turn(Timeout::Never), [1]);
        assert_eq!(poller.read(1, token), Poll::Ready(Err(Error::Os(Errno::NOTCONN))));
        poller.expect_nobody();
    }

    let listener = util::tcp_listener();
    let mut io = poller.io(Waiter::new(1));
    match rustix::net::connect(io.fd(token).unwrap(), &listener.local_addr().unwrap()) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => panic!("{errno}"),
    }
    let (peer, _) = loop {
        match listener.accept() {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            accepted => break accepted.unwrap(),
        }
    };
    poller.wait(1, token, Direction::Read);
    write(&peer, b"x");
    poller.expect_waiters(&[1]);
    eventually("the byte", || {
        poller.turn(Timeout::Now);
        poller.read_byte(1, token) == Poll::Ready(Ok(Some(b'x')))
    });
}

/// Case 36, G54.
#[test]
fn oob_is_priority_not_readable() {
    if !util::has_priority("oob_is_priority_not_readable") {
        return;
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (client, server) = tcp_pair();
    let token = poller.open(server, BOTH | Interest::PRIORITY);
    poller.wait_read(1, token);
    assert_eq!(rustix::net::send(&client, b"!", SendFlags::OOB), Ok(1));
    // Whoever waits to read finds nothing, if it is woken at all.
    let mut io = poller.io(Waiter::new(3));
    assert_eq!(io.poll_ready(token, Direction::Priority), Poll::Pending);
    let mut woken = Vec::new();
    eventually("the urgent byte", || {
        woken.extend(poller.turn(Timeout::Now));
        woken.contains(&3)
    });
    if cfg!(target_os = "linux") {
        assert!(!poller.is_ready(token, Direction::Read));
    }
    // An ordinary byte behind it opens the read gate.
    poller.wait(1, token, Direction::Read);
    write(&client, b"x");
    woken.clear();
    eventually("the ordinary byte", || {
        woken.extend(poller.turn(Timeout::Now));
        woken.contains(&1)
    });
}

/// Case 37: there is no level mode; a dead descriptor that nobody closes says so once.
#[test]
fn dead_fd_does_not_spin() {
    let mut storage = PollerStorage::<8>::new();
    let mut poller = TestPoller::new(&mut storage);
    let mut open = Vec::new();
    for (waiter, (ours, theirs)) in [pipe(), socket_pair(), pty()].into_iter().enumerate() {
        let token = poller.open(ours, READ);
        poller.wait(waiter as u32, token, Direction::Read);
        open.push(token);
        drop(theirs);
    }
    poller.expect_waiters(&[0, 1, 2]);
    let before = poller.stats();
    assert_eq!(poller.turn(Timeout::After(Duration::from_millis(30))), []);
    let after = poller.stats();
    assert_eq!(after.events, before.events);
    assert!(after.polls - before.polls <= 2);
    for token in open {
        assert!(poller.is_ready(token, Direction::Read));
    }
}

/// G19, G20: everything that the peer can do to a socket in one batch with data, while both directions are waited for.
#[test]
fn g19_hup_wakes_both() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    let token = poller.open(ours, BOTH);
    poller.wait_write(2, token);
    poller.wait_read(1, token);
    write(&theirs, b"x");
    drop(theirs);
    poller.expect_waiters(&[1, 2]);
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Ok(Some(b'x'))));
    // Unread data of ours makes the close a reset.
    assert_eq!(poller.read_byte(1, token), Poll::Ready(Err(Error::Os(Errno::CONNRESET))));
    assert_eq!(poller.write(2, token, b"x"), Poll::Ready(Err(Error::Os(Errno::PIPE))));
}

/// G18: an error opens the priority gate as well, where it is the only one.
#[test]
fn g18_error_wakes_priority() {
    if !util::has_priority("g18_error_wakes_priority") {
        return;
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = tcp_pair();
    let token = poller.open(ours, Interest::PRIORITY);
    assert_eq!(poller.io(Waiter::new(1)).poll_ready(token, Direction::Priority), Poll::Pending);
    set_socket_linger(&theirs, Some(Duration::ZERO)).unwrap();
    drop(theirs);
    poller.expect_waiters(&[1]);
}

/// Case 93, G58.
#[cfg(target_os = "linux")]
#[test]
fn inotify_overflow() {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    use std::mem::MaybeUninit;
    let limit: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        return skip("inotify_overflow", format_args!("the queue takes {limit} events"));
    }
    let folder = std::env::temp_dir().join(format!("netpoll-inotify-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let file = std::fs::File::create(folder.join("file")).unwrap();
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&queue, folder.join("file"), WatchFlags::MODIFY | WatchFlags::ATTRIB).unwrap();
    let token = poller.open(queue, READ);
    poller.wait_read(1, token);
    // Two kinds in turn, because equal events are merged.
    for _ in 0..limit / 2 + 10 {
        write(&file, b"x");
        rustix::fs::fchmod(&file, rustix::fs::Mode::RUSR).unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(poller.turn(Timeout::Never), [1]);
    poller.expect_nobody();
    let mut overflown = 0;
    let drained = poller.io(Waiter::new(1)).poll_io(token, Direction::Read, |fd| {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(fd, &mut buffer);
        loop {
            overflown += usize::from(events.next()?.events().contains(ReadFlags::QUEUE_OVERFLOW));
        }
        #[allow(unreachable_code)]
        Ok::<(), Errno>(())
    });
    assert_eq!((drained, overflown), (Poll::Pending, 1));
    poller.expect_nobody();
}

#[cfg(target_os = "linux")]
fn own_network(test: &str) -> Option<()> {
    network::own_network(|reason| skip(test, reason))
}

#[cfg(target_os = "linux")]
fn ip(test: &str, arguments: &str) -> Option<()> {
    network::ip(|reason| skip(test, reason), arguments)
}

/// Case 94, G58: the overrun is one error, after which there is more to read; no spin.
#[cfg(target_os = "linux")]
#[test]
fn netlink_enobufs_no_spin() {
    use rustix::net::netlink::SocketAddrNetlink;
    const TEST: &str = "netlink_enobufs_no_spin";
    alone(|| {
        if own_network(TEST).is_none() {
            return;
        }
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).unwrap(); // protocol 0: NETLINK_ROUTE
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
        const LINKS: u32 = 1; // RTMGRP_LINK
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, LINKS)).unwrap();
        let token = poller.open(socket, READ);
        poller.wait_read(1, token);
        for _ in 0..8 {
            if ip(TEST, "link set lo up").and_then(|()| ip(TEST, "link set lo down")).is_none() {
                return;
            }
        }
        assert_eq!(poller.turn(Timeout::Never), [1]);
        let (mut overruns, mut messages) = (0, 0);
        loop {
            match poller.read(1, token) {
                Poll::Ready(Ok(_)) => messages += 1,
                Poll::Ready(Err(error)) => {
                    assert_eq!(error, Error::Os(Errno::NOBUFS));
                    overruns += 1;
                }
                Poll::Pending => break,
            }
        }
        assert_eq!(overruns, 1);
        assert!(messages >= 1);
        poller.expect_nobody();
        // It goes on.
        ip(TEST, "link set lo up").unwrap();
        assert_eq!(poller.turn(Timeout::Never), [1]);
        assert!(poller.wait_read(1, token) > 0);
    });
}

/// Waits for packets of an interface, which is deleted meanwhile.
#[cfg(target_os = "linux")]
fn interface_deleted<A>(
    test: &str,
    create: &str,
    name: &std::ffi::CStr,
    family: libc::c_int,
    protocol: libc::c_int,
    address: impl Fn(i32) -> A,
) {
    use std::os::fd::AsRawFd;
    if own_network(test).and_then(|()| ip(test, create)).is_none() {
        return;
    }
    let name = name.to_str().unwrap();
    ip(test, &format!("link set {name} up")).unwrap();
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let protocol = rustix::net::Protocol::from_raw(std::num::NonZeroU32::new(protocol as u32).unwrap());
    let socket = rustix::net::socket_with(AddressFamily::from_raw(family as u16), SocketType::RAW, flags, Some(protocol)).unwrap();
    let interface = rustix::net::netdevice::name_to_index(&socket, name).unwrap();
    let address = address(interface as i32);
    // SAFETY: the address is as long as its type.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<A>() as u32) };
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());

    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let token = poller.open(socket, READ);
    poller.wait_read(1, token);
    // What the interface says by itself when it comes up is not what is waited for.
    ip(test, &format!("link delete {name}")).unwrap();
    let mut error = None;
    eventually("an error of the interface", || {
        poller.turn(Timeout::Now);
        match poller.read(1, token) {
            Poll::Ready(Err(errno)) => error = Some(errno),
            Poll::Ready(Ok(_)) | Poll::Pending => {}
        }
        error.is_some()
    });
    assert!(matches!(error, Some(Error::Os(Errno::NETDOWN | Errno::NODEV))), "{error:?}");
    // The error is fetched, and there is no other.
    let events = poller.stats().events;
    for _ in 0..10 {
        poller.expect_nobody();
    }
    assert!(poller.stats().events <= events + 2);
}

/// Case 38, G58.
#[cfg(target_os = "linux")]
#[test]
fn vcan_iface_delete_wakes_reader() {
    alone(|| {
        interface_deleted(
            "vcan_iface_delete_wakes_reader",
            "link add vcan0 type vcan",
            c"vcan0",
            libc::AF_CAN,
            libc::CAN_RAW,
            |interface| {
                // SAFETY: all zeroes is an address.
                let mut address: libc::sockaddr_can = unsafe { std::mem::zeroed() };
                address.can_family = libc::AF_CAN as u16;
                address.can_ifindex = interface;
                address
            },
        );
    });
}

/// G58: as case 38, for the packets of an ordinary interface.
#[cfg(target_os = "linux")]
#[test]
fn g58_iface_delete_wakes_reader() {
    let all = i32::from((libc::ETH_P_ALL as u16).to_be());
    alone(|| {
        interface_deleted(
            "g58_iface_delete_wakes_reader",
            "link add veth0 type veth peer name veth1",
            c"veth0",
            libc::AF_PACKET,
            all,
            |interface| {
                // SAFETY: all zeroes is an address.
                let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
                address.sll_family = libc::AF_PACKET as u16;
                address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
                address.sll_ifindex = interface;
                address
            },
        );
    });
}

/// G58: the kernel's refusal to queue more is an answer (`ENOBUFS`), or a wait that ends; never a spin.
#[test]
fn g58_full_socket_does_not_spin() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, theirs) = socket_pair();
    fill(&ours);
    let token = poller.open(ours, BOTH);
    assert_eq!(poller.write(1, token, b"x"), Poll::Pending);
    poller.turn(Timeout::Now);
    let before = poller.stats();
    assert_eq!(poller.turn(Timeout::After(Duration::from_millis(20))), []);
    assert!(poller.stats().polls - before.polls <= 2);
    drain(&theirs);
    poller.expect_waiters(&[1]);
}
