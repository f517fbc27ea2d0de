//! Rounds: who is ready is run once, in turn.

use super::{List, Marks, NIL, Roster, next};

impl Roster<'_> {
    /// Whether anybody is to be run.
    #[inline]
    pub(in crate::reactor) fn anybody_ready(&mut self) -> bool {
        self.state.is_broken_off() || self.state.ready.head != NIL && self.anybody_due()
    }

    /// Whether anybody on the ready list is.
    fn anybody_due(&mut self) -> bool {
        while let Some(header) = self.headers.get_mut(self.state.ready.head) {
            if header.is_due() {
                return true;
            }
            header.marks.take(Marks::QUEUED);
            self.state.ready.pop(self.headers.as_mut_slice(), next);
        }
        false
    }

    /// Whoever is ready now is this round; who becomes ready during it is the next. A round that a panic has broken off goes on.
    #[inline]
    pub(in crate::reactor) fn begin_round(&mut self) {
        if self.state.is_broken_off() {
            // They may have run in it already.
            return self.queue_woken();
        }
        self.state.round = core::mem::replace(&mut self.state.ready, List::EMPTY);
        self.state.rounds = self.state.rounds.wrapping_add(1);
        if self.state.rounds == 0 {
            self.forget_rounds();
        }
    }

    /// The numbers of rounds are used up, and begin anew.
    #[cold]
    #[inline(never)]
    fn forget_rounds(&mut self) {
        self.headers.as_mut_slice().iter_mut().for_each(|header| header.round = 0);
        self.state.rounds = 1;
    }

    /// The next handler of those who were ready when this round began.
    #[inline]
    pub(in crate::reactor) fn next(&mut self) -> Option<u32> {
        loop {
            let (index, header) = self.state.round.pop(self.headers.as_mut_slice(), next)?;
            header.marks.take(Marks::QUEUED);
            if header.is_due() {
                if !header.marks.take(Marks::LATER) && header.round != self.state.rounds {
                    return Some(index);
                }
                // It is new, has been run in this round, or was queued in it.
                self.enqueue(index);
            }
        }
    }

    /// Whom the kernel has woken comes behind those who are ready already.
    #[cold]
    #[inline(never)]
    pub(in crate::reactor) fn queue_woken(&mut self) {
        let mut place = 0;
        while let Some(&owner) = self.state.woken.get(place) {
            self.enqueue(owner);
            place += 1;
        }
        self.state.woken.clear();
    }

    /// A panic breaks the round off, in which these of the woken have not run: they are the first when it goes on, but for those who are
    /// queued for the next one already.
    #[cold]
    pub(in crate::reactor) fn break_off(&mut self, run: usize) {
        if run == 0 {
            // It has not begun.
            return self.queue_woken();
        }
        let mut rest = List::EMPTY;
        for place in run..self.state.woken.len() {
            let Some(&index) = self.state.woken.get(place) else { break };
            match self.headers.get_mut(index) {
                Some(header) if header.is_live() && header.round != self.state.rounds => {
                    header.marks.set(Marks::DUE);
                    header.marks.take(Marks::LATER);
                    if !header.marks.has(Marks::QUEUED) {
                        header.marks.set(Marks::QUEUED);
                        rest.push(index, self.headers.as_mut_slice(), next);
                    }
                }
                _ => {}
            }
        }
        while let Some((index, _)) = self.state.round.pop(self.headers.as_mut_slice(), next) {
            rest.push(index, self.headers.as_mut_slice(), next);
        }
        self.state.round = rest;
        self.state.woken.clear();
    }

    /// Whether the handler in this place is still to be run in this round, and where its list of descriptors begins. What it waited for it
    /// has to ask for anew, but for gates, timer and wake.
    #[inline]
    pub(in crate::reactor) fn begin_run(&mut self, index: u32) -> Option<u32> {
        let header = self.headers.get_mut(index)?;
        if header.round == self.state.rounds {
            return None;
        }
        header.round = self.state.rounds;
        header.marks.0 &= !(Marks::DUE.0 | Marks::LATER.0 | Marks::WAITS_ROOM.0);
        Some(header.owned)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{round, run_next, spawn, with_roster};

    #[test]
    fn new_handler_in_the_place_of_one_still_to_run_waits_for_the_next_round() {
        with_roster(|roster| {
            (0..3).for_each(|_| _ = spawn(roster));
            roster.begin_round();
            assert_eq!(run_next(roster), Some(0));
            roster.leave(1);
            assert_eq!(spawn(roster).index(), 1);
            assert_eq!(run_next(roster), Some(2));
            assert_eq!(run_next(roster), None);
            assert_eq!(round(roster), [1]);
        });
    }

    #[test]
    fn notified_in_a_round_in_which_only_a_leftover_link_comes_up_runs_in_the_next() {
        with_roster(|roster| {
            (0..3).for_each(|_| _ = spawn(roster));
            assert_eq!(round(roster), [0, 1, 2]);
            // The kernel has woken the handler, which is notified before it is run: its link is of the next round.
            roster.begin_round();
            roster.notify(1);
            roster.notify(0);
            assert!(roster.begin_run(1).is_some());
            assert_eq!(run_next(roster), None);
            roster.begin_round();
            roster.notify(1);
            roster.notify(2);
            assert_eq!(run_next(roster), Some(0));
            assert_eq!(run_next(roster), None);
            assert_eq!(round(roster), [2, 1]);
        });
    }

    #[test]
    fn notified_in_a_round_in_which_the_kernel_has_it_run_is_run_once() {
        with_roster(|roster| {
            (0..2).for_each(|_| _ = spawn(roster));
            assert_eq!(round(roster), [0, 1]);
            roster.begin_round();
            roster.notify(1);
            assert!(roster.begin_run(1).is_some());
            roster.begin_round();
            roster.notify(1);
            assert!(roster.begin_run(1).is_some());
            assert_eq!(run_next(roster), None);
            assert_eq!(round(roster), []);
        });
    }

    #[test]
    fn ended_handler_is_passed_over() {
        with_roster(|roster| {
            (0..3).for_each(|_| _ = spawn(roster));
            roster.leave(1);
            assert_eq!(round(roster), [0, 2]);
        });
    }

    #[test]
    fn link_of_a_handler_that_ended_keeps_nobody_awake() {
        with_roster(|roster| {
            (0..2).for_each(|_| _ = spawn(roster));
            roster.leave(0);
            assert!(roster.anybody_ready());
            assert_eq!(round(roster), [1]);
            assert!(!roster.anybody_ready());
            roster.notify(1);
            roster.leave(1);
            assert!(!roster.anybody_ready());
            let index = spawn(roster).index() as u32;
            assert!(roster.anybody_ready());
            assert_eq!(round(roster), [index]);
        });
    }

    #[test]
    fn broken_round_goes_on_with_who_was_woken_and_has_not_run() {
        with_roster(|roster| {
            (0..3).for_each(|_| _ = spawn(roster));
            assert_eq!(round(roster), [0, 1, 2]);
            roster.notify(1);
            // The kernel has woken two, one of them twice.
            roster.begin_round();
            [0, 2, 0].into_iter().for_each(|index| roster.state.woken.push(index).unwrap());
            assert!(roster.begin_run(0).is_some());
            roster.break_off(1);
            assert!(roster.anybody_ready());
            assert_eq!(round(roster), [2, 1]);
            assert!(!roster.anybody_ready());
            assert_eq!(round(roster), []);
        });
    }

    #[test]
    fn rounds_begin_anew() {
        with_roster(|roster| {
            spawn(roster);
            assert_eq!(round(roster), [0]);
            for rounds in [1, u16::MAX - 1, u16::MAX] {
                roster.state.rounds = rounds;
                // As long ago as can be: it may have run in the round with the same number.
                for ran in [0, rounds, rounds.wrapping_add(1).max(1), 1] {
                    roster.headers.get_mut(0).unwrap().round = ran.min(rounds);
                    let now = roster.state.rounds;
                    roster.notify(0);
                    assert_eq!(round(roster), [0], "{rounds} {ran}");
                    assert_eq!((roster.state.rounds_since(now), roster.state.rounds_since(roster.state.rounds)), (1, 0));
                    assert_ne!(roster.state.rounds, 0);
                    roster.state.rounds = rounds;
                }
            }
        });
    }

    #[test]
    fn queued_once_and_in_the_next_round() {
        with_roster(|roster| {
            (0..2).for_each(|_| _ = spawn(roster));
            roster.begin_round();
            assert_eq!(run_next(roster), Some(0));
            roster.notify(0);
            roster.notify(1);
            roster.notify(1);
            assert_eq!(run_next(roster), Some(1));
            assert_eq!(run_next(roster), None);
            assert_eq!(round(roster), [0]);
        });
    }
}
