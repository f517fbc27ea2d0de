//! [`PollDesc`]: what the poller knows of one descriptor; pure.

use core::num::NonZeroU8;

use crate::error::Error;
use crate::gates::{Gate, Gates, Waiter};
use crate::interest::{Direction, Directions, Interest};
use crate::readiness::Readiness;
use crate::time::{Deadline, Instant};

/// No slot.
pub(crate) const NIL: u32 = u32::MAX;

/// One run of one handler, for which each direction of each of its descriptors has a budget of system calls. A reactor, which runs each
/// handler once in a pass, counts passes instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Tells this run from others; may wrap.
    pub run: u16,
    /// How many calls each direction gets.
    pub budget: NonZeroU8,
}

/// What an operation has to do: the answer of [`PollDesc::prepare`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Make the system call, then [wait](PollDesc::wait) if it said `EAGAIN`.
    Call,
    /// Nothing is ready: the waiter is noted.
    Wait,
    /// This direction's budget is spent: come back in the next round, readiness is kept.
    Yield,
    /// Answer this error.
    Fail(Error),
}

/// Whom a descriptor belongs to.
pub(crate) type Owner = u32;

/// The owner of descriptors that are opened on a bare poller: any waiter may use them.
pub(crate) const NOBODY: Owner = u32::MAX;

/// The owner of a vacant slot.
pub(crate) const VACANT: Owner = u32::MAX - 1;

/// What the poller knows of one descriptor; owns it. One cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct PollDesc<F> {
    pub(crate) deadlines: [Deadline; 2],
    pub(crate) fd: Option<F>,
    /// Of this use; a vacant slot has that of its next use.
    pub(crate) generation: u32,
    pub(crate) owner: Owner,
    /// Links of the list of its owner's descriptors; a vacant slot's `next` is the free list's, a closing one's the closing list's.
    pub(crate) next: u32,
    pub(crate) previous: u32,
    pub(crate) gates: Gates,
    /// Everything but plain readiness that the kernel ever reported.
    trouble: Readiness,
    run: u16,
    spent: [u8; 3],
    /// Its owner has something to take but no room for it, and sleeps although the gate is ready.
    held: bool,
}

static_assertions::const_assert!(core::mem::size_of::<PollDesc<rustix::fd::OwnedFd>>() <= 64);

impl<F> PollDesc<F> {
    pub(crate) const VACANT: PollDesc<F> = PollDesc {
        deadlines: [Deadline::NONE; 2],
        fd: None,
        generation: 1,
        owner: VACANT,
        next: NIL,
        previous: NIL,
        gates: Gates::UNOPENED,
        trouble: Readiness::EMPTY,
        run: 0,
        spent: [0; 3],
        held: false,
    };

    /// Begins a use of a vacant slot, in which there are no deadlines, and nobody waits. It is in nobody's list yet.
    #[inline]
    pub(crate) fn begin(&mut self, fd: F, interest: Interest, armed: Directions) {
        // There is nothing to drop.
        core::mem::forget(self.fd.replace(fd));
        self.gates.begin(interest, armed);
        self.trouble = Readiness::EMPTY;
        self.run = 0;
        self.spent = [0; 3];
        self.held = false;
    }

    /// Becomes the first in the list of `owner`, which begins at `owned`; in none where nobody owns it. Says which was the first.
    #[inline]
    pub(crate) fn link(&mut self, index: u32, owner: Owner, owned: &mut u32) -> u32 {
        self.owner = owner;
        self.previous = NIL;
        self.next = if owner == NOBODY { NIL } else { core::mem::replace(owned, index) };
        self.next
    }

    /// Ends a use of the slot, whose descriptor was taken out. Waits of `by` itself are withdrawn, the others are still to be handed out.
    #[inline]
    pub(crate) fn end(&mut self, by: Option<Waiter>) {
        self.deadlines = [Deadline::NONE; 2];
        self.owner = VACANT;
        // From now on a token of this use is stale, and an edge finds no such generation.
        self.generation = self.generation.wrapping_add(1);
        self.gates.shut(by);
    }

    /// The descriptor.
    #[inline]
    pub fn fd(&self) -> Option<&F> {
        self.fd.as_ref()
    }

    /// The gate of `direction`.
    pub fn gate(&self, direction: Direction) -> Gate {
        self.gates.get(direction)
    }

    /// Whether nothing but plain readiness was ever reported: then a short read of a TCP stream has emptied it.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.trouble.is_empty()
    }

    /// Whether a hang-up or an error was ever reported.
    pub fn is_broken(&self) -> bool {
        self.trouble.intersects(Readiness::HUP | Readiness::ERROR)
    }

    #[inline]
    fn deadline(&self, direction: Direction) -> Deadline {
        let [read, write] = self.deadlines;
        if matches!(direction, Direction::Write) { write } else { read }
    }

    /// What stands before a system call: Go's `pollReset` and the first half of `pollWait`. The order is Go's: a passed deadline wins over
    /// data.
    #[inline]
    pub fn prepare(&mut self, direction: Direction, waiter: Waiter, turn: Option<Turn>) -> Step {
        match self.prepare_freely(direction, waiter) {
            Step::Call if turn.is_some_and(|turn| !self.spend(direction, turn)) => Step::Yield,
            step => step,
        }
    }

    /// As [`prepare`](PollDesc::prepare), whatever the budget.
    #[inline]
    pub(crate) fn prepare_freely(&mut self, direction: Direction, waiter: Waiter) -> Step {
        if self.deadline(direction).is_passed() {
            return Step::Fail(Error::TimedOut);
        }
        if !self.gates.is_ready(direction) {
            if !self.gates.is_opened(direction) {
                return Step::Fail(Error::NotPollable);
            }
            self.gates.wait(direction, waiter);
            return Step::Wait;
        }
        Step::Call
    }

    /// Takes one call off the direction's budget, if there is something left of it.
    pub(crate) fn spend(&mut self, direction: Direction, turn: Turn) -> bool {
        if self.run != turn.run {
            self.run = turn.run;
            self.spent = [0; 3];
        }
        let spent = direction.of(&mut self.spent);
        let is_left = *spent < turn.budget.get();
        *spent += u8::from(is_left);
        is_left
    }

    /// The call said `EAGAIN`: `waiter` waits for the next edge.
    #[inline]
    pub fn wait(&mut self, direction: Direction, waiter: Waiter) {
        self.gates.wait(direction, waiter);
    }

    /// The next call would say `EAGAIN`: forgets the readiness, nobody waits.
    #[inline]
    pub fn clear_ready(&mut self, direction: Direction) {
        self.gates.clear(direction);
    }

    /// Withdraws a wait; readiness is not touched.
    pub fn unwait(&mut self, direction: Direction) {
        self.gates.interrupt(Directions::of(direction));
    }

    /// The owner does not go on although it could, for want of room: it is run when the deadline passes.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Another owner comes: waits end, and the budget is whole again.
    pub(crate) fn pass_on(&mut self) {
        self.gates.interrupt(Directions::ALL);
        self.spent = [0; 3];
    }

    /// Whether any direction has a waiter.
    #[inline]
    pub fn is_waited_for(&self) -> bool {
        self.gates.is_waited_for()
    }

    /// Sets a later deadline than the one that is ahead, if that is what is asked for: the slot is looked at early enough already.
    #[inline]
    pub(crate) fn push_out(&mut self, direction: Direction, at: Instant, now: Instant) -> bool {
        self.deadline_mut(direction).push_out(at, now)
    }

    /// As [`push_out`](PollDesc::push_out), both directions; if it is not what is asked for, one of them may have been pushed out.
    #[inline]
    pub(crate) fn push_out_both(&mut self, at: Instant, now: Instant) -> bool {
        let [read, write] = &mut self.deadlines;
        read.push_out(at, now) && write.push_out(at, now)
    }

    #[inline]
    fn deadline_mut(&mut self, direction: Direction) -> &mut Deadline {
        let [read, write] = &mut self.deadlines;
        if matches!(direction, Direction::Write) { write } else { read }
    }

    /// Sets the deadline of reading (with priority) or writing. Says when the slot has to be looked at, if it has to be.
    pub fn set_deadline(&mut self, direction: Direction, at: Option<Instant>, now: Instant) -> Option<Instant> {
        let deadline = at.map_or(Deadline::NONE, |at| Deadline::at(at, now));
        *self.deadline_mut(direction) = deadline;
        // Who waits already, or sleeps for want of room, is run at the next look, also for a deadline that has passed.
        if deadline.is_passed() && (self.is_waited_for() || self.held) { Some(now) } else { deadline.ahead() }
    }

    /// The kernel's edge: says which waits it ends.
    #[inline]
    pub(crate) fn edge(&mut self, readiness: Readiness) -> Directions {
        if readiness.intersects(Readiness::TROUBLE) {
            self.trouble |= readiness & Readiness::TROUBLE;
        }
        self.gates.open(readiness.opens())
    }

    /// Lets deadlines pass and ends the waits under them. Says when to look again.
    pub(crate) fn expire(&mut self, now: Instant, mut each: impl FnMut(Waiter)) -> Option<Instant> {
        let [read, write] = &mut self.deadlines;
        read.advance(now);
        write.advance(now);
        if read.is_passed() && core::mem::take(&mut self.held) && self.owner != NOBODY {
            each(Waiter::new(self.owner));
        }
        for (deadline, directions) in [(&mut *read, Directions::READING), (&mut *write, Directions::WRITING)] {
            if deadline.is_passed() {
                let ended = self.gates.interrupt(directions);
                self.gates.waiters(ended, &mut each);
            }
        }
        match (read.ahead(), write.ahead()) {
            (Some(read), Some(write)) => Some(read.min(write)),
            (read, write) => read.or(write),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn desc(owner: Owner) -> PollDesc<()> {
        let mut desc = PollDesc::VACANT;
        desc.begin((), Interest::default(), Directions::NONE);
        desc.owner = owner;
        desc
    }

    fn expire(desc: &mut PollDesc<()>, now: u64) -> (Vec<u32>, Option<Instant>) {
        let mut run = Vec::new();
        let again = desc.expire(at(now), |waiter| run.push(waiter.get()));
        (run, again)
    }

    #[test]
    fn held_owner_is_run_once_by_the_read_deadline() {
        let mut desc = desc(5);
        desc.set_deadline(Direction::Write, Some(at(10)), at(0));
        desc.set_deadline(Direction::Read, Some(at(20)), at(0));
        desc.hold();
        assert_eq!(expire(&mut desc, 10), (Vec::from([]), Some(at(20))));
        assert_eq!(expire(&mut desc, 20), (Vec::from([5]), None));
        desc.set_deadline(Direction::Read, Some(at(30)), at(20));
        assert_eq!(expire(&mut desc, 30), (Vec::from([]), None));
    }

    #[test]
    fn end_of_what_can_be_read_is_no_break() {
        for (readiness, quiet, broken) in [
            (Readiness::READ | Readiness::WRITE, true, false),
            (Readiness::READ | Readiness::READ_CLOSED, false, false),
            (Readiness::READ | Readiness::PRIORITY, false, false),
            (Readiness::READ | Readiness::HUP, false, true),
            (Readiness::ERROR, false, true),
        ] {
            let mut desc = desc(NOBODY);
            desc.edge(readiness);
            desc.edge(Readiness::READ);
            assert_eq!((desc.is_quiet(), desc.is_broken()), (quiet, broken), "{readiness:?}");
        }
    }

    #[test]
    fn both_deadlines_are_pushed_out_or_it_is_said_that_they_are_not() {
        let mut desc = desc(NOBODY);
        desc.set_deadline(Direction::Read, Some(at(10)), at(0));
        assert!(!desc.push_out_both(at(20), at(1)), "there is none of writing");
        desc.set_deadline(Direction::Write, Some(at(30)), at(0));
        assert!(!desc.push_out_both(at(25), at(1)), "that of writing is later");
        assert!(!desc.push_out_both(at(40), at(40)), "the time has come");
        assert!(desc.push_out_both(at(40), at(39)));
        desc.wait(Direction::Read, Waiter::new(1));
        desc.wait(Direction::Write, Waiter::new(2));
        assert_eq!(expire(&mut desc, 39), (Vec::from([]), Some(at(40))));
        assert_eq!(expire(&mut desc, 40), (Vec::from([1, 2]), None));
        assert!(!desc.push_out_both(at(50), at(41)), "they have passed");
    }

    #[test]
    fn nobody_is_not_run() {
        let mut desc = desc(NOBODY);
        desc.hold();
        desc.set_deadline(Direction::Read, Some(at(10)), at(0));
        assert_eq!(expire(&mut desc, 10), (Vec::from([]), None));
    }

    #[test]
    fn next_look_is_at_the_earlier_deadline() {
        for (read, write) in [(10, 20), (20, 10)] {
            let mut desc = desc(NOBODY);
            desc.wait(Direction::Read, Waiter::new(1));
            desc.wait(Direction::Write, Waiter::new(2));
            desc.set_deadline(Direction::Read, Some(at(read)), at(0));
            desc.set_deadline(Direction::Write, Some(at(write)), at(0));
            assert_eq!(expire(&mut desc, 9), (Vec::from([]), Some(at(10))));
            let (first, second) = if read < write { (1, 2) } else { (2, 1) };
            assert_eq!(expire(&mut desc, 10), (Vec::from([first]), Some(at(20))));
            assert_eq!(expire(&mut desc, 20), (Vec::from([second]), None));
        }
    }
}
