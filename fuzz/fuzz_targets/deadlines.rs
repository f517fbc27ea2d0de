//! `netpoll::deadline::Queue` against a map from keys to times, whose least is searched one by one.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netpoll::deadline::{BoxedQueueStorage, Queue, QueueStorage};
use netpoll::{Error, Instant};

#[derive(Arbitrary, Debug)]
struct Script {
    capacity: Capacity,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Capacity {
    None,
    One,
    Five,
    Many,
    Boxed(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    Schedule(Key, Time),
    /// Many at once, so that the heap gets deep.
    Fill {
        from: u8,
        count: u8,
        start: u8,
        step: i8,
    },
    Remove(Key),
    RemoveFirst,
    PostponeFirst(Time),
    Due(Time),
    /// Takes out all that is due.
    Expire(Time),
    Clear,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Key {
    Small(u8),
    Any(u32),
}

impl Key {
    fn number(self) -> u32 {
        match self {
            Key::Small(key) => key.into(),
            Key::Any(key) => key,
        }
    }
}

/// Ties are what a heap gets wrong: few times, most often.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Time {
    Small(u8),
    Any(u64),
    FarFuture,
}

impl Time {
    fn instant(self) -> Instant {
        match self {
            Time::Small(nanos) => at(nanos.into()),
            Time::Any(nanos) => at(nanos),
            Time::FarFuture => Instant::FAR_FUTURE,
        }
    }
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

struct Model {
    capacity: usize,
    times: BTreeMap<u32, Instant>,
}

impl Model {
    fn schedule(&mut self, queue: &mut Queue<'_>, key: u32, time: Instant) {
        let answer = queue.schedule(key, time);
        if key as usize >= self.capacity {
            assert_eq!(answer, Err(Error::Full));
        } else {
            assert_eq!(answer, Ok(()));
            self.times.entry(key).and_modify(|old| *old = time.min(*old)).or_insert(time);
        }
    }

    fn first(&self) -> Option<Instant> {
        self.times.values().copied().min()
    }

    /// The key that comes up first: any of those with the earliest time.
    fn first_key(&self, queue: &Queue<'_>) -> Option<u32> {
        let key = queue.due(Instant::FAR_FUTURE);
        assert_eq!(key.map(|key| self.times[&key]), self.first());
        key
    }

    fn check(&self, queue: &Queue<'_>) {
        assert_eq!((queue.len(), queue.is_empty()), (self.times.len(), self.times.is_empty()));
        assert_eq!(queue.next(), self.first());
    }
}

fn run(queue: &mut Queue<'_>, capacity: usize, ops: &[Op]) {
    let mut model = Model { capacity, times: BTreeMap::new() };
    for &op in ops.iter().take(300) {
        match op {
            Op::Schedule(key, time) => model.schedule(queue, key.number(), time.instant()),
            Op::Fill { from, count, start, step } => {
                for i in 0..count {
                    let time = u64::from(start.wrapping_add_signed(step.wrapping_mul(i as i8)));
                    model.schedule(queue, u32::from(from) + u32::from(i), at(time));
                }
            }
            Op::Remove(key) => assert_eq!(queue.remove(key.number()), model.times.remove(&key.number()).is_some()),
            Op::RemoveFirst => {
                let first = model.first_key(queue);
                queue.remove_first();
                first.map(|key| model.times.remove(&key));
            }
            Op::PostponeFirst(time) => {
                let first = model.first_key(queue);
                queue.postpone_first(time.instant());
                first.map(|key| model.times.insert(key, time.instant()));
            }
            Op::Due(time) => match queue.due(time.instant()) {
                Some(key) => assert!(model.times[&key] <= time.instant() && model.first() == Some(model.times[&key])),
                None => assert!(model.first().is_none_or(|first| first > time.instant())),
            },
            Op::Expire(time) => expire(queue, &mut model, time.instant()),
            Op::Clear => {
                queue.clear();
                model.times.clear();
            }
        }
        model.check(queue);
    }
    for key in 0..300 {
        assert_eq!(queue.contains(key), model.times.contains_key(&key));
    }
    assert!(!queue.contains(u32::MAX));
    expire(queue, &mut model, Instant::FAR_FUTURE);
    assert!(queue.is_empty());
}

/// What is due comes out, first to last, and nothing else does.
fn expire(queue: &mut Queue<'_>, model: &mut Model, now: Instant) {
    let mut last = at(0);
    while let Some(key) = queue.due(now) {
        let time = model.times.remove(&key).expect("an entry that nobody made");
        assert!(last <= time && time <= now);
        last = time;
        queue.remove_first();
    }
    assert!(model.first().is_none_or(|first| first > now));
}

fn lent<const N: usize>(ops: &[Op]) {
    let mut storage = QueueStorage::<N>::new();
    run(&mut storage.lend(), N, ops);
    // What the storage keeps while it is not lent: nothing is left in it.
    assert!(storage.lend().is_empty());
}

fuzz_target!(|script: Script| {
    match script.capacity {
        Capacity::None => lent::<0>(&script.ops),
        Capacity::One => lent::<1>(&script.ops),
        Capacity::Five => lent::<5>(&script.ops),
        Capacity::Many => lent::<256>(&script.ops),
        Capacity::Boxed(capacity) => {
            let mut storage = BoxedQueueStorage::with_capacity(capacity.into());
            run(&mut storage.lend(), capacity.into(), &script.ops);
        }
    }
});
