//! The real table on a simulated kernel, and beside it what the diagram says.
//!
//! A poller hands over events, then looks at deadlines, then hands out who waited for closed descriptors. Here each of these is an event of
//! its own, in every order.

use std::collections::VecDeque;

use netpoll::table::{Gate, Step, Table, TableStorage, Turn};
use netpoll::{Direction, Error, Instant, Interest, Token, Waiter};

use super::diagram::{Becomes, Happens, Is, Taken};
use super::explore::{Reached, fold};
use super::kernel::{Amount, Far, Kernel, Says};

const PLACES: usize = 2;
const DIRECTIONS: [Direction; 3] = [Direction::Read, Direction::Write, Direction::Priority];
const WAITERS: [u32; 2] = [1, 2];

/// What can happen in one exploration: few enough things that all their states can be visited.
pub struct Scope {
    pub places: usize,
    pub interests: &'static [Interest],
    pub far: &'static [Far],
    pub amounts: &'static [Amount],
    pub waiters: u32,
    /// What deadlines are set to.
    pub deadlines: &'static [When],
    pub closes: bool,
    /// One call per run and direction.
    pub budget: bool,
    /// Nothing that is read shorter than asked for is left.
    pub is_stream: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum When {
    Never,
    Passed,
    Ahead,
    FarAhead,
}

/// Descriptors by their place in the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    Open(Interest),
    Operate {
        place: usize,
        direction: Direction,
        by: u32,
        amount: Amount,
    },
    /// A call made without the poller says `EAGAIN`.
    ClearReady {
        place: usize,
        direction: Direction,
    },
    Unwait {
        place: usize,
        direction: Direction,
    },
    SetDeadline {
        place: usize,
        direction: Direction,
        when: When,
    },
    Close {
        place: usize,
    },
    /// All that can be done with the token of the last use of this place, and an event for it.
    UseStale {
        place: usize,
    },
    FarEnd {
        place: usize,
        does: Far,
    },
    HandOver {
        place: usize,
    },
    TimePasses,
    LookAtDeadlines {
        place: usize,
    },
    HandOutClosing,
    NextRun,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Deadline {
    Never,
    Passed,
    At(u64),
}

/// What is to be expected of one descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Expected {
    token: Token,
    kernel: Kernel,
    gates: [Is; 3],
    waiters: [u32; 3],
    /// Of reading, urgently or not; of writing.
    deadlines: [Deadline; 2],
    /// When the poller is going to look at the deadlines.
    look: Option<u64>,
    only_readiness: bool,
    spent: [bool; 3],
}

impl Expected {
    fn waiter(&self, direction: Direction) -> Option<u32> {
        (self.gates[direction as usize] == Is::Waiting).then_some(self.waiters[direction as usize])
    }
}

/// Which deadline.
fn half(direction: Direction) -> usize {
    usize::from(direction == Direction::Write)
}

pub struct World<'a> {
    scope: &'a Scope,
    table: TableStorage<u32, PLACES>,
    open: [Option<Expected>; PLACES],
    /// The last use of each place.
    stale: [Option<Token>; PLACES],
    /// Places that were used before, in the order in which they are used again; how many have been used; and those that are free once
    /// their waiters have been run.
    free: VecDeque<usize>,
    used: usize,
    closing: Vec<(usize, Vec<u32>)>,
    now: u64,
    run: u16,
    taken: Taken,
}

/// Who was run, or what was answered, is not as expected.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?}; expected: {expected:?}")) }
}

/// Begins anew and lets `events` happen.
pub fn replay(scope: &Scope, events: &[Event]) -> Result<Reached<Event>, String> {
    let mut world = World::new(scope);
    for &event in events {
        world.happen(event)?;
    }
    // Every shorter sequence was replayed before this one.
    world.check()?;
    Ok(Reached { key: world.key(), next: world.next(), taken: world.taken })
}

impl World<'_> {
    fn new(scope: &Scope) -> World<'_> {
        let (open, stale, closing) = ([const { None }; PLACES], [None; PLACES], Vec::new());
        let free = VecDeque::new();
        World { scope, table: TableStorage::new(), open, stale, free, used: 0, closing, now: 1, run: 1, taken: Taken::default() }
    }

    fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// The descriptor, what is expected of it, and the arrows that were taken.
    fn at(&mut self, place: usize) -> (&mut Expected, Table<'_, u32>, &mut Taken) {
        (self.open[place].as_mut().expect("open"), self.table.lend(), &mut self.taken)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Open(interest) => self.open(interest),
            Event::Operate { place, direction, by, amount } => self.operate(place, direction, by, amount),
            Event::ClearReady { place, direction } => self.clear_ready(place, direction),
            Event::Unwait { place, direction } => self.unwait(place, direction),
            Event::SetDeadline { place, direction, when } => self.set_deadline(place, direction, when),
            Event::Close { place } => self.close(place),
            Event::UseStale { place } => self.use_stale(place),
            Event::FarEnd { place, does } => {
                self.at(place).0.kernel.happen(does);
                Ok(())
            }
            Event::HandOver { place } => self.hand_over(place),
            Event::TimePasses => {
                self.now += 1;
                Ok(())
            }
            Event::LookAtDeadlines { place } => self.look(place),
            Event::HandOutClosing => self.hand_out_closing(),
            Event::NextRun => {
                self.run += 1;
                self.open.iter_mut().flatten().for_each(|expected| expected.spent = [false; 3]);
                Ok(())
            }
        }
    }

    fn open(&mut self, interest: Interest) -> Result<(), String> {
        let opened = self.table.lend().insert(7, interest);
        let Some(place) = self.free_place() else {
            return same("opened in a full table", opened.err().map(|rejected| (rejected.value, rejected.error)), Some((7, Error::Full)));
        };
        let token = opened.map_err(|_| "there was room")?;
        let generation = self.stale[place].map_or(1, |stale| stale.generation() + 1);
        same("place and generation", (token.index() as usize, token.generation()), (place, generation))?;
        let has = |mask, gate| if interest.contains(mask) { gate } else { Is::Unopened };
        let write = if interest.contains(Interest::CONNECTING) { Is::Idle } else { Is::Ready };
        let mut gates = [Is::Unopened; 3];
        gates[Direction::Read as usize] = has(Interest::READ, Is::Ready);
        gates[Direction::Write as usize] = has(Interest::WRITE, write);
        gates[Direction::Priority as usize] = has(Interest::PRIORITY, Is::Idle);
        let (kernel, deadlines) = (Kernel::new(interest), [Deadline::Never; 2]);
        self.open[place] =
            Some(Expected { token, kernel, gates, waiters: [0; 3], deadlines, look: None, only_readiness: true, spent: [false; 3] });
        Ok(())
    }

    /// Those used before come first.
    fn free_place(&mut self) -> Option<usize> {
        let fresh = (self.used < PLACES).then_some(self.used);
        self.free.pop_front().or(fresh).inspect(|&place| self.used = self.used.max(place + 1))
    }

    fn has_room(&self) -> bool {
        !self.free.is_empty() || self.used < PLACES
    }

    /// What `Io::poll_io` does.
    fn operate(&mut self, place: usize, direction: Direction, by: u32, amount: Amount) -> Result<(), String> {
        let turn = self.scope.budget.then_some(Turn { run: self.run, budget: 1.try_into().unwrap() });
        let (budget, is_stream) = (self.scope.budget, self.scope.is_stream);
        let (expected, mut table, taken) = self.at(place);
        let at = direction as usize;
        let happens = match expected.deadlines[half(direction)] {
            Deadline::Passed => Happens::OperationTooLate,
            _ if budget && expected.spent[at] => Happens::OperationOverBudget,
            _ => Happens::Operation,
        };
        let desc = table.get_mut(expected.token).map_err(|error| error.to_string())?;
        let step = desc.prepare(direction, Waiter::new(by), turn);
        let becomes;
        (expected.gates[at], becomes) = taken.follow(expected.gates[at], happens)?;
        let answer = match becomes {
            Becomes::Call => Step::Call,
            Becomes::Wait => Step::Wait,
            Becomes::Yield => Step::Yield,
            Becomes::TimedOut => Step::Fail(Error::TimedOut),
            Becomes::NotPollable => Step::Fail(Error::NotPollable),
            other => return Err(format!("no answer to an operation: {other:?}")),
        };
        same("answer", step, answer)?;
        if step == Step::Wait {
            expected.waiters[at] = by;
        }
        if step != Step::Call {
            return Ok(());
        }
        expected.spent[at] = true;
        let says = expected.kernel.call(direction, amount);
        same("nothing but readiness was reported", desc.is_quiet(), expected.only_readiness)?;
        let happens = match says {
            Says::Again => {
                desc.wait(direction, Waiter::new(by));
                expected.waiters[at] = by;
                Happens::CallSaysAgain
            }
            Says::Short if is_stream && desc.is_quiet() => {
                desc.clear_ready(direction);
                Happens::CallEmpties
            }
            Says::Short | Says::Answer => Happens::CallAnswers,
        };
        (expected.gates[at], _) = taken.follow(expected.gates[at], happens)?;
        Ok(())
    }

    fn clear_ready(&mut self, place: usize, direction: Direction) -> Result<(), String> {
        let (expected, mut table, taken) = self.at(place);
        table.get_mut(expected.token).map_err(|error| error.to_string())?.clear_ready(direction);
        let gate = &mut expected.gates[direction as usize];
        (*gate, _) = taken.follow(*gate, Happens::ClearReady)?;
        Ok(())
    }

    fn unwait(&mut self, place: usize, direction: Direction) -> Result<(), String> {
        let (expected, mut table, taken) = self.at(place);
        table.get_mut(expected.token).map_err(|error| error.to_string())?.unwait(direction);
        let gate = &mut expected.gates[direction as usize];
        (*gate, _) = taken.follow(*gate, Happens::Unwait)?;
        Ok(())
    }

    fn set_deadline(&mut self, place: usize, direction: Direction, when: When) -> Result<(), String> {
        let now = self.now;
        let (at, deadline) = match when {
            When::Never => (None, Deadline::Never),
            When::Passed => (Some(now), Deadline::Passed),
            When::Ahead => (Some(now + 1), Deadline::At(now + 1)),
            When::FarAhead => (Some(now + 2), Deadline::At(now + 2)),
        };
        let (expected, mut table, _) = self.at(place);
        expected.deadlines[half(direction)] = deadline;
        let desc = table.get_mut(expected.token).map_err(|error| error.to_string())?;
        let look = desc.set_deadline(direction, at.map(Instant::from_nanos), Instant::from_nanos(now));
        // What the queue does: an entry only moves earlier.
        let look = look.map(Instant::as_nanos);
        expected.look = match (expected.look, look) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        Ok(())
    }

    fn look(&mut self, place: usize) -> Result<(), String> {
        let now = self.instant();
        let mut run = Vec::new();
        let next = self.table.lend().expire(place as u32, now, |waiter| run.push(waiter.get()));
        let (expected, _, taken) = self.at(place);
        let mut expected_run = Vec::new();
        for (half, directions) in [(0, &[Direction::Read, Direction::Priority][..]), (1, &[Direction::Write])] {
            if matches!(expected.deadlines[half], Deadline::At(at) if at <= now.as_nanos()) {
                expected.deadlines[half] = Deadline::Passed;
            }
            if expected.deadlines[half] == Deadline::Passed {
                for &direction in directions {
                    expected_run.extend(pass(expected, direction, Happens::DeadlinePasses, taken)?);
                }
            }
        }
        expected.look =
            expected.deadlines.iter().filter_map(|deadline| if let Deadline::At(at) = deadline { Some(*at) } else { None }).min();
        same("when to look again", next.map(Instant::as_nanos), expected.look)?;
        same("run because time passed", run, expected_run)
    }

    fn hand_over(&mut self, place: usize) -> Result<(), String> {
        let (expected, mut table, taken) = self.at(place);
        let Some(readiness) = expected.kernel.hand_over() else { return Ok(()) };
        let mut run = Vec::new();
        let found = table.edge(expected.token.to_u64(), readiness, |waiter| run.push(waiter.get()));
        same("the descriptor is there", found, true)?;
        // The table of bits in `netpoll::readiness`.
        use netpoll::readiness::Readiness as R;
        let everything = R::HUP | R::ERROR;
        let opens = [(Direction::Read, R::READ | R::READ_CLOSED), (Direction::Write, R::WRITE), (Direction::Priority, R::PRIORITY)];
        let mut expected_run = Vec::new();
        for (direction, own) in opens {
            if readiness.intersects(own | everything) {
                expected_run.extend(pass(expected, direction, Happens::Edge, taken)?);
            }
        }
        expected.only_readiness &= !readiness.intersects(everything | R::READ_CLOSED | R::PRIORITY);
        same("run by an edge", run, expected_run)
    }

    fn close(&mut self, place: usize) -> Result<(), String> {
        let (expected, mut table, taken) = self.at(place);
        same("closed", table.remove(expected.token), Ok(7))?;
        let mut waited = Vec::new();
        for direction in DIRECTIONS {
            waited.extend(pass(expected, direction, Happens::Close, taken)?);
        }
        self.stale[place] = Some(expected.token);
        self.open[place] = None;
        match waited.is_empty() {
            true => self.free.push_back(place),
            false => self.closing.push((place, waited)),
        }
        Ok(())
    }

    /// The last one closed comes first.
    fn hand_out_closing(&mut self) -> Result<(), String> {
        let mut run = Vec::new();
        self.table.lend().take_closing(|waiter| run.push(waiter.get()));
        let mut expected_run = Vec::new();
        while let Some((place, waited)) = self.closing.pop() {
            expected_run.extend(waited);
            self.free.push_back(place);
        }
        same("run because of a close", run, expected_run)
    }

    fn use_stale(&mut self, place: usize) -> Result<(), String> {
        use netpoll::readiness::Readiness as R;
        let token = self.stale[place].expect("used before");
        let mut table = self.table.lend();
        let mut run = Vec::new();
        for (happens, becomes) in
            [Happens::Operation, Happens::Edge, Happens::Close].map(|happens| (happens, self.taken.follow(Is::Closed, happens)))
        {
            let closed = becomes?.1 == Becomes::UseOfClosed;
            let really = match happens {
                Happens::Edge => {
                    table.edge(token.to_u64(), R::READ | R::WRITE | R::PRIORITY | R::HUP | R::ERROR, |waiter| run.push(waiter))
                }
                Happens::Close => table.remove(token) == Err(Error::Closed),
                _ => table.get(token).err() == Some(Error::Closed) && table.get_mut(token).err() == Some(Error::Closed),
            };
            same("a stale token is closed, and a stale event not there", really, closed)?;
        }
        same("run by a stale event", run, vec![])
    }

    /// What holds in every state.
    fn check(&mut self) -> Result<(), String> {
        let has_room = self.has_room();
        let table = self.table.lend();
        same("descriptors", table.len(), self.open.iter().flatten().count())?;
        same("room", table.has_room(), has_room)?;
        same("retired", table.retired(), 0)?;
        for expected in self.open.iter().flatten() {
            let desc = table.get(expected.token).map_err(|error| error.to_string())?;
            for direction in DIRECTIONS {
                let gate = match expected.gates[direction as usize] {
                    Is::Unopened => Gate::Unopened,
                    Is::Idle => Gate::Idle,
                    Is::Ready => Gate::Ready,
                    Is::Waiting => Gate::Waiting(Waiter::new(expected.waiters[direction as usize])),
                    Is::Closed => return Err("closed, and still there".to_owned()),
                };
                same("gate", (direction, desc.gate(direction)), (direction, gate))?;
                let remembered = matches!(gate, Gate::Ready | Gate::Unopened) || expected.kernel.on_its_way;
                if expected.kernel.has(direction) && !remembered {
                    return Err(format!("an edge is lost: {direction:?} gate {gate:?}, there is something, and no event is on its way"));
                }
            }
            let waited_for = DIRECTIONS.into_iter().any(|direction| expected.waiter(direction).is_some());
            same("is waited for", desc.is_waited_for(), waited_for)?;
        }
        self.open.iter().flatten().try_for_each(|expected| self.check_deadlines(expected))
    }

    /// Who waits under a deadline is run when it comes.
    fn check_deadlines(&self, expected: &Expected) -> Result<(), String> {
        for direction in DIRECTIONS {
            let needed = match expected.deadlines[half(direction)] {
                Deadline::At(at) => Some(at),
                Deadline::Passed if expected.waiter(direction).is_some() => Some(self.now),
                _ => None,
            };
            if needed.is_some_and(|needed| expected.look.is_none_or(|look| look > needed)) {
                return Err(format!("nobody looks at the deadline of {direction:?} at {needed:?}, but at {:?}", expected.look));
            }
        }
        Ok(())
    }

    fn key(&self) -> u64 {
        let ahead = |at: u64| at.saturating_sub(self.now);
        let open: Vec<_> = self
            .open
            .iter()
            .map(|open| {
                open.as_ref().map(|expected| {
                    let deadlines = expected.deadlines.map(|deadline| match deadline {
                        Deadline::At(at) => (2, ahead(at)),
                        Deadline::Passed => (1, 0),
                        Deadline::Never => (0, 0),
                    });
                    let waiters = DIRECTIONS.map(|direction| expected.waiter(direction));
                    (expected.kernel, expected.gates, waiters, deadlines, expected.look.map(ahead), expected.only_readiness, expected.spent)
                })
            })
            .collect();
        let stale = self.stale.map(|stale| stale.is_some());
        fold((open, stale, &self.free, self.used, &self.closing), &self.table, self.now, &["generation", "run"])
    }

    fn next(&self) -> Vec<Event> {
        let mut next = Vec::new();
        if self.open.iter().flatten().count() + self.closing.len() < self.scope.places || self.scope.closes && !self.has_room() {
            next.extend(self.scope.interests.iter().map(|&interest| Event::Open(interest)));
        }
        for (place, expected) in self.open.iter().enumerate() {
            if let Some(expected) = expected {
                self.next_of(place, expected, &mut next);
            }
            if self.stale[place].is_some() {
                next.push(Event::UseStale { place });
            }
        }
        if !self.closing.is_empty() {
            next.push(Event::HandOutClosing);
        }
        if self
            .open
            .iter()
            .flatten()
            .flat_map(|expected| expected.deadlines)
            .any(|deadline| matches!(deadline, Deadline::At(at) if at > self.now))
        {
            next.push(Event::TimePasses);
        }
        if self.open.iter().flatten().any(|expected| expected.spent != [false; 3]) && self.scope.budget {
            next.push(Event::NextRun);
        }
        next
    }

    fn next_of(&self, place: usize, expected: &Expected, next: &mut Vec<Event>) {
        for direction in DIRECTIONS {
            for &by in &WAITERS[..self.scope.waiters as usize] {
                next.extend(self.scope.amounts.iter().map(|&amount| Event::Operate { place, direction, by, amount }));
            }
            next.push(Event::Unwait { place, direction });
            if expected.gates[direction as usize] != Is::Unopened && !expected.kernel.has(direction) {
                next.push(Event::ClearReady { place, direction });
            }
            if direction != Direction::Priority {
                next.extend(self.scope.deadlines.iter().map(|&when| Event::SetDeadline { place, direction, when }));
            }
        }
        next.extend(self.scope.far.iter().filter(|&&does| expected.kernel.can(does)).map(|&does| Event::FarEnd { place, does }));
        if expected.kernel.on_its_way {
            next.push(Event::HandOver { place });
        }
        if expected.look.is_some_and(|look| look <= self.now) {
            next.push(Event::LookAtDeadlines { place });
        }
        if self.scope.closes {
            next.push(Event::Close { place });
        }
    }
}

/// Takes an arrow; says who is to be run.
fn pass(expected: &mut Expected, direction: Direction, happens: Happens, taken: &mut Taken) -> Result<Option<u32>, String> {
    let waiter = expected.waiters[direction as usize];
    let becomes;
    let gate = &mut expected.gates[direction as usize];
    (*gate, becomes) = taken.follow(*gate, happens)?;
    Ok((becomes == Becomes::Run).then_some(waiter))
}
