use core::time::Duration;

use netpoll::deadline::{Queue, QueueState, QueueStorage};
use netpoll::frame::FrameError;
use netpoll::readiness::Readiness;
use netpoll::table::{PollDesc, Table, TableStorage};
use netpoll::{Errno, Error, HandlerId, Instant, Interest, OpError, OwnedFd, Rejected, Token, Waiter};

use crate::{functions, methods};

type Each = fn(Waiter);
type Descriptors = Table<'static, OwnedFd>;

pub fn take_all() {
    methods! {
        Instant: from_nanos 1, as_nanos 1, saturating_duration_since 2, saturating_add 2;
        Interest: contains 2, union 2;
        Token: index 1, generation 1, to_u64 1, from_u64 1;
        Waiter: new 1, get 1;
        Queue<'static>: schedule 3, next 1, due 2, postpone_first 2, remove_first 1, remove 2, contains 2, len 1, is_empty 1, clear 1;
        QueueState: new 0, default 0;
        QueueStorage<8>: new 0, default 0, lend 1;
        Descriptors: capacity 1, len 1, is_empty 1, retired 1, has_room 1, insert 3, get 2, get_mut 2, remove 2, clear 1;
        TableStorage<OwnedFd, 8>: new 0, default 0, lend 1;
        PollDesc<OwnedFd>: fd 1, gate 2, is_quiet 1, is_broken 1, prepare 4, wait 3, clear_ready 2, unwait 2, hold 1, is_waited_for 1,
            set_deadline 4;
        Readiness: from_epoll 1, from_kqueue 2, from_event_port 1, wakes_reader 1, wakes_writer 1, wakes_priority 1, contains 2,
            intersects 2, is_empty 1, union 2, bits 1;
    }
    functions! {
        Descriptors::take_closing as fn(_, Each) -> _;
        Descriptors::edge as fn(_, _, _, Each) -> _;
        Descriptors::expire as fn(_, _, _, Each) -> _;
        OpError::<u32>::new as fn(_, _, Errno) -> _;
        OpError::<u32>::new as fn(_, _, Error) -> _;
        <Error as From<Errno>>::from as fn(_) -> _;
        <Error as From<FrameError>>::from as fn(_) -> _;
        <Error as From<OpError<u32>>>::from as fn(_) -> _;
        <Error as From<Rejected<OwnedFd>>>::from as fn(_) -> _;
        <FrameError as From<Error>>::from as fn(_) -> _;
        <Instant as core::ops::Add<Duration>>::add as fn(_, _) -> _;
        <Instant as core::ops::Sub>::sub as fn(_, _) -> _;
        <Interest as core::ops::BitOr>::bitor as fn(_, _) -> _;
        <Interest as core::ops::BitOrAssign>::bitor_assign as fn(_, _) -> _;
        <Readiness as core::ops::BitAnd>::bitand as fn(_, _) -> _;
        <Readiness as core::ops::BitOr>::bitor as fn(_, _) -> _;
        <Readiness as core::ops::BitOrAssign>::bitor_assign as fn(_, _) -> _;
        <HandlerId as Ord>::cmp as fn(_, _) -> _;
        <Token as Ord>::cmp as fn(_, _) -> _;
    }
}
