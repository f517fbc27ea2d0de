//! calloop: each connection an event source of its own, level-triggered. An idle deadline is a timer: set anew at each request, or, which is
//! cheaper, one that looks at the moment of the last request when it comes up.

use std::cell::Cell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{
    Dispatcher, EventLoop, EventSource, Interest, LoopHandle, Mode, Poll, PostAction, Readiness, RegistrationToken, Token, TokenFactory,
};

use super::pump::{Outcome, Pending, Until};

/// The state of the loop: the buffer that all read into.
type Shared = Vec<u8>;

struct Client {
    source: Generic<Rc<TcpStream>>,
    connection: Connection,
    blocked: bool,
}

struct Connection {
    stream: Rc<TcpStream>,
    pending: Pending,
}

impl EventSource for Client {
    type Event = ();
    type Metadata = Connection;
    type Ret = Outcome;
    type Error = io::Error;

    fn process_events<F: FnMut((), &mut Connection) -> Outcome>(
        &mut self,
        readiness: Readiness,
        token: Token,
        mut callback: F,
    ) -> io::Result<PostAction> {
        let (connection, mut outcome) = (&mut self.connection, Outcome::WantsRead);
        self.source.process_events(readiness, token, |_, _| {
            outcome = callback((), connection);
            Ok(PostAction::Continue)
        })?;
        let blocked = outcome == Outcome::WantsWrite;
        if outcome == Outcome::Gone {
            return Ok(PostAction::Remove);
        }
        if blocked == self.blocked {
            return Ok(PostAction::Continue);
        }
        self.blocked = blocked;
        self.source.interest = if blocked { Interest::WRITE } else { Interest::READ };
        Ok(PostAction::Reregister)
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.source.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.source.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.source.unregister(poll)
    }
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        stream.set_nonblocking(true).unwrap();
        let stream = Rc::new(stream);
        let source = Generic::new(stream.clone(), Interest::READ, Mode::Level);
        Client { source, connection: Connection { stream, pending: Pending::default() }, blocked: false }
    }
}

impl Connection {
    fn step(&mut self, buf: &mut [u8]) -> Outcome {
        self.pending.step(&mut &*self.stream, buf, Until::OneRead)
    }
}

pub fn natural(listener: TcpListener, buffer: usize, idle: Option<Duration>) {
    match idle {
        None => serve(listener, buffer, unguarded),
        Some(idle) => serve(listener, buffer, move |handle, stream| timed(handle, stream, idle)),
    }
}

pub fn lazy(listener: TcpListener, buffer: usize, idle: Option<Duration>) {
    match idle {
        None => serve(listener, buffer, unguarded),
        Some(idle) => serve(listener, buffer, move |handle, stream| lazily_timed(handle, stream, idle)),
    }
}

fn serve(listener: TcpListener, buffer: usize, add: impl Fn(&LoopHandle<'static, Shared>, TcpStream) + 'static) {
    let mut events = EventLoop::<Shared>::try_new().unwrap();
    let handle = events.handle();
    let accept = move |_, listener: &mut calloop::generic::NoIoDrop<TcpListener>, _: &mut Shared| {
        while let Ok((stream, _)) = listener.accept() {
            add(&handle, stream);
        }
        Ok(PostAction::Continue)
    };
    events.handle().insert_source(Generic::new(listener, Interest::READ, Mode::Level), accept).unwrap();
    events.run(None, &mut vec![0; buffer], |_| {}).unwrap();
}

fn unguarded(handle: &LoopHandle<'static, Shared>, stream: TcpStream) {
    handle.insert_source(Client::new(stream), |(), connection, buf| connection.step(buf)).map(drop).map_err(drop).unwrap();
}

/// A timer that is set anew at each request.
fn timed(handle: &LoopHandle<'static, Shared>, stream: TcpStream, idle: Duration) {
    let client: Rc<Cell<Option<RegistrationToken>>> = Rc::default();
    let timer = Dispatcher::new(Timer::from_duration(idle), {
        let (client, handle) = (client.clone(), handle.clone());
        move |_, _: &mut (), _: &mut Shared| {
            if let Some(client) = client.take() {
                handle.remove(client);
            }
            TimeoutAction::Drop
        }
    });
    let registered = handle.register_dispatcher(timer.clone()).unwrap();
    let on_ready = {
        let handle = handle.clone();
        move |(), connection: &mut Connection, buf: &mut Shared| {
            let outcome = connection.step(buf);
            if outcome == Outcome::Gone {
                handle.remove(registered);
            } else {
                timer.as_source_mut().set_duration(idle);
                handle.update(&registered).unwrap();
            }
            outcome
        }
    };
    client.set(handle.insert_source(Client::new(stream), on_ready).ok());
}

/// A timer that goes on to the end of the last request's time.
fn lazily_timed(handle: &LoopHandle<'static, Shared>, stream: TcpStream, idle: Duration) {
    let client: Rc<Cell<Option<RegistrationToken>>> = Rc::default();
    let deadline = Rc::new(Cell::new(Instant::now() + idle));
    let timer = {
        let (client, deadline, handle) = (client.clone(), deadline.clone(), handle.clone());
        move |_, _: &mut (), _: &mut Shared| {
            if deadline.get() > Instant::now() {
                return TimeoutAction::ToInstant(deadline.get());
            }
            if let Some(client) = client.take() {
                handle.remove(client);
            }
            TimeoutAction::Drop
        }
    };
    let registered = handle.insert_source(Timer::from_duration(idle), timer).unwrap();
    let on_ready = {
        let handle = handle.clone();
        move |(), connection: &mut Connection, buf: &mut Shared| {
            let outcome = connection.step(buf);
            match outcome {
                Outcome::Gone => handle.remove(registered),
                _ => deadline.set(Instant::now() + idle),
            }
            outcome
        }
    };
    client.set(handle.insert_source(Client::new(stream), on_ready).ok());
}
