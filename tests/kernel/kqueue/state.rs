//! What a queue knows: its knotes, and which of them are queued.

use std::collections::{BTreeMap, VecDeque};

use rustix::event::epoll::{self, EventData};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io;

use super::descriptor;
use super::event::EventFlags;
use super::filter::{Filter, Kind, Truth};
use super::quirks::Quirks;

pub(super) type Key = (RawFd, Filter);

/// The descriptors by which a queue hears of edges.
#[derive(Debug)]
pub(super) struct Ears {
    pub(super) reads: OwnedFd,
    pub(super) writes: OwnedFd,
    /// Readable while something is queued.
    pub(super) queued: OwnedFd,
}

impl Ears {
    pub(super) fn new() -> io::Result<Ears> {
        let inner = || epoll::create(epoll::CreateFlags::CLOEXEC).and_then(descriptor::out_of_the_way);
        let queued = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).and_then(descriptor::out_of_the_way)?;
        Ok(Ears { reads: inner()?, writes: inner()?, queued })
    }

    pub(super) fn all(&self) -> [BorrowedFd<'_>; 3] {
        [self.reads.as_fd(), self.writes.as_fd(), self.queued.as_fd()]
    }

    pub(super) fn of(&self, filter: Filter) -> BorrowedFd<'_> {
        match filter {
            Filter::Read => self.reads.as_fd(),
            Filter::Write => self.writes.as_fd(),
        }
    }
}

/// How a knote's descriptor is recognized.
#[derive(Clone, Copy, Debug)]
pub(super) enum Identity {
    /// By epoll.
    Watched,
    /// By device and inode: epoll does not take it, since it is always ready.
    Static(u64, u64),
}

#[derive(Debug)]
pub(super) struct Knote {
    /// Tells this one from others under the same number.
    pub(super) generation: u32,
    pub(super) identity: Identity,
    pub(super) kind: Kind,
    pub(super) udata: usize,
    /// What of EV_CLEAR, EV_ONESHOT, EV_RECEIPT it was added with: row 54.
    pub(super) mode: EventFlags,
    pub(super) disabled: bool,
    pub(super) active: bool,
    /// What was true when it became active: row 6.
    pub(super) truth: Truth,
    /// What `data` was when somebody last looked, if it has been reported and was not drained since.
    pub(super) seen: Option<i64>,
    pub(super) repeated_eof: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) quirks: Quirks,
    pub(super) ears: std::sync::Arc<Ears>,
    pub(super) knotes: BTreeMap<Key, Knote>,
    /// Those that are active and not disabled, in the order in which they are looked at.
    pub(super) queue: VecDeque<Key>,
    pub(super) generation: u32,
    pub(super) counter: Counter,
    signalled: bool,
}

impl State {
    pub(super) fn new(quirks: Quirks, ears: std::sync::Arc<Ears>) -> State {
        State {
            quirks,
            ears,
            knotes: BTreeMap::new(),
            queue: VecDeque::new(),
            generation: 0,
            counter: Counter::default(),
            signalled: false,
        }
    }

    /// What the filter says, and `None` also if the knote's descriptor is not there any more.
    pub(super) fn look(&self, key: Key) -> Option<Truth> {
        let fd = descriptor::borrow(key.0).ok()?;
        self.knotes.get(&key)?.kind.look(fd, key.1, &self.quirks)
    }

    pub(super) fn activate(&mut self, key: Key, truth: Truth) {
        let Some(knote) = self.knotes.get_mut(&key) else { return };
        knote.truth = truth;
        if !knote.active {
            knote.active = true;
            if !knote.disabled {
                self.queue.push_back(key);
            }
        }
    }

    /// Drops the knote if its descriptor was closed: rows 57 to 59.
    pub(super) fn reap(&mut self, key: Key) {
        let Some(knote) = self.knotes.get(&key) else { return };
        let lives = descriptor::borrow(key.0).is_ok_and(|fd| match knote.identity {
            Identity::Watched => descriptor::is_watched(self.ears.of(key.1), fd),
            Identity::Static(device, inode) => rustix::fs::fstat(fd).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode)),
        });
        if !lives {
            self.forget(key);
        }
    }

    /// Without telling epoll, which knows already.
    pub(super) fn forget(&mut self, key: Key) {
        self.knotes.remove(&key);
        self.unqueue(key);
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Ok(fd) = descriptor::borrow(key.0) {
            let _ = epoll::delete(self.ears.of(key.1), fd);
        }
        self.forget(key);
    }

    pub(super) fn unqueue(&mut self, key: Key) {
        self.queue.retain(|queued| *queued != key);
    }

    /// Makes the queue's descriptor readable, or not.
    pub(super) fn signal(&mut self) {
        let wanted = !self.queue.is_empty();
        if wanted && !self.signalled {
            let _ = rustix::io::write(&self.ears.queued, &1u64.to_ne_bytes());
        } else if !wanted && self.signalled {
            let _ = rustix::io::read(&self.ears.queued, &mut [0u8; 8]);
        }
        self.signalled = wanted;
    }
}

/// What epoll gives back: which knote, and which of those that had its number.
pub(super) fn mark(fd: RawFd, generation: u32) -> EventData {
    EventData::new_u64(u64::from(generation) << 32 | u64::from(fd as u32))
}

pub(super) fn unmark(data: EventData) -> (RawFd, u32) {
    (data.u64() as u32 as RawFd, (data.u64() >> 32) as u32)
}

/// When it is time for what happens now and then, and what comes by chance: the same in each run.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) waits: u32,
    pub(super) naps: u32,
    pub(super) timeouts: u32,
    pub(super) reports: u32,
    pub(super) changes: u32,
    chance: u32,
}

impl Default for Counter {
    fn default() -> Counter {
        Counter { waits: 0, naps: 0, timeouts: 0, reports: 0, changes: 0, chance: 0x9e37_79b9 }
    }
}

impl Counter {
    /// Whether this is the `every`th time; counts.
    pub(super) fn is_due(count: &mut u32, every: Option<u32>) -> bool {
        *count = count.wrapping_add(1);
        every.is_some_and(|every| count.is_multiple_of(every))
    }

    /// Less than `below`: Marsaglia's xorshift.
    pub(super) fn chance(&mut self, below: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        self.chance as usize % below.max(1)
    }
}
