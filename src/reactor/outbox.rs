//! [`Outbox`]: messages that handlers leave for the one that writes them.

use core::fmt;
use core::task::{Poll, ready};

use heapless::Deque;

use super::context::Context;
use super::handler::Handler;
use super::ready::HandlerId;
use crate::error::{Error, Rejected};
use crate::poller::Marks;
use crate::stream::Writer;

/// A bounded queue of messages for one stream: any handler pushes, one handler, the writer, sends them in order, each of them whole.
///
/// Only its owner can write to a stream; what others have to say goes through here. It lies in the [shared state](Handler::Shared), and `at`
/// says where. Pushing runs the writer; when the queue is full, who asked for [room](Outbox::poll_room) is run as soon as there is some,
/// the longest waiting first. It holds up to `N` messages, and remembers the order of up to `WAITING` handlers; when more than that wait,
/// every handler is run once those have had their turns.
///
/// ```
/// use core::task::{Poll, ready};
/// use heapless::Vec;
/// use netpoll::net::TcpStream;
/// use netpoll::{Context, Error, Handler, Outbox};
///
/// struct Shared { uplink: Outbox<Vec<u8, 64>, 16> }
///
/// enum App { Uplink(TcpStream), Meter(u8) }
///
/// impl Handler for App {
///     type Shared = Shared;
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         match self {
///             App::Uplink(stream) => {
///                 ready!(Outbox::drain(cx, |shared| &mut shared.uplink, stream))?;
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
    /// How much of the first message is out.
    sent: usize,
    writer: Option<HandlerId>,
    waiting: Deque<HandlerId, WAITING>,
    /// Others wait, and nobody knows who.
    crowded: bool,
}

impl<T, const N: usize, const WAITING: usize> Outbox<T, N, WAITING> {
    /// An empty queue that nobody writes yet. What is pushed before somebody does is kept for him.
    pub const fn new() -> Self {
        Outbox { messages: Deque::new(), sent: 0, writer: None, waiting: Deque::new(), crowded: false }
    }

    /// How many messages are not yet, or not wholly, sent.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The next message is sent from its first byte on: the stream is a new one, and what the old one took of it is no use there.
    ///
    /// A new writer does so by itself. The message that a connection died with may arrive twice; none is lost here.
    pub fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Waits until a message would find room.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the writer has ended.
    pub fn poll_room<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self) -> Poll<Result<(), Error>> {
        Self::writer(cx, &at)?;
        let id = cx.id();
        let outbox = at(cx.shared());
        if !outbox.messages.is_full() {
            return Poll::Ready(Ok(()));
        }
        if !outbox.waiting.iter().any(|waiting| *waiting == id) {
            outbox.crowded |= outbox.waiting.push_back(id).is_err();
        }
        // The writer may end, and will then tell nobody: to be asked again when a place is freed.
        cx.io.run_when_freed();
        Poll::Pending
    }

    /// Leaves a message for the writer, who is run in the next round.
    ///
    /// # Errors
    ///
    /// With the message: [`Error::Full`], after which it is [`poll_room`](Outbox::poll_room) that waits; [`Error::Closed`] when the writer
    /// has ended.
    pub fn push<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self, message: T) -> Result<(), Rejected<T>> {
        let writer = match Self::writer(cx, &at) {
            Ok(writer) => writer,
            Err(error) => return Err(Rejected::new(message, error)),
        };
        at(cx.shared()).messages.push_back(message).map_err(|message| Rejected::new(message, Error::Full))?;
        if let Some(writer) = writer {
            let _ = cx.notify(writer);
        }
        Ok(())
    }

    /// Throws away what is not sent, and runs who waits for room.
    pub fn clear<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self) {
        let outbox = at(cx.shared());
        outbox.messages.clear();
        outbox.sent = 0;
        while Self::admit(cx, &at) {}
    }

    /// The handler that writes, if there is one yet and it has not ended.
    fn writer<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self) -> Result<Option<HandlerId>, Error> {
        let writer = at(cx.shared()).writer;
        match writer {
            Some(writer) => cx.handlers.roster().find(writer).map(|_| Some(writer)),
            None => Ok(None),
        }
    }

    /// Runs the handler that has waited longest for room; whether there was one.
    fn admit<H: Handler>(cx: &mut Context<'_, H>, at: impl Fn(&mut H::Shared) -> &mut Self) -> bool {
        while let Some(waiting) = at(cx.shared()).waiting.pop_front() {
            if cx.notify(waiting).is_ok() {
                return true;
            }
        }
        if core::mem::take(&mut at(cx.shared()).crowded) {
            cx.notify_all();
        }
        false
    }
}

impl<T: AsRef<[u8]>, const N: usize, const WAITING: usize> Outbox<T, N, WAITING> {
    /// Sends what is there; ready when all of it is sent. Who calls this is the writer, and is run when there is more.
    ///
    /// # Errors
    ///
    /// As [`Writer::write_all`]; what is not sent stays, and the next call goes on in the middle of its message: after
    /// [`Error::TimedOut`] that is as it should be, on a new connection see [`rewind`](Outbox::rewind).
    pub fn drain<H: Handler>(
        cx: &mut Context<'_, H>,
        at: impl Fn(&mut H::Shared) -> &mut Self,
        stream: &impl Writer,
    ) -> Poll<Result<(), Error>> {
        let id = cx.id();
        let outbox = at(cx.shared());
        if outbox.writer.replace(id) != Some(id) {
            outbox.sent = 0;
        }
        loop {
            let (io, shared) = cx.split();
            let outbox = at(shared);
            let Some(message) = outbox.messages.front() else {
                io.run().marks.set(Marks::WAITED);
                // Those who had their turn need not have used it, and no message is left to go out and make room for the others.
                while Self::admit(cx, &at) {}
                return Poll::Ready(Ok(()));
            };
            ready!(stream.write_all(io, message.as_ref(), &mut outbox.sent))?;
            outbox.messages.pop_front();
            outbox.sent = 0;
            Self::admit(cx, &at);
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
            .field("sent", &self.sent)
            .field("writer", &self.writer)
            .field("waiting", &self.waiting)
            .finish()
    }
}
