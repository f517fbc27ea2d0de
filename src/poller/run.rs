//! [`Run`]: what a reactor tells the poller of the handler that runs, and what that handler's operations leave behind.

use core::num::NonZeroU8;

use rustix::fd::OwnedFd;

use crate::interest::Direction;
use crate::poll_desc::{PollDesc, Turn};

/// One run of a handler, as the operations that it makes see it. On a bare poller nothing of it is ever looked at.
#[derive(Debug)]
pub(crate) struct Run {
    /// None on a bare poller: no budget.
    turn: Option<Turn>,
    /// How many calls are still made without looking whose they are.
    free: i8,
    free_in_each: i8,
    /// Where the list of the running handler's descriptors begins.
    pub(crate) owned: u32,
    pub(crate) marks: Marks,
    /// A slot was freed. Stays until the reactor has looked.
    pub(crate) freed: bool,
    /// The reactor has no place for another handler.
    pub(crate) handlers_full: bool,
}

impl Run {
    pub(crate) const NONE: Run =
        Run { turn: None, free: 0, free_in_each: 0, owned: u32::MAX, marks: Marks::NONE, freed: false, handlers_full: false };

    /// Sets how many calls each direction of a descriptor may get. Half of them are not counted one by one: most runs end before.
    pub(crate) fn set_budget(&mut self, budget: NonZeroU8) {
        let half = budget.get() / 2;
        self.free_in_each = half as i8;
        self.turn = NonZeroU8::new(budget.get() - half).map(|budget| Turn { run: 0, budget });
    }

    /// Everybody's budget is whole again.
    #[inline]
    pub(crate) fn begin_pass(&mut self) {
        self.marks = Marks::NONE;
        if let Some(turn) = &mut self.turn {
            turn.run = turn.run.wrapping_add(1);
        }
    }

    /// A handler is about to run.
    #[inline]
    pub(crate) fn begin(&mut self, owned: u32) {
        self.owned = owned;
        self.free = self.free_in_each;
    }

    /// Whether the budget allows one call more.
    #[inline]
    pub(crate) fn may_call(&mut self, desc: &mut PollDesc<OwnedFd>, direction: Direction) -> bool {
        self.free = self.free.wrapping_sub(1);
        self.free >= 0 || self.may_call_counted(desc, direction)
    }

    #[cold]
    #[inline(never)]
    fn may_call_counted(&mut self, desc: &mut PollDesc<OwnedFd>, direction: Direction) -> bool {
        match self.turn {
            Some(turn) => {
                self.free = 0;
                desc.spend(direction, turn)
            }
            None => {
                self.free = i8::MAX;
                true
            }
        }
    }
}

/// What a handler's operations leave for the reactor to see when it has run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marks(u8);

impl Marks {
    /// Nothing happened.
    pub(crate) const NONE: Marks = Marks(0);
    /// A gate was waited for, or a notification.
    pub(crate) const WAITED: Marks = Marks(1);
    /// A budget was spent, or the handler wants to be run again.
    pub(crate) const YIELDED: Marks = Marks(1 << 1);
    /// It cannot go on before a slot is freed, or could do better then.
    pub(crate) const ROOM: Marks = Marks(1 << 2);
    /// It ended itself.
    pub(crate) const ENDED: Marks = Marks(1 << 3);
    /// Its list of descriptors has changed.
    pub(crate) const OWNED: Marks = Marks(1 << 4);

    #[inline]
    pub(crate) fn set(&mut self, marks: Marks) {
        self.0 |= marks.0;
    }

    #[inline]
    pub(crate) fn has(self, marks: Marks) -> bool {
        self.0 & marks.0 != 0
    }
}
