//! W8: how long a quiet connection waits for its turn beside others that are flooded, by the clock and in operations of those others.
//!
//! The loop reads 512 bytes at a time, on a core of its own. A client on another core keeps every flooded connection full, and now and then
//! sends the quiet one a byte.

mod c;
mod mio;
mod netpoll;
mod tokio;

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::measure::{median, monotonic};
use crate::report::{Report, Row};
use crate::threads::pin;
use crate::work::Options;

pub const NAME: &str = "fairness";
pub const TITLE: &str = "W8: a quiet connection beside flooded ones";
pub const PEERS: &[&str] =
    &["raw", "raw:short", "raw:lt", "mio", "tokio", "libev", "libuv", "libevent", "netpoll", "netpoll:budget4", "netpoll:budget1"];

/// Of the loop's end of a flooded connection.
const READ: usize = 512;

/// Between two bytes of the quiet connection, in nanoseconds.
const GAP: u64 = 200_000;

/// So long a quiet connection waits for its turn, in nanoseconds; then the flood pauses until it has come.
const LIMIT: u64 = 20_000_000;

/// After which nothing will come.
const NEVER: u64 = 10_000_000_000;

/// What the loop counts: `struct fairness` in c/fairness.h.
#[repr(C)]
#[derive(Default)]
struct Counters {
    operations: AtomicU64,
    runs: AtomicU64,
    operations_at_run: AtomicU64,
    nanos_at_run: AtomicU64,
    stop: AtomicBool,
}

impl Counters {
    /// A flooded connection was read.
    #[inline]
    fn count(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }

    /// The quiet connection was read.
    fn has_run(&self) {
        self.operations_at_run.store(self.operations.load(Ordering::Relaxed), Ordering::Relaxed);
        self.nanos_at_run.store(monotonic(), Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Release);
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// The loop's ends, which do not block: the flooded ones, and the quiet one last.
type Serve = fn(&'static Counters, Vec<TcpStream>);

const SERVERS: [Serve; 11] = [
    c::raw_drain,
    c::raw_short,
    c::raw_level,
    mio::serve,
    tokio::serve,
    c::ev,
    c::uv,
    c::event,
    netpoll::serve::<32>,
    netpoll::serve::<4>,
    netpoll::serve::<1>,
];

/// Adds all rows, which are times, and counts that depend on them.
pub fn run(options: &Options, report: &mut Report) {
    if !options.times {
        return;
    }
    let peers: Vec<_> = PEERS.iter().zip(SERVERS).filter(|(peer, _)| options.wants(peer)).collect();
    for floods in [1, 8] {
        let case = format!("{floods} flooded");
        eprintln!("{NAME} {case}: {} peers, {} rounds", peers.len(), options.rounds);
        let mut rounds = vec![Vec::new(); peers.len()];
        for _ in 0..options.rounds {
            for ((_, serve), rounds) in peers.iter().zip(&mut rounds) {
                rounds.push(round(*serve, floods, if options.quick { 100 } else { 300 }));
            }
        }
        type Figure = (&'static str, fn(&Round) -> f64);
        let figures: [Figure; 4] = [
            ("us p50", Round::median_us),
            ("us p99", Round::late_us),
            ("operations p50", Round::operations),
            ("operations, most", Round::most),
        ];
        for (measure, figure) in figures {
            for ((peer, _), rounds) in peers.iter().zip(&rounds) {
                let value = median(rounds.iter().map(figure).collect());
                report.add(Row { workload: NAME, case: case.clone(), peer: (**peer).to_owned(), measure, value, ratio: None });
            }
        }
    }
    report.note(NAME, "20 ms: the flood pauses when the quiet connection has waited for so long. `raw` and `mio` read until EAGAIN.");
    report.note(NAME, "Operations: reads of flooded connections between the quiet one's readiness and its turn. netpoll promises flooded ones × budget (32).");
}

/// What one round found, in order.
#[derive(Clone, Default)]
struct Round {
    nanos: Vec<u64>,
    operations: Vec<u64>,
}

impl Round {
    fn median_us(&self) -> f64 {
        self.nanos[self.nanos.len() / 2] as f64 / 1e3
    }

    fn late_us(&self) -> f64 {
        self.nanos[self.nanos.len() * 99 / 100] as f64 / 1e3
    }

    fn operations(&self) -> f64 {
        self.operations[self.operations.len() / 2] as f64
    }

    fn most(&self) -> f64 {
        self.operations[self.operations.len() - 1] as f64
    }
}

fn round(serve: Serve, floods: usize, pings: usize) -> Round {
    let counters: &'static Counters = Box::leak(Box::default());
    let (mut theirs, ours): (Vec<_>, Vec<_>) = (0..=floods).map(|_| connection()).unzip();
    let quiet = theirs.pop().unwrap();
    let server = std::thread::spawn(move || {
        pin(1);
        serve(counters, ours);
    });
    let client = std::thread::spawn(move || {
        pin(0);
        let mut client = Client { counters, flood: Flood { streams: theirs, next: 0 }, quiet };
        let mut round = Round::default();
        for ping in 0..pings + pings / 10 {
            let (nanos, operations) = client.ping();
            // The first ones warm up.
            if ping >= pings / 10 {
                round.nanos.push(nanos);
                round.operations.push(operations);
            }
        }
        counters.stop.store(true, Ordering::Release);
        client.quiet.write_all(b"q").unwrap();
        // The connections live until the loop has ended.
        (round, client)
    });
    let (mut round, client) = client.join().unwrap();
    server.join().unwrap();
    drop(client);
    round.nanos.sort_unstable();
    round.operations.sort_unstable();
    round
}

/// The client's end, then the loop's.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    for stream in [&theirs, &ours] {
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    (theirs, ours)
}

struct Client {
    counters: &'static Counters,
    flood: Flood,
    quiet: TcpStream,
}

impl Client {
    /// Nanoseconds and operations from the readiness of the quiet connection to its turn.
    fn ping(&mut self) -> (u64, u64) {
        let rest = monotonic() + GAP;
        while monotonic() < rest {
            self.flood.go_on();
        }
        let runs = self.counters.runs.load(Ordering::Acquire);
        let start = monotonic();
        self.quiet.write_all(b"q").unwrap();
        let before = self.counters.operations.load(Ordering::Relaxed);
        while self.counters.runs.load(Ordering::Acquire) == runs {
            let waited = monotonic() - start;
            assert!(waited < NEVER, "the quiet connection's turn never comes");
            if waited < LIMIT {
                self.flood.go_on();
            }
        }
        let [nanos, operations] = [&self.counters.nanos_at_run, &self.counters.operations_at_run].map(|of| of.load(Ordering::Relaxed));
        (nanos - start, operations.saturating_sub(before))
    }
}

struct Flood {
    streams: Vec<TcpStream>,
    next: usize,
}

impl Flood {
    /// Writes to the next one.
    fn go_on(&mut self) {
        self.next = (self.next + 1) % self.streams.len();
        // As much as there is room for, of which nobody keeps count.
        let written = self.streams[self.next].write(&[b'f'; 1 << 16]).or_else(|error| match error.kind() {
            ErrorKind::WouldBlock => Ok(0),
            _ => Err(error),
        });
        written.unwrap();
    }
}
