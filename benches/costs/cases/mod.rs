//! The cases: each sets something up, does its work a few times, and lets the meter count the work alone.

mod chain;
mod clock;
mod frames;
mod life;
mod operations;
mod request;
mod time;
mod turn;
mod wakes;

use std::os::fd::OwnedFd;

use netpoll::{Handler, Reactor, Timeout};

use clock::CLOCK;

pub struct Case {
    pub name: &'static str,
    pub run: fn(),
}

/// What an empty case takes is taken off the others.
pub const EMPTY: Case = Case { name: "nothing", run: turn::nothing };

/// What the page in the docs is about.
pub const EVENTS: [&str; 2] = ["chain, 100 of 1000 active: an event", "chain, 1 of 1000 active: an event"];

pub const CASES: &[Case] = &[
    Case { name: "turn, nobody of 1000 ready", run: || turn::turn(0) },
    Case { name: "turn, 1 of 1000 ready", run: || turn::turn(1) },
    Case { name: "turn, 8 of 1000 ready", run: || turn::turn(8) },
    Case { name: "turn, 100 of 1000 ready", run: || turn::turn(100) },
    Case { name: EVENTS[1], run: || chain::chain(1) },
    Case { name: EVENTS[0], run: || chain::chain(100) },
    Case { name: "poll_io, the gate is ready", run: operations::poll_io_ready },
    Case { name: "poll_io, the gate is idle", run: operations::poll_io_idle },
    Case { name: "TcpStream, a read and a write", run: operations::read_and_write },
    Case { name: "echo of 64 clients with an idle deadline: a request", run: request::echo },
    Case { name: "deadline pushed out, one of 1000", run: time::push_out },
    Case { name: "timer set and cancelled, beside 1000", run: time::set_and_cancel },
    Case { name: "timer fires, one of 1000", run: time::fire },
    Case { name: "spawn and end", run: life::spawn_and_end },
    Case { name: "open and close", run: life::open_and_close },
    Case { name: "open and close, each with a turn", run: life::open_and_close_with_turns },
    Case { name: "notify", run: wakes::notify },
    Case { name: "wake, none is pending", run: wakes::wake },
    Case { name: "wake, one is pending", run: wakes::wake_again },
    Case { name: "frame of 64 bytes with its length", run: frames::length_prefix },
    Case { name: "frame of 64 bytes with a delimiter", run: frames::delimiter },
];

/// How many handlers and descriptors there is room for.
const ROOM: usize = 1024;

#[cfg(not(feature = "alloc"))]
type Storage<H> = netpoll::ReactorStorage<H, ROOM, ROOM>;
#[cfg(feature = "alloc")]
type Storage<H> = netpoll::BoxedReactorStorage<H>;

/// Its storage is never freed.
fn reactor<H: Handler + 'static>() -> Reactor<'static, H> {
    #[cfg(not(feature = "alloc"))]
    let storage = Box::new(Storage::<H>::new());
    #[cfg(feature = "alloc")]
    let storage = Box::new(Storage::<H>::with_capacity(ROOM, ROOM));
    Reactor::with_clock(Box::leak(storage), CLOCK).expect("a reactor")
}

/// Lets the loop turn until the kernel has nothing more to say, as that a new socket can be written to.
fn settle<H: Handler>(reactor: &mut Reactor<'_, H>, shared: &mut H::Shared) {
    let mut events = None;
    while events != Some(reactor.stats().events) {
        events = Some(reactor.stats().events);
        reactor.run_once(Timeout::Now, shared).expect("a turn");
    }
}

/// Both ends of a TCP connection, of which neither waits to gather small writes.
fn tcp_pair(listener: &std::net::TcpListener) -> (OwnedFd, OwnedFd) {
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).expect("a connection");
    let (server, _) = listener.accept().expect("a connection");
    for end in [&client, &server] {
        end.set_nodelay(true).unwrap();
    }
    (server.into(), client.into())
}

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port")
}
