use core::ffi::CStr;

use netpoll::linux::{ChildExit, EventFd, ExitStatus, Inotify, InotifyEvents, Input, Netlink, Output, TimerFd, TimerSpec, Uevent, Uevents};
use netpoll::{BorrowedFd, Unopened};

use crate::{functions, methods};

pub fn take_all() {
    methods! {
        ChildExit: of 1, poll_exit 2, send_signal 3, set_deadline 3, set_timeout 3, token 1, close 2;
        ExitStatus: is_success 1;
        EventFd: counter 1, semaphore 1, poll_read 2, add 3, set_deadline 3, set_timeout 3, token 1, close 2;
        Inotify: new 0, remove_watch 3, read_events 3, set_deadline 3, set_timeout 3, token 1, close 2;
        InotifyEvents<'static>: parse 1, next 1;
        Input: read 3, read_exact 4, set_read_deadline 3, set_read_timeout 3, token 1, close 2;
        Output: write 3, write_all 4, set_write_deadline 3, set_write_timeout 3, token 1, close 2;
        Netlink: route 1, bind 2, recv 3, send 3, set_deadline 3, set_timeout 3, token 1, close 2;
        TimerFd: new 1, set 3, disarm 2, remaining 2, poll_expirations 2, set_deadline 3, set_timeout 3, token 1, close 2;
        TimerSpec: after 1, at 1, every 2, cancel_on_set 1;
        Uevent<'static>: parse 1, action 1, devpath 1, variables 1, get 2, is 3;
        Uevents: new 0, recv 3, set_deadline 3, set_timeout 3, token 1, close 2;
        Unopened<ChildExit>: open 2;
        Unopened<EventFd>: open 2;
        Unopened<Inotify>: open 2;
        Unopened<Input>: open 2;
        Unopened<Output>: open 2;
        Unopened<Netlink>: open 2, set_receive_buffer 2;
        Unopened<TimerFd>: open 2, set 2;
        Unopened<Uevents>: open 2, set_receive_buffer 2;
    }
    functions! {
        Inotify::add_watch as fn(_, _, &'static CStr, _) -> _;
        Inotify::add_watch as fn(_, _, &'static str, _) -> _;
        Unopened::<Inotify>::add_watch as fn(_, &'static CStr, _) -> _;
        Unopened::<Inotify>::add_watch as fn(_, &'static str, _) -> _;
        Input::reopen as fn(BorrowedFd<'static>) -> _;
        Output::reopen as fn(BorrowedFd<'static>) -> _;
        // What the iterator does is in its `next`.
        (|event, each| event.variables().for_each(each)) as fn(&Uevent<'static>, fn((&[u8], &[u8])));
    }
}
