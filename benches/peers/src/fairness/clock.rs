//! How long the quiet connection waits, by the clock: the loop on one core, its client on another.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use super::{Counters, ENOUGH, Flood, Serve, connection};
use crate::measure::monotonic;
use crate::threads::pin;

/// Between two bytes of the quiet connection, in nanoseconds.
const GAP: u64 = 200_000;

/// So long a quiet connection waits for its turn, in nanoseconds; then the flood pauses until it has come.
const LIMIT: u64 = 20_000_000;

/// After which nothing will come.
const NEVER: u64 = 10_000_000_000;

/// Nanoseconds from the readiness of the quiet connection to its turn: the median, and the 99th percentile.
pub fn round(serve: Serve, floods: usize, pings: usize) -> [f64; 2] {
    let counters: &'static Counters = Box::leak(Box::default());
    let (mut theirs, ours): (Vec<_>, Vec<_>) = (0..=floods).map(|_| connection()).unzip();
    let quiet = theirs.pop().unwrap();
    let server = std::thread::spawn(move || {
        pin(1);
        serve(counters, ours);
    });
    let client = std::thread::spawn(move || {
        pin(0);
        let mut client = Client { counters, flood: Flood::new(theirs), quiet };
        let mut nanos = Vec::new();
        for ping in 0..pings + pings / 10 {
            let waited = client.ping();
            // The first ones warm up.
            if ping >= pings / 10 {
                nanos.push(waited);
            }
            if nanos.iter().filter(|nanos| **nanos >= LIMIT).count() == ENOUGH {
                break;
            }
        }
        counters.stop.store(true, Ordering::Release);
        client.quiet.write_all(b"q").unwrap();
        // The connections live until the loop has ended.
        (nanos, client)
    });
    let (mut nanos, client) = client.join().unwrap();
    server.join().unwrap();
    drop(client);
    nanos.sort_unstable();
    [nanos[nanos.len() / 2], nanos[nanos.len() * 99 / 100]].map(|nanos| nanos as f64)
}

struct Client {
    counters: &'static Counters,
    flood: Flood,
    quiet: TcpStream,
}

impl Client {
    /// Nanoseconds from the readiness of the quiet connection to its turn.
    fn ping(&mut self) -> u64 {
        let rest = monotonic() + GAP;
        while monotonic() < rest {
            self.flood.go_on();
        }
        let runs = self.counters.runs.load(Ordering::Acquire);
        let start = monotonic();
        self.quiet.write_all(b"q").unwrap();
        while self.counters.runs.load(Ordering::Acquire) == runs {
            let waited = monotonic() - start;
            assert!(waited < NEVER, "the quiet connection's turn never comes");
            if waited < LIMIT {
                self.flood.go_on();
            }
        }
        self.counters.nanos_at_run.load(Ordering::Relaxed) - start
    }
}
