//! From a wake to the run of whoever waits for it, by the clock: two threads, each on a core of its own. The one that wakes never sleeps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use super::{Peer, WORKLOAD, Wake, c, calloop, counter, mio, netpoll, polling, tokio};
use crate::measure::{median, monotonic};
use crate::report::{Report, Row};
use crate::threads::pin;
use crate::work::Options;

/// Nanoseconds from an answer to the next wake: at once, or when the loop is asleep again.
const GAPS: [(&str, u64, usize); 2] = [("answered, back to back", 0, 5_000), ("answered, after 50 us of sleep", 50_000, 1_000)];

/// What one thread measured: median and 90th percentile.
type Round = fn(gap: u64, pings: usize) -> [f64; 2];

const PEERS: [(&str, Round); 14] = [
    ("raw", round::<c::Raw>),
    ("raw:edge", round::<c::RawEdge>),
    ("raw:coal", round::<c::RawCoalescing>),
    ("raw:looks", round::<c::RawLooking>),
    ("mio", round::<mio::Mio>),
    ("polling", round::<polling::Polling>),
    ("calloop", round::<calloop::Calloop>),
    ("tokio", round::<tokio::Tokio>),
    ("libev", round::<c::Ev>),
    ("libuv", round::<c::Uv>),
    ("libevent", round::<c::Event>),
    ("netpoll", round::<netpoll::OnReactor>),
    ("netpoll:poller", round::<netpoll::OnPoller>),
    ("netpoll:looks", round::<netpoll::Looks>),
];

/// Adds the rows of ping-pong, which are times.
pub fn run(options: &Options, report: &mut Report) {
    if !options.times {
        return;
    }
    let peers: Vec<_> = PEERS.iter().filter(|(peer, _)| options.wants(peer)).collect();
    for (case, gap, pings) in GAPS {
        eprintln!("wakes {case}: {} peers, {} rounds", peers.len(), options.rounds);
        let pings = if options.quick { pings / 10 } else { pings };
        let mut values = vec![Vec::new(); peers.len()];
        for number in 0..options.rounds {
            let order: Vec<usize> = if number % 2 == 0 { (0..peers.len()).collect() } else { (0..peers.len()).rev().collect() };
            order.into_iter().for_each(|at| values[at].push(peers[at].1(gap, pings)));
        }
        for (at, measure) in [(0, "ns p50"), (1, "ns p90")] {
            for ((peer, _), of) in peers.iter().zip(&values) {
                let value = median(of.iter().map(|round| round[at]).collect());
                let ratio = median(of.iter().zip(&values[0]).map(|(round, raw)| round[at] / raw[at]).collect());
                report.add(Row {
                    workload: WORKLOAD.name,
                    case: case.to_owned(),
                    peer: (*peer).to_owned(),
                    measure,
                    value,
                    ratio: Some(ratio),
                });
            }
        }
    }
    report.note(WORKLOAD.name, "`looks`: the loop blocks when 20 looks without waiting have found nothing.");
}

fn round<P: Peer>(gap: u64, pings: usize) -> [f64; 2] {
    let (woken, stop) = (counter(), Arc::new(AtomicBool::new(false)));
    let (sender, receiver) = mpsc::channel();
    let stopped = Arc::clone(&stop);
    let served = std::thread::spawn(move || {
        pin(1);
        let mut peer = P::new(woken);
        peer.turn(false);
        sender.send(peer.waker()).unwrap();
        peer.serve(&stopped);
    });
    let waker = receiver.recv().unwrap();
    let pinged = std::thread::spawn(move || {
        pin(0);
        let mut times: Vec<u64> = (0..pings + pings / 10).map(|_| ping(&waker, woken, gap)).collect();
        stop.store(true, Ordering::Release);
        waker.wake();
        // The first ones warm up.
        times.drain(..pings / 10);
        times
    });
    let mut times = pinged.join().unwrap();
    served.join().unwrap();
    times.sort_unstable();
    [times[times.len() / 2] as f64, times[times.len() * 9 / 10] as f64]
}

fn ping(waker: &impl Wake, woken: &AtomicU64, gap: u64) -> u64 {
    let rest = monotonic() + gap;
    while monotonic() < rest {
        std::hint::spin_loop();
    }
    let (before, start) = (woken.load(Ordering::Acquire), monotonic());
    waker.wake();
    while woken.load(Ordering::Acquire) == before {
        std::hint::spin_loop();
    }
    monotonic() - start
}
