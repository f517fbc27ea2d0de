//! The interleavings that every change must survive, one named test each.

#![cfg(target_os = "linux")]

#[path = "util/reactor.rs"]
mod util;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::mem;
use std::net::TcpStream as StdStream;
use std::num::NonZeroU8;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::net::{TcpListener, TcpStream, Unopened};
use netpoll::{
    Clock, Context, Direction, Error, Handler, HandlerId, Interest, Poller, PollerStorage, Reactor, ReactorStorage, Timeout, Token, Waiter,
};
use util::{
    Answer, DONE, Guard, Log, Probe, Script, advance, assert_closed, assert_open, manual, pair, planned_panic, probed_pair, run_until,
    script, settle, std_connect,
};

const SECOND: Duration = Duration::from_secs(1);

fn bind() -> Unopened<TcpListener> {
    TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

// ---- Accepting less than there is

/// Greets with one byte and stays until the client goes.
fn greeter(stream: TcpStream) -> Script {
    let mut greeted = false;
    script(move |cx: &mut Context<'_, Script>| {
        if !greeted {
            ready!(stream.write(cx, b"!"))?;
            greeted = true;
        }
        stream.read(cx, &mut [0; 8]).map_ok(drop)
    })
}

fn acceptor(listener: TcpListener) -> Script {
    script(move |cx: &mut Context<'_, Script>| {
        loop {
            let (socket, _) = ready!(listener.accept(cx))?;
            cx.spawn_with(socket, greeter).map_err(|rejected| rejected.error).expect("there was room");
        }
    })
}

fn is_greeted(client: &StdStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let greeted = client.peek(&mut [0]).is_ok_and(|n| n == 1);
    client.set_nonblocking(false).unwrap();
    greeted
}

fn fill_free_one_and_serve_the_backlog<const HANDLERS: usize, const DESCRIPTORS: usize>() {
    let mut storage = ReactorStorage::<Script, HANDLERS, DESCRIPTORS>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let listener = bind();
    let (address, backlog) = (listener.local_addr().unwrap(), Probe::of(&listener));
    reactor.spawn_with(listener, acceptor).unwrap();
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(std_connect(address));
        run_until(&mut reactor, &mut (), |()| clients.iter().all(is_greeted));
    }
    // Full: these stay in the backlog, and nothing is accepted only to be dropped.
    for _ in 0..3 {
        clients.push(std_connect(address));
    }
    backlog.wait_readable();
    settle(&mut reactor, &mut ());
    assert!(!clients[2..].iter().any(is_greeted));
    // One at a time, each freed slot serves the next, without another connect.
    for served in 2..5 {
        drop(clients.remove(0));
        run_until(&mut reactor, &mut (), |()| is_greeted(&clients[1]));
        settle(&mut reactor, &mut ());
        assert_eq!(clients.iter().filter(|client| is_greeted(client)).count(), 2, "{served}");
    }
}

// A6: fill the table of handlers, free one; the backlog's client is served without another connect.
#[test]
fn fill_the_handlers_free_one_backlog_is_served() {
    fill_free_one_and_serve_the_backlog::<3, 8>();
}

// A6: the same with the table of descriptors.
#[test]
fn fill_the_descriptors_free_one_backlog_is_served() {
    fill_free_one_and_serve_the_backlog::<8, 3>();
}

// A6: a slot freed by a close within a handler that goes on living serves the backlog too.
#[test]
fn close_in_a_living_handler_serves_the_backlog() {
    let mut storage = ReactorStorage::<Script, 8, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (_peer, ours) = pair();
    let holder = reactor
        .spawn_with(ours, |stream| {
            script(move |cx: &mut Context<'_, Script>| {
                if cx.poll_notified().is_ready() {
                    drop(stream.close(cx)?);
                }
                Poll::Pending
            })
        })
        .unwrap();
    let listener = bind();
    let (address, backlog) = (listener.local_addr().unwrap(), Probe::of(&listener));
    reactor.spawn_with(listener, acceptor).unwrap();
    let client = std_connect(address);
    backlog.wait_readable();
    settle(&mut reactor, &mut ());
    assert!(!is_greeted(&client));
    reactor.notify(holder).unwrap();
    run_until(&mut reactor, &mut (), |()| is_greeted(&client));
}

// G17, A6: a handler that accepts one of two and yields loses nothing.
#[test]
fn accept_one_of_two_and_yield() {
    let mut storage = ReactorStorage::<Script, 4, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let listener = bind();
    let address = listener.local_addr().unwrap();
    let probe = Probe::of(&listener);
    reactor
        .spawn_with(listener, |listener| {
            script(move |cx: &mut Context<'_, Script>| {
                let (socket, _) = ready!(listener.accept(cx))?;
                cx.spawn_with(socket, greeter).map_err(|rejected| rejected.error)?;
                cx.yield_now();
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    let clients = [std_connect(address), std_connect(address)];
    probe.wait_readable();
    run_until(&mut reactor, &mut (), |()| clients.iter().all(is_greeted));
    assert_eq!(reactor.stats().parked_handlers, 0);
}

// G16: a handler that reads half of what is there and comes back by its timer, or by a notification, reads the rest, though the kernel says nothing more.
#[test]
fn read_half_and_come_back() {
    for by_timer in [true, false] {
        let mut storage = ReactorStorage::<Script, 4, 4>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let (mut peer, ours, arrived) = probed_pair();
        peer.write_all(b"abcd").unwrap();
        arrived.wait_readable();
        let log = Log::new();
        let entries = log.clone();
        let id = reactor
            .spawn_with(ours, |stream| {
                script(move |cx: &mut Context<'_, Script>| {
                    let mut half = [0; 2];
                    let n = ready!(stream.read(cx, &mut half))?;
                    entries.push(half[..n].to_vec());
                    if by_timer {
                        cx.set_timer_after(Duration::from_millis(1));
                    }
                    Poll::Pending
                })
            })
            .unwrap();
        settle(&mut reactor, &mut ());
        if !by_timer {
            assert_eq!(log.len(), 1);
            reactor.notify(id).unwrap();
        }
        run_until(&mut reactor, &mut (), |()| log.len() == 2);
        assert_eq!(log.take(), [b"ab", b"cd"]);
    }
}

// ---- What handlers do to each other in the middle of a round

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    EndSelf,
    EndNext,
    EndPrevious,
    Spawn,
    NotifySelf,
    NotifyNext,
    NotifyPrevious,
    Panic,
}

const ACTS: [Act; 8] =
    [Act::EndSelf, Act::EndNext, Act::EndPrevious, Act::Spawn, Act::NotifySelf, Act::NotifyNext, Act::NotifyPrevious, Act::Panic];

type Plan = BTreeMap<usize, Vec<Act>>;

/// What the members of a round share.
#[derive(Default)]
struct World {
    plan: Plan,
    ids: Vec<HandlerId>,
    alive: Rc<Cell<BTreeSet<usize>>>,
    pass: usize,
    round: usize,
    log: Vec<String>,
    runs: Vec<(usize, usize)>,
}

impl World {
    fn member(&mut self, name: usize) -> Member {
        let mut alive = self.alive.take();
        assert!(alive.insert(name));
        self.alive.set(alive);
        Member { name, alive: Rc::clone(&self.alive) }
    }
}

struct Member {
    name: usize,
    alive: Rc<Cell<BTreeSet<usize>>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut alive = self.alive.take();
        assert!(alive.remove(&self.name), "dropped twice");
        self.alive.set(alive);
    }
}

impl Handler for Member {
    type Shared = World;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Answer {
        let name = self.name;
        let world = cx.shared();
        world.log.push(format!("{}: {name}", world.round));
        world.runs.push((world.pass, name));
        for act in world.plan.remove(&name).unwrap_or_default() {
            let world = cx.shared();
            let (itself, next, previous) = (world.ids[name], world.ids[name + 1], world.ids[name - 1]);
            let answer = match act {
                Act::EndSelf => cx.end(itself),
                Act::EndNext => cx.end(next),
                Act::EndPrevious => cx.end(previous),
                Act::NotifySelf => cx.notify(itself),
                Act::NotifyNext => cx.notify(next),
                Act::NotifyPrevious => cx.notify(previous),
                Act::Spawn => {
                    let member = world.member(world.ids.len());
                    let spawned = cx.spawn(member);
                    match spawned {
                        Ok(id) => {
                            cx.shared().ids.push(id);
                            Ok(())
                        }
                        Err(rejected) => Err(rejected.error),
                    }
                }
                Act::Panic => planned_panic(),
            };
            let world = cx.shared();
            world.log.push(format!("{}: {name} {act:?} {answer:?}", world.round));
        }
        Poll::Pending
    }
}

/// What the reactor must do, in the simplest way that does it.
struct Model {
    plan: Plan,
    alive: Vec<bool>,
    /// By name; and who lives in each place.
    place: Vec<usize>,
    tenant: Vec<Option<usize>>,
    vacant: VecDeque<usize>,
    /// Places. Who moves into one that is still on the list of this round is run in the next, when the list has passed it.
    round: VecDeque<usize>,
    next: VecDeque<usize>,
    newcomers: BTreeSet<usize>,
    log: Vec<String>,
}

impl Model {
    fn new(plan: &Plan, members: usize, capacity: usize) -> Model {
        Model {
            plan: plan.clone(),
            alive: vec![true; members],
            place: (0..members).collect(),
            tenant: (0..capacity).map(|place| (place < members).then_some(place)).collect(),
            vacant: (members..capacity).collect(),
            round: (0..members).collect(),
            next: VecDeque::new(),
            newcomers: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    fn enqueue(&mut self, place: usize) {
        if !self.round.contains(&place) && !self.next.contains(&place) {
            self.next.push_back(place);
        }
    }

    fn notify(&mut self, name: usize) -> Result<(), Error> {
        if !self.alive[name] {
            return Err(Error::Closed);
        }
        self.enqueue(self.place[name]);
        Ok(())
    }

    fn end(&mut self, name: usize) -> Result<(), Error> {
        if !mem::take(&mut self.alive[name]) {
            return Err(Error::Closed);
        }
        let place = self.place[name];
        self.tenant[place] = None;
        self.newcomers.remove(&place);
        // A place that was used before comes before one that never was.
        let used = self.vacant.iter().position(|place| self.is_fresh(*place)).unwrap_or(self.vacant.len());
        self.vacant.insert(used, place);
        Ok(())
    }

    fn is_fresh(&self, place: usize) -> bool {
        !self.place.contains(&place)
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let Some(place) = self.vacant.pop_front() else { return Err(Error::Full) };
        let name = self.alive.len();
        self.alive.push(true);
        self.place.push(place);
        self.tenant[place] = Some(name);
        if self.round.contains(&place) {
            self.newcomers.insert(place);
        } else {
            self.enqueue(place);
        }
        Ok(())
    }

    fn run(&mut self) {
        for round in 0.. {
            if self.round.is_empty() {
                return;
            }
            while let Some(place) = self.round.pop_front() {
                let Some(name) = self.tenant[place] else { continue };
                if self.newcomers.remove(&place) {
                    self.next.push_back(place);
                    continue;
                }
                self.log.push(format!("{round}: {name}"));
                let mut ends = false;
                for act in self.plan.remove(&name).unwrap_or_default() {
                    let answer = match act {
                        Act::EndSelf => {
                            ends = true;
                            Ok(())
                        }
                        Act::EndNext => self.end(name + 1),
                        Act::EndPrevious => self.end(name - 1),
                        Act::Spawn => self.spawn(),
                        Act::NotifySelf => self.notify(name),
                        Act::NotifyNext => self.notify(name + 1),
                        Act::NotifyPrevious => self.notify(name - 1),
                        Act::Panic => {
                            ends = true;
                            break;
                        }
                    };
                    self.log.push(format!("{round}: {name} {act:?} {answer:?}"));
                }
                if ends {
                    self.end(name).unwrap();
                }
            }
            mem::swap(&mut self.round, &mut self.next);
        }
    }
}

/// Five handlers in a round, of which some do something; `CAPACITY` places. With `order` the handlers of a round must run in the model's.
fn check_round<const CAPACITY: usize>(plan: &Plan, order: bool) {
    const MEMBERS: usize = 5;
    let mut storage = ReactorStorage::<Member, CAPACITY, 0>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let mut world = World::default();
    for name in 0..MEMBERS {
        let member = world.member(name);
        world.ids.push(reactor.spawn(member).unwrap());
    }
    settle(&mut reactor, &mut world);
    world.log.clear();
    world.runs.clear();
    world.plan = plan.clone();
    world.round = 0;
    reactor.notify_all();
    for _ in 0..8 {
        world.pass += 1;
        // A panic comes out of the pass; the next one goes on with the rest of the round.
        match catch_unwind(AssertUnwindSafe(|| reactor.run_once(Timeout::Now, &mut world))) {
            Ok(answer) => {
                answer.unwrap();
                world.round += 1;
            }
            Err(panic) => assert_eq!(panic.downcast_ref(), Some(&"as planned")),
        }
    }

    let mut model = Model::new(plan, MEMBERS, CAPACITY);
    model.run();
    if !order {
        world.log.sort();
        model.log.sort();
    }
    assert_eq!(world.log, model.log, "{plan:?}");
    // Nobody runs twice in a round.
    let distinct: BTreeSet<_> = world.runs.iter().collect();
    assert_eq!(distinct.len(), world.runs.len(), "{plan:?}");
    // Who has ended is dropped, who has not is not.
    let expected: BTreeSet<usize> = (0..model.alive.len()).filter(|&name| model.alive[name]).collect();
    let alive = world.alive.take();
    assert_eq!(alive, expected, "{plan:?}");
    world.alive.set(alive);
    assert_eq!(reactor.len(), expected.len());
    // Nobody is forgotten.
    world.runs.clear();
    reactor.notify_all();
    settle(&mut reactor, &mut world);
    let ran: Vec<usize> = world.runs.iter().map(|&(_, name)| name).collect();
    assert_eq!(ran.len(), expected.len(), "{plan:?}");
    assert_eq!(BTreeSet::from_iter(ran), expected, "{plan:?}");
    // No place is lost.
    for name in 100..100 + CAPACITY - expected.len() {
        let member = world.member(name);
        reactor.spawn(member).unwrap();
    }
    let member = world.member(99);
    assert_eq!(reactor.spawn(member).unwrap_err().error, Error::Full);
}

/// All ordered pairs of acts, with room to spawn and without.
fn check_pairs(order: bool, plan: impl Fn(Act, Act) -> Vec<(usize, Vec<Act>)>) {
    for first in ACTS {
        for second in ACTS {
            let plan = Plan::from_iter(plan(first, second));
            check_round::<8>(&plan, order);
            check_round::<5>(&plan, order);
        }
    }
}

// A8: one handler does two things in the middle of a round: nobody is forgotten, nobody runs twice, nobody runs after its end.
#[test]
fn pairs_of_acts_by_one_handler() {
    check_pairs(true, |first, second| vec![(2, vec![first, second])]);
}

// A8: two neighbours do one thing each.
#[test]
fn pairs_of_acts_by_neighbours() {
    check_pairs(true, |first, second| vec![(2, vec![first]), (3, vec![second])]);
}

// A8: the same two, the later one first by name: what the second of the round does meets the first's past.
#[test]
fn pairs_of_acts_around_a_bystander() {
    check_pairs(true, |first, second| vec![(1, vec![first]), (3, vec![second])]);
}

// A8: a place that is on the list of this round or of the next changes hands: the newcomer runs in the next round, once.
#[test]
fn pairs_of_acts_before_a_spawn() {
    check_pairs(false, |first, second| vec![(2, vec![first, second, Act::Spawn]), (3, vec![Act::Spawn])]);
    check_pairs(false, |first, second| vec![(2, vec![first, second, Act::Spawn, Act::Spawn])]);
    check_pairs(false, |first, second| vec![(2, vec![first]), (3, vec![second, Act::Spawn])]);
}

// A8: a new handler does something in its first round, next to one that acts there too.
#[test]
fn pairs_of_acts_after_a_spawn() {
    check_pairs(false, |first, second| vec![(3, vec![Act::Spawn, Act::Spawn, Act::NotifySelf, first]), (1, vec![Act::NotifyNext, second])]);
}

// ---- Stale waits

// Case 41, G2, G46: a descriptor is closed and another opened in its slot, with its number, within the batch that reported both; the old edge runs nobody.
#[test]
fn close_and_reopen_within_a_batch() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (mut first_peer, first, first_arrived) = probed_pair();
    let (mut second_peer, second) = pair();
    let (mut new_peer, new, _) = probed_pair();
    let log = Log::new();
    let entries = log.clone();
    let mut second = Some(second);
    let mut new = Some(new);
    let mut streams: Vec<TcpStream> = Vec::new();
    reactor
        .spawn_with(first, |first| {
            script(move |cx: &mut Context<'_, Script>| {
                if let Some(second) = second.take() {
                    streams.push(second.open(cx)?);
                    assert!(first.read(cx, &mut [0; 8]).is_pending() && streams[0].read(cx, &mut [0; 8]).is_pending());
                    return Poll::Pending;
                }
                if let Some(new) = new.take() {
                    assert!(first.read(cx, &mut [0; 8]).is_ready());
                    let old = streams.remove(0);
                    drop(old.close(cx)?);
                    streams.push(new.open(cx)?);
                    assert_eq!(streams[0].token().index(), old.token().index());
                    assert_eq!(old.read(cx, &mut [0; 8]), Poll::Ready(Err(Error::Closed)));
                }
                let mut buf = [0; 8];
                let n = match streams[0].read(cx, &mut buf) {
                    Poll::Ready(n) => n?,
                    Poll::Pending => 99,
                };
                entries.push((n, buf[0]));
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    second_peer.write_all(b"old").unwrap();
    first_peer.write_all(b"go").unwrap();
    first_arrived.wait_readable();
    run_until(&mut reactor, &mut (), |()| log.len() > 0);
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [(99, 0)]);
    new_peer.write_all(b"n").unwrap();
    run_until(&mut reactor, &mut (), |()| log.len() > 0);
    assert_eq!(log.take(), [(1, b'n')]);
    assert_closed(&second_peer);
}

/// A handler that waits in every way there is, on its own stream; runs `on_run` each time.
fn waits_for_everything(stream: TcpStream, mut on_run: impl FnMut() + 'static) -> Script {
    let mut set = false;
    script(move |cx: &mut Context<'_, Script>| {
        on_run();
        if !mem::replace(&mut set, true) {
            let at = cx.now() + SECOND;
            stream.set_read_deadline(cx, Some(at))?;
            cx.set_timer(Some(at));
        }
        let _ = (cx.poll_wake(), cx.poll_room());
        let _ = stream.read(cx, &mut [0; 8]);
        Poll::Pending
    })
}

// A7, cases 40, 64: a handler is ended by another while it waits, its slots are taken at once by new ones; its old edge, deadline, timer, wake and room run nobody.
#[test]
fn ended_while_waiting_and_its_slots_taken_at_once() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    let runs = Log::new();
    let (mut old_peer, old) = pair();
    let entries = runs.clone();
    let victim = reactor.spawn_with(old, |stream| waits_for_everything(stream, move || entries.push("old"))).unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(runs.take(), ["old"]);
    let (mut new_peer, new) = pair();
    let mut new = Some(new);
    let entries = runs.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            let Some(new) = new.take() else { return Poll::Pending };
            cx.end(victim)?;
            let entries = entries.clone();
            let successor = cx.spawn_with(new, |stream| {
                assert_eq!(stream.token().index(), 0);
                script(move |cx: &mut Context<'_, Script>| {
                    entries.push("new");
                    stream.read(cx, &mut [0; 8]).map_ok(drop)
                })
            })?;
            assert_eq!(successor.index(), victim.index());
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(runs.take(), ["new"]);
    assert_closed(&old_peer);
    let _ = old_peer.write(b"late");
    advance(2 * SECOND);
    reactor.breaker().wake().unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(runs.take(), [] as [&str; 0]);
    assert_eq!(reactor.next_deadline(), None);
    new_peer.write_all(b"x").unwrap();
    run_until(&mut reactor, &mut (), |()| runs.len() > 0);
    assert_eq!(runs.take(), ["new"]);
}

// A7, case 39: the same when the victim's edge, deadline and timer have already put it on the ready list of this very round.
#[test]
fn ended_while_on_the_ready_list_never_runs() {
    let mut storage = ReactorStorage::<Script, 3, 3>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    let runs = Log::new();
    let (mut first_peer, first, first_arrived) = probed_pair();
    let (mut second_peer, second, second_arrived) = probed_pair();
    let ids = Rc::new(Cell::new([None; 2]));
    for (name, ours) in [first, second].into_iter().enumerate() {
        let (runs, ids) = (runs.clone(), Rc::clone(&ids));
        let shared = Rc::clone(&ids);
        let id = reactor
            .spawn_with(ours, |stream| {
                let mut set = false;
                script(move |cx: &mut Context<'_, Script>| {
                    if !mem::replace(&mut set, true) {
                        let at = cx.now() + SECOND;
                        stream.set_read_deadline(cx, Some(at))?;
                        cx.set_timer(Some(at));
                        assert!(stream.read(cx, &mut [0; 8]).is_pending());
                        return Poll::Pending;
                    }
                    runs.push(name);
                    // Whoever is first ends the other, and fills its place as soon as there is one.
                    let other: HandlerId = shared.get()[1 - name].unwrap();
                    cx.end(other).unwrap();
                    let runs = runs.clone();
                    cx.spawn(script(move |_| {
                        runs.push(7);
                        Poll::Pending
                    }))?;
                    Poll::Pending
                })
            })
            .unwrap();
        let mut both = ids.get();
        both[name] = Some(id);
        ids.set(both);
    }
    settle(&mut reactor, &mut ());
    first_peer.write_all(b"x").unwrap();
    second_peer.write_all(b"x").unwrap();
    first_arrived.wait_readable();
    second_arrived.wait_readable();
    advance(SECOND);
    settle(&mut reactor, &mut ());
    let ran = runs.take();
    assert!(matches!(ran[..], [0 | 1, 7]), "{ran:?}");
    assert_eq!((reactor.len(), reactor.descriptors()), (2, 1));
}

// A descriptor is given away while its old owner waits: the edge runs the new owner if that waits, and nobody else; if it does not, the edge is remembered for it.
#[test]
fn given_away_while_the_old_owner_waits() {
    type Member = Script<Option<Token>>;
    for new_owner_waits in [true, false] {
        let mut storage = ReactorStorage::<Member, 2, 2>::new();
        let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
        let runs = Log::new();
        let (mut peer, ours, arrived) = probed_pair();
        let entries = runs.clone();
        let mut waits = new_owner_waits;
        let taker = reactor
            .spawn(script(move |cx: &mut Context<'_, Member>| {
                let Some(token) = *cx.shared() else { return Poll::Pending };
                if mem::replace(&mut waits, true) {
                    let mut buf = [0; 8];
                    entries.push(("taker", cx.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut buf))));
                }
                Poll::Pending
            }))
            .unwrap();
        let entries = runs.clone();
        let giver = reactor
            .spawn_with(ours, |stream| {
                script(move |cx: &mut Context<'_, Member>| {
                    if cx.poll_notified().is_ready() {
                        cx.give(stream.token(), taker)?;
                        *cx.shared() = Some(stream.token());
                        cx.notify(taker)?;
                    } else {
                        let at = cx.now() + SECOND;
                        // After the gift nobody runs it; were it run, it would be told that it is no owner.
                        let _ = stream.set_read_deadline(cx, Some(at));
                        entries.push(("giver", stream.read(cx, &mut [0; 8])));
                    }
                    Poll::Pending
                })
            })
            .unwrap();
        let mut token = None;
        settle(&mut reactor, &mut token);
        assert_eq!(runs.take(), [("giver", Poll::Pending)]);
        reactor.notify(giver).unwrap();
        settle(&mut reactor, &mut token);
        assert_eq!(runs.take(), if new_owner_waits { vec![("taker", Poll::Pending)] } else { vec![] });
        peer.write_all(b"abc").unwrap();
        arrived.wait_readable();
        settle(&mut reactor, &mut token);
        if !new_owner_waits {
            assert_eq!(runs.take(), []);
            reactor.notify(taker).unwrap();
            settle(&mut reactor, &mut token);
        }
        assert_eq!(runs.take(), [("taker", Poll::Ready(Ok(3)))]);
        // The deadline went with it, and ends the wait of the new owner.
        reactor.notify(taker).unwrap();
        settle(&mut reactor, &mut token);
        assert_eq!(runs.take(), [("taker", Poll::Pending)]);
        advance(SECOND);
        settle(&mut reactor, &mut token);
        assert_eq!(runs.take(), [("taker", Poll::Ready(Err(Error::TimedOut)))]);
    }
}

// ---- Fairness

// A bridge, flooded from the left: what comes from the right gets through within one run of it, whatever the left does.
#[test]
fn flood_on_one_side_of_a_bridge() {
    if !util::is_orderly() {
        return util::skip("flood_on_one_side_of_a_bridge", "events that belong together may come apart");
    }
    const BUDGET: usize = 8;
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap().with_budget(NonZeroU8::new(BUDGET as u8).unwrap());
    let (mut left_peer, left, left_arrived) = probed_pair();
    let (mut right_peer, right, right_arrived) = probed_pair();
    let log = Log::new();
    let entries = log.clone();
    let mut right = Some(right);
    let mut opened: Option<TcpStream> = None;
    left_peer.write_all(&[b'f'; 10_000]).unwrap();
    left_arrived.wait_readable();
    reactor
        .spawn_with(left, |left| {
            script(move |cx: &mut Context<'_, Script>| {
                if let Some(right) = right.take() {
                    opened = Some(right.open(cx)?);
                }
                let right = opened.as_ref().unwrap();
                let mut byte = [0];
                // The flooded side first, each time.
                for (name, from, to) in [('f', &left, right), ('q', right, &left)] {
                    while let Poll::Ready(n) = from.read(cx, &mut byte) {
                        assert_eq!(n?, 1);
                        entries.push(name);
                        assert_eq!(to.write(cx, &byte), Poll::Ready(Ok(1)));
                    }
                }
                Poll::Pending
            })
        })
        .unwrap();
    let mut passed = 0;
    for _ in 0..20 {
        right_peer.write_all(b"q").unwrap();
        right_arrived.wait_readable();
        reactor.run_once(Timeout::Never, &mut ()).unwrap();
        let order = log.take();
        assert_eq!(order.iter().filter(|&&name| name == 'q').count(), 1, "{order:?}");
        // Half of the budget is shared by all that the handler does.
        let flood = order.len() - 1;
        assert!((BUDGET / 2..=BUDGET).contains(&flood), "{order:?}");
        passed += flood;
        let mut byte = [0];
        left_peer.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"q");
    }
    let mut through = vec![0; passed];
    right_peer.read_exact(&mut through).unwrap();
    assert!(through.iter().all(|&byte| byte == b'f'));
}

// ---- The break

// A1, G41, case 76: wakes from another thread at every moment, those between the drain and the flag among them: the last one is always heard.
#[test]
fn wake_between_drain_and_flag() {
    const ROUNDS: u64 = 100_000;
    static POSTED: AtomicU64 = AtomicU64::new(0);
    static SEEN: AtomicU64 = AtomicU64::new(0);
    static GAVE_UP: AtomicBool = AtomicBool::new(false);
    let mut storage = ReactorStorage::<Script, 1, 0>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    reactor
        .spawn(script(|cx: &mut Context<'_, Script>| {
            while cx.poll_wake().is_ready() {
                SEEN.store(POSTED.load(Ordering::Acquire), Ordering::Release);
            }
            Poll::Pending
        }))
        .unwrap();
    let breaker = reactor.breaker();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 1..=ROUNDS {
                POSTED.store(round, Ordering::Release);
                breaker.wake().unwrap();
                // Now and then wait until it was heard: a wake lost here is not covered by the next.
                let end = std::time::Instant::now() + util::PATIENCE;
                while round % 4 == 0 && SEEN.load(Ordering::Acquire) < round {
                    std::thread::yield_now();
                    if std::time::Instant::now() > end {
                        GAVE_UP.store(true, Ordering::Relaxed);
                        panic!("wake {round} was lost");
                    }
                }
            }
        });
        // The timeout of a pass runs nobody, so a lost wake stays lost. All together may take a slow machine longer than one wake may.
        while SEEN.load(Ordering::Relaxed) != ROUNDS && !GAVE_UP.load(Ordering::Relaxed) {
            reactor.run_once(Duration::from_millis(100), &mut ()).unwrap();
        }
    });
    assert_eq!(SEEN.load(Ordering::Relaxed), ROUNDS);
}

// "A wake is remembered while nobody waits for it": also when its only waiter is ended before it is told.
#[test]
fn wake_of_a_handler_that_is_ended_before_it_runs() {
    if !util::is_orderly() {
        return util::skip("wake_of_a_handler_that_is_ended_before_it_runs", "events that belong together may come apart");
    }
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let victim = reactor
        .spawn(script(|cx: &mut Context<'_, Script>| {
            assert!(cx.poll_wake().is_pending(), "it is ended before it is told");
            Poll::Pending
        }))
        .unwrap();
    let (mut peer, ours, arrived) = probed_pair();
    let make = |stream: TcpStream| {
        script(move |cx: &mut Context<'_, Script>| {
            ready!(stream.read(cx, &mut [0; 8]))?;
            // Readiness comes before wakes, so the victim is still to be run in this round.
            Poll::Ready(cx.end(victim))
        })
    };
    reactor.spawn_with(ours, make).unwrap();
    settle(&mut reactor, &mut ());
    peer.write_all(b"x").unwrap();
    arrived.wait_readable();
    reactor.breaker().wake().unwrap();
    settle(&mut reactor, &mut ());
    assert!(reactor.is_empty());
    let entries = log.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            ready!(cx.poll_wake());
            entries.push("told");
            DONE
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["told"]);
}

// ---- Deadlines

// G34, case 59: a deadline that is cleared in the pass in which it passes ends nothing: the read waits on, and the data is read.
#[test]
fn deadline_cleared_in_the_pass_in_which_it_passes() {
    for with_data in [false, true] {
        let mut storage = ReactorStorage::<Script, 1, 1>::new();
        let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
        let log = Log::new();
        let entries = log.clone();
        let (mut peer, ours, arrived) = probed_pair();
        reactor
            .spawn_with(ours, |stream| {
                let mut runs = 0;
                script(move |cx: &mut Context<'_, Script>| {
                    runs += 1;
                    match runs {
                        1 => {
                            let at = cx.now() + SECOND;
                            stream.set_read_deadline(cx, Some(at))?;
                            cx.set_timer(Some(at));
                        }
                        2 => {
                            stream.set_read_deadline(cx, None)?;
                            cx.set_timer(None);
                        }
                        _ => {}
                    }
                    let mut buf = [0; 8];
                    entries.push((cx.poll_timer().is_ready(), stream.read(cx, &mut buf)));
                    Poll::Pending
                })
            })
            .unwrap();
        settle(&mut reactor, &mut ());
        assert_eq!(log.take(), [(false, Poll::Pending)]);
        if with_data {
            peer.write_all(b"abc").unwrap();
            arrived.wait_readable();
        }
        advance(SECOND);
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        assert_eq!(log.take(), [(false, if with_data { Poll::Ready(Ok(3)) } else { Poll::Pending })]);
        if !with_data {
            advance(10 * SECOND);
            settle(&mut reactor, &mut ());
            assert_eq!(log.take(), []);
            peer.write_all(b"abc").unwrap();
            run_until(&mut reactor, &mut (), |()| log.len() > 0);
            assert_eq!(log.take(), [(false, Poll::Ready(Ok(3)))]);
        }
    }
}

// G33, case 69: a deadline that passes together with data wins, the data is kept and comes when the deadline is set anew.
#[test]
fn deadline_and_data_in_one_pass() {
    let mut storage = ReactorStorage::<Script, 1, 1>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let (mut peer, ours, arrived) = probed_pair();
    reactor
        .spawn_with(ours, |stream| {
            let mut set = false;
            script(move |cx: &mut Context<'_, Script>| {
                if !mem::replace(&mut set, true) {
                    let at = cx.now() + SECOND;
                    stream.set_read_deadline(cx, Some(at))?;
                }
                let answer = stream.read(cx, &mut [0; 8]);
                entries.push(answer);
                if answer == Poll::Ready(Err(Error::TimedOut)) {
                    stream.set_read_timeout(cx, Some(SECOND))?;
                    entries.push(stream.read(cx, &mut [0; 8]));
                }
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    peer.write_all(b"abc").unwrap();
    arrived.wait_readable();
    advance(SECOND);
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [Poll::Pending, Poll::Ready(Err(Error::TimedOut)), Poll::Ready(Ok(3))]);
}

// ---- The last descriptor

// The last descriptor is closed by somebody else while its owner waits with an endless timeout: the owner comes out of the poll, which does not block.
#[test]
fn last_descriptor_closed_while_its_owner_waits() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let (_peer, ours) = pair();
    let (reader, writer, closer) = (Waiter::new(1), Waiter::new(2), Waiter::new(3));
    let token = poller.io(reader).open(ours.into(), Interest::default()).unwrap();
    let read = |poller: &mut Poller<'_>| poller.io(reader).poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0; 8]));
    assert!(read(&mut poller).is_pending());
    poller.io(writer).clear_ready(token, Direction::Write).unwrap();
    assert!(poller.io(writer).poll_ready(token, Direction::Write).is_pending());
    drop(poller.io(closer).close(token).unwrap());
    assert!(poller.next_deadline().is_some());
    let mut run = Vec::new();
    poller.poll(Timeout::Never, |waiter| run.push(waiter)).unwrap();
    assert_eq!(run, [reader, writer]);
    assert_eq!(read(&mut poller), Poll::Ready(Err(Error::Closed)));
    // Once; and the slot is free again.
    poller.poll(Timeout::Now, |_| panic!("nobody waits")).unwrap();
    let (_peer, ours) = pair();
    poller.io(reader).open(ours.into(), Interest::default()).unwrap();
}

// The same under a reactor, where only the owner's end can do it: `run` sleeps without end, a wake lets another handler end the owner, and `run` returns.
#[test]
fn last_descriptors_owner_ended_while_run_sleeps() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (peer, ours) = pair();
    let owner =
        reactor.spawn_with(ours, |stream| script(move |cx: &mut Context<'_, Script>| stream.read(cx, &mut [0; 8]).map_ok(drop))).unwrap();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            ready!(cx.poll_wake());
            cx.end(owner)?;
            DONE
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    let breaker = reactor.breaker();
    std::thread::scope(|scope| {
        scope.spawn(move || breaker.wake().unwrap());
        reactor.run(&mut ()).unwrap();
    });
    assert_closed(&peer);
    assert_eq!(reactor.descriptors(), 0);
}

// ---- Panics

/// Runs a pass in which a handler panics.
#[track_caller]
fn run_into_a_panic<H: Handler<Shared = ()>>(reactor: &mut Reactor<'_, H>) {
    catch_unwind(AssertUnwindSafe(|| settle(reactor, &mut ()))).unwrap_err();
}

// G48, case 81: a handler that panics is dropped when the reactor is next entered, with everything it had opened, in this run or before; the others go on.
#[test]
fn handler_panic_leaves_consistent() {
    let mut storage = ReactorStorage::<Script, 3, 3>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let (first_peer, first) = pair();
    let (second_peer, second) = pair();
    let (third_peer, third) = pair();
    let guard = Guard(log.clone(), "dropped");
    let mut more = Some((second, third));
    let panicking = reactor
        .spawn_with(first, |first| {
            script(move |cx: &mut Context<'_, Script>| {
                let _ = &guard;
                if cx.poll_notified().is_pending() {
                    return first.read(cx, &mut [0; 8]).map_ok(drop);
                }
                let (second, third) = more.take().unwrap();
                let second = second.open(cx)?;
                let _third = third.open(cx)?;
                drop(second.close(cx)?);
                cx.set_timer_after(Duration::ZERO);
                cx.yield_now();
                cx.stop();
                planned_panic();
            })
        })
        .unwrap();
    let entries = log.clone();
    let bystander = reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            if cx.poll_notified().is_ready() {
                entries.push("bystander");
            }
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    reactor.notify(panicking).unwrap();
    reactor.notify(bystander).unwrap();
    run_into_a_panic(&mut reactor);
    assert_eq!(log.take(), [] as [&str; 0]);
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["dropped", "bystander"]);
    assert_eq!((reactor.len(), reactor.descriptors()), (1, 0));
    for peer in [&first_peer, &second_peer, &third_peer] {
        assert_closed(peer);
    }
    assert_eq!(reactor.notify(panicking), Err(Error::Closed));
    // Its places are free.
    for _ in 0..2 {
        let (_, ours) = pair();
        reactor.spawn_with(ours, |_| script(|_| DONE)).unwrap();
    }
    settle(&mut reactor, &mut ());
    assert_eq!(reactor.len(), 1);
}

// G48: a panic breaks a round off in the middle of what one wait has reported: each of the others is run once, and reads what is there.
#[test]
fn a_panic_loses_nobody_whom_the_same_wait_has_woken() {
    const HANDLERS: usize = 5;
    for panicking in 0..HANDLERS {
        let mut storage = ReactorStorage::<Script, HANDLERS, { 2 * HANDLERS }>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let log = Log::new();
        let mut peers = Vec::new();
        for name in 0..HANDLERS {
            let ((first_peer, first, first_arrived), (second_peer, second, second_arrived)) = (probed_pair(), probed_pair());
            peers.push((first_peer, first_arrived, second_peer, second_arrived));
            let (entries, mut second) = (log.clone(), Some(second));
            let mut opened: Option<TcpStream> = None;
            reactor
                .spawn_with(first, |first| {
                    script(move |cx: &mut Context<'_, Script>| {
                        if let Some(second) = second.take() {
                            opened = Some(second.open(cx)?);
                        }
                        let mut count = 0;
                        for stream in [&first, opened.as_ref().unwrap()] {
                            while let Poll::Ready(n) = stream.read(cx, &mut [0; 8]) {
                                count += n?;
                            }
                        }
                        if count > 0 {
                            entries.push((name, count));
                            if name == panicking {
                                planned_panic();
                            }
                        }
                        Poll::Pending
                    })
                })
                .unwrap();
        }
        settle(&mut reactor, &mut ());
        // Everybody is reported, and everybody once more.
        for (peer, arrived, ..) in &mut peers {
            peer.write_all(b"x").unwrap();
            arrived.wait_readable();
        }
        for (.., peer, arrived) in &mut peers {
            peer.write_all(b"y").unwrap();
            arrived.wait_readable();
        }
        run_into_a_panic(&mut reactor);
        let mut run = Vec::new();
        run_until(&mut reactor, &mut (), |()| {
            run.extend(log.take());
            let others = run.iter().filter(|(name, _)| *name != panicking);
            others.map(|(_, count)| count).sum::<usize>() == 2 * (HANDLERS - 1)
        });
        settle(&mut reactor, &mut ());
        assert_eq!(log.take(), []);
        if util::is_orderly() {
            run.sort_unstable();
            let once: Vec<_> = (0..HANDLERS).map(|name| (name, 2)).collect();
            assert_eq!(run, once, "{panicking} panics");
        }
    }
}

// G48, A6: a place that a panic has freed serves who waits for room.
#[test]
fn a_panic_releases_who_waits_for_room() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            ready!(cx.poll_room())?;
            entries.push("room");
            DONE
        }))
        .unwrap();
    reactor.spawn(script(|_| planned_panic())).unwrap();
    run_into_a_panic(&mut reactor);
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["room"]);
}

/// Panics when it is dropped, unless a panic is under way.
struct Bomb(Log<&'static str>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.push("bomb");
        if !std::thread::panicking() {
            planned_panic();
        }
    }
}

// G48, A6: a handler whose own drop panics when it finishes: everything of it is freed and closed, and who waits for room is run.
#[test]
fn a_panic_in_the_drop_of_a_finished_handler() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let (peer, ours) = pair();
    let entries = log.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            ready!(cx.poll_room())?;
            entries.push("room");
            DONE
        }))
        .unwrap();
    let bomb = Bomb(log.clone());
    reactor
        .spawn_with(ours, |_| {
            script(move |_| {
                let _ = &bomb;
                DONE
            })
        })
        .unwrap();
    run_into_a_panic(&mut reactor);
    assert_closed(&peer);
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["bomb", "room"]);
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
}

// G48: a handler that ends another one whose drop panics: both are gone, once each; the rest of the round runs.
#[test]
fn a_panic_in_the_drop_of_a_handler_that_another_ends() {
    let mut storage = ReactorStorage::<Script, 3, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let (peer, ours) = pair();
    let bomb = Bomb(log.clone());
    let victim = reactor
        .spawn_with(ours, |_| {
            script(move |_| {
                let _ = &bomb;
                Poll::Pending
            })
        })
        .unwrap();
    let guard = Guard(log.clone(), "ender");
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            let _ = &guard;
            cx.end(victim)?;
            unreachable!("the drop panics");
        }))
        .unwrap();
    let entries = log.clone();
    reactor
        .spawn(script(move |_| {
            entries.push("next");
            DONE
        }))
        .unwrap();
    run_into_a_panic(&mut reactor);
    assert_closed(&peer);
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["bomb", "ender", "next"]);
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
}

// G48: a panic in `make` of `spawn_with`, from outside and from a handler, leaves neither the place nor the descriptor behind.
#[test]
fn a_panic_in_make_leaves_nothing_behind() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (outside_peer, ours) = pair();
    catch_unwind(AssertUnwindSafe(|| reactor.spawn_with(ours, |_| planned_panic()).map(drop).unwrap())).unwrap_err();
    settle(&mut reactor, &mut ());
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0), "from outside");
    assert_closed(&outside_peer);

    let (inside_peer, ours) = pair();
    let mut ours = Some(ours);
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            cx.spawn_with(ours.take().unwrap(), |_| planned_panic()).map(drop).map_err(Error::from)?;
            DONE
        }))
        .unwrap();
    run_into_a_panic(&mut reactor);
    settle(&mut reactor, &mut ());
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0), "from a handler");
    assert_closed(&inside_peer);
}

struct FailsBadly;

impl Handler for FailsBadly {
    type Shared = ();
    type Error = Error;

    fn on_ready(&mut self, _: &mut Context<'_, Self>) -> Answer {
        Poll::Ready(Err(Error::NotPollable))
    }

    fn on_error(&mut self, _: Error, _: &mut Context<'_, Self>) {
        planned_panic();
    }
}

// G48: a panic in `on_error` ends its handler like one in `on_ready`.
#[test]
fn a_panic_in_on_error_leaves_consistent() {
    let mut storage = ReactorStorage::<FailsBadly, 1, 0>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    reactor.spawn(FailsBadly).unwrap();
    run_into_a_panic(&mut reactor);
    settle(&mut reactor, &mut ());
    assert_eq!(reactor.len(), 0);
    reactor.spawn(FailsBadly).unwrap();
}

// G48: a panicking drop while the reactor itself is dropped: every descriptor is closed all the same, and every handler is dropped once, at the latest with the storage.
#[test]
fn a_panic_in_a_drop_while_the_reactor_is_dropped() {
    let log = Log::new();
    let mut storage = ReactorStorage::<Script, 3, 3>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let mut peers = Vec::new();
    for name in ["first", "bomb", "last"] {
        let (peer, ours) = pair();
        peers.push(peer);
        let bomb = (name == "bomb").then(|| Bomb(log.clone()));
        let guard = (name != "bomb").then(|| Guard(log.clone(), name));
        reactor
            .spawn_with(ours, |_| {
                script(move |_| {
                    let _ = (&bomb, &guard);
                    Poll::Pending
                })
            })
            .unwrap();
    }
    settle(&mut reactor, &mut ());
    catch_unwind(AssertUnwindSafe(|| drop(reactor))).unwrap_err();
    peers.iter().for_each(assert_closed);
    // Lent again it is empty.
    let mut reactor = Reactor::new(&mut storage).unwrap();
    assert_eq!(log.take(), ["first", "bomb", "last"]);
    reactor.spawn(script(|_| DONE)).unwrap();
    reactor.run(&mut ()).unwrap();
    assert_open(&pair().0);
}
