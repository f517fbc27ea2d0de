//! The headers of handlers and the lists through them: who is ready, who waits for a wake, who waits for room, which places are free.
//!
//! All lists are intrusive. A handler may end while its place is still linked: on the ready list its place is then freed when the list passes it; on
//! the other two the link stays with the place, and a mark says whether the handler that lives there now has asked for anything.

use core::num::NonZeroU32;

use crate::deadline::QueueState;
use crate::error::Error;
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

    /// The handler's place: below the storage's number of handlers, and no other living handler's. An index for tables of the program's own.
    pub const fn index(self) -> usize {
        self.0.index() as usize
    }
}

/// What a place is to the lists, and what its handler has been told. The first three belong to the place, the others to the handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marks(u8);

impl Marks {
    const QUEUED: Marks = Marks(1);
    const LINKED_WAKE: Marks = Marks(1 << 1);
    const LINKED_ROOM: Marks = Marks(1 << 2);
    const OF_THE_PLACE: Marks = Marks(0b111);
    const WAITS_WAKE: Marks = Marks(1 << 3);
    const WAITS_ROOM: Marks = Marks(1 << 4);
    const WOKEN: Marks = Marks(1 << 5);
    const NOTIFIED: Marks = Marks(1 << 6);

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
pub(super) enum Life {
    Vacant,
    Live,
    /// Ended while on the ready list.
    Ended,
}

/// All of a handler but itself.
#[derive(Debug)]
pub(crate) struct Header {
    pub(super) timer: Deadline,
    generation: u32,
    /// Where the list of its descriptors begins.
    pub(super) owned: u32,
    /// Of the ready list, or of the free list.
    next: u32,
    next_wake: u32,
    next_room: u32,
    marks: Marks,
    pub(super) life: Life,
}

static_assertions::const_assert!(core::mem::size_of::<Header>() <= 32);

impl Header {
    const VACANT: Header = Header {
        timer: Deadline::NONE,
        generation: 1,
        owned: NIL,
        next: NIL,
        next_wake: NIL,
        next_room: NIL,
        marks: Marks(0),
        life: Life::Vacant,
    };

    pub(super) fn is_queued(&self) -> bool {
        self.marks.has(Marks::QUEUED)
    }

    pub(super) fn waits_for_wake(&self) -> bool {
        self.marks.has(Marks::WAITS_WAKE)
    }

    pub(super) fn take_notified(&mut self) -> bool {
        self.marks.take(Marks::NOTIFIED)
    }
}

/// First in, first out.
#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: List = List { head: NIL, tail: NIL };

    #[inline]
    fn push(&mut self, index: u32, headers: &mut [Header]) {
        match headers.get_mut(self.tail as usize) {
            Some(tail) => tail.next = index,
            None => self.head = index,
        }
        self.tail = index;
    }

    #[inline]
    fn pop<'h>(&mut self, headers: &'h mut [Header]) -> Option<(u32, &'h mut Header)> {
        let index = self.head;
        let header = headers.get_mut(index as usize)?;
        self.head = core::mem::replace(&mut header.next, NIL);
        if self.head == NIL {
            self.tail = NIL;
        }
        Some((index, header))
    }
}

/// The part of a reactor that is neither headers nor handlers. Nothing of a round is kept in locals, so a handler's panic leaves nothing half-known.
#[derive(Debug)]
pub(crate) struct ReactorState {
    free: List,
    /// What is left of the round.
    round: List,
    /// Who runs in the next round.
    ready: List,
    wake_waiters: u32,
    room_waiters: u32,
    pub(super) timers: QueueState,
    len: u32,
    /// A wake came while nobody waited for one.
    wake_remembered: bool,
    pub(super) stop: bool,
    pub(super) running: u32,
}

impl ReactorState {
    pub(super) const fn new() -> ReactorState {
        ReactorState {
            free: List::EMPTY,
            round: List::EMPTY,
            ready: List::EMPTY,
            wake_waiters: NIL,
            room_waiters: NIL,
            timers: QueueState::new(),
            len: 0,
            wake_remembered: false,
            stop: false,
            running: NIL,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// As [`Roster::enqueue`], for a loop over waiters that looks up the headers once.
    #[inline]
    pub(super) fn enqueue(&mut self, headers: &mut [Header], index: u32) {
        if let Some(header) = headers.get_mut(index as usize)
            && !header.is_queued()
            && header.life == Life::Live
        {
            header.marks.set(Marks::QUEUED);
            self.ready.push(index, headers);
        }
    }

    pub(super) fn anybody_ready(&self) -> bool {
        self.round.head != NIL || self.ready.head != NIL
    }
}

/// The headers with their lists.
pub(super) struct Roster<'a> {
    pub(super) state: &'a mut ReactorState,
    pub(super) headers: Slots<'a, Header>,
}

impl Roster<'_> {
    pub(super) fn has_room(&self) -> bool {
        self.state.free.head != NIL || self.headers.len() < self.headers.capacity()
    }

    /// A place for a new handler, which is run in the next round.
    pub(super) fn take_place(&mut self) -> Option<HandlerId> {
        let index = match self.state.free.pop(self.headers.as_mut_slice()) {
            Some((index, _)) => index,
            None => {
                let index = u32::try_from(self.headers.len()).ok().filter(|&index| index < Token::RESERVED_INDEX)?;
                self.headers.push(Header::VACANT).ok()?;
                index
            }
        };
        let header = self.headers.get_mut(index)?;
        let id = HandlerId::new(index, header.generation)?;
        header.life = Life::Live;
        self.state.len += 1;
        self.enqueue(index);
        Some(id)
    }

    /// The handler in this place has ended. Says whether the place is free already.
    pub(super) fn leave_place(&mut self, index: u32) -> bool {
        let Some(header) = self.headers.get_mut(index).filter(|header| header.life == Life::Live) else { return false };
        header.generation = header.generation.wrapping_add(1);
        header.timer = Deadline::NONE;
        header.owned = NIL;
        header.marks.0 &= Marks::OF_THE_PLACE.0;
        self.state.len -= 1;
        if header.is_queued() {
            header.life = Life::Ended;
            return false;
        }
        self.free_place(index);
        true
    }

    fn free_place(&mut self, index: u32) {
        if let Some(header) = self.headers.get_mut(index) {
            header.life = Life::Vacant;
            // A place whose generations are used up is not used again.
            if header.generation != 0 {
                self.state.free.push(index, self.headers.as_mut_slice());
            }
        }
    }

    /// # Errors
    ///
    /// [`Error::Closed`] if that handler has ended.
    pub(super) fn find(&mut self, id: HandlerId) -> Result<(u32, &mut Header), Error> {
        let index = id.0.index();
        match self.headers.get_mut(index) {
            Some(header) if header.generation == id.0.generation() && header.life == Life::Live => Ok((index, header)),
            _ => Err(Error::Closed),
        }
    }

    /// Runs a handler in the next round, unless it is still to be run in this one.
    #[inline]
    pub(super) fn enqueue(&mut self, index: u32) {
        self.state.enqueue(self.headers.as_mut_slice(), index);
    }

    /// Whoever is ready now is this round; who becomes ready during it is the next.
    pub(super) fn begin_round(&mut self) {
        if self.state.round.head == NIL {
            self.state.round = core::mem::replace(&mut self.state.ready, List::EMPTY);
        }
    }

    /// The next handler of this round that is still alive. `freed` is set when a place became free.
    #[inline]
    pub(super) fn next(&mut self, freed: &mut bool) -> Option<u32> {
        loop {
            let (index, header) = self.state.round.pop(self.headers.as_mut_slice())?;
            header.marks.take(Marks::QUEUED);
            match header.life {
                Life::Live => {
                    header.marks.take(Marks::WAITS_ROOM);
                    return Some(index);
                }
                Life::Ended => {
                    self.free_place(index);
                    *freed = true;
                }
                Life::Vacant => {}
            }
        }
    }

    pub(super) fn notify(&mut self, index: u32) {
        if let Some(header) = self.headers.get_mut(index).filter(|header| header.life == Life::Live) {
            header.marks.set(Marks::NOTIFIED);
            self.enqueue(index);
        }
    }

    pub(super) fn notify_all(&mut self) {
        for index in 0..self.headers.len() as u32 {
            self.notify(index);
        }
    }

    /// The breaker was used: runs all who wait for it, or remembers it.
    pub(super) fn wake(&mut self) {
        let mut anybody = false;
        while let Some(header) = self.headers.get_mut(self.state.wake_waiters) {
            let index = core::mem::replace(&mut self.state.wake_waiters, core::mem::replace(&mut header.next_wake, NIL));
            header.marks.take(Marks::LINKED_WAKE);
            if header.marks.take(Marks::WAITS_WAKE) {
                header.marks.set(Marks::WOKEN);
                anybody = true;
                self.enqueue(index);
            }
        }
        self.state.wake_remembered |= !anybody;
    }

    /// Whether a wake has come for this handler; if not, it waits for the next one.
    pub(super) fn take_wake(&mut self, index: u32) -> bool {
        let Some(header) = self.headers.get_mut(index) else { return false };
        if header.marks.take(Marks::WOKEN) || core::mem::take(&mut self.state.wake_remembered) {
            return true;
        }
        header.marks.set(Marks::WAITS_WAKE);
        if !header.marks.has(Marks::LINKED_WAKE) {
            header.marks.set(Marks::LINKED_WAKE);
            header.next_wake = core::mem::replace(&mut self.state.wake_waiters, index);
        }
        false
    }

    pub(super) fn wait_for_room(&mut self, index: u32) {
        let Some(header) = self.headers.get_mut(index) else { return };
        header.marks.set(Marks::WAITS_ROOM);
        if !header.marks.has(Marks::LINKED_ROOM) {
            header.marks.set(Marks::LINKED_ROOM);
            header.next_room = core::mem::replace(&mut self.state.room_waiters, index);
        }
    }

    /// A slot was freed: runs all who wait for room.
    pub(super) fn release_room_waiters(&mut self) {
        while let Some(header) = self.headers.get_mut(self.state.room_waiters) {
            let index = core::mem::replace(&mut self.state.room_waiters, core::mem::replace(&mut header.next_room, NIL));
            header.marks.take(Marks::LINKED_ROOM);
            if header.marks.take(Marks::WAITS_ROOM) {
                self.enqueue(index);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.headers.clear();
        *self.state = ReactorState::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn with_roster(test: impl FnOnce(&mut Roster<'_>)) {
        let mut state = ReactorState::new();
        let mut headers = heapless::Vec::<Header, 3>::new();
        test(&mut Roster { state: &mut state, headers: Slots::Lent(&mut headers) });
    }

    fn round(roster: &mut Roster<'_>) -> Vec<u32> {
        roster.begin_round();
        core::iter::from_fn(|| roster.next(&mut false)).collect()
    }

    #[test]
    fn a_place_on_the_list_is_freed_when_the_list_passes_it() {
        with_roster(|roster| {
            let ids: Vec<HandlerId> = (0..3).map(|_| roster.take_place().unwrap()).collect();
            assert!(!roster.leave_place(1));
            assert!(!roster.has_room() && roster.find(ids[1]).is_err());
            assert_eq!(round(roster), [0, 2]);
            assert!(roster.has_room());
            let again = roster.take_place().unwrap();
            assert_eq!(again.index(), 1);
            assert_ne!(again, ids[1]);
        });
    }

    #[test]
    fn queued_once_and_in_the_next_round() {
        with_roster(|roster| {
            assert!(roster.take_place().is_some() && roster.take_place().is_some());
            roster.begin_round();
            assert_eq!(roster.next(&mut false), Some(0));
            roster.notify(0);
            roster.notify(1);
            roster.notify(1);
            assert_eq!(roster.next(&mut false), Some(1));
            assert_eq!(roster.next(&mut false), None);
            assert_eq!(round(roster), [0]);
        });
    }

    #[test]
    fn links_left_by_an_ended_handler_do_not_run_its_successor() {
        with_roster(|roster| {
            roster.take_place().unwrap();
            assert_eq!(round(roster), [0]);
            assert!(!roster.take_wake(0));
            roster.wait_for_room(0);
            assert!(roster.leave_place(0));
            roster.take_place().unwrap();
            assert_eq!(round(roster), [0]);
            roster.wake();
            roster.release_room_waiters();
            assert_eq!(round(roster), []);
            // Nobody waited, so the wake is remembered.
            assert!(roster.take_wake(0));
            assert!(!roster.take_wake(0));
        });
    }

    #[test]
    fn generation_wrap_forced_retires_the_place() {
        with_roster(|roster| {
            roster.take_place().unwrap();
            assert_eq!(round(roster), [0]);
            roster.headers.get_mut(0).unwrap().generation = u32::MAX;
            roster.leave_place(0);
            assert_eq!(roster.take_place().unwrap().index(), 1);
        });
    }
}
