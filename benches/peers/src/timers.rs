//! W2: timers are added and cancelled, pushed out, and fire. Every 64 operations the loop turns once without waiting, for all peers alike.

mod c;
mod calloop;
mod netpoll;
mod shared;
mod tokio;

use crate::work::{Case, Entry, LeftOut, Workload};
use shared::Operation;

pub static WORKLOAD: Workload = Workload {
    name: "timers",
    title: "W2 timers",
    unit: "timer",
    cases: &[
        case("add and cancel one beside 1000", &[ADD, 1_000], 640_000, true),
        case("add and cancel one beside 10000", &[ADD, 10_000], 640_000, false),
        case("add and cancel one beside 100000", &[ADD, 100_000], 640_000, false),
        case("push out in turn, of 1000", &[IN_TURN, 1_000], 640_000, false),
        case("push out in turn, of 10000", &[IN_TURN, 10_000], 640_000, false),
        case("push out in turn, of 100000", &[IN_TURN, 100_000], 640_000, false),
        case("push out at random, of 1000", &[RANDOM, 1_000], 640_000, false),
        case("push out at random, of 10000", &[RANDOM, 10_000], 640_000, true),
        case("push out at random, of 100000", &[RANDOM, 100_000], 640_000, false),
        case("fire 1000", &[FIRE, 1_000], 10_000, true),
        case("fire 10000", &[FIRE, 10_000], 100_000, false),
        case("fire 100000", &[FIRE, 100_000], 1_000_000, false),
    ],
    entries: &[
        Entry { peer: "raw", start: c::raw },
        Entry { peer: "raw:wheel", start: c::raw_wheel },
        Entry { peer: "raw:lazy", start: c::raw_lazy },
        Entry { peer: "netpoll", start: netpoll::timers },
        Entry { peer: "netpoll:deadline", start: netpoll::deadlines },
        Entry { peer: "calloop", start: calloop::start },
        Entry { peer: "tokio", start: tokio::start },
        Entry { peer: "libev", start: c::libev },
        Entry { peer: "libuv", start: c::libuv },
        Entry { peer: "libevent", start: c::libevent },
        Entry { peer: "libevent:common", start: c::libevent_common },
    ],
    left_out: &[
        too_many_descriptors("add and cancel one beside 100000"),
        too_many_descriptors("push out in turn, of 100000"),
        too_many_descriptors("push out at random, of 100000"),
        too_many_descriptors("fire 100000"),
        walks_all("add and cancel one beside 10000"),
        walks_all("add and cancel one beside 100000"),
        walks_all("push out in turn, of 10000"),
        walks_all("push out in turn, of 100000"),
        walks_all("push out at random, of 10000"),
        walks_all("push out at random, of 100000"),
        not_common("add and cancel one beside 1000"),
        not_common("add and cancel one beside 10000"),
        not_common("add and cancel one beside 100000"),
        not_common("fire 1000"),
        not_common("fire 10000"),
        not_common("fire 100000"),
    ],
};

const ADD: u64 = Operation::AddCancel as u64;
const IN_TURN: u64 = Operation::PushOutInTurn as u64;
const RANDOM: u64 = Operation::PushOutRandom as u64;
const FIRE: u64 = Operation::Fire as u64;

/// `parameters`: what is done, and how many timers there are.
const fn case(name: &'static str, parameters: &'static [u64], ops: u64, quick: bool) -> Case {
    Case { name, parameters, ops, quick, alone: parameters[1] == 10_000 }
}

const fn too_many_descriptors(case: &'static str) -> LeftOut {
    LeftOut { peer: "netpoll:deadline", case, why: "a process has no more than 20 000 descriptors" }
}

const fn walks_all(case: &'static str) -> LeftOut {
    LeftOut { peer: "calloop", case, why: "a cancelled timer is searched among all: 27 us of 10 000, 0.5 ms of 100 000" }
}

const fn not_common(case: &'static str) -> LeftOut {
    LeftOut { peer: "libevent:common", case, why: "these time-outs differ from each other" }
}
