//! Every interleaving of those who wake a poller and the poller, under the memory model of C11; where there are too many, every one with a
//! few preemptions. The flag is the crate's own file; the pipe, and the wait for it, are modelled here.

#![cfg(test)]

#[path = "../../../src/breaker/flag.rs"]
mod flag;

use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed as Uncounted};

use flag::WakeFlag;
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::{self, AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread::{self, JoinHandle};

/// Runs `model` in every interleaving, or in all with at most so many preemptions, `LOOM_MAX_PREEMPTIONS` if that is less; says how many they
/// were.
fn explore(name: &str, preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let runs = std::sync::Arc::new(Count::new(0));
    let counted = runs.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = [preemptions, builder.preemption_bound].into_iter().flatten().min();
    let bound = builder.preemption_bound;
    builder.check(move || {
        counted.fetch_add(1, Uncounted);
        model();
    });
    let bound = bound.map_or(String::new(), |most| format!(" with at most {most} preemptions"));
    println!("{name}: {} interleavings{bound}", runs.load(Uncounted));
}

/// A pipe as the kernel has it. A byte that is reported was written before; beyond that it orders nothing, so all else is the flag's to order.
struct Pipe {
    bytes: AtomicU32,
    /// Ends the poller's wait.
    written: Notify,
    /// What is in it: loom refuses a write and an emptying of which neither comes before the other.
    contents: UnsafeCell<()>,
    /// How many writes the kernel refuses.
    refusals: AtomicU32,
}

impl Pipe {
    fn write(&self) -> Result<(), ()> {
        if self.refusals.load(Ordering::Relaxed) > 0 {
            self.refusals.fetch_sub(1, Ordering::Relaxed);
            return Err(());
        }
        self.contents.with_mut(|_| ());
        assert_eq!(self.bytes.fetch_add(1, Ordering::Release), 0, "a second byte was written");
        self.written.notify();
        Ok(())
    }

    fn empty(&self) -> Result<(), ()> {
        assert_eq!(self.bytes.swap(0, Ordering::Relaxed), 1, "it was reported");
        self.contents.with_mut(|_| ());
        Ok(())
    }

    /// Blocks until the kernel reports a byte. Where none comes any more loom says that everybody waits: a wake was lost.
    fn wait(&self) {
        while !self.has_byte() {
            self.written.wait();
        }
    }

    /// The kernel's knowledge is never stale, as that of a read-modify-write.
    fn has_byte(&self) -> bool {
        self.bytes.fetch_add(0, Ordering::Acquire) > 0
    }
}

/// What the threads share: lent storage, and a queue for each waker, which is a number that it counts up.
struct World {
    flag: WakeFlag,
    pipe: Pipe,
    queues: [AtomicU32; 3],
}

impl World {
    fn new() -> World {
        let mut flag = WakeFlag::new(AtomicBool::new(false), AtomicU32::new(0));
        flag.open();
        let (contents, refusals) = (UnsafeCell::new(()), AtomicU32::new(0));
        let pipe = Pipe { bytes: AtomicU32::new(0), written: Notify::new(), contents, refusals };
        World { flag, pipe, queues: std::array::from_fn(|_| AtomicU32::new(0)) }
    }

    fn wake(&self) -> Option<Result<(), ()>> {
        self.flag.wake(|| self.pipe.write())
    }

    fn drain(&self) {
        self.flag.drain(|| self.pipe.empty()).unwrap();
    }

    /// One waker: relaxed, so that nothing but the wake makes it seen.
    fn publish_and_wake(&self, waker: usize, times: u32) {
        for message in 1..=times {
            self.queues[waker].store(message, Ordering::Relaxed);
            assert_eq!(self.wake(), Some(Ok(())));
        }
    }

    /// The poller: waits, drains, looks at the queues, until it has seen all that was published.
    fn poll_until_all_is_seen(&self, wakers: usize, times: u32) {
        loop {
            self.pipe.wait();
            self.drain();
            if self.queues[..wakers].iter().all(|queue| queue.load(Ordering::Relaxed) == times) {
                return;
            }
        }
    }

    /// While nobody does anything.
    fn is_consistent(&self) -> bool {
        self.flag.is_pending() == self.pipe.has_byte()
    }
}

fn spawn(world: &Arc<World>, thread: impl FnOnce(&World) + 'static) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || thread(&world))
}

/// So many wakers, so many times each.
fn all_is_seen(name: &str, wakers: usize, times: u32, preemptions: Option<usize>) {
    explore(name, preemptions, move || {
        let world = Arc::new(World::new());
        let threads: Vec<_> = (0..wakers).map(|waker| spawn(&world, move |world| world.publish_and_wake(waker, times))).collect();
        world.poll_until_all_is_seen(wakers, times);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(world.is_consistent());
    });
}

// No wake is lost, no byte is written twice or taken by an earlier drain, and what was published is seen after the drain, also by the waker
// that found the flag set.
#[test]
fn one_waker_thrice() {
    all_is_seen("one_waker_thrice", 1, 3, None);
}

#[test]
fn two_wakers_once() {
    all_is_seen("two_wakers_once", 2, 1, None);
}

#[test]
fn two_wakers_twice() {
    all_is_seen("two_wakers_twice", 2, 2, Some(3));
}

#[test]
fn three_wakers_once() {
    all_is_seen("three_wakers_once", 3, 1, Some(2));
}

// While a poller goes a wake is taken or refused; whoever is refused stays so, sees what the poller did before, and writes nothing.
#[test]
fn the_poller_goes() {
    explore("the_poller_goes", None, || {
        let world = Arc::new(World::new());
        let threads = [0, 1].map(|waker| {
            spawn(&world, move |world| {
                let answers = [world.wake(), world.wake()];
                assert!(answers != [None, Some(Ok(()))], "{answers:?}");
                if answers[1].is_none() {
                    assert_eq!(world.queues[0].load(Ordering::Relaxed), 9, "waker {waker}");
                }
            })
        });
        world.queues[0].store(9, Ordering::Relaxed);
        world.flag.close();
        let writes = world.pipe.has_byte();
        assert_eq!(world.wake(), None, "the poller is gone");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(world.wake(), None);
        assert!(world.is_consistent() && (!writes || world.pipe.has_byte()));
    });
}

// A wake that nobody took does not keep the next poller's from coming.
#[test]
fn another_poller() {
    explore("another_poller", None, || {
        let mut world = Arc::new(World::new());
        let waker = spawn(&world, |world| assert!(matches!(world.wake(), None | Some(Ok(())))));
        world.flag.close();
        waker.join().unwrap();
        let lent = Arc::get_mut(&mut world).expect("nobody else has it");
        lent.pipe.bytes.store(0, Ordering::Relaxed); // another pipe
        lent.flag.open();
        assert!(!lent.flag.is_pending());
        let waker = spawn(&world, |world| world.publish_and_wake(0, 1));
        world.poll_until_all_is_seen(1, 1);
        waker.join().unwrap();
    });
}

// A byte that the kernel refuses does not silence all later wakes: once whoever was told so has woken again, all is seen, also what was
// published by a waker that found the refused wake pending.
#[test]
fn a_write_is_refused() {
    explore("a_write_is_refused", Some(2), || {
        let world = Arc::new(World::new());
        world.pipe.refusals.store(1, Ordering::Relaxed);
        let threads = [0, 1].map(|waker| {
            spawn(&world, move |world| {
                world.queues[waker].store(1, Ordering::Relaxed);
                if world.wake() == Some(Err(())) {
                    assert_eq!(world.wake(), Some(Ok(())));
                }
            })
        });
        world.poll_until_all_is_seen(2, 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(world.is_consistent());
    });
}

// An emptying that fails leaves the byte: the wake is taken by the next one.
#[test]
fn a_read_is_refused() {
    explore("a_read_is_refused", None, || {
        let world = Arc::new(World::new());
        let waker = spawn(&world, |world| world.publish_and_wake(0, 2));
        world.pipe.wait();
        assert_eq!(world.flag.drain(|| Err("refused")), Err("refused"));
        world.poll_until_all_is_seen(1, 2);
        waker.join().unwrap();
        assert!(world.is_consistent());
    });
}
