use core::task::Poll;
use core::time::Duration;

use netpoll::{
    AsFd, BorrowedFd, Breaker, Clock, Errno, Error, Instant, Interest, Io, OwnedFd, Poller, PollerStorage, Source, Timeout, Waiter,
};

use crate::{functions, methods};

type Each = fn(Waiter);
type Call = fn(BorrowedFd<'_>) -> Result<u64, Errno>;

pub fn take_all() {
    methods! {
        Poller<'static>: io 2, breaker 1, next_deadline 1, stats 1, descriptors 1;
        PollerStorage<8>: new 0, default 0;
        Io<'static>: waiter 1, now 1, stats 1, open 3, close 2, fd 2, poll_ready 3, clear_ready 3, unwait 3, set_deadline 4, set_timeout 4,
            has_descriptor_room 1, has_room 1, poll_descriptor_room 1, poll_room 1;
        Breaker<'static>: wake 1;
        Clock: now 1;
    }
    functions! {
        Poller::new::<PollerStorage<8>> as fn(_) -> _;
        Poller::with_clock::<PollerStorage<8>> as fn(_, _) -> _;
        Poller::poll as fn(_, Timeout, Each) -> _;
        Poller::poll as fn(_, Duration, Each) -> _;
        Poller::poll as fn(_, Instant, Each) -> _;
        Poller::is_poll_descriptor as fn(_, BorrowedFd<'static>) -> _;
        <Poller<'static> as AsFd>::as_fd as fn(_) -> _;
        drop::<Poller<'static>> as fn(_) -> _;
        drop::<PollerStorage<8>> as fn(_) -> _;
        Io::poll_io as fn(_, _, _, Call) -> Poll<Result<u64, Error>>;
        <(OwnedFd, Interest) as Source>::open as fn(_, _) -> _;
        Timeout::from as fn(Duration) -> Timeout;
        Timeout::from as fn(Instant) -> Timeout;
    }
}
