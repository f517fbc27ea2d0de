//! A reactor with an echo server, its clients, which dial one of two addresses, timers, deadlines and a wake; every connection that is lost
//! is made anew.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::net::{Dial, Shutdown, TcpListener, TcpStream};
use netpoll::{Context, Error, Handler, HandlerId, Reactor, ReactorStorage};

use crate::life::{self, Told};

const CLIENTS: u32 = 2;
const MESSAGES: u32 = 2;
const MESSAGE: &[u8] = b"hello";
/// Before what has failed is tried again.
const PAUSE: Duration = Duration::from_millis(1);
/// Longer than anything takes here.
const IDLE: Duration = Duration::from_secs(15);

struct World {
    told: Told,
    alive: Rc<Cell<u32>>,
    listener: Option<HandlerId>,
    /// Clients that have not got all their answers.
    left: u32,
}

/// Counts handlers that were made and not dropped.
struct Alive(Rc<Cell<u32>>);

impl Alive {
    fn new(count: &Rc<Cell<u32>>) -> Alive {
        count.set(count.get() + 1);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

struct Guest {
    part: Part,
    _alive: Alive,
}

#[allow(clippy::large_enum_variant)] // there are few
enum Part {
    Listener(TcpListener),
    Server { stream: TcpStream, buf: [u8; 64], len: usize, sent: usize },
    Client { address: SocketAddr, state: State, answers: u32 },
    Sleeper { is_awake: bool },
}

#[allow(clippy::large_enum_variant)]
enum State {
    Dialing(Dial<2>),
    Talking { stream: TcpStream, sent: usize, answer: [u8; MESSAGE.len()], filled: usize },
}

type Cx<'a> = Context<'a, Guest>;

impl Handler for Guest {
    type Shared = World;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        match &mut self.part {
            Part::Listener(listener) => listen(listener, cx),
            Part::Server { stream, buf, len, sent } => loop {
                if sent == len {
                    (*len, *sent) = (ready!(stream.read(cx, buf))?, 0);
                    if *len == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    stream.set_read_timeout(cx, Some(IDLE))?;
                }
                ready!(stream.write_all(cx, &buf[..*len], sent))?;
            },
            Part::Client { address, state, answers } => match ready!(talk(state, answers, cx)) {
                Err(error) => {
                    cx.shared().told.note("client", error);
                    if let State::Talking { stream, .. } = state {
                        drop(stream.close(cx)?);
                    }
                    *state = dial(*address);
                    cx.set_timer_after(PAUSE);
                    Poll::Pending
                }
                Ok(()) => {
                    // The server's end must not depend on whether this one is closed in time.
                    if let State::Talking { stream, .. } = state {
                        cx.shared().told.clone().again("shutdown", || stream.shutdown(cx, Shutdown::Write));
                    }
                    cx.shared().left -= 1;
                    if let (0, Some(listener)) = (cx.shared().left, cx.shared().listener) {
                        cx.notify(listener)?;
                    }
                    Poll::Ready(Ok(()))
                }
            },
            Part::Sleeper { is_awake } => {
                if !*is_awake {
                    ready!(cx.poll_wake());
                    *is_awake = true;
                    cx.set_timer_after(PAUSE);
                }
                cx.poll_timer().map(Ok)
            }
        }
    }

    fn on_error(&mut self, error: Error, cx: &mut Cx<'_>) {
        cx.shared().told.note("server", error);
    }
}

fn listen(listener: &TcpListener, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
    while cx.shared().left > 0 {
        match ready!(listener.accept(cx)) {
            Ok((socket, _)) => {
                let alive = Alive::new(&cx.shared().alive);
                let spawned =
                    cx.spawn_with(socket, |stream| Guest { part: Part::Server { stream, buf: [0; 64], len: 0, sent: 0 }, _alive: alive });
                if let Err(rejected) = spawned {
                    // The connection is lost, and its client comes again.
                    cx.shared().told.note("spawn", rejected.error);
                }
            }
            Err(error) => {
                cx.shared().told.note("accept", error);
                cx.set_timer_after(PAUSE);
                return Poll::Pending;
            }
        }
    }
    Poll::Ready(Ok(()))
}

fn dial(address: SocketAddr) -> State {
    State::Dialing(Dial::new(&[address, address]).unwrap().with_timeout(IDLE))
}

fn talk(state: &mut State, answers: &mut u32, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
    while *answers < MESSAGES {
        match state {
            State::Dialing(dial) => {
                let stream = ready!(dial.poll(cx))?;
                stream.set_read_timeout(cx, Some(IDLE))?;
                *state = State::Talking { stream, sent: 0, answer: [0; MESSAGE.len()], filled: 0 };
            }
            State::Talking { stream, sent, answer, filled } => {
                ready!(stream.write_all(cx, MESSAGE, sent))?;
                ready!(stream.read_exact(cx, answer, filled))?;
                assert_eq!(answer, MESSAGE);
                (*sent, *filled) = (0, 0);
                *answers += 1;
            }
        }
    }
    Poll::Ready(Ok(()))
}

pub fn live() {
    life::live(|told| {
        let alive = Rc::new(Cell::new(0));
        let guest = |part| Guest { part, _alive: Alive::new(&alive) };
        let mut storage = ReactorStorage::<Guest, 8, 8>::new();
        let mut reactor = loop {
            match Reactor::new(&mut storage) {
                Ok(reactor) => break reactor,
                Err(error) => told.note("new", error),
            }
        };
        let mut socket = told.again("listen", || TcpListener::bind("127.0.0.1:0".parse().unwrap()));
        let address = told.again("local_addr", || socket.local_addr());
        let listener = loop {
            match reactor.spawn_with(socket, |listener| guest(Part::Listener(listener))) {
                Ok(listener) => break listener,
                Err(rejected) => {
                    told.note("spawn", rejected.error);
                    socket = rejected.value;
                }
            }
        };
        for _ in 0..CLIENTS {
            reactor.spawn(guest(Part::Client { address, state: dial(address), answers: 0 })).unwrap();
        }
        reactor.spawn(guest(Part::Sleeper { is_awake: false })).unwrap();
        told.again("wake", || reactor.breaker().wake());
        let mut world = World { told: told.clone(), alive: alive.clone(), listener: Some(listener), left: CLIENTS };
        told.again("run", || reactor.run(&mut world));
        assert_eq!((reactor.len(), reactor.descriptors(), alive.get()), (0, 0, 0));
        reactor.stats()
    });
}
