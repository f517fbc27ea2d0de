//! TCP sockets: listening, connecting, reading, writing, closing, with blocking sockets of the standard library as peers.

#![cfg(target_os = "linux")]

#[path = "util/block.rs"]
mod block;
#[path = "util/reactor.rs"]
mod util;

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::{Duration, Instant as StdInstant};

use block::block;
use netpoll::net::{KeepAlive, ListenOptions, Shutdown, TcpListener, TcpStream, Unopened};
use netpoll::{Context, Direction, Errno, Error, Instant, Io, OwnedFd, Poller, PollerStorage, Reactor, ReactorStorage, Timeout, Waiter};
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use util::{
    Answer, DONE, Log, PATIENCE, Probe, Script, assert_closed, pair, probed_pair, run_until, script, settle, std_connect, std_listener,
};

const ME: Waiter = Waiter::new(1);
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const LONG_AGO: Option<Instant> = Some(Instant::from_nanos(1));

fn with_poller<T>(test: impl FnOnce(&mut Poller<'_>) -> T) -> T {
    let mut storage = PollerStorage::<8>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    test(&mut poller)
}

/// An open stream and its peer.
fn with_stream<T>(test: impl FnOnce(&mut Poller<'_>, TcpStream, StdStream, Probe) -> T) -> T {
    with_poller(|poller| {
        let (peer, ours, probe) = probed_pair();
        let stream = ours.open(&mut poller.io(ME)).unwrap();
        test(poller, stream, peer, probe)
    })
}

/// Byte `index` of a stream in which no two places look alike.
fn pattern(index: usize) -> u8 {
    (index ^ (index >> 8).wrapping_mul(31) ^ (index >> 16).wrapping_mul(17)) as u8
}

/// What was sent on the loopback before this returns has arrived: the kernel delivers in order.
fn flush() {
    let (mut peer, _ours, probe) = probed_pair();
    peer.write_all(b"x").unwrap();
    probe.wait_readable();
}

fn reset(peer: StdStream) {
    sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
}

/// Runs one test of this program again, alone in a process of its own, where it may change what belongs to the process; true in there.
#[track_caller]
fn in_own_process(test: &str) -> bool {
    const MARK: &str = "NETPOLL_TEST_IN_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    false
}

// ---- Listening

// Bind errors come at once, in the words that users know; nothing is left open.
#[test]
fn bind_errors() {
    let (_holder, taken) = std_listener();
    let error = TcpListener::bind(taken).unwrap_err();
    assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::ADDRINUSE), "address already in use"));
    let error = TcpListener::bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
    assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::ADDRNOTAVAIL), "cannot assign requested address"));
}

fn options(choose: impl FnOnce(&mut ListenOptions)) -> ListenOptions {
    let mut options = ListenOptions::default();
    choose(&mut options);
    options
}

// One reactor per core: listeners that share a port share its clients, and each client is one's only.
#[test]
fn reuse_port_spreads_clients_over_reactors() {
    const CLIENTS: usize = 64;
    let shared = options(|options| options.reuse_port = true);
    let first = TcpListener::bind_with(LOCAL, &shared).unwrap();
    let address = first.local_addr().unwrap();
    let second = TcpListener::bind_with(address, &shared).unwrap();
    let accepted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let reactors = [first, second].map(|listener| {
            let accepted = &accepted;
            scope.spawn(move || {
                with_poller(|poller| {
                    let listener = listener.open(&mut poller.io(ME)).unwrap();
                    let (mut own, end) = (0, StdInstant::now() + PATIENCE);
                    while accepted.load(Ordering::SeqCst) < CLIENTS {
                        assert!(StdInstant::now() < end, "{own} here");
                        while listener.accept(&mut poller.io(ME)).map(Result::unwrap).is_ready() {
                            own += 1;
                            accepted.fetch_add(1, Ordering::SeqCst);
                        }
                        poller.poll(Duration::from_millis(10), |_| ()).unwrap();
                    }
                    own
                })
            })
        });
        let _clients: Vec<_> = (0..CLIENTS).map(|_| std_connect(address)).collect();
        let shares = reactors.map(|reactor| reactor.join().unwrap());
        assert!(shares.iter().sum::<usize>() == CLIENTS && shares.iter().all(|&share| share > 0), "{shares:?}");
    });
}

// The seeds: clients are connected before they are accepted, as many as the backlog holds (Linux: one more); the next one hangs.
#[test]
fn backlog_holds_as_many_as_was_asked() {
    let listener = TcpListener::bind_with(LOCAL, &options(|options| options.backlog = 3)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut storage = PollerStorage::<5>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let dial = |poller: &mut Poller<'_>| TcpStream::connect(address).unwrap().open(&mut poller.io(ME)).unwrap();
    for _ in 0..4 {
        let stream = dial(&mut poller);
        assert_eq!(block(&mut poller, |io| stream.poll_connected(io)), Ok(()));
    }
    let stream = dial(&mut poller);
    stream.set_write_timeout(&mut poller.io(ME), Some(Duration::from_millis(50))).unwrap();
    assert_eq!(block(&mut poller, |io| stream.poll_connected(io)), Err(Error::TimedOut));
}

// Without a choice the kernel's limit is the backlog, which is Go's: `/proc/sys/net/core/somaxconn`.
#[test]
fn backlog_is_somaxconn() {
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let listener = TcpListener::bind(LOCAL).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    // Of a listener, ss(8) shows the backlog as what could be sent.
    let ss = Command::new("ss").args(["-Hltn", "sport", "=", &port]).output().expect("ss, of iproute2");
    let line = String::from_utf8(ss.stdout).unwrap();
    assert_eq!(line.split_whitespace().nth(2), Some(somaxconn.trim()), "{line}");
}

// Options of a listener are what the kernel has: reuse of the port, of the address, the kind of IPv6, keep-alive or none.
#[test]
fn listen_options() {
    let shared = options(|options| (options.reuse_port, options.keep_alive, options.nodelay) = (true, None, false));
    let first = TcpListener::bind_with(LOCAL, &shared).unwrap();
    let second = TcpListener::bind_with(first.local_addr().unwrap(), &shared).unwrap();
    assert!(sockopt::socket_reuseport(&second).unwrap() && sockopt::socket_reuseaddr(&second).unwrap());
    assert!(!sockopt::socket_keepalive(&second).unwrap() && !sockopt::tcp_nodelay(&second).unwrap());
    let alone = TcpListener::bind_with(LOCAL, &options(|options| options.reuse_address = false)).unwrap();
    assert!(!sockopt::socket_reuseport(&alone).unwrap() && !sockopt::socket_reuseaddr(&alone).unwrap());
    for only in [true, false] {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let listener = TcpListener::bind_with(any, &options(|options| options.v6_only = Some(only))).unwrap();
        assert_eq!(sockopt::ipv6_v6only(&listener).unwrap(), only);
    }
}

// Accepted sockets are non-blocking, close-on-exec, have the listener's keep-alive and the peer's address, over IPv4, IPv6 and both.
#[test]
fn accepted_sockets() {
    let addresses = [
        (LOCAL, Ipv4Addr::LOCALHOST.into()),
        (SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), Ipv6Addr::LOCALHOST.into()),
        // A wildcard of IPv6 takes IPv4 too, as in Go.
        (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), std::net::IpAddr::from(Ipv4Addr::LOCALHOST)),
    ];
    for (listen, dial) in addresses {
        with_poller(|poller| {
            let unopened = TcpListener::bind(listen).unwrap();
            let address = unopened.local_addr().unwrap();
            let listener = unopened.open(&mut poller.io(ME)).unwrap();
            assert_eq!(listener.local_addr(&mut poller.io(ME)), Ok(address));
            let client = std_connect((dial, address.port()).into());
            let (socket, peer) = block(poller, |io| listener.accept(io)).unwrap();
            let mapped = |address: SocketAddr| (address.ip().to_canonical(), address.port());
            assert_eq!(mapped(peer), mapped(client.local_addr().unwrap()));
            assert_eq!(socket.peer_addr(), Ok(peer));
            assert!(rustix::fs::fcntl_getfl(&socket).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
            assert!(rustix::io::fcntl_getfd(&socket).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            assert!(sockopt::socket_keepalive(&socket).unwrap());
            assert!(sockopt::tcp_nodelay(&socket).unwrap());
            let seconds = |seconds| Duration::from_secs(seconds);
            assert_eq!((sockopt::tcp_keepidle(&socket), sockopt::tcp_keepintvl(&socket)), (Ok(seconds(15)), Ok(seconds(15))));
            assert_eq!(sockopt::tcp_keepcnt(&socket), Ok(9));
            let stream = socket.open(&mut poller.io(ME)).unwrap();
            assert_eq!(stream.peer_addr(&mut poller.io(ME)), Ok(peer));
        });
    }
}

// G17: one edge for many connections: all are accepted, then it waits; an accept that stopped early goes on without a new one.
#[test]
fn accept_until_there_is_none() {
    with_poller(|poller| {
        let unopened = TcpListener::bind(LOCAL).unwrap();
        let (address, probe) = (unopened.local_addr().unwrap(), Probe::of(&unopened));
        let listener = unopened.open(&mut poller.io(ME)).unwrap();
        assert!(listener.accept(&mut poller.io(ME)).is_pending());
        let clients: Vec<StdStream> = (0..3).map(|_| std_connect(address)).collect();
        probe.wait_readable();
        for client in &clients {
            let (_, peer) = block(poller, |io| listener.accept(io)).unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
            poller.poll(Timeout::Now, |_| panic!("nobody waits")).unwrap();
        }
        assert!(listener.accept(&mut poller.io(ME)).is_pending());
    });
}

// A connection that died in the backlog disturbs nobody: what comes of it is an end or a reset, and the next one is accepted.
#[test]
fn accept_of_a_dead_connection() {
    with_poller(|poller| {
        let unopened = TcpListener::bind(LOCAL).unwrap();
        let address = unopened.local_addr().unwrap();
        let listener = unopened.open(&mut poller.io(ME)).unwrap();
        reset(std_connect(address));
        let client = std_connect(address);
        loop {
            let (socket, peer) = block(poller, |io| listener.accept(io)).unwrap();
            if peer == client.local_addr().unwrap() {
                break;
            }
            let stream = socket.open(&mut poller.io(ME)).unwrap();
            assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Err(Error::Os(Errno::CONNRESET)));
        }
    });
}

// Accept obeys its deadline, which is sticky, wins over a client, and can be cleared without losing that client (cases 57 to 59).
#[test]
fn accept_deadline() {
    with_poller(|poller| {
        let unopened = TcpListener::bind(LOCAL).unwrap();
        let address = unopened.local_addr().unwrap();
        let listener = unopened.open(&mut poller.io(ME)).unwrap();
        let began = StdInstant::now();
        listener.set_timeout(&mut poller.io(ME), Some(Duration::from_millis(10))).unwrap();
        assert_eq!(block(poller, |io| listener.accept(io)).unwrap_err(), Error::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(10));
        let client = std_connect(address);
        assert_eq!(block(poller, |io| listener.accept(io)).unwrap_err(), Error::TimedOut);
        listener.set_deadline(&mut poller.io(ME), None).unwrap();
        assert_eq!(block(poller, |io| listener.accept(io)).unwrap().1, client.local_addr().unwrap());
        assert!(listener.accept(&mut poller.io(ME)).is_pending());
    });
}

// A deadline ends the wait for room too: with a client in the backlog and the table full, the acceptor is run and told.
#[test]
fn accept_deadline_while_it_waits_for_room() {
    for client_is_there in [false, true] {
        let mut storage = ReactorStorage::<Script, 1, 1>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let unopened = TcpListener::bind(LOCAL).unwrap();
        let (address, probe) = (unopened.local_addr().unwrap(), Probe::of(&unopened));
        let client = client_is_there.then(|| std_connect(address));
        if client_is_there {
            probe.wait_readable();
        }
        let log = Log::new();
        let entries = log.clone();
        reactor
            .spawn_with(unopened, |listener| {
                let mut set = false;
                script(move |cx: &mut Context<'_, Script>| {
                    if !std::mem::replace(&mut set, true) {
                        listener.set_timeout(cx, Some(Duration::from_millis(5)))?;
                    }
                    let answer = ready!(listener.accept(cx));
                    entries.push(answer.unwrap_err());
                    DONE
                })
            })
            .unwrap();
        let end = StdInstant::now() + Duration::from_secs(20);
        while log.len() == 0 {
            assert!(StdInstant::now() < end, "with a client: {client_is_there}");
            reactor.run_once(Duration::from_millis(100), &mut ()).unwrap();
        }
        assert_eq!(log.take(), [Error::TimedOut]);
        drop(client);
    }
}

// On a bare poller, which cannot know who should be run, a full table is an error, and the client stays in the backlog.
#[test]
fn accept_into_a_full_table_of_a_bare_poller() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let unopened = TcpListener::bind(LOCAL).unwrap();
    let address = unopened.local_addr().unwrap();
    let listener = unopened.open(&mut poller.io(ME)).unwrap();
    let (_peer, other) = pair();
    let other = other.open(&mut poller.io(ME)).unwrap();
    let mut client = std_connect(address);
    assert_eq!(block(&mut poller, |io| listener.accept(io)).unwrap_err(), Error::Full);
    drop(other.close(&mut poller.io(ME)).unwrap());
    let (socket, _) = block(&mut poller, |io| listener.accept(io)).unwrap();
    let stream = socket.open(&mut poller.io(ME)).unwrap();
    client.write_all(b"x").unwrap();
    assert_eq!(block(&mut poller, |io| stream.read(io, &mut [0; 8])), Ok(1));
}

// A listener that is closed resets its backlog; the token is stale.
#[test]
fn closing_a_listener() {
    with_poller(|poller| {
        let unopened = TcpListener::bind(LOCAL).unwrap();
        let (address, probe) = (unopened.local_addr().unwrap(), Probe::of(&unopened));
        let listener = unopened.open(&mut poller.io(ME)).unwrap();
        let client = std_connect(address);
        probe.wait_readable();
        drop(probe);
        drop(listener.close(&mut poller.io(ME)).unwrap());
        assert_closed(&client);
        assert_eq!(listener.accept(&mut poller.io(ME)).map(Result::unwrap_err), Poll::Ready(Error::Closed));
        assert_eq!(listener.set_deadline(&mut poller.io(ME), None), Err(Error::Closed));
        assert!(StdStream::connect(address).is_err());
    });
}

/// Takes every descriptor that the process may still have.
fn take_all_descriptors() -> Vec<OwnedFd> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { current: Some(open + 20), ..limit }).unwrap();
    let mut taken = vec![OwnedFd::from(std::fs::File::open("/dev/null").unwrap())];
    while let Ok(fd) = taken[0].try_clone() {
        taken.push(fd);
    }
    taken
}

// G17: EMFILE is returned, the client stays in the backlog and its edge is kept: the acceptor gets it by its timer, and also when a slot is freed.
#[test]
fn accept_emfile_keeps_the_edge() {
    if !in_own_process("accept_emfile_keeps_the_edge") {
        return;
    }
    let mut storage = ReactorStorage::<Script<bool>, 8, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let unopened = TcpListener::bind(LOCAL).unwrap();
    let (address, probe) = (unopened.local_addr().unwrap(), Probe::of(&unopened));
    let log = Log::new();
    let entries = log.clone();
    // The shared state says whether it sets a timer.
    reactor
        .spawn_with(unopened, |listener| {
            script(move |cx: &mut Context<'_, Script<bool>>| {
                loop {
                    match ready!(listener.accept(cx)) {
                        Ok((_, peer)) => entries.push(Ok(peer)), // which closes it
                        Err(error) => {
                            entries.push(Err(error));
                            if *cx.shared() {
                                cx.set_timer_after(Duration::from_millis(1));
                            }
                            return Poll::Pending;
                        }
                    }
                }
            })
        })
        .unwrap();
    let (_peer, ours) = pair();
    let bystander = reactor.spawn_with(ours, |_| script(|_| Poll::Pending)).unwrap();
    settle(&mut reactor, &mut false);
    let clients: Vec<StdStream> = (0..2).map(|_| std_connect(address)).collect();
    let peers: Vec<_> = clients.iter().map(|client| Ok(client.local_addr().unwrap())).collect();
    probe.wait_readable();
    let mut taken = take_all_descriptors();

    run_until(&mut reactor, &mut false, |_| log.len() > 0);
    settle(&mut reactor, &mut false);
    assert_eq!(log.take(), [Err(Error::Os(Errno::MFILE))], "once: it is no busy loop");
    // A slot is freed, and with it a descriptor; each client is taken and closed in turn.
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script<bool>>| {
            cx.end(bystander)?;
            DONE
        }))
        .unwrap();
    run_until(&mut reactor, &mut false, |_| log.len() >= 2);
    assert_eq!(log.take(), peers);

    // The same by timer; the client takes the descriptor that was freed.
    let client = std_connect(address);
    while let Ok(fd) = taken[0].try_clone() {
        taken.push(fd);
    }
    probe.wait_readable();
    run_until(&mut reactor, &mut true, |_| log.len() >= 3);
    assert!(log.take().iter().all(|entry| *entry == Err(Error::Os(Errno::MFILE))));
    drop(taken);
    run_until(&mut reactor, &mut true, |_| log.len() > 0);
    let got = log.take();
    assert_eq!(got.iter().filter(|entry| entry.is_ok()).collect::<Vec<_>>(), [&Ok(client.local_addr().unwrap())]);
}

// ---- Connecting

// G53, case 29: a refused connection is an error, at once or when it is known; never a success.
#[test]
fn connect_refused() {
    // Bound, so that nobody else takes it, but not listening.
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&fd, &LOCAL).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&fd).unwrap()).unwrap();
    let error = match TcpStream::connect(address) {
        Err(error) => error,
        Ok(unopened) => with_poller(|poller| {
            let stream = unopened.open(&mut poller.io(ME)).unwrap();
            block(poller, |io| stream.poll_connected(io)).unwrap_err()
        }),
    };
    assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::CONNREFUSED), "connection refused"));
}

// A connection is established: addresses are known, both directions work, and asking again answers the same.
#[test]
fn connect_established() {
    for listen in [LOCAL, SocketAddr::from((Ipv6Addr::LOCALHOST, 0))] {
        with_poller(|poller| {
            let listener = std::net::TcpListener::bind(listen).unwrap();
            let address = listener.local_addr().unwrap();
            let unopened = TcpStream::connect(address).unwrap();
            assert!(rustix::fs::fcntl_getfl(&unopened).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
            assert!(rustix::io::fcntl_getfd(&unopened).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            let stream = unopened.open(&mut poller.io(ME)).unwrap();
            for _ in 0..2 {
                block(poller, |io| stream.poll_connected(io)).unwrap();
            }
            let (mut peer, ours) = listener.accept().unwrap();
            assert_eq!(stream.local_addr(&mut poller.io(ME)), Ok(ours));
            assert_eq!(stream.peer_addr(&mut poller.io(ME)), Ok(address));
            assert_eq!(stream.take_error(&mut poller.io(ME)), Ok(None));
            assert_eq!(block(poller, |io| stream.write(io, b"ping")), Ok(4));
            let mut buf = [0; 4];
            peer.read_exact(&mut buf).unwrap();
            peer.write_all(b"pong").unwrap();
            assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(4));
            assert_eq!(&buf, b"pong");
        });
    }
}

// A write before the connection is there waits for it, and so does a read: neither is told ENOTCONN.
#[test]
fn write_and_read_wait_for_the_connection() {
    with_poller(|poller| {
        let (listener, address) = std_listener();
        let stream = TcpStream::connect(address).unwrap().open(&mut poller.io(ME)).unwrap();
        assert_eq!(block(poller, |io| stream.write(io, b"ping")), Ok(4));
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"pong").unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Ok(4));
    });
}

/// A listener whose backlog is full: who connects hangs.
fn full_listener() -> (OwnedFd, SocketAddr, Vec<OwnedFd>) {
    let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &LOCAL).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let fillers = (0..4).map(|_| {
        let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        let _ = rustix::net::connect(&fd, &address);
        fd
    });
    let fillers = fillers.collect();
    flush();
    (listener, address, fillers)
}

// A connection that hangs ends by the write deadline, not early, and again until that is changed (Go's TestDialTimeout).
#[test]
fn connect_deadline() {
    with_poller(|poller| {
        let (_listener, address, _fillers) = full_listener();
        let stream = TcpStream::connect(address).unwrap().open(&mut poller.io(ME)).unwrap();
        let began = StdInstant::now();
        stream.set_write_timeout(&mut poller.io(ME), Some(Duration::from_millis(20))).unwrap();
        assert_eq!(block(poller, |io| stream.poll_connected(io)), Err(Error::TimedOut));
        assert!(began.elapsed() >= Duration::from_millis(20));
        assert_eq!(block(poller, |io| stream.poll_connected(io)), Err(Error::TimedOut));
        stream.set_write_deadline(&mut poller.io(ME), None).unwrap();
        assert!(stream.poll_connected(&mut poller.io(ME)).is_pending());
        assert_eq!(stream.peer_addr(&mut poller.io(ME)), Err(Error::Os(Errno::NOTCONN)));
    });
}

// A2: `SO_ERROR` is 0 while connecting; a gate that starts open does not make that a connection.
#[test]
fn connecting_is_not_connected() {
    with_poller(|poller| {
        let (_listener, address, _fillers) = full_listener();
        let fd = OwnedFd::from(TcpStream::connect(address).unwrap());
        assert_eq!(sockopt::socket_error(&fd).unwrap(), Ok(()));
        // As somebody would do who made the socket himself: nothing says that it is connecting.
        let stream = Unopened::<TcpStream>::from(fd).open(&mut poller.io(ME)).unwrap();
        for _ in 0..2 {
            assert!(stream.poll_connected(&mut poller.io(ME)).is_pending());
        }
        assert!(stream.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
    });
}

// A connection that hangs is established when there is room in the backlog, and the kernel's retry gets through.
#[test]
fn connect_late() {
    with_poller(|poller| {
        let (listener, address, _fillers) = full_listener();
        let stream = TcpStream::connect(address).unwrap().open(&mut poller.io(ME)).unwrap();
        assert!(stream.poll_connected(&mut poller.io(ME)).is_pending());
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut kept = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    kept.extend(listener.accept());
                    std::thread::yield_now();
                }
            });
            let connected = block(poller, |io| stream.poll_connected(io));
            stop.store(true, Ordering::Relaxed);
            assert_eq!(connected, Ok(()));
        });
    });
}

// ---- Reading

// Nothing, some, more than asked for, an empty buffer, the end, and the end again.
#[test]
fn read_none_some_more_and_the_end() {
    with_stream(|poller, stream, mut peer, probe| {
        let mut buf = [0; 4];
        assert_eq!(stream.read(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
        assert!(stream.read(&mut poller.io(ME), &mut buf).is_pending());
        peer.write_all(b"ab").unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(2));
        assert_eq!(&buf[..2], b"ab");
        assert!(stream.read(&mut poller.io(ME), &mut buf).is_pending());
        assert_eq!(stream.read(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
        peer.write_all(b"cdefghi").unwrap();
        probe.wait_readable();
        assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(4));
        assert_eq!(&buf, b"cdef");
        assert_eq!(stream.read(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
        assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(3));
        assert_eq!(&buf[..3], b"ghi");
        drop(peer);
        for _ in 0..3 {
            assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(0));
        }
    });
}

// The short read has emptied the socket, so the gate is closed without a call that says EAGAIN; what comes later opens it again. Where
// urgent data is not told apart the gate stays open.
#[test]
fn a_short_read_closes_the_gate() {
    with_stream(|poller, stream, mut peer, probe| {
        for _ in 0..3 {
            peer.write_all(b"ab").unwrap();
            probe.wait_readable();
            assert_eq!(block(poller, |io| stream.read(io, &mut [0; 64])), Ok(2));
            assert_eq!(poller.io(ME).poll_ready(stream.token(), Direction::Read).is_pending(), !util::KQUEUE);
            // A read that fills its buffer proves nothing.
            peer.write_all(b"abcd").unwrap();
            probe.wait_readable();
            assert_eq!(block(poller, |io| stream.read(io, &mut [0; 4])), Ok(4));
            assert!(poller.io(ME).poll_ready(stream.token(), Direction::Read).is_ready());
            assert!(stream.read(&mut poller.io(ME), &mut [0; 4]).is_pending());
        }
    });
}

// A write that was cut short has filled the buffer: the next one waits without a system call, which would succeed here.
#[test]
fn nothing_is_written_after_a_short_write_before_an_edge() {
    with_poller(|poller| {
        let (mut peer, ours) = pair();
        let stream = ours.open(&mut poller.io(ME)).unwrap();
        let big = vec![0; 64 << 20];
        let Poll::Ready(Ok(sent)) = stream.write(&mut poller.io(ME), &big) else { panic!("no room at all") };
        assert!(sent < big.len());
        peer.read_exact(&mut vec![0; sent]).unwrap();
        assert_eq!(stream.write(&mut poller.io(ME), b"x"), Poll::Pending);
        block(poller, |io| stream.write(io, b"x")).unwrap();
    });
}

#[test]
fn the_end_is_told_again_also_before_the_first_poll() {
    with_poller(|poller| {
        let (peer, ours) = pair();
        drop(peer);
        rustix::event::poll(&mut [rustix::event::PollFd::new(&ours, PollFlags::IN)], None).unwrap();
        let stream = ours.open(&mut poller.io(ME)).unwrap();
        for _ in 0..3 {
            assert_eq!(stream.read(&mut poller.io(ME), &mut [0; 8]), Poll::Ready(Ok(0)));
        }
    });
}

// Data and the end in one event: a short read must not close the gate over the end (RDHUP is trouble).
#[test]
fn data_then_end_in_one_event() {
    with_stream(|poller, stream, mut peer, probe| {
        assert!(stream.read(&mut poller.io(ME), &mut [0; 64]).is_pending());
        peer.write_all(b"abc").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        probe.wait(PollFlags::IN | PollFlags::RDHUP);
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 64])), Ok(3));
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 64])), Ok(0));
    });
}

// The same when the end comes after the short read.
#[test]
fn data_then_end_in_two_events() {
    with_stream(|poller, stream, mut peer, _| {
        peer.write_all(b"abc").unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 64])), Ok(3));
        assert!(stream.read(&mut poller.io(ME), &mut [0; 64]).is_pending());
        drop(peer);
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 64])), Ok(0));
    });
}

// Case 28: data comes before a reset, which is an error once and the end afterwards.
#[test]
fn data_then_reset() {
    with_stream(|poller, stream, mut peer, probe| {
        assert!(stream.read(&mut poller.io(ME), &mut [0; 64]).is_pending());
        peer.write_all(b"abc").unwrap();
        reset(peer);
        probe.wait(PollFlags::HUP);
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 64])), Ok(3));
        let error = block(poller, |io| stream.read(io, &mut [0; 64])).unwrap_err();
        assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::CONNRESET), "connection reset by peer"));
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 64])), Ok(0));
    });
}

// A5: "abc", an urgent byte, "def" before anybody looks: the short read at the mark must not hide what is behind it.
#[test]
fn urgent_data_does_not_hide_what_is_behind_it() {
    for waits in [true, false] {
        with_stream(|poller, stream, mut peer, _| {
            if waits {
                assert!(stream.read(&mut poller.io(ME), &mut [0; 64]).is_pending());
            }
            peer.write_all(b"abc").unwrap();
            rustix::net::send(&peer, b"!", SendFlags::OOB).unwrap();
            peer.write_all(b"def").unwrap();
            flush();
            let mut got = Vec::new();
            while got.len() < 6 {
                let mut buf = [0; 64];
                let n = block(poller, |io| stream.read(io, &mut buf)).unwrap();
                got.extend_from_slice(&buf[..n]);
            }
            assert_eq!(got, b"abcdef");
            // Event ports do not remember what nobody has waited for.
            assert!(util::EVENT_PORT || poller.io(ME).poll_ready(stream.token(), Direction::Priority).is_ready());
        });
    }
}

// A5, G54: urgent bytes one after another, with data between, in events of their own: all data comes, and it does not spin.
#[test]
fn many_urgent_bytes() {
    with_stream(|poller, stream, mut peer, _| {
        const ROUNDS: usize = 50;
        let mut got = Vec::new();
        let mut buf = [0; 64];
        for _ in 0..ROUNDS {
            peer.write_all(b"ab").unwrap();
            rustix::net::send(&peer, b"!", SendFlags::OOB).unwrap();
            peer.write_all(b"c").unwrap();
            let wanted = got.len() + 3;
            while got.len() < wanted {
                let n = block(poller, |io| stream.read(io, &mut buf)).unwrap();
                got.extend_from_slice(&buf[..n]);
            }
        }
        assert_eq!(got, b"abc".repeat(ROUNDS));
        let polls = poller.stats().polls;
        assert!(polls < 10 * ROUNDS as u64, "{polls}");
    });
}

// A peek leaves the data where it is, and the gate open.
#[test]
fn peek_leaves_the_data() {
    with_stream(|poller, stream, mut peer, _| {
        assert_eq!(stream.peek(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
        assert!(stream.peek(&mut poller.io(ME), &mut [0; 8]).is_pending());
        peer.write_all(b"abc").unwrap();
        let mut buf = [0; 8];
        for _ in 0..2 {
            assert_eq!(block(poller, |io| stream.peek(io, &mut buf)), Ok(3));
        }
        assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(3));
        assert_eq!(&buf[..3], b"abc");
    });
}

// Vectored calls fill and take several buffers in turn, also none; the end and the wait are as with one.
#[test]
fn vectored() {
    with_stream(|poller, stream, mut peer, probe| {
        assert_eq!(block(poller, |io| stream.write_vectored(io, &[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")])), Ok(5));
        let mut got = [0; 5];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"abcde");
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let pending = stream.read_vectored(&mut poller.io(ME), &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]);
        assert!(pending.is_pending());
        peer.write_all(b"vwxyz").unwrap();
        probe.wait_readable();
        let read = block(poller, |io| stream.read_vectored(io, &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]));
        assert_eq!((read, &first, &second[..3]), (Ok(5), b"vw", &b"xyz"[..]));
        drop(peer);
        let read = block(poller, |io| stream.read_vectored(io, &mut [IoSliceMut::new(&mut second)]));
        assert_eq!(read, Ok(0));
    });
}

// ---- Writing

fn small_buffers(a: &impl netpoll::AsFd, b: &impl netpoll::AsFd) {
    for fd in [a.as_fd(), b.as_fd()] {
        sockopt::set_socket_send_buffer_size(fd, 16 << 10).unwrap();
        sockopt::set_socket_recv_buffer_size(fd, 16 << 10).unwrap();
    }
}

// Go's `io.ReadFull`: waits until all is there, and stops in the middle of what is more.
#[test]
fn read_exact_reads_all_of_it() {
    with_stream(|poller, stream, mut peer, probe| {
        let (mut buf, mut filled) = ([0; 5], 0);
        assert!(stream.read_exact(&mut poller.io(ME), &mut buf, &mut filled).is_pending());
        for (part, so_far) in [(b"he".as_slice(), 2), (b"l", 3)] {
            peer.write_all(part).unwrap();
            probe.wait_readable();
            poller.poll(PATIENCE, |_| ()).unwrap();
            assert!(stream.read_exact(&mut poller.io(ME), &mut buf, &mut filled).is_pending());
            assert_eq!(filled, so_far);
        }
        peer.write_all(b"lo, world").unwrap();
        assert_eq!(block(poller, |io| stream.read_exact(io, &mut buf, &mut filled)), Ok(()));
        assert_eq!((&buf, filled), (b"hello", 5));
        // Full already: not a byte more is taken.
        assert_eq!(stream.read_exact(&mut poller.io(ME), &mut buf, &mut filled), Poll::Ready(Ok(())));
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 64])), Ok(7));
    });
}

// An early end says how much had arrived; an end before the first byte is told apart by that.
#[test]
fn read_exact_says_how_much_came_before_the_end() {
    for sent in [b"hel".as_slice(), b""] {
        with_stream(|poller, stream, mut peer, _| {
            peer.write_all(sent).unwrap();
            drop(peer);
            let (mut buf, mut filled) = ([0; 5], 0);
            for _ in 0..2 {
                let error = block(poller, |io| stream.read_exact(io, &mut buf, &mut filled)).unwrap_err();
                assert_eq!((error.to_string().as_str(), filled), ("unexpected EOF", sent.len()));
            }
            assert_eq!(&buf[..filled], sent);
        });
    }
}

// A time-out, or a reset, in the middle keeps what has arrived; after a time-out it goes on from there.
#[test]
fn read_exact_resumes_after_a_timeout() {
    with_stream(|poller, stream, mut peer, probe| {
        let (mut buf, mut filled) = ([0; 5], 0);
        peer.write_all(b"hel").unwrap();
        probe.wait_readable();
        stream.set_read_timeout(&mut poller.io(ME), Some(Duration::from_millis(5))).unwrap();
        assert_eq!(block(poller, |io| stream.read_exact(io, &mut buf, &mut filled)), Err(Error::TimedOut));
        peer.write_all(b"lo").unwrap();
        assert_eq!(block(poller, |io| stream.read_exact(io, &mut buf, &mut filled)), Err(Error::TimedOut));
        stream.set_read_deadline(&mut poller.io(ME), None).unwrap();
        assert_eq!(block(poller, |io| stream.read_exact(io, &mut buf, &mut filled)), Ok(()));
        assert_eq!(&buf, b"hello");
        filled = 0;
        peer.write_all(b"ab").unwrap();
        probe.wait_readable();
        assert!(stream.read_exact(&mut poller.io(ME), &mut buf, &mut filled).is_pending());
        reset(peer);
        let answer = block(poller, |io| stream.read_exact(io, &mut buf, &mut filled));
        assert_eq!((answer, &buf[..filled]), (Err(Error::Os(Errno::CONNRESET)), b"ab".as_slice()));
    });
}

// A write fills the kernel's buffers, waits, and goes on when the peer has read; nothing in between is lost.
#[test]
fn write_fills_waits_and_goes_on() {
    with_poller(|poller| {
        let (mut peer, ours) = pair();
        small_buffers(&peer, &ours);
        let stream = ours.open(&mut poller.io(ME)).unwrap();
        assert_eq!(stream.write(&mut poller.io(ME), &[]), Poll::Ready(Ok(0)));
        let mut sent = 0;
        let mut received = 0;
        for _ in 0..5 {
            loop {
                let chunk: Vec<u8> = (sent..sent + 3000).map(pattern).collect();
                match stream.write(&mut poller.io(ME), &chunk) {
                    Poll::Ready(n) => sent += n.unwrap(),
                    Poll::Pending => break,
                }
            }
            assert!(sent > received);
            let mut buf = vec![0; sent - received];
            peer.read_exact(&mut buf).unwrap();
            for byte in buf {
                assert_eq!(byte, pattern(received));
                received += 1;
            }
            assert_eq!(block(poller, |io| io.poll_ready(stream.token(), Direction::Write)), Ok(()));
        }
    });
}

// `write_all` goes on after each TimedOut: several megabytes through small buffers and a peer that reads only after each of them, byte by byte the same.
#[test]
fn write_all_resumes_after_timeouts() {
    const LENGTH: usize = 4 << 20;
    with_poller(|poller| {
        let (mut peer, ours) = pair();
        small_buffers(&peer, &ours);
        let stream = ours.open(&mut poller.io(ME)).unwrap();
        let timeouts = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&timeouts);
        let reader = std::thread::spawn(move || {
            let (mut received, mut last) = (0, 0);
            let mut chunk = vec![0; 256 << 10];
            let end = StdInstant::now() + PATIENCE;
            while received < LENGTH {
                while seen.load(Ordering::Acquire) == last {
                    assert!(StdInstant::now() < end, "{received} of {LENGTH}");
                    std::thread::yield_now();
                }
                last += 1;
                peer.read_exact(&mut chunk).unwrap();
                for &byte in &chunk {
                    assert!(byte == pattern(received), "at {received}");
                    received += 1;
                }
            }
            assert_eq!(peer.read(&mut chunk).unwrap(), 0, "sent twice");
            last
        });
        let data: Vec<u8> = (0..LENGTH).map(pattern).collect();
        let mut sent = 0;
        loop {
            stream.set_write_timeout(&mut poller.io(ME), Some(Duration::from_millis(2))).unwrap();
            match block(poller, |io| stream.write_all(io, &data, &mut sent)) {
                Ok(()) => break,
                Err(Error::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
            timeouts.fetch_add(1, Ordering::Release);
        }
        assert_eq!(sent, LENGTH);
        // The reader waits for timeouts that do not come any more.
        timeouts.fetch_add(LENGTH, Ordering::Release);
        stream.shutdown(&mut poller.io(ME), Shutdown::Write).unwrap();
        assert!(reader.join().unwrap() >= 8);
    });
}

// Several megabytes each way at once through small buffers, in one handler: nothing is lost, doubled or turned around.
#[test]
fn both_ways_at_once() {
    const LENGTH: usize = 1 << 20;
    let mut storage = ReactorStorage::<Script, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (peer, ours) = pair();
    small_buffers(&peer, &ours);
    let mut peer_writes = peer.try_clone().unwrap();
    let data: Vec<u8> = (0..LENGTH).map(pattern).collect();
    let theirs = data.clone();
    let writer = std::thread::spawn(move || peer_writes.write_all(&theirs).unwrap());
    let reader = std::thread::spawn(move || {
        let (mut peer, mut got) = (peer, vec![0; LENGTH]);
        peer.read_exact(&mut got).unwrap();
        assert!(got.into_iter().enumerate().all(|(index, byte)| byte == pattern(index)));
        peer // open until all is read
    });
    reactor
        .spawn_with(ours, |stream| {
            let (mut sent, mut received, mut buf) = (0, 0, [0; 5000]);
            script(move |cx: &mut Context<'_, Script>| {
                let wrote = stream.write_all(cx, &data, &mut sent)?;
                while received < LENGTH {
                    let n = ready!(stream.read(cx, &mut buf))?;
                    assert!(n > 0);
                    for &byte in &buf[..n] {
                        assert!(byte == pattern(received), "at {received}");
                        received += 1;
                    }
                }
                wrote.map(Ok)
            })
        })
        .unwrap();
    reactor.run(&mut ()).unwrap();
    writer.join().unwrap();
    reader.join().unwrap();
}

// A write deadline ends a write that waits, not a read; a read deadline the other way round (case 60).
#[test]
fn deadlines_of_the_two_directions() {
    with_stream(|poller, stream, mut peer, probe| {
        let mut io = poller.io(ME);
        stream.set_write_deadline(&mut io, LONG_AGO).unwrap();
        assert_eq!(stream.write(&mut io, b"x"), Poll::Ready(Err(Error::TimedOut)));
        assert!(stream.read(&mut io, &mut [0; 8]).is_pending());
        stream.set_write_deadline(&mut io, None).unwrap();
        stream.set_read_deadline(&mut io, LONG_AGO).unwrap();
        assert_eq!(stream.write(&mut io, b"x"), Poll::Ready(Ok(1)));
        peer.write_all(b"abc").unwrap();
        probe.wait_readable();
        let error = stream.read(&mut poller.io(ME), &mut [0; 8]);
        assert_eq!(error, Poll::Ready(Err(Error::TimedOut)));
        assert_eq!(Error::TimedOut.to_string(), "i/o timeout");
        stream.set_deadline(&mut poller.io(ME), None).unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Ok(3));
        let began = StdInstant::now();
        stream.set_timeout(&mut poller.io(ME), Some(Duration::from_millis(5))).unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Err(Error::TimedOut));
        assert!(began.elapsed() >= Duration::from_millis(5));
        assert_eq!(block(poller, |io| stream.write(io, b"x")), Err(Error::TimedOut));
        stream.set_read_timeout(&mut poller.io(ME), None).unwrap();
        assert!(stream.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
    });
}

// ---- Ending

// Cases 26, 27: the peer's half-close ends reading only, and ours ends the peer's; the other way stays open.
#[test]
fn half_close_each_way() {
    with_stream(|poller, stream, mut peer, _| {
        assert!(stream.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Ok(0));
        let mut sent = 0;
        block(poller, |io| stream.write_all(io, b"still here", &mut sent)).unwrap();
        let mut got = [0; 10];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"still here");
    });
    with_stream(|poller, stream, mut peer, _| {
        assert_eq!(block(poller, |io| stream.write(io, b"bye")), Ok(3));
        stream.shutdown(&mut poller.io(ME), Shutdown::Write).unwrap();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"bye");
        peer.write_all(b"answer").unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Ok(6));
    });
    with_stream(|poller, stream, _peer, _| {
        assert!(stream.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
        stream.shutdown(&mut poller.io(ME), Shutdown::Both).unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Ok(0));
        assert_eq!(block(poller, |io| stream.write(io, b"x")), Err(Error::Os(Errno::PIPE)));
    });
}

// Case 30: writing to who is gone is EPIPE or ECONNRESET, and SIGPIPE is never raised, by no kind of write; the counting handler is shown to count.
#[test]
fn epipe_never_sigpipe() {
    if !in_own_process("epipe_never_sigpipe") {
        return;
    }
    let raised = Arc::new(AtomicBool::new(false));
    // The standard library ignores the signal; this takes its place.
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::clone(&raised)).unwrap();
    with_stream(|poller, stream, peer, probe| {
        drop(peer);
        let error = loop {
            // The first ones go to the kernel's buffer; the peer answers with a reset.
            match block(poller, |io| stream.write(io, &[0; 1024])) {
                Ok(_) => probe.wait(PollFlags::HUP),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Os(Errno::PIPE | Errno::CONNRESET)), "{error}");
        let error = block(poller, |io| stream.write(io, &[0; 1024])).unwrap_err();
        assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::PIPE), "broken pipe"));
        assert_eq!(block(poller, |io| stream.write_vectored(io, &[IoSlice::new(b"ab")])), Err(Error::Os(Errno::PIPE)));
        assert_eq!(block(poller, |io| stream.write_all(io, b"ab", &mut 0)), Err(Error::Os(Errno::PIPE)));
        assert!(!raised.load(Ordering::SeqCst));
        let fd = stream.close(&mut poller.io(ME)).unwrap();
        assert_eq!(rustix::net::send(&fd, b"x", SendFlags::empty()), Err(Errno::PIPE));
        assert!(raised.load(Ordering::SeqCst), "the test would not have noticed");
    });
}

// The seeds: the peer is killed while a write waits. `sent` says how much had gone out, which the peer may or may not have read.
#[test]
fn write_all_says_how_much_went_out_before_the_peer_was_gone() {
    with_poller(|poller| {
        let (peer, ours) = pair();
        small_buffers(&peer, &ours);
        let stream = ours.open(&mut poller.io(ME)).unwrap();
        let (data, mut sent) = (vec![7; 1 << 20], 0);
        assert!(stream.write_all(&mut poller.io(ME), &data, &mut sent).is_pending());
        let before = sent;
        assert!(0 < before && before < data.len());
        drop(peer); // with unread data: a reset
        let error = block(poller, |io| stream.write_all(io, &data, &mut sent)).unwrap_err();
        assert!(matches!(error, Error::Os(Errno::PIPE | Errno::CONNRESET)), "{error}");
        assert!(before <= sent && sent < data.len());
        let fallen = sent;
        assert_eq!(block(poller, |io| stream.write_all(io, &data, &mut sent)), Err(Error::Os(Errno::PIPE)));
        assert_eq!(sent, fallen);
    });
}

// Both ends say that they are done at once, with the other's data unread or not: each reads it, then the end, and nobody hangs.
#[test]
fn both_ends_close_at_once() {
    for unread in [false, true] {
        with_stream(|poller, stream, mut peer, probe| {
            if unread {
                peer.write_all(b"never read").unwrap();
                probe.wait_readable();
            }
            assert_eq!(stream.write(&mut poller.io(ME), b"bye"), Poll::Ready(Ok(3)));
            stream.shutdown(&mut poller.io(ME), Shutdown::Write).unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            probe.wait(PollFlags::HUP);
            let (mut read, mut received) = (Vec::new(), Vec::new());
            peer.read_to_end(&mut received).unwrap();
            assert_eq!(received, b"bye");
            let mut buf = [0; 64];
            while let n @ 1.. = block(poller, |io| stream.read(io, &mut buf)).unwrap() {
                read.extend_from_slice(&buf[..n]);
            }
            assert_eq!(read, if unread { b"never read".as_slice() } else { b"" });
            drop(stream.close(&mut poller.io(ME)).unwrap());
        });
    }
}

// The seeds: a write is whole also when it takes many turns: with a budget of one operation, two handlers' lines never mix on their
// own streams, and each gets its turn.
#[test]
fn write_all_is_whole_across_budgets() {
    const LENGTH: usize = 300_000;
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap().with_budget(std::num::NonZeroU8::MIN);
    let mut readers = Vec::new();
    let order = Log::new();
    for name in [b'a', b'b'] {
        let (peer, ours) = pair();
        small_buffers(&peer, &ours);
        let order = order.clone();
        reactor
            .spawn_with(ours, |stream| {
                let (data, mut sent) = (vec![name; LENGTH], 0);
                script(move |cx| {
                    order.push(name);
                    stream.write_all(cx, &data, &mut sent)
                })
            })
            .unwrap();
        readers.push(std::thread::spawn(move || {
            let mut received = Vec::new();
            let mut peer = peer;
            peer.read_to_end(&mut received).unwrap();
            received.len() == LENGTH && received.iter().all(|&byte| byte == name)
        }));
    }
    reactor.run(&mut ()).unwrap();
    assert!(readers.into_iter().all(|reader| reader.join().unwrap()));
    let runs = order.take();
    assert!(runs.iter().filter(|&&name| name == b'a').count() > 2 && runs.iter().filter(|&&name| name == b'b').count() > 2);
}

// Linger 0: closing resets the connection, which the peer sees; without it the peer reads what was sent, then the end.
#[test]
fn linger_zero_resets() {
    with_stream(|poller, stream, mut peer, probe| {
        drop(probe);
        assert_eq!(block(poller, |io| stream.write(io, b"lost")), Ok(4));
        stream.set_reset_on_close(&mut poller.io(ME), true).unwrap();
        drop(stream.close(&mut poller.io(ME)).unwrap());
        let error = std::iter::from_fn(|| Some(peer.read(&mut [0; 8]))).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
    with_stream(|poller, stream, mut peer, probe| {
        drop(probe);
        assert_eq!(block(poller, |io| stream.write(io, b"kept")), Ok(4));
        stream.set_reset_on_close(&mut poller.io(ME), false).unwrap();
        drop(stream.close(&mut poller.io(ME)).unwrap());
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"kept");
    });
}

// Closing with data that nobody read resets the connection: the peer must not take it for received.
#[test]
fn closing_with_unread_data_resets() {
    with_stream(|poller, stream, mut peer, probe| {
        peer.write_all(b"never read").unwrap();
        probe.wait_readable();
        drop(probe);
        drop(stream.close(&mut poller.io(ME)).unwrap());
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

// The seeds ask whether a read that timed out sends a reset: it does not. The connection goes on both ways, without an edge in between.
#[test]
fn a_timeout_harms_nothing() {
    with_stream(|poller, stream, mut peer, probe| {
        stream.set_timeout(&mut poller.io(ME), Some(Duration::from_millis(1))).unwrap();
        assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Err(Error::TimedOut));
        assert_eq!(block(poller, |io| stream.write(io, b"x")), Err(Error::TimedOut));
        peer.write_all(b"ping").unwrap();
        probe.wait_readable();
        stream.set_deadline(&mut poller.io(ME), None).unwrap();
        let mut buf = [0; 8];
        assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(4));
        assert_eq!(block(poller, |io| stream.write(io, b"pong")), Ok(4));
        peer.read_exact(&mut buf[..4]).unwrap();
        assert_eq!(&buf[..4], b"pong");
    });
}

/// Every operation on a stream, and what it answers.
fn every_operation(stream: &TcpStream, io: &mut Io<'_>) -> Vec<Result<(), Error>> {
    let now = |answer: Poll<Result<usize, Error>>| match answer {
        Poll::Ready(answer) => answer.map(drop),
        Poll::Pending => panic!("it waits"),
    };
    let mut buf = [0; 8];
    vec![
        now(stream.read(io, &mut buf)),
        now(stream.peek(io, &mut buf)),
        now(stream.read_vectored(io, &mut [IoSliceMut::new(&mut buf)])),
        now(stream.write(io, b"x")),
        now(stream.write_vectored(io, &[IoSlice::new(b"x")])),
        now(stream.write_all(io, b"x", &mut 0).map_ok(|()| 0)),
        now(stream.poll_connected(io).map_ok(|()| 0)),
        stream.shutdown(io, Shutdown::Both),
        stream.set_nodelay(io, true),
        stream.set_keepalive(io, None),
        stream.set_reset_on_close(io, false),
        stream.take_error(io).map(drop),
        stream.local_addr(io).map(drop),
        stream.peer_addr(io).map(drop),
        stream.set_deadline(io, None),
        stream.set_read_deadline(io, None),
        stream.set_write_deadline(io, LONG_AGO),
        stream.set_timeout(io, Some(Duration::ZERO)),
        stream.set_read_timeout(io, None),
        stream.set_write_timeout(io, Some(Duration::ZERO)),
        io.fd(stream.token()).map(drop),
        io.clear_ready(stream.token(), Direction::Read),
        io.unwait(stream.token(), Direction::Read),
        stream.close(io).map(drop),
    ]
}

// Case 46: everything on a closed stream is `Closed`, in Go's words, also after its slot was taken again.
#[test]
fn use_after_close() {
    with_stream(|poller, stream, peer, probe| {
        drop(probe);
        drop(stream.close(&mut poller.io(ME)).unwrap());
        assert_closed(&peer);
        for answer in every_operation(&stream, &mut poller.io(ME)) {
            assert_eq!(answer, Err(Error::Closed));
        }
        assert_eq!(Error::Closed.to_string(), "use of closed network connection");
        // The whole table once around, so that the slot is in use again.
        for _ in 0..8 {
            let (_peer, ours) = pair();
            ours.open(&mut poller.io(ME)).unwrap();
        }
        for answer in every_operation(&stream, &mut poller.io(ME)) {
            assert_eq!(answer, Err(Error::Closed));
        }
    });
}

// Everything on another handler's stream is `NotOwner`, and does nothing to it.
#[test]
fn use_by_another_handler() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (mut peer, ours) = pair();
    let log = Log::new();
    let entries = log.clone();
    let mut shared = None;
    let owner = reactor
        .spawn_with(ours, |stream| {
            let stream = Rc::new(stream);
            shared = Some(Rc::clone(&stream));
            script(move |cx: &mut Context<'_, Script>| {
                let n = ready!(stream.read(cx, &mut [0; 8]))?;
                entries.push(Ok(n));
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    let (stream, entries) = (shared.unwrap(), log.clone());
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| -> Answer {
            for answer in every_operation(&stream, cx) {
                entries.push(answer.map(|()| 99));
            }
            let to = cx.id();
            entries.push(cx.give(stream.token(), to).map(|()| 99));
            DONE
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    let answers = log.take();
    assert!(answers.len() > 20);
    assert!(answers.iter().all(|answer| *answer == Err(Error::NotOwner)), "{answers:?}");
    // The owner still waits.
    peer.write_all(b"abc").unwrap();
    run_until(&mut reactor, &mut (), |()| log.len() > 0);
    assert_eq!(log.take(), [Ok(3)]);
    reactor.end(owner).unwrap();
}

// Options are what the kernel has afterwards; keep-alive times are rounded up to whole seconds, and never none.
#[test]
fn options_reach_the_kernel() {
    with_stream(|poller, stream, _peer, _| {
        let mut io = poller.io(ME);
        let token = stream.token();
        for on in [true, false] {
            stream.set_nodelay(&mut io, on).unwrap();
            assert_eq!(sockopt::tcp_nodelay(io.fd(token).unwrap()), Ok(on));
        }
        let choice = KeepAlive { idle: Duration::from_millis(7500), interval: Duration::ZERO, count: 4 };
        stream.set_keepalive(&mut io, Some(choice)).unwrap();
        let fd = io.fd(token).unwrap();
        assert_eq!(sockopt::socket_keepalive(fd), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(fd), Ok(Duration::from_secs(8)));
        assert_eq!(sockopt::tcp_keepintvl(fd), Ok(Duration::from_secs(1)));
        assert_eq!(sockopt::tcp_keepcnt(fd), Ok(4));
        stream.set_keepalive(&mut io, None).unwrap();
        assert_eq!(sockopt::socket_keepalive(io.fd(token).unwrap()), Ok(false));
        for on in [true, false] {
            stream.set_reset_on_close(&mut io, on).unwrap();
            assert_eq!(sockopt::socket_linger(io.fd(token).unwrap()), Ok(on.then_some(Duration::ZERO)));
        }
        // Out of range is the kernel's word, not a panic.
        let absurd = KeepAlive { idle: Duration::MAX, ..KeepAlive::default() };
        assert_eq!(stream.set_keepalive(&mut io, Some(absurd)), Err(Error::Os(Errno::INVAL)));
    });
}
