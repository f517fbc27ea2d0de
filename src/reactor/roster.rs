//! The headers of handlers and the lists through them: who is ready, who waits for a wake, who waits for room, which places are free.
//!
//! All lists are intrusive, and a handler may end while its place is still linked. The link then stays with the place, which is free all
//! the same; other marks say what the handler that lives there now has asked for.

mod round;
mod waiting;

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
    /// Due in the next round, but its place is still to come up in this one: it was left there when the kernel had the handler run in an
    /// earlier round.
    const LATER: Marks = Marks(1 << 6);

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
    /// What this pass answers when its round is over.
    pub(super) failed: Option<Error>,
    pub(super) timers: QueueState,
    len: u32,
    /// How many places there are.
    capacity: u32,
    /// The wakes that came, and the last one that any handler has learned of: a new handler begins there.
    wakes: u32,
    wakes_seen: u32,
    stop: bool,
    /// The loop may have to end: it is to stop, nobody is left, something failed, or it was for one pass.
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
            failed: None,
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

    /// The round goes on; then this is answered.
    #[cold]
    pub(super) fn fail(&mut self, error: Error) {
        self.failed = Some(error);
        self.is_over = true;
    }

    pub(super) fn stop(&mut self) {
        self.stop = true;
        self.is_over = true;
    }

    /// Whether `run` returns; forgets that it was asked to.
    #[cold]
    pub(super) fn take_stop(&mut self) -> bool {
        self.is_over = false;
        core::mem::take(&mut self.stop) || self.len == 0
    }

    /// As [`Roster::enqueue`], for a loop over waiters that looks up the headers once.
    #[inline]
    pub(super) fn enqueue(&mut self, headers: &mut [Header], index: u32) {
        let Some(header) = headers.get_mut(index as usize) else { return };
        let was_due = header.marks.has(Marks::DUE);
        header.marks.set(Marks::DUE);
        if !header.marks.has(Marks::QUEUED) {
            header.marks.set(Marks::QUEUED);
            self.ready.push(index, headers, next);
        } else if !was_due && header.round != self.rounds {
            // On the ready list such a place is of the next round anyhow, and its handler has run in this one, or is new.
            header.marks.set(Marks::LATER);
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    pub(super) fn with_roster(test: impl FnOnce(&mut Roster<'_>)) {
        let mut state = ReactorState::new(3);
        let mut headers = heapless::Vec::<Header, 3>::new();
        test(&mut Roster { state: &mut state, headers: Slots::Lent(&mut headers) });
    }

    pub(super) fn spawn(roster: &mut Roster<'_>) -> HandlerId {
        let id = roster.reserve().unwrap();
        roster.settle(id.index() as u32, NIL);
        id
    }

    pub(super) fn round(roster: &mut Roster<'_>) -> Vec<u32> {
        roster.begin_round();
        core::iter::from_fn(|| run_next(roster)).collect()
    }

    pub(super) fn run_next(roster: &mut Roster<'_>) -> Option<u32> {
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
