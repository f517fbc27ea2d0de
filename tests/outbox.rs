//! The outbox: messages of many handlers, written by one; whole, in order, bounded, and nobody is forgotten.

#![cfg(target_os = "linux")]

#[path = "util/reactor.rs"]
mod util;

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::net::{TcpStream, Unopened};
use netpoll::{Context, Error, HandlerId, Io, Outbox, Reactor, ReactorStorage, Writer};
use rustix::net::sockopt;
use util::{DONE, Log, Script, pair, run_until, script, settle, std_connect, std_listener, unopened};

type Shared = Outbox<Vec<u8>, 2, 2>;
type Cx<'a> = Context<'a, Script<Shared>>;

fn at(shared: &mut Shared) -> &mut Shared {
    shared
}

/// The handler that writes what others push.
fn writer(stream: TcpStream) -> Script<Shared> {
    let mut sent = 0;
    script(move |cx| {
        ready!(Outbox::drain(cx, at, &stream, &mut sent))?;
        Poll::Pending
    })
}

/// Pushes its messages, one after another, as there is room; then it ends.
fn pusher(messages: impl IntoIterator<Item = Vec<u8>> + 'static, done: &Log<Result<(), Error>>) -> Script<Shared> {
    let (mut messages, done) = (messages.into_iter().peekable(), done.clone());
    script(move |cx| {
        while messages.peek().is_some() {
            match ready!(Outbox::poll_room(cx, at)) {
                Ok(()) => Outbox::push(cx, at, messages.next().unwrap()).unwrap(),
                Err(error) => {
                    done.push(Err(error));
                    return DONE;
                }
            }
        }
        done.push(Ok(()));
        DONE
    })
}

fn lines(name: u8, from: usize, to: usize, length: usize) -> impl Iterator<Item = Vec<u8>> + 'static {
    (from..to).map(move |number| {
        let mut line = format!("{} {number} ", char::from(name)).into_bytes();
        line.resize(length, name);
        line.push(b'\n');
        line
    })
}

fn with_reactor(test: impl FnOnce(&mut Reactor<'_, Script<Shared>>, &mut Shared)) {
    let mut storage = ReactorStorage::<Script<Shared>, 8, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    test(&mut reactor, &mut Shared::new());
}

fn spawn_writer(reactor: &mut Reactor<'_, Script<Shared>>) -> (StdStream, HandlerId) {
    let (peer, ours) = pair();
    (peer, reactor.spawn_with(ours, writer).unwrap())
}

fn small_buffers(peer: &StdStream, ours: &Unopened<TcpStream>) {
    sockopt::set_socket_recv_buffer_size(peer, 32 << 10).unwrap();
    sockopt::set_socket_send_buffer_size(ours, 32 << 10).unwrap();
}

// Two handlers push long lines through a small outbox and small buffers: every line arrives whole, each one's in order, and no
// handler is held back for good.
#[test]
fn messages_are_whole_and_in_order() {
    const LINES: usize = 40;
    const LENGTH: usize = 20_000;
    with_reactor(|reactor, shared| {
        let (listener, address) = std_listener();
        let peer = std_connect(address);
        let ours = unopened(listener.accept().unwrap().0);
        small_buffers(&peer, &ours);
        reactor.spawn_with(ours, writer).unwrap();
        let done = Log::new();
        for name in [b'a', b'b'] {
            reactor.spawn(pusher(lines(name, 0, LINES, LENGTH), &done)).unwrap();
        }
        let reader = std::thread::spawn(move || {
            let mut peer = BufReader::new(peer);
            let mut next = [0; 2];
            let mut line = Vec::new();
            for _ in 0..2 * LINES {
                line.clear();
                peer.read_until(b'\n', &mut line).unwrap();
                let name = line[0];
                let number = &mut next[usize::from(name - b'a')];
                assert_eq!(line, lines(name, *number, *number + 1, LENGTH).next().unwrap());
                *number += 1;
            }
            next
        });
        run_until(reactor, shared, |shared| done.len() == 2 && shared.is_empty());
        assert_eq!(done.take(), [Ok(()); 2]);
        assert_eq!(reader.join().unwrap(), [LINES; 2]);
        assert_eq!(reactor.stats().parked_handlers, 0);
    });
}

// A full outbox gives the message back; who waits for room is run when a message is out, the longest waiting first.
#[test]
fn full_holds_the_pusher_back() {
    with_reactor(|reactor, shared| {
        let done = Log::new();
        // Nobody writes yet: what is pushed is kept.
        reactor.spawn(pusher(lines(b'a', 0, 2, 8), &done)).unwrap();
        settle(reactor, shared);
        assert_eq!((done.take().as_slice(), shared.len()), ([Ok(())].as_slice(), 2));
        let refused = Log::new();
        let tell = refused.clone();
        reactor
            .spawn(script(move |cx: &mut Cx<'_>| {
                let rejected = Outbox::push(cx, at, b"too much".to_vec()).unwrap_err();
                tell.push((rejected.value, rejected.error));
                DONE
            }))
            .unwrap();
        settle(reactor, shared);
        assert_eq!(refused.take(), [(b"too much".to_vec(), Error::Full)]);
        for name in [b'b', b'c', b'd'] {
            reactor.spawn(pusher(lines(name, 0, 1, 8), &done)).unwrap();
        }
        settle(reactor, shared);
        // Two are remembered; the third is told.
        assert_eq!(done.take(), [Err(Error::Full)]);
        let (peer, _) = spawn_writer(reactor);
        run_until(reactor, shared, |shared| done.len() == 2 && shared.is_empty());
        let names: Vec<u8> = BufReader::new(peer).lines().take(4).map(|line| line.unwrap().as_bytes()[0]).collect();
        assert_eq!(names, b"aabc");
        assert_eq!(reactor.stats().parked_handlers, 0);
    });
}

/// Two messages of `a` fill the outbox; of `b` and `c`, who wait for room, `b` has ended.
fn full_with_one_who_ended(reactor: &mut Reactor<'_, Script<Shared>>, shared: &mut Shared) -> Log<Result<(), Error>> {
    let done = Log::new();
    let [_, ended, _] = [(b'a', 2), (b'b', 1), (b'c', 1)].map(|(name, count)| {
        let id = reactor.spawn(pusher(lines(name, 0, count, 8), &done)).unwrap();
        settle(reactor, shared);
        id
    });
    reactor.end(ended).unwrap();
    assert_eq!(done.take(), [Ok(())]);
    done
}

// One that waited for room and ended does not take the place of the next.
#[test]
fn a_waiting_handler_that_ended_is_passed_over() {
    with_reactor(|reactor, shared| {
        let done = full_with_one_who_ended(reactor, shared);
        let (peer, _) = spawn_writer(reactor);
        run_until(reactor, shared, |shared| done.len() == 1 && shared.is_empty());
        let names: Vec<u8> = BufReader::new(peer).lines().take(3).map(|line| line.unwrap().as_bytes()[0]).collect();
        assert_eq!(names, b"aac");
    });
}

// Nor when the outbox is cleared.
#[test]
fn a_waiting_handler_that_ended_is_passed_over_when_room_is_made() {
    with_reactor(|reactor, shared| {
        let done = full_with_one_who_ended(reactor, shared);
        reactor
            .spawn(script(|cx: &mut Cx<'_>| {
                Outbox::clear(cx, at);
                DONE
            }))
            .unwrap();
        settle(reactor, shared);
        assert_eq!((done.take(), shared.len()), (vec![Ok(())], 1));
    });
}

// A closed outbox takes nothing, gives it back, and tells who waits for room; what is there is still sent.
#[test]
fn closed_takes_nothing_and_tells_who_waits() {
    with_reactor(|reactor, shared| {
        let done = Log::new();
        reactor.spawn(pusher(lines(b'a', 0, 2, 8), &done)).unwrap();
        settle(reactor, shared);
        reactor.spawn(pusher(lines(b'b', 0, 1, 8), &done)).unwrap();
        settle(reactor, shared);
        assert_eq!(done.take(), [Ok(())]);
        let refused = Log::new();
        let tell = refused.clone();
        reactor
            .spawn(script(move |cx: &mut Cx<'_>| {
                Outbox::close(cx, at);
                tell.push(Outbox::push(cx, at, b"late".to_vec()).map_err(|rejected| (rejected.value, rejected.error)));
                DONE
            }))
            .unwrap();
        settle(reactor, shared);
        assert_eq!(refused.take(), [Err((b"late".to_vec(), Error::Closed))]);
        assert_eq!(done.take(), [Err(Error::Closed)]);
        let (peer, _) = spawn_writer(reactor);
        run_until(reactor, shared, |shared| shared.is_empty());
        assert_eq!(BufReader::new(peer).lines().take(2).count(), 2);
    });
}

// The writer ends: what is pushed meanwhile, and who waits for room, is for the next one.
#[test]
fn outlives_its_writer() {
    with_reactor(|reactor, shared| {
        let (_peer, first) = spawn_writer(reactor);
        settle(reactor, shared);
        reactor.end(first).unwrap();
        let done = Log::new();
        reactor.spawn(pusher(lines(b'a', 0, 5, 8), &done)).unwrap();
        settle(reactor, shared);
        assert_eq!((done.len(), shared.len()), (0, 2));
        let (peer, _) = spawn_writer(reactor);
        run_until(reactor, shared, |shared| done.len() == 1 && shared.is_empty());
        assert_eq!(BufReader::new(peer).lines().take(5).count(), 5);
    });
}

// A connection dies in the middle of a message: the next writer, or the same one with nothing sent, sends that message whole.
#[test]
fn a_new_connection_gets_whole_messages() {
    for same_writer in [false, true] {
        with_reactor(|reactor, shared| {
            let (listener, address) = std_listener();
            let first_peer = std_connect(address);
            let first = unopened(listener.accept().unwrap().0);
            small_buffers(&first_peer, &first);
            let (mut second_peer, second) = pair();
            second_peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let done = Log::new();
            reactor.spawn(pusher(lines(b'a', 0, 1, 1 << 20), &done)).unwrap();
            let failed = Log::<()>::new();
            let tell = failed.clone();
            let mut second = Some(second);
            let mut next = if same_writer { second.take() } else { None };
            reactor
                .spawn_with(first, |mut stream| {
                    let mut sent = 0;
                    script(move |cx: &mut Cx<'_>| {
                        loop {
                            let Err(error) = ready!(Outbox::drain(cx, at, &stream, &mut sent)) else { return Poll::Pending };
                            assert!(sent > 0);
                            assert!(matches!(error, Error::Os(_)), "{error}");
                            tell.push(());
                            let Some(next) = next.take() else { return DONE };
                            stream = next.open(cx).unwrap();
                            sent = 0;
                        }
                    })
                })
                .unwrap();
            settle(reactor, shared);
            assert!(format!("{shared:?}").contains("begun: true"), "{shared:?}");
            drop(first_peer);
            run_until(reactor, shared, |_| failed.len() == 1);
            if let Some(second) = second {
                reactor.spawn_with(second, writer).unwrap();
            }
            let expected = lines(b'a', 0, 1, 1 << 20).next().unwrap();
            let reader = std::thread::spawn(move || {
                let mut received = vec![0; expected.len()];
                second_peer.read_exact(&mut received).unwrap();
                received == expected
            });
            run_until(reactor, shared, |shared| shared.is_empty());
            assert!(reader.join().unwrap());
        });
    }
}

// Clearing runs all who wait for room.
#[test]
fn clear_makes_room() {
    with_reactor(|reactor, shared| {
        let done = Log::new();
        for name in [b'a', b'b', b'c'] {
            let messages = if name == b'a' { 2 } else { 1 };
            reactor.spawn(pusher(lines(name, 0, messages, 8), &done)).unwrap();
            settle(reactor, shared);
        }
        assert_eq!(done.take(), [Ok(())]);
        reactor
            .spawn(script(|cx: &mut Cx<'_>| {
                Outbox::clear(cx, at);
                DONE
            }))
            .unwrap();
        run_until(reactor, shared, |_| done.len() == 2);
        assert_eq!(shared.len(), 2);
    });
}

// A deadline in the middle of a message loses nothing of it.
#[test]
fn a_timeout_is_resumed_in_the_middle() {
    with_reactor(|reactor, shared| {
        let (listener, address) = std_listener();
        let mut peer = std_connect(address);
        let ours = unopened(listener.accept().unwrap().0);
        small_buffers(&peer, &ours);
        let timeouts = Log::new();
        let tell = timeouts.clone();
        let done = Log::new();
        reactor.spawn(pusher(lines(b'a', 0, 1, 1 << 20), &done)).unwrap();
        reactor
            .spawn_with(ours, |stream| {
                let (mut set, mut sent) = (false, 0);
                script(move |cx: &mut Cx<'_>| {
                    if !std::mem::replace(&mut set, true) {
                        stream.set_write_timeout(cx, Some(Duration::from_millis(5)))?;
                    }
                    loop {
                        match ready!(Outbox::drain(cx, at, &stream, &mut sent)) {
                            Err(Error::TimedOut) => {
                                tell.push(());
                                stream.set_write_deadline(cx, None)?;
                            }
                            answer => {
                                answer?;
                                return Poll::Pending;
                            }
                        }
                    }
                })
            })
            .unwrap();
        run_until(reactor, shared, |_| timeouts.len() == 1);
        let expected = Rc::new(lines(b'a', 0, 1, 1 << 20).next().unwrap());
        let length = expected.len();
        let reader = std::thread::spawn(move || {
            let mut received = vec![0; length];
            peer.read_exact(&mut received).unwrap();
            received
        });
        run_until(reactor, shared, |shared| shared.is_empty());
        assert!(reader.join().unwrap() == *expected);
    });
}

type One = Outbox<Vec<u8>, 1, 4>;

fn with_one(test: impl FnOnce(&mut Reactor<'_, Script<One>>, &mut One)) {
    let mut storage = ReactorStorage::<Script<One>, 8, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let shared = &mut One::new();
    reactor
        .spawn(script(|cx: &mut Context<'_, Script<One>>| {
            Outbox::push(cx, |shared| shared, vec![0]).unwrap();
            DONE
        }))
        .unwrap();
    settle(&mut reactor, shared);
    test(&mut reactor, shared);
}

/// Waits for room, and never comes for it; runs in each round if it is `busy`.
fn asks_once(busy: bool) -> Script<One> {
    let mut asked = false;
    script(move |cx: &mut Context<'_, Script<One>>| {
        if !std::mem::replace(&mut asked, true) {
            assert!(Outbox::poll_room(cx, |shared| shared).is_pending());
        }
        if busy {
            cx.yield_now();
        } else {
            let _ = cx.poll_notified();
        }
        Poll::Pending
    })
}

/// Pushes one message when there is room, and logs each run: whether it was the last.
fn pushes_one<const N: usize>(log: &Log<bool>) -> Script<Outbox<Vec<u8>, N, 4>> {
    let log = log.clone();
    script(move |cx: &mut Context<'_, Script<Outbox<Vec<u8>, N, 4>>>| {
        let room = Outbox::poll_room(cx, |shared| shared);
        log.push(room.is_ready());
        ready!(room)?;
        Outbox::push(cx, |shared| shared, vec![1])?;
        DONE
    })
}

/// Writes to `stream` what is there, and does not run without a reason.
fn drains<const N: usize>(stream: Throttle) -> Script<Outbox<Vec<u8>, N, 4>> {
    let mut sent = 0;
    script(move |cx: &mut Context<'_, Script<Outbox<Vec<u8>, N, 4>>>| {
        ready!(Outbox::drain(cx, |shared| shared, &stream, &mut sent))?;
        Poll::Pending
    })
}

// Who is run because there is room, and does not use it, does not leave those behind him waiting.
#[test]
fn room_that_is_not_used_goes_to_the_next() {
    for busy in [false, true] {
        with_one(|reactor, shared| {
            let log = Log::new();
            for _ in 0..2 {
                reactor.spawn(asks_once(busy)).unwrap();
            }
            settle(reactor, shared);
            for _ in 0..2 {
                reactor.spawn(pushes_one(&log)).unwrap();
            }
            settle(reactor, shared);
            assert_eq!(log.take(), [false; 2]); // once each: who waits is not run
            reactor.spawn(slow_writer()).unwrap();
            for _ in 0..4 {
                settle(reactor, shared);
            }
            assert_eq!((log.take().into_iter().filter(|&last| last).count(), shared.len()), (2, 0));
        });
    }
}

// Room is kept for one who has been called and does not come: whoever came by meanwhile is run for it, although nothing is written any more.
#[test]
fn who_came_by_gets_the_room_that_is_not_used() {
    with_one(|reactor, shared| {
        let log = Log::new();
        reactor.spawn(asks_once(false)).unwrap();
        settle(reactor, shared);
        reactor.spawn(drains(Throttle(Cell::new(true)))).unwrap();
        reactor.spawn(pushes_one(&log)).unwrap();
        settle(reactor, shared);
        assert_eq!(log.take(), [false, true]);
    });
}

// As many are run as there is room for.
#[test]
fn room_for_one_runs_one() {
    let mut storage = ReactorStorage::<Script<Outbox<Vec<u8>, 2, 4>>, 8, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let shared = &mut Outbox::new();
    let logs = [(); 5].map(|()| Log::new());
    for log in &logs {
        reactor.spawn(pushes_one(log)).unwrap();
    }
    settle(&mut reactor, shared);
    reactor.spawn(drains(Throttle(Cell::new(true)))).unwrap();
    settle(&mut reactor, shared);
    assert_eq!(logs.map(|log| log.take()), [vec![true], vec![true], vec![false, true], vec![false], vec![false]]);
}

// A message of which nothing was sent has not begun.
#[test]
fn clear_takes_what_has_not_begun() {
    with_one(|reactor, shared| {
        reactor.spawn(drains(Throttle(Cell::new(false)))).unwrap();
        settle(reactor, shared);
        assert_eq!(shared.len(), 1);
        reactor
            .spawn(script(|cx: &mut Context<'_, Script<One>>| {
                Outbox::clear(cx, |shared| shared);
                DONE
            }))
            .unwrap();
        settle(reactor, shared);
        assert!(shared.is_empty());
    });
}

/// A stream that takes one write, then nothing until it is let.
struct Throttle(Cell<bool>);

impl Writer for Throttle {
    fn write(&self, _: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        if self.0.replace(false) { Poll::Ready(Ok(buf.len())) } else { Poll::Pending }
    }
}

/// Sends one message of its outbox in each round.
fn slow_writer<const N: usize, const WAITING: usize>() -> Script<Outbox<Vec<u8>, N, WAITING>> {
    let (line, mut sent) = (Throttle(Cell::new(true)), 0);
    script(move |cx: &mut Context<'_, Script<Outbox<Vec<u8>, N, WAITING>>>| {
        line.0.set(true);
        let _ = Outbox::drain(cx, |shared| shared, &line, &mut sent)?;
        cx.yield_now();
        Poll::Pending
    })
}

/// Pushes for ever, as there is room, and counts.
fn endless<const N: usize, const WAITING: usize>(count: &Rc<Cell<u32>>) -> Script<Outbox<Vec<u8>, N, WAITING>> {
    let count = count.clone();
    script(move |cx: &mut Context<'_, Script<Outbox<Vec<u8>, N, WAITING>>>| {
        loop {
            ready!(Outbox::poll_room(cx, |shared| shared))?;
            Outbox::push(cx, |shared| shared, vec![1]).unwrap();
            count.set(count.get() + 1);
        }
    })
}

// Those who push for ever get equal turns, also when the outbox is never empty.
#[test]
fn pushers_take_turns() {
    type Small = Outbox<Vec<u8>, 2>;
    let mut storage = ReactorStorage::<Script<Small>, 3, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let shared = &mut Small::new();
    reactor.spawn(slow_writer()).unwrap();
    let counts = [const { Cell::new(0) }; 2].map(Rc::new);
    for count in &counts {
        reactor.spawn(endless(count)).unwrap();
    }
    for _ in 0..100 {
        settle(&mut reactor, shared);
    }
    let counts = counts.map(|count| count.get());
    assert!(counts.iter().all(|&count| count > 100), "{counts:?}");
}

// The room that was made for the one that has waited longest is not taken by who comes by.
#[test]
fn longest_waiting_gets_the_room() {
    let mut storage = ReactorStorage::<Script<Outbox<Vec<u8>, 1>>, 3, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let shared = &mut Outbox::new();
    let counts = [const { Cell::new(0) }; 2].map(Rc::new);
    // Runs in each round, for reasons of its own, behind the writer.
    reactor.spawn(slow_writer()).unwrap();
    let (count, mut name) = (counts[0].clone(), 0u8);
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script<Outbox<Vec<u8>, 1>>>| {
            cx.yield_now();
            while let Poll::Ready(Ok(())) = Outbox::poll_room(cx, |shared| shared) {
                Outbox::push(cx, |shared| shared, vec![name]).unwrap();
                name = name.wrapping_add(1);
                count.set(count.get() + 1);
            }
            Poll::Pending
        }))
        .unwrap();
    reactor.spawn(endless(&counts[1])).unwrap();
    for _ in 0..100 {
        settle(&mut reactor, shared);
    }
    let counts = counts.map(|count| count.get());
    assert!(counts[1] > 100, "{counts:?}");
}

// A stream is given to another handler in the middle of a message, with how much of it was sent: it goes on there.
#[test]
fn stream_that_is_given_away_goes_on_in_the_middle() {
    let mut storage = ReactorStorage::<Script<Shared>, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let shared = &mut Shared::new();
    let (listener, address) = std_listener();
    let mut peer = std_connect(address);
    let ours = unopened(listener.accept().unwrap().0);
    sockopt::set_socket_recv_buffer_size(&peer, 32 << 10).unwrap();
    sockopt::set_socket_send_buffer_size(&ours, 32 << 10).unwrap();
    let message: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_be_bytes).collect();
    let sent = message.clone();
    let give = Rc::new(Cell::new(false));
    let is_given = give.clone();
    let first = reactor
        .spawn_with(ours, |stream| {
            let (mut stream, mut sent) = (Some(stream), 0);
            let mut message = Some(message);
            script(move |cx: &mut Cx<'_>| {
                if let Some(message) = message.take() {
                    Outbox::push(cx, at, message).unwrap();
                }
                if is_given.get() {
                    let stream = stream.take().unwrap();
                    let token = stream.token();
                    let second = cx
                        .spawn(script(move |cx: &mut Cx<'_>| {
                            ready!(Outbox::drain(cx, at, &stream, &mut sent))?;
                            DONE
                        }))
                        .unwrap();
                    cx.give(token, second)?;
                    return DONE;
                }
                let _ = Outbox::drain(cx, at, stream.as_ref().unwrap(), &mut sent)?;
                Poll::Pending
            })
        })
        .unwrap();
    settle(&mut reactor, shared);
    assert!(format!("{shared:?}").contains("begun: true"), "{shared:?}");
    give.set(true);
    reactor.notify(first).unwrap();
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received
    });
    run_until(&mut reactor, shared, |shared| shared.is_empty());
    drop(reactor);
    let received = reader.join().unwrap();
    assert_eq!(received.len(), sent.len(), "bytes were sent twice");
    assert!(received == sent);
}

// The shared state outlives a reactor; the next one's handlers have the same ids, and are not taken for the old ones.
#[test]
fn writer_of_the_next_reactor_is_a_new_one() {
    let shared = &mut Shared::new();
    let message = vec![7; 1 << 20];
    let mut received = Vec::new();
    for round in 0..2 {
        let mut storage = ReactorStorage::<Script<Shared>, 1, 1>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let (listener, address) = std_listener();
        let mut peer = std_connect(address);
        let ours = unopened(listener.accept().unwrap().0);
        sockopt::set_socket_recv_buffer_size(&peer, 32 << 10).unwrap();
        sockopt::set_socket_send_buffer_size(&ours, 32 << 10).unwrap();
        let mut pushed = (round == 0).then(|| message.clone());
        reactor
            .spawn_with(ours, |stream| {
                let mut sent = 0;
                script(move |cx: &mut Cx<'_>| {
                    if let Some(message) = pushed.take() {
                        Outbox::push(cx, at, message).unwrap();
                    }
                    ready!(Outbox::drain(cx, at, &stream, &mut sent))?;
                    DONE
                })
            })
            .unwrap();
        settle(&mut reactor, shared);
        if round == 1 {
            let reader = std::thread::spawn(move || {
                let mut received = Vec::new();
                peer.read_to_end(&mut received).unwrap();
                received
            });
            run_until(&mut reactor, shared, |shared| shared.is_empty());
            reactor.run(shared).unwrap();
            received = reader.join().unwrap();
        }
    }
    assert_eq!(received.len(), message.len(), "the new connection got the rest of a message");
}

// Cleared in the middle of a message: that one is sent to its end.
#[test]
fn clear_does_not_tear_a_message() {
    let mut storage = ReactorStorage::<Script<Shared>, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let shared = &mut Shared::new();
    let taken = Rc::new(RefCell::new(Vec::new()));
    struct Bits(Rc<RefCell<Vec<u8>>>, Cell<usize>);
    impl Writer for Bits {
        fn write(&self, _: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
            let n = self.1.get().min(buf.len());
            self.1.set(self.1.get() - n);
            self.0.borrow_mut().extend_from_slice(&buf[..n]);
            if n == 0 { Poll::Pending } else { Poll::Ready(Ok(n)) }
        }
    }
    let stream = Bits(taken.clone(), Cell::new(3));
    let (mut step, mut sent) = (0, 0);
    reactor
        .spawn(script(move |cx: &mut Cx<'_>| {
            step += 1;
            let message = if step == 1 { b"first\n".to_vec() } else { b"second\n".to_vec() };
            if step > 1 {
                Outbox::clear(cx, at);
                stream.1.set(100);
            }
            Outbox::push(cx, at, message).unwrap();
            let _ = Outbox::drain(cx, at, &stream, &mut sent)?;
            cx.yield_now();
            if step == 1 { Poll::Pending } else { DONE }
        }))
        .unwrap();
    settle(&mut reactor, shared);
    assert_eq!(String::from_utf8(taken.borrow().clone()).unwrap(), "first\nsecond\n");
}
