//! The readings on their way to the broker: a bounded queue, and the window of those that were published and not acknowledged yet.
//!
//! ```text
//!   meter ──put──> queue ──next──> window ──acknowledge──> gone
//!                                   └─ after begin: once more, in order, with DUP
//! ```
//!
//! When the queue is full the meter waits. Nothing is ever dropped here: a reading leaves when the broker has acknowledged it.
//! (`netpoll::Outbox` forgets a message when it is written, which is too early for QoS 1.)

use core::num::NonZeroU16;
use heapless::Deque;

/// Readings that there is memory for before they are published.
pub const QUEUE_MAX: usize = 1024;

/// Readings that may be published and not acknowledged.
pub const WINDOW: usize = 16;

/// What the meter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub seq: u64,
    pub power_w: u32,
}

/// A reading as it is to be published now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub reading: Reading,
    /// The packet identifier: the same each time that it is published.
    pub id: NonZeroU16,
    /// It may have been published on an earlier connection.
    pub dup: bool,
}

pub struct Spool {
    queue: Deque<Reading, QUEUE_MAX>,
    capacity: usize,
    window: Deque<InFlight, WINDOW>,
    last_id: u16,
}

struct InFlight {
    message: Message,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    ToSend,
    Sent,
    /// Before an earlier one, which keeps its place.
    Acknowledged,
}

impl Spool {
    /// Without any room. All zeros, so that a static one takes no space in the program's file.
    pub const fn new() -> Spool {
        Spool { queue: Deque::new(), capacity: 0, window: Deque::new(), last_id: 0 }
    }

    /// Lets the queue hold `readings`, at most [`QUEUE_MAX`].
    pub fn set_capacity(&mut self, readings: usize) {
        self.capacity = readings.min(QUEUE_MAX);
    }

    pub fn has_room(&self) -> bool {
        self.queue.len() < self.capacity
    }

    /// Queues a reading, or gives it back if there is no [room](Spool::has_room).
    pub fn put(&mut self, reading: Reading) -> Result<(), Reading> {
        if self.has_room() { self.queue.push_back(reading) } else { Err(reading) }
    }

    /// How many readings nobody has acknowledged yet.
    pub fn len(&self) -> usize {
        self.queue.len() + self.window.iter().filter(|entry| entry.state != State::Acknowledged).count()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.window.is_empty()
    }

    /// A new connection: what is in the window is to be sent on it first. Answers how much that is.
    pub fn begin(&mut self) -> usize {
        let mut again = 0;
        for entry in self.window.iter_mut().filter(|entry| entry.state != State::Acknowledged) {
            entry.state = State::ToSend;
            entry.message.dup = true;
            again += 1;
        }
        again
    }

    /// What is to be published next on this connection; none while the window is full.
    pub fn next(&mut self) -> Option<Message> {
        if let Some(entry) = self.window.iter_mut().find(|entry| entry.state == State::ToSend) {
            entry.state = State::Sent;
            return Some(entry.message);
        }
        if self.window.is_full() {
            return None;
        }
        let reading = self.queue.pop_front()?;
        // Identifiers are given in turn, and the window holds far fewer than there are: none is in use.
        let id = NonZeroU16::new(self.last_id.wrapping_add(1)).unwrap_or(NonZeroU16::MIN);
        self.last_id = id.get();
        let message = Message { reading, id, dup: false };
        let _ = self.window.push_back(InFlight { message, state: State::Sent });
        Some(message)
    }

    /// The broker has this one. False if it was not published on this connection, or is acknowledged already.
    pub fn acknowledge(&mut self, id: NonZeroU16) -> bool {
        let Some(entry) = self.window.iter_mut().find(|entry| entry.message.id == id && entry.state == State::Sent) else { return false };
        entry.state = State::Acknowledged;
        while self.window.pop_front_if(|first| first.state == State::Acknowledged).is_some() {}
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(seq: u64) -> Reading {
        Reading { seq, power_w: 1 }
    }

    /// A spool with `readings` in its queue.
    fn spool(readings: u64) -> Spool {
        let mut spool = Spool::new();
        spool.set_capacity(QUEUE_MAX);
        for seq in 1..=readings {
            spool.put(reading(seq)).unwrap();
        }
        spool
    }

    fn id(id: u16) -> NonZeroU16 {
        NonZeroU16::new(id).unwrap()
    }

    /// What can be sent now: number, identifier, DUP.
    fn sendable(spool: &mut Spool) -> std::vec::Vec<(u64, u16, bool)> {
        core::iter::from_fn(|| spool.next()).map(|message| (message.reading.seq, message.id.get(), message.dup)).collect()
    }

    #[test]
    fn a_full_queue_gives_the_reading_back() {
        let mut spool = Spool::new();
        spool.set_capacity(2);
        assert_eq!([spool.put(reading(1)), spool.put(reading(2))], [Ok(()), Ok(())]);
        assert!(!spool.has_room());
        assert_eq!(spool.put(reading(3)), Err(reading(3)));
        spool.next().unwrap();
        assert_eq!(spool.put(reading(3)), Ok(()));
        assert_eq!(spool.len(), 3);
    }

    #[test]
    fn the_queue_holds_all_that_there_is_memory_for() {
        let mut spool = Spool::new();
        spool.set_capacity(usize::MAX);
        assert!((0..QUEUE_MAX as u64).all(|seq| spool.put(reading(seq)).is_ok()));
        assert!(!spool.has_room());
    }

    #[test]
    fn the_window_is_bounded_and_opens_with_each_acknowledgement() {
        let mut spool = spool(WINDOW as u64 + 2);
        assert_eq!(sendable(&mut spool).len(), WINDOW);
        assert!(spool.acknowledge(id(1)));
        assert_eq!(sendable(&mut spool), [(WINDOW as u64 + 1, WINDOW as u16 + 1, false)]);
    }

    #[test]
    fn a_new_connection_sends_what_is_unacknowledged_again_in_order_and_then_goes_on() {
        let mut spool = spool(5);
        for _ in 0..4 {
            spool.next();
        }
        assert!(spool.acknowledge(id(2)) && spool.acknowledge(id(1)));
        assert_eq!(spool.begin(), 2);
        assert_eq!(sendable(&mut spool), [(3, 3, true), (4, 4, true), (5, 5, false)]);
        assert_eq!(spool.begin(), 3);
        assert_eq!(sendable(&mut spool), [(3, 3, true), (4, 4, true), (5, 5, true)]);
    }

    #[test]
    fn acknowledged_before_an_earlier_one_is_not_sent_again() {
        let mut spool = spool(3);
        sendable(&mut spool);
        assert!(spool.acknowledge(id(2)));
        assert_eq!((spool.len(), spool.begin()), (2, 2));
        assert_eq!(sendable(&mut spool), [(1, 1, true), (3, 3, true)]);
        assert!(spool.acknowledge(id(1)) && spool.acknowledge(id(3)));
        assert!(spool.is_empty());
    }

    #[test]
    fn acknowledgement_of_what_was_not_sent_counts_for_nothing() {
        let mut spool = spool(2);
        assert!(!spool.acknowledge(id(1)));
        spool.next();
        assert!(!spool.acknowledge(id(2)));
        spool.begin();
        assert!(!spool.acknowledge(id(1)), "not yet on this connection");
        spool.next();
        assert!(spool.acknowledge(id(1)));
        assert!(!spool.acknowledge(id(1)), "twice");
        assert_eq!(spool.len(), 1);
    }

    #[test]
    fn identifiers_wrap_around_without_zero() {
        let mut spool = spool(0);
        for seq in 1..=70_000 {
            spool.put(reading(seq)).unwrap();
            let message = spool.next().unwrap();
            assert_eq!(u64::from(message.id.get()), (seq - 1) % 65_535 + 1);
            assert!(spool.acknowledge(message.id));
        }
        assert!(spool.is_empty());
    }
}
