use core::time::Duration;

use netpoll::net::TcpStream;
use netpoll::{
    BorrowedFd, Callback, Context, Handler, HandlerId, Instant, Interest, Outbox, OwnedFd, Reactor, ReactorStorage, Timeout, Token,
    Unopened,
};

use crate::foreign::{Activity, Opening, Shared, Stream};
use crate::{functions, methods};

type Named = Callback<(), u32>;
type Box = Outbox<[u8; 16], 4, 2>;
type In<'a> = &'a mut Context<'static, Activity>;
type Find = fn(&mut Shared) -> &mut Box;

pub fn take_all() {
    methods! {
        Reactor<'static, Activity>: with_budget 2, spawn 2, end 2, notify 2, notify_all 1, stop 1, run 2, breaker 1, next_deadline 1,
            stats 1, len 1, is_empty 1, descriptors 1;
        Reactor<'static, Named>: spawn 2, end 2, run 2;
        ReactorStorage<Activity, 4, 8>: new 0, default 0;
        Context<'static, Activity>: id 1, shared 1, split 1, spawn 2, end 2, notify 2, notify_all 1, give 3, stop 1, yield_now 1, set_timer 2,
            set_timer_after 2, poll_timer 1, poll_notified 1, poll_wake 1;
        Named: on_ready 2;
        HandlerId: index 1;
        Box: new 0, default 0, len 1, is_empty 1;
    }
    functions! {
        Reactor::<Activity>::new::<ReactorStorage<Activity, 4, 8>> as fn(_) -> _;
        Reactor::<Activity>::with_clock::<ReactorStorage<Activity, 4, 8>> as fn(_, _) -> _;
        Reactor::<Activity>::run_once as fn(_, Timeout, _) -> _;
        Reactor::<Activity>::run_once as fn(_, Duration, _) -> _;
        Reactor::<Activity>::run_once as fn(_, Instant, _) -> _;
        Reactor::<Activity>::is_poll_descriptor as fn(_, BorrowedFd<'static>) -> _;
        Reactor::<Activity>::spawn_with as fn(_, Opening, fn(u64) -> Activity) -> _;
        Reactor::<Activity>::spawn_with as fn(_, Unopened<TcpStream>, fn(TcpStream) -> Activity) -> _;
        Reactor::<Activity>::spawn_with as fn(_, (OwnedFd, Interest), fn(Token) -> Activity) -> _;
        <Reactor<'static, Activity> as netpoll::AsFd>::as_fd as fn(_) -> _;
        drop::<Reactor<'static, Activity>> as fn(_) -> _;
        drop::<ReactorStorage<Activity, 4, 8>> as fn(_) -> _;
        <Context<'static, Activity> as core::ops::Deref>::deref as fn(_) -> _;
        <Context<'static, Activity> as core::ops::DerefMut>::deref_mut as fn(_) -> _;
        Context::<Activity>::spawn_with as fn(_, Opening, fn(u64) -> Activity) -> _;
        Context::<Activity>::spawn_with as fn(_, Unopened<TcpStream>, fn(TcpStream) -> Activity) -> _;
        Box::poll_room as fn(In<'_>, Find) -> _;
        Box::push as fn(In<'_>, Find, _) -> _;
        Box::clear as fn(In<'_>, Find) -> _;
        Box::close as fn(In<'_>, Find) -> _;
        Box::drain as fn(In<'_>, Find, &Stream, _) -> _;
        Box::drain as fn(In<'_>, Find, &TcpStream, _) -> _;
        drop::<Box> as fn(_) -> _;
    }
}
