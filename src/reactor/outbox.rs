//! [`Outbox`]: messages that handlers leave for the one that writes them.

use core::fmt;
use core::task::{Poll, ready};

use heapless::{Deque, Vec};

use super::context::Context;
use super::handler::Handler;
use super::roster::HandlerId;
use crate::error::{Error, Rejected};
use crate::poller::Marks;
use crate::stream::Writer;

/// A bounded queue of messages for one stream: any handler pushes, one handler, the writer, sends them in order, each of them whole.
///
/// Only its owner can write to a stream; what others have to say goes through here. It lies in the [shared state](Handler::Shared), and `at`
/// says where. Pushing runs the writer. When the queue is full, who asks for [room](Outbox::poll_room) is run as soon as there is some, in
/// the order of asking; who is run and does not want it any more loses his turn.
///
/// It holds up to `N` messages, and remembers up to `WAITING` handlers that wait for room: at least as many as there are handlers that push.
/// It outlives its writer: what is pushed while there is none is kept for the next.
///
/// ```
/// use core::task::{Poll, ready};
/// use heapless::Vec;
/// use netpoll::net::TcpStream;
/// use netpoll::{Context, Error, Handler, Outbox};
///
/// struct Shared { uplink: Outbox<Vec<u8, 64>, 16> }
///
/// enum App { Uplink { stream: TcpStream, sent: usize }, Meter(u8) }
///
/// impl Handler for App {
///     type Shared = Shared;
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         match self {
///             App::Uplink { stream, sent } => {
///                 ready!(Outbox::drain(cx, |shared| &mut shared.uplink, stream, sent))?;
///                 Poll::Pending // all is sent; run again when there is more
///             }
///             App::Meter(reading) => loop {
///                 ready!(Outbox::poll_room(cx, |shared| &mut shared.uplink))?; // held back while the line is slow
///                 let _ = Outbox::push(cx, |shared| &mut shared.uplink, Vec::from_iter([*reading, b'\n']));
///                 *reading = reading.wrapping_add(1);
///             },
///         }
///     }
/// }
/// ```
pub struct Outbox<T, const N: usize, const WAITING: usize = 8> {
    messages: Deque<T, N>,
    /// Some of the first message is out.
    begun: bool,
    closed: bool,
    writer: Option<HandlerId>,
    /// In the order in which they asked.
    waiting: Vec<Waiting, WAITING>,
}

/// A handler that waits for room.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: HandlerId,
    /// The round in which it was called, because there is room.
    called: Option<u16>,
}

impl<T, const N: usize, const WAITING: usize> Outbox<T, N, WAITING> {
    /// An empty queue that nobody writes yet.
    pub const fn new() -> Self {
        Outbox { messages: Deque::new(), begun: false, closed: false, writer: None, waiting: Vec::new() }
    }

    /// How many messages are not yet, or not wholly, sent.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Waits until a message finds room, and those who have asked before have had their turn.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`close`](Outbox::close). [`Error::Full`] when `WAITING` handlers wait already.
    pub fn poll_room<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self) -> Poll<Result<(), Error>> {
        let id = cx.id();
        Self::forget_who_did_not_come(cx, &at);
        let outbox = at(cx.shared());
        if outbox.closed {
            return Poll::Ready(Err(Error::Closed));
        }
        let room = outbox.room();
        let place = outbox.waiting.iter().position(|waiting| waiting.id == id);
        let ahead = place.unwrap_or(outbox.waiting.len());
        if ahead < room {
            outbox.waiting.retain(|waiting| waiting.id != id);
            return Poll::Ready(Ok(()));
        }
        match place.and_then(|place| outbox.waiting.get_mut(place)) {
            Some(waiting) => waiting.called = None,
            None => outbox.waiting.push(Waiting { id, called: None }).map_err(|_| Error::Full)?,
        }
        if room > 0 {
            // It is for others, who will have come for it, or not, when this handler is run again.
            Self::call(cx, &at, room);
            cx.yield_now();
        }
        cx.io.run().marks.set(Marks::WAITED);
        Poll::Pending
    }

    /// Leaves a message for the writer, who is run in the next round.
    ///
    /// # Errors
    ///
    /// With the message: [`Error::Full`], after which it is [`poll_room`](Outbox::poll_room) that waits; [`Error::Closed`] after
    /// [`close`](Outbox::close).
    pub fn push<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self, message: T) -> Result<(), Rejected<T>> {
        let outbox = at(cx.shared());
        if outbox.closed {
            return Err(Rejected::new(message, Error::Closed));
        }
        outbox.messages.push_back(message).map_err(|message| Rejected::new(message, Error::Full))?;
        if let Some(writer) = outbox.writer {
            // If it has ended, the message is for the next one.
            let _ = cx.notify(writer);
        }
        Ok(())
    }

    /// Throws away what is not sent, and calls who waits for room. A message that has begun stays, since the rest of the stream would make
    /// no sense.
    pub fn clear<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self) {
        let outbox = at(cx.shared());
        let begun = if outbox.begun { outbox.messages.pop_front() } else { None };
        outbox.messages.clear();
        if let Some(begun) = begun {
            let _ = outbox.messages.push_back(begun);
        }
        Self::call(cx, &at, usize::MAX);
    }

    /// Takes no more messages, and runs who waits for room, to be told. What is there can still be sent. For good: begin again with a
    /// [new](Outbox::new) one.
    pub fn close<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self) {
        at(cx.shared()).closed = true;
        Self::call(cx, &at, usize::MAX);
    }

    fn room(&self) -> usize {
        N - self.messages.len()
    }

    /// Runs the first `room` of those who wait, unless they have been called already.
    fn call<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self, room: usize) {
        let round = cx.handlers.state.rounds;
        let mut place = 0;
        while let Some(waiting) = at(cx.shared()).waiting.get_mut(place).filter(|_| place < room) {
            let (id, is_called) = (waiting.id, waiting.called.is_some());
            waiting.called = waiting.called.or(Some(round));
            if is_called || cx.notify(id).is_ok() {
                place += 1;
            } else {
                at(cx.shared()).waiting.retain(|waiting| waiting.id != id);
            }
        }
    }

    /// Who has ended, or has been run because there is room and has not asked for it, does not hold up those behind.
    fn forget_who_did_not_come<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self) {
        let running = cx.id();
        let mut roster = cx.handlers.roster();
        at(cx.shared).waiting.retain(|waiting| match (roster.find(waiting.id), waiting.called) {
            (Err(_), _) => false,
            (Ok(_), None) => true,
            // It is run in the round in which it was called, or in the next.
            (Ok((_, header)), Some(called)) => {
                let is_due = header.is_due();
                waiting.id == running || (is_due && roster.state.rounds_since(called) < 2)
            }
        });
    }
}

impl<T: AsRef<[u8]>, const N: usize, const WAITING: usize> Outbox<T, N, WAITING> {
    /// Sends what is there; ready when all of it is sent. Who calls this is the writer, and is run when there is more.
    ///
    /// `sent` says how much of the first message this stream has taken, as for [`write_all`](Writer::write_all): it begins with 0, belongs
    /// to the stream, and goes where that is [given](Context::give). On a new connection it is 0 again, and a message that the old one
    /// broke off in is sent from its first byte.
    ///
    /// # Errors
    ///
    /// As [`Writer::write_all`]; what is not sent stays, and after [`Error::TimedOut`] the next call goes on where this one stopped.
    pub fn drain<H: Handler>(
        cx: &mut Context<'_, H>,
        at: impl Fn(&mut H::Shared) -> &mut Self,
        stream: &(impl Writer + ?Sized),
        sent: &mut usize,
    ) -> Poll<Result<(), Error>> {
        let id = cx.id();
        at(cx.shared()).writer = Some(id);
        loop {
            let (io, shared) = cx.split();
            let outbox = at(shared);
            let Some(message) = outbox.messages.front() else {
                io.run().marks.set(Marks::WAITED);
                // Those who were called need not come, and no message is left whose end would call the others.
                Self::call(cx, &at, usize::MAX);
                return Poll::Ready(Ok(()));
            };
            let written = stream.write_all(io, message.as_ref(), sent);
            outbox.begun = *sent > 0;
            ready!(written)?;
            outbox.messages.pop_front();
            (outbox.begun, *sent) = (false, 0);
            Self::forget_who_did_not_come(cx, &at);
            let room = at(cx.shared()).room();
            Self::call(cx, &at, room);
        }
    }
}

impl<T, const N: usize, const WAITING: usize> Default for Outbox<T, N, WAITING> {
    fn default() -> Self {
        Outbox::new()
    }
}

impl<T, const N: usize, const WAITING: usize> fmt::Debug for Outbox<T, N, WAITING> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("len", &self.len())
            .field("begun", &self.begun)
            .field("closed", &self.closed)
            .field("writer", &self.writer)
            .field("waiting", &self.waiting)
            .finish()
    }
}
