//! A connection of the server: each line is answered by the same line backwards.

use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::net::TcpStream;
use netpoll::{Context, Errno, Error};

use crate::journal::Journal;
use crate::server::Task;

/// The longest line, with its end.
pub const LINE: usize = 256;

/// Makes the file of whoever sends this line a stale registration.
pub const LOSE: &[u8] = b"!lose";

/// How long a connection may take.
#[derive(Clone, Copy)]
pub struct Deadlines {
    /// To begin a request.
    pub idle: Duration,
    /// From a request's first byte to its last; if `None`, `idle` starts anew with each arrival.
    pub request: Option<Duration>,
    /// To take an answer.
    pub write: Duration,
}

pub struct Client {
    stream: TcpStream,
    journal: Arc<Journal>,
    deadlines: Deadlines,
    line: [u8; LINE],
    len: usize,
    answer: [u8; LINE],
    answer_len: usize,
    sent: usize,
    /// Of the polite client's request.
    number: Option<u64>,
    /// The read deadline is that of what it waits for.
    guarded: bool,
    heard: bool,
    runs: u64,
}

/// How often each direction's call answered in this run.
#[derive(Default)]
struct Calls {
    reads: u64,
    writes: u64,
}

impl Client {
    pub fn new(stream: TcpStream, journal: Arc<Journal>, deadlines: Deadlines) -> Client {
        journal.clients.add();
        Client {
            stream,
            journal,
            deadlines,
            line: [0; LINE],
            len: 0,
            answer: [0; LINE],
            answer_len: 0,
            sent: 0,
            number: None,
            guarded: false,
            heard: false,
            runs: 0,
        }
    }

    pub fn on_ready(&mut self, cx: &mut Context<'_, Task>) -> Poll<Result<(), Error>> {
        self.runs += 1;
        let mut calls = Calls::default();
        let answer = self.serve(cx, &mut calls);
        self.journal.most_calls.raise_to(calls.reads.max(calls.writes));
        if !self.heard {
            self.journal.most_silent_runs.raise_to(self.runs);
        }
        answer
    }

    fn serve(&mut self, cx: &mut Context<'_, Task>, calls: &mut Calls) -> Poll<Result<(), Error>> {
        loop {
            if self.sent < self.answer_len {
                self.sent += ready!(self.stream.write(cx, &self.answer[self.sent..self.answer_len]))?;
                calls.writes += 1;
                if self.sent == self.answer_len {
                    self.count();
                }
            } else if let Some(end) = self.line[..self.len].iter().position(|&byte| byte == b'\n') {
                if self.line.starts_with(LOSE) {
                    return Poll::Ready(self.lose(cx));
                }
                self.compose(end);
                self.stream.set_write_timeout(cx, Some(self.deadlines.write))?;
                self.guarded = false;
            } else if self.len == LINE {
                self.journal.overlong.add();
                return Poll::Ready(Ok(()));
            } else {
                let n = ready!(self.read(cx))?;
                calls.reads += 1;
                if n == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_, Task>) -> Poll<Result<usize, Error>> {
        if !self.guarded {
            let Deadlines { idle, request, .. } = self.deadlines;
            let within = if self.len > 0 { request.unwrap_or(idle) } else { idle };
            self.stream.set_read_timeout(cx, Some(within))?;
            self.guarded = true;
        }
        let n = ready!(self.stream.read(cx, &mut self.line[self.len..]))?;
        // The time of a request begins with its first byte, the idle time anew with each arrival.
        self.guarded = self.len > 0 && self.deadlines.request.is_some();
        self.len += n;
        self.heard |= n > 0;
        Poll::Ready(Ok(n))
    }

    /// Turns the first line into its answer.
    fn compose(&mut self, end: usize) {
        self.answer[..end].copy_from_slice(&self.line[..end]);
        self.answer[..end].reverse();
        self.answer[end] = b'\n';
        (self.answer_len, self.sent) = (end + 1, 0);
        self.number = polite_number(&self.line[..end]);
        self.line.copy_within(end + 1..self.len, 0);
        self.len -= end + 1;
    }

    fn count(&mut self) {
        self.journal.answered.add();
        if let Some(number) = self.number.take() {
            self.journal.polite_answered.raise_to(number);
        }
    }

    /// The descriptor's number becomes another file's, while the socket and so its registration live on.
    fn lose(&self, cx: &mut Context<'_, Task>) -> Result<(), Error> {
        let fd = cx.fd(self.stream.token())?;
        let kept = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
        let other = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        // SAFETY: both are open, and the number goes on being the reactor's own to close.
        let replaced = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&other), std::os::fd::AsRawFd::as_raw_fd(&fd)) };
        assert_ne!(replaced, -1);
        self.journal.kept.lock().unwrap().push(kept);
        Ok(())
    }

    pub fn on_error(&self, error: Error) {
        let journal = &self.journal;
        match error {
            Error::TimedOut if self.sent < self.answer_len => journal.write_cut.add(),
            Error::TimedOut if self.len > 0 => journal.request_cut.add(),
            Error::TimedOut => journal.idle_cut.add(),
            Error::Os(Errno::CONNRESET | Errno::PIPE) => journal.reset.add(),
            Error::Os(Errno::TIMEDOUT) => journal.vanished.add(),
            error => journal.complain(format!("a connection ended: {error}")),
        }
    }
}

/// The number in a line of the polite client's.
fn polite_number(line: &[u8]) -> Option<u64> {
    let line = line.strip_prefix(crate::polite::PREFIX)?;
    let digits = line.split(|&byte| byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Drop for Client {
    fn drop(&mut self) {
        self.journal.clients.sub();
    }
}
