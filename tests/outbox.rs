//! The outbox: messages of many handlers, written by one; whole, in order, bounded, and nobody is forgotten.

#![cfg(target_os = "linux")]

#[path = "util/reactor.rs"]
mod util;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::net::{TcpStream, Unopened};
use netpoll::{Context, Error, HandlerId, Outbox, Reactor, ReactorStorage};
use rustix::net::sockopt;
use util::{DONE, Log, Script, pair, run_until, script, settle, std_connect, std_listener, unopened};

type Shared = Outbox<Vec<u8>, 2, 2>;
type Cx<'a> = Context<'a, Script<Shared>>;

fn at(shared: &mut Shared) -> &mut Shared {
    shared
}

/// The handler that writes what others push, and logs how many were left when it had sent all it could.
fn writer(stream: TcpStream) -> Script<Shared> {
    script(move |cx| {
        ready!(Outbox::drain(cx, at, &stream))?;
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

// Three handlers push long lines through a small outbox and small buffers: every line arrives whole, each one's in order, and no
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
        for name in [b'a', b'b', b'c'] {
            reactor.spawn(pusher(lines(name, 0, LINES, LENGTH), &done)).unwrap();
        }
        let reader = std::thread::spawn(move || {
            let mut peer = BufReader::new(peer);
            let mut next = [0; 3];
            let mut line = Vec::new();
            for _ in 0..3 * LINES {
                line.clear();
                peer.read_until(b'\n', &mut line).unwrap();
                let name = line[0];
                let number = &mut next[usize::from(name - b'a')];
                assert_eq!(line, lines(name, *number, *number + 1, LENGTH).next().unwrap());
                *number += 1;
            }
            next
        });
        run_until(reactor, shared, |shared| done.len() == 3 && shared.is_empty());
        assert_eq!(done.take(), [Ok(()); 3]);
        assert_eq!(reader.join().unwrap(), [LINES; 3]);
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
        assert_eq!(done.take(), []);
        let (peer, _) = spawn_writer(reactor);
        // The order of two is remembered; the third is not forgotten.
        run_until(reactor, shared, |shared| done.len() == 3 && shared.is_empty());
        let names: Vec<u8> = BufReader::new(peer).lines().take(5).map(|line| line.unwrap().as_bytes()[0]).collect();
        assert_eq!(names, b"aabcd");
        assert_eq!(reactor.stats().parked_handlers, 0);
    });
}

// One that waited for room and ended does not take the place of the next.
#[test]
fn a_waiting_handler_that_ended_is_passed_over() {
    with_reactor(|reactor, shared| {
        let done = Log::new();
        reactor.spawn(pusher(lines(b'a', 0, 2, 8), &done)).unwrap();
        settle(reactor, shared);
        let ended = reactor.spawn(pusher(lines(b'b', 0, 1, 8), &done)).unwrap();
        settle(reactor, shared);
        reactor.spawn(pusher(lines(b'c', 0, 1, 8), &done)).unwrap();
        settle(reactor, shared);
        reactor.end(ended).unwrap();
        done.take();
        let (peer, _) = spawn_writer(reactor);
        run_until(reactor, shared, |shared| done.len() == 1 && shared.is_empty());
        let names: Vec<u8> = BufReader::new(peer).lines().take(3).map(|line| line.unwrap().as_bytes()[0]).collect();
        assert_eq!(names, b"aac");
    });
}

// When the writer ends, those who wait for room learn of it, and pushing says so.
#[test]
fn closed_when_the_writer_has_ended() {
    with_reactor(|reactor, shared| {
        let (listener, address) = std_listener();
        let _peer = std_connect(address);
        let ours = unopened(listener.accept().unwrap().0);
        small_buffers(&_peer, &ours);
        let writer = reactor.spawn_with(ours, writer).unwrap();
        let done = Log::new();
        reactor.spawn(pusher(lines(b'a', 0, 1000, 100_000), &done)).unwrap();
        settle(reactor, shared);
        assert_eq!((done.len(), shared.len()), (0, 2));
        reactor.end(writer).unwrap();
        run_until(reactor, shared, |_| done.len() == 1);
        assert_eq!(done.take(), [Err(Error::Closed)]);
        let refused = Log::new();
        let tell = refused.clone();
        reactor
            .spawn(script(move |cx: &mut Cx<'_>| {
                Outbox::clear(cx, at);
                tell.push(Outbox::push(cx, at, b"late".to_vec()).map_err(|rejected| (rejected.value, rejected.error)));
                DONE
            }))
            .unwrap();
        settle(reactor, shared);
        assert_eq!(refused.take(), [Err((b"late".to_vec(), Error::Closed))]);
    });
}

// A connection dies in the middle of a message: the next writer, or the same one after `rewind`, sends that message whole.
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
                    script(move |cx: &mut Cx<'_>| {
                        loop {
                            let Err(error) = ready!(Outbox::drain(cx, at, &stream)) else { return Poll::Pending };
                            assert!(matches!(error, Error::Os(_)), "{error}");
                            tell.push(());
                            let Some(next) = next.take() else { return DONE };
                            stream = next.open(cx).unwrap();
                            cx.shared().rewind();
                        }
                    })
                })
                .unwrap();
            settle(reactor, shared);
            assert!(format!("{shared:?}").contains("sent: ") && !format!("{shared:?}").contains("sent: 0,"), "{shared:?}");
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
                let mut set = false;
                script(move |cx: &mut Cx<'_>| {
                    if !std::mem::replace(&mut set, true) {
                        stream.set_write_timeout(cx, Some(Duration::from_millis(5)))?;
                    }
                    loop {
                        match ready!(Outbox::drain(cx, at, &stream)) {
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

// Who is run because there is room, and does not use it, does not leave those behind him waiting.
#[test]
fn room_that_is_not_used_goes_to_the_next() {
    with_reactor(|reactor, shared| {
        let done = Log::new();
        reactor.spawn(pusher(lines(b'a', 0, 2, 8), &done)).unwrap();
        settle(reactor, shared);
        for _ in 0..2 {
            let mut asked = false;
            reactor
                .spawn(script(move |cx: &mut Cx<'_>| {
                    if !std::mem::replace(&mut asked, true) {
                        assert!(Outbox::poll_room(cx, at).is_pending());
                    }
                    let _ = cx.poll_notified();
                    Poll::Pending
                }))
                .unwrap();
        }
        settle(reactor, shared);
        for name in [b'b', b'c'] {
            reactor.spawn(pusher(lines(name, 0, 1, 8), &done)).unwrap();
        }
        settle(reactor, shared);
        let (_peer, _) = spawn_writer(reactor);
        run_until(reactor, shared, |shared| done.len() == 3 && shared.is_empty());
    });
}
