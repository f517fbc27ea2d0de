//! [`Run`]: what a reactor tells the poller of the handler that runs, and what that handler's operations leave behind.

use crate::poll_desc::Turn;

/// One run of a handler, as the operations that it makes see it. On a bare poller nothing of it is ever looked at.
#[derive(Debug)]
pub(crate) struct Run {
    /// None on a bare poller: no budget.
    pub(crate) turn: Option<Turn>,
    /// Where the list of the running handler's descriptors begins.
    pub(crate) owned: u32,
    pub(crate) marks: Marks,
    /// The reactor has no place for another handler.
    pub(crate) handlers_full: bool,
}

impl Run {
    pub(crate) const NONE: Run = Run { turn: None, owned: u32::MAX, marks: Marks::NONE, handlers_full: false };
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
    /// A slot was freed. Stays until the reactor has looked.
    pub(crate) const FREED: Marks = Marks(1 << 5);

    #[inline]
    pub(crate) fn set(&mut self, marks: Marks) {
        self.0 |= marks.0;
    }

    #[inline]
    pub(crate) fn has(self, marks: Marks) -> bool {
        self.0 & marks.0 != 0
    }

    /// Forgets all but these.
    #[inline]
    pub(crate) fn keep(&mut self, marks: Marks) {
        self.0 &= marks.0;
    }
}
