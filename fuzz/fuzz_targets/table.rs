//! `netpoll::table` against a model in plain words: a list of slots, each with three gates and two deadlines, and no bit in it.
#![no_main]

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::num::NonZeroU8;
use std::rc::Rc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netpoll::readiness::Readiness;
use netpoll::table::{Gate, PollDesc, Step, Table, TableStorage, Turn};
use netpoll::{Direction, Error, Instant, Interest, Token, Waiter};

#[derive(Arbitrary, Debug)]
struct Script {
    capacity: Capacity,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Capacity {
    None,
    One,
    Two,
    Four,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Insert(Choice),
    Remove(Name),
    Edge(Name, Said),
    Wait(Name, Way, u8),
    Prepare(Name, Way, u8, Option<(u16, NonZeroU8)>),
    Unwait(Name, Way),
    ClearReady(Name, Way),
    SetDeadline(Name, Way, Option<Time>, Time),
    Expire(u8, Time),
    Hold(Name),
    TakeClosing,
    /// Lends the storage anew: it keeps what is in it.
    Lend,
    Clear,
}

/// Any set of interests.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Choice {
    read: bool,
    write: bool,
    priority: bool,
    connecting: bool,
    exclusive: bool,
}

impl Choice {
    fn interest(self) -> Interest {
        let mut interest = Interest::WAKEUP; // which opens nothing
        for (chosen, this) in [
            (self.read, Interest::READ),
            (self.write, Interest::WRITE),
            (self.priority, Interest::PRIORITY),
            (self.connecting, Interest::CONNECTING),
            (self.exclusive, Interest::EXCLUSIVE),
        ] {
            if chosen {
                interest |= this;
            }
        }
        interest
    }
}

/// A token: one that was handed out, counted from the latest; or any that can be made.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Name {
    Given(u8),
    Forged { index: u8, generation: u8 },
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, PartialEq, Debug)]
enum Way {
    Read,
    Write,
    Priority,
}

const WAYS: [Way; 3] = [Way::Read, Way::Write, Way::Priority];

impl Way {
    fn direction(self) -> Direction {
        match self {
            Way::Read => Direction::Read,
            Way::Write => Direction::Write,
            Way::Priority => Direction::Priority,
        }
    }
}

/// What the kernel says: any set of these.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Said {
    read: bool,
    write: bool,
    priority: bool,
    read_closed: bool,
    hup: bool,
    error: bool,
}

impl Said {
    fn readiness(self) -> Readiness {
        let mut readiness = Readiness::EMPTY;
        for (said, this) in [
            (self.read, Readiness::READ),
            (self.write, Readiness::WRITE),
            (self.priority, Readiness::PRIORITY),
            (self.read_closed, Readiness::READ_CLOSED),
            (self.hup, Readiness::HUP),
            (self.error, Readiness::ERROR),
        ] {
            if said {
                readiness |= this;
            }
        }
        readiness
    }

    fn opens(self, way: Way) -> bool {
        let plainly = match way {
            Way::Read => self.read || self.read_closed,
            Way::Write => self.write,
            Way::Priority => self.priority,
        };
        plainly || self.hup || self.error
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Time {
    Small(u8),
    Any(u64),
    FarFuture,
}

impl Time {
    fn instant(self) -> Instant {
        match self {
            Time::Small(nanos) => Instant::from_nanos(nanos.into()),
            Time::Any(nanos) => Instant::from_nanos(nanos),
            Time::FarFuture => Instant::FAR_FUTURE,
        }
    }
}

// ---- The model

#[derive(Clone, Copy, Default)]
struct PlainGate {
    opened: bool,
    ready: bool,
    waiter: Option<u8>,
    /// Calls made in the latest run.
    calls: u16,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum PlainDeadline {
    #[default]
    None,
    Ahead(Instant),
    Passed,
}

/// An open descriptor.
#[derive(Default)]
struct Plain {
    name: u32,
    /// In the order of `WAYS`.
    gates: [PlainGate; 3],
    /// Of reading and priority; of writing.
    deadlines: [PlainDeadline; 2],
    run: Option<u16>,
    /// Sleeps for want of room until the read deadline passes. It has no owner here who would be run.
    held: bool,
    troubled: bool,
    broken: bool,
}

impl Plain {
    fn new(name: u32, choice: Choice) -> Plain {
        let gate = |opened, ready| PlainGate { opened, ready: opened && ready, ..PlainGate::default() };
        let gates = [gate(choice.read, true), gate(choice.write, !choice.connecting), gate(choice.priority, false)];
        Plain { name, gates, ..Plain::default() }
    }

    fn deadline(&mut self, way: Way) -> &mut PlainDeadline {
        &mut self.deadlines[usize::from(way == Way::Write)]
    }

    fn gate(&self, way: Way) -> Gate {
        match self.gates[way as usize] {
            PlainGate { ready: true, .. } => Gate::Ready,
            PlainGate { waiter: Some(waiter), .. } => Gate::Waiting(Waiter::new(waiter.into())),
            PlainGate { opened: true, .. } => Gate::Idle,
            _ => Gate::Unopened,
        }
    }

    fn is_waited_for(&self) -> bool {
        self.gates.iter().any(|gate| gate.waiter.is_some())
    }

    fn wait(&mut self, way: Way, waiter: u8) {
        let gate = &mut self.gates[way as usize];
        (gate.ready, gate.waiter) = (false, Some(waiter));
    }

    fn prepare(&mut self, way: Way, waiter: u8, turn: Option<(u16, NonZeroU8)>) -> Step {
        if *self.deadline(way) == PlainDeadline::Passed {
            return Step::Fail(Error::TimedOut);
        }
        let gate = self.gates[way as usize];
        if !gate.opened {
            return Step::Fail(Error::NotPollable);
        }
        if !gate.ready {
            self.wait(way, waiter);
            return Step::Wait;
        }
        let Some((run, budget)) = turn else { return Step::Call };
        if self.run != Some(run) {
            self.run = Some(run);
            self.gates.iter_mut().for_each(|gate| gate.calls = 0);
        }
        let calls = &mut self.gates[way as usize].calls;
        if *calls >= budget.get().into() {
            return Step::Yield;
        }
        *calls += 1;
        Step::Call
    }

    /// Who is woken.
    fn edge(&mut self, said: Said) -> Vec<u8> {
        self.troubled |= said.priority || said.read_closed || said.hup || said.error;
        self.broken |= said.hup || said.error;
        let mut woken = Vec::new();
        for way in WAYS {
            let gate = &mut self.gates[way as usize];
            if gate.opened && said.opens(way) {
                gate.ready = true;
                woken.extend(gate.waiter.take());
            }
        }
        woken
    }

    /// When it has to be looked at.
    fn set_deadline(&mut self, way: Way, at: Option<Instant>, now: Instant) -> Option<Instant> {
        let (deadline, look) = match at {
            Some(at) if at <= now => (PlainDeadline::Passed, (self.is_waited_for() || self.held).then_some(now)),
            None | Some(Instant::FAR_FUTURE) => (PlainDeadline::None, None),
            Some(at) => (PlainDeadline::Ahead(at), Some(at)),
        };
        *self.deadline(way) = deadline;
        look
    }

    /// Who is woken, and when to look again.
    fn expire(&mut self, now: Instant) -> (Vec<u8>, Option<Instant>) {
        let (mut woken, mut again) = (Vec::new(), Vec::new());
        for way in WAYS {
            let deadline = self.deadline(way);
            if matches!(*deadline, PlainDeadline::Ahead(at) if at <= now) {
                *deadline = PlainDeadline::Passed;
            }
            match *deadline {
                PlainDeadline::Passed => {
                    self.held &= way == Way::Write;
                    woken.extend(self.gates[way as usize].waiter.take());
                }
                PlainDeadline::Ahead(at) => again.push(at),
                PlainDeadline::None => {}
            }
        }
        (woken, again.into_iter().min())
    }

    fn check<F>(&self, desc: &PollDesc<F>) {
        for way in WAYS {
            assert_eq!(desc.gate(way.direction()), self.gate(way), "{way:?}");
        }
        assert_eq!(desc.is_waited_for(), self.is_waited_for());
        assert_eq!((desc.is_quiet(), desc.is_broken()), (!self.troubled, self.broken));
        assert!(desc.fd().is_some());
    }
}

#[derive(Default)]
struct Model {
    capacity: usize,
    slots: Vec<Option<Plain>>,
    /// Of the latest use of each slot.
    generations: Vec<u32>,
    /// In the order in which they became free.
    free: VecDeque<usize>,
    /// Slots whose waiters have not been handed out, the latest last.
    closing: Vec<(usize, Vec<u8>)>,
    given: Vec<Token>,
    next_name: u32,
}

impl Model {
    fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.capacity
    }

    fn bits(&self, name: Name) -> u64 {
        match name {
            Name::Given(back) if !self.given.is_empty() => self.given[self.given.len() - 1 - usize::from(back) % self.given.len()].to_u64(),
            Name::Given(back) => back.into(),
            Name::Forged { index, generation } => u64::from(generation) << 32 | u64::from(index),
            Name::Any(bits) => bits,
        }
    }

    fn find(&mut self, bits: u64) -> Option<&mut Plain> {
        let index = bits as u32 as usize;
        if self.generations.get(index).copied().map(u64::from) != Some(bits >> 32) {
            return None;
        }
        self.slots[index].as_mut()
    }

    fn insert(&mut self, choice: Choice) -> (usize, u32) {
        let index = self.free.pop_front().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            self.slots.len() - 1
        });
        self.slots[index] = Some(Plain::new(self.next_name, choice));
        self.generations[index] += 1;
        (index, self.generations[index])
    }

    fn remove(&mut self, index: usize) {
        let waiters: Vec<u8> = self.slots[index].take().iter().flat_map(|desc| desc.gates).filter_map(|gate| gate.waiter).collect();
        if waiters.is_empty() {
            self.free.push_back(index);
        } else {
            self.closing.push((index, waiters));
        }
    }
}

// ---- Both

/// A descriptor: it has a number, and is missed when it is forgotten.
#[derive(Debug)]
struct Fd {
    name: u32,
    open: Rc<Cell<usize>>,
}

impl Fd {
    fn new(name: u32, open: &Rc<Cell<usize>>) -> Fd {
        open.set(open.get() + 1);
        Fd { name, open: open.clone() }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

/// Who was woken; in no order, since none is promised.
fn sorted(mut woken: Vec<u8>) -> Vec<u8> {
    woken.sort();
    woken
}

fn number(waiter: Waiter) -> u8 {
    waiter.get().try_into().expect("a waiter that nobody named")
}

/// Does the same to both and compares the answers, if there is such a descriptor; else the table says so.
fn both<R: PartialEq + Debug>(
    table: &mut Table<'_, Fd>,
    model: &mut Model,
    name: Name,
    plain: impl FnOnce(&mut Plain) -> R,
    real: impl FnOnce(&mut PollDesc<Fd>) -> R,
) {
    let bits = model.bits(name);
    match (Token::from_u64(bits), model.find(bits)) {
        (Some(token), Some(desc)) => assert_eq!(real(table.get_mut(token).unwrap()), plain(desc)),
        (Some(token), None) => assert_eq!(table.get_mut(token).err(), Some(Error::Closed)),
        (None, found) => assert!(found.is_none()),
    }
}

fn step(table: &mut Table<'_, Fd>, model: &mut Model, open: &Rc<Cell<usize>>, op: Op) {
    let mut woken = Vec::new();
    match op {
        Op::Insert(choice) => {
            let has_room = model.has_room();
            match table.insert(Fd::new(model.next_name, open), choice.interest()) {
                Ok(token) => {
                    assert!(has_room);
                    assert_eq!((token.index() as usize, token.generation()), model.insert(choice));
                    assert_eq!(Token::from_u64(token.to_u64()), Some(token));
                    model.given.push(token);
                }
                Err(rejected) => assert_eq!((has_room, rejected.value.name, rejected.error), (false, model.next_name, Error::Full)),
            }
            model.next_name += 1;
        }
        Op::Remove(name) => {
            let bits = model.bits(name);
            let expected = model.find(bits).map(|desc| desc.name).ok_or(Error::Closed);
            if let Some(token) = Token::from_u64(bits) {
                assert_eq!(table.remove(token).map(|fd| fd.name), expected);
            }
            if expected.is_ok() {
                model.remove(bits as u32 as usize);
            }
        }
        Op::Edge(name, said) => {
            let bits = model.bits(name);
            let there = table.edge(bits, said.readiness(), |waiter| woken.push(number(waiter)));
            let expected = model.find(bits).map(|desc| desc.edge(said));
            // A token that was never handed out may be that of a vacant slot's next use: then all that counts is that nobody is woken.
            if expected.is_some() || matches!(name, Name::Given(_)) {
                assert_eq!(there, expected.is_some());
            }
            assert_eq!(sorted(woken), sorted(expected.unwrap_or_default()));
        }
        Op::Wait(name, way, waiter) => {
            both(table, model, name, |plain| plain.wait(way, waiter), |real| real.wait(way.direction(), Waiter::new(waiter.into())));
        }
        Op::Prepare(name, way, waiter, turn) => {
            let real_turn = turn.map(|(run, budget)| Turn { run, budget });
            let real_waiter = Waiter::new(waiter.into());
            let real = |real: &mut PollDesc<Fd>| real.prepare(way.direction(), real_waiter, real_turn);
            both(table, model, name, |plain| plain.prepare(way, waiter, turn), real);
        }
        Op::Unwait(name, way) => {
            both(table, model, name, |plain| plain.gates[way as usize].waiter = None, |real| real.unwait(way.direction()));
        }
        Op::ClearReady(name, way) => {
            both(table, model, name, |plain| plain.gates[way as usize].ready = false, |real| real.clear_ready(way.direction()));
        }
        Op::SetDeadline(name, way, time, now) => {
            let (at, now) = (time.map(Time::instant), now.instant());
            both(table, model, name, |plain| plain.set_deadline(way, at, now), |real| real.set_deadline(way.direction(), at, now));
        }
        Op::Expire(index, now) => {
            let again = table.expire(index.into(), now.instant(), |waiter| woken.push(number(waiter)));
            let desc = model.slots.get_mut(usize::from(index)).and_then(Option::as_mut);
            let expected = desc.map(|desc| desc.expire(now.instant())).unwrap_or_default();
            assert_eq!((sorted(woken), again), (sorted(expected.0), expected.1));
        }
        Op::Hold(name) => both(table, model, name, |plain| plain.held = true, |real| real.hold()),
        Op::TakeClosing => {
            table.take_closing(|waiter| woken.push(number(waiter)));
            let mut expected = Vec::new();
            while let Some((index, waiters)) = model.closing.pop() {
                expected.extend(waiters);
                model.free.push_back(index);
            }
            assert_eq!(sorted(woken), sorted(expected));
        }
        Op::Lend => {}
        Op::Clear => {
            table.clear();
            // Of its tokens too: whoever clears a table must not use them any more.
            *model = Model { capacity: model.capacity, next_name: model.next_name, ..Model::default() };
        }
    }
}

fn check(table: &mut Table<'_, Fd>, model: &mut Model, open: &Cell<usize>) {
    assert_eq!((table.capacity(), table.len(), table.is_empty()), (model.capacity, model.len(), model.len() == 0));
    assert_eq!((table.retired(), table.has_room()), (0, model.has_room()));
    assert_eq!(open.get(), model.len());
    for at in (0..model.given.len()).rev().take(20) {
        let token = model.given[at];
        match (table.get(token), model.find(token.to_u64())) {
            (Ok(desc), Some(plain)) => {
                plain.check(desc);
                assert_eq!(desc.fd().map(|fd| fd.name), Some(plain.name));
            }
            (answer, plain) => assert!(matches!(answer, Err(Error::Closed)) && plain.is_none()),
        }
    }
}

fn run<const N: usize>(ops: &[Op]) {
    let open = Rc::new(Cell::new(0));
    let mut storage = TableStorage::<Fd, N>::new();
    let mut model = Model { capacity: N, ..Model::default() };
    let mut ops = ops.iter().copied().take(500).peekable();
    while ops.peek().is_some() {
        let mut table = storage.lend();
        for op in ops.by_ref() {
            step(&mut table, &mut model, &open, op);
            check(&mut table, &mut model, &open);
            if matches!(op, Op::Lend) {
                break;
            }
        }
    }
    drop(storage);
    assert_eq!(open.get(), 0);
}

fuzz_target!(|script: Script| {
    match script.capacity {
        Capacity::None => run::<0>(&script.ops),
        Capacity::One => run::<1>(&script.ops),
        Capacity::Two => run::<2>(&script.ops),
        Capacity::Four => run::<4>(&script.ops),
    }
});
