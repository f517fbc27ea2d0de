//! Unix sockets: streams, sequences of packets, datagrams; their names, their files, and descriptors that are passed.
//!
//! What holds for several kinds is tested on each of them. The kernel reports on Unix sockets before the call that causes it returns.

#![cfg(target_os = "linux")]

#[path = "util/block.rs"]
mod block;
#[path = "util/mod.rs"]
mod descriptors;
#[path = "util/reactor.rs"]
mod util;

use std::cell::RefCell;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, ready};
use std::time::{Duration, Instant as StdInstant};

use block::block;
use descriptors::{alone, dup, eventually, open_fds, pipe};
use netpoll::net::{
    PeerCredentials, Shutdown, SocketAddrUnix, UnixConnection, UnixDatagram, UnixListenOptions, UnixListener, UnixReceived, UnixSeqpacket,
    UnixStream, unlink_stale,
};
use netpoll::{
    AsFd, BorrowedFd, Clock, Context, Descriptor, Direction, Errno, Error, Instant, Io, OwnedFd, Poller, PollerStorage, Reactor,
    ReactorStorage, Timeout, Token, Unopened, Waiter,
};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use util::{Answer, DONE, Log, PATIENCE, Script, advance, limit_this_program, manual, run_until, script, settle};

const ME: Waiter = Waiter::new(1);
const PEER: Waiter = Waiter::new(2);
const LONG_AGO: Option<Instant> = Some(Instant::from_nanos(1));

/// More descriptors than a message can carry.
const TOO_MANY: usize = 254;

// ---- What the kinds have in common

trait Socket: Descriptor + 'static {
    fn pair() -> (Unopened<Self>, Unopened<Self>);
    fn recv(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>>;
    fn send(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>>;
    fn recv_with_fds(&self, io: &mut Io<'_>, buf: &mut [u8], fds: &mut [Option<OwnedFd>]) -> Poll<Result<UnixReceived, Error>>;
    fn send_with_fds(&self, io: &mut Io<'_>, buf: &[u8], fds: &[BorrowedFd<'_>]) -> Poll<Result<usize, Error>>;
    fn token(&self) -> Token;
    fn set_read_deadline(&self, io: &mut Io<'_>, at: Option<Instant>);
    fn set_write_deadline(&self, io: &mut Io<'_>, at: Option<Instant>);
    fn set_timeout(&self, io: &mut Io<'_>, after: Duration);
    fn local_addr(&self, io: &mut Io<'_>) -> SocketAddrUnix;
    fn peer_addr(&self, io: &mut Io<'_>) -> Result<SocketAddrUnix, Error>;
    fn close(&self, io: &mut Io<'_>) -> OwnedFd;
    /// Every operation, and what it answers.
    fn every_operation(&self, io: &mut Io<'_>) -> Vec<Result<(), Error>>;
}

macro_rules! socket {
    ($kind:ty, $recv:ident, $send:ident, |$socket:ident, $io:ident| $others:expr) => {
        impl Socket for $kind {
            fn pair() -> (Unopened<Self>, Unopened<Self>) {
                <$kind>::pair().unwrap()
            }
            fn recv(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
                <$kind>::$recv(self, io, buf)
            }
            fn send(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
                <$kind>::$send(self, io, buf)
            }
            fn recv_with_fds(&self, io: &mut Io<'_>, buf: &mut [u8], fds: &mut [Option<OwnedFd>]) -> Poll<Result<UnixReceived, Error>> {
                <$kind>::recv_with_fds(self, io, buf, fds)
            }
            fn send_with_fds(&self, io: &mut Io<'_>, buf: &[u8], fds: &[BorrowedFd<'_>]) -> Poll<Result<usize, Error>> {
                <$kind>::send_with_fds(self, io, buf, fds)
            }
            fn token(&self) -> Token {
                <$kind>::token(self)
            }
            fn set_read_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) {
                <$kind>::set_read_deadline(self, io, at).unwrap();
            }
            fn set_write_deadline(&self, io: &mut Io<'_>, at: Option<Instant>) {
                <$kind>::set_write_deadline(self, io, at).unwrap();
            }
            fn set_timeout(&self, io: &mut Io<'_>, after: Duration) {
                <$kind>::set_timeout(self, io, Some(after)).unwrap();
            }
            fn local_addr(&self, io: &mut Io<'_>) -> SocketAddrUnix {
                <$kind>::local_addr(self, io).unwrap()
            }
            fn peer_addr(&self, io: &mut Io<'_>) -> Result<SocketAddrUnix, Error> {
                <$kind>::peer_addr(self, io)
            }
            fn close(&self, io: &mut Io<'_>) -> OwnedFd {
                <$kind>::close(self, io).unwrap()
            }
            fn every_operation(&self, $io: &mut Io<'_>) -> Vec<Result<(), Error>> {
                let $socket = self;
                let mut answers = vec![
                    now($socket.$recv($io, &mut [0; 8])),
                    now($socket.$recv($io, &mut [])),
                    now($socket.$send($io, b"x")),
                    now($socket.$send($io, b"")),
                    now($socket.recv_with_fds($io, &mut [0; 8], &mut [None])),
                    now($socket.recv_with_fds($io, &mut [], &mut [])),
                    now($socket.send_with_fds($io, b"x", &[any()])),
                    now($socket.send_with_fds($io, b"", &[any()])),
                    $socket.local_addr($io).map(drop),
                    $socket.peer_addr($io).map(drop),
                    $socket.take_error($io).map(drop),
                    $socket.set_deadline($io, None),
                    $socket.set_read_timeout($io, None),
                    $socket.set_write_timeout($io, Some(Duration::ZERO)),
                ];
                answers.extend($others);
                answers.push($socket.close($io).map(drop));
                answers
            }
        }
    };
}

socket!(UnixStream, read, write, |stream, io| [
    now(stream.peek(io, &mut [0; 8])),
    now(stream.peek(io, &mut [])),
    now(stream.read_vectored(io, &mut [IoSliceMut::new(&mut [0; 8])])),
    now(stream.write_vectored(io, &[IoSlice::new(b"x")])),
    now(stream.write_all(io, b"x", &mut 0)),
    now(stream.read_exact(io, &mut [0; 8], &mut 0)),
    stream.shutdown(io, Shutdown::Both),
    stream.peer_credentials(io).map(drop),
]);
socket!(UnixSeqpacket, recv, send, |socket, io| [socket.shutdown(io, Shutdown::Both), socket.peer_credentials(io).map(drop)]);
socket!(UnixDatagram, recv, send, |socket, io| [
    now(socket.recv_from(io, &mut [0; 8])),
    socket.send_to(io, b"x", &SocketAddrUnix::new_abstract_name(b"nobody").unwrap()).map(drop),
]);

/// What has a listener, and an end.
trait Connection: Socket + UnixConnection {
    fn bind_with(addr: &SocketAddrUnix, options: &UnixListenOptions) -> Result<Unopened<UnixListener<Self>>, Error>;
    fn connect(addr: &SocketAddrUnix) -> Result<Unopened<Self>, Error>;
    fn shutdown(&self, io: &mut Io<'_>, how: Shutdown);
    fn peer_credentials(&self, io: &mut Io<'_>) -> Result<PeerCredentials, Error>;
    fn peer_credentials_of(unopened: &Unopened<Self>) -> Result<PeerCredentials, Error>;
    fn peer_addr_of(unopened: &Unopened<Self>) -> SocketAddrUnix;

    fn bind(addr: &SocketAddrUnix) -> Unopened<UnixListener<Self>> {
        Self::bind_with(addr, &UnixListenOptions::default()).unwrap()
    }
}

macro_rules! connection {
    ($kind:ty, $bind:ident, $bind_with:ident) => {
        impl Connection for $kind {
            fn bind_with(addr: &SocketAddrUnix, options: &UnixListenOptions) -> Result<Unopened<UnixListener<Self>>, Error> {
                if *options == UnixListenOptions::default() {
                    return UnixListener::$bind(addr);
                }
                UnixListener::$bind_with(addr, options)
            }
            fn connect(addr: &SocketAddrUnix) -> Result<Unopened<Self>, Error> {
                <$kind>::connect(addr)
            }
            fn shutdown(&self, io: &mut Io<'_>, how: Shutdown) {
                <$kind>::shutdown(self, io, how).unwrap();
            }
            fn peer_credentials(&self, io: &mut Io<'_>) -> Result<PeerCredentials, Error> {
                <$kind>::peer_credentials(self, io)
            }
            fn peer_credentials_of(unopened: &Unopened<Self>) -> Result<PeerCredentials, Error> {
                unopened.peer_credentials()
            }
            fn peer_addr_of(unopened: &Unopened<Self>) -> SocketAddrUnix {
                unopened.peer_addr().unwrap()
            }
        }
    };
}

connection!(UnixStream, bind, bind_with);
connection!(UnixSeqpacket, bind_seqpacket, bind_seqpacket_with);

/// Makes a test for each kind of a function that is generic over it.
macro_rules! each {
    ($test:ident: $($kind:ident)+) => {
        mod $test {
            $(#[test]
            #[allow(non_snake_case)]
            fn $kind() {
                super::$test::<super::$kind>();
            })+
        }
    };
}

// ---- Helpers

fn now<T>(answer: Poll<Result<T, Error>>) -> Result<(), Error> {
    match answer {
        Poll::Ready(answer) => answer.map(drop),
        Poll::Pending => panic!("it waits"),
    }
}

fn with_poller<T>(test: impl FnOnce(&mut Poller<'_>) -> T) -> T {
    limit_this_program();
    let mut storage = PollerStorage::<8>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    test(&mut poller)
}

/// Two open sockets that are connected to each other.
fn with_pair<S: Socket>(test: impl FnOnce(&mut Poller<'_>, S, S)) {
    with_poller(|poller| {
        let (one, other) = S::pair();
        let one = one.open(&mut poller.io(ME)).unwrap();
        let other = other.open(&mut poller.io(ME)).unwrap();
        test(poller, one, other);
    });
}

#[track_caller]
fn send<S: Socket>(poller: &mut Poller<'_>, socket: &S, bytes: &[u8]) {
    assert_eq!(block(poller, |io| socket.send(io, bytes)), Ok(bytes.len()));
}

#[track_caller]
fn recv<S: Socket>(poller: &mut Poller<'_>, socket: &S) -> Result<Vec<u8>, Error> {
    let mut buf = [0; 64];
    block(poller, |io| socket.recv(io, &mut buf)).map(|n| buf[..n].to_vec())
}

#[track_caller]
fn recv_fds<S: Socket>(poller: &mut Poller<'_>, socket: &S, fds: &mut [Option<OwnedFd>]) -> UnixReceived {
    block(poller, |io| socket.recv_with_fds(io, &mut [0; 64], fds)).unwrap()
}

/// Sends `chunk` until there is no room; says how often.
fn fill<S: Socket>(poller: &mut Poller<'_>, socket: &S, chunk: &[u8]) -> usize {
    let mut times = 0;
    while socket.send(&mut poller.io(ME), chunk).map(Result::unwrap).is_ready() {
        times += 1;
        assert!(times < 100_000);
    }
    times
}

/// Byte `index` of a stream in which no two places look alike.
fn pattern(index: usize) -> u8 {
    (index ^ (index >> 8).wrapping_mul(31) ^ (index >> 16).wrapping_mul(17)) as u8
}

/// A descriptor to be passed.
fn any() -> BorrowedFd<'static> {
    static ANY: OnceLock<OwnedFd> = OnceLock::new();
    ANY.get_or_init(|| fs::File::open("/dev/null").unwrap().into()).as_fd()
}

fn unnamed() -> SocketAddrUnix {
    SocketAddrUnix::new_unnamed()
}

/// A number that no other test has, in no other process.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("netpoll-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn abstract_name() -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(unique().as_bytes()).unwrap()
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let path = std::env::temp_dir().join(unique());
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn addr(&self, name: &str) -> SocketAddrUnix {
        addr(&self.path(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn addr(path: &Path) -> SocketAddrUnix {
    SocketAddrUnix::new(path).unwrap()
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK)
}

fn is_cloexec(fd: impl AsFd) -> bool {
    fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC)
}

/// Runs something on a thread of its own without the rights of root, and without those of the owner of a file.
fn as_nobody<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::process::Uid::from_raw(65534);
                // Of this thread only: the call of the kernel, not the C library's.
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            act()
        });
        thread.join().unwrap()
    })
}

// ---- Addresses

// Each end of a connection knows both addresses, by path and by abstract name; who was not bound is unnamed, before and after it is opened.
fn addresses<S: Connection>() {
    let directory = Directory::new();
    for addr in [directory.addr("socket"), abstract_name()] {
        with_poller(|poller| {
            let unopened = S::bind(&addr);
            assert_eq!(unopened.local_addr(), Ok(addr.clone()));
            let listener = unopened.open(&mut poller.io(ME)).unwrap();
            assert_eq!(listener.local_addr(&mut poller.io(ME)), Ok(addr.clone()));
            let client = S::connect(&addr).unwrap();
            let (server, peer) = block(poller, |io| listener.accept(io)).unwrap();
            assert_eq!((S::peer_addr_of(&client), S::peer_addr_of(&server), peer), (addr.clone(), unnamed(), unnamed()));
            assert!(S::peer_addr_of(&server).is_unnamed());
            let client = client.open(&mut poller.io(ME)).unwrap();
            let server = server.open(&mut poller.io(ME)).unwrap();
            assert_eq!((client.local_addr(&mut poller.io(ME)), server.local_addr(&mut poller.io(ME))), (unnamed(), addr.clone()));
            assert_eq!((client.peer_addr(&mut poller.io(ME)), server.peer_addr(&mut poller.io(ME))), (Ok(addr.clone()), Ok(unnamed())));
        });
    }
}
each!(addresses: UnixStream UnixSeqpacket);

// A path that is too long is ENAMETOOLONG; one that fills the kernel's structure works, its name cannot be told, and nobody panics.
#[test]
fn longest_path() {
    let directory = Directory::new();
    let length = 108 - directory.0.as_os_str().len() - 1;
    let error = SocketAddrUnix::new(directory.path(&"x".repeat(length + 1))).unwrap_err();
    assert_eq!((error, Error::Os(error).to_string().as_str()), (Errno::NAMETOOLONG, "file name too long"));
    let longest = directory.addr(&"x".repeat(length));
    assert_eq!(longest.path_bytes().unwrap().len(), 108);
    let longest_but_one = directory.addr(&"x".repeat(length - 1));
    with_poller(|poller| {
        for (addr, told) in [(&longest, unnamed()), (&longest_but_one, longest_but_one.clone())] {
            let unopened = UnixListener::bind(addr).unwrap();
            assert_eq!(unopened.local_addr(), Ok(told.clone()));
            let listener = unopened.open(&mut poller.io(ME)).unwrap();
            let client = UnixStream::connect(addr).unwrap();
            assert_eq!(client.peer_addr(), Ok(told));
            drop(block(poller, |io| listener.accept(io)).unwrap());
            drop(listener.close(&mut poller.io(ME)).unwrap());
            // A child that another test is starting may hold the listener for a moment.
            while !unlink_stale(addr).unwrap() {
                std::thread::yield_now();
            }
        }
        // One who sends from there.
        let receiver = UnixDatagram::bind(&longest_but_one).unwrap().open(&mut poller.io(ME)).unwrap();
        let sender = UnixDatagram::connect_from(&longest_but_one, &longest).unwrap().open(&mut poller.io(ME)).unwrap();
        for _ in 0..2 {
            send(poller, &sender, b"x");
        }
        assert_eq!(block(poller, |io| receiver.recv_from(io, &mut [0; 8])), Ok((1, unnamed())));
        assert_eq!(recv_fds(poller, &receiver, &mut []).from, unnamed());
        // One who connects from there.
        let listener = UnixListener::bind(&directory.addr("server")).unwrap().open(&mut poller.io(ME)).unwrap();
        let client = rustix::net::socket(rustix::net::AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        fs::remove_file(directory.path(&"x".repeat(length))).unwrap();
        rustix::net::bind(&client, &longest).unwrap();
        rustix::net::connect(&client, &directory.addr("server")).unwrap();
        assert_eq!(block(poller, |io| listener.accept(io)).unwrap().1, unnamed());
    });
}

// An empty path, of which rustix makes an abstract name that anybody could reach, is an error; a socket of another family has no such
// address.
#[test]
fn not_an_address() {
    let empty = SocketAddrUnix::new("").unwrap();
    assert_eq!(UnixListener::bind(&empty).unwrap_err(), Error::Os(Errno::INVAL));
    assert_eq!(UnixListener::bind_seqpacket(&empty).unwrap_err(), Error::Os(Errno::INVAL));
    assert_eq!(UnixDatagram::bind(&empty).unwrap_err(), Error::Os(Errno::INVAL));
    let tcp = OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    assert_eq!(Unopened::<UnixStream>::from(tcp).local_addr(), Err(Error::Os(Errno::AFNOSUPPORT)));
}

// An unnamed address lets the kernel choose an abstract one that nobody has.
#[test]
fn names_of_the_kernels_choice() {
    let one = UnixDatagram::bind(&unnamed()).unwrap();
    let other = UnixDatagram::bind(&unnamed()).unwrap();
    let (one, other) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    assert!(one.abstract_name().unwrap().len() == 5 && one != other);
    assert!(UnixListener::bind(&unnamed()).unwrap().local_addr().unwrap().abstract_name().is_some());
}

// ---- Listening

// What is accepted is non-blocking and close-on-exec, as is everything else that is made here.
fn flags<S: Connection>() {
    with_poller(|poller| {
        let addr = abstract_name();
        let unopened = S::bind(&addr);
        assert!(is_nonblocking(&unopened) && is_cloexec(&unopened));
        let listener = unopened.open(&mut poller.io(ME)).unwrap();
        let client = S::connect(&addr).unwrap();
        let (server, _) = block(poller, |io| listener.accept(io)).unwrap();
        let (one, other) = S::pair();
        for unopened in [client, server, one, other] {
            assert!(is_nonblocking(&unopened) && is_cloexec(&unopened));
            assert_eq!(sockopt::socket_type(&unopened), Ok(S::TYPE));
        }
        let other_listener = OwnedFd::from(S::bind(&abstract_name()));
        rustix::io::ioctl_fionbio(&other_listener, false).unwrap();
        let rejected = Unopened::<UnixListener<S>>::from(other_listener).open(&mut poller.io(ME)).unwrap_err();
        assert_eq!(rejected.error, Error::Os(Errno::INVAL), "accept would block");
    });
}
each!(flags: UnixStream UnixSeqpacket);

#[test]
fn flags_of_datagram_sockets() {
    let addr = abstract_name();
    let bound = UnixDatagram::bind(&addr).unwrap();
    let (one, other) = UnixDatagram::pair().unwrap();
    let connected = UnixDatagram::connect(&addr).unwrap();
    let connected_from = UnixDatagram::connect_from(&addr, &unnamed()).unwrap();
    for unopened in [bound, UnixDatagram::unbound().unwrap(), connected, connected_from, one, other] {
        assert!(is_nonblocking(&unopened) && is_cloexec(&unopened));
        assert_eq!(sockopt::socket_type(&unopened), Ok(SocketType::DGRAM));
    }
}

// G17: one edge for many connections: all are accepted, then it waits; an accept that stopped early goes on without a new one.
fn accept_until_there_is_none<S: Connection>() {
    with_poller(|poller| {
        let addr = abstract_name();
        let listener = S::bind(&addr).open(&mut poller.io(ME)).unwrap();
        assert!(listener.accept(&mut poller.io(ME)).is_pending());
        let clients: Vec<_> = (0..3).map(|_| S::connect(&addr).unwrap()).collect();
        for client in &clients {
            let (server, _) = block(poller, |io| listener.accept(io)).unwrap();
            rustix::net::send(client, b"x", SendFlags::empty()).unwrap();
            let server = server.open(&mut poller.io(ME)).unwrap();
            assert_eq!(recv(poller, &server), Ok(b"x".to_vec()));
            poller.poll(Timeout::Now, |_| panic!("nobody waits")).unwrap();
        }
        assert!(listener.accept(&mut poller.io(ME)).is_pending());
    });
}
each!(accept_until_there_is_none: UnixStream UnixSeqpacket);

// Accept obeys its deadline, which is sticky, wins over a client, and can be cleared without losing that client.
fn accept_deadline<S: Connection>() {
    with_poller(|poller| {
        let addr = abstract_name();
        let listener = S::bind(&addr).open(&mut poller.io(ME)).unwrap();
        let began = StdInstant::now();
        listener.set_timeout(&mut poller.io(ME), Some(Duration::from_millis(10))).unwrap();
        assert_eq!(block(poller, |io| listener.accept(io)).unwrap_err(), Error::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(10));
        let _client = S::connect(&addr).unwrap();
        assert_eq!(block(poller, |io| listener.accept(io)).unwrap_err(), Error::TimedOut);
        listener.set_deadline(&mut poller.io(ME), None).unwrap();
        drop(block(poller, |io| listener.accept(io)).unwrap());
        assert!(listener.accept(&mut poller.io(ME)).is_pending());
    });
}
each!(accept_deadline: UnixStream UnixSeqpacket);

// On a bare poller, which cannot know who should be run, a full table is an error, and the client stays in the backlog.
fn accept_into_a_full_table_of_a_bare_poller<S: Connection>() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let addr = abstract_name();
    let listener = S::bind(&addr).open(&mut poller.io(ME)).unwrap();
    let other = S::pair().0.open(&mut poller.io(ME)).unwrap();
    let client = S::connect(&addr).unwrap();
    assert_eq!(block(&mut poller, |io| listener.accept(io)).unwrap_err(), Error::Full);
    assert_eq!(block(&mut poller, |io| listener.accept_own(io)).unwrap_err(), Error::Full);
    drop(other.close(&mut poller.io(ME)));
    let (server, _) = block(&mut poller, |io| listener.accept(io)).unwrap();
    let server = server.open(&mut poller.io(ME)).unwrap();
    rustix::net::send(&client, b"x", SendFlags::empty()).unwrap();
    assert_eq!(recv(&mut poller, &server), Ok(b"x".to_vec()));
}
each!(accept_into_a_full_table_of_a_bare_poller: UnixStream UnixSeqpacket);

// With a full table the backlog keeps the client; when a handler ends, it is served without another connect.
fn accept_waits_for_room<S: Connection>() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (addr, log) = (abstract_name(), Log::new());
    let entries = log.clone();
    reactor
        .spawn_with(S::bind(&addr), |listener| {
            script(move |cx: &mut Context<'_, Script>| {
                loop {
                    let (socket, _) = ready!(listener.accept(cx))?;
                    let entries = entries.clone();
                    entries.push("accepted".to_owned());
                    // Each client says one word.
                    cx.spawn_with(socket, |socket| {
                        script(move |cx: &mut Context<'_, Script>| {
                            let mut buf = [0; 8];
                            let n = ready!(socket.recv(cx, &mut buf))?;
                            entries.push(String::from_utf8_lossy(&buf[..n]).into_owned());
                            DONE
                        })
                    })?;
                }
            })
        })
        .unwrap();
    let clients: Vec<_> = (0..2).map(|_| S::connect(&addr).unwrap()).collect();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["accepted"]);
    rustix::net::send(&clients[1], b"two", SendFlags::empty()).unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.len(), 0, "there is no room for the second one");
    rustix::net::send(&clients[0], b"one", SendFlags::empty()).unwrap();
    run_until(&mut reactor, &mut (), |()| log.len() == 3);
    assert_eq!(log.take(), ["one", "accepted", "two"]);
}
each!(accept_waits_for_room: UnixStream UnixSeqpacket);

// Who accepts for himself needs room for a descriptor only, and waits for that.
fn accept_own_needs_no_handler<S: Connection>() {
    let mut storage = ReactorStorage::<Script, 1, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (addr, log) = (abstract_name(), Log::new());
    let entries = log.clone();
    reactor
        .spawn_with(S::bind(&addr), |listener| {
            script(move |cx: &mut Context<'_, Script>| {
                assert!(listener.accept(cx).is_pending());
                let (socket, _) = ready!(listener.accept_own(cx))?;
                let socket = socket.open(cx)?;
                entries.push(());
                assert!(listener.accept_own(cx).is_pending());
                drop(socket.close(cx));
                Poll::Pending
            })
        })
        .unwrap();
    let _clients: Vec<_> = (0..2).map(|_| S::connect(&addr).unwrap()).collect();
    // The socket that is closed makes room for the second one.
    run_until(&mut reactor, &mut (), |()| log.len() == 2);
}
each!(accept_own_needs_no_handler: UnixStream UnixSeqpacket);

// A listener that is closed resets its backlog; the token is stale.
fn closing_a_listener<S: Connection>() {
    with_poller(|poller| {
        let addr = abstract_name();
        let listener = S::bind(&addr).open(&mut poller.io(ME)).unwrap();
        let client = S::connect(&addr).unwrap().open(&mut poller.io(ME)).unwrap();
        drop(listener.close(&mut poller.io(ME)).unwrap());
        assert_eq!(recv(poller, &client), Err(Error::Os(Errno::CONNRESET)));
        assert_eq!(recv(poller, &client), Ok(Vec::new()));
        let mut io = poller.io(ME);
        assert_eq!(listener.accept(&mut io).map(Result::unwrap_err), Poll::Ready(Error::Closed));
        assert_eq!(listener.accept_own(&mut io).map(Result::unwrap_err), Poll::Ready(Error::Closed));
        assert_eq!(listener.set_deadline(&mut io, None), Err(Error::Closed));
        assert_eq!(listener.set_timeout(&mut io, None), Err(Error::Closed));
        assert_eq!(listener.local_addr(&mut io), Err(Error::Closed));
        assert_eq!(S::connect(&addr).unwrap_err(), Error::Os(Errno::CONNREFUSED));
    });
}
each!(closing_a_listener: UnixStream UnixSeqpacket);

// ---- Connecting

// Each mistake has its own answer, at once.
#[test]
fn connect_errors() {
    let directory = Directory::new();
    fs::write(directory.path("file"), "").unwrap();
    let _stream = UnixListener::bind(&directory.addr("stream")).unwrap();
    let _seqpacket = UnixListener::bind_seqpacket(&directory.addr("seqpacket")).unwrap();
    let _datagram = UnixDatagram::bind(&directory.addr("datagram")).unwrap();
    drop(UnixDatagram::bind(&directory.addr("stale")).unwrap());
    let as_each = |name: &str| {
        let addr = directory.addr(name);
        let stream = UnixStream::connect(&addr).err();
        [stream, UnixSeqpacket::connect(&addr).err(), UnixDatagram::connect(&addr).err()]
    };
    let all = |errno| [Some(Error::Os(errno)); 3];
    assert_eq!(as_each("missing"), all(Errno::NOENT));
    assert_eq!(as_each("file/below"), all(Errno::NOTDIR));
    assert_eq!(as_each("file"), all(Errno::CONNREFUSED), "no socket");
    assert_eq!(as_each("stale"), all(Errno::CONNREFUSED));
    let wrong = Some(Error::Os(Errno::PROTOTYPE));
    assert_eq!(as_each("stream"), [None, wrong, wrong]);
    assert_eq!(as_each("seqpacket"), [wrong, None, wrong]);
    assert_eq!(as_each("datagram"), [wrong, wrong, None]);
    assert_eq!(Error::Os(Errno::PROTOTYPE).to_string(), "protocol wrong type for socket");
}

// Without the right to write to the file nobody connects, or removes it.
#[test]
fn access_is_denied() {
    let directory = Directory::new();
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    let addr = directory.addr("socket");
    let _listener = UnixListener::bind(&addr).unwrap();
    fs::set_permissions(directory.path("socket"), fs::Permissions::from_mode(0o000)).unwrap();
    let denied = Error::Os(Errno::ACCESS);
    as_nobody(|| {
        assert_eq!(UnixStream::connect(&addr).unwrap_err(), denied);
        assert_eq!(denied.to_string(), "permission denied");
        assert_eq!(UnixDatagram::connect(&addr).unwrap_err(), denied);
        assert_eq!(unlink_stale(&addr), Err(denied));
    });
    with_poller(|poller| {
        let sender = UnixDatagram::unbound().unwrap().open(&mut poller.io(ME)).unwrap();
        // The poller stays here; the call is made there.
        let fd = dup(poller.io(ME).fd(sender.token()).unwrap());
        as_nobody(|| assert_eq!(rustix::net::sendto(&fd, b"x", SendFlags::empty(), &addr), Err(Errno::ACCESS)));
    });
}

// A3: a full backlog is EAGAIN, at once, and no edge ever comes; a timer tries again until there is room.
fn a_full_backlog_is_tried_again<S: Connection>() {
    let addr = abstract_name();
    let mut options = UnixListenOptions::default();
    options.backlog = 1;
    let listener = S::bind_with(&addr, &options).unwrap();
    // As many as the backlog says, and one more.
    let _fillers: Vec<_> = (0..2).map(|_| S::connect(&addr).unwrap()).collect();
    let mut storage = ReactorStorage::<Script, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let refusals = Log::new();
    let entries = refusals.clone();
    let target = addr.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| -> Answer {
            match S::connect(&target) {
                Ok(socket) => {
                    let socket = socket.open(cx)?;
                    assert_eq!(socket.send(cx, b"at last"), Poll::Ready(Ok(7)));
                    DONE
                }
                Err(error) => {
                    entries.push(error);
                    cx.set_timer_after(Duration::from_millis(1));
                    Poll::Pending
                }
            }
        }))
        .unwrap();
    run_until(&mut reactor, &mut (), |()| refusals.len() >= 3);
    assert!(refusals.take().iter().all(|error| *error == Error::Os(Errno::AGAIN)));
    let accept = || rustix::net::accept_with(&listener, SocketFlags::NONBLOCK).unwrap();
    drop(accept());
    reactor.run(&mut ()).unwrap();
    drop(accept());
    let mut buf = [0; 8];
    assert_eq!(rustix::net::recv(accept(), &mut buf, RecvFlags::empty()).unwrap().0, 7);
}
each!(a_full_backlog_is_tried_again: UnixStream UnixSeqpacket);

// The kernel vouches for who is at the other end: us.
fn credentials<S: Connection>() {
    with_poller(|poller| {
        let addr = abstract_name();
        let listener = S::bind(&addr).open(&mut poller.io(ME)).unwrap();
        let client = S::connect(&addr).unwrap();
        let (server, _) = block(poller, |io| listener.accept(io)).unwrap();
        let (one, other) = S::pair();
        for unopened in [client, server, one, other] {
            let peer = S::peer_credentials_of(&unopened).unwrap();
            assert_eq!(peer.pid, Some(std::process::id()));
            assert_eq!((peer.uid, peer.gid), (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
            let socket = unopened.open(&mut poller.io(ME)).unwrap();
            assert_eq!(socket.peer_credentials(&mut poller.io(ME)), Ok(peer));
        }
        let alone = rustix::net::socket_with(rustix::net::AddressFamily::UNIX, S::TYPE, SocketFlags::NONBLOCK, None).unwrap();
        let alone = Unopened::<S>::from(alone);
        assert_eq!(S::peer_credentials_of(&alone), Err(Error::Os(Errno::NOTCONN)));
        let alone = alone.open(&mut poller.io(ME)).unwrap();
        assert_eq!(alone.peer_credentials(&mut poller.io(ME)), Err(Error::Os(Errno::NOTCONN)));
        assert_eq!(alone.peer_addr(&mut poller.io(ME)), Err(Error::Os(Errno::NOTCONN)));
    });
}
each!(credentials: UnixStream UnixSeqpacket);

// The user that the kernel vouches for is the one who connected, not we.
#[test]
fn credentials_of_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        return descriptors::skip("credentials_of_somebody_else", "not root, who alone can become somebody else");
    }
    with_poller(|poller| {
        let addr = abstract_name();
        let listener = UnixListener::bind(&addr).unwrap().open(&mut poller.io(ME)).unwrap();
        let _client = as_nobody(|| UnixStream::connect(&addr).unwrap());
        let (server, _) = block(poller, |io| listener.accept(io)).unwrap();
        assert_eq!(server.peer_credentials().unwrap().uid, 65534);
    });
}

// ---- Files

// An abstract name ends with its socket; a file stays, is in the way, and is removed by who asks for it.
fn names_and_files_after_close<S: Connection>() {
    let name = abstract_name();
    for _ in 0..2 {
        let listener = S::bind(&name);
        drop(S::connect(&name).unwrap());
        drop(listener);
        assert_eq!(S::connect(&name).unwrap_err(), Error::Os(Errno::CONNREFUSED));
    }
    let directory = Directory::new();
    let (addr, path) = (directory.addr("socket"), directory.path("socket"));
    for _ in 0..2 {
        assert_eq!(unlink_stale(&addr), Ok(false));
        let listener = S::bind(&addr);
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        drop(S::connect(&addr).unwrap());
        drop(listener);
        assert_eq!(S::connect(&addr).unwrap_err(), Error::Os(Errno::CONNREFUSED));
        let error = S::bind_with(&addr, &UnixListenOptions::default()).unwrap_err();
        assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::ADDRINUSE), "address already in use"));
        assert_eq!(unlink_stale(&addr), Ok(true));
        assert!(!path.exists());
    }
}
each!(names_and_files_after_close: UnixStream UnixSeqpacket);

// Only a socket that nobody has is removed; who has one does not notice that it was asked for.
#[test]
fn nothing_else_is_unlinked() {
    let directory = Directory::new();
    let bound_only = rustix::net::socket(rustix::net::AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&bound_only, &directory.addr("bound only")).unwrap();
    let stream = UnixListener::bind(&directory.addr("stream")).unwrap();
    let seqpacket = UnixListener::bind_seqpacket(&directory.addr("seqpacket")).unwrap();
    let datagram = UnixDatagram::bind(&directory.addr("datagram")).unwrap();
    let _connected = UnixDatagram::connect_from(&directory.addr("datagram"), &directory.addr("connected")).unwrap();
    fs::write(directory.path("file"), "precious").unwrap();
    fs::create_dir(directory.path("directory")).unwrap();
    drop(UnixDatagram::bind(&directory.addr("stale")).unwrap());
    symlink(directory.path("stale"), directory.path("link")).unwrap();
    for name in ["bound only", "stream", "seqpacket", "datagram", "connected", "file", "directory", "link", "missing"] {
        assert_eq!(unlink_stale(&directory.addr(name)), Ok(false), "{name}");
        assert_eq!(fs::symlink_metadata(directory.path(name)).is_ok(), name != "missing", "{name}");
    }
    for listener in [stream.as_fd(), seqpacket.as_fd()] {
        assert_eq!(rustix::net::accept(listener).unwrap_err(), Errno::AGAIN, "nobody has connected");
    }
    assert_eq!(rustix::net::recv(&datagram, &mut [0; 8], RecvFlags::DONTWAIT).unwrap_err(), Errno::AGAIN);
    assert_eq!(unlink_stale(&directory.addr("stale")), Ok(true));
    for addr in [abstract_name(), unnamed()] {
        assert_eq!(unlink_stale(&addr), Ok(false));
    }
    assert_eq!(unlink_stale(&directory.addr("file/below")), Err(Error::Os(Errno::NOTDIR)));
}

// The other kinds of sockets leave files, too.
#[test]
fn a_stale_datagram_socket_is_replaced() {
    let directory = Directory::new();
    let addr = directory.addr("socket");
    for _ in 0..2 {
        unlink_stale(&addr).unwrap();
        let socket = UnixDatagram::bind(&addr).unwrap();
        assert_eq!(UnixDatagram::bind(&addr).unwrap_err(), Error::Os(Errno::ADDRINUSE));
        drop(socket);
    }
}

// Bind errors come from the directory, too.
#[test]
fn bind_errors() {
    let directory = Directory::new();
    fs::write(directory.path("file"), "").unwrap();
    for (name, errno) in [("missing/socket", Errno::NOENT), ("file/socket", Errno::NOTDIR), ("file", Errno::ADDRINUSE)] {
        assert_eq!(UnixListener::bind(&directory.addr(name)).unwrap_err(), Error::Os(errno), "{name}");
        assert_eq!(UnixDatagram::bind(&directory.addr(name)).unwrap_err(), Error::Os(errno), "{name}");
    }
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o555)).unwrap();
    let addr = directory.addr("socket");
    as_nobody(|| assert_eq!(UnixListener::bind(&addr).unwrap_err(), Error::Os(Errno::ACCESS)));
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
}

// ---- Reading and writing

// Nothing, some, more than asked for, an empty buffer, the end, and the end again.
#[test]
fn read_none_some_more_and_the_end() {
    with_pair(|poller, stream: UnixStream, peer: UnixStream| {
        let mut buf = [0; 4];
        let none = |poller: &mut Poller<'_>| {
            assert_eq!(stream.read(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
            assert_eq!(stream.peek(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
            assert_eq!(stream.write(&mut poller.io(ME), &[]), Poll::Ready(Ok(0)));
        };
        none(poller);
        assert!(stream.read(&mut poller.io(ME), &mut buf).is_pending());
        none(poller);
        send(poller, &peer, b"ab");
        assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(2));
        assert_eq!(&buf[..2], b"ab");
        assert!(stream.read(&mut poller.io(ME), &mut buf).is_pending());
        send(poller, &peer, b"cdefghi");
        assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(4));
        assert_eq!(&buf, b"cdef");
        none(poller);
        assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(3));
        assert_eq!(&buf[..3], b"ghi");
        drop(peer.close(&mut poller.io(ME)));
        for _ in 0..3 {
            assert_eq!(block(poller, |io| stream.read(io, &mut buf)), Ok(0));
        }
    });
}

// What was sent by one call is received by one call: whole if it fits, cut if not, and the next one is not touched.
fn records_are_whole_or_cut<S: Socket>() {
    with_pair(|poller, socket: S, peer: S| {
        assert!(socket.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
        for record in [&b"one"[..], b"second", b"third", b"4", b"", b"six"] {
            send(poller, &peer, record);
        }
        assert_eq!(recv(poller, &socket), Ok(b"one".to_vec()));
        let mut buf = [0; 3];
        assert_eq!(block(poller, |io| socket.recv(io, &mut buf)), Ok(3));
        assert_eq!(&buf, b"sec");
        let cut = block(poller, |io| socket.recv_with_fds(io, &mut buf, &mut [])).unwrap();
        assert_eq!((cut.len, &buf, cut.truncated), (3, b"thi", true));
        let whole = block(poller, |io| socket.recv_with_fds(io, &mut buf, &mut [])).unwrap();
        assert_eq!((whole.len, whole.truncated, whole.fds, whole.fds_truncated, whole.from), (1, false, 0, false, unnamed()));
        // An empty one is one, and an empty buffer takes one.
        assert_eq!(recv(poller, &socket), Ok(Vec::new()));
        assert_eq!(block(poller, |io| socket.recv(io, &mut [])), Ok(0));
        assert!(socket.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
    });
}
each!(records_are_whole_or_cut: UnixSeqpacket UnixDatagram);

// The end and an empty record look the same, but for the credentials that a record has and the end has not.
#[test]
fn what_tells_an_empty_record_from_the_end() {
    with_pair(|poller, socket: UnixSeqpacket, peer: UnixSeqpacket| {
        let take = |poller: &mut Poller<'_>| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut io = poller.io(ME);
            let message = rustix::net::recvmsg(io.fd(socket.token()).unwrap(), &mut [], &mut control, RecvFlags::DONTWAIT).unwrap();
            let credentials = control.drain().filter(|message| matches!(message, RecvAncillaryMessage::ScmCredentials(_))).count();
            (message.bytes, credentials)
        };
        sockopt::set_socket_passcred(poller.io(ME).fd(socket.token()).unwrap(), true).unwrap();
        send(poller, &peer, b"");
        drop(peer.close(&mut poller.io(ME)));
        assert_eq!(take(poller), (0, 1));
        assert_eq!(take(poller), (0, 0));
    });
}

// Data comes before the end, also when both are one event, and the end comes again and again.
fn data_then_end<S: Connection>() {
    for waits in [true, false] {
        with_pair(|poller, socket: S, peer: S| {
            if waits {
                assert!(socket.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
            }
            send(poller, &peer, b"abc");
            peer.shutdown(&mut poller.io(ME), Shutdown::Write);
            assert_eq!(recv(poller, &socket), Ok(b"abc".to_vec()));
            for _ in 0..3 {
                assert_eq!(recv(poller, &socket), Ok(Vec::new()));
            }
        });
        with_pair(|poller, socket: S, peer: S| {
            send(poller, &peer, b"abc");
            assert_eq!(recv(poller, &socket), Ok(b"abc".to_vec()));
            if waits {
                assert!(socket.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
            }
            drop(peer.close(&mut poller.io(ME)));
            assert_eq!(recv(poller, &socket), Ok(Vec::new()));
        });
    }
}
each!(data_then_end: UnixStream UnixSeqpacket);

// The peer's half-close ends receiving only, and ours ends the peer's; the other way stays open.
fn half_close_each_way<S: Connection>() {
    with_pair(|poller, socket: S, peer: S| {
        assert!(socket.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
        peer.shutdown(&mut poller.io(ME), Shutdown::Write);
        assert_eq!(recv(poller, &socket), Ok(Vec::new()));
        assert_eq!(block(poller, |io| peer.send(io, b"x")), Err(Error::Os(Errno::PIPE)));
        send(poller, &socket, b"still here");
        assert_eq!(recv(poller, &peer), Ok(b"still here".to_vec()));
    });
    with_pair(|poller, socket: S, peer: S| {
        // The peer reads no more: there is nobody to write to.
        peer.shutdown(&mut poller.io(ME), Shutdown::Read);
        assert_eq!(recv(poller, &peer), Ok(Vec::new()));
        assert_eq!(block(poller, |io| socket.send(io, b"x")), Err(Error::Os(Errno::PIPE)));
        send(poller, &peer, b"but it writes");
        assert_eq!(recv(poller, &socket), Ok(b"but it writes".to_vec()));
    });
    with_pair(|poller, socket: S, _peer: S| {
        assert!(socket.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
        socket.shutdown(&mut poller.io(ME), Shutdown::Both);
        assert_eq!(recv(poller, &socket), Ok(Vec::new()));
        assert_eq!(block(poller, |io| socket.send(io, b"x")), Err(Error::Os(Errno::PIPE)));
    });
}
each!(half_close_each_way: UnixStream UnixSeqpacket);

// Who closes with data unread resets the connection: an error once, and the end afterwards.
fn unread_data_is_a_reset<S: Connection>() {
    for waits in [true, false] {
        with_pair(|poller, socket: S, peer: S| {
            if waits {
                assert!(socket.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
            }
            send(poller, &socket, b"never read");
            drop(peer.close(&mut poller.io(ME)));
            let error = recv(poller, &socket).unwrap_err();
            assert_eq!((error, error.to_string().as_str()), (Error::Os(Errno::CONNRESET), "connection reset by peer"));
            assert_eq!(recv(poller, &socket), Ok(Vec::new()));
        });
    }
}
each!(unread_data_is_a_reset: UnixStream UnixSeqpacket);

// The kernel's error can be taken instead, once.
#[test]
fn the_kernels_error_is_taken_once() {
    fn of<S: Connection>(take: impl Fn(&S, &mut Io<'_>) -> Result<Option<Errno>, Error>) {
        with_pair(|poller, socket: S, peer: S| {
            send(poller, &socket, b"never read");
            assert_eq!(take(&socket, &mut poller.io(ME)), Ok(None));
            drop(peer.close(&mut poller.io(ME)));
            assert_eq!(take(&socket, &mut poller.io(ME)), Ok(Some(Errno::CONNRESET)));
            assert_eq!(take(&socket, &mut poller.io(ME)), Ok(None));
            assert_eq!(recv(poller, &socket), Ok(Vec::new()));
        });
    }
    of(UnixStream::take_error);
    of(UnixSeqpacket::take_error);
}

/// Makes one call on a socket that was inherited, would block, and has nothing to receive and no room to send.
#[track_caller]
fn inherited<S: Socket, T>(call: impl FnOnce(&S, &mut Io<'_>) -> Poll<T>) {
    with_poller(|poller| {
        let (one, other) = S::pair();
        let one = OwnedFd::from(one);
        rustix::io::ioctl_fionbio(&one, false).unwrap();
        while rustix::net::send(&one, &[0; 1000], SendFlags::DONTWAIT).is_ok() {}
        let socket = Unopened::<S>::from(one).open(&mut poller.io(ME)).unwrap();
        assert!(call(&socket, &mut poller.io(ME)).is_pending());
        drop(other);
    });
}

// No call blocks, whatever the descriptor's flags say.
fn an_inherited_socket_does_not_block<S: Socket>() {
    inherited(|socket: &S, io| socket.recv(io, &mut [0; 8]));
    inherited(|socket: &S, io| socket.recv_with_fds(io, &mut [0; 8], &mut [None]));
    inherited(|socket: &S, io| socket.send(io, &[0; 1000]));
    inherited(|socket: &S, io| socket.send_with_fds(io, &[0; 1000], &[any()]));
}
each!(an_inherited_socket_does_not_block: UnixStream UnixSeqpacket UnixDatagram);

#[test]
fn the_other_calls_do_not_block() {
    inherited(|stream: &UnixStream, io| stream.peek(io, &mut [0; 8]));
    inherited(|stream: &UnixStream, io| stream.read_vectored(io, &mut [IoSliceMut::new(&mut [0; 8])]));
    inherited(|stream: &UnixStream, io| stream.write_vectored(io, &[IoSlice::new(&[0; 1000])]));
    inherited(|socket: &UnixDatagram, io| socket.recv_from(io, &mut [0; 8]));
    let addr = abstract_name();
    let _receiver = UnixDatagram::bind(&addr).unwrap();
    let sender = UnixDatagram::connect(&addr).unwrap();
    while rustix::net::send(&sender, b"x", SendFlags::DONTWAIT).is_ok() {}
    inherited(|socket: &UnixDatagram, io| match socket.send_to(io, b"x", &addr) {
        Err(Error::Os(Errno::AGAIN)) => Poll::Pending,
        answer => Poll::Ready(answer),
    });
}

/// Sends in every way to who is gone; the last answer is the error.
fn send_in_every_way<S: Socket>(poller: &mut Poller<'_>, socket: &S) -> Vec<Error> {
    let fd = [any()];
    let mut errors = vec![
        block(poller, |io| socket.send(io, b"x")).unwrap_err(),
        block(poller, |io| socket.send_with_fds(io, b"x", &[])).unwrap_err(),
        block(poller, |io| socket.send_with_fds(io, b"x", &fd)).unwrap_err(),
    ];
    errors.push(block(poller, |io| socket.send(io, b"x")).unwrap_err());
    errors
}

// Sending to who is gone is EPIPE, and SIGPIPE is never raised, by no kind of call; the handler that looks for it is shown to see it.
#[test]
fn epipe_never_sigpipe() {
    alone(|| {
        let raised = Arc::new(AtomicBool::new(false));
        // The standard library ignores the signal; this takes its place.
        signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::clone(&raised)).unwrap();
        let broken = Error::Os(Errno::PIPE);
        with_pair(|poller, stream: UnixStream, peer: UnixStream| {
            drop(peer.close(&mut poller.io(ME)).unwrap());
            assert_eq!(send_in_every_way(poller, &stream), [broken; 4]);
            assert_eq!(stream.write(&mut poller.io(ME), b""), Poll::Ready(Ok(0)), "without a look");
            assert_eq!(block(poller, |io| stream.write_vectored(io, &[IoSlice::new(b"ab")])), Err(broken));
            assert_eq!(block(poller, |io| stream.write_all(io, b"ab", &mut 0)), Err(broken));
        });
        with_pair(|poller, socket: UnixSeqpacket, peer: UnixSeqpacket| {
            drop(peer.close(&mut poller.io(ME)).unwrap());
            assert_eq!(send_in_every_way(poller, &socket), [broken; 4]);
            assert_eq!(block(poller, |io| socket.send(io, b"")), Err(broken));
        });
        with_pair(|poller, socket: UnixDatagram, peer: UnixDatagram| {
            drop(peer.close(&mut poller.io(ME)).unwrap());
            let [refused, gone] = [Errno::CONNREFUSED, Errno::NOTCONN].map(Error::Os);
            assert_eq!(send_in_every_way(poller, &socket), [refused, gone, gone, gone]);
        });
        // A datagram socket that was shut down is the only one that could raise it.
        with_pair(|poller, socket: UnixDatagram, _peer: UnixDatagram| {
            rustix::net::shutdown(poller.io(ME).fd(socket.token()).unwrap(), Shutdown::Write).unwrap();
            assert_eq!(send_in_every_way(poller, &socket), [broken; 4]);
            let nobody = abstract_name();
            assert!(socket.send_to(&mut poller.io(ME), b"x", &nobody).is_err());
        });
        assert!(!raised.load(Ordering::SeqCst));
        let (one, other) = UnixStream::pair().unwrap();
        drop(other);
        assert_eq!(rustix::net::send(&one, b"x", SendFlags::empty()), Err(Errno::PIPE));
        assert!(raised.load(Ordering::SeqCst), "the test would not have noticed");
    });
}

// A sender fills the kernel's buffers, waits, and goes on when the peer has received; nothing in between is lost.
fn sending_fills_waits_and_goes_on<S: Socket>() {
    with_pair(|poller, socket: S, peer: S| {
        let chunk: Vec<u8> = (0..1000).map(pattern).collect();
        for _ in 0..5 {
            let sent = fill(poller, &socket, &chunk);
            assert!(sent > 0);
            poller.poll(Timeout::Now, |waiter| assert_eq!(waiter, PEER, "there is no room")).unwrap();
            let mut got = Vec::new();
            let mut buf = [0; 1000];
            while let Poll::Ready(n) = peer.recv(&mut poller.io(PEER), &mut buf) {
                got.extend_from_slice(&buf[..n.unwrap()]);
            }
            // A stream may have taken a part of the last one.
            assert!(got.len() / 1000 == sent && got.chunks(1000).all(|part| part == &chunk[..part.len()]));
            assert_eq!(block(poller, |io| io.poll_ready(socket.token(), Direction::Write)), Ok(()));
        }
    });
}
each!(sending_fills_waits_and_goes_on: UnixStream UnixSeqpacket UnixDatagram);

// `write_all` goes on after each TimedOut: megabytes, of which the peer reads some after each of them, byte by byte the same.
#[test]
fn write_all_resumes_after_timeouts() {
    const LENGTH: usize = 4 << 20;
    with_pair(|poller, stream: UnixStream, peer: UnixStream| {
        let data: Vec<u8> = (0..LENGTH).map(pattern).collect();
        let (mut sent, mut got, mut timeouts) = (0, Vec::new(), 0);
        let mut buf = vec![0; 100_000];
        while sent < LENGTH {
            if stream.write_all(&mut poller.io(ME), &data, &mut sent).map(Result::unwrap).is_pending() {
                stream.set_write_deadline(&mut poller.io(ME), LONG_AGO).unwrap();
                let before = sent;
                assert_eq!(block(poller, |io| stream.write_all(io, &data, &mut sent)), Err(Error::TimedOut));
                assert_eq!(sent, before);
                timeouts += 1;
                let n = block(poller, |io| peer.read(io, &mut buf)).unwrap();
                got.extend_from_slice(&buf[..n]);
                stream.set_write_deadline(&mut poller.io(ME), None).unwrap();
                poller.poll(Timeout::Now, |_| ()).unwrap();
            }
        }
        drop(stream.close(&mut poller.io(ME)).unwrap());
        while let Poll::Ready(Ok(n @ 1..)) = peer.read(&mut poller.io(ME), &mut buf) {
            got.extend_from_slice(&buf[..n]);
        }
        assert!(got == data && timeouts >= 8, "{timeouts}");
    });
}

/// Sends `LENGTH` bytes and receives as many; both ends are such handlers.
fn exchange<S: Socket>(socket: S, chunk: usize) -> Script {
    const LENGTH: usize = 2 << 20;
    let (mut sent, mut received, mut buf) = (0, 0, vec![0; 10_000]);
    script(move |cx: &mut Context<'_, Script>| {
        let mut sending = Poll::Ready(());
        while sent < LENGTH && sending.is_ready() {
            let part: Vec<u8> = (sent..LENGTH.min(sent + chunk)).map(pattern).collect();
            sending = socket.send(cx, &part)?.map(|n| sent += n);
        }
        while received < LENGTH {
            let n = ready!(socket.recv(cx, &mut buf))?;
            assert!(n > 0);
            assert!(buf[..n].iter().enumerate().all(|(at, &byte)| byte == pattern(received + at)), "after {received}");
            received += n;
        }
        sending.map(Ok)
    })
}

// Megabytes each way at once, both ends handlers of one reactor: nothing is lost, doubled or turned around, in chunks of unlike sizes.
fn both_ends_at_once<S: Socket>() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (one, other) = S::pair();
    reactor.spawn_with(one, |socket| exchange::<S>(socket, 3000)).unwrap();
    reactor.spawn_with(other, |socket| exchange::<S>(socket, 7777)).unwrap();
    reactor.run(&mut ()).unwrap();
}
each!(both_ends_at_once: UnixStream UnixSeqpacket UnixDatagram);

// A send deadline ends a send that waits, not receiving; a receive deadline the other way round; both are sticky, and nothing is lost.
fn deadlines_of_the_two_directions<S: Socket>() {
    with_pair(|poller, socket: S, peer: S| {
        socket.set_write_deadline(&mut poller.io(ME), LONG_AGO);
        assert_eq!(socket.send(&mut poller.io(ME), b"x"), Poll::Ready(Err(Error::TimedOut)));
        assert_eq!(socket.send_with_fds(&mut poller.io(ME), b"x", &[]), Poll::Ready(Err(Error::TimedOut)));
        assert!(socket.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
        socket.set_write_deadline(&mut poller.io(ME), None);
        socket.set_read_deadline(&mut poller.io(ME), LONG_AGO);
        send(poller, &socket, b"x");
        send(poller, &peer, b"abc");
        for _ in 0..2 {
            assert_eq!(socket.recv(&mut poller.io(ME), &mut [0; 8]), Poll::Ready(Err(Error::TimedOut)));
            assert_eq!(socket.recv_with_fds(&mut poller.io(ME), &mut [0; 8], &mut []).map_ok(drop), Poll::Ready(Err(Error::TimedOut)));
        }
        socket.set_read_deadline(&mut poller.io(ME), None);
        assert_eq!(recv(poller, &socket), Ok(b"abc".to_vec()));
        let began = StdInstant::now();
        socket.set_timeout(&mut poller.io(ME), Duration::from_millis(5));
        assert_eq!(recv(poller, &socket), Err(Error::TimedOut));
        assert!(began.elapsed() >= Duration::from_millis(5));
        assert_eq!(block(poller, |io| socket.send(io, b"x")), Err(Error::TimedOut));
    });
}
each!(deadlines_of_the_two_directions: UnixStream UnixSeqpacket UnixDatagram);

// A peek leaves the data where it is, and the gate open.
#[test]
fn peek_leaves_the_data() {
    with_pair(|poller, stream: UnixStream, peer: UnixStream| {
        assert!(stream.peek(&mut poller.io(ME), &mut [0; 8]).is_pending());
        send(poller, &peer, b"abc");
        let mut buf = [0; 8];
        for _ in 0..2 {
            assert_eq!(block(poller, |io| stream.peek(io, &mut buf)), Ok(3));
            assert_eq!(&buf[..3], b"abc");
        }
        assert_eq!(recv(poller, &stream), Ok(b"abc".to_vec()));
    });
}

// Vectored calls fill and take several buffers in turn, also none; the end and the wait are as with one.
#[test]
fn vectored() {
    with_pair(|poller, stream: UnixStream, peer: UnixStream| {
        assert_eq!(block(poller, |io| stream.write_vectored(io, &[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")])), Ok(5));
        assert_eq!(recv(poller, &peer), Ok(b"abcde".to_vec()));
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let pending = stream.read_vectored(&mut poller.io(ME), &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]);
        assert!(pending.is_pending());
        send(poller, &peer, b"vwxyz");
        let read = block(poller, |io| stream.read_vectored(io, &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]));
        assert_eq!((read, &first, &second[..3]), (Ok(5), b"vw", &b"xyz"[..]));
        drop(peer.close(&mut poller.io(ME)));
        assert_eq!(block(poller, |io| stream.read_vectored(io, &mut [IoSliceMut::new(&mut second)])), Ok(0));
    });
}

// ---- Datagrams

// A sender's address is where to answer: a path, an abstract name, one of the kernel's choice; who was not bound has none.
#[test]
fn datagrams_tell_their_sender() {
    let directory = Directory::new();
    with_poller(|poller| {
        let server = UnixDatagram::bind(&directory.addr("server")).unwrap().open(&mut poller.io(ME)).unwrap();
        for local in [directory.addr("client"), abstract_name(), unnamed()] {
            let client = UnixDatagram::connect_from(&directory.addr("server"), &local).unwrap();
            assert_eq!(client.peer_addr(), Ok(directory.addr("server")));
            let local = client.local_addr().unwrap();
            let client = client.open(&mut poller.io(ME)).unwrap();
            assert_eq!(client.local_addr(&mut poller.io(ME)), Ok(local.clone()));
            assert_eq!(client.peer_addr(&mut poller.io(ME)), Ok(directory.addr("server")));
            send(poller, &client, b"question");
            let (n, from) = block(poller, |io| server.recv_from(io, &mut [0; 64])).unwrap();
            assert!(n == 8 && from == local && !from.is_unnamed());
            assert_eq!(server.send_to(&mut poller.io(ME), b"answer", &from), Ok(6));
            assert_eq!(recv(poller, &client), Ok(b"answer".to_vec()));
            send(poller, &client, b"again");
            assert_eq!(recv_fds(poller, &server, &mut []).from, local);
            drop(client.close(&mut poller.io(ME)).unwrap());
        }
        let anonymous = UnixDatagram::unbound().unwrap().open(&mut poller.io(ME)).unwrap();
        assert_eq!(anonymous.send_to(&mut poller.io(ME), b"x", &directory.addr("server")), Ok(1));
        assert_eq!(block(poller, |io| server.recv_from(io, &mut [0; 64])), Ok((1, unnamed())));
        assert_eq!(anonymous.local_addr(&mut poller.io(ME)), Ok(unnamed()));
        assert_eq!(anonymous.peer_addr(&mut poller.io(ME)), Err(Error::Os(Errno::NOTCONN)));
        assert_eq!(anonymous.send(&mut poller.io(ME), b"x"), Poll::Ready(Err(Error::Os(Errno::NOTCONN))));
    });
}

// Only the peer reaches a connected socket; who speaks to somebody else from now on is reported once.
#[test]
fn a_connected_datagram_socket_hears_nobody_else() {
    with_poller(|poller| {
        let (server, client) = (abstract_name(), abstract_name());
        let one = UnixDatagram::bind(&server).unwrap().open(&mut poller.io(ME)).unwrap();
        let other = UnixDatagram::connect_from(&server, &client).unwrap().open(&mut poller.io(ME)).unwrap();
        let stranger = UnixDatagram::unbound().unwrap().open(&mut poller.io(ME)).unwrap();
        assert_eq!(stranger.send_to(&mut poller.io(ME), b"x", &client), Err(Error::Os(Errno::PERM)));
        assert_eq!(UnixDatagram::connect(&client).unwrap_err(), Error::Os(Errno::PERM));
        assert_eq!(one.send_to(&mut poller.io(ME), b"x", &client), Ok(1));
        assert_eq!(recv(poller, &other), Ok(b"x".to_vec()));
        // Who was its peer turns to somebody else, and loses what it has not received.
        send(poller, &other, b"lost");
        let third = UnixDatagram::bind(&unnamed()).unwrap();
        for target in [&client, &third.local_addr().unwrap()] {
            rustix::net::connect(poller.io(ME).fd(one.token()).unwrap(), target).unwrap();
        }
        assert_eq!(recv(poller, &other), Err(Error::Os(Errno::CONNRESET)));
        assert!(other.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
    });
}

// A4: to a receiver that is full, `send_to` answers EAGAIN at once, and no edge, least of all one of its own making, runs the sender; a timer
// tries again.
#[test]
fn send_to_never_waits() {
    let mut storage = ReactorStorage::<Script, 1, 1>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    let addr = abstract_name();
    let receiver = UnixDatagram::bind(&addr).unwrap();
    let log = Log::new();
    let entries = log.clone();
    reactor
        .spawn_with(UnixDatagram::unbound().unwrap(), |socket| {
            script(move |cx: &mut Context<'_, Script>| -> Answer {
                while entries.len() < 1000 {
                    let sent = socket.send_to(cx, b"x", &addr);
                    entries.push(sent);
                    if sent.is_err() {
                        break;
                    }
                }
                cx.set_timer_after(Duration::from_millis(1));
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    let sent = log.take();
    assert!(sent.len() > 1 && sent[..sent.len() - 1].iter().all(|sent| *sent == Ok(1)));
    assert_eq!(sent.last(), Some(&Err(Error::Os(Errno::AGAIN))));
    let mut after_a_while = || {
        settle(&mut reactor, &mut ());
        assert_eq!(log.take(), [], "only the timer runs it");
        advance(Duration::from_millis(1));
        settle(&mut reactor, &mut ());
        log.take()
    };
    assert_eq!(after_a_while(), [Err(Error::Os(Errno::AGAIN))]);
    rustix::net::recv(&receiver, &mut [0; 8], RecvFlags::empty()).unwrap();
    assert_eq!(after_a_while(), [Ok(1), Err(Error::Os(Errno::AGAIN))]);
}

// A connected one waits: there is an edge when its peer, which is connected to nobody, has received one.
#[test]
fn a_connected_datagram_socket_waits_for_its_peer() {
    with_poller(|poller| {
        let addr = abstract_name();
        let receiver = UnixDatagram::bind(&addr).unwrap();
        let sender = UnixDatagram::connect(&addr).unwrap().open(&mut poller.io(ME)).unwrap();
        let kept: usize = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap().trim().parse().unwrap();
        assert_eq!(fill(poller, &sender, b"x"), kept + 1);
        for _ in 0..3 {
            poller.poll(Timeout::Now, |_| panic!("there is no room")).unwrap();
            assert!(sender.send(&mut poller.io(ME), b"x").is_pending());
            // Its deadline ends the wait.
            sender.set_write_deadline(&mut poller.io(ME), LONG_AGO).unwrap();
            assert_eq!(sender.send(&mut poller.io(ME), b"x"), Poll::Ready(Err(Error::TimedOut)));
            sender.set_write_deadline(&mut poller.io(ME), None).unwrap();
            assert_eq!(sender.send_to(&mut poller.io(ME), b"x", &addr), Err(Error::Os(Errno::AGAIN)));
            assert!(sender.send(&mut poller.io(ME), b"x").is_pending());
            rustix::net::recv(&receiver, &mut [0; 8], RecvFlags::empty()).unwrap();
            send(poller, &sender, b"x");
        }
    });
}

// A datagram longer than the send buffer is an error, and the socket goes on.
fn too_long_a_record<S: Socket>() {
    with_pair(|poller, socket: S, peer: S| {
        assert_eq!(block(poller, |io| socket.send(io, &vec![0; 1 << 20])), Err(Error::Os(Errno::MSGSIZE)));
        send(poller, &socket, b"short");
        assert_eq!(recv(poller, &peer), Ok(b"short".to_vec()));
    });
}
each!(too_long_a_record: UnixSeqpacket UnixDatagram);

// ---- Passed descriptors

// A pipe is passed, is close-on-exec over there, and works; so do several at once, in order, beside slots that are taken.
fn a_pipe_is_passed<S: Socket>() {
    with_pair(|poller, socket: S, peer: S| {
        let (reader, writer) = pipe();
        let sent = block(poller, |io| socket.send_with_fds(io, b"both ends", &[reader.as_fd(), writer.as_fd()])).unwrap();
        assert_eq!(sent, 9);
        drop((reader, writer));
        let taken = dup(any());
        let mut fds = [None, Some(taken), None, None];
        let mut buf = [0; 64];
        let received = block(poller, |io| peer.recv_with_fds(io, &mut buf, &mut fds)).unwrap();
        assert_eq!(&buf[..received.len], b"both ends");
        assert_eq!((received.fds, received.fds_truncated, received.truncated, received.from), (2, false, false, unnamed()));
        let [Some(reader), Some(_taken), Some(writer), None] = fds else { panic!("{fds:?}") };
        assert!(is_cloexec(&reader) && is_cloexec(&writer));
        descriptors::write(&writer, b"through");
        let mut got = [0; 8];
        assert_eq!((rustix::io::read(&reader, &mut got), &got[..7]), (Ok(7), &b"through"[..]));
        assert!(peer.recv_with_fds(&mut poller.io(ME), &mut buf, &mut [None]).is_pending());
        // An edge wakes who waits for descriptors.
        let (reader, writer) = pipe();
        assert_eq!(block(poller, |io| socket.send_with_fds(io, b"x", &[writer.as_fd()])), Ok(1));
        drop(writer);
        let mut fds = [None];
        assert_eq!(recv_fds(poller, &peer, &mut fds).fds, 1);
        assert_eq!(rustix::io::read(&reader, &mut got), Err(Errno::AGAIN), "the other end is open");
        drop(fds);
        assert_eq!(rustix::io::read(&reader, &mut got), Ok(0));
    });
}
each!(a_pipe_is_passed: UnixStream UnixSeqpacket UnixDatagram);

// Without a byte a stream cannot carry descriptors, which is said; a record can.
#[test]
fn descriptors_without_data() {
    let fd = [any()];
    with_pair(|poller, stream: UnixStream, peer: UnixStream| {
        assert_eq!(stream.send_with_fds(&mut poller.io(ME), b"", &fd), Poll::Ready(Err(Error::Os(Errno::INVAL))));
        assert_eq!(stream.send_with_fds(&mut poller.io(ME), b"", &[]), Poll::Ready(Ok(0)));
        assert!(peer.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
        // An empty buffer takes no descriptors off their byte.
        assert_eq!(block(poller, |io| stream.send_with_fds(io, b"x", &fd)), Ok(1));
        let nothing = block(poller, |io| peer.recv_with_fds(io, &mut [], &mut [None])).unwrap();
        assert_eq!((nothing.len, nothing.fds), (0, 0));
        let mut fds = [None];
        let received = recv_fds(poller, &peer, &mut fds);
        assert_eq!((received.len, received.fds), (1, 1));
    });
    fn of_a_record<S: Socket>() {
        with_pair(|poller, socket: S, peer: S| {
            assert_eq!(block(poller, |io| socket.send_with_fds(io, b"", &[any()])), Ok(0));
            let received = block(poller, |io| peer.recv_with_fds(io, &mut [], &mut [None])).unwrap();
            assert_eq!((received.len, received.fds), (0, 1));
        });
    }
    of_a_record::<UnixSeqpacket>();
    of_a_record::<UnixDatagram>();
}

// A short read proves nothing: the kernel stops at a message with descriptors, and there is more behind it, of which no edge speaks.
#[test]
fn a_short_read_proves_nothing() {
    with_pair(|poller, stream: UnixStream, peer: UnixStream| {
        assert!(stream.read(&mut poller.io(ME), &mut [0; 64]).is_pending());
        assert_eq!(block(poller, |io| peer.send_with_fds(io, b"abc", &[any()])), Ok(3));
        send(poller, &peer, b"def");
        assert_eq!(recv(poller, &stream), Ok(b"abc".to_vec()));
        poller.poll(Timeout::Now, |_| panic!("nobody waits")).unwrap();
        assert_eq!(stream.read(&mut poller.io(ME), &mut [0; 64]), Poll::Ready(Ok(3)));
        assert!(stream.read(&mut poller.io(ME), &mut [0; 64]).is_pending());
    });
}

// On a stream descriptors come with their first byte at the latest, those of two messages never at once, and with the first part of a short
// write.
#[test]
fn descriptors_in_a_stream() {
    with_pair(|poller, stream: UnixStream, peer: UnixStream| {
        let fd = [any()];
        send(poller, &stream, b"a");
        for byte in [b"b", b"c"] {
            assert_eq!(block(poller, |io| stream.send_with_fds(io, byte, &fd)), Ok(1));
        }
        send(poller, &stream, b"d");
        let mut fds = [const { None }; 8];
        let (mut bytes, mut came) = (0, Vec::new());
        while bytes < 4 {
            let received = recv_fds(poller, &peer, &mut fds);
            bytes += received.len;
            came.extend((received.fds > 0).then_some((bytes, received.fds)));
        }
        // After the second and after the third byte.
        assert_eq!(came, [(2, 1), (3, 1)]);

        let long = vec![0; 1 << 20];
        let sent = block(poller, |io| stream.send_with_fds(io, &long, &fd)).unwrap();
        assert!(0 < sent && sent < long.len());
        assert_eq!(recv_fds(poller, &peer, &mut fds).fds, 1);
        let mut rest = 0;
        while rest < sent - 64 {
            let received = recv_fds(poller, &peer, &mut fds);
            assert_eq!(received.fds, 0);
            rest += received.len;
        }
        assert!(peer.read(&mut poller.io(ME), &mut [0; 64]).is_pending());
    });
}

/// Sends 200 copies of a pipe's end, and receives them with less room; all others are closed.
fn more_than_fits<S: Socket>() {
    with_pair(|poller, socket: S, peer: S| {
        for room in [0, 1, 2, 3, 4, 199, 200] {
            let (reader, writer) = pipe();
            assert_eq!(block(poller, |io| socket.send_with_fds(io, b"x", &[writer.as_fd(); 200])), Ok(1));
            drop(writer);
            let before = open_fds().len();
            let mut fds: Vec<Option<OwnedFd>> = (0..room).map(|_| None).collect();
            let received = recv_fds(poller, &peer, &mut fds);
            assert_eq!((received.len, received.fds, received.fds_truncated), (1, room, room < 200));
            assert!(fds.iter().all(Option::is_some));
            assert_eq!(open_fds().len(), before + room);
            drop(fds);
            // Nobody has the other end: none is left anywhere.
            assert_eq!(rustix::io::read(&reader, &mut [0; 8]), Ok(0));
        }
        // Who does not ask for any closes them.
        let (reader, writer) = pipe();
        assert_eq!(block(poller, |io| socket.send_with_fds(io, b"x", &[writer.as_fd()])), Ok(1));
        drop(writer);
        assert_eq!(recv(poller, &peer), Ok(b"x".to_vec()));
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]), Ok(0));
    });
}

// More than there is room for is reported, and none is left open, on either side of the kernel's granularity; likewise what nobody asks
// for.
#[test]
fn more_descriptors_than_fit() {
    alone(|| {
        more_than_fits::<UnixStream>();
        more_than_fits::<UnixSeqpacket>();
        more_than_fits::<UnixDatagram>();
    });
}

// As many as the kernel takes pass; one more is an error, and nothing is sent.
fn as_many_as_can_be<S: Socket>() {
    with_pair(|poller, socket: S, peer: S| {
        let many = [any(); TOO_MANY];
        assert_eq!(socket.send_with_fds(&mut poller.io(ME), b"x", &many), Poll::Ready(Err(Error::Os(Errno::INVAL))));
        assert_eq!(socket.send_with_fds(&mut poller.io(ME), b"x", &[many; 4].concat()), Poll::Ready(Err(Error::Os(Errno::INVAL))));
        assert!(peer.recv(&mut poller.io(ME), &mut [0; 8]).is_pending());
        assert_eq!(block(poller, |io| socket.send_with_fds(io, b"x", &many[1..])), Ok(1));
        let mut fds = [const { None }; 300];
        let received = recv_fds(poller, &peer, &mut fds);
        assert_eq!((received.fds, received.fds_truncated), (TOO_MANY - 1, false));
    });
}

#[test]
fn as_many_descriptors_as_can_be() {
    alone(|| {
        as_many_as_can_be::<UnixStream>();
        as_many_as_can_be::<UnixSeqpacket>();
        as_many_as_can_be::<UnixDatagram>();
    });
}

// A process that has as many descriptors as it may gets fewer, and is told.
#[test]
fn no_descriptor_left_for_those_passed() {
    alone(|| {
        with_pair(|poller, socket: UnixStream, peer: UnixStream| {
            let (_reader, writer) = pipe();
            assert_eq!(block(poller, |io| socket.send_with_fds(io, b"x", &[writer.as_fd(); 3])), Ok(1));
            let highest = *open_fds().last().unwrap() as u64;
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            let limited = rustix::process::Rlimit { current: Some(highest + 2), ..limit };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limited).unwrap();
            let mut fillers: Vec<OwnedFd> = std::iter::from_fn(|| writer.try_clone().ok()).collect();
            drop(fillers.pop().unwrap());
            let mut fds = [None, None, None];
            let received = recv_fds(poller, &peer, &mut fds);
            assert_eq!((received.len, received.fds, received.fds_truncated), (1, 1, true));
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        });
    });
}

/// Passes a pipe in a message that nobody receives.
fn never_received<S: Socket>() {
    let before = open_fds();
    let (reader, writer) = pipe();
    with_pair(|poller, socket: S, _peer: S| {
        assert_eq!(block(poller, |io| socket.send_with_fds(io, b"x", &[writer.as_fd(), reader.as_fd()])), Ok(1));
    });
    drop(writer);
    // The kernel may free a message in flight a little later.
    eventually("the end of the pipe", || rustix::io::read(&reader, &mut [0; 8]) == Ok(0));
    drop(reader);
    assert_eq!(open_fds(), before);
}

// Descriptors in a message that is never received are closed with the sockets.
#[test]
fn descriptors_never_received() {
    alone(|| {
        never_received::<UnixStream>();
        never_received::<UnixSeqpacket>();
        never_received::<UnixDatagram>();
    });
}

// ---- Ending

// Who waits on a bare poller for a socket that another task closes is run, and sees that it is closed.
fn closed_under_a_waiter<S: Socket>() {
    with_pair(|poller, socket: S, _peer: S| {
        let (reader, writer) = (Waiter::new(7), Waiter::new(8));
        assert!(socket.recv(&mut poller.io(reader), &mut [0; 8]).is_pending());
        while socket.send(&mut poller.io(writer), &[0; 1000]).map(Result::unwrap).is_ready() {}
        drop(socket.close(&mut poller.io(ME)));
        let mut run = Vec::new();
        poller.poll(PATIENCE, |waiter| run.push(waiter)).unwrap();
        run.sort_by_key(|waiter| waiter.get());
        assert_eq!(run, [reader, writer]);
        assert_eq!(socket.recv(&mut poller.io(reader), &mut [0; 8]), Poll::Ready(Err(Error::Closed)));
        assert_eq!(socket.send(&mut poller.io(writer), &[0; 8]), Poll::Ready(Err(Error::Closed)));
    });
}
each!(closed_under_a_waiter: UnixStream UnixSeqpacket UnixDatagram);

// Everything on a closed socket is `Closed`, in Go's words, also after its slot was taken again.
fn use_after_close<S: Socket>() {
    with_pair(|poller, socket: S, _peer: S| {
        drop(socket.close(&mut poller.io(ME)));
        for answer in socket.every_operation(&mut poller.io(ME)) {
            assert_eq!(answer, Err(Error::Closed));
        }
        assert_eq!(Error::Closed.to_string(), "use of closed network connection");
        // The whole table once around, so that the slot is in use again.
        for _ in 0..7 {
            S::pair().0.open(&mut poller.io(ME)).unwrap();
        }
        for answer in socket.every_operation(&mut poller.io(ME)) {
            assert_eq!(answer, Err(Error::Closed));
        }
    });
}
each!(use_after_close: UnixStream UnixSeqpacket UnixDatagram);

// Everything on another handler's socket is `NotOwner`, and does nothing to it.
fn use_by_another_handler<S: Socket>() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (ours, peer) = S::pair();
    let log = Log::new();
    let entries = log.clone();
    let shared = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&shared);
    let owner = reactor
        .spawn_with(ours, |socket| {
            *slot.borrow_mut() = Some(socket);
            script(move |cx: &mut Context<'_, Script>| {
                let n = ready!(slot.borrow().as_ref().unwrap().recv(cx, &mut [0; 8]))?;
                entries.push(Ok(n));
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    let entries = log.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| -> Answer {
            let socket = shared.borrow();
            let socket: &S = socket.as_ref().unwrap();
            for answer in socket.every_operation(cx) {
                entries.push(answer.map(|()| 99));
            }
            DONE
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    let answers = log.take();
    assert!(answers.len() > 15);
    assert!(answers.iter().all(|answer| *answer == Err(Error::NotOwner)), "{answers:?}");
    // The owner still waits.
    rustix::net::send(&peer, b"abc", SendFlags::empty()).unwrap();
    run_until(&mut reactor, &mut (), |()| log.len() > 0);
    assert_eq!(log.take(), [Ok(3)]);
    reactor.end(owner).unwrap();
}
each!(use_by_another_handler: UnixStream UnixSeqpacket UnixDatagram);
