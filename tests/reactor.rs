//! The reactor from outside: what a handler is told, when it is run, and where it lives.

#![cfg(target_os = "linux")]

#[path = "util/mod.rs"]
mod descriptors;
#[path = "util/reactor.rs"]
mod util;

use std::cell::Cell;
use std::io::{Read, Write};
use std::mem;
use std::num::NonZeroU8;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use descriptors::{break_pipe_of, replace};
use netpoll::net::{TcpListener, TcpStream};
use netpoll::{
    Breaker, Callback, Clock, Context, Errno, Error, Handler, HandlerId, Instant, Interest, Reactor, ReactorStorage, Stats, Timeout, Token,
};
use rustix::event::PollFlags;
use static_cell::ConstStaticCell;
use util::{Answer, DONE, Guard, Log, Script, advance, assert_closed, assert_open, manual, pair, probed_pair, run_until, script, settle};

type Storage<S = ()> = ReactorStorage<Script<S>, 8, 8>;

const SECOND: Duration = Duration::from_secs(1);

// ---- Spawning and ending

// Spawned handlers run once, in the order in which they were spawned.
#[test]
fn spawned_handlers_run_once_in_order() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    for name in 0..4 {
        let log = log.clone();
        reactor
            .spawn(script(move |_| {
                log.push(name);
                Poll::Pending
            }))
            .unwrap();
    }
    assert_eq!((reactor.len(), reactor.is_empty()), (4, false));
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [0, 1, 2, 3]);
}

// G49: a full table of handlers gives the handler back, or the source, unregistered, and never calls `make`.
#[test]
fn spawn_into_a_full_table_gives_everything_back() {
    let mut storage = ReactorStorage::<Script, 1, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    reactor.spawn(script(|_| Poll::Pending)).unwrap();
    let guard = Guard(log.clone(), "given back");
    let rejected = reactor
        .spawn(script(move |_| {
            let _ = &guard;
            DONE
        }))
        .unwrap_err();
    assert_eq!((rejected.error, log.len()), (Error::Full, 0));
    drop(rejected.value);
    assert_eq!(log.take(), ["given back"]);

    let (peer, ours) = pair();
    let rejected = reactor.spawn_with(ours, |_| unreachable!("no room")).unwrap_err();
    assert_eq!((rejected.error, reactor.descriptors(), reactor.len()), (Error::Full, 0, 1));
    assert_open(&peer);
    drop(rejected.value);
    assert_closed(&peer);
}

// G49: a full table of descriptors gives the source back, and the handler's place with it.
#[test]
fn spawn_with_into_a_full_descriptor_table_gives_everything_back() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (_first_peer, first) = pair();
    reactor.spawn_with(first, |_| script(|_| Poll::Pending)).unwrap();
    let (peer, ours) = pair();
    let rejected = reactor.spawn_with(ours, |_| unreachable!("no room")).unwrap_err();
    assert_eq!((rejected.error, reactor.descriptors(), reactor.len()), (Error::Full, 1, 1));
    assert_open(&peer);
    settle(&mut reactor, &mut ());
    reactor.spawn(script(|_| Poll::Pending)).unwrap();
    assert_eq!(reactor.len(), 2);
}

// G9, G49: a source that cannot be registered comes back, and its handler's place is free again.
#[test]
fn spawn_with_what_is_not_pollable_gives_it_back() {
    let mut storage = ReactorStorage::<Script, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    for _ in 0..3 {
        let file = std::fs::File::open("/").unwrap();
        let rejected = reactor.spawn_with((file.into(), Interest::READ), |_| unreachable!()).unwrap_err();
        assert_eq!(rejected.error, Error::NotPollable);
        assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
        settle(&mut reactor, &mut ());
    }
    reactor.spawn(script(|_| DONE)).unwrap();
    reactor.run(&mut ()).unwrap();
}

// A6: while the place of a failed `spawn_with` is still on the ready list there is no room, and nobody is told that there is.
#[test]
fn room_after_a_failed_spawn_with_is_room() {
    let mut storage = ReactorStorage::<Script, 2, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let mut tried = false;
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            if !mem::replace(&mut tried, true) {
                let file = std::fs::File::open("/dev/null").unwrap();
                assert!(cx.spawn_with((file.into(), Interest::WRITE), |_| unreachable!()).is_err());
            }
            ready!(cx.poll_room())?;
            entries.push(cx.spawn(script(|_| DONE)).map(drop).map_err(|rejected| rejected.error));
            DONE
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [Ok(())]);
}

// Case 82: a handler that finishes is dropped and its descriptors are closed, its own or opened later; with them its slots are free.
#[test]
fn a_finished_handler_is_dropped_and_its_descriptors_are_closed() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let ((first_peer, first), (second_peer, second)) = (pair(), pair());
    let guard = Guard(log.clone(), ());
    let mut second = Some(second);
    reactor
        .spawn_with(first, |_| {
            script(move |cx: &mut Context<'_, Script>| {
                let _ = &guard;
                second.take().unwrap().open(cx)?;
                DONE
            })
        })
        .unwrap();
    reactor.run(&mut ()).unwrap();
    assert_eq!((log.len(), reactor.len(), reactor.descriptors()), (1, 0, 0));
    assert_closed(&first_peer);
    assert_closed(&second_peer);
}

// `end` from outside and from another handler: dropped at once, descriptors closed, the id is stale afterwards.
#[test]
fn ending_another_drops_it_and_makes_its_id_stale() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let mut victims = Vec::new();
    for name in 0..2 {
        let (peer, ours) = pair();
        let guard = Guard(log.clone(), name);
        let make = |stream: TcpStream| {
            script(move |cx: &mut Context<'_, Script>| {
                let _ = &guard;
                stream.read(cx, &mut [0; 8]).map_ok(drop)
            })
        };
        victims.push((peer, reactor.spawn_with(ours, make).unwrap()));
    }
    settle(&mut reactor, &mut ());
    let [(first_peer, first), (second_peer, second)] = [victims.remove(0), victims.remove(0)];
    reactor.end(first).unwrap();
    assert_eq!((log.take(), reactor.descriptors(), reactor.len()), (vec![0], 1, 1));
    assert_closed(&first_peer);
    assert_eq!((reactor.end(first), reactor.notify(first)), (Err(Error::Closed), Err(Error::Closed)));

    let entries = log.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            cx.end(second).unwrap();
            assert_eq!(entries.take(), [1]);
            assert_eq!((cx.end(second), cx.notify(second)), (Err(Error::Closed), Err(Error::Closed)));
            DONE
        }))
        .unwrap();
    reactor.run(&mut ()).unwrap();
    assert_closed(&second_peer);
}

// G45: ending oneself takes effect when `on_ready` returns, whatever it returns; the id works until then.
#[test]
fn ending_oneself_takes_effect_at_the_end_of_the_run() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let (guard, entries) = (Guard(log.clone(), "dropped"), log.clone());
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            let _ = &guard;
            let id = cx.id();
            cx.end(id).unwrap();
            cx.notify(id).unwrap();
            cx.end(id).unwrap();
            entries.push("still here");
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!((log.take(), reactor.len()), (vec!["still here", "dropped"], 0));
}

// A descriptor that a handler closed leaves nothing behind: whose its slot is by then keeps it when that handler ends.
#[test]
fn a_handlers_end_spares_who_has_a_slot_that_it_gave_back() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let ((_, first), (second_peer, second), (third_peer, third)) = (pair(), pair(), pair());
    let mut sources = Some((first, second));
    let id = reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            if let Some((first, second)) = sources.take() {
                let first: TcpStream = first.open(cx)?;
                second.open(cx)?;
                first.close(cx)?;
            }
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    reactor.spawn_with(third, |_| script(|_| Poll::Pending)).unwrap();
    assert_eq!(reactor.descriptors(), 2);
    reactor.end(id).unwrap();
    assert_eq!(reactor.descriptors(), 1);
    assert_closed(&second_peer);
    assert_open(&third_peer);
}

// Case 79: a handler opens, closes, spawns and ends as it likes in one run; nothing is left behind.
#[test]
fn handler_opens_and_closes_freely() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let mut peers = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let (peer, ours) = pair();
        peers.push(peer);
        sockets.push(ours);
    }
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            let mut last: Option<TcpStream> = None;
            for (turn, socket) in sockets.drain(..).enumerate() {
                match turn % 3 {
                    0 => last = Some(socket.open(cx)?),
                    1 => {
                        let id = cx.spawn_with(socket, |_| script(|_| unreachable!("ended before its first run")))?;
                        cx.end(id)?;
                        // A place on the ready list is freed when the list passes it.
                        if turn > 12 {
                            continue;
                        }
                    }
                    _ => {
                        let own = socket.open(cx)?;
                        drop(own.close(cx)?);
                        if let Some(last) = last.take() {
                            drop(last.close(cx)?);
                            assert_eq!(last.close(cx).unwrap_err(), Error::Closed);
                        }
                    }
                }
                if turn == 14 {
                    break;
                }
            }
            DONE
        }))
        .unwrap();
    reactor.run(&mut ()).unwrap();
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
    peers.iter().for_each(assert_closed);
}

// Handler ids tell uses of a place apart; the place itself is reused.
#[test]
fn an_id_never_names_a_later_handler() {
    let mut storage = ReactorStorage::<Script, 1, 0>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let first = reactor.spawn(script(|_| DONE)).unwrap();
    reactor.run(&mut ()).unwrap();
    let second = reactor.spawn(script(|_| Poll::Pending)).unwrap();
    assert_eq!((first.index(), second.index()), (0, 0));
    assert_ne!(first, second);
    assert_eq!(reactor.end(first), Err(Error::Closed));
    assert_eq!(reactor.len(), 1);
}

// A6: a slot freed from outside releases who waits for room, without any other event.
#[test]
fn ending_from_outside_releases_who_waits_for_room() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let idle = reactor.spawn(script(|_| Poll::Pending)).unwrap();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            ready!(cx.poll_room())?;
            entries.push("room");
            DONE
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [] as [&str; 0]);
    reactor.end(idle).unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["room"]);
}

// A6, A9: the same, and a foreign loop must not sleep on it.
#[test]
fn next_deadline_is_now_when_room_was_made_from_outside() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let idle = reactor.spawn(script(|_| Poll::Pending)).unwrap();
    reactor.spawn(script(|cx: &mut Context<'_, Script>| cx.poll_room())).unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(reactor.next_deadline(), None);
    reactor.end(idle).unwrap();
    assert!(reactor.next_deadline().is_some_and(|at| at <= Clock::Monotonic.now()));
}

// A6: who waits for room has it before whom the kernel wakes in the same pass.
#[test]
fn room_goes_to_who_waits_for_it() {
    let mut storage = ReactorStorage::<Script, 3, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let idle = reactor.spawn(script(|_| Poll::Pending)).unwrap();
    let entries = log.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            ready!(cx.poll_room())?;
            entries.push(("waited", cx.spawn(script(|_| Poll::Pending)).is_ok()));
            DONE
        }))
        .unwrap();
    let (mut peer, ours, arrived) = probed_pair();
    let entries = log.clone();
    reactor
        .spawn_with(ours, |stream| {
            script(move |cx: &mut Context<'_, Script>| {
                ready!(stream.read(cx, &mut [0; 8]))?;
                entries.push(("came by", cx.spawn(script(|_| Poll::Pending)).is_ok()));
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    peer.write_all(b"x").unwrap();
    arrived.wait_readable();
    reactor.end(idle).unwrap();
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    assert_eq!(log.take().first(), Some(&("waited", true)));
}

// A6: all who wait for room are run when a slot is freed by a handler that finishes; the second finds it taken and waits on.
#[test]
fn all_who_wait_for_room_are_run() {
    let mut storage = ReactorStorage::<Script, 3, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    for name in ["first", "second"] {
        let log = log.clone();
        reactor
            .spawn(script(move |cx: &mut Context<'_, Script>| {
                log.push((name, "asks"));
                ready!(cx.poll_room())?;
                log.push((name, "spawns"));
                cx.spawn(script(|_| Poll::Pending))?;
                Poll::Pending
            }))
            .unwrap();
    }
    let mut runs = 0;
    let third = reactor
        .spawn(script(move |_| {
            runs += 1;
            if runs == 2 { DONE } else { Poll::Pending }
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [("first", "asks"), ("second", "asks")]);
    reactor.notify(third).unwrap();
    settle(&mut reactor, &mut ());
    let mut entries = log.take();
    entries.sort_unstable();
    assert_eq!(entries.iter().filter(|(_, what)| *what == "asks").count(), 2);
    assert_eq!(entries.iter().filter(|(_, what)| *what == "spawns").count(), 1);
}

// ---- Notifying, yielding, giving

// Any number of notifications before a handler runs are one; `poll_notified` answers once.
#[test]
fn notifications_are_one_and_are_told_once() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let id = reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            entries.push((cx.poll_notified().is_ready(), cx.poll_notified().is_ready()));
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [(false, false)]);
    for _ in 0..3 {
        reactor.notify(id).unwrap();
    }
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [(true, false)]);
    reactor.notify_all();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [(true, false)]);
}

// The seeds' way to use somebody else's descriptor: put it in the queue, notify the writer.
#[test]
fn notify_tells_the_writer_of_a_queue() {
    let mut storage = Storage::<Vec<u8>>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (mut peer, ours) = pair();
    let writer = reactor
        .spawn_with(ours, |stream| {
            let mut sent = 0;
            script(move |cx: &mut Context<'_, Script<Vec<u8>>>| {
                let queue = cx.shared().clone();
                ready!(stream.write_all(cx, &queue, &mut sent))?;
                Poll::Pending
            })
        })
        .unwrap();
    let mut queue = Vec::new();
    settle(&mut reactor, &mut queue);
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script<Vec<u8>>>| {
            cx.shared().extend(b"frame");
            cx.notify(writer)?;
            DONE
        }))
        .unwrap();
    settle(&mut reactor, &mut queue);
    let mut buf = [0; 5];
    peer.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"frame");
}

// `notify_all` reaches every handler, the caller included: the graceful end.
#[test]
fn notify_all_reaches_everybody() {
    let mut storage = Storage::<bool>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    for _ in 0..4 {
        reactor.spawn(script(|cx: &mut Context<'_, Script<bool>>| if *cx.shared() { DONE } else { Poll::Pending })).unwrap();
    }
    reactor
        .spawn(script(|cx: &mut Context<'_, Script<bool>>| {
            if *cx.shared() {
                return DONE;
            }
            *cx.shared() = true;
            cx.notify_all();
            Poll::Pending
        }))
        .unwrap();
    reactor.run(&mut false).unwrap();
    assert!(reactor.is_empty());
}

// Who is spawned into the place of a handler that ended was not there when everybody was notified.
#[test]
fn notify_all_is_not_inherited() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let ended = reactor.spawn(script(|_| Poll::Pending)).unwrap();
    settle(&mut reactor, &mut ());
    reactor.end(ended).unwrap();
    reactor.notify_all();
    let log = Log::new();
    let entries = log.clone();
    let id = reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            entries.push(cx.poll_notified().is_ready());
            Poll::Pending
        }))
        .unwrap();
    assert_eq!(id.index(), ended.index());
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [false]);
}

// Case 80: who yields goes to the tail of the next round; the others run in between, each once in a round.
#[test]
fn handler_again_goes_to_tail_others_run() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    for (name, turns) in [("a", 3), ("b", 1), ("c", 2)] {
        let (log, mut left) = (log.clone(), turns);
        reactor
            .spawn(script(move |cx: &mut Context<'_, Script>| {
                log.push(name);
                left -= 1;
                if left == 0 {
                    return DONE;
                }
                cx.yield_now();
                Poll::Pending
            }))
            .unwrap();
    }
    reactor.run_once(Duration::ZERO, &mut ()).unwrap();
    assert_eq!(log.take(), ["a", "b", "c"]);
    reactor.run_once(Timeout::Never, &mut ()).unwrap(); // does not wait, for somebody is ready
    assert_eq!(log.take(), ["a", "c"]);
    reactor.run(&mut ()).unwrap();
    assert_eq!(log.take(), ["a"]);
}

// A descriptor belongs to one handler: `NotOwner` for others, until it is given away; then for the giver.
#[test]
fn give_moves_a_descriptor() {
    let mut storage = Storage::<Option<Token>>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let (mut peer, ours) = pair();
    let entries = log.clone();
    let taker = reactor
        .spawn(script(move |cx: &mut Context<'_, Script<Option<Token>>>| {
            let Some(token) = *cx.shared() else { return Poll::Pending };
            let mut byte = [0];
            let answer = ready!(cx.poll_io(token, netpoll::Direction::Read, |fd| rustix::io::read(fd, &mut byte)));
            entries.push(answer);
            DONE
        }))
        .unwrap();
    let ended = reactor.spawn(script(|_| DONE)).unwrap();
    settle(&mut reactor, &mut None);
    let giver = reactor
        .spawn_with(ours, |stream| {
            let mut step = 0;
            script(move |cx: &mut Context<'_, Script<Option<Token>>>| {
                step += 1;
                match step {
                    1 => {
                        // The others hear of the token, but cannot use it.
                        *cx.shared() = Some(stream.token());
                        cx.notify(taker)?;
                    }
                    2 => {
                        assert_eq!(cx.give(stream.token(), ended), Err(Error::Closed));
                        let own = cx.id();
                        assert_eq!(cx.give(stream.token(), own), Ok(()));
                        assert!(stream.local_addr(cx).is_ok());
                        assert_eq!(cx.give(stream.token(), taker), Err(Error::Closed)); // which has ended after `NotOwner`
                    }
                    _ => return DONE,
                }
                Poll::Pending
            })
        })
        .unwrap();
    let mut shared = None;
    settle(&mut reactor, &mut shared);
    assert_eq!(log.take(), [Err(Error::NotOwner)]);
    reactor.notify(giver).unwrap();
    settle(&mut reactor, &mut shared);

    // Now with somebody who lives.
    let entries = log.clone();
    let second = reactor
        .spawn(script(move |cx: &mut Context<'_, Script<Option<Token>>>| {
            let Some(token) = *cx.shared() else { return Poll::Pending };
            let mut byte = [0];
            entries.push(ready!(cx.poll_io(token, netpoll::Direction::Read, |fd| rustix::io::read(fd, &mut byte))));
            Poll::Pending
        }))
        .unwrap();
    shared = None;
    settle(&mut reactor, &mut shared);
    let (mut second_peer, ours) = pair();
    let entries = log.clone();
    let id = reactor
        .spawn_with(ours, |stream| {
            script(move |cx: &mut Context<'_, Script<Option<Token>>>| {
                let token = stream.token();
                cx.give(token, second)?;
                assert_eq!(cx.give(token, second), Err(Error::NotOwner));
                assert_eq!(stream.close(cx).unwrap_err(), Error::NotOwner);
                *cx.shared() = Some(token);
                cx.notify(second)?;
                entries.push(Ok(0));
                DONE // its end does not close what it gave away
            })
        })
        .unwrap();
    second_peer.write_all(b"x").unwrap();
    run_until(&mut reactor, &mut shared, |_| log.len() >= 2);
    assert_eq!(log.take(), [Ok(0), Ok(1)]);
    assert!(reactor.end(id).is_err());
    assert_open(&second_peer);
    reactor.end(second).unwrap();
    assert_closed(&second_peer);
    peer.write_all(b"y").unwrap(); // the first is still open
}

// ---- Timers

/// Logs whether the timer has passed, in each run; sets it as told through the shared state, `None` for not at all.
type Order = Option<Option<Instant>>;

fn timed(log: &Log<bool>) -> Script<Order> {
    let log = log.clone();
    script(move |cx: &mut Context<'_, Script<Order>>| {
        log.push(cx.poll_timer().is_ready());
        if let Some(at) = cx.shared().take() {
            cx.set_timer(at);
        }
        Poll::Pending
    })
}

fn with_timed(test: impl FnOnce(&mut Reactor<'_, Script<Order>>, HandlerId, &Log<bool>)) {
    let mut storage = Storage::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    let log = Log::new();
    let id = reactor.spawn(timed(&log)).unwrap();
    settle(&mut reactor, &mut None);
    assert_eq!(log.take(), [false]);
    test(&mut reactor, id, &log);
}

/// Runs the handler, which sets its timer.
fn order(reactor: &mut Reactor<'_, Script<Order>>, id: HandlerId, log: &Log<bool>, at: Option<Instant>) {
    reactor.notify(id).unwrap();
    reactor.run_once(Duration::ZERO, &mut Some(at)).unwrap();
    assert_eq!(log.take(), [false]);
}

// A timer is never early, runs its handler once, and is told once.
#[test]
fn a_timer_passes_once_and_never_early() {
    with_timed(|reactor, id, log| {
        order(reactor, id, log, Some(manual() + SECOND));
        assert_eq!(reactor.next_deadline(), Some(manual() + SECOND));
        advance(SECOND - Duration::from_nanos(1));
        settle(reactor, &mut None);
        assert_eq!(log.take(), []);
        advance(Duration::from_nanos(1));
        settle(reactor, &mut None);
        assert_eq!(log.take(), [true]);
        reactor.notify(id).unwrap();
        advance(SECOND);
        settle(reactor, &mut None);
        assert_eq!(log.take(), [false]);
        assert_eq!(reactor.next_deadline(), None);
    });
}

// A timer in the past runs its handler in the next pass; re-set into the past in each run, once per pass, and others are served (G32).
#[test]
fn a_timer_in_the_past_runs_once_per_pass() {
    with_timed(|reactor, id, log| {
        order(reactor, id, log, Some(Instant::from_nanos(5)));
        for _ in 0..3 {
            reactor.run_once(Timeout::Never, &mut Some(Some(manual()))).unwrap(); // does not wait
            assert_eq!(log.take(), [true]);
        }
        reactor.run_once(Timeout::Never, &mut None).unwrap();
        settle(reactor, &mut None);
        assert_eq!(log.take(), [true]);
    });
}

// A timer that is pushed out passes at the later time; that it comes up at the old one runs nobody.
#[test]
fn a_timer_can_be_pushed_out_and_pulled_in() {
    with_timed(|reactor, id, log| {
        order(reactor, id, log, Some(manual() + SECOND));
        order(reactor, id, log, Some(manual() + 3 * SECOND));
        advance(2 * SECOND);
        settle(reactor, &mut None);
        assert_eq!(log.take(), []);
        assert_eq!(reactor.next_deadline(), Some(manual() + SECOND));
        order(reactor, id, log, Some(manual() + SECOND / 2));
        advance(SECOND / 2);
        settle(reactor, &mut None);
        assert_eq!(log.take(), [true]);
        advance(3 * SECOND);
        settle(reactor, &mut None);
        assert_eq!(log.take(), []);
        // At the first time, and at the last one.
        assert_eq!(reactor.stats().deadlines, 2);
    });
}

// G34 for timers: a cleared timer does not pass, also when it is cleared in the pass in which it passes.
#[test]
fn a_cleared_timer_does_not_pass() {
    with_timed(|reactor, id, log| {
        order(reactor, id, log, Some(manual() + SECOND));
        order(reactor, id, log, None);
        advance(2 * SECOND);
        settle(reactor, &mut None);
        assert_eq!(log.take(), []);
    });
}

// G37: a timer beyond the end of the clock never passes and is no error.
#[test]
fn a_timer_saturates() {
    with_timed(|reactor, id, log| {
        order(reactor, id, log, Some(manual() + Duration::MAX));
        advance(1000 * SECOND);
        settle(reactor, &mut None);
        assert_eq!(log.take(), []);
        assert_eq!(reactor.next_deadline(), None);
        order(reactor, id, log, Some(Instant::from_nanos(u64::MAX - 1)));
        settle(reactor, &mut None);
        assert_eq!(log.take(), []);
    });
    let mut storage = Storage::<()>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    reactor
        .spawn(script(|cx: &mut Context<'_, Script>| {
            cx.set_timer_after(Duration::MAX);
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!((reactor.next_deadline(), reactor.len()), (None, 1));
}

// G36: the timer of an ended handler never runs its successor, and the successor's own is exact.
#[test]
fn the_timer_of_an_ended_handler_never_fires_for_its_successor() {
    let mut storage = ReactorStorage::<Script<Order>, 1, 0>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    let log = Log::new();
    let first = reactor.spawn(timed(&log)).unwrap();
    reactor.run_once(Duration::ZERO, &mut Some(Some(manual() + SECOND))).unwrap();
    reactor.end(first).unwrap();
    let second = reactor.spawn(timed(&log)).unwrap();
    assert_eq!(first.index(), second.index());
    reactor.run_once(Duration::ZERO, &mut Some(Some(manual() + 2 * SECOND))).unwrap();
    log.take();
    advance(SECOND + SECOND / 2);
    settle(&mut reactor, &mut None);
    assert_eq!(log.take(), []);
    advance(SECOND / 2);
    settle(&mut reactor, &mut None);
    assert_eq!(log.take(), [true]);
}

// G36: a timer that has passed but was not asked for dies with its handler.
#[test]
fn a_passed_timer_is_not_inherited() {
    let mut storage = ReactorStorage::<Script<Order>, 1, 0>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    let first = reactor
        .spawn(script(|cx: &mut Context<'_, Script<Order>>| {
            cx.set_timer(Some(Instant::from_nanos(1)));
            Poll::Pending
        }))
        .unwrap();
    reactor.run_once(Duration::ZERO, &mut None).unwrap();
    reactor.end(first).unwrap();
    settle(&mut reactor, &mut None);
    let log = Log::new();
    reactor.spawn(timed(&log)).unwrap();
    settle(&mut reactor, &mut None);
    assert_eq!(log.take(), [false]);
}

// Case 65: timers pass in the order of their times, those of one pass before any of the next; a real wait ends for the first.
#[test]
fn timers_pass_in_order() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    for millis in [15, 5, 10] {
        let log = log.clone();
        let mut set = false;
        reactor
            .spawn(script(move |cx: &mut Context<'_, Script>| {
                if !mem::replace(&mut set, true) {
                    cx.set_timer_after(Duration::from_millis(millis));
                }
                ready!(cx.poll_timer());
                log.push(millis);
                DONE
            }))
            .unwrap();
    }
    reactor.run(&mut ()).unwrap();
    assert_eq!(log.take(), [5, 10, 15]);
}

// A10: `now` is the time of the pass, and a duration is counted from a fresh look at the clock.
#[test]
fn durations_read_the_clock_when_they_are_set() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap();
    reactor
        .spawn(script(|cx: &mut Context<'_, Script>| {
            let began = cx.now();
            advance(10 * SECOND); // a long run
            assert_eq!(cx.now(), began);
            cx.set_timer_after(SECOND);
            Poll::Pending
        }))
        .unwrap();
    reactor.run_once(Duration::ZERO, &mut ()).unwrap();
    assert_eq!(reactor.next_deadline(), Some(manual() + SECOND));
}

// ---- The break, as a handler sees it

/// Logs each wake; waits for the next.
fn woken(log: &Log<&'static str>, name: &'static str) -> Script {
    let log = log.clone();
    script(move |cx: &mut Context<'_, Script>| {
        while cx.poll_wake().is_ready() {
            log.push(name);
        }
        Poll::Pending
    })
}

// All who wait for a wake are run, each is told once; several wakes before the reactor looks are one.
#[test]
fn a_wake_runs_all_who_wait_once() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    reactor.spawn(woken(&log, "a")).unwrap();
    reactor.spawn(woken(&log, "b")).unwrap();
    settle(&mut reactor, &mut ());
    for _ in 0..2 {
        for _ in 0..3 {
            reactor.breaker().wake().unwrap();
        }
        settle(&mut reactor, &mut ());
        let mut entries = log.take();
        entries.sort_unstable();
        assert_eq!(entries, ["a", "b"]);
    }
}

// G39: a wake is remembered while nobody waits: handlers that are there by then learn of it, once each, whoever is spawned after somebody has learned of it does not.
#[test]
fn a_wake_is_remembered_while_nobody_waits() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    for _ in 0..2 {
        reactor.breaker().wake().unwrap();
        settle(&mut reactor, &mut ());
    }
    let log = Log::new();
    reactor.spawn(woken(&log, "first")).unwrap();
    reactor.spawn(woken(&log, "second")).unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["first", "second"]);
    reactor.spawn(woken(&log, "third")).unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [] as [&str; 0]);
    reactor.breaker().wake().unwrap();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), ["first", "second", "third"]);
}

// A wake that comes while its handler is busy with something else is told when it asks.
#[test]
fn a_wake_waits_for_a_busy_handler() {
    let mut storage = Storage::<bool>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let id = reactor
        .spawn(script(move |cx: &mut Context<'_, Script<bool>>| {
            if *cx.shared() {
                entries.push("busy");
            } else if cx.poll_wake().is_ready() {
                entries.push("woken");
            }
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, &mut false);
    reactor.breaker().wake().unwrap();
    settle(&mut reactor, &mut true);
    assert_eq!(log.take(), ["busy"]);
    reactor.notify(id).unwrap();
    settle(&mut reactor, &mut false);
    assert_eq!(log.take(), ["woken"]);
}

// Case 73: a wake by a handler itself makes the next pass come at once, also when nothing else ever comes.
#[test]
fn wake_in_handler_next_wait_immediate() {
    type One = Callback<u32, Option<Breaker<'static>>>;
    fn wake(breaker: &mut Option<Breaker<'static>>, cx: &mut Context<'_, One>) -> Answer {
        while cx.poll_wake().is_ready() {
            *cx.shared() += 1;
        }
        match breaker.take() {
            Some(breaker) => breaker.wake()?,
            None => return DONE,
        }
        Poll::Pending
    }
    static STORAGE: ConstStaticCell<ReactorStorage<One, 1, 0>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take()).unwrap();
    let breaker = reactor.breaker();
    reactor.spawn(Callback { f: wake, data: Some(breaker) }).unwrap();
    let mut wakes = 0;
    reactor.run(&mut wakes).unwrap();
    assert_eq!(wakes, 1);
    drop(reactor);
    assert_eq!(breaker.wake(), Err(Error::Closed));
}

// What the kernel says of the break pipe is the answer when everybody has run.
#[test]
fn a_broken_break_pipe_is_told_after_the_round() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let id = reactor
        .spawn(script(move |_| {
            entries.push(());
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, &mut ());
    log.take();
    let [_, write_end] = break_pipe_of(|fd| reactor.is_poll_descriptor(fd));
    // Nobody can write: the pipe is at its end.
    replace(write_end, std::fs::File::open("/dev/null").unwrap());
    for once in [true, true, false] {
        reactor.notify(id).unwrap();
        let answer = if once { reactor.run_once(Timeout::Now, &mut ()) } else { reactor.run(&mut ()) };
        assert_eq!((answer, log.take().len()), (Err(Error::Os(Errno::PIPE)), 1));
    }
}

// ---- Running and stopping

// `run` returns when no handler is left, at once when there was none.
#[test]
fn run_returns_when_no_handler_is_left() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    reactor.run(&mut ()).unwrap();
    assert_eq!(reactor.stats().polls, 0);
    reactor.spawn(script(|_| DONE)).unwrap();
    reactor.run(&mut ()).unwrap();
    assert!(reactor.is_empty());
}

// [libuv loop_stop_before_run]: `stop` before `run` makes it return at once, once; nobody is run or lost.
#[test]
fn stop_before_run() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    reactor
        .spawn(script(move |_| {
            entries.push(());
            DONE
        }))
        .unwrap();
    reactor.stop();
    reactor.run(&mut ()).unwrap();
    assert_eq!((log.len(), reactor.len()), (0, 1));
    reactor.run(&mut ()).unwrap();
    assert_eq!((log.len(), reactor.len()), (1, 0));
}

// `stop` by a handler ends the run after this round, and keeps everybody; the next `run` goes on.
#[test]
fn stop_in_a_handler_ends_after_the_round() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    for name in ["a", "b"] {
        let log = log.clone();
        reactor
            .spawn(script(move |cx: &mut Context<'_, Script>| {
                log.push(name);
                cx.stop();
                cx.yield_now();
                Poll::Pending
            }))
            .unwrap();
    }
    for _ in 0..2 {
        reactor.run(&mut ()).unwrap();
        assert_eq!((log.take(), reactor.len()), (vec!["a", "b"], 2));
    }
}

// `run_once` waits no longer than it is told and not at all when told so, and never returns early from an idle wait.
#[test]
fn run_once_keeps_to_its_timeout() {
    let mut storage = Storage::<()>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    reactor.spawn(script(|_| Poll::Pending)).unwrap();
    settle(&mut reactor, &mut ());
    for millis in [0, 1, 20] {
        let began = std::time::Instant::now();
        reactor.run_once(Duration::from_millis(millis), &mut ()).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(millis));
    }
    let began = Clock::Monotonic.now();
    reactor.run_once(began + Duration::from_millis(5), &mut ()).unwrap();
    assert!(Clock::Monotonic.now() >= began + Duration::from_millis(5));
    reactor.run_once(Instant::from_nanos(1), &mut ()).unwrap(); // a moment in the past
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
}

// A9: while somebody is ready a foreign loop must not sleep.
#[test]
fn next_deadline_is_now_while_somebody_is_ready() {
    let mut storage = Storage::<()>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    assert_eq!(reactor.next_deadline(), None);
    let id = reactor.spawn(script(|_| Poll::Pending)).unwrap();
    let due = |reactor: &mut Reactor<'_, Script>| reactor.next_deadline().is_some_and(|at| at <= Clock::Monotonic.now());
    assert!(due(&mut reactor));
    settle(&mut reactor, &mut ());
    assert_eq!(reactor.next_deadline(), None);
    reactor.notify(id).unwrap();
    assert!(due(&mut reactor));
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    assert_eq!(reactor.next_deadline(), None);
}

// G59: a reactor's descriptor is readable in a foreign loop while an event waits, and is no longer after the pass.
#[test]
fn a_foreign_loop_can_wait_for_the_reactor() {
    let mut storage = Storage::<()>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (mut peer, ours) = pair();
    reactor.spawn_with(ours, |stream| script(move |cx: &mut Context<'_, Script>| stream.read(cx, &mut [0; 9]).map_ok(drop))).unwrap();
    settle(&mut reactor, &mut ());
    let readable = |reactor: &Reactor<'_, Script>, seconds| {
        let mut fds = [rustix::event::PollFd::new(reactor, rustix::event::PollFlags::IN)];
        let timeout = rustix::event::Timespec { tv_sec: seconds, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&timeout)).unwrap() == 1
    };
    assert!(!readable(&reactor, 0));
    assert!(reactor.is_poll_descriptor(&reactor));
    assert!(!reactor.is_poll_descriptor(&peer));
    peer.write_all(b"x").unwrap();
    assert!(readable(&reactor, 20));
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    assert_eq!((reactor.len(), readable(&reactor, 0)), (0, false));
}

// G44: more descriptors are ready than fit a batch: all are served, one batch in each pass, and a timer is not kept waiting for the last.
#[test]
fn many_fds_over_batch_all_served() {
    const MANY: usize = 300;
    type One = Callback<Vec<usize>, (usize, Option<TcpStream>)>;
    static STORAGE: ConstStaticCell<ReactorStorage<One, { MANY + 1 }, MANY>> = ConstStaticCell::new(ReactorStorage::new());
    fn read((name, stream): &mut (usize, Option<TcpStream>), cx: &mut Context<'_, One>) -> Answer {
        if let Some(stream) = stream {
            ready!(stream.read(cx, &mut [0; 8]))?;
        }
        cx.shared().push(*name);
        DONE
    }
    fn wait((name, _): &mut (usize, Option<TcpStream>), cx: &mut Context<'_, One>) -> Answer {
        if cx.poll_timer().is_ready() {
            cx.shared().push(*name);
            return DONE;
        }
        let at = cx.now() + SECOND;
        cx.set_timer(Some(at));
        Poll::Pending
    }
    let mut reactor = Reactor::with_clock(STORAGE.take(), Clock::Custom(manual)).unwrap();
    let mut peers = Vec::new();
    reactor.spawn(Callback { f: wait, data: (MANY, None) }).unwrap();
    for name in 0..MANY {
        let (peer, ours, arrived) = probed_pair();
        peers.push((peer, arrived));
        reactor.spawn_with(ours, |stream| Callback { f: read, data: (name, Some(stream)) }).unwrap();
    }
    let mut served = Vec::new();
    settle(&mut reactor, &mut served);
    assert_eq!(served, []);
    for (peer, arrived) in &mut peers {
        peer.write_all(b"x").unwrap();
        arrived.wait_readable();
    }
    advance(SECOND);
    let polls = reactor.stats().polls;
    reactor.run_once(Timeout::Never, &mut served).unwrap();
    assert!(served.len() < MANY && served.contains(&MANY), "{} in the first pass", served.len());
    reactor.run(&mut served).unwrap();
    let polls = reactor.stats().polls - polls;
    assert!(polls <= 3 || !util::is_orderly(), "{polls} polls");
    served.sort_unstable();
    assert!(served.into_iter().eq(0..=MANY));
}

// ---- Hooks

#[derive(Default)]
struct Seen {
    errors: Vec<(Error, bool)>,
    sleeps: Vec<u64>,
    dropped: usize,
}

/// A handler with both hooks.
struct Hooked {
    act: fn(&mut Hooked, &mut Context<'_, Hooked>) -> Answer,
    stream: Option<TcpStream>,
    dropped: Rc<Cell<usize>>,
    runs: usize,
}

impl Drop for Hooked {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

impl Handler for Hooked {
    type Shared = Seen;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Answer {
        self.runs += 1;
        (self.act)(self, cx)
    }

    fn on_error(&mut self, error: Error, cx: &mut Context<'_, Self>) {
        let open = self.stream.as_ref().is_some_and(|stream| stream.peer_addr(cx).is_ok());
        let dropped = self.dropped.get();
        cx.shared().errors.push((error, open));
        cx.shared().dropped = dropped;
    }

    fn on_sleep(seen: &mut Seen, stats: &Stats) {
        seen.sleeps.push(stats.polls);
    }
}

// A failed handler's error goes to its hook, while it lives and its descriptors are open; success does not.
#[test]
fn on_error_is_told_before_the_drop() {
    let mut storage = ReactorStorage::<Hooked, 4, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let dropped = Rc::<Cell<usize>>::default();
    let (peer, ours) = pair();
    let failing = |handler: &mut Hooked, cx: &mut Context<'_, Hooked>| -> Answer {
        let stream = handler.stream.as_ref().unwrap();
        stream.set_read_deadline(cx, Some(Instant::from_nanos(1)))?;
        stream.read(cx, &mut [0; 8]).map_ok(drop)
    };
    reactor.spawn_with(ours, |stream| Hooked { act: failing, stream: Some(stream), dropped: Rc::clone(&dropped), runs: 0 }).unwrap();
    reactor.spawn(Hooked { act: |_, _| DONE, stream: None, dropped: Rc::clone(&dropped), runs: 0 }).unwrap();
    let mut seen = Seen::default();
    reactor.run(&mut seen).unwrap();
    assert_eq!((seen.errors, seen.dropped, dropped.get()), (vec![(Error::TimedOut, true)], 0, 2));
    assert_closed(&peer);
}

// The default of `on_error` does nothing: a failed handler ends like any other.
#[test]
fn an_error_without_a_hook_ends_quietly() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    reactor.spawn(script(|_| Poll::Ready(Err(Error::NotPollable)))).unwrap();
    reactor.run(&mut ()).unwrap();
    assert!(reactor.is_empty());
}

// `on_sleep` is called before each wait, with the counters, and not while somebody is to be run.
#[test]
fn on_sleep_is_called_before_each_wait_only() {
    let mut storage = ReactorStorage::<Hooked, 4, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let yielding = |handler: &mut Hooked, cx: &mut Context<'_, Hooked>| -> Answer {
        match handler.runs {
            1..=5 => cx.yield_now(),
            6 => cx.set_timer_after(Duration::from_millis(1)),
            _ => return cx.poll_timer().map(Ok),
        }
        Poll::Pending
    };
    reactor.spawn(Hooked { act: yielding, stream: None, dropped: Rc::default(), runs: 0 }).unwrap();
    let mut seen = Seen::default();
    reactor.run(&mut seen).unwrap();
    assert_eq!(seen.sleeps, [6]);
}

// ---- Shared state, callbacks

// Shared state is lent to each `run`, also another one, and reached by all handlers; a `Callback` is a function with data.
#[test]
fn shared_state_is_lent_to_run() {
    fn add(amount: &mut u64, cx: &mut Context<'_, Callback<u64, u64>>) -> Answer {
        *cx.shared() += *amount;
        *amount *= 10;
        if *amount > 10 * 10 {
            return DONE;
        }
        cx.yield_now();
        Poll::Pending
    }
    let mut storage = ReactorStorage::<Callback<u64, u64>, 2, 0>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    reactor.spawn(Callback { f: add, data: 1 }).unwrap();
    reactor.spawn(Callback { f: add, data: 2 }).unwrap();
    let (mut first, mut second) = (0, 0);
    reactor.run_once(Timeout::Now, &mut first).unwrap();
    reactor.run(&mut second).unwrap();
    assert_eq!((first, second), (3, 10 + 20 + 100));
}

// ---- Fairness

/// Reads byte by byte until there is nothing more for now.
fn sip(cx: &mut Context<'_, Script>, stream: &TcpStream) -> Result<usize, Error> {
    let mut count = 0;
    while let Poll::Ready(n) = stream.read(cx, &mut [0]) {
        count += n?;
    }
    Ok(count)
}

// A flood on one side of a bridge: each run spends its budget there and no more, the other side is served in the next run, and so is everybody else.
#[test]
fn a_flood_on_one_side_does_not_silence_the_other() {
    if !util::is_orderly() {
        return util::skip("a_flood_on_one_side_does_not_silence_the_other", "events that belong together may come apart");
    }
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap().with_budget(NonZeroU8::new(4).unwrap());
    let ((mut flood, left, arrived_left), (mut quiet, right, arrived_right)) = (probed_pair(), probed_pair());
    flood.write_all(&[1; 4096]).unwrap();
    arrived_left.wait_readable();
    let log = Log::new();
    let (entries, mut right) = (log.clone(), Some(right));
    let mut opened: Option<TcpStream> = None;
    reactor
        .spawn_with(left, |left| {
            script(move |cx: &mut Context<'_, Script>| {
                if let Some(right) = right.take() {
                    opened = Some(right.open(cx)?);
                }
                let flooded = sip(cx, &left)?;
                let other = sip(cx, opened.as_ref().unwrap())?;
                entries.push((flooded, other));
                Poll::Pending
            })
        })
        .unwrap();
    let bystander = Log::new();
    let entries = bystander.clone();
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            entries.push(());
            cx.yield_now();
            Poll::Pending
        }))
        .unwrap();
    for pass in 0..10 {
        if pass % 2 == 1 {
            quiet.write_all(b"x").unwrap();
            arrived_right.wait_readable();
        }
        reactor.run_once(Timeout::Never, &mut ()).unwrap();
        let other = usize::from(pass % 2 == 1);
        assert_eq!((log.take(), bystander.take().len()), (vec![(4, other)], 1), "pass {pass}");
    }
}

// A flood does not delay deadlines and timers: they are looked at in every pass.
#[test]
fn timers_run_in_a_flood() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(manual)).unwrap().with_budget(NonZeroU8::MIN);
    let (mut flood, ours, arrived) = probed_pair();
    flood.write_all(&[1; 4096]).unwrap();
    arrived.wait_readable();
    reactor
        .spawn_with(ours, |stream| {
            script(move |cx: &mut Context<'_, Script>| sip(cx, &stream).map_or_else(|error| Poll::Ready(Err(error)), |_| Poll::Pending))
        })
        .unwrap();
    let (log, (_silent, ours)) = (Log::new(), pair());
    let entries = log.clone();
    let mut set = false;
    reactor
        .spawn_with(ours, |stream| {
            script(move |cx: &mut Context<'_, Script>| {
                if !mem::replace(&mut set, true) {
                    let at = cx.now() + SECOND;
                    cx.set_timer(Some(at + SECOND));
                    stream.set_read_deadline(cx, Some(at))?;
                }
                if cx.poll_timer().is_ready() {
                    entries.push("timer");
                }
                if stream.read(cx, &mut [0; 8]) == Poll::Ready(Err(Error::TimedOut)) {
                    entries.push("deadline");
                }
                Poll::Pending
            })
        })
        .unwrap();
    for expected in [vec![], vec!["deadline"], vec!["timer", "deadline"]] {
        reactor.run_once(Timeout::Never, &mut ()).unwrap();
        assert_eq!(log.take(), expected);
        advance(SECOND);
    }
}

// A handler whose budget is spent goes on by itself: everything is read although the kernel says nothing more.
#[test]
fn a_spent_budget_loses_nothing() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap().with_budget(NonZeroU8::new(3).unwrap());
    let (mut peer, ours) = pair();
    peer.write_all(&[7; 1000]).unwrap();
    let log = Log::new();
    let entries = log.clone();
    reactor
        .spawn_with(ours, |stream| {
            script(move |cx: &mut Context<'_, Script>| {
                let n = sip(cx, &stream)?;
                assert!(n <= 3);
                (0..n).for_each(|_| entries.push(()));
                Poll::Pending
            })
        })
        .unwrap();
    run_until(&mut reactor, &mut (), |_| log.len() == 1000);
    assert_eq!(reactor.stats().parked_handlers, 0);
}

// Half of a budget is shared by all that a run does, the other half each direction has for itself.
#[test]
fn half_of_a_budget_is_shared() {
    for (budget, expected) in [(1, (1, 1)), (2, (2, 1)), (5, (5, 3)), (8, (8, 4))] {
        let mut storage = Storage::new();
        let mut reactor = Reactor::new(&mut storage).unwrap().with_budget(NonZeroU8::new(budget).unwrap());
        let ((mut first_flood, first, first_arrived), (mut second_flood, second, second_arrived)) = (probed_pair(), probed_pair());
        for (flood, arrived) in [(&mut first_flood, first_arrived), (&mut second_flood, second_arrived)] {
            flood.write_all(&[1; 100]).unwrap();
            arrived.wait_readable();
        }
        let log = Log::new();
        let entries = log.clone();
        let mut second = Some(second);
        reactor
            .spawn_with(first, |first| {
                script(move |cx: &mut Context<'_, Script>| {
                    let second = second.take().unwrap().open(cx)?;
                    entries.push((sip(cx, &first)?, sip(cx, &second)?));
                    DONE
                })
            })
            .unwrap();
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        assert_eq!(log.take(), [expected], "a budget of {budget}");
    }
}

// Case 83: one event for both directions runs a handler that waits for both once.
#[test]
fn combined_event_runs_a_handler_once() {
    let mut storage = Storage::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (mut peer, ours, arrived) = probed_pair();
    let log = Log::new();
    let entries = log.clone();
    let mut written = 0;
    let filled = Rc::new(Cell::new(0));
    let count = Rc::clone(&filled);
    reactor
        .spawn_with(ours, |stream| {
            script(move |cx: &mut Context<'_, Script>| {
                let read = stream.read(cx, &mut [0; 8]);
                let before = written;
                while let Poll::Ready(n) = stream.write(cx, &[5; 65536]) {
                    written += n?;
                    if before > 0 {
                        break;
                    }
                }
                count.set(written);
                entries.push((read.is_ready(), written > before));
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, &mut ());
    log.take();
    // Nobody polls meanwhile, so both edges come in one event.
    let mut left = filled.get();
    let mut sink = vec![0; 65536];
    while left > 0 {
        left -= peer.read(&mut sink).unwrap();
    }
    peer.write_all(b"x").unwrap();
    arrived.wait(PollFlags::IN | PollFlags::OUT);
    let events = reactor.stats().events;
    run_until(&mut reactor, &mut (), |_| log.len() > 0);
    assert_eq!((log.take(), reactor.stats().events - events), (vec![(true, true)], 1));
}

// ---- Parked handlers

// `Pending` that waits for nothing is counted; each kind of wait is not, nor one that stands from an earlier run.
#[test]
fn parked_handlers_are_counted() {
    type Wait = fn(&mut Context<'_, Script>, &TcpStream);
    // What is waited for, and whether that still stands when the handler is run for another reason and does not ask again.
    let waits: [(&str, bool, Wait); 6] = [
        ("read", true, |cx, stream| assert!(stream.read(cx, &mut [0]).is_pending())),
        ("timer", true, |cx, _| cx.set_timer_after(1000 * SECOND)),
        ("wake", true, |cx, _| assert!(cx.poll_wake().is_pending())),
        ("past timer", false, |cx, _| cx.set_timer(Some(Instant::from_nanos(1)))),
        ("room", false, |cx, _| assert!(cx.poll_room().is_pending())),
        ("yield", false, |cx, _| cx.yield_now()),
    ];
    for (name, stands, wait) in waits {
        let mut storage = ReactorStorage::<Script, 1, 1>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let (_peer, ours) = pair();
        let id = reactor
            .spawn_with(ours, |stream| {
                let mut asked = false;
                script(move |cx: &mut Context<'_, Script>| {
                    if !mem::replace(&mut asked, true) {
                        wait(cx, &stream);
                    }
                    Poll::Pending
                })
            })
            .unwrap();
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        assert_eq!(reactor.stats().parked_handlers, 0, "{name}");
        reactor.notify(id).unwrap();
        settle(&mut reactor, &mut ());
        assert_eq!(reactor.stats().parked_handlers, u64::from(!stands), "{name}");
    }
}

// ---- Storage

// A local, a static and storage on the heap hold a reactor alike.
#[test]
fn storage_static_local_and_boxed() {
    type Counter = Callback<u32, ()>;
    fn count((): &mut (), cx: &mut Context<'_, Counter>) -> Answer {
        *cx.shared() += 1;
        DONE
    }
    fn serve(mut reactor: Reactor<'_, Counter>, handlers: usize) {
        for _ in 0..handlers {
            reactor.spawn(Callback { f: count, data: () }).unwrap();
        }
        assert_eq!(reactor.spawn(Callback { f: count, data: () }).unwrap_err().error, Error::Full);
        let mut counted = 0;
        reactor.run(&mut counted).unwrap();
        assert_eq!(counted as usize, handlers);
    }
    static STORAGE: ConstStaticCell<ReactorStorage<Counter, 3, 4>> = ConstStaticCell::new(ReactorStorage::new());
    serve(Reactor::new(STORAGE.take()).unwrap(), 3);
    let mut local = ReactorStorage::<Counter, 5, 0>::new();
    for _ in 0..2 {
        serve(Reactor::new(&mut local).unwrap(), 5);
    }
    #[cfg(feature = "alloc")]
    {
        let mut boxed = netpoll::BoxedReactorStorage::<Counter>::with_capacity(7, 0);
        for _ in 0..2 {
            serve(Reactor::new(&mut boxed).unwrap(), 7);
        }
    }
}

// A reactor without any room is a reactor.
#[test]
fn storage_of_nothing() {
    let mut storage = ReactorStorage::<Script, 0, 0>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    assert_eq!(reactor.spawn(script(|_| DONE)).err().unwrap().error, Error::Full);
    reactor.run(&mut ()).unwrap();
    reactor.run_once(Duration::ZERO, &mut ()).unwrap();
}

/// Fills a reactor with handlers that own a stream each; gives back their peers.
fn populate(reactor: &mut Reactor<'_, Script>, log: &Log<usize>) -> Vec<std::net::TcpStream> {
    let mut peers = Vec::new();
    for name in 0..4 {
        let (peer, ours) = pair();
        let guard = Guard(log.clone(), name);
        let make = |stream: TcpStream| {
            script(move |cx: &mut Context<'_, Script>| {
                let _ = &guard;
                cx.set_timer_after(1000 * SECOND);
                stream.set_read_timeout(cx, Some(SECOND))?;
                let _ = (cx.poll_wake(), cx.poll_room());
                stream.read(cx, &mut [0; 8]).map_ok(drop)
            })
        };
        reactor.spawn_with(ours, make).unwrap();
        peers.push(peer);
    }
    settle(reactor, &mut ());
    assert_eq!((log.len(), reactor.len(), reactor.descriptors()), (0, 4, 4));
    peers
}

// Dropping a reactor drops its handlers and closes its descriptors.
#[test]
fn dropping_a_reactor_drops_handlers_and_closes_descriptors() {
    let mut storage = ReactorStorage::<Script, 4, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let peers = populate(&mut reactor, &log);
    drop(reactor);
    assert_eq!(log.take(), [0, 1, 2, 3]);
    peers.iter().for_each(assert_closed);
}

// Storage lent again after a forgotten reactor is emptied first, wherever it lies; nothing of the old reactor is inherited.
#[test]
fn storage_lent_again_after_a_forgotten_reactor_is_emptied() {
    fn forget_and_reuse<S: Lend>(storage: &mut S) {
        let log = Log::new();
        let mut reactor = storage.reactor();
        let peers = populate(&mut reactor, &log);
        reactor.notify_all();
        reactor.breaker().wake().unwrap();
        mem::forget(reactor);
        peers.iter().for_each(assert_open);

        let mut reactor = storage.reactor();
        assert_eq!(log.take(), [0, 1, 2, 3]);
        peers.iter().for_each(assert_closed);
        assert_eq!((reactor.len(), reactor.descriptors(), reactor.next_deadline(), reactor.stats()), (0, 0, None, Stats::default()));
        let peers = populate(&mut reactor, &log);
        drop(reactor);
        assert_eq!(log.take(), [0, 1, 2, 3]);
        peers.iter().for_each(assert_closed);
    }
    trait Lend {
        fn reactor(&mut self) -> Reactor<'_, Script>;
    }
    impl<const N: usize, const D: usize> Lend for ReactorStorage<Script, N, D> {
        fn reactor(&mut self) -> Reactor<'_, Script> {
            Reactor::new(self).unwrap()
        }
    }
    forget_and_reuse(&mut ReactorStorage::<Script, 4, 4>::new());
    #[cfg(feature = "alloc")]
    {
        impl Lend for netpoll::BoxedReactorStorage<Script> {
            fn reactor(&mut self) -> Reactor<'_, Script> {
                Reactor::new(self).unwrap()
            }
        }
        forget_and_reuse(&mut netpoll::BoxedReactorStorage::<Script>::with_capacity(4, 4));
    }
}

// Storage that is dropped under a forgotten reactor drops and closes what is left in it.
#[test]
fn storage_dropped_after_a_forgotten_reactor_closes_everything() {
    let log = Log::new();
    let mut storage = ReactorStorage::<Script, 4, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let peers = populate(&mut reactor, &log);
    mem::forget(reactor);
    drop(storage);
    assert_eq!(log.len(), 4);
    peers.iter().for_each(assert_closed);
}

// 65 536 descriptors in a static do not touch the stack: the whole life fits one of 96 KiB.
#[test]
fn large_static_storage_does_not_touch_the_stack() {
    type One = Callback<bool, Option<TcpListener>>;
    static STORAGE: ConstStaticCell<ReactorStorage<One, 1024, 65_536>> = ConstStaticCell::new(ReactorStorage::new());
    fn accept(listener: &mut Option<TcpListener>, cx: &mut Context<'_, One>) -> Answer {
        let (socket, _) = ready!(listener.as_ref().unwrap().accept(cx))?;
        cx.spawn_with(socket, |_| Callback { f: |_, _| DONE, data: None })?;
        *cx.shared() = true;
        DONE
    }
    let life = || {
        let mut reactor = Reactor::new(STORAGE.take()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        reactor.spawn_with(listener, |listener| Callback { f: accept, data: Some(listener) }).unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let mut accepted = false;
        reactor.run(&mut accepted).unwrap();
        drop(client);
        accepted
    };
    assert!(std::thread::Builder::new().stack_size(96 << 10).spawn(life).unwrap().join().unwrap());
}

// 1 048 576 descriptors on the heap touch no memory before they are used.
#[cfg(feature = "alloc")]
#[test]
fn a_million_descriptors_touch_no_memory_up_front() {
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }
    let before = resident();
    let mut storage = netpoll::BoxedReactorStorage::<Script>::with_capacity(1024, 1 << 20);
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let peers = populate(&mut reactor, &log);
    // 80 MB of descriptors; what other tests of this program use at the same time is far less than half of it.
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes");
    drop(reactor);
    assert_eq!(log.len(), 4);
    peers.iter().for_each(assert_closed);
}

// A reactor is `Send` where its handlers are: made here, run there.
#[test]
fn a_reactor_can_be_sent() {
    type One = Callback<usize, TcpStream>;
    fn read(stream: &mut TcpStream, cx: &mut Context<'_, One>) -> Answer {
        *cx.shared() += ready!(stream.read(cx, &mut [0; 8]))?;
        DONE
    }
    let mut storage = ReactorStorage::<One, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (mut peer, ours) = pair();
    reactor.spawn_with(ours, |stream| Callback { f: read, data: stream }).unwrap();
    let total = std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let mut total = 0;
            reactor.run(&mut total).unwrap();
            total
        });
        peer.write_all(b"abc").unwrap();
        thread.join().unwrap()
    });
    assert_eq!(total, 3);
}
