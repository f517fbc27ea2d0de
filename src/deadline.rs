//! [`Queue`]: who is to be looked at next, and when. Pure: it knows neither clock nor descriptors.
//!
//! A heap with four children to a node, of at most one entry per key. Keys are the slot numbers of a table, so the heap and the map from keys to
//! places in it share one array of the table's capacity: the first `len` nodes hold the heap, and every node holds the place of the key that is its own index.
//! An entry says no more than "look at this slot at this time": the deadlines themselves stand in the slot, so that moving one out costs nothing here.

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
/// What Go keeps in the timer heap of a `P` (`runtime/time.go`), but for slots instead of timers: [`schedule`](Queue::schedule) only ever makes an entry earlier.
/// An entry that comes up too early for its slot is put where it belongs then, by [`postpone_first`](Queue::postpone_first). No operation panics or allocates;
/// all take O(log n) at worst, and `schedule` of a time that is no earlier than the entry's a few instructions.
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
    /// An entry that is earlier or equal stays as it is, a later one is moved. A key beyond the capacity is [`Error::Full`], and nothing is done.
    #[inline]
    pub fn schedule(&mut self, key: u32, at: Instant) -> Result<(), Error> {
        match self.entry(key) {
            Some(entry) if entry.at <= at => Ok(()),
            _ => self.insert_or_advance(key, at),
        }
    }

    #[inline]
    fn entry(&self, key: u32) -> Option<&Node> {
        self.nodes.get(key).and_then(|own| self.nodes.get(own.position))
    }

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
        self.entry(key).is_some()
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
        let last = self.state.len.saturating_sub(1);
        self.state.len = last;
        let nodes = self.nodes.as_mut_slice();
        if let Some(own) = nodes.get_mut(key as usize) {
            own.position = NONE;
        }
        match nodes.get(last as usize) {
            Some(&Node { at, key, .. }) if hole != last as usize => self.settle(hole, at, key),
            _ => {}
        }
    }

    /// Puts an entry into the heap, into `hole` or as far above or below as its time demands.
    fn settle(&mut self, mut hole: usize, at: Instant, key: u32) {
        let nodes = self.nodes.as_mut_slice();
        sift_up(nodes, &mut hole, at);
        sift_down(nodes, self.state.len as usize, &mut hole, at);
        put(nodes, hole, at, key);
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

/// Moves earliest children up into `hole` while they are earlier than `at`.
#[inline]
fn sift_down(nodes: &mut [Node], len: usize, hole: &mut usize, at: Instant) {
    while let Some((child, node)) = earliest_child(nodes, len, *hole) {
        if node.at >= at {
            return;
        }
        put(nodes, *hole, node.at, node.key);
        *hole = child;
    }
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
