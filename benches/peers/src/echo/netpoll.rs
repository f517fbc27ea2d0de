//! netpoll: a handler for each connection, in static storage. With a buffer of its own, or reading into one that all share; what the kernel does
//! not take at once then has to be kept, as the other peers do.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::net::{TcpListener as Listener, TcpStream};
use netpoll::{Context, Error, Handler, Io, Reactor, ReactorStorage, Unopened};
use static_cell::ConstStaticCell;

const CONNECTIONS: usize = 10_000;

type Storage<H> = ConstStaticCell<ReactorStorage<H, { CONNECTIONS + 1 }, { CONNECTIONS + 1 }>>;

/// A buffer for each connection, as in the crate's first example.
pub fn own_buffer(listener: TcpListener, buffer: usize, idle: Option<Duration>) {
    static SMALL: Storage<Own<4096>> = ConstStaticCell::new(ReactorStorage::new());
    static LARGE: Storage<Own<{ 32 * 1024 }>> = ConstStaticCell::new(ReactorStorage::new());
    let mut idle = idle;
    if buffer <= 4096 {
        run(Reactor::new(SMALL.take()), listener, Own::Listener, &mut idle);
    } else {
        run(Reactor::new(LARGE.take()), listener, Own::Listener, &mut idle);
    }
}

/// One buffer for all.
pub fn shared_buffer(listener: TcpListener, buffer: usize, idle: Option<Duration>) {
    static STORAGE: Storage<Sharing> = ConstStaticCell::new(ReactorStorage::new());
    let mut shared = Shared { idle, buf: vec![0; buffer] };
    run(Reactor::new(STORAGE.take()), listener, Sharing::Listener, &mut shared);
}

fn run<H: Handler>(reactor: Result<Reactor<'static, H>, Error>, listener: TcpListener, make: fn(Listener) -> H, shared: &mut H::Shared) {
    let mut reactor = reactor.unwrap();
    let listener = Unopened::<Listener>::from(OwnedFd::from(listener));
    reactor.spawn_with(listener, make).map_err(drop).unwrap();
    reactor.run(shared).unwrap();
}

fn accept<H: Handler>(listener: &Listener, cx: &mut Context<'_, H>, make: fn(TcpStream) -> H) -> Poll<Result<(), Error>> {
    loop {
        match ready!(listener.accept(cx)) {
            Ok((socket, _)) => drop(cx.spawn_with(socket, make)),
            Err(_) => {
                cx.set_timer_after(Duration::from_millis(100));
                return Poll::Pending;
            }
        }
    }
}

/// Something has arrived, or the connection is new: it has so long from now on.
#[inline]
fn guard(stream: &TcpStream, io: &mut Io<'_>, idle: Option<Duration>) -> Result<(), Error> {
    match idle {
        Some(idle) => {
            let deadline = io.now() + idle;
            stream.set_deadline(io, Some(deadline))
        }
        None => Ok(()),
    }
}

enum Own<const N: usize> {
    Listener(Listener),
    Client { stream: TcpStream, buf: [u8; N], len: usize, sent: usize, is_new: bool },
}

impl<const N: usize> Handler for Own<N> {
    type Shared = Option<Duration>;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let (stream, buf, len, sent, is_new) = match self {
            Own::Listener(listener) => {
                return accept(listener, cx, |stream| Own::Client { stream, buf: [0; N], len: 0, sent: 0, is_new: true });
            }
            Own::Client { stream, buf, len, sent, is_new } => (stream, buf, len, sent, is_new),
        };
        let (io, idle) = cx.split();
        if core::mem::take(is_new) {
            guard(stream, io, *idle)?;
        }
        loop {
            if *sent == *len {
                (*len, *sent) = (ready!(stream.read(io, buf))?, 0);
                if *len == 0 {
                    return Poll::Ready(Ok(()));
                }
                guard(stream, io, *idle)?;
            }
            ready!(stream.write_all(io, &buf[..*len], sent))?;
        }
    }
}

struct Shared {
    idle: Option<Duration>,
    buf: Vec<u8>,
}

enum Sharing {
    Listener(Listener),
    Client { stream: TcpStream, pending: Vec<u8>, sent: usize, is_new: bool },
}

impl Handler for Sharing {
    type Shared = Shared;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let (stream, pending, sent, is_new) = match self {
            Sharing::Listener(listener) => {
                return accept(listener, cx, |stream| Sharing::Client { stream, pending: Vec::new(), sent: 0, is_new: true });
            }
            Sharing::Client { stream, pending, sent, is_new } => (stream, pending, sent, is_new),
        };
        let (io, shared) = cx.split();
        if core::mem::take(is_new) {
            guard(stream, io, shared.idle)?;
        }
        if !pending.is_empty() {
            ready!(stream.write_all(io, pending, sent))?;
            *pending = Vec::new();
        }
        loop {
            let len = ready!(stream.read(io, &mut shared.buf))?;
            if len == 0 {
                return Poll::Ready(Ok(()));
            }
            guard(stream, io, shared.idle)?;
            *sent = 0;
            let echo = &shared.buf[..len];
            let answer = stream.write_all(io, echo, sent);
            if answer.is_pending() {
                *pending = echo[*sent..].to_vec();
                *sent = 0;
                return Poll::Pending;
            }
            ready!(answer)?;
        }
    }
}
