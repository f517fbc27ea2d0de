//! Children.

#![cfg(target_os = "linux")]
#![allow(clippy::zombie_processes)] // whoever waits for them here is what is tested

#[path = "util/reactor.rs"]
mod handlers;
#[path = "util/namespace.rs"]
mod namespace;
mod util;

use std::fs;
use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::task::{Poll, ready};
use std::time::Duration;

use handlers::{Log, run_until, script};
use namespace::in_own;
use netpoll::linux::{ChildExit, ExitStatus, Pid, Signal};
use netpoll::{Errno, Error, OwnedFd, PollerStorage, Reactor, ReactorStorage, Timeout, Unopened, Waiter};
use util::{TestPoller, alone, eventually, skip};

/// It does come; what never comes is a failure, not a hang.
const SOON: Timeout = Timeout::After(util::PATIENCE);

const NO_CHILD: Poll<Result<ExitStatus, Error>> = Poll::Ready(Err(Error::Os(Errno::CHILD)));

/// A shell that does what it is told, once it is told.
struct Shell {
    pid: Pid,
    stdin: ChildStdin,
    /// Never waited for, except by whom the test wants to interfere.
    child: Child,
}

impl Shell {
    fn start() -> Shell {
        let mut child = Command::new("sh").stdin(Stdio::piped()).spawn().unwrap();
        Shell { pid: Pid::from_child(&child), stdin: child.stdin.take().unwrap(), child }
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    fn open(&self, poller: &mut TestPoller<'_>) -> ChildExit {
        ChildExit::of(self.pid).unwrap().open(&mut poller.io(Waiter::new(1))).unwrap()
    }

    /// The letter that ps(1) shows; `None` when there is no such process.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn wait_until_dead(&self) {
        eventually("its end", || self.state() == Some('Z'));
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill(); // it may be stopped
        }
    }
}

fn ask(poller: &mut TestPoller<'_>, child: &ChildExit) -> Poll<Result<ExitStatus, Error>> {
    child.poll_exit(&mut poller.io(Waiter::new(1)))
}

fn signal(number: Signal) -> ExitStatus {
    ExitStatus::Signal { number: number.as_raw(), core_dumped: false }
}

/// Case 90: its end wakes, its status is right, no zombie is left, and there is no second answer.
#[test]
fn pidfd_exit_event() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    for (command, status) in [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 7", ExitStatus::Code(7)),
        ("exit 255", ExitStatus::Code(255)),
        ("kill -KILL $$", signal(Signal::KILL)),
        ("kill -TERM $$", signal(Signal::TERM)),
        ("kill -64 $$", ExitStatus::Signal { number: 64, core_dumped: false }), // SIGRTMAX, which has no name
    ] {
        let mut shell = Shell::start();
        let child = shell.open(&mut poller);
        assert_eq!(ask(&mut poller, &child), Poll::Pending);
        poller.expect_nobody();
        shell.tell(command);
        assert_eq!(poller.turn(SOON), [1]);
        assert_eq!(shell.state(), Some('Z'));
        assert_eq!(ask(&mut poller, &child), Poll::Ready(Ok(status)), "{command}");
        assert_eq!(shell.state(), None);
        assert_eq!(ask(&mut poller, &child), NO_CHILD);
        let sent = child.send_signal(&mut poller.io(Waiter::new(1)), Signal::TERM).unwrap_err();
        assert_eq!((sent, &*sent.to_string()), (Error::Os(Errno::SRCH), "no such process"));
        drop(child.close(&mut poller.io(Waiter::new(1))).unwrap());
    }
}

#[test]
fn stopping_is_not_ending() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let shell = Shell::start();
    let child = shell.open(&mut poller);
    assert_eq!(ask(&mut poller, &child), Poll::Pending);
    let send = |poller: &mut TestPoller<'_>, signal| child.send_signal(&mut poller.io(Waiter::new(1)), signal).unwrap();
    send(&mut poller, Signal::STOP);
    eventually("a stop", || shell.state() == Some('T'));
    poller.expect_nobody();
    // One that has not asked yet makes the call.
    let another = shell.open(&mut poller);
    assert_eq!(ask(&mut poller, &another), Poll::Pending);
    drop(another.close(&mut poller.io(Waiter::new(1))).unwrap());
    send(&mut poller, Signal::CONT);
    eventually("it goes on", || shell.state() == Some('S'));
    poller.expect_nobody();
    assert_eq!(ask(&mut poller, &child), Poll::Pending);
    send(&mut poller, Signal::TERM);
    poller.expect_waiters(&[1]);
    // Nobody has reaped it: a signal has somebody to go to.
    send(&mut poller, Signal::TERM);
    assert_eq!(ask(&mut poller, &child), Poll::Ready(Ok(signal(Signal::TERM))));
}

/// A child with threads has not ended before the last of them has.
#[test]
fn the_last_thread_counts() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let program = "import ctypes, os, sys, threading\n\
                   def last():\n  sys.stdin.read(); os._exit(9)\n\
                   threading.Thread(target=last).start()\n\
                   print(flush=True)\n\
                   ctypes.CDLL(None).syscall(ctypes.c_long(60), 0)"; // exit(2) of the main thread alone
    if !cfg!(target_arch = "x86_64") {
        return skip("the_last_thread_counts", "the number of exit(2) is another one");
    }
    let child = Command::new("python3").args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return skip("the_last_thread_counts", format_args!("python3: {error}")),
    };
    let stdin = child.stdin.take().unwrap();
    let pid = Pid::from_child(&child);
    let exit = ChildExit::of(pid).unwrap().open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(ask(&mut poller, &exit), Poll::Pending);
    // Its main thread is a zombie.
    eventually("the end of its main thread", || fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).unwrap().contains(") Z "));
    poller.expect_nobody();
    drop(stdin);
    assert_eq!(poller.turn(SOON), [1]);
    assert_eq!(ask(&mut poller, &exit), Poll::Ready(Ok(ExitStatus::Code(9))));
}

#[test]
fn a_core_dump_is_told() {
    const TEST: &str = "a_core_dump_is_told";
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.contains('/') || pattern.starts_with('|') || pattern.trim().is_empty() {
        return skip(TEST, format_args!("cores go to {:?}", pattern.trim()));
    }
    let folder = std::env::temp_dir().join(format!("netpoll-core-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    for (limit, core_dumped) in [("unlimited", true), ("0", false)] {
        let mut shell = Shell::start();
        let child = shell.open(&mut poller);
        shell.tell(&format!("cd {}; ulimit -c {limit} && kill -SEGV $$; exit 1", folder.display()));
        let status = loop {
            match ask(&mut poller, &child) {
                Poll::Ready(status) => break status.unwrap(),
                Poll::Pending => assert_eq!(poller.turn(SOON), [1]),
            }
        };
        drop(child.close(&mut poller.io(Waiter::new(1))).unwrap());
        if status == ExitStatus::Code(1) || status == ExitStatus::Code(2) {
            fs::remove_dir_all(&folder).unwrap();
            return skip(TEST, "this process may dump no cores");
        }
        assert_eq!(status, ExitStatus::Signal { number: Signal::SEGV.as_raw(), core_dumped });
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// It may be dead when it is asked for first: it answers without a wait.
#[test]
fn already_dead() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let mut shell = Shell::start();
    shell.tell("exit 5");
    shell.wait_until_dead();
    let child = shell.open(&mut poller);
    assert_eq!(ask(&mut poller, &child), Poll::Ready(Ok(ExitStatus::Code(5))));
    assert_eq!(shell.state(), None);
}

/// Several are dead: each is reaped by its own descriptor, and by no other.
#[test]
fn exactly_this_child() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    let mut shells = [Shell::start(), Shell::start(), Shell::start()];
    for (code, shell) in shells.iter_mut().enumerate() {
        shell.tell(&format!("exit {code}"));
        shell.wait_until_dead();
    }
    let [first, second, third] = &mut shells;
    let child = second.open(&mut poller);
    assert_eq!(ask(&mut poller, &child), Poll::Ready(Ok(ExitStatus::Code(1))));
    assert_eq!((first.state(), second.state(), third.state()), (Some('Z'), None, Some('Z')));
    let child = first.open(&mut poller);
    assert_eq!(ask(&mut poller, &child), Poll::Ready(Ok(ExitStatus::Code(0))));
    assert_eq!(third.child.wait().unwrap().code(), Some(2));
}

/// Closing, or never opening, leaves the child to others.
#[test]
fn closing_reaps_nobody() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let mut shell = Shell::start();
    drop(ChildExit::of(shell.pid).unwrap());
    let child = shell.open(&mut poller);
    assert_eq!(ask(&mut poller, &child), Poll::Pending);
    let fd = child.close(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(ask(&mut poller, &child), Poll::Ready(Err(Error::Closed)));
    assert_eq!(child.send_signal(&mut poller.io(Waiter::new(1)), Signal::KILL), Err(Error::Closed));
    shell.tell("exit 4");
    shell.wait_until_dead();
    // The descriptor is as good as before.
    let child = Unopened::<ChildExit>::from(fd).open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(ask(&mut poller, &child), Poll::Ready(Ok(ExitStatus::Code(4))));
}

#[test]
fn no_child_of_ours() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = TestPoller::new(&mut storage);
    // It runs, and is told at once: it will never be ours.
    let child = ChildExit::of(Pid::INIT).unwrap().open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(ask(&mut poller, &child), NO_CHILD);
    assert_eq!(Error::Os(Errno::CHILD).to_string(), "no child processes");

    // Somebody else was faster.
    let mut shell = Shell::start();
    let child = shell.open(&mut poller);
    assert_eq!(ask(&mut poller, &child), Poll::Pending);
    shell.tell("exit 3");
    assert_eq!(shell.child.wait().unwrap().code(), Some(3));
    poller.expect_waiters(&[1]);
    assert_eq!(ask(&mut poller, &child), NO_CHILD);
    // There is nobody of this number.
    assert_eq!(ChildExit::of(shell.pid).unwrap_err(), Error::Os(Errno::SRCH));
}

/// Its number is another process's by now: a signal does not go there.
#[test]
fn a_signal_goes_to_nobody_else() {
    const TEST: &str = "a_signal_goes_to_nobody_else";
    in_own(&["--pid", "--fork"], TEST, || {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let mut shell = Shell::start();
        let child = shell.open(&mut poller);
        shell.tell("exit 3");
        while ask(&mut poller, &child).is_pending() {
            assert_eq!(poller.turn(SOON), [1]);
        }
        let previous = (shell.pid.as_raw_pid() - 1).to_string();
        if let Err(error) = fs::write("/proc/sys/kernel/ns_last_pid", previous) {
            return skip(TEST, format_args!("/proc/sys/kernel/ns_last_pid: {error}"));
        }
        let mut other = Shell::start();
        assert_eq!(other.pid, shell.pid);
        assert_eq!(child.send_signal(&mut poller.io(Waiter::new(1)), Signal::KILL), Err(Error::Os(Errno::SRCH)));
        assert_eq!(ask(&mut poller, &child), NO_CHILD);
        other.tell("exit 6");
        assert_eq!(other.child.wait().unwrap().code(), Some(6));
    });
}

/// Who ignores the signal has no zombies, and no news.
#[test]
fn an_ignored_signal_reaps() {
    alone(|| {
        // SAFETY: to ignore a signal runs no code.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let mut shell = Shell::start();
        let child = shell.open(&mut poller);
        assert_eq!(ask(&mut poller, &child), Poll::Pending);
        shell.tell("exit 3");
        assert_eq!(poller.turn(SOON), [1]);
        assert_eq!(ask(&mut poller, &child), NO_CHILD);
    });
}

#[test]
fn not_a_child() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = TestPoller::new(&mut storage);
    let (ours, _theirs): (OwnedFd, OwnedFd) = util::socket_pair();
    let child = Unopened::<ChildExit>::from(ours).open(&mut poller.io(Waiter::new(1))).unwrap();
    assert_eq!(ask(&mut poller, &child), Poll::Ready(Err(Error::Os(Errno::BADF))));
    let sent = child.send_signal(&mut poller.io(Waiter::new(1)), Signal::KILL);
    assert_eq!(sent, Err(Error::Os(Errno::BADF)));
}

/// Children by the dozen end in one moment: each handler learns of its own.
#[test]
fn many_children() {
    const CHILDREN: usize = 24;
    let mut storage = ReactorStorage::<_, CHILDREN, CHILDREN>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let ends = Log::new();
    let mut shells = Vec::new();
    for code in 0..CHILDREN {
        let shell = Shell::start();
        let ends = ends.clone();
        let wait = |child: ChildExit| {
            script(move |cx| {
                let status = ready!(child.poll_exit(cx))?;
                ends.push((code, status));
                Poll::Ready(Ok(()))
            })
        };
        reactor.spawn_with(ChildExit::of(shell.pid).unwrap(), wait).unwrap();
        shells.push(shell);
    }
    reactor.run_once(Duration::ZERO, &mut ()).unwrap();
    for (code, shell) in shells.iter_mut().enumerate() {
        shell.tell(&format!("exit {code}"));
    }
    run_until(&mut reactor, &mut (), |()| ends.len() == CHILDREN);
    for (code, status) in ends.take() {
        assert_eq!(status, ExitStatus::Code(code as i32));
    }
    assert!(shells.iter().all(|shell| shell.state().is_none()));
}
