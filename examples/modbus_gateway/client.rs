//! One TCP client: cuts its stream into requests, queues them, and sends the answers back.

use crate::app::Cx;
use crate::frame::{self, TCP_MAX, TcpFrame};
use core::task::{Poll, ready};
use core::time::Duration;
use heapless::Vec;
use netpoll::Error;
use netpoll::net::TcpStream;

pub struct Client {
    stream: TcpStream,
    seat: usize,
    idle: Duration,
    introduced: bool,
    /// Nothing more is read: the client has closed its side, or sent what is not Modbus.
    deaf: bool,
    input: Vec<u8, TCP_MAX>,
    output: TcpFrame,
    sent: usize,
}

impl Client {
    pub fn new(stream: TcpStream, seat: usize, idle: Duration) -> Client {
        Client { stream, seat, idle, introduced: false, deaf: false, input: Vec::new(), output: Vec::new(), sent: 0 }
    }

    pub fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        let end = ready!(self.serve(cx));
        let queue = cx.shared();
        queue.leave(self.seat);
        queue.counters.clients_broken += u64::from(end.is_err());
        let handlers = queue.handlers;
        for waiting in [handlers.listener, handlers.control].into_iter().flatten() {
            let _ = cx.notify(waiting);
        }
        Poll::Ready(end)
    }

    fn serve(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        if !self.introduced {
            self.introduced = true;
            let id = cx.id();
            cx.shared().introduce(self.seat, id);
            self.stream.set_nodelay(cx, true)?;
            self.stream.set_read_timeout(cx, Some(self.idle))?;
        }
        loop {
            ready!(self.deliver(cx))?;
            if self.queue_requests(cx) {
                continue; // some may be answered already
            }
            let queue = cx.shared();
            if self.deaf || queue.closing {
                if queue.owes(self.seat) {
                    return Poll::Pending; // run again by the line
                }
                return Poll::Ready(Ok(()));
            }
            if !queue.has_room(self.seat) {
                return Poll::Pending; // run again by the line
            }
            ready!(self.read(cx))?;
        }
    }

    /// Sends the answers that have come.
    fn deliver(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        loop {
            if self.sent == self.output.len() {
                let Some(answer) = cx.shared().collect(self.seat) else { return Poll::Ready(Ok(())) };
                self.output = answer;
                self.sent = 0;
                self.stream.set_timeout(cx, Some(self.idle))?; // to read the answer, and to think of the next question
            }
            ready!(self.stream.write_all(cx, &self.output, &mut self.sent))?;
        }
    }

    /// Queues the requests that are complete, as far as there is room; true if there were any.
    fn queue_requests(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut any = false;
        while !self.deaf && cx.shared().has_room(self.seat) {
            let length = match frame::split_tcp(&self.input) {
                Ok(None) => break,
                Ok(Some((request, length))) => {
                    cx.shared().ask(self.seat, request.transaction_id, request.unit_id, request.pdu);
                    length
                }
                Err(_) => {
                    cx.shared().counters.clients_broken += 1;
                    self.deaf = true; // closed when it has got what it asked for before
                    break;
                }
            };
            self.input.rotate_left(length);
            self.input.truncate(self.input.len() - length);
            if let Some(line) = cx.shared().handlers.line {
                let _ = cx.notify(line);
            }
            any = true;
        }
        any
    }

    /// Reads what there is. What begins a request pushes the idle deadline out, as every answer does; what goes on with it does not, or a
    /// client that sends a byte now and then would keep its seat for ever.
    fn read(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        let mut chunk = [0; TCP_MAX];
        let room = TCP_MAX - self.input.len();
        match ready!(self.stream.read(cx, &mut chunk[..room])) {
            Ok(0) => self.deaf = true,
            Ok(length) => {
                if self.input.is_empty() {
                    self.stream.set_read_timeout(cx, Some(self.idle))?;
                }
                let _ = self.input.extend_from_slice(&chunk[..length]);
            }
            Err(Error::TimedOut) if cx.shared().owes(self.seat) => self.stream.set_read_timeout(cx, Some(self.idle))?, // it waits, for us
            Err(Error::TimedOut) => {
                cx.shared().counters.clients_idle += 1;
                self.deaf = true;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
        Poll::Ready(Ok(()))
    }
}
