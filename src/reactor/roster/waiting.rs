//! Who waits for a wake, or for room.

use super::{List, Marks, NIL, Roster, next_waiting};

impl Roster<'_> {
    /// The breaker was used: runs all who wait for it.
    pub(in crate::reactor) fn wake(&mut self) {
        self.state.wakes = self.state.wakes.wrapping_add(1);
        let mut waiting = core::mem::replace(&mut self.state.waiting, List::EMPTY);
        while let Some((index, header)) = waiting.pop(self.headers.as_mut_slice(), next_waiting) {
            let waited = header.marks.take(Marks::WAITS_WAKE);
            self.link_or_not(index);
            if waited {
                self.enqueue(index);
            }
        }
        if self.state.is_releasing() {
            // The last one may have left the list.
            self.begin_release();
        }
    }

    /// Whether a wake has come that this handler does not know of; if not, it waits for the next one.
    pub(in crate::reactor) fn take_wake(&mut self, index: u32) -> bool {
        let wakes = self.state.wakes;
        match self.headers.get_mut(index) {
            Some(header) if header.wakes_seen != wakes => {
                header.wakes_seen = wakes;
                self.state.wakes_seen = wakes;
                true
            }
            _ => {
                self.wait(index, Marks::WAITS_WAKE);
                false
            }
        }
    }

    pub(in crate::reactor) fn wait_for_room(&mut self, index: u32) {
        self.wait(index, Marks::WAITS_ROOM);
    }

    /// A slot was freed: everyone who waits for room now gets a turn, one in each pass, the longest first.
    #[inline]
    pub(in crate::reactor) fn begin_release(&mut self) {
        self.state.release_until = self.state.waiting.tail;
    }

    /// Runs the next one whose turn it is, as long as there is room; who then finds none waits at the end of the line.
    pub(in crate::reactor) fn release_next(&mut self, has_room: bool) {
        if !has_room {
            self.state.release_until = NIL;
        }
        while self.state.release_until != NIL {
            let next = self.state.waiting.pop(self.headers.as_mut_slice(), next_waiting);
            let Some((index, header)) = next else { break };
            let waited = header.marks.take(Marks::WAITS_ROOM);
            self.link_or_not(index);
            if index == self.state.release_until {
                self.state.release_until = NIL;
            }
            if waited {
                self.state.released = true;
                return self.enqueue(index);
            }
        }
        self.state.release_until = NIL;
    }

    /// A place was taken from the list of those who wait: puts it back if its handler waits for something else.
    #[inline(never)]
    fn link_or_not(&mut self, index: u32) {
        let headers = self.headers.as_mut_slice();
        if let Some(header) = headers.get_mut(index as usize) {
            if header.marks.has(Marks::WAITS_WAKE) || header.marks.has(Marks::WAITS_ROOM) {
                self.state.waiting.push(index, headers, next_waiting);
            } else {
                header.marks.take(Marks::LINKED);
            }
        }
    }

    #[inline(never)]
    fn wait(&mut self, index: u32, what: Marks) {
        let headers = self.headers.as_mut_slice();
        if let Some(header) = headers.get_mut(index as usize) {
            header.marks.set(what);
            if !header.marks.has(Marks::LINKED) {
                header.marks.set(Marks::LINKED);
                self.state.waiting.push(index, headers, next_waiting);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{round, spawn, with_roster};
    use std::vec::Vec;

    #[test]
    fn wake_runs_nobody_who_waits_for_room() {
        with_roster(|roster| {
            (0..2).for_each(|_| _ = spawn(roster));
            assert_eq!(round(roster), [0, 1]);
            roster.wait_for_room(0);
            assert!(!roster.take_wake(1));
            roster.wake();
            assert!(!roster.state.is_releasing());
            assert_eq!(round(roster), [1]);
            roster.begin_release();
            assert!(roster.state.is_releasing());
            roster.release_next(true);
            assert_eq!(round(roster), [0]);
        });
    }

    #[test]
    fn who_has_run_since_it_waited_for_room_has_to_ask_anew() {
        with_roster(|roster| {
            spawn(roster);
            assert_eq!(round(roster), [0]);
            roster.wait_for_room(0);
            roster.notify(0);
            assert_eq!(round(roster), [0]);
            roster.begin_release();
            roster.release_next(true);
            assert_eq!(round(roster), []);
        });
    }

    #[test]
    fn links_left_by_an_ended_handler_do_not_run_its_successor() {
        with_roster(|roster| {
            spawn(roster);
            assert_eq!(round(roster), [0]);
            assert!(!roster.take_wake(0));
            roster.wait_for_room(0);
            roster.leave(0);
            (0..3).for_each(|_| _ = spawn(roster));
            assert_eq!(round(roster), [0, 1, 2]);
            roster.wake();
            roster.begin_release();
            roster.release_next(true);
            assert_eq!(round(roster), []);
        });
    }

    #[test]
    fn wake_is_seen_once_by_everyone_and_by_who_comes_before_anybody_has_seen_it() {
        with_roster(|roster| {
            (0..2).for_each(|_| _ = spawn(roster));
            round(roster);
            assert!(!roster.take_wake(0));
            roster.wake();
            assert_eq!(round(roster), [0]);
            // It ends before it has looked: its successor sees the wake.
            roster.leave(0);
            assert_eq!(spawn(roster).index(), 0);
            for index in [1, 0] {
                assert!(roster.take_wake(index));
                assert!(!roster.take_wake(index));
            }
            assert_eq!(spawn(roster).index(), 2);
            assert!(!roster.take_wake(2));
        });
    }

    #[test]
    fn waiters_for_room_get_their_turn_in_their_order_and_once() {
        with_roster(|roster| {
            (0..3).for_each(|_| _ = spawn(roster));
            round(roster);
            [2, 0, 1].into_iter().for_each(|index| roster.wait_for_room(index));
            assert!(!roster.take_wake(0));
            roster.begin_release();
            for expected in [2, 0, 1] {
                roster.release_next(true);
                assert_eq!(round(roster), [expected]);
                roster.wait_for_room(expected);
            }
            roster.release_next(true);
            assert_eq!(round(roster), []);
            roster.wake();
            assert_eq!(round(roster), [0]);
        });
    }

    #[test]
    fn who_is_not_reached_stays_first() {
        with_roster(|roster| {
            (0..3).for_each(|_| _ = spawn(roster));
            round(roster);
            (0..3).for_each(|index| roster.wait_for_room(index));
            let mut order = Vec::new();
            for _ in 0..6 {
                roster.begin_release();
                roster.release_next(true);
                let run = round(roster);
                run.iter().for_each(|&index| roster.wait_for_room(index));
                roster.release_next(false); // the first has taken what there was
                order.extend(run);
            }
            assert_eq!(order, [0, 1, 2, 0, 1, 2]);
        });
    }
}
