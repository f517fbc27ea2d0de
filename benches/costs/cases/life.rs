//! Handlers and descriptors that come and go.

use core::task::Poll;

use netpoll::linux::EventFd;
use netpoll::{AsFd, Callback, Context, Error, Interest, OwnedFd, Poller, Timeout, Waiter};

use super::reactor;
use crate::meter::count;

const TIMES: u64 = 100;

fn wait(_: &mut (), cx: &mut Context<'_, Callback<(), ()>>) -> Poll<Result<(), Error>> {
    cx.poll_notified().map(Ok)
}

/// From outside; the handler has run in between, which is not counted.
pub fn spawn_and_end() {
    let mut reactor = reactor();
    let _stays = reactor.spawn(Callback { f: wait, data: () }).unwrap();
    for _ in 0..TIMES {
        let mut id = None;
        count(1, || id = reactor.spawn(Callback { f: wait, data: () }).ok());
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        count(0, || reactor.end(id.unwrap()).unwrap());
    }
}

fn counter() -> OwnedFd {
    EventFd::counter(0).unwrap().as_fd().try_clone_to_owned().unwrap()
}

fn poller() -> Poller<'static> {
    #[cfg(not(feature = "alloc"))]
    let storage = netpoll::PollerStorage::<16>::new();
    #[cfg(feature = "alloc")]
    let storage = netpoll::BoxedPollerStorage::with_capacity(16);
    Poller::new(Box::leak(Box::new(storage))).unwrap()
}

pub fn open_and_close() {
    let mut poller = poller();
    let mut fd = Some(counter());
    count(TIMES, || {
        for _ in 0..TIMES {
            let mut io = poller.io(Waiter::new(1));
            let token = io.open(fd.take().unwrap(), Interest::READ).unwrap();
            fd = io.close(token).ok();
        }
    });
}

pub fn open_and_close_with_turns() {
    let mut poller = poller();
    let mut fd = Some(counter());
    count(TIMES, || {
        for _ in 0..TIMES {
            let token = poller.io(Waiter::new(1)).open(fd.take().unwrap(), Interest::READ).unwrap();
            poller.poll(Timeout::Now, |_| ()).unwrap();
            fd = poller.io(Waiter::new(1)).close(token).ok();
            poller.poll(Timeout::Now, |_| ()).unwrap();
        }
    });
}
