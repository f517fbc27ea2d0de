//! What only Linux has: a counter, a timer, a watch, a child, the kernel's announcements.

use std::process::{Child, Command};
use std::task::Poll;
use std::time::Duration;

use netpoll::linux::{ChildExit, EventFd, Inotify, Netlink, Notice, Signal, TimerClock, TimerFd, TimerSpec, Uevents, WatchFlags};
use rustix::process::Pid;

use crate::life::ME;

/// Asks for all links: a header, then who asks for what.
fn request() -> [u8; 32] {
    const GETLINK: u16 = 18;
    const REQUEST_DUMP: u16 = 0x301;
    let mut request = [0; 32];
    request[..4].copy_from_slice(&32u32.to_ne_bytes());
    request[4..6].copy_from_slice(&GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_DUMP.to_ne_bytes());
    request
}

/// A child that does not outlive the life that failed to end it.
struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn live() {
    let folder = super::Folder::new();
    let child = Sleeper(Command::new("sleep").arg("60").spawn().unwrap());
    let pid = Pid::from_child(&child.0);
    super::on_poller(|told, poller| {
        let counter = told.again("eventfd", || EventFd::counter(0));
        let counter = told.open(poller, counter);
        told.again("add", || counter.add(&mut poller.io(ME), 3));
        assert_eq!(told.wait(poller, "read", |io| counter.poll_read(io)), 3);

        let timer = told.again("timerfd", || TimerFd::new(TimerClock::Monotonic));
        let timer = told.open(poller, timer);
        told.again("set", || timer.set(&mut poller.io(ME), &TimerSpec::after(Duration::from_millis(5))));
        assert_eq!(told.wait(poller, "expirations", |io| timer.poll_expirations(io)), 1);
        told.again("disarm", || timer.disarm(&mut poller.io(ME)));
        assert_eq!(told.again("remaining", || timer.remaining(&mut poller.io(ME))), None);

        let inotify = told.again("inotify", Inotify::new);
        let inotify = told.open(poller, inotify);
        let watch = told.again("add_watch", || inotify.add_watch(&mut poller.io(ME), &*folder.path(""), WatchFlags::CREATE));
        told.again("remove_watch", || inotify.remove_watch(&mut poller.io(ME), watch));
        let mut events = [0; Inotify::BUFFER];
        told.wait(poller, "events", |io| inotify.read_events(io, &mut events).map_ok(drop));
        for token in [counter.token(), timer.token(), inotify.token()] {
            drop(poller.io(ME).close(token).unwrap());
        }

        let exit = told.again("child", || ChildExit::of(pid));
        let exit = told.open(poller, exit);
        while let Poll::Ready(exited) = exit.poll_exit(&mut poller.io(ME)) {
            told.note("exit", exited.unwrap_err());
        }
        told.again("signal", || exit.send_signal(&mut poller.io(ME), Signal::KILL));
        assert!(!told.wait(poller, "exit", |io| exit.poll_exit(io)).is_success());
        drop(poller.io(ME).close(exit.token()).unwrap());

        let links = told.again("netlink", || Netlink::route(0));
        told.again("receive_buffer", || links.set_receive_buffer(65536));
        let links = told.open(poller, links);
        told.again("send", || links.send(&mut poller.io(ME), &request()));
        let mut buf = vec![0; 32768];
        while told.wait(poller, "recv", |io| links.recv(io, &mut buf).map_ok(|notice| notice == Notice::Overrun)) {
            told.add("recv: overrun".to_owned());
        }
        drop(poller.io(ME).close(links.token()).unwrap());
        drop(told.again("uevents", Uevents::new));
    });
}
