//! Taking events: the kernel's `kqueue_scan`.

use std::time::Instant;
use std::vec::Vec;

use core::mem::MaybeUninit;
use core::time::Duration;
use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::RawFd;
use rustix::io::{self, Errno};

use super::event::{Event, EventFlags};
use super::filter::{Filter, Kind, Truth};
use super::quirks::Quirks;
use super::registry::Queue;
use super::state::{Counter, Key, State, unmark};

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Until there is an event, or the time is up.
pub(super) fn wait(queue: &Queue, room: usize, timeout: Option<&Timespec>) -> io::Result<Vec<Event>> {
    let quirks = queue.locked(|state| state.quirks);
    let until = timeout.map(|timeout| until(timeout, &quirks)).transpose()?;
    let mut may_sleep = true;
    loop {
        let events = queue.locked(|state| state.take(room));
        if !events.is_empty() {
            return Ok(events);
        }
        let left = match until {
            None | Some(None) => None,
            Some(Some(until)) => Some(until.saturating_duration_since(Instant::now())),
        };
        if left == Some(Duration::ZERO) {
            return queue.locked(State::time_is_up);
        }
        if may_sleep {
            may_sleep = false;
            if let Some(outcome) = queue.locked(|state| state.disturb(timeout.is_some())) {
                return outcome;
            }
        }
        sleep(queue, left)?;
    }
}

/// `None` if it cannot be counted.
fn until(timeout: &Timespec, quirks: &Quirks) -> io::Result<Option<Instant>> {
    if timeout.tv_sec < 0
        || !(0..1_000_000_000).contains(&timeout.tv_nsec)
        || quirks.longest_wait.is_some_and(|longest| timeout.tv_sec > longest)
    {
        return Err(Errno::INVAL); // rows 66, 67
    }
    let timeout = Duration::new(timeout.tv_sec as u64, timeout.tv_nsec as u32);
    let timeout = match quirks.tick {
        Some(tick) if !timeout.is_zero() => ticks(timeout, tick).and_then(|ticks| tick.checked_mul(ticks)),
        _ => Some(timeout),
    };
    Ok(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
}

/// Rounded up, and one more, since the current one has begun: row 65.
fn ticks(timeout: Duration, tick: Duration) -> Option<u32> {
    u32::try_from(timeout.as_nanos().div_ceil(tick.as_nanos()) + 1).ok()
}

/// On what belongs to the model: closing the queue's number ends nobody's sleep (row 62).
fn sleep(queue: &Queue, left: Option<Duration>) -> io::Result<()> {
    let mut fds = queue.ears.all().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let left = left.map(|left| Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ });
    poll(&mut fds, left.as_ref()).map(drop)
}

impl State {
    fn take(&mut self, room: usize) -> Vec<Event> {
        self.harvest(Filter::Read);
        self.harvest(Filter::Write);
        self.repeat();
        let mut room = room;
        if self.quirks.shuffles && !self.queue.is_empty() {
            let by = self.counter.chance(self.queue.len());
            self.queue.rotate_left(by);
            room = room.min(1 + self.counter.chance(3));
        }
        let mut events = self.scan(room);
        if !events.is_empty() && events.len() < room && Counter::is_due(&mut self.counter.reports, self.quirks.nothings) {
            events.insert(0, Event::report(0, Filter::Read, EventFlags::empty(), 0, 0));
        }
        events
    }

    /// What epoll has heard makes knotes active.
    fn harvest(&mut self, filter: Filter) {
        let ears = self.ears.clone();
        let mut buffer = [const { MaybeUninit::uninit() }; 64];
        loop {
            let events = match epoll::wait(ears.of(filter), &mut buffer, Some(&NOW)) {
                Ok((events, _)) => events,
                Err(_) => return,
            };
            for event in events.iter() {
                let (fd, generation) = unmark(event.data);
                let known = self.knotes.get(&(fd, filter)).is_some_and(|knote| knote.generation == generation);
                if let (true, Some(truth)) = (known, self.look((fd, filter))) {
                    self.activate((fd, filter), truth);
                }
            }
            if events.len() < 64 {
                return;
            }
        }
    }

    /// Rows 7 to 12: another event where less is to be read, or more can be written, than when somebody looked last.
    fn repeat(&mut self) {
        if !self.quirks.repeats_reads && !self.quirks.repeats_writes {
            return;
        }
        let reported: Vec<Key> =
            self.knotes.iter().filter(|(_, knote)| knote.seen.is_some() && !knote.active).map(|(key, _)| *key).collect();
        for key in reported {
            let truth = self.look(key);
            let Some(knote) = self.knotes.get_mut(&key) else { continue };
            let repeats = match (truth, knote.seen, key.1) {
                (Some(truth), Some(seen), Filter::Read) => self.quirks.repeats_reads && truth.data < seen,
                (Some(truth), Some(seen), Filter::Write) => self.quirks.repeats_writes && truth.data > seen,
                _ => false,
            };
            knote.seen = truth.map(|truth| truth.data);
            if let (true, Some(truth)) = (repeats, truth) {
                self.activate(key, truth);
            }
        }
    }

    fn scan(&mut self, room: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let mut hung_up: Vec<RawFd> = Vec::new();
        for _ in 0..self.queue.len() {
            if events.len() == room {
                break;
            }
            let Some(key) = self.queue.pop_front() else { break };
            if hung_up.contains(&key.0) {
                self.queue.push_back(key);
                continue;
            }
            let Some((event, truth)) = self.report(key) else { continue };
            if truth.eof && self.quirks.splits_hangups {
                hung_up.push(key.0);
            }
            events.push(event);
        }
        events
    }

    /// Takes the knote, which is not in the queue at this moment, and puts it back if it stays there.
    fn report(&mut self, key: Key) -> Option<(Event, Truth)> {
        self.reap(key);
        let looked = self.look(key);
        let knote = self.knotes.get_mut(&key)?;
        let one_shot = knote.mode.contains(EventFlags::ONESHOT);
        let truth =
            if one_shot && !self.quirks.oneshot_rechecked { Some(looked.unwrap_or(Truth { data: 0, ..knote.truth })) } else { looked };
        let Some(truth) = truth else {
            knote.active = false; // row 5
            return None;
        };
        let flags = if truth.eof { knote.mode | EventFlags::EOF } else { knote.mode };
        let data = if self.quirks.lies_about_data { truth.data % 2 } else { truth.data };
        let event = Event::report(key.0, key.1, flags, data, knote.udata);
        let again = self.quirks.repeats_own_eof && truth.eof && (key.1, knote.kind) == (Filter::Write, Kind::Stream) && !knote.repeated_eof;
        knote.repeated_eof |= again;
        if one_shot {
            self.remove(key);
        } else if knote.mode.contains(EventFlags::CLEAR) && !again {
            knote.active = false;
            knote.seen = Some(truth.data);
        } else {
            self.queue.push_back(key); // behind those that were not looked at: row 74
        }
        Some((event, truth))
    }

    /// What now and then keeps a wait from sleeping.
    fn disturb(&mut self, ends: bool) -> Option<io::Result<Vec<Event>>> {
        let interrupted = Counter::is_due(&mut self.counter.waits, self.quirks.interrupts);
        let early = ends && Counter::is_due(&mut self.counter.naps, self.quirks.wakes_early);
        match (interrupted, early) {
            (true, _) => Some(Err(Errno::INTR)),
            (_, true) => Some(Ok(Vec::new())),
            _ => None,
        }
    }

    fn time_is_up(&mut self) -> io::Result<Vec<Event>> {
        match Counter::is_due(&mut self.counter.timeouts, self.quirks.timeouts_fail) {
            true => Err(Errno::TIMEDOUT),
            false => Ok(Vec::new()),
        }
    }
}
