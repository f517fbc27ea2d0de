//! W1: a ring of links. Each link waits for a token and forwards it to the next: one event is one read and one write.

mod async_io;
mod calloop;
mod libraries;
mod links;
mod mio;
mod netpoll;
mod polling;
mod raw;
mod tokio;

use crate::work::{Case, Entry, Workload};

/// Bytes that a link reads at once: more than a token, so that a short read tells that there is no more.
const BUFFER: usize = 64;

pub static WORKLOAD: Workload = Workload {
    name: "chain",
    title: "W1 chain of descriptors: one token read and forwarded",
    unit: "event",
    cases: &[
        case("unix-100-1", &[links::UNIX, 100, 1], true),
        case("unix-1000-100", &[links::UNIX, 1000, 100], true),
        case("unix-9900-100", &[links::UNIX, 9900, 100], false),
        case("tcp-100-1", &[links::TCP, 100, 1], true),
        case("tcp-1000-100", &[links::TCP, 1000, 100], true),
        case("eventfd-19000-100", &[links::EVENTFD, 19_000, 100], false),
    ],
    entries: &[
        Entry { peer: "raw", start: raw::short },
        Entry { peer: "raw:drain", start: raw::drain },
        Entry { peer: "raw:lt", start: raw::level },
        Entry { peer: "netpoll", start: netpoll::reactor },
        Entry { peer: "netpoll:short", start: netpoll::reactor_short },
        Entry { peer: "netpoll:poller", start: netpoll::poller },
        Entry { peer: "netpoll:poller:short", start: netpoll::poller_short },
        Entry { peer: "mio", start: mio::drain },
        Entry { peer: "mio:short", start: mio::short },
        Entry { peer: "polling", start: polling::edge },
        Entry { peer: "polling:oneshot", start: polling::oneshot },
        Entry { peer: "calloop", start: calloop::edge },
        Entry { peer: "calloop:lt", start: calloop::level },
        Entry { peer: "tokio", start: tokio::tasks },
        Entry { peer: "async-io", start: async_io::tries },
        Entry { peer: "async-io:ready", start: async_io::waits },
        Entry { peer: "libev", start: libraries::libev },
        Entry { peer: "libuv", start: libraries::libuv },
        Entry { peer: "libevent", start: libraries::libevent },
        Entry { peer: "libevent:et", start: libraries::libevent_edge },
    ],
    left_out: &[],
};

/// `parameters`: the kind of descriptors, the number of links, and how many tokens are under way.
const fn case(name: &'static str, parameters: &'static [u64], quick: bool) -> Case {
    Case { name, parameters, ops: 100_000, quick, alone: parameters[1] > 5_000 }
}
