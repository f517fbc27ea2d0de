//! W8: how long a quiet connection waits for its turn beside others that are flooded, by the clock and in operations of those others.
//!
//! The loop reads 512 bytes at a time. By the clock it has a core of its own, and a client on another core keeps every flooded connection full and
//! now and then sends the quiet one a byte. Operations are counted on one thread: whoever reads a flooded connection fills it up again.

mod c;
mod clock;
mod count;
mod mio;
mod netpoll;
mod tokio;

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::measure::{median, monotonic};
use crate::report::{Report, Row};
use crate::trouble::{describe, end_if_hung, retried};
use crate::work::Options;

pub const NAME: &str = "fairness";
pub const TITLE: &str = "W8: a quiet connection beside flooded ones";
pub const PEERS: &[&str] =
    &["raw", "raw:short", "raw:lt", "mio", "tokio", "libev", "libuv", "libevent", "netpoll", "netpoll:budget4", "netpoll:budget1"];

/// Of the loop's end of a flooded connection.
const READ: usize = 512;

/// Times that a peer is found to let the quiet connection wait for as long as can be: all others would be the same, and take long.
const ENOUGH: usize = 5;

/// What the loop counts: `struct fairness` in c/fairness.h.
#[repr(C)]
#[derive(Default)]
struct Counters {
    operations: AtomicU64,
    runs: AtomicU64,
    operations_at_run: AtomicU64,
    nanos_at_run: AtomicU64,
    stop: AtomicBool,
    /// Where operations are counted: what is done when a flooded connection was read, and when the quiet one was.
    flooded: Option<extern "C" fn()>,
    quiet: Option<extern "C" fn()>,
}

impl Counters {
    /// A flooded connection was read.
    #[inline]
    fn count(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        if let Some(flooded) = self.flooded {
            flooded();
        }
    }

    /// The quiet connection was read.
    fn has_run(&self) {
        self.operations_at_run.store(self.operations.load(Ordering::Relaxed), Ordering::Relaxed);
        self.nanos_at_run.store(monotonic(), Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Release);
        if let Some(quiet) = self.quiet {
            quiet();
        }
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

/// `peers quiet`: one round of one peer.
#[derive(Debug, clap::Args)]
pub struct Round {
    /// Counts operations, and prints the median and the most; else microseconds, the median and the 99th percentile
    #[arg(long)]
    count: bool,
    peer: String,
    /// Connections that are flooded
    #[arg(value_parser = clap::value_parser!(u8).range(1..=8))]
    flooded: u8,
    /// Bytes that the quiet one is sent
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pings: u32,
}

impl Round {
    pub fn run(&self) -> Result<(), String> {
        let peer = PEERS.iter().position(|peer| *peer == self.peer).ok_or_else(|| format!("no such peer: {}", self.peer))?;
        end_if_hung();
        let (serve, flooded, pings) = (SERVERS[peer], usize::from(self.flooded), self.pings as usize);
        let [first, second] =
            if self.count { count::round(serve, flooded, pings) } else { clock::round(serve, flooded, pings).map(|nanos| nanos / 1e3) };
        println!("{first} {second}");
        Ok(())
    }
}

/// Adds all rows.
pub fn run(options: &Options, report: &mut Report) {
    let peers: Vec<&str> = PEERS.iter().copied().filter(|peer| options.wants(peer)).collect();
    for flooded in [1, 8] {
        if options.times {
            eprintln!("{NAME} {flooded} flooded: times of {} peers, {} rounds", peers.len(), options.rounds);
            let how = How { count: false, flooded, pings: if options.quick { 100 } else { 300 } };
            how.measure(&peers, options.rounds, ["us p50", "us p99"], report);
        }
        if options.exact {
            eprintln!("{NAME} {flooded} flooded: operations of {} peers", peers.len());
            let how = How { count: true, flooded, pings: if options.quick { 100 } else { 1000 } };
            how.measure(&peers, 1, ["operations, median", "operations, most"], report);
        }
    }
    for note in [
        "Operations: reads of flooded connections between the quiet one's byte and its turn. netpoll promises at most flooded ones × budget (32), less \
         one. 20 000 or 20 ms: the flood pauses when the quiet connection has waited for so long; it would never have had its turn.",
        "`raw` and `mio` read until EAGAIN, which never comes of a flooded connection; so does `raw:short`, whose reads are never short. `raw:lt`, libev and \
         libevent read once for each event.",
    ] {
        report.note(NAME, note);
    }
}

/// What a round is.
#[derive(Clone, Copy)]
struct How {
    count: bool,
    flooded: u8,
    pings: u32,
}

impl How {
    /// Two figures of each peer: medians of the rounds.
    fn measure(self, peers: &[&'static str], rounds: u32, measures: [&'static str; 2], report: &mut Report) {
        let mut found = vec![[Vec::new(), Vec::new()]; peers.len()];
        for _ in 0..rounds {
            for (peer, found) in peers.iter().zip(&mut found) {
                match retried(|| self.in_process(peer)) {
                    Ok(figures) => found.iter_mut().zip(figures).for_each(|(found, figure)| found.push(figure)),
                    Err(why) => report.fail(NAME, format!("{} flooded on {peer}: {why}", self.flooded)),
                }
            }
        }
        for (at, measure) in measures.into_iter().enumerate() {
            for (peer, found) in peers.iter().zip(&found).filter(|(_, found)| !found[at].is_empty()) {
                let case = format!("{} flooded", self.flooded);
                report.add(Row { workload: NAME, case, peer: (*peer).to_owned(), measure, value: median(found[at].clone()), ratio: None });
            }
        }
    }

    /// One round of one peer, in a process of its own, whose end does not end this one.
    fn in_process(self, peer: &str) -> Result<[f64; 2], String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("quiet").args(self.count.then_some("--count")).args([peer, &self.flooded.to_string(), &self.pings.to_string()]);
        let output = command.env("RUST_BACKTRACE", "0").output().map_err(|error| error.to_string())?;
        let figures: Vec<f64> = String::from_utf8_lossy(&output.stdout).split_whitespace().map_while(|word| word.parse().ok()).collect();
        match figures[..] {
            [first, second] if output.status.success() => Ok([first, second]),
            _ => Err(describe(output.status, &String::from_utf8_lossy(&output.stderr))),
        }
    }
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

/// The far ends of the flooded connections.
struct Flood {
    streams: Vec<TcpStream>,
    next: usize,
}

impl Flood {
    fn new(streams: Vec<TcpStream>) -> Flood {
        Flood { streams, next: 0 }
    }

    /// Writes to the next one.
    fn go_on(&mut self) {
        self.next = (self.next + 1) % self.streams.len();
        self.fill(self.next);
    }

    /// Writes to all.
    fn fill_all(&mut self) {
        (0..self.streams.len()).for_each(|which| self.fill(which));
    }

    /// As much as there is room for, of which nobody keeps count.
    fn fill(&mut self, which: usize) {
        let written = self.streams[which].write(&[b'f'; 1 << 16]).or_else(|error| match error.kind() {
            ErrorKind::WouldBlock => Ok(0),
            _ => Err(error),
        });
        written.expect("a connection that is read");
    }
}
