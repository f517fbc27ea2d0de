//! UDP sockets: datagrams, errors, deadlines, full buffers, broadcast and multicast, with blocking sockets of the standard library as
//! peers.

#![cfg(target_os = "linux")]

#[path = "util/block.rs"]
mod block;
#[path = "util/network.rs"]
mod network;
#[path = "util/reactor.rs"]
mod reactor;
mod util;

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, ready};
use std::time::{Duration, Instant as StdInstant};

use block::block;
use netpoll::net::{MulticastInterface, UdpOptions, UdpSocket};
use netpoll::{Context, Errno, Error, Handler, Instant, Io, Poller, PollerStorage, Reactor, ReactorStorage, Timeout, Waiter};
use reactor::{Answer, DONE, Log, PATIENCE, Probe, Script, limit_this_program, run_until, script, settle};
use rustix::net::sockopt;
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use util::{alone, eventually, skip};

const ME: Waiter = Waiter::new(1);
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const LOCAL_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const ANY_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
const LONG_AGO: Option<Instant> = Some(Instant::from_nanos(1));

fn with_poller<T>(test: impl FnOnce(&mut Poller<'_>) -> T) -> T {
    limit_this_program();
    let mut storage = PollerStorage::<8>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    test(&mut poller)
}

/// What an operation in our name says at once.
fn now<T>(poller: &mut Poller<'_>, operation: impl FnOnce(&mut Io<'_>) -> T) -> T {
    operation(&mut poller.io(ME))
}

/// The next datagram, and who sent it.
#[track_caller]
fn receive(poller: &mut Poller<'_>, socket: &UdpSocket) -> Result<(Vec<u8>, SocketAddr), Error> {
    let mut buf = [0; 65536];
    block(poller, |io| socket.recv_from(io, &mut buf)).map(|(n, from)| (buf[..n].to_vec(), from))
}

/// A blocking peer, which gives up after a while.
fn peer_at(addr: impl Into<SocketAddr>) -> StdSocket {
    let socket = StdSocket::bind(addr.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn peer() -> StdSocket {
    peer_at(LOCAL)
}

/// What a peer gets next.
#[track_caller]
fn peer_receives(peer: &StdSocket) -> Vec<u8> {
    let mut buf = [0; 65536];
    let n = peer.recv(&mut buf).unwrap();
    buf[..n].to_vec()
}

/// Our open socket at `addr`, and its address.
fn open_at(poller: &mut Poller<'_>, addr: SocketAddr) -> (UdpSocket, SocketAddr) {
    let unopened = UdpSocket::bind(addr).unwrap();
    let addr = unopened.local_addr().unwrap();
    (unopened.open(&mut poller.io(ME)).unwrap(), addr)
}

/// Our open socket, a peer that is connected to it, and what tells when something has arrived.
fn with_socket<T>(test: impl FnOnce(&mut Poller<'_>, UdpSocket, StdSocket, Probe) -> T) -> T {
    with_poller(|poller| {
        let unopened = UdpSocket::bind(LOCAL).unwrap();
        let peer = peer();
        peer.connect(unopened.local_addr().unwrap()).unwrap();
        let probe = Probe::of(&unopened);
        let socket = unopened.open(&mut poller.io(ME)).unwrap();
        test(poller, socket, peer, probe)
    })
}

fn options(choose: impl FnOnce(&mut UdpOptions)) -> UdpOptions {
    let mut options = UdpOptions::default();
    choose(&mut options);
    options
}

fn os<T>(errno: Errno) -> Result<T, Error> {
    Err(Error::Os(errno))
}

fn own_network(test: &str) -> Option<()> {
    network::own_network(|reason| skip(test, reason))
}

fn ip(test: &str, arguments: &str) -> Option<()> {
    network::ip(|reason| skip(test, reason), arguments)
}

// ---- Making

// A socket is non-blocking, close-on-exec, may broadcast as in Go, shares its address with nobody, and takes IPv4 on an IPv6 address.
#[test]
fn default_options() {
    for addr in [LOCAL, ANY_V6] {
        let bound = UdpSocket::bind(addr).unwrap();
        let connected = UdpSocket::connect(bound.local_addr().unwrap()).unwrap();
        for socket in [&bound, &connected] {
            assert!(rustix::fs::fcntl_getfl(socket).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
            assert!(rustix::io::fcntl_getfd(socket).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            assert_eq!(sockopt::socket_broadcast(socket), Ok(true));
            assert_eq!((sockopt::socket_reuseaddr(socket), sockopt::socket_reuseport(socket)), (Ok(false), Ok(false)));
            if addr.is_ipv6() {
                assert_eq!(sockopt::ipv6_v6only(socket), Ok(false));
            }
        }
    }
}

// Options are what the kernel has.
#[test]
fn chosen_options() {
    let shared = options(|options| (options.reuse_address, options.reuse_port, options.broadcast) = (true, true, false));
    let socket = UdpSocket::bind_with(LOCAL, &shared).unwrap();
    assert_eq!((sockopt::socket_reuseaddr(&socket), sockopt::socket_reuseport(&socket)), (Ok(true), Ok(true)));
    assert_eq!(sockopt::socket_broadcast(&socket), Ok(false));
    let socket = UdpSocket::connect_with("127.0.0.1:9".parse().unwrap(), Some(LOCAL), &shared).unwrap();
    assert_eq!((sockopt::socket_reuseaddr(&socket), sockopt::socket_broadcast(&socket)), (Ok(true), Ok(false)));
    for only in [true, false] {
        let socket = UdpSocket::bind_with(ANY_V6, &options(|options| options.v6_only = Some(only))).unwrap();
        assert_eq!(sockopt::ipv6_v6only(&socket), Ok(only));
    }
}

// Errors of binding and connecting come at once, in the words that users know.
#[test]
fn bind_and_connect_errors() {
    let holder = peer();
    let taken = holder.local_addr().unwrap();
    let error = UdpSocket::bind(taken).unwrap_err();
    assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::ADDRINUSE), "address already in use"));
    assert_eq!(UdpSocket::bind("192.0.2.1:0".parse().unwrap()).unwrap_err(), Error::Os(Errno::ADDRNOTAVAIL));
    let addr = "127.0.0.1:9".parse().unwrap();
    let connect_from = |local| UdpSocket::connect_with(addr, Some(local), &UdpOptions::default()).unwrap_err();
    assert_eq!(connect_from(taken), Error::Os(Errno::ADDRINUSE));
    assert!(matches!(connect_from(LOCAL_V6), Error::Os(Errno::INVAL | Errno::AFNOSUPPORT)));
}

// Sockets that all ask for it share an address, and the kernel spreads the peers among them; each datagram is seen once.
#[test]
fn reuse_port() {
    with_poller(|poller| {
        let shared = options(|options| options.reuse_port = true);
        let first = UdpSocket::bind_with(LOCAL, &shared).unwrap();
        let addr = first.local_addr().unwrap();
        assert_eq!(UdpSocket::bind(addr).unwrap_err(), Error::Os(Errno::ADDRINUSE));
        let second = UdpSocket::bind_with(addr, &shared).unwrap();
        let sockets = [first, second].map(|socket| socket.open(&mut poller.io(ME)).unwrap());
        let mut got = [0, 0];
        // Enough that not all fall to one side; each comes from another port.
        const PEERS: usize = 64;
        for peer in (0..PEERS).map(|_| peer()) {
            peer.send_to(b"x", addr).unwrap();
        }
        while got[0] + got[1] < PEERS {
            for (socket, got) in sockets.iter().zip(&mut got) {
                while let Poll::Ready(n) = now(poller, |io| socket.recv(io, &mut [0; 8])) {
                    assert_eq!(n, Ok(1));
                    *got += 1;
                }
            }
            if got[0] + got[1] < PEERS {
                assert!(poller.poll(PATIENCE, |_| ()).unwrap().waiters > 0, "{got:?}");
            }
        }
        assert!(got[0] > 0 && got[1] > 0, "{got:?}");
    });
}

// ---- Receiving

// Nothing, one, several: each datagram by itself, however many are there; then it waits.
#[test]
fn recv_none_one_and_several() {
    with_socket(|poller, socket, peer, probe| {
        let mut buf = [0; 64];
        assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
        peer.send(b"one").unwrap();
        assert_eq!(block(poller, |io| socket.recv(io, &mut buf)), Ok(3));
        assert_eq!(&buf[..3], b"one");
        assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
        for datagram in [&b"a"[..], b"bb", b"ccc"] {
            peer.send(datagram).unwrap();
        }
        probe.wait_readable();
        for datagram in [&b"a"[..], b"bb", b"ccc"] {
            assert_eq!(receive(poller, &socket), Ok((datagram.to_vec(), peer.local_addr().unwrap())));
        }
        assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
    });
}

// Case 20: one edge for many datagrams: all are received without another, until it waits; one that stops early goes on; the next edge
// comes.
#[test]
fn udp_et_recv_until_eagain() {
    with_socket(|poller, socket, peer, probe| {
        let mut buf = [0; 64];
        for round in 0..3 {
            assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
            let events = poller.stats().events;
            for datagram in [&b"one"[..], b"", b"three"] {
                peer.send(datagram).unwrap();
            }
            probe.wait_readable();
            for len in [3, 0, 5] {
                assert_eq!(block(poller, |io| socket.recv(io, &mut buf)), Ok(len), "round {round}");
                poller.poll(Timeout::Now, |_| panic!("nobody waits")).unwrap();
            }
            assert!((1..=3).contains(&(poller.stats().events - events)));
            assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
        }
    });
}

// Go's TestUDPReadSizeError: a datagram that does not fit is cut without an error, the rest is lost, and the next one comes whole.
#[test]
fn a_smaller_buffer_cuts() {
    with_socket(|poller, socket, peer, _| {
        for _ in 0..3 {
            peer.send(b"0123456789").unwrap();
        }
        peer.send(b"next").unwrap();
        let mut buf = [b'.'; 8];
        assert_eq!(block(poller, |io| socket.recv(io, &mut buf[..4])), Ok(4));
        assert_eq!(&buf, b"0123....");
        assert_eq!(block(poller, |io| socket.recv_from(io, &mut buf[..5])), Ok((5, peer.local_addr().unwrap())));
        assert_eq!(&buf, b"01234...");
        // An empty buffer takes one too.
        assert_eq!(block(poller, |io| socket.recv(io, &mut [])), Ok(0));
        assert_eq!(receive(poller, &socket).unwrap().0, b"next");
    });
}

// `recv_msg` says whether a datagram was cut, also across several buffers; one that just fits was not.
#[test]
fn recv_msg_tells_of_truncation() {
    with_socket(|poller, socket, peer, _| {
        for (datagram, len, truncated) in [(&b"12345"[..], 5, false), (b"123456", 5, true), (b"1", 1, false), (b"", 0, false)] {
            peer.send(datagram).unwrap();
            let (mut first, mut second) = ([0; 2], [0; 3]);
            let received =
                block(poller, |io| socket.recv_msg(io, &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)])).unwrap();
            assert_eq!((received.len, received.truncated, received.from), (len, truncated, peer.local_addr().unwrap()));
            assert_eq!(&[&first[..], &second].concat()[..len], &datagram[..len]);
        }
        let mut byte = [0];
        assert!(now(poller, |io| socket.recv_msg(io, &mut [IoSliceMut::new(&mut byte)])).is_pending());
        // Nothing to put it in: it is lost, and that is said.
        peer.send(b"x").unwrap();
        let received = block(poller, |io| socket.recv_msg(io, &mut [])).unwrap();
        assert_eq!((received.len, received.truncated), (0, true));
        // More buffers than the kernel takes: an error, and the datagram stays.
        peer.send(b"stays").unwrap();
        let mut bytes = vec![[0]; 1025];
        let mut bufs: Vec<_> = bytes.iter_mut().map(|byte| IoSliceMut::new(byte)).collect();
        assert_eq!(now(poller, |io| socket.recv_msg(io, &mut bufs)), Poll::Ready(os(Errno::MSGSIZE)));
        assert_eq!(receive(poller, &socket).unwrap().0, b"stays");
    });
}

// Go's TestUDPZeroBytePayload: an empty datagram is sent, and received as one: 0 bytes and no end.
#[test]
fn empty_datagram() {
    with_socket(|poller, socket, peer, _| {
        let from = peer.local_addr().unwrap();
        let mut buf = [0; 8];
        for _ in 0..2 {
            peer.send(b"").unwrap();
            assert_eq!(block(poller, |io| socket.recv(io, &mut buf)), Ok(0));
            peer.send(b"").unwrap();
            assert_eq!(block(poller, |io| socket.recv_from(io, &mut buf)), Ok((0, from)));
            assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
        }
        assert_eq!(now(poller, |io| socket.send_to(io, b"", from)), Poll::Ready(Ok(0)));
        assert_eq!(now(poller, |io| socket.send_msg(io, &[], Some(from))), Poll::Ready(Ok(0)));
        assert_eq!(now(poller, |io| socket.send_to(io, b"x", from)), Poll::Ready(Ok(1)));
        assert_eq!([(); 3].map(|()| peer_receives(&peer)), [&b""[..], b"", b"x"]);
    });
}

// A peek leaves the datagram, whole also after a short look.
#[test]
fn peek_leaves_the_datagram() {
    with_socket(|poller, socket, peer, _| {
        let from = peer.local_addr().unwrap();
        let mut buf = [0; 8];
        assert!(now(poller, |io| socket.peek_from(io, &mut buf)).is_pending());
        peer.send(b"abc").unwrap();
        for len in [1, 8, 0, 2] {
            assert_eq!(block(poller, |io| socket.peek_from(io, &mut buf[..len])), Ok((len.min(3), from)));
        }
        assert_eq!(receive(poller, &socket), Ok((b"abc".to_vec(), from)));
        assert!(now(poller, |io| socket.peek_from(io, &mut buf)).is_pending());
    });
}

// What overflows the receive buffer is lost without an error, and the socket goes on.
#[test]
fn overflow_is_loss() {
    with_socket(|poller, socket, peer, probe| {
        const SENT: usize = 200;
        let mut buf = [0; 1024];
        let mut flood = |bytes: usize| {
            now(poller, |io| socket.set_recv_buffer_size(io, bytes)).unwrap();
            for _ in 0..SENT {
                peer.send(&[0; 1000]).unwrap();
            }
            probe.wait_readable();
            poller.poll(Timeout::Now, |_| ()).unwrap();
            let mut received = 0;
            while let Poll::Ready(n) = now(poller, |io| socket.recv(io, &mut buf)) {
                assert_eq!(n, Ok(1000));
                received += 1;
            }
            received
        };
        // Not all may have arrived when it is asked.
        eventually("fewer with less room", || (1..SENT / 2).contains(&flood(20_000)) && flood(100_000) > 2 * flood(20_000));
    });
}

// ---- Addresses

// Unconnected, over IPv4, IPv6 and both: who sent it is told, and can be answered at that address.
#[test]
fn unconnected_both_families() {
    let mapped = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::from((ip.to_ipv6_mapped(), addr.port())),
        IpAddr::V6(_) => addr,
    };
    for (bind, theirs) in [(LOCAL, LOCAL), (LOCAL_V6, LOCAL_V6), (ANY_V6, LOCAL), (ANY_V6, LOCAL_V6)] {
        with_poller(|poller| {
            let (socket, addr) = open_at(poller, bind);
            assert_eq!(now(poller, |io| socket.local_addr(io)), Ok(addr));
            assert_eq!(now(poller, |io| socket.peer_addr(io)), os(Errno::NOTCONN));
            let peer = peer_at(theirs);
            peer.send_to(b"ping", (theirs.ip(), addr.port())).unwrap();
            let (datagram, from) = receive(poller, &socket).unwrap();
            assert_eq!(datagram, b"ping");
            let expected = peer.local_addr().unwrap();
            assert_eq!(from, if bind.is_ipv6() { mapped(expected) } else { expected });
            // By the address that was told, and on Linux by the plain one.
            for to in [from, expected] {
                assert_eq!(now(poller, |io| socket.send_to(io, b"pong", to)), Poll::Ready(Ok(4)));
                assert_eq!(peer_receives(&peer), b"pong");
            }
        });
    }
}

// Connected: it hears its peer only, not a stranger, and sends there without an address.
#[test]
fn connected_hears_its_peer_only() {
    with_poller(|poller| {
        for bind in [LOCAL, LOCAL_V6] {
            let (peer, stranger) = (peer_at(bind), peer_at(bind));
            let theirs = peer.local_addr().unwrap();
            let unopened = UdpSocket::connect(theirs).unwrap();
            let addr = unopened.local_addr().unwrap();
            assert_eq!((addr.ip(), unopened.peer_addr()), (theirs.ip(), Ok(theirs)));
            let socket = unopened.open(&mut poller.io(ME)).unwrap();
            assert_eq!(now(poller, |io| (socket.local_addr(io), socket.peer_addr(io))), (Ok(addr), Ok(theirs)));
            stranger.send_to(b"let me in", addr).unwrap();
            peer.send_to(b"hello", addr).unwrap();
            assert_eq!(receive(poller, &socket), Ok((b"hello".to_vec(), theirs)));
            assert!(now(poller, |io| socket.recv(io, &mut [0; 16])).is_pending());
            assert_eq!(now(poller, |io| socket.send(io, b"")), Poll::Ready(Ok(0)));
            assert_eq!(peer_receives(&peer), b"");
            assert_eq!(now(poller, |io| socket.send(io, b"one")), Poll::Ready(Ok(3)));
            assert_eq!(now(poller, |io| socket.send_msg(io, &[IoSlice::new(b"t"), IoSlice::new(b"wo")], None)), Poll::Ready(Ok(3)));
            let mut buf = [0; 8];
            assert_eq!((peer.recv_from(&mut buf).unwrap(), &buf[..3]), ((3, addr), &b"one"[..]));
            assert_eq!(peer_receives(&peer), b"two");
            // Elsewhere, in spite of the connection: Linux does it, but the answer is not heard.
            let to = stranger.local_addr().unwrap();
            assert_eq!(now(poller, |io| socket.send_to(io, b"psst", to)), Poll::Ready(Ok(4)));
            assert_eq!(peer_receives(&stranger), b"psst");
            now(poller, |io| socket.close(io)).unwrap();
        }
    });
}

// Go's DialUDP with a local address.
#[test]
fn connect_from_a_local_address() {
    let peer = peer();
    let local = "127.0.0.9:0".parse().unwrap();
    let unopened = UdpSocket::connect_with(peer.local_addr().unwrap(), Some(local), &UdpOptions::default()).unwrap();
    let addr = unopened.local_addr().unwrap();
    assert_eq!(addr.ip(), local.ip());
    with_poller(|poller| {
        let socket = unopened.open(&mut poller.io(ME)).unwrap();
        assert_eq!(now(poller, |io| socket.send(io, b"x")), Poll::Ready(Ok(1)));
        assert_eq!(peer.recv_from(&mut [0; 8]).unwrap(), (1, addr));
    });
}

// One datagram out of several buffers, to an address.
#[test]
fn send_msg_gathers() {
    with_socket(|poller, socket, peer, _| {
        let to = peer.local_addr().unwrap();
        let bufs = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(now(poller, |io| socket.send_msg(io, &bufs, Some(to))), Poll::Ready(Ok(5)));
        assert_eq!(peer_receives(&peer), b"abcde");
        assert_eq!(now(poller, |io| socket.send_msg(io, &bufs, None)), Poll::Ready(os(Errno::DESTADDRREQ)));
        let many = vec![IoSlice::new(b"x"); 1025];
        assert_eq!(now(poller, |io| socket.send_msg(io, &many, Some(to))), Poll::Ready(os(Errno::MSGSIZE)));
    });
}

// ---- Errors

// Case 32: a port that nobody has is one ECONNREFUSED for who waits; then the socket waits again, and works when somebody is there.
#[test]
fn refused_once_then_goes_on() {
    with_poller(|poller| {
        // An address of its own, so that nobody else is given the port.
        let theirs = peer_at(([127, 0, 32, 1], 0)).local_addr().unwrap();
        let unopened = UdpSocket::connect(theirs).unwrap();
        let addr = unopened.local_addr().unwrap();
        let socket = unopened.open(&mut poller.io(ME)).unwrap();
        let mut buf = [0; 8];
        for _ in 0..2 {
            assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
            assert_eq!(now(poller, |io| socket.send(io, b"anybody?")), Poll::Ready(Ok(8)));
            let error = block(poller, |io| socket.recv(io, &mut buf)).unwrap_err();
            assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::CONNREFUSED), "connection refused"));
            assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
            poller.poll(Timeout::Now, |_| panic!("it spins")).unwrap();
        }
        let peer = peer_at(theirs);
        assert_eq!(now(poller, |io| socket.send(io, b"hello?")), Poll::Ready(Ok(6)));
        assert_eq!(peer_receives(&peer), b"hello?");
        peer.send_to(b"yes", addr).unwrap();
        assert_eq!(receive(poller, &socket).unwrap().0, b"yes");
    });
}

// A refusal that nobody received is the next send's answer, and that datagram is not sent; the one after it is. `take_error` takes it too.
#[test]
fn refused_in_the_next_send() {
    with_poller(|poller| {
        let theirs = peer_at(([127, 0, 32, 2], 0)).local_addr().unwrap();
        let unopened = UdpSocket::connect(theirs).unwrap();
        let probe = Probe::of(&unopened);
        let socket = unopened.open(&mut poller.io(ME)).unwrap();
        let refused = |poller: &mut Poller<'_>| {
            assert_eq!(now(poller, |io| socket.send(io, b"anybody?")), Poll::Ready(Ok(8)));
            probe.wait(rustix::event::PollFlags::ERR);
        };
        refused(poller);
        let peer = peer_at(theirs);
        assert_eq!(now(poller, |io| socket.send(io, b"not sent")), Poll::Ready(os(Errno::CONNREFUSED)));
        assert_eq!(now(poller, |io| socket.send(io, b"sent")), Poll::Ready(Ok(4)));
        assert_eq!(peer_receives(&peer), b"sent");
        drop(peer);
        refused(poller);
        assert_eq!(now(poller, |io| socket.take_error(io)), Ok(Some(Errno::CONNREFUSED)));
        assert_eq!(now(poller, |io| socket.take_error(io)), Ok(None));
        assert!(now(poller, |io| socket.recv(io, &mut [0; 8])).is_pending());
    });
}

// Who is not connected is not told of refusals.
#[test]
fn unconnected_is_not_refused() {
    with_socket(|poller, socket, peer, _| {
        let nobody = peer_at(([127, 0, 32, 3], 0)).local_addr().unwrap();
        for _ in 0..3 {
            assert_eq!(now(poller, |io| socket.send_to(io, b"anybody?", nobody)), Poll::Ready(Ok(8)));
        }
        peer.send(b"hello").unwrap();
        assert_eq!(receive(poller, &socket).unwrap().0, b"hello");
        assert_eq!(now(poller, |io| socket.take_error(io)), Ok(None));
    });
}

// What cannot be sent says why, at once, and the socket goes on.
#[test]
fn send_errors() {
    with_socket(|poller, socket, peer, _| {
        let to = peer.local_addr().unwrap();
        let error = now(poller, |io| socket.send(io, b"x")).map(Result::unwrap_err);
        assert_eq!(error, Poll::Ready(Error::Os(Errno::DESTADDRREQ)));
        let mut send_to = |len: usize, to: SocketAddr| match now(poller, |io| socket.send_to(io, &vec![0; len], to)) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("{len} bytes to {to} wait"),
        };
        assert_eq!(send_to(65508, to), os(Errno::MSGSIZE));
        assert_eq!(Error::Os(Errno::MSGSIZE).to_string(), "message too long");
        assert_eq!(send_to(1, (to.ip(), 0).into()), os(Errno::INVAL));
        assert_eq!(send_to(1, LOCAL_V6), os(Errno::AFNOSUPPORT));
        assert_eq!(send_to(65507, to), Ok(65507));
        assert_eq!(peer_receives(&peer).len(), 65507);
    });
}

// Without a route there is an error, not a wait.
#[test]
fn network_unreachable() {
    alone(|| {
        if own_network("network_unreachable").and_then(|()| ip("network_unreachable", "link set lo up")).is_none() {
            return;
        }
        with_poller(|poller| {
            let (socket, _) = open_at(poller, ANY);
            let far = "192.0.2.1:9".parse().unwrap();
            let error = now(poller, |io| socket.send_to(io, b"x", far)).map(Result::unwrap_err);
            assert_eq!(error, Poll::Ready(Error::Os(Errno::NETUNREACH)));
            assert_eq!(UdpSocket::connect(far).unwrap_err(), Error::Os(Errno::NETUNREACH));
        });
    });
}

// ---- Deadlines

// Cases 57 to 59: a read without data ends by its deadline, not early, and again; the deadline beats data; cleared, the data comes through.
#[test]
fn read_deadline() {
    with_socket(|poller, socket, peer, probe| {
        let mut buf = [0; 8];
        let began = StdInstant::now();
        now(poller, |io| socket.set_read_timeout(io, Some(Duration::from_millis(20)))).unwrap();
        assert_eq!(block(poller, |io| socket.recv(io, &mut buf)), Err(Error::TimedOut));
        assert!(began.elapsed() >= Duration::from_millis(20));
        assert_eq!(Error::TimedOut.to_string(), "i/o timeout");
        peer.send(b"late").unwrap();
        probe.wait_readable();
        for _ in 0..2 {
            assert_eq!(now(poller, |io| socket.recv(io, &mut buf)), Poll::Ready(Err(Error::TimedOut)));
            assert_eq!(now(poller, |io| socket.recv_from(io, &mut buf)), Poll::Ready(Err(Error::TimedOut)));
            assert_eq!(now(poller, |io| socket.peek_from(io, &mut buf)), Poll::Ready(Err(Error::TimedOut)));
            assert_eq!(now(poller, |io| socket.recv_msg(io, &mut [])), Poll::Ready(Err(Error::TimedOut)));
        }
        // Writing is another direction.
        assert_eq!(now(poller, |io| socket.send_to(io, b"x", peer.local_addr().unwrap())), Poll::Ready(Ok(1)));
        now(poller, |io| socket.set_read_timeout(io, Some(PATIENCE))).unwrap();
        assert_eq!(block(poller, |io| socket.recv(io, &mut buf)), Ok(4));
        now(poller, |io| socket.set_read_deadline(io, None)).unwrap();
        assert!(now(poller, |io| socket.recv(io, &mut buf)).is_pending());
    });
}

// With data there, a deadline that is ahead does nothing, and one that is past beats it.
#[test]
fn read_deadline_with_data() {
    with_socket(|poller, socket, peer, probe| {
        let mut buf = [0; 8];
        for datagram in [b"1", b"2"] {
            peer.send(datagram).unwrap();
        }
        probe.wait_readable();
        now(poller, |io| socket.set_read_timeout(io, Some(PATIENCE))).unwrap();
        assert_eq!(block(poller, |io| socket.recv(io, &mut buf)), Ok(1));
        now(poller, |io| socket.set_deadline(io, LONG_AGO)).unwrap();
        assert_eq!(now(poller, |io| socket.recv(io, &mut buf)), Poll::Ready(Err(Error::TimedOut)));
        now(poller, |io| socket.set_deadline(io, None)).unwrap();
        assert_eq!(receive(poller, &socket).unwrap().0, b"2");
    });
}

// A write deadline that has passed: nothing is sent, also though there is room; cleared, it is.
#[test]
fn write_deadline_with_room() {
    with_socket(|poller, socket, peer, _| {
        let to = peer.local_addr().unwrap();
        now(poller, |io| socket.set_write_deadline(io, LONG_AGO)).unwrap();
        for _ in 0..2 {
            assert_eq!(now(poller, |io| socket.send_to(io, b"not sent", to)), Poll::Ready(Err(Error::TimedOut)));
            assert_eq!(now(poller, |io| socket.send_msg(io, &[], Some(to))), Poll::Ready(Err(Error::TimedOut)));
        }
        assert!(now(poller, |io| socket.recv(io, &mut [0; 8])).is_pending());
        now(poller, |io| socket.set_write_deadline(io, None)).unwrap();
        assert_eq!(now(poller, |io| socket.send_to(io, b"sent", to)), Poll::Ready(Ok(4)));
        assert_eq!(peer_receives(&peer), b"sent");
    });
}

/// A loopback interface that takes its time, since by itself it takes all that it is given at once.
fn slow_loopback(test: &str) -> Option<()> {
    own_network(test)?;
    ip(test, "link set lo mtu 1500 up")?;
    network::tc(|reason| skip(test, reason), "qdisc add dev lo root tbf rate 1mbit burst 2000 limit 1000000")
}

// A full send buffer waits for the interface, and goes on by an edge; a write deadline ends the wait; nothing is lost, doubled or turned
// around.
#[test]
fn send_buffer_full() {
    alone(|| {
        if slow_loopback("send_buffer_full").is_none() {
            return;
        }
        // The loopback delivers on the processor that has sent: two of them may turn datagrams around.
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        sched_setaffinity(None, &here).unwrap();
        with_poller(|poller| {
            let peer = peer();
            let socket = UdpSocket::connect(peer.local_addr().unwrap()).unwrap().open(&mut poller.io(ME)).unwrap();
            now(poller, |io| socket.set_send_buffer_size(io, 4096)).unwrap();
            let mut datagram = [0; 1000];
            let mut sent = 0u8;
            let mut waits = 0;
            while waits < 5 {
                datagram[0] = sent;
                match now(poller, |io| socket.send(io, &datagram)) {
                    Poll::Ready(n) => assert_eq!(n, Ok(1000)),
                    Poll::Pending => {
                        waits += 1;
                        assert_eq!(block(poller, |io| socket.send(io, &datagram)), Ok(1000));
                    }
                }
                sent += 1;
                assert!(sent < 100, "{waits} waits");
            }
            // Full again; a datagram takes 8 ms on this interface.
            while now(poller, |io| socket.send(io, &datagram)).is_ready() {}
            let began = StdInstant::now();
            now(poller, |io| socket.set_write_timeout(io, Some(Duration::from_millis(2)))).unwrap();
            assert_eq!(block(poller, |io| socket.send(io, b"late")), Err(Error::TimedOut));
            assert!(began.elapsed() >= Duration::from_millis(2));
            now(poller, |io| socket.set_write_deadline(io, None)).unwrap();
            assert_eq!(block(poller, |io| socket.send(io, b"last")), Ok(4));
            for number in 0..sent {
                assert_eq!(peer_receives(&peer)[0], number);
            }
            while peer_receives(&peer) != b"last" {}
        });
    });
}

// ---- Broadcast

// As in Go a broadcast address can be sent to; without the option that is EACCES, for connecting too.
#[test]
fn broadcast() {
    with_poller(|poller| {
        let listener = peer_at(ANY);
        let to = SocketAddr::from(([127, 255, 255, 255], listener.local_addr().unwrap().port()));
        let (socket, _) = open_at(poller, ANY);
        assert_eq!(now(poller, |io| socket.send_to(io, b"default", to)), Poll::Ready(Ok(7)));
        assert_eq!(peer_receives(&listener), b"default");
        now(poller, |io| socket.set_broadcast(io, false)).unwrap();
        let error = now(poller, |io| socket.send_to(io, b"forbidden", to)).map(Result::unwrap_err);
        assert_eq!(error, Poll::Ready(Error::Os(Errno::ACCESS)));
        now(poller, |io| socket.set_broadcast(io, true)).unwrap();
        assert_eq!(now(poller, |io| socket.send_to(io, b"allowed", to)), Poll::Ready(Ok(7)));
        assert_eq!(peer_receives(&listener), b"allowed");

        let quiet = options(|options| options.broadcast = false);
        assert_eq!(UdpSocket::connect_with(to, None, &quiet).unwrap_err(), Error::Os(Errno::ACCESS));
        let socket = UdpSocket::bind_with(ANY, &quiet).unwrap().open(&mut poller.io(ME)).unwrap();
        assert_eq!(now(poller, |io| socket.send_to(io, b"forbidden", to)), Poll::Ready(os(Errno::ACCESS)));
        // IPv4 through an IPv6 socket is no exception.
        let IpAddr::V4(ip) = to.ip() else { unreachable!() };
        let mapped = SocketAddr::from((ip.to_ipv6_mapped(), to.port()));
        let (both, _) = open_at(poller, ANY_V6);
        assert_eq!(now(poller, |io| both.send_to(io, b"mapped", mapped)), Poll::Ready(Ok(6)));
        assert_eq!(peer_receives(&listener), b"mapped");
    });
}

// ---- Multicast

const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3));
/// Of the local network.
const GROUP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x1234, 0x5678));
/// Of this machine.
const NODE_GROUP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0x1234, 0x5678));
const ADDR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A network with an interface that can do multicast and has [`ADDR`]; its number, after that of the loopback interface.
fn multicast_network(test: &str) -> Option<[MulticastInterface; 2]> {
    own_network(test)?;
    ip(test, "link set lo up")?;
    ip(test, "link add name va type veth peer name vb")?;
    ip(test, "link set va up")?;
    ip(test, "link set vb up")?;
    ip(test, "addr add 192.0.2.1/24 dev va")?;
    ip(test, "addr add fd00::1/64 dev va nodad")?;
    // Without it IPv6 delivers no multicast on the loopback interface.
    ip(test, "-6 route add local ff00::/8 dev lo")?;
    let any = StdSocket::bind(ANY).unwrap();
    let index = |name| MulticastInterface::Index(rustix::net::netdevice::name_to_index(&any, name).unwrap());
    Some([index("lo"), index("va")])
}

/// A listener on a port of the group's, which has joined nothing.
fn listener(poller: &mut Poller<'_>, group: IpAddr) -> (UdpSocket, u16) {
    let any = if group.is_ipv4() { ANY } else { ANY_V6 };
    let unopened = UdpSocket::bind_with(any, &options(|options| options.reuse_address = true)).unwrap();
    let port = unopened.local_addr().unwrap().port();
    (unopened.open(&mut poller.io(ME)).unwrap(), port)
}

/// Whether `listener` hears what `sender` sends to the group, by what it gets before a datagram to itself.
fn hears(poller: &mut Poller<'_>, listener: &UdpSocket, sender: &UdpSocket, group: SocketAddr) -> bool {
    let own = if group.is_ipv4() { LOCAL } else { LOCAL_V6 };
    assert_eq!(now(poller, |io| sender.send_to(io, b"to the group", group)), Poll::Ready(Ok(12)));
    peer_at(own).send_to(b"to the listener", (own.ip(), group.port())).unwrap();
    let mut heard = 0;
    while receive(poller, listener).unwrap().0 != b"to the listener" {
        heard += 1;
    }
    assert!(heard <= 1, "{heard} times");
    heard == 1
}

// Groups of both families, on the loopback and on another interface, by number and by address: who has joined hears, until he leaves.
#[test]
fn multicast_join_and_leave() {
    alone(|| {
        let Some([lo, other]) = multicast_network("multicast_join_and_leave") else { return };
        let by_addr = MulticastInterface::Addr(ADDR);
        let lo_by_addr = MulticastInterface::Addr(Ipv4Addr::LOCALHOST);
        let cases = [
            (GROUP, lo),
            (GROUP, other),
            (GROUP, by_addr),
            (GROUP, lo_by_addr),
            (GROUP_V6, lo),
            (GROUP_V6, other),
            (NODE_GROUP_V6, lo),
            (NODE_GROUP_V6, other),
        ];
        for (group, on) in cases {
            with_poller(|poller| {
                let (listener, port) = listener(poller, group);
                let (sender, _) = open_at(poller, if group.is_ipv4() { ANY } else { ANY_V6 });
                now(poller, |io| sender.multicast(io).unwrap().set_interface(on)).unwrap();
                let to = SocketAddr::from((group, port));
                assert!(!hears(poller, &listener, &sender, to), "{group} {on:?}: not joined");
                now(poller, |io| listener.multicast(io).unwrap().join(group, on)).unwrap();
                for _ in 0..2 {
                    assert!(hears(poller, &listener, &sender, to), "{group} {on:?}: joined");
                }
                now(poller, |io| listener.multicast(io).unwrap().leave(group, on)).unwrap();
                assert!(!hears(poller, &listener, &sender, to), "{group} {on:?}: left");
            });
        }
    });
}

// The sender's choice of loop decides whether this machine hears itself; on by default.
#[test]
fn multicast_loop() {
    alone(|| {
        let Some([_, on]) = multicast_network("multicast_loop") else { return };
        for group in [GROUP, GROUP_V6] {
            with_poller(|poller| {
                let (listener, port) = listener(poller, group);
                now(poller, |io| listener.multicast(io).unwrap().join(group, on)).unwrap();
                let (sender, _) = open_at(poller, if group.is_ipv4() { ANY } else { ANY_V6 });
                now(poller, |io| sender.multicast(io).unwrap().set_interface(on)).unwrap();
                let to = SocketAddr::from((group, port));
                assert!(hears(poller, &listener, &sender, to), "{group}: by default");
                for choice in [false, true, false] {
                    now(poller, |io| sender.multicast(io).unwrap().set_loop(choice)).unwrap();
                    assert_eq!(hears(poller, &listener, &sender, to), choice, "{group}");
                }
            });
        }
    });
}

// Datagrams go out of the interface that was chosen: a listener on another one does not hear them.
#[test]
fn multicast_interface() {
    alone(|| {
        let Some([lo, other]) = multicast_network("multicast_interface") else { return };
        for group in [GROUP, GROUP_V6] {
            with_poller(|poller| {
                let (listener, port) = listener(poller, group);
                now(poller, |io| listener.multicast(io).unwrap().join(group, lo)).unwrap();
                let (sender, _) = open_at(poller, if group.is_ipv4() { ANY } else { ANY_V6 });
                let to = SocketAddr::from((group, port));
                for (on, expected) in [(other, false), (lo, true), (other, false)] {
                    now(poller, |io| sender.multicast(io).unwrap().set_interface(on)).unwrap();
                    assert_eq!(hears(poller, &listener, &sender, to), expected, "{group} {on:?}");
                }
            });
        }
        // The system's choice: the route's.
        ip("multicast_interface", "route add 239.0.0.0/8 dev va").unwrap();
        with_poller(|poller| {
            let (listener, port) = listener(poller, GROUP);
            now(poller, |io| listener.multicast(io).unwrap().join(GROUP, MulticastInterface::Any)).unwrap();
            let (sender, _) = open_at(poller, ANY);
            let to = SocketAddr::from((GROUP, port));
            assert!(hears(poller, &listener, &sender, to));
            now(poller, |io| sender.multicast(io).unwrap().set_interface(lo)).unwrap();
            assert!(!hears(poller, &listener, &sender, to));
            now(poller, |io| sender.multicast(io).unwrap().set_interface(MulticastInterface::default())).unwrap();
            assert!(hears(poller, &listener, &sender, to));
        });
    });
}

// Several sockets share the group's port by `reuse_address`, and each hears every datagram.
#[test]
fn multicast_listeners_share_the_port() {
    alone(|| {
        let Some([_, on]) = multicast_network("multicast_listeners_share_the_port") else { return };
        with_poller(|poller| {
            let shared = options(|options| options.reuse_address = true);
            let first = UdpSocket::bind_with(ANY, &shared).unwrap();
            let port = first.local_addr().unwrap().port();
            let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            let sockets =
                [first, UdpSocket::bind_with(addr, &shared).unwrap(), UdpSocket::bind_with((GROUP, port).into(), &shared).unwrap()];
            let sockets = sockets.map(|socket| {
                // Before it is opened, where a program's start can still fail.
                socket.multicast().join(GROUP, on).unwrap();
                socket.open(&mut poller.io(ME)).unwrap()
            });
            let sender = UdpSocket::bind(ANY).unwrap();
            sender.multicast().set_interface(on).unwrap();
            let sender = sender.open(&mut poller.io(ME)).unwrap();
            assert_eq!(now(poller, |io| sender.send_to(io, b"all", (GROUP, port).into())), Poll::Ready(Ok(3)));
            for socket in &sockets {
                assert_eq!(receive(poller, socket).unwrap().0, b"all");
                assert!(now(poller, |io| socket.recv(io, &mut [0; 8])).is_pending());
            }
        });
    });
}

// What is wrong with a group or an interface is said as documented.
#[test]
fn multicast_errors() {
    alone(|| {
        let Some([lo, _]) = multicast_network("multicast_errors") else { return };
        let nowhere = MulticastInterface::Index(4711);
        let not_ours = MulticastInterface::Addr(Ipv4Addr::new(192, 0, 2, 77));
        let v4 = UdpSocket::bind(ANY).unwrap();
        let v4 = v4.multicast();
        assert_eq!(v4.join(Ipv4Addr::LOCALHOST.into(), lo), os(Errno::INVAL));
        assert_eq!(v4.join(GROUP, nowhere), os(Errno::NODEV));
        assert_eq!(v4.join(GROUP, not_ours), os(Errno::NODEV));
        assert_eq!(v4.join(GROUP, MulticastInterface::Any), os(Errno::NODEV), "no route");
        assert_eq!(v4.leave(GROUP, lo), os(Errno::ADDRNOTAVAIL));
        assert_eq!((v4.join(GROUP, lo), v4.join(GROUP, lo)), (Ok(()), os(Errno::ADDRINUSE)));
        assert_eq!((v4.leave(GROUP, lo), v4.leave(GROUP, lo)), (Ok(()), os(Errno::ADDRNOTAVAIL)));
        assert_eq!((v4.set_interface(nowhere), v4.set_interface(not_ours)), (os(Errno::ADDRNOTAVAIL), os(Errno::ADDRNOTAVAIL)));
        let mut groups = (1..=100).map(|number| v4.join(Ipv4Addr::new(239, 9, 9, number).into(), lo));
        assert_eq!(groups.find(Result::is_err), Some(os(Errno::NOBUFS)));

        let v6 = UdpSocket::bind(ANY_V6).unwrap();
        let v6 = v6.multicast();
        assert_eq!(v6.join(Ipv6Addr::LOCALHOST.into(), lo), os(Errno::INVAL));
        assert_eq!(v6.join(GROUP_V6, nowhere), os(Errno::NODEV));
        assert_eq!(v6.join(GROUP_V6, not_ours), os(Errno::AFNOSUPPORT));
        assert_eq!(v6.leave(GROUP_V6, lo), os(Errno::ADDRNOTAVAIL));
        assert_eq!((v6.join(GROUP_V6, lo), v6.join(GROUP_V6, lo)), (Ok(()), os(Errno::ADDRINUSE)));
        assert_eq!((v6.set_interface(nowhere), v6.set_interface(not_ours)), (os(Errno::NODEV), os(Errno::AFNOSUPPORT)));
    });
}

// ---- Options of an open socket

// They are what the kernel has afterwards, for the family of the socket.
#[test]
fn options_reach_the_kernel() {
    with_poller(|poller| {
        for addr in [LOCAL, LOCAL_V6] {
            let (socket, _) = open_at(poller, addr);
            let mut io = poller.io(ME);
            let v6 = addr.is_ipv6();
            for ttl in [1, 17, 255] {
                socket.set_ttl(&mut io, ttl).unwrap();
                socket.multicast(&mut io).unwrap().set_ttl(ttl - 1).unwrap();
                let fd = io.fd(socket.token()).unwrap();
                let set = if v6 { sockopt::ipv6_unicast_hops(fd).map(u32::from) } else { sockopt::ip_ttl(fd) };
                assert_eq!(set, Ok(ttl.into()));
                let set = if v6 { sockopt::ipv6_multicast_hops(fd) } else { sockopt::ip_multicast_ttl(fd) };
                assert_eq!(set, Ok(u32::from(ttl) - 1));
            }
            for on in [false, true] {
                socket.multicast(&mut io).unwrap().set_loop(on).unwrap();
                socket.set_broadcast(&mut io, on).unwrap();
                let fd = io.fd(socket.token()).unwrap();
                assert_eq!(if v6 { sockopt::ipv6_multicast_loop(fd) } else { sockopt::ip_multicast_loop(fd) }, Ok(on));
                assert_eq!(sockopt::socket_broadcast(fd), Ok(on));
            }
            for bytes in [20_000, 50_000] {
                socket.set_recv_buffer_size(&mut io, bytes).unwrap();
                socket.set_send_buffer_size(&mut io, 2 * bytes).unwrap();
                let fd = io.fd(socket.token()).unwrap();
                assert_eq!((sockopt::socket_recv_buffer_size(fd), sockopt::socket_send_buffer_size(fd)), (Ok(2 * bytes), Ok(4 * bytes)));
            }
            if !v6 {
                assert_eq!(socket.set_ttl(&mut io, 0), os(Errno::INVAL));
            }
        }
    });
}

// ---- Ownership

fn every_operation(socket: &UdpSocket, io: &mut Io<'_>) -> Vec<Result<(), Error>> {
    let mut buf = [0; 8];
    let somebody = "127.0.0.1:9".parse().unwrap();
    let answered = |poll: Poll<Result<(), Error>>| match poll {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    };
    vec![
        answered(socket.recv(io, &mut buf).map_ok(drop)),
        answered(socket.recv(io, &mut []).map_ok(drop)),
        answered(socket.recv_from(io, &mut buf).map_ok(drop)),
        answered(socket.peek_from(io, &mut buf).map_ok(drop)),
        answered(socket.recv_msg(io, &mut []).map_ok(drop)),
        answered(socket.send(io, b"x").map_ok(drop)),
        answered(socket.send(io, b"").map_ok(drop)),
        answered(socket.send_to(io, b"x", somebody).map_ok(drop)),
        answered(socket.send_msg(io, &[], None).map_ok(drop)),
        answered(socket.send_msg(io, &[], Some(somebody)).map_ok(drop)),
        socket.set_broadcast(io, true),
        socket.set_ttl(io, 1),
        socket.set_recv_buffer_size(io, 1),
        socket.set_send_buffer_size(io, 1),
        socket.multicast(io).map(drop),
        socket.take_error(io).map(drop),
        socket.local_addr(io).map(drop),
        socket.peer_addr(io).map(drop),
        socket.set_read_deadline(io, None),
        socket.set_write_deadline(io, LONG_AGO),
        socket.set_deadline(io, None),
        socket.set_read_timeout(io, None),
        socket.set_write_timeout(io, Some(Duration::ZERO)),
        socket.set_timeout(io, None),
        socket.close(io).map(drop),
    ]
}

// Everything on a closed socket is `Closed`, also after its slot was taken again; the port is free.
#[test]
fn use_after_close() {
    with_poller(|poller| {
        let (socket, addr) = open_at(poller, ([127, 0, 32, 4], 0).into());
        assert!(now(poller, |io| socket.recv(io, &mut [0; 8])).is_pending());
        drop(now(poller, |io| socket.close(io)).unwrap());
        for answer in now(poller, |io| every_operation(&socket, io)) {
            assert_eq!(answer, Err(Error::Closed));
        }
        for addr in std::iter::once(addr).chain([LOCAL; 7]) {
            open_at(poller, addr);
        }
        for answer in now(poller, |io| every_operation(&socket, io)) {
            assert_eq!(answer, Err(Error::Closed));
        }
    });
}

// Everything on another handler's socket is `NotOwner`, and does nothing to it.
#[test]
fn use_by_another_handler() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let unopened = UdpSocket::bind(LOCAL).unwrap();
    let addr = unopened.local_addr().unwrap();
    let log = Log::new();
    let entries = log.clone();
    let mut shared = None;
    reactor
        .spawn_with(unopened, |socket| {
            let socket = Rc::new(socket);
            shared = Some(Rc::clone(&socket));
            script(move |cx: &mut Context<'_, Script>| -> Answer {
                let n = ready!(socket.recv(cx, &mut [0; 8]));
                entries.push(n);
                DONE
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    let (socket, entries) = (shared.unwrap(), log.clone());
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| -> Answer {
            for answer in every_operation(&socket, cx) {
                entries.push(answer.map(|()| 99));
            }
            DONE
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    let answers = log.take();
    assert!(answers.len() >= 25);
    assert!(answers.iter().all(|answer| *answer == Err(Error::NotOwner)), "{answers:?}");
    // The owner still waits.
    peer().send_to(b"abc", addr).unwrap();
    run_until(&mut reactor, &mut (), |()| log.len() > 0);
    assert_eq!(log.take(), [Ok(3)]);
}

// ---- Under a reactor

/// The example of the documentation.
struct Echo {
    socket: UdpSocket,
    buf: [u8; 2048],
    answer: Option<(usize, SocketAddr)>,
}

impl Handler for Echo {
    type Shared = Served;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        loop {
            if let Some((len, peer)) = self.answer {
                let _lost = ready!(self.socket.send_to(cx, &self.buf[..len], peer));
                self.answer = None;
            }
            self.answer = Some(ready!(self.socket.recv_from(cx, &mut self.buf))?);
            let token = self.socket.token();
            cx.shared().0.push(token);
        }
    }
}

/// Whose socket has received, one entry for each datagram.
#[derive(Default)]
struct Served(Vec<netpoll::Token>);

fn echo(socket: UdpSocket) -> Echo {
    Echo { socket, buf: [0; 2048], answer: None }
}

// The echo of the documentation answers each of many peers, in order; a port that cannot be reached does not end it.
#[test]
fn echo_handler() {
    let mut storage = ReactorStorage::<Echo, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let socket = UdpSocket::bind(LOCAL).unwrap();
    let addr = socket.local_addr().unwrap();
    reactor.spawn_with(socket, echo).unwrap();
    limit_this_program();
    let peers: Vec<StdSocket> = (0..16).map(|_| peer()).collect();
    let mut shared = Served::default();
    const ROUNDS: usize = 10;
    for round in 0..ROUNDS {
        peer().send_to(b"gone before the answer", addr).unwrap();
        for (number, peer) in peers.iter().enumerate() {
            peer.send_to(format!("{number} {round}").as_bytes(), addr).unwrap();
        }
        run_until(&mut reactor, &mut shared, |shared| shared.0.len() == (round + 1) * (peers.len() + 1));
    }
    for round in 0..ROUNDS {
        for (number, peer) in peers.iter().enumerate() {
            assert_eq!(peer_receives(peer), format!("{number} {round}").as_bytes());
        }
    }
}

// A socket with a full buffer beside one with a single datagram: after one budget the quiet one has its turn.
#[test]
fn a_full_buffer_does_not_starve_its_neighbour() {
    const BUDGET: u8 = 4;
    const FLOOD: usize = 50;
    let mut storage = ReactorStorage::<Echo, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap().with_budget(BUDGET.try_into().unwrap());
    let (mut tokens, mut addrs) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let socket = UdpSocket::bind(LOCAL).unwrap();
        addrs.push(socket.local_addr().unwrap());
        reactor
            .spawn_with(socket, |socket| {
                tokens.push(socket.token());
                echo(socket)
            })
            .unwrap();
    }
    let mut shared = Served::default();
    settle(&mut reactor, &mut shared);
    let (flooder, quiet) = (peer(), peer());
    for _ in 0..FLOOD {
        flooder.send_to(b"x", addrs[0]).unwrap();
    }
    quiet.send_to(b"me too", addrs[1]).unwrap();
    run_until(&mut reactor, &mut shared, |shared| shared.0.len() == FLOOD + 1);
    let turn = shared.0.iter().position(|token| *token == tokens[1]).unwrap();
    assert!(turn <= BUDGET.into(), "after {turn} of the other's");
    assert_eq!(peer_receives(&quiet), b"me too");
}

/// Keeps datagrams waiting at `addr`, at most as many as the kernel surely keeps: its queue is shared with every test on this machine.
fn flood(addr: SocketAddr, done: &AtomicBool) {
    const AHEAD: usize = 64;
    let flooder = peer();
    flooder.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let end = StdInstant::now() + PATIENCE;
    let mut ahead = 0;
    while !done.load(Ordering::Relaxed) && StdInstant::now() < end {
        while ahead < AHEAD {
            flooder.send_to(b"x", addr).unwrap();
            ahead += 1;
        }
        match flooder.recv(&mut [0; 8]) {
            Ok(_) => ahead -= 1,
            Err(_) => ahead = 0, // they are lost
        }
    }
}

/// Sends to `addr` until the answer comes, as who uses UDP has to.
fn ask(socket: &StdSocket, addr: SocketAddr, question: &[u8]) -> bool {
    let mut answer = [0; 64];
    (0..PATIENCE.as_secs()).any(|_| {
        socket.send_to(question, addr).unwrap();
        // What comes late is the answer to an earlier question.
        while let Ok(n) = socket.recv(&mut answer) {
            if &answer[..n] == question {
                return true;
            }
        }
        false
    })
}

// A flood that never ends: the quiet neighbour's conversation goes on all the same, and the flood is served too.
#[test]
fn an_endless_flood_leaves_its_neighbour_alone() {
    const ROUNDS: usize = 100;
    let mut storage = ReactorStorage::<Echo, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (mut tokens, mut addrs) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let socket = UdpSocket::bind(LOCAL).unwrap();
        addrs.push(socket.local_addr().unwrap());
        reactor
            .spawn_with(socket, |socket| {
                tokens.push(socket.token());
                echo(socket)
            })
            .unwrap();
    }
    let done = AtomicBool::new(false);
    let mut shared = Served::default();
    let served = |shared: &Served, index: usize| shared.0.iter().filter(|token| **token == tokens[index]).count();
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| flood(addrs[0], &done));
        run_until(&mut reactor, &mut shared, |shared| served(shared, 0) > 100);
        let quiet = scope.spawn(|| {
            let quiet = peer();
            quiet.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            (0..ROUNDS).take_while(|round| ask(&quiet, addrs[1], round.to_string().as_bytes())).count()
        });
        run_until(&mut reactor, &mut shared, |shared| quiet.is_finished() && served(shared, 0) > 200);
        done.store(true, Ordering::Relaxed);
        quiet.join().unwrap()
    });
    assert_eq!(answered, ROUNDS);
}
