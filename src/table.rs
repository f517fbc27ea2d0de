//! The [`PollDesc`] table and its gates; pure: generic over the descriptor type, no system call.
//!
//! Most programs never name anything of this module: [`Io`](crate::Io) is the way in. It is public so that it can be fuzzed,
//! model-checked and read by itself. The states of a gate are drawn on the [crate page](crate#a-gate).

use core::num::NonZeroU32;

use crate::error::{Error, Rejected};
pub use crate::gates::{Gate, Waiter};
use crate::interest::{Directions, Interest};
use crate::poll_desc::{NIL, NOBODY, Owner};
pub use crate::poll_desc::{PollDesc, Step, Turn};
use crate::readiness::Readiness;
use crate::storage::Slots;
use crate::time::Instant;
use crate::token::Token;

/// The part of a table that is not its slots.
#[derive(Debug)]
pub(crate) struct TableState {
    free_head: u32,
    /// Of a list that is not empty.
    free_tail: u32,
    closing: u32,
    len: u32,
    retired: u32,
}

impl TableState {
    pub(crate) const fn new() -> TableState {
        TableState { free_head: NIL, free_tail: NIL, closing: NIL, len: 0, retired: 0 }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn retired(&self) -> u32 {
        self.retired
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing != NIL
    }

    /// The token of the next descriptor, if a slot is free.
    #[inline]
    pub(crate) fn next<F>(&self, slots: &[PollDesc<F>]) -> Option<Token> {
        let desc = slots.get(self.free_head as usize)?;
        Some(Token::new(self.free_head, NonZeroU32::new(desc.generation)?))
    }

    /// Puts a descriptor, of which the kernel reports what is `armed`, into the [next](TableState::next) slot, to be [linked](link).
    #[inline]
    pub(crate) fn take<F>(&mut self, slots: &mut [PollDesc<F>], token: Token, fd: F, interest: Interest, armed: Directions) {
        let Some(desc) = slots.get_mut(token.index() as usize) else { return };
        self.free_head = desc.next;
        self.len += 1;
        desc.begin(fd, interest, armed);
    }

    /// Ends the use of a slot whose descriptor was taken out, and which is in the list that begins at `owned`; waits of `by` itself are
    /// withdrawn.
    #[inline]
    pub(crate) fn vacate<F>(&mut self, slots: &mut [PollDesc<F>], index: u32, owned: &mut u32, by: Option<Waiter>) {
        unlink(slots, index, owned);
        self.len -= 1;
        let Some(desc) = slots.get_mut(index as usize) else { return };
        desc.end(by);
        if desc.is_waited_for() {
            // The slot is free only when its waiters have been handed out.
            desc.next = core::mem::replace(&mut self.closing, index);
        } else {
            self.free(slots, index);
        }
    }

    /// Puts a slot whose generation has moved on at the tail of the free list, or retires it when its generations are used up.
    #[inline]
    fn free<F>(&mut self, slots: &mut [PollDesc<F>], index: u32) {
        let Some(desc) = slots.get_mut(index as usize) else { return };
        desc.next = NIL;
        if desc.generation == 0 {
            self.retired += 1;
            return;
        }
        if self.free_head == NIL {
            self.free_head = index;
        } else if let Some(tail) = slots.get_mut(self.free_tail as usize) {
            tail.next = index;
        }
        self.free_tail = index;
    }
}

/// The descriptor table: Go's `pollCache`, of fixed capacity. Slots are reused in the order in which they became free, each with a new
/// generation.
///
/// ```
/// use netpoll::table::{Gate, TableStorage};
/// use netpoll::readiness::Readiness;
/// use netpoll::{Direction, Error, Interest, Waiter};
/// let mut storage = TableStorage::<&str, 1>::new();
/// let mut table = storage.lend();
/// let token = table.insert("tty", Interest::READ).unwrap();
/// assert_eq!(table.insert("can", Interest::READ).unwrap_err().value, "can"); // full: given back
///
/// let tty = table.get_mut(token).unwrap();
/// tty.wait(Direction::Read, Waiter::new(5)); // the call said EAGAIN
/// let mut run = Vec::new();
/// table.edge(token.to_u64(), Readiness::READ, |waiter| run.push(waiter));
/// assert_eq!(run, [Waiter::new(5)]);
/// assert_eq!(table.get_mut(token).unwrap().gate(Direction::Read), Gate::Ready);
///
/// assert_eq!(table.remove(token), Ok("tty"));
/// assert_eq!(table.remove(token), Err(Error::Closed));
/// ```
#[derive(Debug)]
pub struct Table<'a, F> {
    state: &'a mut TableState,
    slots: Slots<'a, PollDesc<F>>,
}

impl<'a, F> Table<'a, F> {
    #[inline]
    pub(crate) fn new(state: &'a mut TableState, slots: Slots<'a, PollDesc<F>>) -> Table<'a, F> {
        Table { state, slots }
    }

    /// How many slots there are, retired ones included.
    pub fn capacity(&self) -> usize {
        self.slots.capacity().min(Token::RESERVED_INDEX as usize)
    }

    /// How many descriptors are open.
    pub fn len(&self) -> usize {
        self.state.len as usize
    }

    /// Whether no descriptor is open.
    pub fn is_empty(&self) -> bool {
        self.state.len == 0
    }

    /// How many slots have used up their generations and are not used again.
    pub fn retired(&self) -> usize {
        self.state.retired as usize
    }

    /// Whether [`insert`](Table::insert) would find a slot.
    pub fn has_room(&self) -> bool {
        self.state.free_head != NIL || self.slots.len() < self.capacity()
    }

    /// Takes a descriptor. Its gates start `Ready`, but the priority gate and the write gate of a connecting socket `Idle`.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], with the descriptor.
    pub fn insert(&mut self, fd: F, interest: Interest) -> Result<Token, Rejected<F>> {
        self.insert_for(NOBODY, &mut NIL.clone(), fd, interest)
    }

    /// Takes a descriptor for `owner`, whose list of descriptors begins at `owned`.
    fn insert_for(&mut self, owner: Owner, owned: &mut u32, fd: F, interest: Interest) -> Result<Token, Rejected<F>> {
        let slots = self.slots.as_mut_slice();
        match self.state.next(slots) {
            Some(token) => {
                self.state.take(slots, token, fd, interest, Directions::NONE);
                link(slots, token.index(), owner, owned);
                Ok(token)
            }
            None if self.grow() => self.insert_for(owner, owned, fd, interest),
            None => Err(Rejected::new(fd, Error::Full)),
        }
    }

    /// Adds a slot while no other is free; says whether there was room for it.
    #[cold]
    #[inline(never)]
    pub(crate) fn grow(&mut self) -> bool {
        let index = self.slots.len();
        let grows = index < self.capacity() && self.slots.push(PollDesc::VACANT).is_ok();
        if grows {
            self.state.free_head = index as u32;
            self.state.free_tail = index as u32;
        }
        grows
    }

    /// The descriptor that `token` names.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it was removed.
    #[inline]
    pub fn get(&self, token: Token) -> Result<&PollDesc<F>, Error> {
        match self.slots.get(token.index()) {
            Some(desc) if desc.generation == token.generation() && desc.fd.is_some() => Ok(desc),
            _ => Err(Error::Closed),
        }
    }

    /// As [`get`](Table::get), to be changed.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it was removed.
    #[inline]
    pub fn get_mut(&mut self, token: Token) -> Result<&mut PollDesc<F>, Error> {
        match self.slots.get_mut(token.index()) {
            Some(desc) if desc.generation == token.generation() && desc.fd.is_some() => Ok(desc),
            _ => Err(Error::Closed),
        }
    }

    /// As [`get_mut`](Table::get_mut), for its owner only.
    #[inline]
    pub(crate) fn get_owned(self, token: Token, owner: Owner) -> Result<&'a mut PollDesc<F>, Error> {
        match self.slots.into_mut_slice().get_mut(token.index() as usize) {
            Some(desc) if desc.generation == token.generation() && desc.owner == owner => Ok(desc),
            Some(desc) if desc.generation == token.generation() && desc.fd.is_some() => Err(Error::NotOwner),
            _ => Err(Error::Closed),
        }
    }

    /// Gives the descriptor back and makes its token stale. Who waits for it comes out of [`take_closing`](Table::take_closing).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if it was removed before.
    pub fn remove(&mut self, token: Token) -> Result<F, Error> {
        self.get(token)?;
        self.remove_at(token.index(), &mut NIL.clone(), None).ok_or(Error::Closed)
    }

    /// As [`remove`](Table::remove), by place; waits of `by` itself are withdrawn.
    fn remove_at(&mut self, index: u32, owned: &mut u32, by: Option<Waiter>) -> Option<F> {
        let slots = self.slots.as_mut_slice();
        let fd = slots.get_mut(index as usize)?.fd.take()?;
        self.state.vacate(slots, index, owned, by);
        Some(fd)
    }

    /// Hands out who waited for a descriptor that was removed, and frees its slot.
    pub fn take_closing(&mut self, mut each: impl FnMut(Waiter)) {
        while let Some(desc) = self.slots.get_mut(self.state.closing) {
            let index = core::mem::replace(&mut self.state.closing, desc.next);
            let waiting = desc.gates.interrupt(Directions::ALL);
            desc.gates.waiters(waiting, &mut each);
            self.state.free(self.slots.as_mut_slice(), index);
        }
    }

    /// The kernel said something about the use of a slot that `bits` name. Hands out who is to be run; says whether that use is still
    /// there. (Bits that no descriptor was ever opened with may name the next use of a vacant slot, which counts as there; nobody waits.)
    #[inline]
    pub fn edge(&mut self, bits: u64, readiness: Readiness, each: impl FnMut(Waiter)) -> bool {
        let found = find(self.slots.as_mut_slice(), bits, u64::MAX);
        found
            .map(|desc| {
                let woken = desc.edge(readiness);
                desc.gates.waiters(woken, each);
            })
            .is_some()
    }

    /// Lets the deadlines of a slot pass and hands out who waited under them. Says when the slot has to be looked at again.
    pub fn expire(&mut self, index: u32, now: Instant, each: impl FnMut(Waiter)) -> Option<Instant> {
        self.slots.get_mut(index)?.expire(now, each)
    }

    /// Gives a descriptor to another owner: its waits end.
    pub(crate) fn give(&mut self, token: Token, owned: &mut u32, to: Owner, to_owned: &mut u32) {
        let index = token.index();
        let slots = self.slots.as_mut_slice();
        if let Some(desc) = slots.get_mut(index as usize) {
            desc.pass_on();
            unlink(slots, index, owned);
            link(slots, index, to, to_owned);
        }
    }

    /// The descriptors in the list that begins at `owned`.
    pub(crate) fn owned(&self, owned: u32) -> impl Iterator<Item = (u32, &PollDesc<F>)> {
        let mut next = owned;
        core::iter::from_fn(move || {
            let desc = self.slots.get(next)?;
            Some((core::mem::replace(&mut next, desc.next), desc))
        })
    }

    /// A descriptor that belongs to `owner`, found by looking at all of them: for an owner whose list was lost to a panic.
    pub(crate) fn find_owned_by(&self, owner: Owner) -> Option<u32> {
        self.slots.as_slice().iter().position(|desc| desc.fd.is_some() && desc.owner == owner).map(|index| index as u32)
    }

    /// Drops all descriptors and forgets everything, generations too: a token from before may come to name a later descriptor.
    pub fn clear(&mut self) {
        self.slots.clear();
        *self.state = TableState::new();
    }
}

/// Puts a descriptor that is in no list at the head of its owner's, which begins at `owned`.
#[inline]
pub(crate) fn link<F>(slots: &mut [PollDesc<F>], index: u32, owner: Owner, owned: &mut u32) {
    let next = if owner == NOBODY { NIL } else { core::mem::replace(owned, index) };
    if let Some(desc) = slots.get_mut(index as usize) {
        desc.owner = owner;
        desc.next = next;
        desc.previous = NIL;
    }
    if let Some(next) = slots.get_mut(next as usize) {
        next.previous = index;
    }
}

#[inline]
fn unlink<F>(slots: &mut [PollDesc<F>], index: u32, owned: &mut u32) {
    let Some(desc) = slots.get(index as usize) else { return };
    let (next, previous) = (desc.next, desc.previous);
    if let Some(next) = slots.get_mut(next as usize) {
        next.previous = previous;
    }
    match slots.get_mut(previous as usize) {
        Some(previous) => previous.next = next,
        None if *owned == index => *owned = next,
        None => {}
    }
}

/// The use of a slot that `bits` name, of which only the `kept` ones are known; for a loop over events that looks up the slots once.
#[inline]
pub(crate) fn find<F>(slots: &mut [PollDesc<F>], bits: u64, kept: u64) -> Option<&mut PollDesc<F>> {
    let desc = slots.get_mut(bits as u32 as usize)?;
    let same = (desc.generation ^ (bits >> 32) as u32) & (kept >> 32) as u32 == 0;
    same.then_some(desc)
}

/// Room for a [`Table`] of `N` descriptors, to be lent.
#[derive(Debug)]
pub struct TableStorage<F, const N: usize> {
    state: TableState,
    slots: heapless::Vec<PollDesc<F>, N>,
}

impl<F, const N: usize> TableStorage<F, N> {
    /// An empty table.
    pub const fn new() -> TableStorage<F, N> {
        TableStorage { state: TableState::new(), slots: heapless::Vec::new() }
    }

    /// The table.
    pub fn lend(&mut self) -> Table<'_, F> {
        Table::new(&mut self.state, Slots::Lent(&mut self.slots))
    }
}

impl<F, const N: usize> Default for TableStorage<F, N> {
    fn default() -> TableStorage<F, N> {
        TableStorage::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interest::Direction;
    use core::num::NonZeroU8;
    use std::vec::Vec;

    const W: Waiter = Waiter::new(1);

    fn woken(table: &mut Table<'_, u32>, token: Token, readiness: Readiness) -> Vec<u32> {
        let mut run = Vec::new();
        assert!(table.edge(token.to_u64(), readiness, |waiter| run.push(waiter.get())));
        run
    }

    #[test]
    fn sticky_ready_before_wait() {
        let mut storage = TableStorage::<u32, 2>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        let desc = table.get_mut(token).unwrap();
        assert_eq!(desc.prepare(Direction::Read, W, None), Step::Call);
        desc.wait(Direction::Read, W);
        desc.unwait(Direction::Read);
        assert_eq!(woken(&mut table, token, Readiness::READ), []);
        assert_eq!(table.get_mut(token).unwrap().prepare(Direction::Read, W, None), Step::Call);
    }

    #[test]
    fn idle_gate_makes_no_call() {
        let mut storage = TableStorage::<u32, 2>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        let desc = table.get_mut(token).unwrap();
        desc.clear_ready(Direction::Read);
        assert_eq!(desc.prepare(Direction::Read, W, None), Step::Wait);
        assert_eq!(desc.gate(Direction::Read), Gate::Waiting(W));
        assert_eq!(desc.gate(Direction::Write), Gate::Ready);
        assert_eq!(woken(&mut table, token, Readiness::READ), [1]);
    }

    #[test]
    fn err_and_hup_wake_both_and_rdhup_the_reader() {
        let mut storage = TableStorage::<u32, 2>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        for (readiness, expected) in [
            (Readiness::ERROR, &[1, 2][..]),
            (Readiness::HUP, &[1, 2]),
            (Readiness::READ_CLOSED, &[1]),
            (Readiness::WRITE, &[2]),
            (Readiness::PRIORITY, &[]),
        ] {
            let desc = table.get_mut(token).unwrap();
            desc.wait(Direction::Read, Waiter::new(1));
            desc.wait(Direction::Write, Waiter::new(2));
            assert_eq!(woken(&mut table, token, readiness), expected, "{readiness:?}");
        }
    }

    #[test]
    fn unopened_direction_is_an_error_and_never_woken() {
        let mut storage = TableStorage::<u32, 2>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::READ).unwrap();
        let desc = table.get_mut(token).unwrap();
        assert_eq!(desc.prepare(Direction::Write, W, None), Step::Fail(Error::NotPollable));
        woken(&mut table, token, Readiness::HUP);
        assert_eq!(table.get_mut(token).unwrap().gate(Direction::Write), Gate::Unopened);
    }

    #[test]
    fn stale_edge_is_dropped_also_for_err_and_hup() {
        let mut storage = TableStorage::<u32, 1>::new();
        let mut table = storage.lend();
        let old = table.insert(3, Interest::default()).unwrap();
        table.remove(old).unwrap();
        let vacant = table.edge(old.to_u64(), Readiness::ERROR | Readiness::HUP, |_| unreachable!());
        assert!(!vacant);
        let new = table.insert(4, Interest::default()).unwrap();
        assert_eq!(new.index(), old.index());
        table.get_mut(new).unwrap().wait(Direction::Read, W);
        assert!(!table.edge(old.to_u64(), Readiness::READ | Readiness::HUP, |_| unreachable!()));
        assert_eq!(table.get(old).err(), Some(Error::Closed));
        assert_eq!(table.remove(old), Err(Error::Closed));
    }

    #[test]
    fn forged_token_of_a_vacant_slot_is_closed() {
        let mut storage = TableStorage::<u32, 1>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        table.remove(token).unwrap();
        let next = Token::from_u64(token.to_u64() + (1 << 32)).unwrap();
        table.edge(next.to_u64(), Readiness::READ, |_| unreachable!());
        assert_eq!(table.remove(next), Err(Error::Closed));
    }

    #[test]
    fn generation_wrap_forced_retires_the_slot() {
        let mut storage = TableStorage::<u32, 2>::new();
        let mut table = storage.lend();
        let first = table.insert(3, Interest::default()).unwrap();
        let other = table.insert(4, Interest::default()).unwrap();
        table.slots.get_mut(first.index()).unwrap().generation = u32::MAX;
        let last = Token::from_u64(u64::from(u32::MAX) << 32).unwrap();
        assert_eq!(table.remove(last), Ok(3));
        assert_eq!((table.retired(), table.len(), table.is_empty()), (1, 1, false));
        assert!(!table.has_room());
        assert_eq!(table.insert(5, Interest::default()).unwrap_err().error, Error::Full);
        assert_eq!(table.remove(last), Err(Error::Closed));
        assert_eq!(table.remove(other), Ok(4));
        assert_eq!((table.retired(), table.len(), table.is_empty()), (1, 0, true));
        assert_eq!(table.insert(5, Interest::default()).unwrap().index(), other.index());
    }

    #[test]
    fn reopen_after_close_reuses_slots_in_order_with_new_generations() {
        let mut storage = TableStorage::<u32, 3>::new();
        let mut table = storage.lend();
        let tokens: Vec<Token> = (0..3).map(|fd| table.insert(fd, Interest::default()).unwrap()).collect();
        for token in &tokens {
            table.remove(*token).unwrap();
        }
        for token in &tokens {
            let again = table.insert(9, Interest::default()).unwrap();
            assert_eq!((again.index(), again.generation()), (token.index(), token.generation() + 1));
        }
    }

    #[test]
    fn waiters_of_a_removed_descriptor_come_out_before_its_slot_is_free() {
        let mut storage = TableStorage::<u32, 1>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        table.get_mut(token).unwrap().wait(Direction::Read, Waiter::new(1));
        table.get_mut(token).unwrap().wait(Direction::Write, Waiter::new(2));
        assert_eq!(table.remove(token), Ok(3));
        assert!(!table.has_room());
        let mut run = Vec::new();
        table.take_closing(|waiter| run.push(waiter.get()));
        assert_eq!(run, [1, 2]);
        assert!(table.has_room() && !table.state.is_closing());
    }

    #[test]
    fn past_deadline_beats_ready_data_and_clearing_lets_it_through() {
        let mut storage = TableStorage::<u32, 1>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        let (now, past) = (Instant::from_nanos(100), Instant::from_nanos(50));
        let desc = table.get_mut(token).unwrap();
        desc.set_deadline(Direction::Read, Some(past), now);
        for _ in 0..2 {
            assert_eq!(desc.prepare(Direction::Read, W, None), Step::Fail(Error::TimedOut));
        }
        assert_eq!(desc.prepare(Direction::Write, W, None), Step::Call);
        desc.set_deadline(Direction::Read, None, now);
        assert_eq!(desc.prepare(Direction::Read, W, None), Step::Call);
    }

    #[test]
    fn deadlines_end_waits_of_their_own_direction_and_keep_readiness() {
        let mut storage = TableStorage::<u32, 1>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        let at = |nanos| Instant::from_nanos(nanos);
        let desc = table.get_mut(token).unwrap();
        desc.wait(Direction::Read, Waiter::new(1));
        desc.wait(Direction::Write, Waiter::new(2));
        assert_eq!(desc.set_deadline(Direction::Read, Some(at(10)), at(1)), Some(at(10)));
        assert_eq!(desc.set_deadline(Direction::Write, Some(at(20)), at(1)), Some(at(20)));
        let mut run = Vec::new();
        assert_eq!(table.expire(0, at(9), |waiter| run.push(waiter.get())), Some(at(10)));
        assert_eq!(run, []);
        assert_eq!(table.expire(0, at(10), |waiter| run.push(waiter.get())), Some(at(20)));
        assert_eq!(run, [1]);
        assert_eq!(table.expire(0, at(20), |waiter| run.push(waiter.get())), None);
        assert_eq!(run, [1, 2]);
    }

    #[test]
    fn equal_read_and_write_deadlines_fire_together() {
        let mut storage = TableStorage::<u32, 1>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        let at = Instant::from_nanos(10);
        let desc = table.get_mut(token).unwrap();
        desc.wait(Direction::Read, Waiter::new(1));
        desc.wait(Direction::Write, Waiter::new(2));
        desc.set_deadline(Direction::Read, Some(at), Instant::from_nanos(1));
        desc.set_deadline(Direction::Write, Some(at), Instant::from_nanos(1));
        let mut run = Vec::new();
        assert_eq!(table.expire(0, at, |waiter| run.push(waiter.get())), None);
        assert_eq!(run, [1, 2]);
    }

    #[test]
    fn budget_is_per_direction_and_per_run() {
        let mut storage = TableStorage::<u32, 1>::new();
        let mut table = storage.lend();
        let token = table.insert(3, Interest::default()).unwrap();
        let desc = table.get_mut(token).unwrap();
        let budget = NonZeroU8::new(2).unwrap();
        let turn = Some(Turn { run: 1, budget });
        assert_eq!(desc.prepare(Direction::Read, W, turn), Step::Call);
        assert_eq!(desc.prepare(Direction::Read, W, turn), Step::Call);
        assert_eq!(desc.prepare(Direction::Read, W, turn), Step::Yield);
        assert_eq!(desc.gate(Direction::Read), Gate::Ready);
        assert_eq!(desc.prepare(Direction::Write, W, turn), Step::Call);
        assert_eq!(desc.prepare(Direction::Read, W, Some(Turn { run: 2, budget })), Step::Call);
    }

    #[test]
    fn stale_token_finds_nothing() {
        let mut storage = TableStorage::<u32, 1>::new();
        let mut table = storage.lend();
        let first = table.insert(3, Interest::default()).unwrap();
        table.remove(first).unwrap();
        let next = Token::from_u64(first.to_u64() + (1 << 32)).unwrap();
        for vacant in [first, next] {
            assert!(table.get(vacant).is_err() && table.get_mut(vacant).is_err());
        }
        // Nor for whoever guesses its next use.
        assert_eq!(storage.lend().get_owned(next, NOBODY).map(drop), Err(Error::Closed));
        let mut table = storage.lend();
        assert_eq!(table.insert(4, Interest::default()).unwrap(), next);
        assert!(table.get(first).is_err() && table.get_mut(first).is_err());
        assert_eq!(table.get(next).unwrap().fd(), Some(&4));
        assert_eq!(table.get_mut(next).unwrap().fd(), Some(&4));
        assert_eq!((table.retired(), table.len()), (0, 1));
    }

    #[test]
    fn removal_of_what_is_in_no_list_leaves_the_list_alone() {
        let mut storage = TableStorage::<u32, 2>::new();
        let mut table = storage.lend();
        let mut owned = NIL;
        let nobodys = table.insert(3, Interest::default()).unwrap();
        let mine = table.insert_for(7, &mut owned, 4, Interest::default()).unwrap();
        assert_eq!(table.remove_at(nobodys.index(), &mut owned, None), Some(3));
        assert_eq!(owned, mine.index());
    }

    #[test]
    fn owners_lists_survive_removal_in_any_order() {
        let mut storage = TableStorage::<u32, 8>::new();
        let mut table = storage.lend();
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let mut owned = NIL;
            let tokens: Vec<Token> = (0..3).map(|fd| table.insert_for(7, &mut owned, fd, Interest::default()).unwrap()).collect();
            for (left, at) in order.into_iter().enumerate().map(|(done, at)| (2 - done, at)) {
                table.remove_at(tokens[at].index(), &mut owned, None).unwrap();
                assert_eq!(table.owned(owned).count(), left);
            }
            assert_eq!(owned, NIL);
        }
        assert!(table.is_empty());
    }

    #[test]
    fn giving_ends_waits_and_moves_between_lists() {
        let mut storage = TableStorage::<u32, 2>::new();
        let mut table = storage.lend();
        let (mut mine, mut theirs) = (NIL, NIL);
        let token = table.insert_for(1, &mut mine, 3, Interest::default()).unwrap();
        table.get_mut(token).unwrap().wait(Direction::Read, W);
        table.give(token, &mut mine, 2, &mut theirs);
        assert_eq!((mine, theirs), (NIL, token.index()));
        assert!(!table.get(token).unwrap().is_waited_for());
        assert!(matches!(Table::new(&mut *table.state, table.slots.reborrow()).get_owned(token, 1), Err(Error::NotOwner)));
        assert!(Table::new(&mut *table.state, table.slots.reborrow()).get_owned(token, 2).is_ok());
    }
}
