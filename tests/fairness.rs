//! How long a quiet connection waits beside flooded ones, in operations of those.

#[path = "util/reactor.rs"]
mod util;

use std::cell::Cell;
use std::io::Write;
use std::num::NonZeroU8;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;
use std::task::{Poll, ready};

use netpoll::net::{UnixStream, Unopened};
use netpoll::{Context, Reactor, ReactorStorage, Timeout};
use util::{Answer, Log, PATIENCE, Script, script, settle};

type Storage = ReactorStorage<Script, 16, 16>;

/// What the handlers share with the test.
#[derive(Default)]
struct Counts {
    /// Reads of flooded connections.
    operations: Cell<u32>,
    /// At which of them the quiet connection's byte is sent, and how many there had been when it was read.
    send_at: Cell<u32>,
    read_at: Cell<Option<u32>>,
}

/// A blocking peer and our end. Unix sockets report before the call that causes it returns.
fn pair() -> (StdStream, Unopened<UnixStream>) {
    let (theirs, ours) = StdStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (theirs, Unopened::from(OwnedFd::from(ours)))
}

/// Reads byte by byte until there is nothing more for now.
fn sip(cx: &mut Context<'_, Script>, stream: &UnixStream, mut each: impl FnMut()) -> Answer {
    loop {
        match ready!(stream.read(cx, &mut [0]))? {
            0 => return Poll::Ready(Ok(())),
            _ => each(),
        }
    }
}

/// The most operations of flooded connections between the quiet one's readiness and its turn, whenever in a pass that comes.
fn longest_wait(flooded: u32, budget: u8) -> u32 {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap().with_budget(NonZeroU8::new(budget).unwrap());
    let counts = Rc::new(Counts::default());
    let (quiet, ours) = pair();
    let quiet = Rc::new(quiet);
    let of_handler = Rc::clone(&counts);
    reactor
        .spawn_with(ours, |stream| {
            script(move |cx| sip(cx, &stream, || assert_eq!(of_handler.read_at.replace(Some(of_handler.operations.get())), None)))
        })
        .unwrap();
    let mut floods = Vec::new();
    for _ in 0..flooded {
        let (flood, ours) = pair();
        let (counts, quiet) = (Rc::clone(&counts), Rc::clone(&quiet));
        let flooded = move |stream: UnixStream| {
            script(move |cx| {
                sip(cx, &stream, || {
                    counts.operations.set(counts.operations.get() + 1);
                    if counts.operations.get() == counts.send_at.get() {
                        (&*quiet).write_all(b"q").unwrap();
                    }
                })
            })
        };
        reactor.spawn_with(ours, flooded).unwrap();
        floods.push(flood);
    }
    let mut longest = 0;
    for within_pass in 1..=flooded * u32::from(budget) {
        // More than is read before the quiet connection's turn.
        floods.iter_mut().for_each(|flood| flood.write_all(&vec![b'f'; 4 * usize::from(budget)]).unwrap());
        // Everyone waits, or has spent a budget.
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        let send_at = counts.operations.get() + within_pass;
        counts.send_at.set(send_at);
        let end = std::time::Instant::now() + PATIENCE;
        while counts.read_at.get().is_none() {
            assert!(std::time::Instant::now() < end, "the turn never comes");
            reactor.run_once(Timeout::Now, &mut ()).unwrap();
        }
        longest = longest.max(counts.read_at.take().unwrap() - send_at);
        while reactor.next_deadline().is_some() {
            reactor.run_once(Timeout::Now, &mut ()).unwrap();
        }
    }
    longest
}

// Issue 6, W8: at most ready handlers × budget.
#[test]
fn a_quiet_connection_waits_for_one_budget_of_each_flooded_one() {
    for flooded in [1, 3, 8] {
        for budget in [1, 4, 32] {
            let (longest, bound) = (longest_wait(flooded, budget), flooded * u32::from(budget));
            println!("{flooded} flooded, a budget of {budget}: at most {longest} operations");
            assert!(longest <= bound, "{longest} operations instead of {bound}: {flooded} flooded, a budget of {budget}");
        }
    }
}

// A6: the place that was freed is for the handler that has waited for it, not for one whose descriptor has just become ready.
#[test]
fn room_goes_to_who_has_waited_for_it() {
    let mut storage = ReactorStorage::<Script, 3, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let idle = reactor.spawn(script(|_| Poll::Pending)).unwrap();
    let waits = log.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            ready!(cx.poll_room())?;
            waits.push(("waits", cx.spawn(script(|_| Poll::Pending)).is_ok()));
            Poll::Pending
        }))
        .unwrap();
    let (mut peer, ours) = pair();
    let comes = log.clone();
    reactor
        .spawn_with(ours, |stream| {
            script(move |cx| {
                ready!(stream.read(cx, &mut [0]))?;
                comes.push(("comes", cx.spawn(script(|_| Poll::Pending)).is_ok()));
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), []);
    reactor.end(idle).unwrap();
    peer.write_all(b"c").unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [("waits", true), ("comes", false)]);
}
