//! [`Queue`]: who is to be looked at next, and when. Pure: it knows neither clock nor descriptors.
//!
//! A heap with four children to a node, of at most one entry per key. Keys are the slot numbers of a table, so the heap and the map from
//! keys to places in it share one array of the table's capacity: the first `len` nodes hold the heap, and every node holds the place of the
//! key that is its own index. An entry says no more than "look at this slot at this time": the deadlines themselves stand in the slot, so
//! that moving one out costs nothing here.

use crate::error::Error;
use crate::storage::Slots;
use crate::time::Instant;

/// Children of a node: the siblings among which the earliest is searched are 64 bytes in a row.
const ARITY: usize = 4;

/// The position of a key that has no entry; beyond the end of every heap.
const NONE: u32 = u32::MAX;

/// Storage of a [`Queue`] for one key: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    // Of the heap's entry that lies here.
    at: Instant,
    key: u32,
    // Of the key that is this node's index, and of no concern to the entry.
    position: u32,
}

static_assertions::const_assert_eq!(size_of::<Node>(), 16);

impl Node {
    const VACANT: Node = Node { at: Instant::FAR_FUTURE, key: NONE, position: NONE };
}

/// What a [`Queue`] remembers beside its nodes.
#[derive(Debug, Default)]
pub struct QueueState {
    len: u32,
}

impl QueueState {
    /// Of an empty queue.
    pub const fn new() -> QueueState {
        QueueState { len: 0 }
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }
}

/// The deadline queue: at most one entry per key, the earliest first. Entries of the same time come up in any order.
///
/// What Go keeps in the timer heap of a `P` (`runtime/time.go`), but for slots instead of timers: [`schedule`](Queue::schedule) only ever
/// makes an entry earlier. An entry that comes up too early for its slot is put where it belongs then, by
/// [`postpone_first`](Queue::postpone_first). No operation panics or allocates; all take O(log n) at worst, and `schedule` of a time that
/// is no earlier than the entry's a few instructions.
///
/// ```
/// use netpoll::Instant;
/// use netpoll::deadline::QueueStorage;
///
/// let mut storage = QueueStorage::<8>::new();
/// let mut queue = storage.lend();
/// queue.schedule(3, Instant::from_nanos(20))?;
/// queue.schedule(5, Instant::from_nanos(10))?;
/// queue.schedule(5, Instant::from_nanos(90))?; // no later than 10 already: nothing is done
///
/// assert_eq!(queue.due(Instant::from_nanos(9)), None); // never early
/// assert_eq!(queue.due(Instant::from_nanos(10)), Some(5));
/// queue.postpone_first(Instant::from_nanos(90)); // the owner of 5 was busy meanwhile
/// assert_eq!(queue.next(), Some(Instant::from_nanos(20)));
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Debug)]
pub struct Queue<'a> {
    state: &'a mut QueueState,
    nodes: Slots<'a, Node>,
}

impl<'a> Queue<'a> {
    /// The two must have been together always, or both be empty.
    #[inline]
    pub(crate) fn new(state: &'a mut QueueState, nodes: Slots<'a, Node>) -> Queue<'a> {
        Queue { state, nodes }
    }

    /// Makes sure that `key` comes up no later than `at`.
    ///
    /// An entry that is earlier or equal stays as it is, a later one is moved. A key beyond the capacity is [`Error::Full`], and nothing is
    /// done.
    #[inline]
    pub fn schedule(&mut self, key: u32, at: Instant) -> Result<(), Error> {
        match self.time_of(key) {
            Some(old) if old <= at => Ok(()),
            _ => self.insert_or_advance(key, at),
        }
    }

    #[inline]
    fn time_of(&self, key: u32) -> Option<Instant> {
        let nodes = self.nodes.as_slice();
        let own = nodes.get(key as usize)?;
        nodes.get(own.position as usize).map(|entry| entry.at)
    }

    #[inline(never)]
    fn insert_or_advance(&mut self, key: u32, at: Instant) -> Result<(), Error> {
        if key as usize >= self.nodes.len() {
            if key == NONE || key as usize >= self.nodes.capacity() {
                return Err(Error::Full);
            }
            while self.nodes.len() <= key as usize {
                self.nodes.push(Node::VACANT).map_err(|_| Error::Full)?;
            }
        }
        let nodes = self.nodes.as_mut_slice();
        let mut hole = match nodes.get(key as usize) {
            Some(own) if own.position != NONE => own.position as usize,
            _ => {
                // There are no more entries than keys, and no more keys than nodes.
                let end = self.state.len as usize;
                self.state.len += 1;
                end
            }
        };
        sift_up(nodes, &mut hole, at);
        put(nodes, hole, at, key);
        Ok(())
    }

    /// When the first entry comes up, which may be earlier than any deadline that its owner still has.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        self.first().map(|first| first.at)
    }

    /// The key of the first entry, if it has come up at `now`.
    #[inline]
    pub fn due(&self, now: Instant) -> Option<u32> {
        match self.first() {
            Some(first) if first.at <= now => Some(first.key),
            _ => None,
        }
    }

    #[inline]
    fn first(&self) -> Option<&Node> {
        if self.state.len == 0 { None } else { self.nodes.get(0) }
    }

    /// Moves the first entry to another time, usually a later one: its owner has been looked at.
    pub fn postpone_first(&mut self, at: Instant) {
        if let Some(&Node { key, .. }) = self.first() {
            self.settle(0, at, key);
        }
    }

    /// Forgets the first entry.
    pub fn remove_first(&mut self) {
        if let Some(&Node { key, .. }) = self.first() {
            self.remove_at(0, key);
        }
    }

    /// Forgets the entry of `key`; says whether there was one.
    pub fn remove(&mut self, key: u32) -> bool {
        match self.nodes.get(key) {
            Some(&Node { position, .. }) if position != NONE => {
                self.remove_at(position as usize, key);
                true
            }
            _ => false,
        }
    }

    /// Whether `key` has an entry.
    #[inline]
    pub fn contains(&self, key: u32) -> bool {
        self.time_of(key).is_some()
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether nobody is to be looked at.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.state.len == 0
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.state.len = 0;
        self.nodes.clear();
    }

    /// Takes the entry of `key` out of the heap and fills its place with the last one.
    fn remove_at(&mut self, hole: usize, key: u32) {
        let last = self.state.len.saturating_sub(1) as usize;
        self.state.len = last as u32;
        let nodes = self.nodes.as_mut_slice();
        if let Some(own) = nodes.get_mut(key as usize) {
            own.position = NONE;
        }
        match nodes.get(last) {
            Some(&Node { at, key, .. }) if hole != last => settle_from_below(nodes, last, hole, at, key),
            _ => {}
        }
    }

    /// Puts an entry into the heap, into `hole` or as far above or below as its time demands.
    fn settle(&mut self, hole: usize, at: Instant, key: u32) {
        settle_from_below(self.nodes.as_mut_slice(), self.state.len as usize, hole, at, key);
    }
}

/// Writes an entry into the heap's place `position`.
#[inline]
fn put(nodes: &mut [Node], position: usize, at: Instant, key: u32) {
    if let Some(node) = nodes.get_mut(position) {
        node.at = at;
        node.key = key;
    }
    if let Some(own) = nodes.get_mut(key as usize) {
        own.position = position as u32;
    }
}

/// Moves parents down into `hole` while they are later than `at`.
#[inline]
fn sift_up(nodes: &mut [Node], hole: &mut usize, at: Instant) {
    while let Some(below) = hole.checked_sub(1) {
        let parent = below / ARITY;
        match nodes.get(parent) {
            Some(&node) if node.at > at => put(nodes, *hole, node.at, node.key),
            _ => return,
        }
        *hole = parent;
    }
}

/// Sends the hole down to the last generation without a look at the entry that is to fill it, and that one up from there: it comes from
/// the end of the heap, or was pushed out, and belongs near the bottom.
#[inline(never)]
fn settle_from_below(nodes: &mut [Node], len: usize, mut hole: usize, at: Instant, key: u32) {
    while let Some((child, node)) = earliest_child(nodes, len, hole) {
        put(nodes, hole, node.at, node.key);
        hole = child;
    }
    sift_up(nodes, &mut hole, at);
    put(nodes, hole, at, key);
}

/// The earliest child of the heap's place `parent`, and its place.
#[inline]
fn earliest_child(nodes: &[Node], len: usize, parent: usize) -> Option<(usize, Node)> {
    let first = parent * ARITY + 1;
    let children = nodes.get(first..len)?;
    match children.first_chunk::<ARITY>() {
        Some([a, b, c, d]) => {
            let (left, left_at) = if b.at < a.at { (1, b.at) } else { (0, a.at) };
            let (right, right_at) = if d.at < c.at { (3, d.at) } else { (2, c.at) };
            let child = if right_at < left_at { right } else { left };
            children.get(child).map(|&node| (first + child, node))
        }
        None => children.iter().enumerate().min_by_key(|(_, node)| node.at).map(|(child, &node)| (first + child, node)),
    }
}

/// Room for a [`Queue`] of its own, of keys below `N`: for fuzzers, models and programs that have timers but no reactor.
///
/// All zero, so that a `static` lies in `.bss`.
#[derive(Debug, Default)]
pub struct QueueStorage<const N: usize> {
    state: QueueState,
    nodes: heapless::Vec<Node, N>,
}

impl<const N: usize> QueueStorage<N> {
    /// Room for the keys `0..N`.
    pub const fn new() -> QueueStorage<N> {
        QueueStorage { state: QueueState::new(), nodes: heapless::Vec::new() }
    }

    /// Lends the queue with the entries that it has.
    pub fn lend(&mut self) -> Queue<'_> {
        Queue::new(&mut self.state, Slots::Lent(&mut self.nodes))
    }
}

/// Room for a [`Queue`] on the heap, of a capacity chosen at run time.
#[cfg(feature = "alloc")]
#[derive(Debug, Default)]
pub struct BoxedQueueStorage {
    state: QueueState,
    nodes: alloc::vec::Vec<Node>,
}

#[cfg(feature = "alloc")]
impl BoxedQueueStorage {
    /// Room for the keys `0..capacity`, allocated now and never again.
    pub fn with_capacity(capacity: usize) -> BoxedQueueStorage {
        BoxedQueueStorage { state: QueueState::new(), nodes: alloc::vec::Vec::with_capacity(capacity) }
    }

    /// Lends the queue with the entries that it has.
    pub fn lend(&mut self) -> Queue<'_> {
        Queue::new(&mut self.state, Slots::Boxed(&mut self.nodes))
    }
}

#[cfg(test)]
impl Queue<'_> {
    /// That the heap is a heap, and that positions and entries name each other.
    fn check(&self) {
        let nodes = self.nodes.as_slice();
        assert!(self.len() <= nodes.len());
        assert_eq!(self.len(), nodes.iter().filter(|node| node.position != NONE).count());
        for (place, node) in nodes.iter().enumerate().take(self.len()) {
            assert_eq!(nodes[node.key as usize].position as usize, place);
            assert!(place == 0 || nodes[(place - 1) / ARITY].at <= node.at, "child {place} is earlier than its parent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    /// Takes everything out, first to last.
    fn drain(queue: &mut Queue<'_>) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        while let (Some(at), Some(key)) = (queue.next(), queue.due(Instant::FAR_FUTURE)) {
            queue.remove_first();
            queue.check();
            all.push((at.as_nanos(), key));
        }
        assert!(queue.is_empty());
        all
    }

    struct XorShift(u64);

    impl XorShift {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    #[test]
    fn empty_queue_has_nothing_to_say() {
        let mut storage = QueueStorage::<4>::new();
        let mut queue = storage.lend();
        assert_eq!((queue.next(), queue.due(Instant::FAR_FUTURE), queue.len(), queue.contains(0)), (None, None, 0, false));
        queue.remove_first();
        queue.postpone_first(at(1));
        queue.clear();
        assert!(!queue.remove(0) && !queue.remove(NONE) && !queue.contains(NONE));
        queue.check();
        assert!(queue.is_empty());
    }

    #[test]
    fn first_to_last_and_never_early() {
        let mut storage = QueueStorage::<8>::new();
        let mut queue = storage.lend();
        for (key, nanos) in [(7, 70), (0, 10), (3, 30), (1, 20)] {
            queue.schedule(key, at(nanos)).unwrap();
            queue.check();
        }
        assert_eq!((queue.due(at(9)), queue.due(at(10)), queue.due(at(1000))), (None, Some(0), Some(0)));
        assert_eq!((queue.len(), queue.is_empty()), (4, false));
        assert_eq!(drain(&mut queue), [(10, 0), (20, 1), (30, 3), (70, 7)]);
    }

    #[test]
    fn ties_all_come_up() {
        let mut storage = QueueStorage::<100>::new();
        let mut queue = storage.lend();
        for key in 0..100 {
            queue.schedule(key, at(u64::from(key % 3))).unwrap();
        }
        queue.check();
        let mut all = drain(&mut queue);
        assert!(all.is_sorted_by_key(|&(at, _)| at));
        all.sort();
        let mut expected: Vec<_> = (0..100).map(|key| (u64::from(key % 3), key)).collect();
        expected.sort();
        assert_eq!(all, expected);
    }

    #[test]
    fn one_entry_per_key_which_only_moves_earlier() {
        // Row 62: re-armed earlier and later.
        let mut storage = QueueStorage::<4>::new();
        let mut queue = storage.lend();
        queue.schedule(1, at(50)).unwrap();
        queue.schedule(2, at(40)).unwrap();
        for later_or_equal in [50, 51, u64::MAX] {
            queue.schedule(1, at(later_or_equal)).unwrap();
            assert_eq!((queue.len(), queue.due(at(49))), (2, Some(2)));
        }
        queue.schedule(1, at(30)).unwrap();
        queue.check();
        assert_eq!(drain(&mut queue), [(30, 1), (40, 2)]);
        // A key that was taken out is like a new one.
        queue.schedule(1, at(90)).unwrap();
        assert_eq!(drain(&mut queue), [(90, 1)]);
    }

    #[test]
    fn postponed_entry_comes_up_again() {
        let mut storage = QueueStorage::<8>::new();
        let mut queue = storage.lend();
        for key in 0..8 {
            queue.schedule(key, at(10 + u64::from(key))).unwrap();
        }
        queue.postpone_first(at(14));
        queue.check();
        assert_eq!(queue.due(at(13)), Some(1));
        queue.postpone_first(Instant::FAR_FUTURE);
        queue.check();
        // Also to an earlier time, and to the same.
        queue.postpone_first(at(3));
        queue.postpone_first(at(3));
        queue.check();
        let mut all = drain(&mut queue);
        all.sort();
        assert_eq!(all, [(3, 2), (13, 3), (14, 0), (14, 4), (15, 5), (16, 6), (17, 7), (u64::MAX, 1)]);
    }

    #[test]
    fn far_future_is_a_time_like_others() {
        let mut storage = QueueStorage::<2>::new();
        let mut queue = storage.lend();
        queue.schedule(0, Instant::FAR_FUTURE).unwrap();
        assert!(queue.contains(0));
        assert_eq!((queue.next(), queue.due(at(u64::MAX - 1))), (Some(Instant::FAR_FUTURE), None));
        queue.schedule(1, at(0)).unwrap();
        queue.check();
        assert_eq!(drain(&mut queue), [(0, 1), (u64::MAX, 0)]);
    }

    #[test]
    fn all_keys_have_room() {
        let mut storage = QueueStorage::<5>::new();
        let mut queue = storage.lend();
        for key in (0..5).rev() {
            queue.schedule(key, at(7)).unwrap();
            queue.check();
        }
        assert_eq!(queue.len(), 5);
        assert_eq!(drain(&mut queue).len(), 5);
    }

    #[test]
    fn timer_table_full_keeps_old() {
        // G38
        let mut storage = QueueStorage::<2>::new();
        let mut queue = storage.lend();
        queue.schedule(0, at(5)).unwrap();
        for beyond in [2, 3, NONE - 1, NONE] {
            assert_eq!(queue.schedule(beyond, at(1)), Err(Error::Full));
            assert!(!queue.contains(beyond) && !queue.remove(beyond));
            queue.check();
            assert_eq!((queue.len(), queue.nodes.len(), queue.next()), (1, 1, Some(at(5))));
        }
        assert_eq!(QueueStorage::<0>::new().lend().schedule(0, at(0)), Err(Error::Full));
    }

    #[test]
    fn removed_from_anywhere() {
        // Row 64: a closed slot's entry is gone.
        const KEYS: u32 = 23;
        for removed in 0..KEYS {
            let mut storage = QueueStorage::<{ KEYS as usize }>::new();
            let mut queue = storage.lend();
            for key in 0..KEYS {
                queue.schedule(key, at(u64::from(key * 5 % KEYS))).unwrap();
            }
            assert!(queue.remove(removed));
            queue.check();
            assert!(!queue.contains(removed) && !queue.remove(removed));
            let all = drain(&mut queue);
            assert_eq!(all.len(), KEYS as usize - 1);
            assert!(all.is_sorted() && all.iter().all(|&(_, key)| key != removed));
        }
    }

    #[test]
    fn removal_fills_the_hole_from_another_branch() {
        // The last entry (7, below the 5) is earlier than the parent (20) of the hole: it has to go up.
        let mut storage = QueueStorage::<10>::new();
        let mut queue = storage.lend();
        for (key, nanos) in [0, 20, 5, 6, 6, 30, 31, 32, 33, 7].into_iter().enumerate() {
            queue.schedule(key as u32, at(nanos)).unwrap();
        }
        assert!(queue.remove(5));
        queue.check();
        assert_eq!(drain(&mut queue).iter().map(|&(at, _)| at).collect::<Vec<_>>(), [0, 5, 6, 6, 7, 20, 31, 32, 33]);
    }

    #[test]
    fn lent_again_as_it_was_and_cleared() {
        let mut storage = QueueStorage::<4>::default();
        storage.lend().schedule(3, at(1)).unwrap();
        let mut queue = storage.lend();
        assert_eq!(queue.due(at(1)), Some(3));
        queue.clear();
        queue.check();
        assert!(queue.is_empty() && !queue.contains(3) && queue.next().is_none());
        queue.schedule(3, at(9)).unwrap();
        assert_eq!(drain(&mut queue), [(9, 3)]);
    }

    /// Miri interprets.
    const STEPS: u32 = if cfg!(miri) { 60 } else { 3000 };

    /// Random operations beside a sorted model; `span` is how many different times there are.
    fn against_model(queue: &mut Queue<'_>, keys: u64, span: u64, steps: u32, random: &mut XorShift) {
        let mut model = BTreeMap::new();
        for _ in 0..steps {
            // Some keys are beyond the capacity.
            let (key, time) = (random.below(keys + 2) as u32, random.below(span));
            match random.below(16) {
                0..=7 if u64::from(key) < keys => {
                    queue.schedule(key, at(time)).unwrap();
                    model.entry(key).and_modify(|old| *old = time.min(*old)).or_insert(time);
                }
                0..=7 => assert_eq!(queue.schedule(key, at(time)), Err(Error::Full)),
                8..=9 => assert_eq!(queue.remove(key), model.remove(&key).is_some()),
                10..=12 => match queue.due(at(time)) {
                    Some(due) => {
                        assert_eq!(model.get(&due), model.values().min());
                        assert!(model.remove(&due).is_some_and(|first| first <= time));
                        queue.remove_first();
                    }
                    None => assert!(model.values().all(|&other| other > time)),
                },
                13..=14 => {
                    if let Some(due) = queue.due(Instant::FAR_FUTURE) {
                        assert_eq!(model.get(&due), model.values().min());
                        model.insert(due, time);
                        queue.postpone_first(at(time));
                    }
                }
                _ if random.below(200) == 0 => {
                    queue.clear();
                    model.clear();
                }
                _ => assert_eq!(queue.contains(key), model.contains_key(&key)),
            }
            queue.check();
            assert_eq!((queue.len(), queue.next()), (model.len(), model.values().min().map(|&first| at(first))));
        }
        let mut all = drain(queue);
        assert!(all.is_sorted_by_key(|&(at, _)| at));
        all.sort();
        let mut expected: Vec<_> = model.into_iter().map(|(key, at)| (at, key)).collect();
        expected.sort();
        assert_eq!(all, expected);
    }

    #[test]
    fn agrees_with_a_sorted_model() {
        let mut random = XorShift(88_172_645_463_325_252);
        for span in [1, 4, 1000, u64::MAX] {
            against_model(&mut QueueStorage::<1>::new().lend(), 1, span, STEPS / 6, &mut random);
            against_model(&mut QueueStorage::<6>::new().lend(), 6, span, STEPS, &mut random);
            against_model(&mut QueueStorage::<85>::new().lend(), 85, span, STEPS, &mut random);
        }
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn boxed_storage_agrees_too() {
        let mut random = XorShift(3);
        let mut storage = BoxedQueueStorage::with_capacity(30);
        let capacity = storage.nodes.capacity();
        assert!(capacity >= 30);
        against_model(&mut storage.lend(), capacity as u64, 1000, STEPS, &mut random);
        assert_eq!(storage.nodes.capacity(), capacity);
        assert_eq!(BoxedQueueStorage::default().lend().schedule(0, at(0)), Err(Error::Full));
    }
}
