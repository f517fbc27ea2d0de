//! The headers of handlers and the lists through them: who is ready, who waits for a wake, who waits for room, which places are free.
//!
//! All lists are intrusive, and a handler may end while its place is still linked. The link then stays with the place, which is free all
//! the same; other marks say what the handler that lives there now has asked for.

use core::num::NonZeroU32;

use heapless::Vec;

use crate::arch::BATCH;
use crate::deadline::QueueState;
use crate::error::Error;
use crate::poll_desc::Owner;
use crate::storage::Slots;
use crate::time::Deadline;
use crate::token::Token;

pub(super) const NIL: u32 = u32::MAX;

/// Names one handler: a place and the generation of its use. Stale when the handler has ended; never names a later one.
///
/// ```
/// # use netpoll::{Callback, HandlerId};
/// fn later(ids: &[HandlerId], first: HandlerId) -> bool { ids.contains(&first) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HandlerId(Token);

impl HandlerId {
    fn new(index: u32, generation: u32) -> Option<HandlerId> {
        Some(HandlerId(Token::new(index, NonZeroU32::new(generation)?)))
    }

    /// The handler that runs, whose header there always is.
    pub(super) fn of(index: u32, header: Option<&Header>) -> HandlerId {
        let generation = header.and_then(|header| NonZeroU32::new(header.generation)).unwrap_or(NonZeroU32::MIN);
        HandlerId(Token::new(index, generation))
    }

    /// The handler's place: below the storage's number of handlers, and no other living handler's. An index for tables of the program's
    /// own.
    pub const fn index(self) -> usize {
        self.0.index() as usize
    }
}

/// What a place is to the lists, and what its handler waits for or has been told. The first two belong to the place, the others to the
/// handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marks(u8);

impl Marks {
    /// On the ready list, or on what is left of the round.
    const QUEUED: Marks = Marks(1);
    /// On the list of those who wait for a wake or for room.
    const LINKED: Marks = Marks(1 << 1);
    const OF_THE_PLACE: Marks = Marks(0b11);
    const WAITS_WAKE: Marks = Marks(1 << 2);
    const WAITS_ROOM: Marks = Marks(1 << 3);
    const NOTIFIED: Marks = Marks(1 << 4);
    /// To be run. A queued place whose handler is not is passed over: it was run meanwhile, because of the kernel, or has ended.
    const DUE: Marks = Marks(1 << 5);

    #[inline]
    fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    #[inline]
    fn set(&mut self, mark: Marks) {
        self.0 |= mark.0;
    }

    /// Takes the mark away; says whether it was there.
    #[inline]
    fn take(&mut self, mark: Marks) -> bool {
        let had = self.has(mark);
        self.0 &= !mark.0;
        had
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Vacant,
    /// Taken for a handler that is being made.
    Reserved,
    Live,
}

/// All of a handler but itself.
#[derive(Debug)]
pub(crate) struct Header {
    pub(super) timer: Deadline,
    generation: u32,
    /// Where the list of its descriptors begins; of a vacant place, the next one.
    pub(super) owned: u32,
    /// Of the ready list.
    next: u32,
    /// Of those who wait for a wake or for room.
    next_waiting: u32,
    /// The last wake that this handler knows of.
    wakes_seen: u32,
    marks: Marks,
    life: Life,
    /// The last round in which it was run, or was too new to be; 0 is none.
    round: u16,
}

static_assertions::const_assert!(core::mem::size_of::<Header>() <= 32);

impl Header {
    const VACANT: Header = Header {
        timer: Deadline::NONE,
        generation: 1,
        owned: NIL,
        next: NIL,
        next_waiting: NIL,
        wakes_seen: 0,
        marks: Marks(0),
        life: Life::Vacant,
        round: 0,
    };

    pub(super) fn is_due(&self) -> bool {
        self.marks.has(Marks::DUE)
    }

    pub(super) fn waits_for_wake(&self) -> bool {
        self.marks.has(Marks::WAITS_WAKE)
    }

    pub(super) fn take_notified(&mut self) -> bool {
        self.marks.take(Marks::NOTIFIED)
    }

    fn is_live(&self) -> bool {
        self.life == Life::Live
    }
}

/// First in, first out, through one of a header's links.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

type Link = fn(&mut Header) -> &mut u32;

impl List {
    const EMPTY: List = List { head: NIL, tail: NIL };

    #[inline]
    fn push(&mut self, index: u32, headers: &mut [Header], link: Link) {
        match headers.get_mut(self.tail as usize) {
            Some(tail) => *link(tail) = index,
            None => self.head = index,
        }
        self.tail = index;
    }

    #[inline]
    fn pop<'h>(&mut self, headers: &'h mut [Header], link: Link) -> Option<(u32, &'h mut Header)> {
        let index = self.head;
        let header = headers.get_mut(index as usize)?;
        self.head = core::mem::replace(link(header), NIL);
        if self.head == NIL {
            self.tail = NIL;
        }
        Some((index, header))
    }
}

fn next(header: &mut Header) -> &mut u32 {
    &mut header.next
}

fn next_waiting(header: &mut Header) -> &mut u32 {
    &mut header.next_waiting
}

/// A vacant place has no descriptors.
fn next_vacant(header: &mut Header) -> &mut u32 {
    &mut header.owned
}

/// The part of a reactor that is neither headers nor handlers. Nothing of a round is kept in locals but how many of the woken have run,
/// which a guard looks at, so a handler's panic leaves nothing half-known.
#[derive(Debug)]
pub(crate) struct ReactorState {
    vacant: List,
    /// Whose waits the kernel has ended, in its order; and what is left of the round besides them.
    pub(super) woken: Vec<Owner, BATCH>,
    round: List,
    /// Who runs in the next round.
    ready: List,
    /// Counts rounds, from 1 on; see [`begin_round`](Roster::begin_round).
    pub(super) rounds: u16,
    /// Who waits for a wake or for room.
    waiting: List,
    /// The last of those whose turn it is to be run because a slot was freed.
    release_until: u32,
    /// Somebody is queued because there is room.
    pub(super) released: bool,
    pub(super) timers: QueueState,
    len: u32,
    /// How many places there are.
    capacity: u32,
    /// The wakes that came, and the last one that any handler has learned of: a new handler begins there.
    wakes: u32,
    wakes_seen: u32,
    stop: bool,
    /// The loop may have to come back: it is to stop, or nobody is left.
    pub(super) is_over: bool,
    /// The handler that runs; after a panic, the one that was left half-run.
    pub(super) running: u32,
    /// The place of a handler that is being made; after a panic, of one that was not.
    pub(super) reserved: u32,
}

impl ReactorState {
    pub(super) fn new(capacity: usize) -> ReactorState {
        ReactorState {
            vacant: List::EMPTY,
            woken: Vec::new(),
            round: List::EMPTY,
            ready: List::EMPTY,
            rounds: 1,
            waiting: List::EMPTY,
            release_until: NIL,
            released: false,
            timers: QueueState::new(),
            len: 0,
            capacity: u32::try_from(capacity).unwrap_or(NIL),
            wakes: 0,
            wakes_seen: 0,
            stop: false,
            is_over: false,
            running: NIL,
            reserved: NIL,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn stop(&mut self) {
        self.stop = true;
        self.is_over = true;
    }

    /// Whether the loop has to come back.
    #[cold]
    pub(super) fn take_stop(&mut self) -> bool {
        self.is_over = false;
        core::mem::take(&mut self.stop) || self.len == 0
    }

    /// As [`Roster::enqueue`], for a loop over waiters that looks up the headers once.
    #[inline]
    pub(super) fn enqueue(&mut self, headers: &mut [Header], index: u32) {
        match headers.get_mut(index as usize) {
            Some(header) if header.is_live() => {
                header.marks.set(Marks::DUE);
                if !header.marks.has(Marks::QUEUED) {
                    header.marks.set(Marks::QUEUED);
                    self.ready.push(index, headers, next);
                }
            }
            _ => {}
        }
    }

    /// Adds a place while no other is vacant, if there is room for one.
    #[cold]
    fn grow(&mut self, mut headers: Slots<'_, Header>) {
        let index = headers.len() as u32;
        if index < self.capacity && headers.push(Header::VACANT).is_ok() {
            self.vacant.push(index, headers.as_mut_slice(), next_vacant);
        }
    }

    /// How many rounds have begun since that one was the newest.
    pub(super) fn rounds_since(&self, round: u16) -> u16 {
        // There is no round 0.
        self.rounds.checked_sub(round).unwrap_or(self.rounds.wrapping_sub(round).wrapping_sub(1))
    }

    /// Whether a panic has broken the round off. Where panics abort there is nobody to go on with it.
    #[inline]
    pub(super) fn is_broken_off(&self) -> bool {
        cfg!(panic = "unwind") && self.round.head != NIL
    }

    pub(super) fn is_releasing(&self) -> bool {
        self.release_until != NIL
    }
}

/// The headers with their lists.
pub(super) struct Roster<'a> {
    pub(super) state: &'a mut ReactorState,
    pub(super) headers: Slots<'a, Header>,
}

impl Roster<'_> {
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.state.vacant.head != NIL || self.headers.len() < self.state.capacity as usize
    }

    /// Takes a place for a handler that is to be made; [`settle`](Roster::settle) it or [give it back](Roster::give_back).
    #[inline]
    pub(super) fn reserve(&mut self) -> Option<HandlerId> {
        if self.state.vacant.head == NIL {
            self.state.grow(self.headers.reborrow());
        }
        let (index, header) = self.state.vacant.pop(self.headers.as_mut_slice(), next_vacant)?;
        let id = HandlerId::new(index, header.generation)?;
        header.life = Life::Reserved;
        self.state.reserved = index;
        Some(id)
    }

    /// The handler is in its place: it is run in the next round.
    #[inline]
    pub(super) fn settle(&mut self, index: u32, owned: u32) {
        let (state, headers) = (&mut *self.state, self.headers.as_mut_slice());
        let Some(header) = headers.get_mut(index as usize) else { return };
        header.life = Life::Live;
        header.owned = owned;
        header.wakes_seen = state.wakes_seen;
        // Its place may still be queued in this round.
        header.round = state.rounds;
        state.len += 1;
        state.reserved = NIL;
        state.enqueue(headers, index);
    }

    /// The list of a handler's descriptors begins elsewhere now.
    pub(super) fn set_owned(&mut self, index: u32, owned: u32) {
        if let Some(header) = self.headers.get_mut(index) {
            header.owned = owned;
        }
    }

    /// Nothing has come of the handler.
    pub(super) fn give_back(&mut self, index: u32) {
        self.state.reserved = NIL;
        self.vacate(index);
    }

    /// The handler in this place has ended.
    #[inline]
    pub(super) fn leave(&mut self, index: u32) {
        if let Some(header) = self.headers.get_mut(index).filter(|header| header.is_live()) {
            header.generation = header.generation.wrapping_add(1);
            header.timer = Deadline::NONE;
            header.marks.0 &= Marks::OF_THE_PLACE.0;
            self.state.len -= 1;
            self.state.is_over |= self.state.len == 0;
            self.vacate(index);
        }
    }

    #[inline]
    fn vacate(&mut self, index: u32) {
        let headers = self.headers.as_mut_slice();
        let Some(header) = headers.get_mut(index as usize) else { return };
        header.life = Life::Vacant;
        header.owned = NIL;
        // A place whose generations are used up is not used again.
        if header.generation != 0 {
            self.state.vacant.push(index, headers, next_vacant);
        }
    }

    /// # Errors
    ///
    /// [`Error::Closed`] if that handler has ended.
    #[inline]
    pub(super) fn find(&mut self, id: HandlerId) -> Result<(u32, &mut Header), Error> {
        let index = id.0.index();
        match self.headers.get_mut(index) {
            Some(header) if header.generation == id.0.generation() && header.is_live() => Ok((index, header)),
            _ => Err(Error::Closed),
        }
    }

    /// Runs a handler in the next round, unless it is still to be run in this one.
    #[inline]
    pub(super) fn enqueue(&mut self, index: u32) {
        self.state.enqueue(self.headers.as_mut_slice(), index);
    }

    /// Whether anybody is to be run.
    #[inline]
    pub(super) fn anybody_ready(&mut self) -> bool {
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
    pub(super) fn begin_round(&mut self) {
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
    pub(super) fn next(&mut self) -> Option<u32> {
        loop {
            let (index, header) = self.state.round.pop(self.headers.as_mut_slice(), next)?;
            header.marks.take(Marks::QUEUED);
            if header.is_due() {
                if header.round != self.state.rounds {
                    return Some(index);
                }
                // It is new, or has been run in this round.
                self.enqueue(index);
            }
        }
    }

    /// Whom the kernel has woken comes behind those who are ready already.
    #[cold]
    #[inline(never)]
    pub(super) fn queue_woken(&mut self) {
        let mut place = 0;
        while let Some(&owner) = self.state.woken.get(place) {
            self.enqueue(owner);
            place += 1;
        }
        self.state.woken.clear();
    }

    /// A panic breaks the round off, in which these of the woken have not run: they are the first when it goes on.
    #[cold]
    pub(super) fn break_off(&mut self, run: usize) {
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
    pub(super) fn begin_run(&mut self, index: u32) -> Option<u32> {
        let header = self.headers.get_mut(index)?;
        if header.round == self.state.rounds {
            return None;
        }
        header.round = self.state.rounds;
        header.marks.0 &= !(Marks::DUE.0 | Marks::WAITS_ROOM.0);
        Some(header.owned)
    }

    pub(super) fn notify(&mut self, index: u32) {
        if let Some(header) = self.headers.get_mut(index).filter(|header| header.is_live()) {
            header.marks.set(Marks::NOTIFIED);
            self.enqueue(index);
        }
    }

    pub(super) fn notify_all(&mut self) {
        for index in 0..self.headers.len() as u32 {
            self.notify(index);
        }
    }

    /// The breaker was used: runs all who wait for it.
    pub(super) fn wake(&mut self) {
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
    pub(super) fn take_wake(&mut self, index: u32) -> bool {
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

    pub(super) fn wait_for_room(&mut self, index: u32) {
        self.wait(index, Marks::WAITS_ROOM);
    }

    /// A slot was freed: everyone who waits for room now gets a turn, one in each pass, the longest first.
    #[inline]
    pub(super) fn begin_release(&mut self) {
        self.state.release_until = self.state.waiting.tail;
    }

    /// Runs the next one whose turn it is, as long as there is room; who then finds none waits at the end of the line.
    pub(super) fn release_next(&mut self, has_room: bool) {
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
    use super::*;
    use std::vec::Vec;

    fn with_roster(test: impl FnOnce(&mut Roster<'_>)) {
        let mut state = ReactorState::new(3);
        let mut headers = heapless::Vec::<Header, 3>::new();
        test(&mut Roster { state: &mut state, headers: Slots::Lent(&mut headers) });
    }

    fn spawn(roster: &mut Roster<'_>) -> HandlerId {
        let id = roster.reserve().unwrap();
        roster.settle(id.index() as u32, NIL);
        id
    }

    fn round(roster: &mut Roster<'_>) -> Vec<u32> {
        roster.begin_round();
        core::iter::from_fn(|| run_next(roster)).collect()
    }

    fn run_next(roster: &mut Roster<'_>) -> Option<u32> {
        let index = roster.next()?;
        roster.begin_run(index).map(|_| index)
    }

    #[test]
    fn place_of_a_queued_handler_is_free_when_it_ends() {
        with_roster(|roster| {
            let ids: Vec<HandlerId> = (0..3).map(|_| spawn(roster)).collect();
            roster.leave(1);
            assert!(roster.has_room() && roster.find(ids[1]).is_err());
            let again = spawn(roster);
            assert_eq!(again.index(), 1);
            assert_ne!(again, ids[1]);
            assert_eq!(round(roster), [0, 1, 2]);
            assert_eq!(round(roster), []);
        });
    }

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
    fn ended_handler_is_passed_over() {
        with_roster(|roster| {
            (0..3).for_each(|_| _ = spawn(roster));
            roster.leave(1);
            assert_eq!(round(roster), [0, 2]);
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

    #[test]
    fn generation_wrap_forced_retires_the_place() {
        with_roster(|roster| {
            spawn(roster);
            assert_eq!(round(roster), [0]);
            roster.headers.get_mut(0).unwrap().generation = u32::MAX;
            roster.leave(0);
            assert_eq!(spawn(roster).index(), 1);
        });
    }

    #[test]
    fn place_that_was_not_used_is_given_back() {
        with_roster(|roster| {
            for _ in 0..10 {
                let id = roster.reserve().unwrap();
                roster.give_back(id.index() as u32);
            }
            assert!(roster.has_room() && roster.state.len() == 0);
            assert_eq!(round(roster), []);
        });
    }
}
