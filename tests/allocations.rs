//! No allocation: a server's whole life under a counting allocator, which counts what the reactor's thread does while `run` runs.
//!
//! One test, since the allocator belongs to the process.

#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

#[path = "util/allocator.rs"]
mod allocator;
#[path = "util/reactor.rs"]
mod util;

use allocator::{calls_of, uncounted};
use netpoll::net::{KeepAlive, TcpListener, TcpStream};
use netpoll::{Breaker, Context, Error, Handler, HandlerId, Reactor, ReactorStorage, Stats};
use static_cell::ConstStaticCell;

const THREADS: usize = 4;
const CLIENTS_EACH: usize = 50;
const CLIENTS: usize = THREADS * CLIENTS_EACH;
const IDLE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Server {
    accepted: usize,
    echoed: usize,
    ended_well: usize,
    timed_out: usize,
    reset: usize,
    refused: usize,
    connected: usize,
    ticks: usize,
    sleeps: usize,
    ending: bool,
}

enum Task {
    Supervisor,
    Listener(TcpListener),
    Echo {
        stream: TcpStream,
        buf: [u8; 128],
        len: usize,
        sent: usize,
        guarded: bool,
    },
    /// Dials the server's own address; the writing handler is another one.
    Dialler {
        stream: TcpStream,
        partner: Option<HandlerId>,
        sent: usize,
    },
    Ticker {
        next: Option<HandlerId>,
    },
    /// Is told of a gift, or ended by a ticker.
    Partner,
}

impl Handler for Task {
    type Shared = Server;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        match self {
            Task::Supervisor => {
                ready!(cx.poll_wake());
                cx.shared().ending = true;
                cx.notify_all();
                Poll::Ready(Ok(()))
            }
            Task::Listener(listener) => loop {
                if cx.shared().ending {
                    return Poll::Ready(Ok(()));
                }
                let (socket, _) = ready!(listener.accept(cx))?;
                cx.spawn_with(socket, |stream| Task::Echo { stream, buf: [0; 128], len: 0, sent: 0, guarded: false })?;
                cx.shared().accepted += 1;
            },
            Task::Echo { stream, buf, len, sent, guarded } => loop {
                if *sent == *len {
                    if !std::mem::replace(guarded, true) {
                        stream.set_read_timeout(cx, Some(IDLE))?;
                    }
                    *len = ready!(stream.read(cx, buf))?;
                    *guarded = false;
                    *sent = 0;
                    if *len == 0 {
                        cx.shared().ended_well += 1;
                        return Poll::Ready(Ok(()));
                    }
                }
                ready!(stream.write_all(cx, &buf[..*len], sent))?;
                cx.shared().echoed += 1;
            },
            Task::Dialler { stream, partner, sent } => {
                ready!(stream.poll_connected(cx))?;
                stream.set_nodelay(cx, true)?;
                stream.set_keepalive(cx, Some(KeepAlive::default()))?;
                ready!(stream.write_all(cx, b"hello", sent))?;
                let n = ready!(stream.read(cx, &mut [0; 16]))?;
                assert!(n > 0);
                cx.shared().connected += 1;
                if let Some(partner) = partner.take() {
                    cx.give(stream.token(), partner)?;
                    cx.notify(partner)?;
                }
                Poll::Ready(Ok(()))
            }
            Task::Partner => {
                if cx.shared().ending {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                }
            }
            Task::Ticker { next } => {
                cx.shared().ticks += 1;
                if cx.shared().ending {
                    return Poll::Ready(Ok(()));
                }
                // Each tick ends the last helper and spawns another.
                if let Some(next) = next.take() {
                    let _ = cx.end(next);
                } else if let Ok(id) = cx.spawn(Task::Partner) {
                    *next = Some(id);
                }
                cx.set_timer_after(Duration::from_millis(2));
                Poll::Pending
            }
        }
    }

    fn on_error(&mut self, error: Error, cx: &mut Context<'_, Self>) {
        let server = cx.shared();
        match (self, error) {
            (Task::Echo { .. }, Error::TimedOut) => server.timed_out += 1,
            (Task::Echo { .. }, Error::Os(_)) => server.reset += 1,
            (Task::Listener(_), error) => panic!("{error}"),
            _ => server.refused += 1,
        }
    }

    fn on_sleep(server: &mut Server, _: &Stats) {
        server.sleeps += 1;
    }
}

fn connect(address: SocketAddr) -> StdStream {
    let stream = StdStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What a client does, by its number: comes and goes, is reset, falls silent, talks long, closes half.
fn client(address: SocketAddr, number: usize) {
    let mut stream = connect(address);
    // No longer than the server's buffer: two small answers in a row wait for an acknowledgement longer than the idle timeout.
    let mut buf = [0; 128];
    for _ in 0..=number % 7 {
        let message = &mut buf[..=number % 128];
        // On a machine that stalls, its idle timeout comes first.
        if stream.write_all(message).and_then(|()| stream.read_exact(message)).is_err() {
            return;
        }
    }
    match number % 4 {
        0 => {}
        1 => rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
        2 => match stream.read(&mut buf) {
            // The idle deadline.
            Ok(n) => assert_eq!(n, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        },
        _ => {
            if stream.shutdown(std::net::Shutdown::Write).is_ok() {
                assert_eq!(stream.read(&mut buf).unwrap_or(0), 0);
            }
        }
    }
}

static STORAGE: ConstStaticCell<ReactorStorage<Task, 64, 64>> = ConstStaticCell::new(ReactorStorage::new());
static DONE: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicBool = AtomicBool::new(false);

/// Wakes the server to its end when the last thread has finished, also if it has failed.
struct Finish(Breaker<'static>);

impl Drop for Finish {
    fn drop(&mut self) {
        FAILED.fetch_or(std::thread::panicking(), Ordering::Relaxed);
        if DONE.fetch_add(1, Ordering::AcqRel) + 1 == THREADS as u32 {
            self.0.wake().unwrap();
        }
    }
}

// Property 1: bind, 200 clients of four threads that connect, echo, fall silent, reset and close, with full tables now and then, timers, dials, gifts, a break and a graceful end: no allocation.
#[test]
fn a_servers_whole_life_allocates_nothing() {
    util::limit_this_program();
    assert_eq!(calls_of(|| drop(Box::new(1))).1, 2, "the allocator counts");
    assert_eq!(calls_of(|| std::thread::spawn(|| drop(Box::new(1)))).0.join().ok(), Some(()));

    // Before Linux 6.4 rustix's first look at the clock allocates, with its feature `alloc`, which other packages of the tests ask for.
    let _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);

    let mut server = Server::default();
    let (mut reactor, allocated) = calls_of(|| Reactor::new(STORAGE.take()).unwrap());
    assert_eq!(allocated, 0);
    let ((), allocated) = calls_of(|| {
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        reactor.spawn_with(listener, Task::Listener).unwrap();
        reactor.spawn(Task::Supervisor).unwrap();
        reactor.spawn(Task::Ticker { next: None }).unwrap();
        for _ in 0..4 {
            let partner = reactor.spawn(Task::Partner).unwrap();
            let socket = TcpStream::connect(address).unwrap();
            reactor.spawn_with(socket, |stream| Task::Dialler { stream, partner: Some(partner), sent: 0 }).unwrap();
        }
        uncounted(|| {
            let breaker = reactor.breaker();
            for thread in 0..THREADS {
                std::thread::spawn(move || {
                    let _finish = Finish(breaker);
                    for number in 0..CLIENTS_EACH {
                        client(address, thread * CLIENTS_EACH + number);
                    }
                });
            }
        });
        reactor.run(&mut server).unwrap();
    });
    assert!(!FAILED.load(Ordering::Relaxed), "a client has failed");
    assert_eq!(allocated, 0);
    assert_eq!((server.accepted, server.connected, server.refused), (CLIENTS + 4, 4, 0));
    assert_eq!(server.ended_well + server.timed_out + server.reset, CLIENTS + 4);
    assert!(server.timed_out >= CLIENTS / 4 && server.reset > 0 && server.ended_well > 0, "too little has happened");
    assert!(server.echoed >= CLIENTS && server.ticks > 10 && server.sleeps > 10);
    assert_eq!(reactor.descriptors(), 0);
    let ((), allocated) = calls_of(|| drop(reactor));
    assert_eq!(allocated, 0);
}
