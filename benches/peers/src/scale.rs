//! W7: what an event costs among a thousand descriptors, and among as many as there can be.
//!
//! The table and its gates under edges that no kernel sent, so that a million descriptors are possible; the same with a deadline that each
//! event pushes out; deadlines that come up; runs of handlers; and a ring of real eventfds, as many as the process may have. `cache` counts
//! what the processor's caches miss.

mod cache;
mod netpoll;
mod raw;
mod real;

pub use cache::run;

use crate::work::{Case, Entry, LeftOut, Workload};

/// Events that are handed out at once; divides every number of descriptors here.
const BATCH: usize = 100;

/// What is done.
const EDGE: u64 = 0;
const PUSH_OUT: u64 = 1;
const FIRE: u64 = 2;
const RUN: u64 = 3;

const THOUSAND: u64 = 1_000;
const MILLION: u64 = 1_000_000;
/// A process may have 20 000 descriptors where this was written.
const MOST: u64 = 19_000;

pub const NAME: &str = "scale";
const TITLE: &str = "W7 scale: one event among a thousand descriptors and among a million";

/// Without the kernel.
pub static WORKLOAD: Workload = Workload {
    name: NAME,
    title: TITLE,
    unit: "event",
    cases: &[
        case("1k", &[EDGE, THOUSAND, 0], false),
        case("1k random", &[EDGE, THOUSAND, 1], true),
        case("1M", &[EDGE, MILLION, 0], false),
        case("1M random", &[EDGE, MILLION, 1], true),
    ],
    entries: &[Entry { peer: "raw", start: raw::edges }, Entry { peer: "netpoll", start: netpoll::start }],
    left_out: &[],
};

/// Of netpoll alone.
pub static INSIDE: Workload = Workload {
    name: NAME,
    title: TITLE,
    unit: "event",
    cases: &[
        case("deadline 1k", &[PUSH_OUT, THOUSAND, 0], false),
        case("deadline 1k random", &[PUSH_OUT, THOUSAND, 1], true),
        case("deadline 1M", &[PUSH_OUT, MILLION, 0], false),
        case("deadline 1M random", &[PUSH_OUT, MILLION, 1], true),
        case("fire 1k", &[FIRE, THOUSAND, 1], false),
        case("fire 1M", &[FIRE, MILLION, 1], false),
        case("run 1k", &[RUN, THOUSAND, 0], false),
        case("run 1k random", &[RUN, THOUSAND, 1], true),
        case("run 1M", &[RUN, MILLION, 0], false),
        case("run 1M random", &[RUN, MILLION, 1], true),
    ],
    entries: &[Entry { peer: "netpoll", start: netpoll::start }],
    left_out: &[],
};

/// With it. `parameters`: descriptors, and how far the next one is.
pub static REAL: Workload = Workload {
    name: NAME,
    title: TITLE,
    unit: "event",
    cases: &[
        Case { name: "eventfds 1k", parameters: &[THOUSAND, 619], ops: 100_000, quick: true },
        Case { name: "eventfds 19k", parameters: &[MOST, 11_743], ops: 100_000, quick: true },
    ],
    entries: &[
        Entry { peer: "raw", start: raw::ring },
        Entry { peer: "mio:short", start: real::mio },
        Entry { peer: "netpoll", start: real::natural },
        Entry { peer: "netpoll:read", start: real::read_only },
    ],
    left_out: &[LeftOut {
        peer: "others",
        case: "",
        why: "they keep no table that could be filled without real descriptors; what they do with those is W1",
    }],
};

/// `parameters`: what is done, descriptors, whether they come in random order.
const fn case(name: &'static str, parameters: &'static [u64], quick: bool) -> Case {
    Case { name, parameters, ops: MILLION, quick }
}

/// As many descriptors as the system allows.
fn raise_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("the hard limit is allowed");
}

/// All numbers below `n`, each once.
fn order(n: u64, random: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    if random == 1 {
        fastrand::Rng::with_seed(7).shuffle(&mut order);
    }
    order
}
