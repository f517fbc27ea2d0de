//! Dialling: one address or several, within a time, and what the network may answer.

#![cfg(target_os = "linux")]

#[path = "util/block.rs"]
mod block;
#[path = "util/mod.rs"]
mod util;

#[path = "util/network.rs"]
mod network;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant as StdInstant};

use netpoll::net::{ConnectOptions, Dial, KeepAlive, TcpListener, TcpStream};
use netpoll::{Clock, Errno, Error, Instant, OpError, OwnedFd, Poller, PollerStorage, Waiter};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use util::{PATIENCE, alone, eventually, open_fds, skip};

const ME: Waiter = Waiter::new(1);
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// An address of nobody's (RFC 5737).
const NOBODY: &str = "192.0.2.1:9";

fn with_poller<T>(test: impl FnOnce(&mut Poller<'_>) -> T) -> T {
    let mut storage = PollerStorage::<1>::new();
    test(&mut Poller::new(&mut storage).unwrap())
}

/// Does what Go's blocking `Dial` would do.
#[track_caller]
fn block<const N: usize>(poller: &mut Poller<'_>, dial: &mut Dial<N>) -> Result<TcpStream, OpError> {
    block::block(poller, |io| dial.poll(io))
}

fn listener() -> (StdListener, SocketAddr) {
    let listener = StdListener::bind(LOCAL).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A port that is taken and that nobody listens on: connections are refused, and nobody else can be given it meanwhile.
fn refusing() -> (OwnedFd, SocketAddr) {
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&fd, &LOCAL).unwrap();
    let addr = rustix::net::getsockname(&fd).unwrap().try_into().unwrap();
    (fd, addr)
}

/// A listener whose backlog is full: who connects hangs.
fn silent() -> (Vec<OwnedFd>, SocketAddr) {
    let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &LOCAL).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let addr = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let mut fds = vec![listener];
    // One is taken, and all that come after it hang.
    for _ in 0..3 {
        let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        let _ = rustix::net::connect(&fd, &addr);
        fds.push(fd);
    }
    eventually("the first of them is connected", || rustix::net::getpeername(&fds[1]).is_ok());
    (fds, addr)
}

/// The table has room for one descriptor, and nothing holds it.
#[track_caller]
fn assert_free(poller: &mut Poller<'_>) {
    let (_listener, addr) = listener();
    let stream = TcpStream::connect(addr).unwrap().open(&mut poller.io(ME)).unwrap();
    drop(stream.close(&mut poller.io(ME)).unwrap());
}

// ---- One address

// The seeds: dial a server; then both ends talk. The deadline of the dial is none of the stream.
#[test]
fn dial_connects() {
    with_poller(|poller| {
        let (listener, addr) = listener();
        let limit = Duration::from_millis(200);
        let began = StdInstant::now();
        let stream = block(poller, &mut Dial::to(addr).with_timeout(limit)).unwrap();
        let (_, peer) = listener.accept().unwrap();
        let io = &mut poller.io(ME);
        assert_eq!((stream.local_addr(io), stream.peer_addr(io)), (Ok(peer), Ok(addr)));
        while began.elapsed() <= limit {
            poller.poll(limit, |_| ()).unwrap();
        }
        assert_eq!(stream.write(&mut poller.io(ME), b"hello"), Poll::Ready(Ok(5)));
    });
}

// The seeds: no service there, "connection refused", almost at once; the address is in the text. The slot is free again.
#[test]
fn dial_refused() {
    with_poller(|poller| {
        let (_holder, addr) = refusing();
        let error = block(poller, &mut Dial::to(addr).with_timeout(PATIENCE)).unwrap_err();
        assert_eq!((error.op, error.addr, error.error), ("dial", addr, Error::Os(Errno::CONNREFUSED)));
        assert_eq!(error.to_string(), format!("dial {addr}: connection refused"));
        assert_free(poller);
    });
}

// The seeds' DialTimeout; Go's TestDialTimeout. Never early; the socket is closed, the slot is free, no deadline is left.
#[test]
fn dial_timeout() {
    alone(|| {
        with_poller(|poller| {
            let (_holders, addr) = silent();
            let (fds, began) = (open_fds(), StdInstant::now());
            let error = block(poller, &mut Dial::to(addr).with_timeout(Duration::from_millis(50))).unwrap_err();
            assert!(began.elapsed() >= Duration::from_millis(50));
            assert_eq!(error.to_string(), format!("dial {addr}: i/o timeout"));
            assert_eq!(open_fds(), fds);
            assert_free(poller);
        });
    });
}

// Go's TestDialTimeoutMaxDuration: the longest time there is does not overflow into none.
#[test]
fn dial_timeout_max_duration() {
    with_poller(|poller| {
        let (_listener, addr) = listener();
        block(poller, &mut Dial::to(addr).with_timeout(Duration::MAX)).unwrap();
    });
}

// A deadline that has passed makes no socket: also a server that is there is not called.
#[test]
fn dial_with_a_deadline_in_the_past() {
    with_poller(|poller| {
        let (listener, addr) = listener();
        for mut dial in [Dial::to(addr).with_deadline(Instant::from_nanos(1)), Dial::to(addr).with_timeout(Duration::ZERO)] {
            let Poll::Ready(answer) = dial.poll(&mut poller.io(ME)) else { panic!("it waits") };
            assert_eq!(answer.unwrap_err().error, Error::TimedOut);
        }
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

// The seeds: the backlog of a busy server is full; the dial hangs until the server accepts one, and then succeeds.
#[test]
fn dial_hangs_until_the_backlog_has_room() {
    with_poller(|poller| {
        let (mut fds, addr) = silent();
        let mut dial = Dial::to(addr).with_timeout(PATIENCE);
        assert!(dial.poll(&mut poller.io(ME)).is_pending());
        let listener = StdListener::from(fds.remove(0));
        listener.set_nonblocking(true).unwrap();
        let connected = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut accepted = Vec::new();
                while !connected.load(Relaxed) {
                    accepted.extend(listener.accept());
                    std::thread::yield_now();
                }
            });
            let answer = block(poller, &mut dial);
            connected.store(true, Relaxed);
            answer.unwrap();
        });
    });
}

// A dial that is given up, or one whose handler ends, leaves nothing; it can begin anew.
#[test]
fn dial_cancelled() {
    with_poller(|poller| {
        let (_holders, addr) = silent();
        let mut dial = Dial::to(addr).with_timeout(PATIENCE);
        assert!(dial.poll(&mut poller.io(ME)).is_pending());
        assert_eq!(TcpListener::bind(LOCAL).unwrap().open(&mut poller.io(ME)).unwrap_err().error, Error::Full);
        dial.cancel(&mut poller.io(ME));
        assert_free(poller);
        dial.cancel(&mut poller.io(ME));
        assert!(dial.poll(&mut poller.io(ME)).is_pending());
    });
}

// After an answer the same dial begins anew, and its timeout counts from there: for those who reconnect.
#[test]
fn dial_again() {
    with_poller(|poller| {
        let (holder, addr) = refusing();
        let mut dial = Dial::to(addr).with_timeout(PATIENCE);
        for _ in 0..2 {
            assert_eq!(block(poller, &mut dial).unwrap_err().error, Error::Os(Errno::CONNREFUSED));
        }
        rustix::net::listen(&holder, 1).unwrap();
        let stream = block(poller, &mut dial).unwrap();
        assert_eq!(stream.peer_addr(&mut poller.io(ME)), Ok(addr));
    });
}

// A full table is an error, at once: nothing is connected that could not be kept.
#[test]
fn dial_into_a_full_table() {
    with_poller(|poller| {
        let _holder = TcpListener::bind(LOCAL).unwrap().open(&mut poller.io(ME)).unwrap();
        let (listener, addr) = listener();
        let mut dial = Dial::<2>::new(&[addr, addr]).unwrap();
        let Poll::Ready(answer) = dial.poll(&mut poller.io(ME)) else { panic!("it waits") };
        assert_eq!(answer.unwrap_err(), OpError::new("dial", addr, Error::Full));
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

// Without descriptors the dial says so.
#[test]
fn dial_without_descriptors() {
    alone(|| {
        with_poller(|poller| {
            let (_listener, addr) = listener();
            let limit = rustix::process::Rlimit { current: Some(3), maximum: None };
            let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { maximum: before.maximum, ..limit })
                .unwrap();
            let error = block(poller, &mut Dial::to(addr)).unwrap_err();
            rustix::process::setrlimit(rustix::process::Resource::Nofile, before).unwrap();
            assert_eq!(error.to_string(), format!("dial {addr}: too many open files"));
            block(poller, &mut Dial::to(addr)).unwrap();
        });
    });
}

// ---- Options

// The local address is what the peer sees; one of nobody's, a taken one, or one of another family is an error with the dialled address.
#[test]
fn dial_from_a_local_address() {
    with_poller(|poller| {
        let (listener, addr) = listener();
        let from = |local: SocketAddr| {
            let mut options = ConnectOptions::default();
            options.local = Some(local);
            Dial::to(addr).with_options(options)
        };
        let local = SocketAddr::from(([127, 0, 0, 2], 0));
        let stream = block(poller, &mut from(local)).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), local.ip());
        drop(stream.close(&mut poller.io(ME)));
        let failures = [
            (NOBODY.parse().unwrap(), Errno::ADDRNOTAVAIL),
            (addr, Errno::ADDRINUSE),
            (SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), Errno::AFNOSUPPORT),
        ];
        for (local, errno) in failures {
            assert_eq!(block(poller, &mut from(local)).unwrap_err(), OpError::new("dial", addr, errno));
        }
    });
}

// Go's keep-alive and TCP_NODELAY are on unless they are turned off.
#[test]
fn dial_options_reach_the_kernel() {
    with_poller(|poller| {
        let (_listener, addr) = listener();
        for keep_alive in [Some(KeepAlive::default()), None] {
            let mut options = ConnectOptions::default();
            (options.keep_alive, options.nodelay) = (keep_alive, keep_alive.is_some());
            let stream = block(poller, &mut Dial::to(addr).with_options(options)).unwrap();
            let fd = stream.close(&mut poller.io(ME)).unwrap();
            assert_eq!(sockopt::socket_keepalive(&fd), Ok(keep_alive.is_some()));
            assert_eq!(sockopt::tcp_nodelay(&fd), Ok(keep_alive.is_some()));
            let fifteen =
                sockopt::tcp_keepidle(&fd) == Ok(Duration::from_secs(15)) && sockopt::tcp_keepintvl(&fd) == Ok(Duration::from_secs(15));
            assert_eq!(fifteen, keep_alive.is_some());
        }
    });
}

#[test]
fn dial_ipv6() {
    with_poller(|poller| {
        let listener = StdListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let stream = block(poller, &mut Dial::to(addr)).unwrap();
        assert_eq!(stream.peer_addr(&mut poller.io(ME)), Ok(addr));
    });
}

// ---- Several addresses

// They are tried in turn, through one place in the table; the first that answers is it.
#[test]
fn dial_the_first_that_answers() {
    with_poller(|poller| {
        let (_holder, refusing) = refusing();
        let ((_first, first), (_second, second)) = (listener(), listener());
        let mut dial = Dial::<4>::new(&[refusing, first, second]).unwrap().with_timeout(PATIENCE);
        assert_eq!(block(poller, &mut dial).unwrap().peer_addr(&mut poller.io(ME)), Ok(first));
    });
}

// If none answers, the first one's error is told, as in Go.
#[test]
fn dial_tells_the_first_error() {
    with_poller(|poller| {
        let (_holder, refusing) = refusing();
        let broadcast = SocketAddr::from(([255, 255, 255, 255], 9));
        let tell = |poller: &mut Poller<'_>, addrs: &[SocketAddr]| block(poller, &mut Dial::<2>::new(addrs).unwrap()).unwrap_err();
        assert_eq!(tell(poller, &[refusing, broadcast]), OpError::new("dial", refusing, Errno::CONNREFUSED));
        let error = tell(poller, &[broadcast, refusing]);
        assert_eq!(error.addr, broadcast);
        assert_ne!(error.error, Error::Os(Errno::CONNREFUSED));
        assert_free(poller);
    });
}

// One that says nothing gets its share of the time, and not what the next one needs.
#[test]
fn dial_shares_the_time() {
    use std::cell::Cell;
    thread_local!(static NOW: Cell<u64> = const { Cell::new(1_000_000_000) });
    fn clock() -> Instant {
        Instant::from_nanos(NOW.get())
    }
    let pass = |poller: &mut Poller<'_>, time: Duration| {
        NOW.set(NOW.get() + time.as_nanos() as u64);
        poller.poll(Duration::ZERO, |_| ()).unwrap();
    };
    let second = Duration::from_secs(1);
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::with_clock(&mut storage, Clock::Custom(clock)).unwrap();
    let (_holders, first) = silent();
    let (_more_holders, second_addr) = silent();
    let (_listener, third) = listener();
    let mut dial = Dial::<3>::new(&[first, second_addr, third]).unwrap().with_timeout(12 * second);
    // Twelve seconds for three, then eight for two.
    let began = clock();
    for share in [4 * second, 4 * second] {
        assert!(dial.poll(&mut poller.io(ME)).is_pending());
        assert_eq!(poller.next_deadline(), Some(clock() + share));
        pass(&mut poller, share - Duration::from_nanos(1));
        assert!(dial.poll(&mut poller.io(ME)).is_pending());
        pass(&mut poller, Duration::from_nanos(1));
    }
    assert_eq!(block(&mut poller, &mut dial).unwrap().peer_addr(&mut poller.io(ME)), Ok(third));
    assert_eq!(clock() - began, 8 * second);
}

// When the time is up the rest is not tried, and the first error is told.
#[test]
fn dial_out_of_time_before_the_last() {
    with_poller(|poller| {
        let (_holders, first) = silent();
        let (listener, second) = listener();
        let mut dial = Dial::<2>::new(&[first, second]).unwrap().with_timeout(Duration::from_millis(30));
        assert_eq!(block(poller, &mut dial).unwrap_err(), OpError::new("dial", first, Error::TimedOut));
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

// More addresses than there is room for, and none at all, are refused in words.
#[test]
fn dial_too_many_or_none() {
    assert_eq!(Dial::<1>::new(&[LOCAL, LOCAL]).unwrap_err(), Error::Full);
    assert_eq!(Dial::<1>::new(&[]).unwrap_err().to_string(), "destination address required");
}

// ---- What the network answers

/// Runs in a network of the test's own, with a loopback interface.
fn in_own_network(test: &str, body: impl FnOnce(&dyn Fn(&str) -> Option<()>) -> Option<()>) {
    let skip = |reason: &dyn std::fmt::Display| skip(test, reason);
    let ip = |arguments: &str| network::ip(skip, arguments);
    let _ = network::own_network(skip).and_then(|()| ip("link set lo up")).and_then(|()| body(&ip));
}

#[track_caller]
fn dial_nobody(expected: Errno, text: &str) {
    with_poller(|poller| {
        let addr: SocketAddr = NOBODY.parse().unwrap();
        let error = block(poller, &mut Dial::to(addr).with_timeout(PATIENCE)).unwrap_err();
        assert_eq!((error, error.to_string()), (OpError::new("dial", addr, expected), format!("dial {NOBODY}: {text}")));
        assert_free(poller);
    });
}

// The seeds: the network cannot be reached: told at once.
#[test]
fn dial_network_unreachable() {
    alone(|| {
        in_own_network("dial_network_unreachable", |_| {
            dial_nobody(Errno::NETUNREACH, "network is unreachable");
            Some(())
        });
    });
}

// The host cannot be reached: told by a route at once, or late by a neighbour that is not there.
#[test]
fn dial_host_unreachable() {
    alone(|| {
        in_own_network("dial_host_unreachable", |ip| {
            ip("route add unreachable 192.0.2.0/24")?;
            dial_nobody(Errno::HOSTUNREACH, "no route to host");
            ip("route del unreachable 192.0.2.0/24")?;
            ip("link add veth0 type veth peer name veth1")?;
            ip("addr add 192.0.2.2/24 dev veth0")?;
            ip("link set veth0 up")?;
            ip("link set veth1 up")?;
            network::sysctl("ipv4/neigh/veth0/retrans_time_ms", "50");
            dial_nobody(Errno::HOSTUNREACH, "no route to host");
            Some(())
        });
    });
}

// The seeds: the server never accepts; the kernel itself gives up (here after one retry, by default after two minutes).
#[test]
fn dial_timed_out_by_the_kernel() {
    alone(|| {
        in_own_network("dial_timed_out_by_the_kernel", |_| {
            network::sysctl("ipv4/tcp_syn_retries", "1");
            let (_holders, addr) = silent();
            with_poller(|poller| {
                let error = block(poller, &mut Dial::to(addr)).unwrap_err();
                assert_eq!(error.to_string(), format!("dial {addr}: connection timed out"));
                assert_free(poller);
            });
            Some(())
        });
    });
}

/// How many connections were begun in this network.
fn connects() -> u64 {
    let snmp = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split_whitespace().position(|name| name == "ActiveOpens").unwrap();
    values.split_whitespace().nth(place).unwrap().parse().unwrap()
}

// A port that nobody listens on, chosen as our own: the connection would lead to itself. Refused, unless both addresses were asked for.
#[test]
fn dial_itself() {
    alone(|| {
        in_own_network("dial_itself", |_| {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
            network::sysctl("ipv4/ip_local_port_range", "40000 40000");
            // It does happen.
            let itself = StdStream::connect(addr).unwrap();
            assert_eq!(itself.local_addr().unwrap(), addr);
            sockopt::set_socket_linger(&itself, Some(Duration::ZERO)).unwrap();
            drop(itself);
            with_poller(|poller| {
                let before = connects();
                assert_eq!(block(poller, &mut Dial::to(addr)).unwrap_err(), OpError::new("dial", addr, Errno::CONNREFUSED));
                assert_eq!(connects() - before, 3, "tried again twice");
                let mut options = ConnectOptions::default();
                options.local = Some(addr);
                let stream = block(poller, &mut Dial::to(addr).with_options(options)).unwrap();
                assert_eq!(stream.local_addr(&mut poller.io(ME)), Ok(addr));
            });
            Some(())
        });
    });
}
