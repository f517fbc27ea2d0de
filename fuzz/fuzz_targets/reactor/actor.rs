//! The handler: each of its runs does what comes next in the script.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use netpoll::net::{TcpStream, UnixListener, UnixStream};
use netpoll::{Context, Descriptor, Direction, Error, Handler, HandlerId, Instant, OwnedFd, Reactor, Rejected, Source, Stats};
use rustix::fd::AsRawFd;

use crate::model::{DIRECTIONS, Gate, Step, What, Who};
use crate::stream::Kind;
use crate::world::{Ledger, Near, World, advance, clock};

/// The shared state is lent to the handler that runs, which holds its context at the same time.
pub type Shared<'d> = Option<Box<World<'d>>>;

pub struct Actor<'d> {
    pub who: Who,
    ledger: Ledger,
    script: std::marker::PhantomData<World<'d>>,
}

type Cx<'a, 'd> = Context<'a, Actor<'d>>;

/// What a handler fails with.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure(Who);

impl Actor<'_> {
    /// The next handler to be born.
    fn new(ledger: &Ledger) -> Self {
        let who = ledger.borrow().len();
        ledger.borrow_mut().push(0);
        Actor { who, ledger: Ledger::clone(ledger), script: std::marker::PhantomData }
    }

    /// A handler that was given back is none.
    fn unborn(self) {
        let ledger = Ledger::clone(&self.ledger);
        assert_eq!(self.who + 1, ledger.borrow().len(), "another handler came back");
        drop(self);
        assert_eq!(ledger.borrow_mut().pop(), Some(1));
    }
}

impl Drop for Actor<'_> {
    fn drop(&mut self) {
        self.ledger.borrow_mut()[self.who] += 1;
    }
}

impl<'d> Handler for Actor<'d> {
    type Shared = Shared<'d>;
    type Error = Failure;

    fn on_ready(&mut self, cx: &mut Cx<'_, 'd>) -> Poll<Result<(), Failure>> {
        let mut world = cx.shared().take().unwrap();
        assert_eq!(cx.id(), world.model.beings[self.who].id);
        let wanted_room = world.model.enters(self.who);
        assert_eq!(cx.now().as_nanos(), world.model.now);
        if std::mem::take(&mut world.must_stop) {
            cx.stop();
        }
        let answer = if world.is_quiet || world.is_over() { again(&mut world, cx, wanted_room) } else { play(&mut world, cx) };
        if !matches!(answer, Poll::Ready(Err(_))) {
            world.model.leaves(answer.is_ready());
        }
        *cx.shared() = Some(world);
        answer
    }

    fn on_error(&mut self, error: Failure, cx: &mut Cx<'_, 'd>) {
        assert_eq!(error, Failure(self.who));
        let mut world = cx.shared().take().unwrap();
        for what in world.model.own(self.who).collect::<Vec<_>>() {
            assert_eq!(cx.fd(world.model.descs[what].token).unwrap().as_raw_fd(), world.model.descs[what].fd);
        }
        act(&mut world, cx);
        world.model.leaves(true);
        *cx.shared() = Some(world);
    }

    fn on_sleep(shared: &mut Shared<'d>, stats: &Stats) {
        let world = shared.as_mut().unwrap();
        assert_eq!(stats.polls + 1, world.model.polls);
        world.sleeps += 1;
    }
}

/// As a handler should: tries everything again.
fn again<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>, wanted_room: Option<bool>) -> Poll<Result<(), Failure>> {
    let who = world.model.running().who;
    poll_all(world, cx);
    if let Some(with_handler) = wanted_room {
        poll_room(world, cx, with_handler);
    }
    for what in world.model.own(who).collect::<Vec<_>>() {
        if world.streams[world.model.descs[what].stream].kind == Kind::Listener {
            world.poll_ready(cx, what, Direction::Read);
        } else {
            if world.streams[world.model.descs[what].stream].kind == Kind::Pair {
                read_short(world, cx, what, 4000);
            }
            while world.read(cx, what, 4000).is_some_and(|n| n > 0) {}
        }
        world.poll_ready(cx, what, Direction::Write);
    }
    Poll::Pending
}

/// Some steps of the script.
fn play<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>) -> Poll<Result<(), Failure>> {
    loop {
        match world.below(24) {
            0 => return Poll::Pending,
            1 if world.below(4) == 1 => return Poll::Ready(Ok(())),
            1 if world.below(4) == 1 => return Poll::Ready(Err(Failure(world.model.running().who))),
            2 => return again(world, cx, None),
            3..16 => act_on_own(world, cx),
            _ => act(world, cx),
        }
    }
}

/// Something with a descriptor of one's own.
fn act_on_own<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>) {
    let who = world.model.running().who;
    let Some(what) = world.something_of(who) else { return act(world, cx) };
    let (token, stream) = (world.model.descs[what].token, world.model.descs[what].stream);
    let is_listener = world.streams[stream].kind == Kind::Listener;
    match world.below(24) {
        0..6 if is_listener => accept(world, cx, what),
        0..4 => {
            let len = world.size();
            world.read(cx, what, len);
        }
        4..6 => while world.read(cx, what, 700).is_some_and(|n| n > 0) {},
        6..10 => {
            let len = world.size();
            world.write(cx, what, len);
        }
        10..13 if world.streams[stream].kind == Kind::Pair && world.below(2) == 0 => {
            let len = world.size();
            read_short(world, cx, what, len);
        }
        10 => {
            let direction = world.direction();
            while world.poll_ready(cx, what, direction) && world.below(2) == 1 {}
        }
        11 => {
            let direction = world.direction();
            cx.unwait(token, direction).unwrap();
            world.model.unwaits(what, direction);
        }
        12 => {
            let direction = world.direction();
            if !world.model.is_level(what, direction) {
                cx.clear_ready(token, direction).unwrap();
                world.model.clears(what, direction);
            }
        }
        13..15 => {
            let direction = world.direction();
            set_deadline(world, cx, what, direction);
        }
        15..17 => DIRECTIONS.into_iter().for_each(|direction| set_deadline(world, cx, what, direction)),
        17 => drop(close(world, cx, what)),
        18 => {
            // Anew, under another token.
            let fd = close(world, cx, what);
            let interest = world.streams[stream].interest();
            assert!(open(world, cx, Near { fd, interest, stream }));
        }
        19..22 => give(world, cx, what),
        _ => poll_all(world, cx),
    }
}

/// Something that any handler can do.
fn act<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>) {
    match world.below(24) {
        0 => {}
        1 => {
            cx.yield_now();
            world.model.yields();
        }
        2..4 => set_timer(world, cx),
        4 => poll_all(world, cx),
        5 => {
            let with_handler = world.below(2) == 0;
            poll_room(world, cx, with_handler);
        }
        6 => {
            if !spawn(world, cx) && world.below(2) == 0 {
                poll_room(world, cx, true);
            }
        }
        7..9 => {
            if !spawn_with(world, cx) && world.below(4) > 0 {
                poll_room(world, cx, true);
            }
        }
        9..11 => {
            let Some(near) = world.near() else { return };
            if !open(world, cx, near) && world.below(4) > 0 {
                poll_room(world, cx, false);
            }
        }
        11..13 => {
            if let Some(who) = world.anybody() {
                let expected = world.model.expect_alive(who);
                assert_eq!(cx.notify(world.model.beings[who].id), expected);
                if expected.is_ok() {
                    world.model.notify(who);
                }
            }
        }
        13 => {
            cx.notify_all();
            world.model.notify_all();
        }
        14 => end(world, cx),
        15 => {
            cx.stop();
            world.model.stop = true;
        }
        16..18 => touch_anything(world, cx),
        18..21 => world.far_end(),
        21 => advance(world.below(20) as u64),
        22 => {
            if let Some(breaker) = &world.breaker {
                breaker.wake().unwrap();
                world.model.woken = true;
            }
        }
        _ => {
            let who = world.model.running().who;
            if let Some(what) = world.something_of(who) {
                accept(world, cx, what);
            }
        }
    }
}

/// The reactor, from inside and from outside.
pub trait Spawner<'d> {
    fn spawn(&mut self, actor: Actor<'d>) -> Result<HandlerId, Rejected<Actor<'d>>>;
    fn spawn_with<S: Source>(&mut self, source: S, make: impl FnOnce(S::Opened) -> Actor<'d>) -> Result<HandlerId, Rejected<S>>;
}

impl<'d> Spawner<'d> for Cx<'_, 'd> {
    fn spawn(&mut self, actor: Actor<'d>) -> Result<HandlerId, Rejected<Actor<'d>>> {
        Context::spawn(self, actor)
    }

    fn spawn_with<S: Source>(&mut self, source: S, make: impl FnOnce(S::Opened) -> Actor<'d>) -> Result<HandlerId, Rejected<S>> {
        Context::spawn_with(self, source, make)
    }
}

impl<'d> Spawner<'d> for Reactor<'_, Actor<'d>> {
    fn spawn(&mut self, actor: Actor<'d>) -> Result<HandlerId, Rejected<Actor<'d>>> {
        Reactor::spawn(self, actor)
    }

    fn spawn_with<S: Source>(&mut self, source: S, make: impl FnOnce(S::Opened) -> Actor<'d>) -> Result<HandlerId, Rejected<S>> {
        Reactor::spawn_with(self, source, make)
    }
}

/// Says whether there was room; so the next two.
pub fn spawn<'d>(world: &mut World<'d>, reactor: &mut impl Spawner<'d>) -> bool {
    match reactor.spawn(Actor::new(&world.ledger)) {
        Ok(id) => {
            assert!(world.model.handler_room());
            world.model.is_born(id);
            true
        }
        Err(Rejected { value, error }) => {
            assert!(!world.model.handler_room() && error == Error::Full, "{error:?}");
            value.unborn();
            false
        }
    }
}

pub fn spawn_with<'d>(world: &mut World<'d>, reactor: &mut impl Spawner<'d>) -> bool {
    let Some(ends) = world.ends() else { return true };
    let (offered, opened, is_tidy) = (ends.raw(), Rc::clone(&ends.opened), ends.is_tidy);
    let expected = world.expect_taken(&offered, true);
    let (ledger, mut made) = (&world.ledger, None);
    let make = |opened| {
        made = Some(opened);
        Actor::new(ledger)
    };
    match reactor.spawn_with(ends, make) {
        Ok(id) => {
            assert_eq!(expected, Ok(()));
            let who = world.model.is_born(id);
            world.opened(who, made.unwrap());
        }
        Err(Rejected { value, error }) => {
            assert_eq!(Err(error), expected);
            assert!(made.is_none(), "made for nothing");
            if opened.get() > 0 {
                world.model.something_was_freed();
            }
            let kept = if is_tidy { 0 } else { opened.get() };
            assert_eq!(value.raw(), offered[kept..], "other descriptors came back");
        }
    }
    expected != Err(Error::Full)
}

/// Opens one end for the running handler.
fn open<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>, near: Near) -> bool {
    let who = world.model.running().who;
    let raw = near.raw();
    let expected = world.expect_taken(&[raw], false);
    match cx.open(near.fd, near.interest) {
        Ok(token) => {
            assert_eq!(expected, Ok(()));
            world.opened(who, vec![(token, raw)]);
        }
        Err(Rejected { value, error }) => {
            assert_eq!((Err(error), value.as_raw_fd()), (expected, raw.fd));
        }
    }
    expected != Err(Error::Full)
}

fn close<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>, what: What) -> OwnedFd {
    let fd = cx.close(world.model.descs[what].token).unwrap();
    assert_eq!(fd.as_raw_fd(), world.model.descs[what].fd);
    world.model.is_closed(what);
    fd
}

/// A read that may say by its answer that there is no more.
fn read_short<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>, what: What, len: usize) {
    let step = world.model.expect_step(what, Direction::Read);
    if matches!(step, Step::CallOrWait | Step::Unclear) {
        return;
    }
    let mut bytes = vec![0; len];
    // It asks for nothing that a Unix socket would not answer.
    let answer = TcpStream::from_token(world.model.descs[what].token).read(cx, &mut bytes);
    match (step, answer) {
        (Step::Call, Poll::Ready(Ok(n))) => {
            world.model.called(what, Direction::Read, if n < len { Gate::Doubtful } else { Gate::Ready });
            world.was_read(what, Ok(&bytes[..n]));
        }
        (Step::Call, Poll::Ready(Err(error))) => {
            world.model.called(what, Direction::Read, Gate::Ready);
            world.was_read(what, Err(error));
        }
        (Step::Call, Poll::Pending) => {
            world.model.called(what, Direction::Read, Gate::Idle);
            world.model.waits(what, Direction::Read);
        }
        (Step::Wait, Poll::Pending) => world.model.waits(what, Direction::Read),
        (Step::Yield, Poll::Pending) => world.model.yields(),
        (Step::Fail(expected), Poll::Ready(Err(error))) => assert_eq!(error, expected),
        _ => panic!("{step:?}, but {answer:?}: {:?}", world.model.descs[what]),
    }
}

/// Accepts for a new handler, or for the running one.
fn accept<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>, what: What) {
    let stream = world.model.descs[what].stream;
    if world.streams[stream].kind != Kind::Listener || world.streams.len() >= 24 {
        return;
    }
    let for_new = world.below(2) == 0;
    let has_room = world.model.desc_room() && (world.model.handler_room() || !for_new);
    let listener = UnixListener::<UnixStream>::from_token(world.model.descs[what].token);
    let step = world.model.expect_step(what, Direction::Read);
    if step == Step::Unclear {
        return;
    }
    let answer = if for_new { listener.accept(cx) } else { listener.accept_own(cx) };
    match (step, answer) {
        (Step::Call, Poll::Ready(Ok((socket, _)))) => {
            assert!(has_room, "accepted what there is no room for");
            world.model.called(what, Direction::Read, Gate::Ready);
            let number = world.streams.len();
            let accepted = world.streams[stream].accepted(number);
            let interest = accepted.interest();
            world.streams.push(accepted);
            let end = Near { fd: socket.into(), interest, stream: number };
            if for_new {
                let (raw, ledger) = (end.raw(), &world.ledger);
                let mut opened = None;
                let id = cx.spawn_with((end.fd, interest), |token| {
                    opened = Some(token);
                    Actor::new(ledger)
                });
                let who = world.model.is_born(id.expect("there was room"));
                world.opened(who, vec![(opened.unwrap(), raw)]);
            } else {
                assert!(open(world, cx, end), "accepted for itself, and there is no room");
            }
        }
        (Step::Call, Poll::Pending) if has_room => {
            world.model.called(what, Direction::Read, Gate::Idle);
            world.model.waits(what, Direction::Read);
        }
        (Step::Call, Poll::Pending) => {
            world.model.called(what, Direction::Read, Gate::Ready);
            world.model.holds(what);
            assert!(!world.model.take_room(for_new));
        }
        (Step::Wait, Poll::Pending) => world.model.waits(what, Direction::Read),
        (Step::Yield, Poll::Pending) => world.model.yields(),
        (Step::Fail(expected), Poll::Ready(Err(error))) => assert_eq!(error, expected),
        (step, answer) => panic!("{step:?}, but {answer:?}: {:?}", world.model.descs[what]),
    }
}

fn set_deadline<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>, what: What, direction: Direction) {
    let token = world.model.descs[what].token;
    if world.below(2) == 0 {
        let at = world.moment();
        cx.set_deadline(token, direction, at.map(Instant::from_nanos)).unwrap();
        world.model.set_deadline(what, direction, at, world.model.now);
    } else {
        let (now, after) = (clock().as_nanos(), world.delay());
        cx.set_timeout(token, direction, Some(Duration::from_nanos(after))).unwrap();
        world.model.set_deadline(what, direction, Some(now.saturating_add(after)), now);
    }
}

fn set_timer<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>) {
    if world.below(2) == 0 {
        let at = world.moment();
        cx.set_timer(at.map(Instant::from_nanos));
        world.model.set_timer(at);
    } else {
        let after = world.delay();
        cx.set_timer_after(Duration::from_nanos(after));
        world.model.set_timer(Some(clock().as_nanos().saturating_add(after)));
    }
}

/// Asks what can be asked without a descriptor.
fn poll_all<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>) {
    assert_eq!(cx.poll_timer().is_ready(), world.model.take_timer());
    assert_eq!(cx.poll_notified().is_ready(), world.model.take_notified());
    assert_eq!(cx.poll_wake().is_ready(), world.model.take_wake());
}

fn poll_room<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>, with_handler: bool) {
    assert_eq!(cx.has_descriptor_room(), world.model.desc_room());
    assert_eq!(cx.has_room(), world.model.desc_room() && world.model.handler_room());
    let answer = if with_handler { cx.poll_room() } else { cx.poll_descriptor_room() };
    assert_eq!(answer.is_ready(), world.model.take_room(with_handler));
}

fn give<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>, what: What) {
    let who = world.model.running().who;
    let Some(to) = world.anybody() else { return };
    let expected = world.model.expect_alive(to).and_then(|()| world.model.expect_owner(what, who));
    assert_eq!(cx.give(world.model.descs[what].token, world.model.beings[to].id), expected);
    if expected.is_ok() {
        world.model.is_given(what, to);
    }
}

fn end<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>) {
    let Some(who) = world.anybody() else { return };
    let expected = world.model.expect_alive(who);
    assert_eq!(cx.end(world.model.beings[who].id), expected);
    if who == world.model.running().who {
        world.model.running().ended = true;
    } else if expected.is_ok() {
        world.model.ends(who);
        assert_eq!(world.ledger.borrow()[who], 1, "not dropped at its end");
    }
}

/// Names a descriptor that is probably another's, or closed.
fn touch_anything<'d>(world: &mut World<'d>, cx: &mut Cx<'_, 'd>) {
    let who = world.model.running().who;
    let Some(what) = world.anything() else { return };
    let token = world.model.descs[what].token;
    let expected = world.model.expect_owner(what, who);
    let Err(error) = expected else { return act_on_own(world, cx) };
    let direction = world.direction();
    match world.below(7) {
        0 => assert_eq!(cx.poll_io(token, direction, |_| -> Result<(), _> { panic!("another's") }), Poll::Ready(Err(error))),
        1 => assert_eq!(cx.close(token).map(drop), expected),
        2 => assert_eq!(cx.set_deadline(token, direction, Some(Instant::from_nanos(0))), expected),
        3 => assert_eq!(cx.clear_ready(token, direction), expected),
        4 => assert_eq!(cx.unwait(token, direction), expected),
        5 => assert_eq!(cx.fd(token).map(drop), expected),
        _ => give(world, cx, what),
    }
}
