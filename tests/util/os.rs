//! Helpers for tests of `os` and of standard input: a poller that blocks, whose a descriptor is, folders with FIFOs.

// Each test binary uses its own part of this.
#![allow(dead_code)]

#[path = "block.rs"]
mod block;

pub use block::block;
use std::cell::OnceCell;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use netpoll::Unopened;
use netpoll::{AsFd, Context, Descriptor, Error, HandlerId, Io, OwnedFd, Poller, PollerStorage, Reactor, ReactorStorage, Token, Waiter};
use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, mknodat};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::util::{Log, Script, script, settle};

/// Longer than anything here takes, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const ME: Waiter = Waiter::new(1);

pub fn with_poller<T>(test: impl FnOnce(&mut Poller<'_>) -> T) -> T {
    crate::util::limit_this_program();
    let mut storage = PollerStorage::<8>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    test(&mut poller)
}

#[track_caller]
pub fn open<T: Descriptor>(poller: &mut Poller<'_>, unopened: Unopened<T>) -> T {
    unopened.open(&mut poller.io(ME)).unwrap()
}

/// The operation waits, and nothing that would run it has happened yet.
#[track_caller]
pub fn assert_waits<T: Debug>(poller: &mut Poller<'_>, mut operation: impl FnMut(&mut Io<'_>) -> Poll<Result<T, Error>>) {
    let answer = operation(&mut poller.io(ME));
    assert!(answer.is_pending(), "{answer:?}");
    assert_eq!(poller.poll(Duration::ZERO, |_| ()).unwrap().waiters, 0);
}

/// The operation is ended by a timeout, and not before its time.
#[track_caller]
pub fn assert_times_out<T: Debug>(
    poller: &mut Poller<'_>,
    set_timeout: impl FnOnce(&mut Io<'_>, Option<Duration>) -> Result<(), Error>,
    operation: impl FnMut(&mut Io<'_>) -> Poll<Result<T, Error>>,
) {
    let timeout = Duration::from_millis(30);
    let start = Instant::now();
    set_timeout(&mut poller.io(ME), Some(timeout)).unwrap();
    assert_eq!(block(poller, operation).unwrap_err(), Error::TimedOut);
    assert!(start.elapsed() >= timeout, "{:?}", start.elapsed());
}

/// Non-blocking, and not passed on to children.
#[track_caller]
pub fn assert_flags(fd: impl AsFd) {
    assert!(fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
    assert!(fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC));
}

#[derive(Clone, Copy)]
enum Act {
    Operate,
    Give(HandlerId),
    Close,
}

/// Nobody but its owner does anything to a descriptor, until it is given away, and nobody at all once it is closed.
#[track_caller]
pub fn assert_ownership<T: Descriptor + 'static, A>(
    unopened: Unopened<T>,
    token: fn(&T) -> Token,
    operation: impl Fn(&T, &mut Io<'_>) -> Poll<Result<A, Error>> + Copy + 'static,
) {
    type Turn = Option<(HandlerId, Act)>;
    let mut storage = ReactorStorage::<Script<Turn>, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (shared, answers) = (Rc::new(OnceCell::<T>::new()), Log::new());
    let actor = || {
        let (shared, answers) = (Rc::clone(&shared), answers.clone());
        script(move |cx: &mut Context<'_, Script<Turn>>| {
            let (own, kind) = (cx.id(), shared.get().unwrap());
            match cx.shared().take_if(|(who, _)| *who == own) {
                Some((_, Act::Operate)) => answers.push(match operation(kind, cx) {
                    Poll::Ready(Err(error)) => Some(error),
                    _ => None,
                }),
                Some((_, Act::Give(to))) => cx.give(token(kind), to).unwrap(),
                Some((_, Act::Close)) => drop(cx.close(token(kind)).unwrap()),
                None => {}
            }
            Poll::Pending
        })
    };
    let first = reactor
        .spawn_with(unopened, |kind| {
            assert!(shared.set(kind).is_ok());
            actor()
        })
        .unwrap();
    let second = reactor.spawn(actor()).unwrap();
    let mut act = |who, act| {
        reactor.notify(who).unwrap();
        settle(&mut reactor, &mut Some((who, act)));
        answers.take()
    };
    let (not_owner, closed) = ([Some(Error::NotOwner)], [Some(Error::Closed)]);
    assert_eq!(act(first, Act::Operate), [None]);
    assert_eq!(act(second, Act::Operate), not_owner);
    assert_eq!(act(first, Act::Give(second)), []);
    assert_eq!(act(first, Act::Operate), not_owner);
    assert_eq!(act(second, Act::Operate), [None]);
    assert_eq!(act(second, Act::Close), []);
    assert_eq!(act(first, Act::Operate), closed);
    assert_eq!(act(second, Act::Operate), closed);
}

/// A folder of a test's own, removed with all that is in it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("netpoll-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Opens a path without waiting, as somebody else would.
pub fn open_path(path: &Path, how: OFlags) -> OwnedFd {
    rustix::fs::open(path, how | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()).unwrap()
}

/// A pseudo-terminal: what stands for the wire, which never waits, and the name of the terminal.
pub fn pty() -> (OwnedFd, PathBuf) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    (master, OsStr::from_bytes(name.as_bytes()).into())
}

/// Reads exactly as much from a descriptor that never waits.
#[track_caller]
pub fn expect_bytes(fd: impl AsFd, expected: &[u8]) {
    let (mut heard, mut buf, end) = (Vec::new(), [0; 1024], Instant::now() + PATIENCE);
    while heard.len() < expected.len() {
        match rustix::io::read(&fd, &mut buf) {
            Ok(0) => break,
            Ok(n) => heard.extend_from_slice(&buf[..n]),
            Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(errno) => panic!("after {heard:?}: {errno}"),
        }
        assert!(Instant::now() < end, "only {heard:?}");
    }
    assert_eq!(heard, expected);
}

const ALONE: &str = "NETPOLL_TEST_ALONE";

/// Whether this is the process that [`alone`] has made.
pub fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// What runs the test `name` of this program in a process of its own.
pub fn alone(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--test-threads=1", "--nocapture"]).env(ALONE, "1");
    command
}

#[track_caller]
pub fn assert_passed(output: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{}\n{stdout}\n{stderr}", output.status);
}
