//! Thousands of connections at once, at random: opened, used, timed out, reset, half-closed, given away, ended by others, while tables
//! are full and descriptors run out. Every byte that arrives is the one that was sent, in its place; nothing is lost, and nothing is left.
//!
//! `NETPOLL_SOAK_SECONDS` and `NETPOLL_SOAK_SEED` say how long and with which random numbers (the same ones do not repeat a run: the
//! kernel and the other threads have a say). The long one is ignored:
//!
//! ```sh
//! NETPOLL_SOAK_SECONDS=600 cargo test --release --all-features --test soak -- --ignored
//! ```

#![cfg(target_os = "linux")]

#[path = "soak/connection.rs"]
mod connection;
#[path = "soak/handlers.rs"]
mod handlers;
#[path = "soak/journal.rs"]
mod journal;
#[path = "soak/peers.rs"]
mod peers;
mod util;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use handlers::{Driver, Task, limit_descriptors};
use journal::{ACCEPTED, DIALLED, EVERYBODY, Journal, PATIENCE, Rng};
use netpoll::net::TcpListener;
use netpoll::{Clock, Error, Interest, LendReactor, Reactor, ReactorStorage, Stats};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketType};
use static_cell::ConstStaticCell;

const SEED: u64 = 1;

/// How much is going on.
struct Load {
    seconds: u64,
    /// Ends that have dialled; as many accept, if there is room for them.
    connections: usize,
    /// Of both tables.
    capacity: usize,
    listeners: usize,
    /// Blocking ones.
    peers: usize,
}

/// A few seconds of it, always.
#[test]
fn a_short_soak() {
    const CAPACITY: usize = 360;
    static STORAGE: ConstStaticCell<ReactorStorage<Task, CAPACITY, CAPACITY>> = ConstStaticCell::new(ReactorStorage::new());
    if !util::has_throughput("a_short_soak") {
        return;
    }
    util::alone(|| {
        soak(
            STORAGE.take(),
            Load { seconds: setting("NETPOLL_SOAK_SECONDS", 3), connections: 200, capacity: CAPACITY, listeners: 2, peers: 8 },
        )
    });
}

/// 2000 connections, for two minutes.
#[test]
#[ignore = "takes two minutes"]
fn a_long_soak() {
    const CAPACITY: usize = 3400;
    static STORAGE: ConstStaticCell<ReactorStorage<Task, CAPACITY, CAPACITY>> = ConstStaticCell::new(ReactorStorage::new());
    util::alone(|| {
        soak(
            STORAGE.take(),
            Load { seconds: setting("NETPOLL_SOAK_SECONDS", 120), connections: 2000, capacity: CAPACITY, listeners: 8, peers: 32 },
        )
    });
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

fn descriptors_of_this_process() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A socket at whose address nobody listens.
fn bound_only() -> (rustix::fd::OwnedFd, SocketAddr) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address)
}

/// Ends the threads, whatever happens to the test.
struct StopWhenDropped<'j>(&'j Journal);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.stopping.store(true, Relaxed);
        self.0.over.store(true, Relaxed);
    }
}

fn soak<S: LendReactor<Task>>(storage: &mut S, load: Load) {
    let seed = setting("NETPOLL_SOAK_SEED", SEED);
    eprintln!("soak: NETPOLL_SOAK_SEED={seed}, {} s, {} connections", load.seconds, load.connections);
    let journal = Journal::new(seed);
    let mut rng = Rng::new(seed);
    limit_descriptors(None);
    // Storage keeps the break pipe of the last reactor that was made on it.
    drop(Reactor::new(storage).unwrap());
    let before = descriptors_of_this_process();
    let hostile = StdListener::bind("127.0.0.1:0").unwrap();
    let (nobody, refuses) = bound_only();
    let ours: Vec<_> = (0..load.listeners).map(|_| TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap()).collect();
    let addresses: Vec<SocketAddr> = ours.iter().map(|listener| listener.local_addr().unwrap()).collect();
    std::thread::scope(|scope| {
        let mut reactor = Reactor::new(storage).unwrap();
        let _stop = StopWhenDropped(&journal);
        for _ in 0..load.peers {
            let (journal, addresses, seed) = (&journal, &addresses, rng.next());
            scope.spawn(move || peers::clients(journal, addresses, seed));
        }
        let (journal, seed, hostile) = (&journal, rng.next(), &hostile);
        scope.spawn(move || peers::server(journal, hostile, seed));
        let breaker = reactor.breaker();
        scope.spawn(move || {
            while breaker.wake() != Err(Error::Closed) && !journal.is_stopping() {
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        scope.spawn(|| watch(journal));

        let mut spawn = |unopened| {
            let (journal, rng) = (Arc::clone(journal), Rng::new(rng.next()));
            reactor.spawn_with(unopened, |listener| Task::Listener { listener, journal, rng }).unwrap()
        };
        let listeners = ours.into_iter().map(&mut spawn).collect();
        let driver = Driver {
            journal: Arc::clone(journal),
            rng: Rng::new(rng.next()),
            connections: load.connections,
            ours: addresses.clone(),
            hostile: hostile.local_addr().unwrap(),
            refuses,
            listeners,
            at_the_limit: None,
            next_limit: Clock::Monotonic.now() + Duration::from_millis(500),
            next_crowd: Clock::Monotonic.now(),
        };
        reactor.spawn(Task::Driver(driver)).unwrap();
        run(&mut reactor, journal, Duration::from_secs(load.seconds));
        eprintln!("soak: {}; {:?}", journal.summary(), reactor.stats());
        expect_nothing_left(&mut reactor, load.capacity);
    });
    journal.expect_no_failure();
    journal.expect_all_over();
    drop((hostile, nobody));
    assert_eq!(descriptors_of_this_process(), before, "descriptors");
    assert!(journal.unseen().is_empty(), "NETPOLL_SOAK_SEED={seed}: never happened: {:?}", journal.unseen());
}

/// Runs until the time is up and all handlers have ended.
fn run(reactor: &mut Reactor<'_, Task>, journal: &Journal, time: Duration) {
    let (end, mut next_look) = (Instant::now() + time, Instant::now());
    let mut watch = Watch::new(PATIENCE);
    while !reactor.is_empty() {
        reactor.run_once(Duration::from_secs(1), &mut ()).unwrap();
        journal.expect_no_failure();
        let now = Instant::now();
        if now >= next_look {
            next_look = now + Duration::from_secs(1);
            if watch.is_stuck(journal) {
                explain(reactor, journal, EVERYBODY);
            } else if let Some(link) = journal.stuck() {
                explain(reactor, journal, link.id);
            }
        }
        // A slow machine gets more time for what must happen.
        if now >= end && (now >= end + PATIENCE || journal.unseen().is_empty()) {
            journal.stopping.store(true, Relaxed);
        }
    }
}

/// Something stands still: its ends tell what they see when they are run without a cause.
fn explain(reactor: &mut Reactor<'_, Task>, journal: &Journal, suspect: u64) -> ! {
    let alive = [DIALLED, ACCEPTED].map(|side| journal.alive(side));
    eprintln!("soak: alive {alive:?}, {} threads; {}", journal.threads.load(Relaxed), journal.summary());
    eprintln!("soak: {} handlers, {} descriptors, {:?}", reactor.len(), reactor.descriptors(), reactor.stats());
    journal.suspect.store(suspect, Relaxed);
    reactor.notify_all();
    (0..3).for_each(|_| reactor.run_once(Duration::from_millis(10), &mut ()).unwrap());
    panic!("NETPOLL_SOAK_SEED={}: nothing has moved for {PATIENCE:?}", journal.seed);
}

/// Notices when nothing moves any more.
struct Watch {
    patience: Duration,
    moves: u64,
    since: Instant,
}

impl Watch {
    fn new(patience: Duration) -> Watch {
        Watch { patience, moves: 0, since: Instant::now() }
    }

    fn is_stuck(&mut self, journal: &Journal) -> bool {
        let moves = journal.moves();
        if std::mem::replace(&mut self.moves, moves) != moves {
            self.since = Instant::now();
        }
        self.since.elapsed() > self.patience
    }
}

/// Ends the process if not even the reactor comes back.
fn watch(journal: &Journal) {
    let mut watch = Watch::new(PATIENCE * 2);
    while !journal.over.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        if watch.is_stuck(journal) {
            eprintln!("soak: NETPOLL_SOAK_SEED={}: the reactor does not come back: {}", journal.seed, journal.summary());
            std::process::exit(101);
        }
    }
}

/// All handlers have ended: no descriptor, no deadline, no place is lost.
fn expect_nothing_left(reactor: &mut Reactor<'_, Task>, capacity: usize) {
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
    let stats = reactor.stats();
    let Stats { stale_events, lost_descriptors, parked_handlers, retired_slots, .. } = stats;
    let stale_events = if util::is_orderly() { stale_events } else { 0 };
    assert_eq!([stale_events, lost_descriptors, parked_handlers, retired_slots], [0; 4], "{stats:?}");
    // Entries that were pushed out or withdrawn come up once more.
    let end = Instant::now() + PATIENCE;
    while let Some(at) = reactor.next_deadline() {
        assert!(Instant::now() < end, "{at:?} is left");
        reactor.run_once(at, &mut ()).unwrap();
    }
    for _ in 0..2 {
        let handlers: Vec<_> = std::iter::from_fn(|| reactor.spawn(Task::Idle).ok()).collect();
        assert_eq!(handlers.len(), capacity);
        handlers.into_iter().for_each(|id| reactor.end(id).unwrap());
        let event = || (eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap(), Interest::READ);
        let handlers: Vec<_> = std::iter::from_fn(|| reactor.spawn_with(event(), |_| Task::Idle).ok()).collect();
        assert_eq!((handlers.len(), reactor.descriptors()), (capacity, capacity));
        handlers.into_iter().for_each(|id| reactor.end(id).unwrap());
    }
    assert_eq!((reactor.len(), reactor.descriptors(), reactor.next_deadline()), (0, 0, None), "there is room again");
}
