//! W5: a descriptor (an eventfd that exists already) is registered for reading and unregistered, beside another that stays.

mod c;
mod netpoll;
mod rust;

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};

use crate::work::{Case, Entry, LeftOut, Workload};

pub static WORKLOAD: Workload = Workload {
    name: "open_close",
    title: "W5 one descriptor opened and closed",
    unit: "pair",
    cases: &[case("alone", &[0], true), case("a turn after each", &[1], true)],
    entries: &[
        Entry { peer: "raw", start: c::raw },
        Entry { peer: "netpoll", start: netpoll::reactor },
        Entry { peer: "netpoll:poller", start: netpoll::poller },
        Entry { peer: "mio", start: rust::mio },
        Entry { peer: "polling", start: rust::polling },
        Entry { peer: "calloop", start: rust::calloop },
        Entry { peer: "tokio", start: rust::tokio },
        Entry { peer: "async-io", start: rust::async_io },
        Entry { peer: "libev", start: c::libev },
        Entry { peer: "libuv", start: c::libuv },
        Entry { peer: "libuv:stop", start: c::libuv_stop },
        Entry { peer: "libevent", start: c::libevent },
    ],
    left_out: &[LeftOut {
        peer: "async-io",
        case: "a turn after each",
        why: "nobody can make it turn: whichever thread has the reactor's lock waits, and that is its helper thread as often as not",
    }],
};

/// `parameters`: whether the loop turns, without waiting, after each half.
const fn case(name: &'static str, parameters: &'static [u64], quick: bool) -> Case {
    Case { name, parameters, ops: 50_000, quick, alone: false }
}

fn turns(case: &Case) -> bool {
    case.parameters == [1]
}

fn counter() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd")
}
