//! What the reactor must do, as a program can know it: who is run in which round and in which order, what each operation answers.
//!
//! Everything is looked up by searching lists; nothing is linked and nothing is reused. The one thing that is asked of the kernel is whether
//! a descriptor is ready now (poll(2)): who waits at a gate has been told `EAGAIN`, so if it is ready there has been an edge.

use std::collections::VecDeque;

use netpoll::{Direction, Error, HandlerId, Interest, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{BorrowedFd, RawFd};
use rustix::io::retry_on_intr;

/// A handler, by the order of birth; never reused.
pub type Who = usize;

/// A descriptor, by the order of opening; never reused.
pub type What = usize;

pub const DIRECTIONS: [Direction; 2] = [Direction::Read, Direction::Write];

fn index(direction: Direction) -> usize {
    usize::from(direction == Direction::Write)
}

/// A timer or deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    Off,
    At(u64),
    Passed,
}

impl Alarm {
    fn new(at: Option<u64>, now: u64) -> Alarm {
        match at {
            None | Some(u64::MAX) => Alarm::Off,
            Some(at) if at <= now => Alarm::Passed,
            Some(at) => Alarm::At(at),
        }
    }

    /// Passes if its moment has come; says whether that is just now.
    fn passes(&mut self, now: u64) -> bool {
        let passes = matches!(*self, Alarm::At(at) if at <= now);
        if passes {
            *self = Alarm::Passed;
        }
        passes
    }
}

#[derive(Debug)]
pub struct Being {
    pub id: HandlerId,
    pub alive: bool,
    pub timer: Alarm,
    notified: bool,
    wakes_seen: u32,
    waits_wake: bool,
    /// For room for a descriptor; and, if true, for a handler with it.
    waits_room: Option<bool>,
    /// What it has waited for when it was run because of that.
    wanted_room: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    Unopened,
    Idle,
    Ready,
    /// A short read may have emptied it, and it depends on what the kernel has reported before whether that is believed.
    Doubtful,
}

#[derive(Debug)]
pub struct Desc {
    pub token: Token,
    pub fd: RawFd,
    pub owner: Who,
    pub open: bool,
    pub stream: usize,
    pub gates: [Gate; 2],
    waiting: [bool; 2],
    pub deadlines: [Alarm; 2],
    /// Its owner could accept but for room.
    held: bool,
    run: u64,
    calls: [u8; 2],
}

/// What an operation at a gate has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Call,
    Wait,
    /// One of these two.
    CallOrWait,
    /// One of `Wait` and `Yield`: nothing to be asked.
    Unclear,
    Yield,
    Fail(Error),
}

/// When a place is run: in which round, and when it was put on the list, as far as that can be known.
#[derive(Clone, Copy, Debug)]
struct Turn {
    round: u64,
    from: u64,
    to: u64,
}

/// One run of a handler.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub who: Who,
    pub ended: bool,
    yielded: bool,
    waited: bool,
    room: Option<bool>,
}

#[derive(Debug)]
pub struct Model {
    pub max_handlers: usize,
    pub max_descs: usize,
    pub budget: u8,
    pub beings: Vec<Being>,
    pub descs: Vec<Desc>,
    pub run: Option<Run>,
    /// How many calls the running handler has made at the most.
    made: u32,
    pub stop: bool,
    /// The breaker was used.
    pub woken: bool,
    pub parked: u64,
    pub polls: u64,
    pub wakes: u32,
    /// The time of this pass.
    pub now: u64,
    wakes_seen: u32,
    runs: u64,
    round: u64,
    next_round: u64,
    stamp: u64,
    /// Places on the list of a round, and when they were put there, as far as that can be known; also of those who need not be run any more.
    links: Vec<Option<(u64, u64, u64)>>,
    /// Somebody is to be run because there is room.
    released: bool,
    /// By place.
    turns: Vec<Option<Turn>>,
    /// Places of those who wait for a wake or for room.
    line: VecDeque<usize>,
    freed: bool,
    /// The last place whose turn it is because something was freed.
    until: Option<usize>,
}

impl Model {
    pub fn new(max_handlers: usize, max_descs: usize, budget: u8, now: u64) -> Model {
        Model {
            max_handlers,
            max_descs,
            budget,
            beings: Vec::new(),
            descs: Vec::new(),
            run: None,
            made: 0,
            stop: false,
            woken: false,
            parked: 0,
            polls: 0,
            wakes: 0,
            now,
            wakes_seen: 0,
            runs: 0,
            round: 0,
            next_round: 1,
            stamp: 0,
            turns: vec![None; max_handlers],
            links: vec![None; max_handlers],
            released: false,
            line: VecDeque::new(),
            freed: false,
            until: None,
        }
    }

    // ---- Who and what there is

    pub fn alive(&self) -> usize {
        self.beings.iter().filter(|being| being.alive).count()
    }

    pub fn open(&self) -> usize {
        self.descs.iter().filter(|desc| desc.open).count()
    }

    pub fn handler_room(&self) -> bool {
        self.alive() < self.max_handlers
    }

    pub fn desc_room(&self) -> bool {
        self.open() < self.max_descs
    }

    /// The descriptors of a handler.
    pub fn own(&self, who: Who) -> impl Iterator<Item = What> {
        self.descs.iter().enumerate().filter(move |(_, desc)| desc.open && desc.owner == who).map(|(what, _)| what)
    }

    fn occupant(&self, place: usize) -> Option<Who> {
        self.beings.iter().rposition(|being| being.alive && being.id.index() == place)
    }

    pub fn expect_alive(&self, who: Who) -> Result<(), Error> {
        if self.beings[who].alive { Ok(()) } else { Err(Error::Closed) }
    }

    /// What `who` is answered who names this descriptor.
    pub fn expect_owner(&self, what: What, who: Who) -> Result<(), Error> {
        match &self.descs[what] {
            desc if !desc.open => Err(Error::Closed),
            desc if desc.owner != who => Err(Error::NotOwner),
            _ => Ok(()),
        }
    }

    /// A new handler in its place.
    pub fn is_born(&mut self, id: HandlerId) -> Who {
        assert!(id.index() < self.max_handlers, "{id:?} of {}", self.max_handlers);
        assert!(self.occupant(id.index()).is_none(), "{id:?} in a place that is taken");
        assert!(self.beings.iter().all(|being| being.id != id), "{id:?} again");
        self.beings.push(Being {
            id,
            alive: true,
            timer: Alarm::Off,
            notified: false,
            wakes_seen: self.wakes_seen,
            waits_wake: false,
            waits_room: None,
            wanted_room: None,
        });
        self.stamp += 1;
        let now = self.stamp;
        let turn = match self.turns[id.index()] {
            // Perhaps its predecessor's place was still on the list for that round.
            Some(turn) if turn.round == self.next_round => Turn { to: turn.to.max(now), ..turn },
            // Perhaps it is still to come up in this one, and is put on the list again then.
            Some(_) => Turn { round: self.next_round, from: now, to: u64::MAX },
            None => match self.links[id.index()] {
                Some((round, from, to)) if round == self.next_round => Turn { round, from, to: to.max(now) },
                Some(_) => Turn { round: self.next_round, from: now, to: u64::MAX },
                None => Turn { round: self.next_round, from: now, to: now },
            },
        };
        self.turns[id.index()] = Some(turn);
        self.links[id.index()] = Some((turn.round, turn.from, turn.to));
        self.beings.len() - 1
    }

    pub fn is_opened(&mut self, who: Who, token: Token, fd: RawFd, stream: usize, interest: Interest) -> What {
        assert!((token.index() as usize) < self.max_descs, "{token:?} of {}", self.max_descs);
        assert!(self.descs.iter().all(|desc| desc.token != token), "{token:?} again");
        let taken = self.descs.iter().any(|desc| desc.open && desc.token.index() == token.index());
        assert!(!taken, "{token:?} in a slot that is taken");
        let gate = |direction| if interest.contains(direction) { Gate::Ready } else { Gate::Unopened };
        self.descs.push(Desc {
            token,
            fd,
            owner: who,
            open: true,
            stream,
            gates: [gate(Interest::READ), gate(Interest::WRITE)],
            waiting: [false; 2],
            deadlines: [Alarm::Off; 2],
            held: false,
            run: 0,
            calls: [0; 2],
        });
        self.descs.len() - 1
    }

    pub fn is_closed(&mut self, what: What) {
        self.descs[what].open = false;
        self.freed = true;
    }

    /// Something was opened and closed again that never had a handler.
    pub fn something_was_freed(&mut self) {
        self.freed = true;
    }

    pub fn is_given(&mut self, what: What, to: Who) {
        let desc = &mut self.descs[what];
        if desc.owner != to {
            desc.owner = to;
            desc.waiting = [false; 2];
        }
    }

    /// A handler ends that does not run, or has run.
    pub fn ends(&mut self, who: Who) {
        self.own(who).collect::<Vec<_>>().into_iter().for_each(|what| self.is_closed(what));
        let being = &mut self.beings[who];
        (being.alive, being.timer, being.waits_wake, being.waits_room) = (false, Alarm::Off, false, None);
        self.freed = true;
    }

    // ---- Who is to be run

    fn enqueue_at(&mut self, who: Who, stamp: u64) {
        if !self.beings[who].alive {
            return;
        }
        let place = self.beings[who].id.index();
        let (from, to) = match self.links[place] {
            // It was on the list of that round. If it has been run meanwhile, because of the kernel, it is perhaps there still.
            Some((round, from, to)) if round == self.next_round => (from, to.max(stamp)),
            // Perhaps it is still to come up in this one, and is put on the list again then.
            Some(_) => (stamp, u64::MAX),
            None => (stamp, stamp),
        };
        self.links[place] = Some((self.next_round, from, to));
        self.turns[place].get_or_insert(Turn { round: self.next_round, from, to });
    }

    /// The kernel ends a wait: runs the owner before those who are on the list, but where room has come for one of these.
    fn wake_up(&mut self, who: Who, behind: bool) {
        if behind {
            self.enqueue_at(who, self.stamp);
        } else {
            self.turns[self.beings[who].id.index()] = Some(Turn { round: self.next_round, from: 0, to: 0 });
        }
    }

    fn enqueue(&mut self, who: Who) {
        self.stamp += 1;
        self.enqueue_at(who, self.stamp);
    }

    fn is_queued(&self, who: Who) -> bool {
        self.turns[self.beings[who].id.index()].is_some()
    }

    /// Whether a living handler is to be run in the next round.
    pub fn anybody_ready(&self) -> bool {
        (0..self.turns.len()).any(|place| self.turns[place].is_some() && self.occupant(place).is_some())
    }

    pub fn notify(&mut self, who: Who) {
        self.beings[who].notified = true;
        self.enqueue(who);
    }

    pub fn notify_all(&mut self) {
        for place in 0..self.max_handlers {
            if let Some(who) = self.occupant(place) {
                self.notify(who);
            }
        }
    }

    fn stand_in_line(&mut self, who: Who) {
        let place = self.beings[who].id.index();
        if !self.line.contains(&place) {
            self.line.push_back(place);
        }
    }

    fn waits_in(&mut self, place: usize) -> Option<&mut Being> {
        self.occupant(place).map(|who| &mut self.beings[who])
    }

    /// Slots were freed: one of those who wait for room is run, the longest waiting first, as long as there is some, and unless one is
    /// queued already.
    pub fn release(&mut self) {
        if std::mem::take(&mut self.freed) {
            self.until = self.line.back().copied();
        }
        if self.released && self.anybody_ready() {
            return;
        }
        if !self.handler_room() && !self.desc_room() {
            self.until = None;
        }
        while let Some(until) = self.until {
            let Some(place) = self.line.pop_front() else { break };
            if place == until {
                self.until = None;
            }
            let (waited, stays) = self.waits_in(place).map_or((false, false), |being| {
                being.wanted_room = being.waits_room;
                (being.waits_room.take().is_some(), being.waits_wake)
            });
            if stays {
                self.line.push_back(place);
            }
            if waited {
                self.released = true;
                return self.enqueue(self.occupant(place).unwrap());
            }
        }
        self.until = None;
    }

    fn wake(&mut self) {
        self.wakes += 1;
        for place in std::mem::take(&mut self.line) {
            let Some(being) = self.waits_in(place) else { continue };
            let (waited, stays) = (std::mem::take(&mut being.waits_wake), being.waits_room.is_some());
            if stays {
                self.line.push_back(place);
            }
            if waited {
                self.enqueue(self.occupant(place).unwrap());
            }
        }
        if self.until.is_some() {
            self.until = self.line.back().copied();
        }
    }

    /// Lets the kernel's readiness of now open the gates.
    fn edges(&mut self) {
        let open: Vec<What> = (0..self.descs.len()).filter(|&what| self.descs[what].open).collect();
        let levels = levels(&self.descs, &open);
        self.stamp += 1;
        let behind = std::mem::take(&mut self.released);
        for (&what, level) in open.iter().zip(levels) {
            for direction in DIRECTIONS {
                let desc = &mut self.descs[what];
                let gate = index(direction);
                if desc.gates[gate] == Gate::Unopened || !opens(level, direction) {
                    continue;
                }
                desc.gates[gate] = Gate::Ready;
                if std::mem::take(&mut desc.waiting[gate]) {
                    self.wake_up(self.descs[what].owner, behind);
                }
            }
        }
    }

    fn deadlines(&mut self) {
        self.stamp += 1;
        for what in 0..self.descs.len() {
            let desc = &mut self.descs[what];
            if !desc.open {
                continue;
            }
            let mut runs = false;
            for direction in DIRECTIONS {
                let gate = index(direction);
                desc.deadlines[gate].passes(self.now);
                if desc.deadlines[gate] == Alarm::Passed {
                    runs |= std::mem::take(&mut desc.waiting[gate]);
                    runs |= direction == Direction::Read && std::mem::take(&mut desc.held);
                }
            }
            if runs {
                self.enqueue_at(self.descs[what].owner, self.stamp);
            }
        }
    }

    fn timers(&mut self) {
        self.stamp += 1;
        for who in 0..self.beings.len() {
            if self.beings[who].alive && self.beings[who].timer.passes(self.now) {
                self.enqueue_at(who, self.stamp);
            }
        }
    }

    /// A pass begins; says whether somebody is to be run before the kernel is asked, if that is clear, and whether anybody is at all.
    pub fn begin_pass(&mut self, now: u64) -> (Option<bool>, bool) {
        self.release();
        // The place of somebody who has ended may still be on the list: then the reactor does not wait, but runs nobody.
        let is_clear = self.anybody_ready() || self.turns.iter().all(Option::is_none);
        let before = is_clear.then(|| self.anybody_ready());
        self.now = now;
        self.edges();
        self.deadlines();
        self.timers();
        if std::mem::take(&mut self.woken) {
            self.wake();
        }
        let anybody = self.anybody_ready();
        self.polls += 1;
        self.round = self.next_round;
        self.next_round += 1;
        (before, anybody)
    }

    pub fn end_pass(&mut self) {
        for place in 0..self.turns.len() {
            match &mut self.turns[place] {
                Some(turn) if turn.round == self.round => {
                    self.turns[place] = None;
                    let forgotten = self.occupant(place).map(|who| (who, &self.beings[who]));
                    assert!(forgotten.is_none(), "was not run: {forgotten:?}");
                }
                Some(turn) => turn.to = turn.to.min(self.stamp),
                None => {}
            }
            let (round, stamp) = (self.round, self.stamp);
            let link = self.links[place].filter(|link| link.0 > round);
            self.links[place] = link.map(|(round, from, to)| (round, from, to.min(stamp)));
        }
    }

    /// Whether no handler waits for what is there.
    pub fn expect_nobody_forgotten(&self) {
        let (handler_room, desc_room) = (self.handler_room(), self.desc_room());
        for being in self.beings.iter().filter(|being| being.alive) {
            let wants = being.waits_room;
            let has = wants.is_some_and(|with_handler| desc_room && (handler_room || !with_handler));
            assert!(!has, "waits for room, and there is some: {being:?}");
        }
    }

    /// The earliest moment at which somebody is to be run because of the time.
    pub fn next_alarm(&self) -> Option<u64> {
        let timers = self.beings.iter().filter(|being| being.alive).map(|being| being.timer);
        let deadlines = self.descs.iter().filter(|desc| desc.open).flat_map(|desc| desc.deadlines);
        timers.chain(deadlines).filter_map(|alarm| if let Alarm::At(at) = alarm { Some(at) } else { None }).min()
    }

    // ---- One run

    /// A handler is run. Says for what room it has waited.
    pub fn enters(&mut self, who: Who) -> Option<bool> {
        let being = &mut self.beings[who];
        assert!(being.alive, "run after its end: {being:?}");
        let wanted_room = being.waits_room.take().or(being.wanted_room.take());
        let place = being.id.index();
        let turn = self.turns[place].filter(|turn| turn.round == self.round);
        let turn = turn.unwrap_or_else(|| panic!("run for nothing: {:?}", self.beings[who]));
        for (other, before) in self.turns.iter().enumerate() {
            let before = before.filter(|before| before.round == self.round && before.to < turn.from);
            assert!(before.is_none() || self.occupant(other).is_none(), "{who} was run before {:?}", self.occupant(other));
        }
        self.turns[place] = None;
        self.runs += 1;
        self.made = 0;
        assert!(self.run.is_none());
        self.run = Some(Run { who, ended: false, yielded: false, waited: false, room: None });
        wanted_room
    }

    pub fn running(&mut self) -> &mut Run {
        self.run.as_mut().unwrap()
    }

    /// The run is over; `finished` if the handler says so.
    pub fn leaves(&mut self, finished: bool) {
        let run = self.run.take().unwrap();
        if finished || run.ended {
            return self.ends(run.who);
        }
        if run.yielded {
            return self.enqueue(run.who);
        }
        if run.room.is_some() {
            self.beings[run.who].waits_room = run.room;
            self.stand_in_line(run.who);
        }
        if !run.waited && run.room.is_none() {
            let being = &self.beings[run.who];
            let will_run = self.is_queued(run.who) || being.waits_wake || matches!(being.timer, Alarm::At(_));
            let waits = self.own(run.who).any(|what| self.descs[what].waiting != [false; 2]);
            self.parked += u64::from(!will_run && !waits);
        }
    }

    pub fn yields(&mut self) {
        self.running().yielded = true;
    }

    /// What `poll_notified` answers.
    pub fn take_notified(&mut self) -> bool {
        let who = self.running().who;
        let notified = std::mem::take(&mut self.beings[who].notified);
        self.running().waited |= !notified;
        notified
    }

    /// What `poll_wake` answers.
    pub fn take_wake(&mut self) -> bool {
        let who = self.running().who;
        let seen = std::mem::replace(&mut self.beings[who].wakes_seen, self.wakes);
        if seen != self.wakes {
            self.wakes_seen = self.wakes;
            return true;
        }
        self.beings[who].waits_wake = true;
        self.stand_in_line(who);
        false
    }

    /// What `poll_timer` answers.
    pub fn take_timer(&mut self) -> bool {
        let who = self.running().who;
        let passed = self.beings[who].timer == Alarm::Passed;
        if passed {
            self.beings[who].timer = Alarm::Off;
        }
        passed
    }

    pub fn set_timer(&mut self, at: Option<u64>) {
        let who = self.running().who;
        self.beings[who].timer = Alarm::new(at, self.now);
        if self.beings[who].timer == Alarm::Passed {
            self.enqueue(who);
        }
    }

    /// What `poll_room` answers, or `poll_descriptor_room`.
    pub fn take_room(&mut self, with_handler: bool) -> bool {
        let has = self.desc_room() && (self.handler_room() || !with_handler);
        if !has {
            let room = &mut self.running().room;
            // If it waits for both, it could do something when there is room for a descriptor.
            *room = Some(with_handler && room.unwrap_or(true));
        }
        has
    }

    // ---- Gates

    pub fn set_deadline(&mut self, what: What, direction: Direction, at: Option<u64>, now: u64) {
        self.descs[what].deadlines[index(direction)] = Alarm::new(at, now);
    }

    fn calls(&mut self, what: What) -> &mut [u8; 2] {
        let desc = &mut self.descs[what];
        if desc.run != self.runs {
            (desc.run, desc.calls) = (self.runs, [0; 2]);
        }
        &mut desc.calls
    }

    /// Whether the budget allows one call more, as far as that can be known: half of it is the run's, the other half each direction's.
    fn may_call(&mut self, what: What, direction: Direction) -> Option<bool> {
        let (budget, made) = (u32::from(self.budget), self.made);
        let calls = u32::from(self.calls(what)[index(direction)]);
        let shared = budget / 2;
        // What others have made of the shared half, this direction has had to pay for.
        let own = calls.saturating_sub(shared.saturating_sub(made - calls));
        if calls >= budget {
            Some(false)
        } else if made < shared || own < budget - shared {
            Some(true)
        } else {
            None
        }
    }

    /// What an operation of the running owner has to do.
    pub fn expect_step(&mut self, what: What, direction: Direction) -> Step {
        let may_call = self.may_call(what, direction);
        let desc = &self.descs[what];
        if desc.deadlines[index(direction)] == Alarm::Passed {
            return Step::Fail(Error::TimedOut);
        }
        match desc.gates[index(direction)] {
            Gate::Unopened => Step::Fail(Error::NotPollable),
            Gate::Idle => Step::Wait,
            Gate::Ready if may_call == Some(true) => Step::Call,
            Gate::Ready if may_call == Some(false) => Step::Yield,
            Gate::Doubtful if may_call == Some(true) => Step::CallOrWait,
            Gate::Ready | Gate::Doubtful => Step::Unclear,
        }
    }

    /// A call was made, and the gate is now so.
    pub fn called(&mut self, what: What, direction: Direction, gate: Gate) {
        self.made += 1;
        self.calls(what)[index(direction)] += 1;
        self.descs[what].gates[index(direction)] = gate;
    }

    /// The running handler waits at this gate.
    pub fn waits(&mut self, what: What, direction: Direction) {
        // Perhaps the call said `EAGAIN`.
        self.made += 1;
        let desc = &mut self.descs[what];
        desc.gates[index(direction)] = Gate::Idle;
        desc.waiting[index(direction)] = true;
        self.running().waited = true;
    }

    pub fn unwaits(&mut self, what: What, direction: Direction) {
        self.descs[what].waiting[index(direction)] = false;
    }

    pub fn clears(&mut self, what: What, direction: Direction) {
        let gate = &mut self.descs[what].gates[index(direction)];
        if *gate != Gate::Unopened {
            *gate = Gate::Idle;
        }
    }

    pub fn holds(&mut self, what: What) {
        self.descs[what].held = true;
    }

    /// Whether the kernel says that this direction is ready.
    pub fn is_level(&self, what: What, direction: Direction) -> bool {
        opens(levels(&self.descs, &[what])[0], direction)
    }
}

fn opens(level: PollFlags, direction: Direction) -> bool {
    let own = if direction == Direction::Write { PollFlags::OUT } else { PollFlags::IN | PollFlags::RDHUP };
    level.intersects(own | PollFlags::ERR | PollFlags::HUP)
}

/// What poll(2) says of these.
fn levels(descs: &[Desc], which: &[What]) -> Vec<PollFlags> {
    let flags = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
    // SAFETY: the reactor has these open. If it has not, which is a defect of its, poll(2) says so.
    let fds = which.iter().map(|&what| unsafe { BorrowedFd::borrow_raw(descs[what].fd) });
    let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, flags)).collect();
    // libFuzzer has an alarm.
    retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))).unwrap();
    let levels: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
    assert!(levels.iter().all(|level| !level.contains(PollFlags::NVAL)), "closed, but for its owner");
    levels
}
