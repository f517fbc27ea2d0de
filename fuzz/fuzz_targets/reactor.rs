//! Scripts for the reactor on a real epoll: handlers that do anything that a handler may do, in any order, and a world that writes, reads,
//! hangs up, wakes and lets time pass. A model says who must be run in each pass and what each call must answer.

#![no_main]

#[path = "reactor/actor.rs"]
mod actor;
#[path = "reactor/model.rs"]
mod model;
#[path = "reactor/stream.rs"]
mod stream;
#[path = "reactor/world.rs"]
mod world;

use std::num::NonZeroU8;
use std::sync::Once;
use std::time::Duration;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use netpoll::{AsFd, BoxedReactorStorage, Clock, Error, Instant, LendReactor, OwnedFd, Reactor, ReactorStorage, Timeout};
use rustix::fd::{AsRawFd, FromRawFd};

use actor::{Actor, Shared};
use model::Model;
use world::{World, advance, clock, count_fds};

type TheReactor<'s, 'd> = Reactor<'s, Actor<'d>>;

fuzz_target!(|data: &[u8]| {
    static ONCE: Once = Once::new();
    // SAFETY: no other thread has set a handler for it. Rust's own start, which would do this, is not in this program.
    ONCE.call_once(|| _ = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) });
    let fds = count_fds();
    play(Unstructured::new(data));
    assert_eq!(count_fds(), fds, "descriptors left when the storage is gone");
});

/// On storage of one kind or the other, and of any capacity.
fn play(mut script: Unstructured<'_>) {
    match script.int_in_range(0..=7).unwrap_or(0) {
        0 => sessions(script, &mut ReactorStorage::<Actor<'_>, 1, 1>::new(), 1, 1),
        1 => sessions(script, &mut ReactorStorage::<Actor<'_>, 3, 2>::new(), 3, 2),
        2 => sessions(script, &mut ReactorStorage::<Actor<'_>, 6, 8>::new(), 6, 8),
        more => {
            let (handlers, descs) = (1 + more, script.int_in_range(0..=9).unwrap_or(0));
            sessions(script, &mut BoxedReactorStorage::with_capacity(handlers, descs), handlers, descs);
        }
    }
}

/// How a reactor goes.
enum Farewell {
    Dropped,
    Forgotten,
}

/// Reactors on the same storage, one after the other.
fn sessions<'d, S: LendReactor<Actor<'d>>>(mut script: Unstructured<'d>, storage: &mut S, handlers: usize, descs: usize) {
    let fds = count_fds();
    let mut forgotten: Option<(Box<World<'d>>, OwnedFd)> = None;
    loop {
        let budget = [1, 2, 4, 32][script.int_in_range(0..=3).unwrap_or(0)];
        let model = Model::new(handlers, descs, budget, clock().as_nanos());
        let mut shared = Some(Box::new(World::new(script, model)));
        let reactor = Reactor::with_clock(storage, Clock::Custom(clock)).unwrap();
        let mut reactor = reactor.with_budget(NonZeroU8::new(budget).unwrap());
        if let Some((mut world, selector)) = forgotten.take() {
            // Now its handlers are dropped and its descriptors closed, but for its selector, which was in what was forgotten.
            is_gone(&mut world);
            drop((world, selector));
        }
        let (breaker, shared_breaker) = (reactor.breaker(), reactor.shared_breaker());
        shared.as_mut().unwrap().breaker = shared_breaker;
        let before = fds + 3;
        let farewell = session(&mut reactor, &mut shared, before);
        let mut world = shared.unwrap();
        script = std::mem::replace(&mut world.script, Unstructured::new(&[]));
        match farewell {
            Farewell::Dropped => {
                drop(reactor);
                assert_eq!(breaker.wake(), Err(Error::Closed));
                is_gone(&mut world);
            }
            Farewell::Forgotten => {
                let selector = reactor.as_fd().as_raw_fd();
                std::mem::forget(reactor);
                // SAFETY: nobody has it any more.
                forgotten = Some((world, unsafe { OwnedFd::from_raw_fd(selector) }));
                continue;
            }
        }
        if script.is_empty() {
            break;
        }
    }
    assert_eq!(count_fds(), fds + 2, "all but the break pipe, which is the storage's");
}

/// The reactor of this world is gone with all that it had.
fn is_gone(world: &mut World<'_>) {
    (0..world.model.beings.len()).filter(|&who| world.model.beings[who].alive).collect::<Vec<_>>().into_iter().for_each(|who| {
        world.model.ends(who);
    });
    world.check_drops();
    assert_eq!(world.model.open(), 0);
    if let Some(breaker) = world.breaker.take() {
        assert_eq!(breaker.wake(), Err(Error::Closed));
    }
}

/// The life of one reactor.
fn session<'d>(reactor: &mut TheReactor<'_, 'd>, shared: &mut Shared<'d>, fds: usize) -> Farewell {
    let breaker = reactor.breaker();
    loop {
        let world = shared.as_mut().unwrap();
        if world.is_over() {
            finish(reactor, shared, fds);
            return Farewell::Dropped;
        }
        match world.below(32) {
            0..10 => pass(reactor, shared),
            10..13 => _ = actor::spawn_with(world, reactor),
            13 => _ = actor::spawn(world, reactor),
            14..22 => world.far_end(),
            22..24 => advance(world.below(40) as u64),
            24 => _ = towards_next_alarm(world, 1),
            25 => {
                breaker.wake().unwrap();
                world.model.woken = true;
            }
            26 => {
                if let Some(who) = world.anybody() {
                    let expected = world.model.expect_alive(who);
                    assert_eq!(reactor.notify(world.model.beings[who].id), expected);
                    if expected.is_ok() {
                        world.model.notify(who);
                    }
                }
            }
            27 => {
                if let Some(who) = world.anybody() {
                    let expected = world.model.expect_alive(who);
                    assert_eq!(reactor.end(world.model.beings[who].id), expected);
                    if expected.is_ok() {
                        world.model.ends(who);
                        world.check_drops();
                    }
                }
            }
            28 if world.below(2) == 0 => {
                reactor.notify_all();
                world.model.notify_all();
            }
            28 => {
                reactor.stop();
                world.model.stop = true;
            }
            29 => run(reactor, shared),
            30 => next_deadline(reactor, world),
            _ => match world.below(8) {
                0 => return Farewell::Dropped,
                1 => return Farewell::Forgotten,
                _ => settle(reactor, shared, fds),
            },
        }
    }
}

/// One pass, and whether those were run who had to be, and nobody else.
fn pass<'d>(reactor: &mut TheReactor<'_, 'd>, shared: &mut Shared<'d>) {
    let world = shared.as_mut().unwrap();
    let how = world.below(6);
    let (ready, anybody) = world.model.begin_pass(clock().as_nanos());
    // Who waits for nothing for ever is lost; so the reactor may block if there is somebody to be run.
    let timeout = match how {
        1 if anybody => Timeout::Never,
        2 if anybody => Timeout::After(Duration::from_secs(20)),
        3 if anybody => Timeout::At(clock() + Duration::from_secs(20)),
        4 => Timeout::After(Duration::ZERO),
        5 => Timeout::At(clock()),
        _ => Timeout::Now,
    };
    let sleeps = ready.map(|ready| u32::from(!ready && timeout != Timeout::Now));
    reactor.run_once(timeout, shared).unwrap();
    passed(reactor, shared.as_mut().unwrap(), sleeps);
}

/// After a pass; `sleeps` if it is known how often the reactor must have said that it waits.
fn passed(reactor: &TheReactor<'_, '_>, world: &mut World<'_>, sleeps: Option<u32>) {
    world.model.end_pass();
    world.check_drops();
    let slept = std::mem::take(&mut world.sleeps);
    assert!(sleeps.is_none_or(|sleeps| slept == sleeps), "slept {slept} times, not {sleeps:?}");
    assert_eq!((reactor.len(), reactor.is_empty()), (world.model.alive(), world.model.alive() == 0));
    assert_eq!(reactor.descriptors(), world.model.open());
    let stats = reactor.stats();
    assert_eq!((stats.stale_events, stats.lost_descriptors, stats.retired_slots), (0, 0, 0));
    assert_eq!((stats.polls, stats.wakes), (world.model.polls, world.model.wakes.into()));
    assert_eq!(stats.parked_handlers, world.model.parked);
}

/// `run` returns when it is told to, or when nobody is left.
fn run<'d>(reactor: &mut TheReactor<'_, 'd>, shared: &mut Shared<'d>) {
    let world = shared.as_mut().unwrap();
    if world.model.stop || world.model.alive() == 0 {
        let polls = reactor.stats().polls;
        reactor.run(shared).unwrap();
        assert_eq!(reactor.stats().polls, polls);
        shared.as_mut().unwrap().model.stop = false;
        return;
    }
    let (ready, anybody) = world.model.begin_pass(clock().as_nanos());
    if anybody {
        world.must_stop = true;
        let sleeps = ready.map(|ready| u32::from(!ready));
        reactor.run(shared).unwrap();
        let world = shared.as_mut().unwrap();
        assert!(!world.must_stop);
        world.model.stop = false;
        passed(reactor, world, sleeps);
    } else {
        reactor.run_once(Timeout::Now, shared).unwrap();
        passed(reactor, shared.as_mut().unwrap(), Some(0));
    }
}

/// How long a foreign loop may sleep.
fn next_deadline(reactor: &mut TheReactor<'_, '_>, world: &mut World<'_>) {
    world.model.release();
    let next = reactor.next_deadline().map(Instant::as_nanos);
    let latest = if world.model.anybody_ready() { Some(clock().as_nanos()) } else { world.model.next_alarm() };
    if let Some(latest) = latest {
        assert!(next.is_some_and(|next| next <= latest.max(clock().as_nanos())), "{next:?} after {latest}");
    }
}

/// Lets the time come for which somebody waits, or a part of the time until then; says whether anybody does.
fn towards_next_alarm(world: &World<'_>, part: u64) -> bool {
    let next = world.model.next_alarm();
    advance(next.map_or(0, |next| next.saturating_sub(clock().as_nanos()) / part));
    next.is_some()
}

/// The script is over: lets the time pass that somebody waits for, and makes room.
fn finish<'d>(reactor: &mut TheReactor<'_, 'd>, shared: &mut Shared<'d>, fds: usize) {
    settle(reactor, shared, fds);
    // On half of the way entries come up that have been pushed out.
    for part in [2, 1, 2, 1, 2, 1] {
        if towards_next_alarm(shared.as_ref().unwrap(), part) {
            settle(reactor, shared, fds);
        }
    }
    let model = &mut shared.as_mut().unwrap().model;
    if let Some(oldest) = model.beings.iter().position(|being| being.alive) {
        reactor.end(model.beings[oldest].id).unwrap();
        model.ends(oldest);
        settle(reactor, shared, fds);
    }
}

/// Handlers only try again what they wait for, until nobody is to be run. Then nobody waits for what is there.
fn settle<'d>(reactor: &mut TheReactor<'_, 'd>, shared: &mut Shared<'d>, fds: usize) {
    shared.as_mut().unwrap().is_quiet = true;
    for passes in 0.. {
        assert!(passes < 1000, "no end of it");
        let world = shared.as_mut().unwrap();
        let (_, anybody) = world.model.begin_pass(clock().as_nanos());
        reactor.run_once(Timeout::Now, shared).unwrap();
        passed(reactor, shared.as_mut().unwrap(), Some(0));
        if !anybody {
            break;
        }
    }
    let world = shared.as_mut().unwrap();
    world.model.expect_nobody_forgotten();
    assert_eq!(count_fds(), fds + world.fds(), "descriptors");
    world.is_quiet = false;
}
