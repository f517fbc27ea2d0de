//! W3: waking a loop. What a wake costs whoever makes it, while one is pending already and when none is, and how long the loop takes to run
//! whoever waits for it.

mod c;
mod calloop;
mod mio;
mod netpoll;
mod ping_pong;
mod polling;
mod swap;
mod tokio;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use ping_pong::run;

use crate::work::{Case, Entry, LeftOut, Work, Workload};

/// A loop that can be woken, in one library.
trait Peer: Sized + 'static {
    type Waker: Wake;

    /// A loop that counts the wakes that it has seen.
    fn new(woken: &'static AtomicU64) -> Self;

    fn waker(&self) -> Self::Waker;

    /// One turn, which waits for a wake if it is to.
    fn turn(&mut self, wait: bool);

    /// Turns until `stop` is set; a wake comes after it.
    fn serve(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.turn(true);
        }
    }
}

/// What wakes it, from another thread.
trait Wake: Send + 'static {
    fn wake(&self);

    /// So many wakes without a turn between them.
    fn pending(&self, ops: u64) {
        for _ in 0..ops {
            black_box(self).wake();
        }
    }
}

/// Wakes while one is pending.
struct Pending<W> {
    waker: W,
    /// Never looks.
    _peer: Box<dyn std::any::Any>,
}

impl<W: Wake> Work for Pending<W> {
    fn run(&mut self, ops: u64) {
        self.waker.pending(ops);
    }
}

/// Wakes that each find a loop that waits for them, and the turn that takes each.
struct Fresh<P: Peer> {
    peer: P,
    waker: P::Waker,
    woken: &'static AtomicU64,
}

impl<P: Peer> Work for Fresh<P> {
    fn run(&mut self, ops: u64) {
        let before = self.woken.load(Ordering::Relaxed);
        for _ in 0..ops {
            self.waker.wake();
            self.peer.turn(false);
        }
        assert_eq!(self.woken.load(Ordering::Relaxed) - before, ops, "a wake was not seen in its turn");
    }
}

fn counter() -> &'static AtomicU64 {
    Box::leak(Box::default())
}

fn start<P: Peer>(case: &Case) -> Box<dyn Work> {
    let woken = counter();
    let mut peer = P::new(woken);
    // What a library does in its first turns.
    peer.turn(false);
    let waker = peer.waker();
    match case.name {
        PENDING => {
            waker.wake();
            Box::new(Pending { waker, _peer: Box::new(peer) })
        }
        _ => Box::new(Fresh { peer, waker, woken }),
    }
}

/// The floor: one swap, or a loop that is woken by one `write`.
fn start_raw(case: &Case) -> Box<dyn Work> {
    match case.name {
        PENDING => Box::new(Pending { waker: swap::Swap::new(), _peer: Box::new(()) }),
        _ => start::<c::Raw>(case),
    }
}

/// Beside those of [`WORKLOAD`].
pub const PEERS_BY_THE_CLOCK: &[&str] = &["raw:looks", "netpoll:looks"];

const PENDING: &str = "while one is pending";
const FRESH: &str = "and the turn that takes it";

pub static WORKLOAD: Workload = Workload {
    name: "wakes",
    title: "W3: wakes. While one is pending `raw` is one bare atomic swap",
    unit: "wake",
    cases: &[
        Case { name: PENDING, parameters: &[], ops: 1_000_000, quick: true, alone: false },
        Case { name: FRESH, parameters: &[], ops: 100_000, quick: true, alone: false },
    ],
    entries: &[
        Entry { peer: "raw", start: start_raw },
        Entry { peer: "raw:eventfd", start: start::<c::Raw> },
        Entry { peer: "raw:edge", start: start::<c::RawEdge> },
        Entry { peer: "raw:coal", start: start::<c::RawCoalescing> },
        Entry { peer: "mio", start: start::<mio::Mio> },
        Entry { peer: "polling", start: start::<polling::Polling> },
        Entry { peer: "calloop", start: start::<calloop::Calloop> },
        Entry { peer: "tokio", start: start::<tokio::Tokio> },
        Entry { peer: "libev", start: start::<c::Ev> },
        Entry { peer: "libuv", start: start::<c::Uv> },
        Entry { peer: "libevent", start: start::<c::Event> },
        Entry { peer: "netpoll", start: start::<netpoll::OnReactor> },
        #[cfg(feature = "alloc")]
        Entry { peer: "netpoll:shared", start: start::<netpoll::Shared> },
        Entry { peer: "netpoll:poller", start: start::<netpoll::OnPoller> },
    ],
    left_out: &[
        LeftOut { peer: "raw:eventfd", case: FRESH, why: "it is `raw` there" },
        LeftOut {
            peer: "libev",
            case: FRESH,
            why: "it does not write while its loop does not wait, which one thread cannot be seen to do",
        },
        LeftOut { peer: "libevent", case: FRESH, why: "as libev" },
    ],
};
