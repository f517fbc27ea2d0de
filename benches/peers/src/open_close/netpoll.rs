//! netpoll.

use std::task::Poll;

use netpoll::{
    Context, Error, Handler, HandlerId, Interest, OwnedFd, Poller, PollerStorage, Reactor, ReactorStorage, Timeout, Token, Waiter,
};
use static_cell::ConstStaticCell;

use super::{counter, turns};
use crate::work::{Case, Work};

/// What one descriptor is.
#[derive(Debug)]
enum State {
    Closed(OwnedFd),
    Open(Token),
}

/// A handler that opens and closes, and yields after each half if the loop is to turn.
#[derive(Debug)]
struct Opener {
    state: Option<State>,
    turns: bool,
}

impl Handler for Opener {
    /// Halves that are still to be done.
    type Shared = u64;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        while *cx.shared() > 0 {
            *cx.shared() -= 1;
            self.state = match self.state.take() {
                Some(State::Closed(fd)) => Some(State::Open(cx.open(fd, Interest::READ)?)),
                Some(State::Open(token)) => Some(State::Closed(cx.close(token)?)),
                None => None,
            };
            if self.turns {
                cx.yield_now();
                return Poll::Pending;
            }
        }
        Poll::Pending
    }
}

struct OnReactor {
    reactor: Reactor<'static, Opener>,
    opener: HandlerId,
}

impl Work for OnReactor {
    fn run(&mut self, ops: u64) {
        let mut halves = 2 * ops;
        self.reactor.notify(self.opener).expect("a handler");
        while halves > 0 {
            self.reactor.run_once(Timeout::Now, &mut halves).expect("a wait");
        }
    }
}

pub fn reactor(case: &Case) -> Box<dyn Work> {
    static STORAGE: ConstStaticCell<ReactorStorage<Opener, 2, 2>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take()).expect("a reactor");
    let opener = |state| Opener { state: Some(state), turns: turns(case) };
    let stays = (counter(), Interest::READ);
    reactor.spawn_with(stays, |token| opener(State::Open(token))).map_err(|rejected| rejected.error).expect("room");
    let opener = reactor.spawn(opener(State::Closed(counter()))).expect("room");
    reactor.run_once(Timeout::Now, &mut 0).expect("a wait");
    Box::new(OnReactor { reactor, opener })
}

struct OnPoller {
    poller: Poller<'static>,
    fd: Option<OwnedFd>,
    turns: bool,
}

impl OnPoller {
    fn turn(&mut self) {
        if self.turns {
            self.poller.poll(Timeout::Now, |_| ()).expect("a wait");
        }
    }
}

impl Work for OnPoller {
    fn run(&mut self, ops: u64) {
        let waiter = Waiter::new(1);
        for _ in 0..ops {
            let Some(fd) = self.fd.take() else { return };
            let token = self.poller.io(waiter).open(fd, Interest::READ).map_err(|rejected| rejected.error).expect("room");
            self.turn();
            self.fd = self.poller.io(waiter).close(token).ok();
            self.turn();
        }
    }
}

pub fn poller(case: &Case) -> Box<dyn Work> {
    static STORAGE: ConstStaticCell<PollerStorage<2>> = ConstStaticCell::new(PollerStorage::new());
    let mut poller = Poller::new(STORAGE.take()).expect("a poller");
    poller.io(Waiter::new(0)).open(counter(), Interest::READ).map_err(|rejected| rejected.error).expect("room");
    Box::new(OnPoller { poller, fd: Some(counter()), turns: turns(case) })
}
