//! One connection to the broker: packets out of a stream of bytes, and packets into it.

use crate::app::Cx;
use crate::packet::{self, Answer, INPUT_MAX, Output};
use crate::reason::Reason;
use core::task::{Poll, ready};
use core::time::Duration;
use heapless::Vec;
use netpoll::Error;
use netpoll::net::{Shutdown, TcpStream};

pub struct Connection {
    stream: TcpStream,
    /// How long the broker may take to answer, or to take what it is sent.
    timeout: Duration,
    awaited: Option<&'static str>,
    input: Vec<u8, INPUT_MAX>,
    output: Output,
    sent: usize,
}

impl Connection {
    pub fn new(stream: TcpStream, timeout: Duration, cx: &mut Cx<'_>) -> Result<Connection, Reason> {
        stream.set_nodelay(cx, true)?;
        Ok(Connection { stream, timeout, awaited: None, input: Vec::new(), output: Vec::new(), sent: 0 })
    }

    /// What is to be sent next. Only after [`flush`](Connection::flush) has sent what was before.
    pub fn put(&mut self, cx: &mut Cx<'_>, packet: Output) -> Result<(), Reason> {
        self.output = packet;
        self.sent = 0;
        Ok(self.stream.set_write_timeout(cx, Some(self.timeout))?)
    }

    /// Sends the rest of it.
    pub fn flush(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Reason>> {
        self.stream.write_all(cx, &self.output, &mut self.sent).map_err(Reason::from)
    }

    /// From now on this packet is due, or none.
    pub fn await_answer(&mut self, cx: &mut Cx<'_>, packet: Option<&'static str>) -> Result<(), Reason> {
        self.awaited = packet;
        Ok(self.stream.set_read_timeout(cx, packet.map(|_| self.timeout))?)
    }

    pub fn awaits_answer(&self) -> bool {
        self.awaited.is_some()
    }

    /// The next packet.
    pub fn receive(&mut self, cx: &mut Cx<'_>) -> Poll<Result<Answer, Reason>> {
        loop {
            if let Some((answer, length)) = packet::split(&self.input)? {
                self.input.rotate_left(length);
                self.input.truncate(self.input.len() - length);
                return Poll::Ready(Ok(answer));
            }
            let mut chunk = [0; INPUT_MAX];
            let room = INPUT_MAX - self.input.len(); // never 0: no packet is longer than the buffer
            match ready!(self.stream.read(cx, &mut chunk[..room])) {
                Ok(0) => return Poll::Ready(Err(Reason::Closed)),
                Ok(length) => drop(self.input.extend_from_slice(&chunk[..length])),
                Err(Error::TimedOut) => return Poll::Ready(Err(Reason::Missing(self.awaited.unwrap_or("packet")))),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Nothing more will be sent.
    pub fn shut_down(&self, cx: &mut Cx<'_>) {
        let _ = self.stream.shutdown(cx, Shutdown::Write);
    }

    pub fn close(self, cx: &mut Cx<'_>) {
        drop(self.stream.close(cx));
    }
}
