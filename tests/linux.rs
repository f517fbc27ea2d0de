//! What the kinds of descriptors in `linux` have in common; and eventfd and inotify.

#![cfg(target_os = "linux")]

#[path = "util/reactor.rs"]
mod handlers;
#[path = "util/namespace.rs"]
mod namespace;
mod util;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use handlers::{DONE, Log, script};
use namespace::{in_own, in_own_network, ip};
use netpoll::linux::{ChildExit, EventFd, Inotify, InotifyEvent, Netlink, Pid, ReadFlags, TimerClock, TimerFd, TimerSpec, Uevents};
use netpoll::linux::{Watch, WatchFlags};
use netpoll::net::{SocketAddrUnix, UnixStream};
use netpoll::{AsFd, BorrowedFd, Descriptor, Direction, Errno, Error, Interest, Io, OwnedFd, PollerStorage, Reactor, ReactorStorage};
use netpoll::{Timeout, Unopened, Waiter};
use rustix::fs::{Mode, OFlags};
use rustix::net::SendFlags;
use rustix::net::netlink::SocketAddrNetlink;
use util::{TestPoller, dup, pipe, skip, write};

/// It does come; what never comes is a failure, not a hang.
const SOON: Timeout = Timeout::After(util::PATIENCE);

// ---- What they have in common

/// One kind: how it is waited for, and what makes the wait end. The operations are the kind's own methods.
struct Kind<K> {
    ask: fn(&K, &mut Io<'_>) -> Poll<Result<(), Error>>,
    set_timeout: fn(&K, &mut Io<'_>, Option<Duration>) -> Result<(), Error>,
    close: fn(&K, &mut Io<'_>) -> Result<OwnedFd, Error>,
}

impl<K: Descriptor> Kind<K> {
    /// Waits without a system call or a spin; is woken by what happens and by the deadline, which is sticky; is closed.
    fn check(&self, unopened: Unopened<K>, happen: impl FnOnce(BorrowedFd<'_>)) {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let theirs = dup(&unopened);
        let kind = unopened.open(&mut poller.io(Waiter::new(1))).unwrap();
        let ask = |poller: &mut TestPoller<'_>| (self.ask)(&kind, &mut poller.io(Waiter::new(1)));
        let set_timeout = |poller: &mut TestPoller<'_>, after| (self.set_timeout)(&kind, &mut poller.io(Waiter::new(1)), after);
        assert_eq!(ask(&mut poller), Poll::Pending);
        let waits_quietly = |poller: &mut TestPoller<'_>| {
            let before = poller.stats();
            assert_eq!(poller.turn(Timeout::After(Duration::from_millis(20))), []);
            assert!(poller.stats().polls - before.polls <= 2);
            assert!(poller.stats().events - before.events <= 1);
        };
        waits_quietly(&mut poller);

        let (start, timeout) = (Instant::now(), Duration::from_millis(30));
        set_timeout(&mut poller, Some(timeout)).unwrap();
        poller.expect_waiters(&[1]);
        assert!(start.elapsed() >= timeout);
        for _ in 0..2 {
            assert_eq!(ask(&mut poller), Poll::Ready(Err(Error::TimedOut)));
        }
        set_timeout(&mut poller, None).unwrap();
        assert_eq!(ask(&mut poller), Poll::Pending);

        happen(theirs.as_fd());
        poller.expect_waiters(&[1]);
        waits_quietly(&mut poller); // nobody has asked yet
        assert_eq!(ask(&mut poller), Poll::Ready(Ok(())));

        drop((self.close)(&kind, &mut poller.io(Waiter::new(1))).unwrap());
        assert_eq!(ask(&mut poller), Poll::Ready(Err(Error::Closed)));
        assert_eq!(set_timeout(&mut poller, Some(timeout)), Err(Error::Closed));
        assert_eq!((self.close)(&kind, &mut poller.io(Waiter::new(1))).unwrap_err(), Error::Closed);
    }

    /// Belongs to the handler that it was spawned with, and to no other.
    fn check_owner(&self, unopened: Unopened<K>)
    where
        K: 'static,
    {
        let mut storage = ReactorStorage::<_, 2, 1>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let shared = Rc::new(RefCell::new(None));
        let answers = Log::new();
        let (ask, set_timeout, close) = (self.ask, self.set_timeout, self.close);
        let owner = |kind| {
            *shared.borrow_mut() = Some(kind);
            let (shared, answers) = (Rc::clone(&shared), answers.clone());
            script(move |cx| {
                answers.push(ask(shared.borrow().as_ref().unwrap(), cx));
                Poll::Pending
            })
        };
        reactor.spawn_with(unopened, owner).unwrap();
        reactor.run_once(Duration::ZERO, &mut ()).unwrap();
        assert_eq!(answers.take(), [Poll::Pending]);

        let (kind, others) = (Rc::clone(&shared), answers.clone());
        let other = move |cx: &mut netpoll::Context<'_, _>| {
            let kind = kind.borrow();
            let kind = kind.as_ref().unwrap();
            others.push(ask(kind, cx));
            others.push(Poll::Ready(set_timeout(kind, cx, None)));
            others.push(Poll::Ready(close(kind, cx).map(drop)));
            DONE
        };
        reactor.spawn(script(other)).unwrap();
        reactor.run_once(Duration::ZERO, &mut ()).unwrap();
        assert_eq!(answers.take(), [const { Poll::Ready(Err(Error::NotOwner)) }; 3]);
    }
}

macro_rules! kind {
    ($kind:ty, $set_timeout:ident, |$it:ident, $io:ident| $ask:expr) => {
        Kind::<$kind> { ask: |$it, $io| $ask.map_ok(drop), set_timeout: <$kind>::$set_timeout, close: <$kind>::close }
    };
}

#[test]
fn a_child() {
    let kind = kind!(ChildExit, set_timeout, |it, io| it.poll_exit(io));
    let start = || {
        let child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        (ChildExit::of(Pid::from_child(&child)).unwrap(), child)
    };
    let (unopened, mut child) = start();
    kind.check(unopened, |_| drop(child.stdin.take()));
    let (unopened, mut child) = start();
    kind.check_owner(unopened);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_timer() {
    let kind = kind!(TimerFd, set_timeout, |it, io| it.poll_expirations(io));
    let timer = || TimerFd::new(TimerClock::Monotonic).unwrap();
    kind.check(timer(), |fd| {
        let timer = Unopened::<TimerFd>::from(dup(fd));
        timer.set(&TimerSpec::after(Duration::from_millis(1))).unwrap();
    });
    kind.check_owner(timer());
}

#[test]
fn a_counter() {
    let kind = kind!(EventFd, set_timeout, |it, io| it.poll_read(io));
    let counter = || EventFd::counter(0).unwrap();
    kind.check(counter(), |fd| write(fd, &1u64.to_ne_bytes()));
    kind.check_owner(counter());
}

#[test]
fn files() {
    let kind = kind!(Inotify, set_timeout, |it, io| it.read_events(io, &mut [0; Inotify::BUFFER]));
    let folder = Folder::new("files");
    let inotify = || {
        let inotify = Inotify::new().unwrap();
        inotify.add_watch(&*folder.path, WatchFlags::CREATE).unwrap();
        inotify
    };
    kind.check(inotify(), |_| drop(fs::File::create(folder.path.join("file")).unwrap()));
    kind.check_owner(inotify());
}

/// Asks the kernel about the loopback interface, in the name of the socket's owner.
fn ask_for_loopback(fd: BorrowedFd<'_>) {
    const RTM_GETLINK: u16 = 18;
    const NLM_F_REQUEST: u16 = 1;
    let mut request = Vec::new();
    request.extend(32u32.to_ne_bytes());
    request.extend(RTM_GETLINK.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]); // sequence, port
    request.extend([0; 4]); // family, type
    request.extend(1u32.to_ne_bytes()); // the first interface
    request.extend([0; 8]); // flags, changed flags
    rustix::net::sendto(fd, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
}

#[test]
fn routes() {
    let kind = kind!(Netlink, set_timeout, |it, io| it.recv(io, &mut [0; 8192]));
    kind.check(Netlink::route(0).unwrap(), ask_for_loopback);
    kind.check_owner(Netlink::route(0).unwrap());
}

const DEVICES: Kind<Uevents> = kind!(Uevents, set_timeout, |it, io| it.recv(io, &mut [0; Uevents::BUFFER]));

#[test]
fn devices() {
    in_own_network("devices", || {
        DEVICES.check_owner(Uevents::new().unwrap());
        if ip("devices", "link add veth0 type veth peer name veth1").is_some() {
            DEVICES.check(Uevents::new().unwrap(), |_| ip("devices", "link delete veth0").unwrap());
        }
    });
}

/// What was inherited is looked at where a call could block the loop, and given back.
#[test]
fn a_blocking_descriptor_is_refused() {
    fn refused<K: Descriptor + std::fmt::Debug>(fd: OwnedFd) {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let flags = rustix::fs::fcntl_getfl(&fd).unwrap();
        rustix::fs::fcntl_setfl(&fd, flags - OFlags::NONBLOCK).unwrap();
        let rejected = Unopened::<K>::from(fd).open(&mut poller.io(Waiter::new(1))).unwrap_err();
        assert_eq!(rejected.error, Error::Os(Errno::INVAL));
        rustix::fs::fcntl_setfl(&rejected.value, flags | OFlags::NONBLOCK).unwrap();
        rejected.value.open(&mut poller.io(Waiter::new(1))).unwrap();
    }
    refused::<EventFd>(EventFd::counter(0).unwrap().into());
    refused::<TimerFd>(TimerFd::new(TimerClock::Realtime).unwrap().into());
    refused::<Inotify>(Inotify::new().unwrap().into());
}

/// All of them are close-on-exec and, where that matters, non-blocking, from the start.
#[test]
fn flags() {
    let child = Command::new("true").spawn().unwrap();
    let fds: [(&str, OwnedFd); 6] = [
        ("child", ChildExit::of(Pid::from_child(&child)).unwrap().into()),
        ("timer", TimerFd::new(TimerClock::Monotonic).unwrap().into()),
        ("counter", EventFd::semaphore(0).unwrap().into()),
        ("files", Inotify::new().unwrap().into()),
        ("routes", Netlink::route(0).unwrap().into()),
        ("devices", Uevents::new().unwrap().into()),
    ];
    for (name, fd) in fds {
        assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC), "{name}");
        assert!(name == "child" || rustix::fs::fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK), "{name}");
    }
    let mut child = child;
    child.wait().unwrap();
}

// ---- EventFd

fn read(poller: &mut TestPoller<'_>, counter: &EventFd) -> Poll<Result<u64, Error>> {
    counter.poll_read(&mut poller.io(Waiter::new(1)))
}

fn add(poller: &mut TestPoller<'_>, counter: &EventFd, n: u64) -> Result<(), Error> {
    counter.add(&mut poller.io(Waiter::new(2)), n)
}

#[test]
fn a_counter_gives_all_and_a_semaphore_one() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let counter = EventFd::counter(3).unwrap().open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok(3)));
    assert_eq!(read(&mut poller, &counter), Poll::Pending);
    assert_eq!(add(&mut poller, &counter, 4), Ok(()));
    assert_eq!(add(&mut poller, &counter, 0), Ok(()));
    assert_eq!(add(&mut poller, &counter, 1 << 40), Ok(()));
    poller.expect_waiters(&[1]);
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok((1 << 40) + 4)));
    assert_eq!(read(&mut poller, &counter), Poll::Pending);

    let semaphore = EventFd::semaphore(1).unwrap().open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(read(&mut poller, &semaphore), Poll::Ready(Ok(1)));
    assert_eq!(read(&mut poller, &semaphore), Poll::Pending);
    assert_eq!(add(&mut poller, &semaphore, 3), Ok(()));
    poller.expect_waiters(&[1]);
    // One edge, three answers.
    for _ in 0..3 {
        assert_eq!(read(&mut poller, &semaphore), Poll::Ready(Ok(1)));
    }
    assert_eq!(read(&mut poller, &semaphore), Poll::Pending);
}

/// Case 18: an addition wakes also if the last one has not been read.
#[test]
fn each_addition_is_an_edge() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let unopened = EventFd::counter(0).unwrap();
    let theirs = dup(&unopened);
    let counter = unopened.open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(read(&mut poller, &counter), Poll::Pending);
    for _ in 0..3 {
        write(&theirs, &1u64.to_ne_bytes());
        assert_eq!(poller.turn(SOON), [1]);
        poller.expect_nobody();
        poller.wait(1, counter.token(), Direction::Read);
    }
    write(&theirs, &1u64.to_ne_bytes());
    assert_eq!(poller.turn(SOON), [1]);
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok(4)));
}

/// A read that has emptied it makes no second one: what came since is reported.
#[test]
fn a_counter_of_more_than_one_is_read_once() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let unopened = EventFd::counter(2).unwrap();
    let theirs = dup(&unopened);
    let counter = unopened.open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok(2)));
    write(&theirs, &1u64.to_ne_bytes());
    assert_eq!(read(&mut poller, &counter), Poll::Pending);
    assert_eq!(poller.turn(SOON), [1]);
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok(1)));
    // It may be a semaphore.
    write(&theirs, &1u64.to_ne_bytes());
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok(1)));
}

/// Its reads make room in it, which is no edge.
#[test]
fn a_counter_that_is_read_has_no_edge_of_its_own() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let counter = EventFd::counter(0).unwrap().open(&mut poller.io(Waiter::new(1))).unwrap();
    for events in 1..4 {
        assert_eq!(read(&mut poller, &counter), Poll::Pending);
        assert_eq!(add(&mut poller, &counter, 1), Ok(()));
        assert_eq!(poller.turn(SOON), [1]);
        assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok(1)));
        poller.expect_nobody();
        assert_eq!(poller.stats().events, events);
    }
}

#[test]
fn a_full_counter_says_so() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let counter = EventFd::counter(0).unwrap().open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(add(&mut poller, &counter, u64::MAX), Err(Error::Os(Errno::INVAL)));
    assert_eq!(add(&mut poller, &counter, u64::MAX - 2), Ok(()));
    // All or nothing.
    assert_eq!(add(&mut poller, &counter, 2), Err(Error::Os(Errno::AGAIN)));
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok(u64::MAX - 2)));
    assert_eq!(add(&mut poller, &counter, 2), Ok(()));
    assert_eq!(read(&mut poller, &counter), Poll::Pending);
    poller.expect_waiters(&[1]);
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Ok(2)));
    drop(counter.close(&mut poller.io(Waiter::new(1))).unwrap());
    assert_eq!(add(&mut poller, &counter, 1), Err(Error::Closed));
}

/// Who wants to wait for room opens it for that.
#[test]
fn a_full_counter_is_waited_for() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let token = poller.open(EventFd::counter(0).unwrap(), Interest::READ | Interest::WRITE);
    assert_eq!(poller.write(2, token, &(u64::MAX - 1).to_ne_bytes()), Poll::Ready(Ok(8)));
    assert_eq!(poller.write(2, token, &1u64.to_ne_bytes()), Poll::Pending);
    assert_eq!(poller.read(1, token), Poll::Ready(Ok((u64::MAX - 1).to_ne_bytes().into())));
    poller.expect_waiters(&[2]);
    assert_eq!(poller.write(2, token, &1u64.to_ne_bytes()), Poll::Ready(Ok(8)));
}

/// Eight bytes are a number; a descriptor that gives others is no eventfd and no timer.
#[test]
fn not_a_counter() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    write(&write_end, b"abc");
    let other = dup(&read_end);
    let counter = Unopened::<EventFd>::from(read_end).open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(read(&mut poller, &counter), Poll::Ready(Err(Error::Os(Errno::INVAL))));
    write(&write_end, b"abc");
    let timer = Unopened::<TimerFd>::from(other).open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(timer.poll_expirations(&mut poller.io(Waiter::new(1))), Poll::Ready(Err(Error::Os(Errno::INVAL))));
    let spec = TimerSpec::after(Duration::from_secs(1));
    assert_eq!(timer.set(&mut poller.io(Waiter::new(1)), &spec), Err(Error::Os(Errno::INVAL)));
}

// ---- Inotify

/// A folder that is removed at the end.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("netpoll-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder { path }
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, "").unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Change(Watch, ReadFlags, u32, Option<String>),
    Removed(Watch),
    Overflow,
}

fn owned(event: InotifyEvent<'_>) -> Event {
    match event {
        InotifyEvent::Change { watch, what, cookie, name } => {
            Event::Change(watch, what, cookie, name.map(|name| name.to_str().unwrap().to_owned()))
        }
        InotifyEvent::Removed(watch) => Event::Removed(watch),
        InotifyEvent::Overflow => Event::Overflow,
    }
}

/// One read.
fn events(poller: &mut TestPoller<'_>, inotify: &Inotify, space: usize) -> Poll<Result<Vec<Event>, Error>> {
    inotify.read_events(&mut poller.io(Waiter::new(1)), &mut vec![0; space]).map_ok(|events| events.map(owned).collect())
}

/// Reads until it waits.
fn all_events(poller: &mut TestPoller<'_>, inotify: &Inotify) -> Vec<Event> {
    let mut all = Vec::new();
    while let Poll::Ready(read) = events(poller, inotify, 4096) {
        all.extend(read.unwrap());
    }
    all
}

fn watching(poller: &mut TestPoller<'_>, path: &Path, flags: WatchFlags) -> (Inotify, Watch) {
    let unopened = Inotify::new().unwrap();
    let watch = unopened.add_watch(path, flags).unwrap();
    (unopened.open(&mut poller.io(Waiter::new(1))).unwrap(), watch)
}

#[test]
fn what_happens_in_a_folder() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let folder = Folder::new("folder");
    let flags = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::ATTRIB;
    let (inotify, watch) = watching(&mut poller, &folder.path, flags);
    assert_eq!(events(&mut poller, &inotify, 4096), Poll::Pending);
    let file = folder.file("a");
    fs::rename(&file, folder.path.join("b")).unwrap();
    fs::remove_file(folder.path.join("b")).unwrap();
    fs::create_dir(folder.path.join("c")).unwrap();
    rustix::fs::chmod(&folder.path, Mode::RWXU).unwrap();
    assert_eq!(poller.turn(SOON), [1]);
    let all = all_events(&mut poller, &inotify);
    let Some(&Event::Change(_, _, cookie, _)) = all.get(2) else { panic!("{all:?}") };
    assert_ne!(cookie, 0);
    let change = |what, cookie, name: &str| Event::Change(watch, what, cookie, (!name.is_empty()).then(|| name.to_owned()));
    assert_eq!(
        all,
        [
            change(ReadFlags::CREATE, 0, "a"),
            change(ReadFlags::CLOSE_WRITE, 0, "a"),
            change(ReadFlags::MOVED_FROM, cookie, "a"),
            change(ReadFlags::MOVED_TO, cookie, "b"),
            change(ReadFlags::DELETE, 0, "b"),
            change(ReadFlags::CREATE | ReadFlags::ISDIR, 0, "c"),
            change(ReadFlags::ATTRIB | ReadFlags::ISDIR, 0, ""),
        ]
    );
    // More of it comes as it did before.
    folder.file("d");
    assert_eq!(poller.turn(SOON), [1]);
    assert_eq!(all_events(&mut poller, &inotify).len(), 2);
}

/// Whoever reads a part only is not told again, and need not be: the rest is there to be read.
#[test]
fn a_small_buffer_loses_nothing() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let folder = Folder::new("small");
    let (inotify, watch) = watching(&mut poller, &folder.path, WatchFlags::CREATE);
    assert_eq!(events(&mut poller, &inotify, 0), Poll::Pending);
    let longest = "x".repeat(255);
    for name in ["a", "b", &longest, "c"] {
        folder.file(name);
    }
    assert_eq!(poller.turn(SOON), [1]);
    let created = |name: &str| Event::Change(watch, ReadFlags::CREATE, 0, Some(name.to_owned()));
    // Too small for the next event, which stays; for one; for one and a half.
    for space in [0, 16, 31] {
        let error = match events(&mut poller, &inotify, space) {
            Poll::Ready(Err(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!((error, &*error.to_string()), (Error::Os(Errno::INVAL), "invalid argument"));
    }
    assert_eq!(events(&mut poller, &inotify, 32), Poll::Ready(Ok(vec![created("a")])));
    assert_eq!(events(&mut poller, &inotify, 60), Poll::Ready(Ok(vec![created("b")])));
    assert_eq!(events(&mut poller, &inotify, Inotify::BUFFER - 1), Poll::Ready(Err(Error::Os(Errno::INVAL))));
    assert_eq!(events(&mut poller, &inotify, Inotify::BUFFER), Poll::Ready(Ok(vec![created(&longest)])));
    assert_eq!(events(&mut poller, &inotify, Inotify::BUFFER), Poll::Ready(Ok(vec![created("c")])));
    assert_eq!(events(&mut poller, &inotify, Inotify::BUFFER), Poll::Pending);
    poller.expect_nobody();
}

#[test]
fn a_watch_ends() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let folder = Folder::new("ends");
    let (inotify, first) = watching(&mut poller, &folder.path, WatchFlags::CREATE);
    // The same folder is the same watch; a file in it is another.
    let (path, file) = (&*folder.path, folder.file("file"));
    assert_eq!(inotify.add_watch(&mut poller.io(Waiter::new(1)), path, WatchFlags::CREATE), Ok(first));
    let once = inotify.add_watch(&mut poller.io(Waiter::new(1)), &*file, WatchFlags::ATTRIB | WatchFlags::ONESHOT).unwrap();
    assert_ne!(once, first);
    all_events(&mut poller, &inotify);
    rustix::fs::chmod(&file, Mode::RUSR).unwrap();
    assert_eq!(all_events(&mut poller, &inotify), []); // without a look at the kernel
    poller.expect_waiters(&[1]);
    assert_eq!(all_events(&mut poller, &inotify), [Event::Change(once, ReadFlags::ATTRIB, 0, None), Event::Removed(once)]);

    // What came before the end comes before it.
    folder.file("last");
    inotify.remove_watch(&mut poller.io(Waiter::new(1)), first).unwrap();
    folder.file("after");
    assert_eq!(poller.turn(SOON), [1]);
    let last = Event::Change(first, ReadFlags::CREATE, 0, Some("last".to_owned()));
    assert_eq!(all_events(&mut poller, &inotify), [last, Event::Removed(first)]);
    assert_eq!(inotify.remove_watch(&mut poller.io(Waiter::new(1)), first), Err(Error::Os(Errno::INVAL)));

    let inner = folder.path.join("inner");
    fs::create_dir(&inner).unwrap();
    let watch = inotify.add_watch(&mut poller.io(Waiter::new(1)), &*inner, WatchFlags::DELETE_SELF).unwrap();
    assert_ne!(watch, first);
    fs::remove_dir(&inner).unwrap();
    assert_eq!(poller.turn(SOON), [1]);
    assert_eq!(all_events(&mut poller, &inotify), [Event::Change(watch, ReadFlags::DELETE_SELF, 0, None), Event::Removed(watch)]);
}

#[test]
fn a_watch_is_refused() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let folder = Folder::new("refused");
    let unopened = Inotify::new().unwrap();
    let missing = folder.path.join("missing");
    let error = unopened.add_watch(&*missing, WatchFlags::MODIFY).unwrap_err();
    assert_eq!((error, &*error.to_string()), (Error::Os(Errno::NOENT), "no such file or directory"));
    let inotify = unopened.open(&mut poller.io(Waiter::new(1))).unwrap();
    let mut io = poller.io(Waiter::new(1));
    let file = folder.file("file");
    assert_eq!(inotify.add_watch(&mut io, &*file, WatchFlags::MODIFY | WatchFlags::ONLYDIR), Err(Error::Os(Errno::NOTDIR)));
    assert_eq!(inotify.add_watch(&mut io, &*file, WatchFlags::empty()), Err(Error::Os(Errno::INVAL)));
    drop(inotify.close(&mut io).unwrap());
    assert_eq!(inotify.add_watch(&mut io, &*file, WatchFlags::MODIFY), Err(Error::Closed));
}

/// Case 93: the overflow is an event of its own, after what there was room for; and it goes on.
#[test]
fn inotify_overflow() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        return skip("inotify_overflow", format_args!("the queue takes {limit} events"));
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let folder = Folder::new("overflow");
    let path = folder.file("file");
    let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let (inotify, watch) = watching(&mut poller, &path, WatchFlags::MODIFY | WatchFlags::ATTRIB);
    assert_eq!(all_events(&mut poller, &inotify), []);
    // Two kinds in turn, because equal events are merged.
    for _ in 0..limit / 2 + 10 {
        write(&file, b"x");
        rustix::fs::fchmod(&file, Mode::RUSR).unwrap();
    }
    assert_eq!(poller.turn(SOON), [1]);
    poller.expect_nobody();
    let all = all_events(&mut poller, &inotify);
    assert_eq!(all.iter().filter(|&event| *event == Event::Overflow).count(), 1);
    assert_eq!((all.len(), all.last()), (limit + 1, Some(&Event::Overflow)));
    poller.expect_nobody();
    write(&file, b"x");
    assert_eq!(poller.turn(SOON), [1]);
    assert_eq!(all_events(&mut poller, &inotify), [Event::Change(watch, ReadFlags::MODIFY, 0, None)]);
}

#[test]
fn not_an_inotify() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (read_end, write_end) = pipe();
    write(&write_end, b"twenty bytes or more of anything");
    let inotify = Unopened::<Inotify>::from(read_end).open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(events(&mut poller, &inotify, 4096), Poll::Ready(Err(Error::Os(Errno::BADMSG))));
}

// ---- Somebody who has no number here

// The credentials of who listens outside of our namespace of processes.
#[test]
fn a_peer_of_another_pid_namespace() {
    const TEST: &str = "a_peer_of_another_pid_namespace";
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(TEST);
    let _theirs = (!util::is_alone()).then(|| {
        let _ = fs::remove_file(&path);
        std::os::unix::net::UnixListener::bind(&path).unwrap()
    });
    in_own(&["--pid", "--fork"], TEST, || {
        let unknown = Err(Error::Os(Errno::SRCH));
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let stream = UnixStream::connect(&SocketAddrUnix::new(&path).unwrap()).unwrap();
        assert_eq!(stream.peer_credentials(), unknown);
        let stream = stream.open(&mut poller.io(Waiter::new(1))).unwrap();
        assert_eq!(stream.peer_credentials(&mut poller.io(Waiter::new(1))), unknown);
    });
}
