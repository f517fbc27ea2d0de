//! The way to the broker: connects, publishes what is in the spool, and does so again when the connection breaks.
//!
//! ```text
//!   Dialling ──connected──> Greeting ──CONNACK──> Serving ──nothing left──> Leaving ──> Ended
//!     ^  └───────error, deadline┴─────────any──────┘
//!     └──timer── Down <──┘
//! ```
//!
//! The handler's timer is the back-off while the connection is down, and the keep-alive while it is up.

use crate::app::{Cx, report};
use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::packet::{self, Answer, Identity, Topic};
use crate::reason::Reason;
use core::net::SocketAddr;
use core::task::{Poll, ready};
use core::time::Duration;
use netpoll::Error;
use netpoll::net::Dial;

pub struct Settings {
    pub broker: SocketAddr,
    pub identity: Identity,
    pub topic: Topic,
    pub keep_alive: Duration,
    /// How long the broker may take: to accept, to answer, to take what it is sent.
    pub timeout: Duration,
}

pub struct Broker {
    settings: Settings,
    dial: Dial,
    backoff: Backoff,
    state: State,
    /// From `Greeting` to `Leaving`.
    connection: Option<Connection>,
    ping_due: bool,
    /// Why it is down; said only once, however often it is tried.
    complaint: Option<Reason>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Dialling,
    Greeting,
    Serving,
    Leaving,
    Down,
    Ended,
}

type Step = Poll<Result<State, Reason>>;

impl Broker {
    pub fn new(settings: Settings, backoff: Backoff) -> Broker {
        let dial = Dial::to(settings.broker).with_timeout(settings.timeout);
        Broker { settings, dial, backoff, state: State::Dialling, connection: None, ping_due: false, complaint: None }
    }

    /// Finished when the program is closing and everything is acknowledged.
    pub fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        loop {
            if matches!(self.state, State::Dialling | State::Greeting | State::Down) && cx.shared().is_done() {
                self.state = State::Ended;
            }
            let step = match self.state {
                State::Dialling => ready!(self.dial(cx)),
                State::Greeting => ready!(self.greet(cx)),
                State::Serving => ready!(self.serve(cx)),
                State::Leaving => ready!(self.leave(cx)),
                State::Down => ready!(self.rest(cx)),
                State::Ended => {
                    cx.stop();
                    return Poll::Ready(Ok(()));
                }
            };
            self.state = step.unwrap_or_else(|reason| self.lose(cx, reason));
        }
    }

    fn dial(&mut self, cx: &mut Cx<'_>) -> Step {
        let stream = ready!(self.dial.poll(cx)).map_err(|failed| failed.error)?;
        let mut connection = Connection::new(stream, self.settings.timeout, cx)?;
        connection.put(cx, packet::connect(&self.settings.identity, self.settings.keep_alive))?;
        connection.await_answer(cx, Some("CONNACK"))?;
        self.connection = Some(connection);
        Poll::Ready(Ok(State::Greeting))
    }

    fn greet(&mut self, cx: &mut Cx<'_>) -> Step {
        let connection = self.connection.as_mut().ok_or(Error::Closed)?;
        ready!(connection.flush(cx))?;
        let session_present = match ready!(connection.receive(cx))? {
            Answer::Connected { session_present } => session_present,
            Answer::Refused(code) => return Poll::Ready(Err(Reason::Refused(code))),
            _ => return Poll::Ready(Err(Reason::OutOfTurn)),
        };
        connection.await_answer(cx, None)?;
        cx.set_timer_after(self.settings.keep_alive);
        self.ping_due = false;
        self.complaint = None;
        let again = cx.shared().spool.begin();
        cx.shared().counters.connections += 1;
        let session = if session_present { "session resumed" } else { "new session" };
        report(format_args!("connected to {}: {session}, {again} to publish again", self.settings.broker));
        Poll::Ready(Ok(State::Serving))
    }

    fn serve(&mut self, cx: &mut Cx<'_>) -> Step {
        loop {
            if cx.poll_timer().is_ready() {
                self.ping_due = true;
                cx.set_timer_after(self.settings.keep_alive);
            }
            let sent = self.send(cx)?; // waiting to send is no reason not to listen
            if sent.is_ready() && cx.shared().is_done() {
                self.connection.as_mut().ok_or(Error::Closed)?.put(cx, packet::disconnect())?;
                return Poll::Ready(Ok(State::Leaving));
            }
            ready!(self.listen(cx))?;
        }
    }

    /// Sends until nothing is left, or nothing more may be sent.
    fn send(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Reason>> {
        let connection = self.connection.as_mut().ok_or(Error::Closed)?;
        loop {
            ready!(connection.flush(cx))?;
            if core::mem::take(&mut self.ping_due) && !connection.awaits_answer() {
                connection.put(cx, packet::pingreq())?;
                connection.await_answer(cx, Some("PINGRESP"))?;
                cx.shared().counters.pings += 1;
                continue;
            }
            let shared = cx.shared();
            let held = if shared.spool.has_room() { None } else { shared.handlers.meter };
            let Some(message) = shared.spool.next() else { return Poll::Ready(Ok(())) };
            *if message.dup { &mut shared.counters.repeated } else { &mut shared.counters.published } += 1;
            if let Some(meter) = held {
                let _ = cx.notify(meter);
            }
            connection.put(cx, packet::publish(&self.settings.topic, &message))?;
        }
    }

    /// Takes one packet. Only what a broker is for begins the back-off anew: one that lets the client in and throws it out is not hammered.
    fn listen(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Reason>> {
        let connection = self.connection.as_mut().ok_or(Error::Closed)?;
        match ready!(connection.receive(cx))? {
            Answer::Puback(id) if cx.shared().spool.acknowledge(id) => {
                self.backoff.reset();
                cx.shared().counters.acknowledged += 1;
            }
            Answer::Pingresp => {
                self.backoff.reset();
                connection.await_answer(cx, None)?;
            }
            Answer::Puback(_) | Answer::Publish => cx.shared().counters.ignored += 1,
            Answer::Connected { .. } | Answer::Refused(_) => return Poll::Ready(Err(Reason::OutOfTurn)),
        }
        Poll::Ready(Ok(()))
    }

    fn leave(&mut self, cx: &mut Cx<'_>) -> Step {
        let connection = self.connection.as_mut().ok_or(Error::Closed)?;
        ready!(connection.flush(cx))?;
        connection.shut_down(cx);
        report(format_args!("disconnected from {}: everything is acknowledged", self.settings.broker));
        Poll::Ready(Ok(State::Ended))
    }

    /// Waits for the next attempt, but not for the last one before the end.
    fn rest(&mut self, cx: &mut Cx<'_>) -> Step {
        let hurry = cx.shared().closing && cx.poll_notified().is_ready();
        if !hurry {
            ready!(cx.poll_timer());
        }
        cx.set_timer(None);
        Poll::Ready(Ok(State::Dialling))
    }

    fn lose(&mut self, cx: &mut Cx<'_>, reason: Reason) -> State {
        if let Some(connection) = self.connection.take() {
            connection.close(cx);
        }
        let was_up = matches!(self.state, State::Serving | State::Leaving);
        if !was_up {
            cx.shared().counters.failed_attempts += 1;
        }
        if self.complaint != Some(reason) {
            self.complaint = Some(reason);
            let what = if was_up { "disconnected from" } else { "no connection to" };
            report(format_args!("{what} {}: {reason}; trying again", self.settings.broker));
        }
        cx.set_timer_after(self.backoff.fail());
        State::Down
    }
}
