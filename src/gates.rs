//! The three gates of a descriptor, and who waits at them: every change of a gate's state is in this file.
//!
//! The states are drawn on the [crate page](crate#a-gate); `tests/model.rs` walks through every sequence of events beside that drawing, as a
//! table of arrows. They are kept as one set of directions per state, so that an event word, which is a set of directions too, goes through
//! all gates at once.

use core::fmt;

use crate::interest::{Direction, Directions, Interest};

/// Who is to be run when a wait ends: an opaque number that the poller hands back, a handler's place or a task of a runtime.
///
/// ```
/// use netpoll::Waiter;
/// assert_eq!(Waiter::new(7).get(), 7);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Waiter(u32);

impl Waiter {
    /// The waiter with this number.
    #[inline]
    pub const fn new(number: u32) -> Waiter {
        Waiter(number)
    }

    /// Its number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiter({})", self.get())
    }
}

/// What is known of one direction of a descriptor: Go's `rg` and `wg` (`runtime/netpoll.go`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// This direction was not opened.
    Unopened,
    /// The last call said `EAGAIN`; the next operation makes no system call.
    Idle,
    /// There may be something; the next operation makes its system call. Go's `pdReady`.
    Ready,
    /// As `Idle`, and this waiter is run when the next edge, deadline or close comes. Go's pointer to a `G`.
    Waiting(Waiter),
}

/// Ready and waiting are disjoint, and both within opened; what is in opened alone is idle.
#[derive(Debug)]
pub(crate) struct Gates {
    waiters: [Waiter; 3],
    opened: Directions,
    ready: Directions,
    waiting: Directions,
    /// What the kernel is going to report.
    armed: Directions,
}

impl Gates {
    pub(crate) const UNOPENED: Gates = Gates {
        waiters: [Waiter(0); 3],
        opened: Directions::NONE,
        ready: Directions::NONE,
        waiting: Directions::NONE,
        armed: Directions::NONE,
    };

    /// Ready, as a new descriptor may be; but nothing exceptional is there until the kernel says so, since its own calls (lseek and read,
    /// `MSG_OOB`) do not say `EAGAIN`; and a connecting socket cannot be written to.
    #[inline]
    pub(crate) fn begin(&mut self, interest: Interest, armed: Directions) {
        let idle = if interest.contains(Interest::CONNECTING) { Directions::WRITING } else { Directions::NONE };
        self.opened = interest.directions();
        self.ready = self.opened.without(Directions::of(Direction::Priority)).without(idle);
        self.waiting = Directions::NONE;
        self.armed = armed;
    }

    pub(crate) fn get(&self, direction: Direction) -> Gate {
        let gate = Directions::of(direction);
        if self.ready.intersects(gate) {
            Gate::Ready
        } else if self.waiting.intersects(gate) {
            let mut waiters = self.waiters;
            Gate::Waiting(*direction.of(&mut waiters))
        } else if self.opened.intersects(gate) {
            Gate::Idle
        } else {
            Gate::Unopened
        }
    }

    #[inline]
    pub(crate) fn is_ready(&self, direction: Direction) -> bool {
        self.ready.intersects(Directions::of(direction))
    }

    pub(crate) fn is_opened(&self, direction: Direction) -> bool {
        self.opened.intersects(Directions::of(direction))
    }

    #[inline]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting != Directions::NONE
    }

    /// An edge came: opens these gates, and says whose waits that ends.
    #[inline]
    pub(crate) fn open(&mut self, gates: Directions) -> Directions {
        // Those of a closed descriptor are not, also while there are waits to be handed out.
        let gates = Directions(gates.0 & self.opened.0);
        self.ready.0 |= gates.0;
        self.interrupt(gates)
    }

    /// Ends the waits at these gates without readiness, and says which there were.
    #[inline]
    pub(crate) fn interrupt(&mut self, gates: Directions) -> Directions {
        let ended = Directions(self.waiting.0 & gates.0);
        self.waiting.0 ^= ended.0;
        ended
    }

    /// Hands out who waited in these directions.
    #[inline]
    pub(crate) fn waiters(&self, directions: Directions, mut each: impl FnMut(Waiter)) {
        let [read, priority, write] = self.waiters;
        // By far the most common.
        if directions == Directions::of(Direction::Read) {
            return each(read);
        }
        for (direction, waiter) in [(Direction::Read, read), (Direction::Write, write), (Direction::Priority, priority)] {
            if directions.intersects(Directions::of(direction)) {
                each(waiter);
            }
        }
    }

    /// `waiter` waits for the next edge: the last call said `EAGAIN`, or would say it again.
    #[inline]
    pub(crate) fn wait(&mut self, direction: Direction, waiter: Waiter) {
        self.clear(direction);
        self.waiting.0 |= Directions::of(direction).0;
        *direction.of(&mut self.waiters) = waiter;
    }

    /// Forgets the readiness.
    #[inline]
    pub(crate) fn clear(&mut self, direction: Direction) {
        self.ready.0 &= !Directions::of(direction).0;
    }

    pub(crate) fn armed(&self) -> Directions {
        self.armed
    }

    /// Who waits in vain until these are armed.
    #[inline]
    pub(crate) fn unarmed(&self) -> Directions {
        self.waiting.without(self.armed)
    }

    /// Which of these are armed and open already.
    #[inline]
    pub(crate) fn unused(&self, directions: Directions) -> Directions {
        directions.and(self.armed).and(self.ready)
    }

    /// The kernel will report these.
    #[inline]
    pub(crate) fn arm(&mut self, directions: Directions) {
        self.armed = self.armed.union(directions);
    }

    /// The kernel has reported these for the last time.
    #[inline]
    pub(crate) fn spend(&mut self, directions: Directions) {
        self.armed = self.armed.without(directions);
    }

    /// Closes all gates for ever, but for the waits that are to be handed out: all except those of `by`.
    #[inline]
    pub(crate) fn shut(&mut self, by: Option<Waiter>) {
        self.ready = Directions::NONE;
        self.opened = Directions::NONE;
        if !self.is_waited_for() {
            return;
        }
        let [read, priority, write] = self.waiters;
        let own = |direction, waiter| if Some(waiter) == by { Directions::of(direction) } else { Directions::NONE };
        self.interrupt(own(Direction::Read, read).union(own(Direction::Write, write)).union(own(Direction::Priority, priority)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec::Vec;

    fn opened() -> Gates {
        let mut gates = Gates::UNOPENED;
        gates.begin(Interest::default(), Directions::NONE);
        gates
    }

    #[test]
    fn waiter_prints_its_number() {
        assert_eq!(format!("{:?}", Waiter::new(7)), "Waiter(7)");
    }

    #[test]
    fn what_is_armed_and_spent_one_by_one() {
        let (read, write) = (Directions::of(Direction::Read), Directions::of(Direction::Write));
        let mut gates = opened();
        gates.wait(Direction::Read, Waiter::new(1));
        gates.wait(Direction::Write, Waiter::new(2));
        assert_eq!((gates.armed(), gates.unarmed()), (Directions::NONE, read.union(write)));
        gates.arm(read);
        gates.arm(read);
        assert_eq!((gates.armed(), gates.unarmed()), (read, write));
        gates.arm(Directions::ALL);
        assert_eq!((gates.armed(), gates.unarmed()), (Directions::ALL, Directions::NONE));
        // What is armed and open already, and nobody waits for, need not be.
        assert_eq!(gates.unused(Directions::ALL), Directions::NONE);
        gates.open(write);
        assert_eq!((gates.unused(Directions::ALL), gates.unused(read)), (write, Directions::NONE));
        gates.spend(write);
        assert_eq!((gates.armed(), gates.unused(Directions::ALL)), (Directions::ALL.without(write), Directions::NONE));
        gates.spend(write);
        assert_eq!((gates.armed(), gates.unarmed()), (Directions::ALL.without(write), Directions::NONE));
    }

    #[test]
    fn shut_keeps_the_waits_that_are_to_be_handed_out() {
        let mut gates = opened();
        gates.wait(Direction::Read, Waiter::new(1));
        gates.wait(Direction::Write, Waiter::new(2));
        gates.shut(Some(Waiter::new(1)));
        assert_eq!((gates.get(Direction::Read), gates.get(Direction::Write)), (Gate::Unopened, Gate::Waiting(Waiter::new(2))));
        let mut run = Vec::new();
        let ended = gates.interrupt(Directions::ALL);
        gates.waiters(ended, |waiter| run.push(waiter));
        assert_eq!((run, gates.is_waited_for()), (Vec::from([Waiter::new(2)]), false));
    }
}
