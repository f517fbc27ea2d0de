//! What is to be expected of a reactor: who is run, what he is answered. It knows nothing of gates: what is there, and who waits for it.

use std::collections::VecDeque;

use netpoll::{Errno, Error};

use super::script::{Bytes, Does, Event, Ran};

/// System calls for each run and direction.
pub const BUDGET: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Moment {
    Never,
    At(u64),
    Passed,
}

impl Moment {
    /// Whether it has just passed.
    fn advance(&mut self, now: u64) -> bool {
        let passes = matches!(*self, Moment::At(at) if at <= now);
        if passes {
            *self = Moment::Passed;
        }
        passes
    }

    /// Without the time itself.
    fn ahead(self, now: u64) -> Option<u64> {
        match self {
            Moment::Never => None,
            Moment::At(at) => Some(at.saturating_sub(now) + 1),
            Moment::Passed => Some(0),
        }
    }
}

/// One end of a stream, and who has it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stream {
    owner: usize,
    open: bool,
    inbox: VecDeque<u8>,
    /// How many bytes were ever written by the far end.
    sent: u8,
    room: bool,
    far_is_open: bool,
    reader_waits: bool,
    writer_waits: bool,
    deadline: Moment,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Actor {
    lives: bool,
    does: Does,
    queued: bool,
    timer: Moment,
    notified: bool,
    waits_for_wake: bool,
    has_not_seen_wake: bool,
}

#[derive(Clone, Debug)]
pub struct Play {
    pub now: u64,
    streams: [Stream; 2],
    actors: [Actor; 2],
    wake_is_pending: bool,
    /// A wake has come that nobody has asked about.
    wake_is_news: bool,
    /// Who is still to be run in this pass.
    round: [bool; 2],
    pub parked: u64,
}

/// What ends an operation.
enum Stop {
    Waits,
    Yields,
    Answers(Result<(), Error>),
}

impl Play {
    pub fn new() -> Play {
        let stream = |owner| Stream {
            owner,
            open: true,
            inbox: VecDeque::new(),
            sent: 0,
            room: true,
            far_is_open: true,
            reader_waits: false,
            writer_waits: false,
            deadline: Moment::Never,
        };
        let actor = Actor {
            lives: true,
            does: Does::Nothing,
            queued: false,
            timer: Moment::Never,
            notified: false,
            waits_for_wake: false,
            has_not_seen_wake: false,
        };
        let (streams, actors) = ([stream(0), stream(1)], [actor.clone(), actor]);
        Play { now: 1, streams, actors, wake_is_pending: false, wake_is_news: false, round: [false; 2], parked: 0 }
    }

    /// Whether it can happen, and few enough times that there are not ever more states.
    pub fn can(&self, event: Event) -> bool {
        match event {
            Event::Tell(who, does) => self.actors[who].lives && self.actors[who].does != does,
            Event::Order(who, _) => self.actors[who].lives,
            Event::FarWrites(of) => self.streams[of].open && self.streams[of].far_is_open && self.streams[of].inbox.len() < 2,
            Event::FarReads(of) => self.streams[of].open && self.streams[of].far_is_open && !self.streams[of].room,
            Event::FarCloses(of) => self.streams[of].open && self.streams[of].far_is_open,
            Event::Tick => {
                // At least one: what nobody remembers may be there all the same.
                let mut moments = self.streams.iter().map(|stream| stream.deadline).chain(self.actors.iter().map(|actor| actor.timer));
                self.now == 1 || moments.any(|moment| matches!(moment, Moment::At(at) if at > self.now))
            }
            Event::Wake => !self.wake_is_pending,
            Event::Notify(_) | Event::End(_) | Event::Turn => true,
            Event::Spawn(who) => !self.actors[who].lives,
        }
    }

    /// What tells this state from others: all but numbers that only grow.
    pub fn key(&self) -> impl std::hash::Hash + use<> {
        let streams = self.streams.each_ref().map(|stream| {
            let there = (stream.owner, stream.open, stream.inbox.len(), stream.room, stream.far_is_open);
            (there, stream.reader_waits, stream.writer_waits, stream.deadline.ahead(self.now))
        });
        let actors = self.actors.each_ref().map(|actor| {
            let waits = (actor.timer.ahead(self.now), actor.waits_for_wake, actor.has_not_seen_wake);
            (actor.lives, actor.does, actor.queued, actor.notified, waits)
        });
        (streams, actors, self.wake_is_pending, self.wake_is_news)
    }

    pub fn anybody_ready(&self) -> bool {
        self.actors.iter().any(|actor| actor.queued)
    }

    pub fn living(&self) -> usize {
        self.actors.iter().filter(|actor| actor.lives).count()
    }

    pub fn descriptors(&self) -> usize {
        self.streams.iter().filter(|stream| stream.open).count()
    }

    pub fn tell(&mut self, who: usize, does: Does) {
        self.actors[who].does = does;
    }

    /// The number of the byte that is written.
    pub fn far_writes(&mut self, of: usize) -> u8 {
        let stream = &mut self.streams[of];
        stream.sent += 1;
        stream.inbox.push_back(stream.sent);
        stream.sent
    }

    /// Whether there was something to read.
    pub fn far_reads(&mut self, of: usize) -> bool {
        !std::mem::replace(&mut self.streams[of].room, true)
    }

    pub fn far_closes(&mut self, of: usize) {
        self.streams[of].far_is_open = false;
    }

    pub fn wake(&mut self) {
        self.wake_is_pending = true;
    }

    pub fn notify(&mut self, who: usize) -> Result<(), Error> {
        let actor = &mut self.actors[who];
        if !actor.lives {
            return Err(Error::Closed);
        }
        actor.notified = true;
        // Who is still to be run in this round is not run in the next one for it.
        actor.queued |= !self.round[who];
        Ok(())
    }

    /// It is never run again, and what it had is closed.
    pub fn end(&mut self, who: usize) -> Result<(), Error> {
        if !self.actors[who].lives {
            return Err(Error::Closed);
        }
        self.actors[who] = Actor { lives: false, ..Play::new().actors[who].clone() };
        self.round[who] = false;
        for of in [0, 1] {
            if self.streams[of].open && self.streams[of].owner == who {
                self.close(of);
            }
        }
        Ok(())
    }

    pub fn spawn(&mut self, who: usize) {
        self.actors[who].lives = true;
        self.actors[who].queued = true;
        self.actors[who].has_not_seen_wake = self.wake_is_news;
    }

    fn close(&mut self, of: usize) {
        let stream = &mut self.streams[of];
        (stream.open, stream.reader_waits, stream.writer_waits, stream.deadline) = (false, false, false, Moment::Never);
    }

    /// A pass in which these were run, in this order, which says nothing of the order that there must be.
    pub fn turn(&mut self, ran: &[Ran]) -> Result<(), String> {
        self.look();
        self.round = self.actors.each_mut().map(|actor| std::mem::take(&mut actor.queued));
        for run in ran {
            if !std::mem::take(&mut self.round[run.who]) {
                return Err(format!("run without a reason: {run:?}"));
            }
            let does = self.actors[run.who].does;
            let expected = self.run(run.who);
            if *run != expected {
                return Err(format!("handler {}, which does {does:?}: {run:?}; expected: {expected:?}", run.who));
            }
        }
        match self.round.iter().position(|&still| still) {
            Some(who) => Err(format!("handler {who} is to be run, and is not: a lost wake-up; run: {ran:?}")),
            None => Ok(()),
        }
    }

    /// Whatever came since the last pass ends waits.
    fn look(&mut self) {
        for stream in self.streams.iter_mut().filter(|stream| stream.open) {
            let readable = !stream.inbox.is_empty() || !stream.far_is_open;
            let writable = stream.room || !stream.far_is_open;
            stream.deadline.advance(self.now);
            if stream.reader_waits && (readable || stream.deadline == Moment::Passed) {
                stream.reader_waits = false;
                self.actors[stream.owner].queued = true;
            }
            if stream.writer_waits && writable {
                stream.writer_waits = false;
                self.actors[stream.owner].queued = true;
            }
        }
        let woken = std::mem::take(&mut self.wake_is_pending);
        self.wake_is_news |= woken;
        for actor in self.actors.iter_mut().filter(|actor| actor.lives) {
            actor.queued |= actor.timer.advance(self.now);
            if woken {
                actor.has_not_seen_wake = true;
                actor.queued |= std::mem::take(&mut actor.waits_for_wake);
            }
        }
    }

    fn run(&mut self, who: usize) -> Ran {
        let mut bytes = Bytes::None;
        let mut answer = Some(Ok(()));
        let mut has_waited = false;
        let mut yields = false;
        match self.actors[who].does {
            Does::Nothing | Does::End => {}
            Does::ReadOnce(of) => (bytes, answer) = self.operate(who, of, 1, Play::read, &mut has_waited, &mut yields),
            Does::ReadAll(of) => (bytes, answer) = self.operate(who, of, u8::MAX, Play::read, &mut has_waited, &mut yields),
            Does::WriteAll(of) => (bytes, answer) = self.operate(who, of, u8::MAX, Play::write, &mut has_waited, &mut yields),
            Does::Close(of) => answer = Some(self.with(who, of, |play| play.close(of))),
            Does::Give(of) => answer = Some(self.give(who, of)),
            Does::Unwait(of) => answer = Some(self.with(who, of, |play| play.streams[of].reader_waits = false)),
            Does::SetDeadline(of) => answer = Some(self.with(who, of, |play| play.streams[of].deadline = Moment::At(play.now + 1))),
            Does::SetPastDeadline(of) => answer = Some(self.with(who, of, |play| play.streams[of].deadline = Moment::Passed)),
            Does::ClearDeadline(of) => answer = Some(self.with(who, of, |play| play.streams[of].deadline = Moment::Never)),
            Does::SetTimer => self.actors[who].timer = Moment::At(self.now + 1),
            Does::AskTimer if self.actors[who].timer == Moment::Passed => self.actors[who].timer = Moment::Never,
            Does::AskTimer => answer = None,
            Does::AskWake if self.actors[who].has_not_seen_wake => (self.actors[who].has_not_seen_wake, self.wake_is_news) = (false, false),
            Does::AskWake => (self.actors[who].waits_for_wake, answer) = (true, None),
            Does::AskNotified if self.actors[who].notified => self.actors[who].notified = false,
            Does::AskNotified => (has_waited, answer) = (true, None),
            Does::Yield => yields = true,
            Does::NotifyOther => answer = Some(self.notify(1 - who)),
            Does::EndOther => answer = Some(self.end(1 - who)),
        }
        self.actors[who].queued |= yields;
        if self.actors[who].does == Does::End {
            let _ = self.end(who);
        } else if !has_waited && self.nothing_runs(who) {
            self.parked += 1;
        }
        if answer.is_some() {
            self.actors[who].does = Does::Nothing;
        }
        Ran { who, bytes, answer }
    }

    /// Whether only a notification runs it.
    fn nothing_runs(&self, who: usize) -> bool {
        let actor = &self.actors[who];
        let waits = self.streams.iter().any(|stream| stream.open && stream.owner == who && (stream.reader_waits || stream.writer_waits));
        !(waits || actor.queued || actor.waits_for_wake || matches!(actor.timer, Moment::At(_)))
    }

    fn allowed(&self, who: usize, of: usize) -> Result<(), Error> {
        match &self.streams[of] {
            stream if !stream.open => Err(Error::Closed),
            stream if stream.owner != who => Err(Error::NotOwner),
            _ => Ok(()),
        }
    }

    fn with(&mut self, who: usize, of: usize, change: impl FnOnce(&mut Play)) -> Result<(), Error> {
        self.allowed(who, of).map(|()| change(self))
    }

    fn give(&mut self, who: usize, of: usize) -> Result<(), Error> {
        if !self.actors[1 - who].lives {
            return Err(Error::Closed);
        }
        self.allowed(who, of)?;
        let stream = &mut self.streams[of];
        (stream.owner, stream.reader_waits, stream.writer_waits) = (1 - who, false, false);
        Ok(())
    }

    /// So many system calls, or until one gives no more.
    fn operate(
        &mut self,
        who: usize,
        of: usize,
        times: u8,
        call: fn(&mut Play, usize, &mut Bytes) -> Result<(), Stop>,
        has_waited: &mut bool,
        yields: &mut bool,
    ) -> (Bytes, Option<Result<(), Error>>) {
        let mut bytes = Bytes::None;
        for done in 0..times {
            let stop = match self.allowed(who, of) {
                Err(error) => Err(Stop::Answers(Err(error))),
                // Two calls were made, so there may be more.
                Ok(()) if done == BUDGET => Err(Stop::Yields),
                Ok(()) => call(self, of, &mut bytes),
            };
            match stop {
                Ok(()) => {}
                Err(Stop::Answers(answer)) => return (bytes, Some(answer)),
                Err(stop) => {
                    (*has_waited, *yields) = (matches!(stop, Stop::Waits), matches!(stop, Stop::Yields));
                    return (bytes, None);
                }
            }
        }
        (bytes, Some(Ok(())))
    }

    fn read(&mut self, of: usize, bytes: &mut Bytes) -> Result<(), Stop> {
        let stream = &mut self.streams[of];
        if stream.deadline == Moment::Passed {
            return Err(Stop::Answers(Err(Error::TimedOut)));
        }
        match (stream.inbox.pop_front(), bytes) {
            (Some(byte), Bytes::Read(bytes)) => bytes.push(byte),
            (Some(byte), bytes) => *bytes = Bytes::Read(vec![byte]),
            (None, _) if !stream.far_is_open => return Err(Stop::Answers(Ok(()))),
            (None, _) => {
                stream.reader_waits = true;
                return Err(Stop::Waits);
            }
        }
        Ok(())
    }

    fn write(&mut self, of: usize, bytes: &mut Bytes) -> Result<(), Stop> {
        let stream = &mut self.streams[of];
        if !stream.far_is_open {
            return Err(Stop::Answers(Err(Errno::PIPE.into())));
        }
        if !std::mem::take(&mut stream.room) {
            stream.writer_waits = true;
            return Err(Stop::Waits);
        }
        *bytes = Bytes::Written;
        Ok(())
    }
}
