//! The serial line: half-duplex, one master (this program), one transaction at a time.
//!
//! ```text
//!   Opening ──opened──> Draining ──silence──> Resting ──request──> Sending ──> Listening ──answer, deadline──> Draining
//!      ^ └─error─> Down <──error── any                                └─broadcast─> Turnaround ──timer──> Draining
//!      └───timer────┘
//! ```
//!
//! The handler's timer measures silence; the tty's read deadline is the slave's time to answer.

use crate::app::{Cx, report};
use crate::frame::{self, RtuFrame};
use crate::queue::{Job, Outcome};
use crate::serial::Port;
use core::task::{Poll, ready};
use core::time::Duration;
use heapless::Vec;
use netpoll::Error;
use netpoll::os::{QueueSelector, SerialPort};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_secs(5);

/// What slaves get to digest a broadcast; the specification has 100 to 200 ms.
const TURNAROUND: Duration = Duration::from_millis(100);

/// Room for the longest frame behind as much noise.
const HEARD_MAX: usize = 2 * frame::RTU_MAX;

pub struct Line {
    port: Port,
    response_timeout: Duration,
    state: State,
    backoff: Duration,
    /// None while the line is down.
    tty: Option<SerialPort>,
    /// What is on the line.
    job: Option<Job>,
    output: RtuFrame,
    sent: usize,
    heard: Vec<u8, HEARD_MAX>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Opening,
    Down,
    Draining,
    Resting,
    Sending,
    Listening,
    Turnaround,
}

impl Line {
    pub fn new(port: Port, response_timeout: Duration) -> Line {
        let (output, heard) = (Vec::new(), Vec::new());
        Line { port, response_timeout, state: State::Opening, backoff: BACKOFF_FIRST, tty: None, job: None, output, sent: 0, heard }
    }

    /// Never finished: whatever happens to the line, there is a next state.
    pub fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        loop {
            let next = match self.state {
                State::Opening => self.open(cx),
                State::Down => ready!(self.wait_for_reopening(cx)),
                State::Draining => ready!(self.drain(cx)),
                State::Resting => ready!(self.rest(cx)),
                State::Sending => ready!(self.send(cx)),
                State::Listening => ready!(self.listen(cx)),
                State::Turnaround => ready!(self.turn_around(cx)),
            };
            self.state = next.unwrap_or_else(|error| self.lose(cx, error));
        }
    }

    fn open(&mut self, cx: &mut Cx<'_>) -> Result<State, Error> {
        self.tty = Some(self.port.open()?.open(cx)?);
        cx.shared().counters.line_openings += 1;
        if self.backoff > BACKOFF_FIRST {
            report(format_args!("{}: open again", self.port.name()));
        }
        self.start_draining(cx)
    }

    /// The line is down: what was on it is refused, and it is tried again later.
    fn lose(&mut self, cx: &mut Cx<'_>, error: Error) -> State {
        if let Some(tty) = self.tty.take() {
            let _ = tty.discard(cx, QueueSelector::IOFlush); // else closing it may wait for a wire that is gone
            let _ = tty.close(cx);
        }
        if self.backoff == BACKOFF_FIRST {
            report(format_args!("{}: {error}; trying again", self.port.name()));
        }
        cx.set_timer_after(self.backoff);
        self.backoff = BACKOFF_LAST.min(2 * self.backoff);
        self.settle(cx, Outcome::NoPath);
        State::Down
    }

    fn wait_for_reopening(&mut self, cx: &mut Cx<'_>) -> Poll<Result<State, Error>> {
        while let Some(job) = cx.shared().take() {
            self.job = Some(job);
            self.settle(cx, Outcome::NoPath);
        }
        ready!(cx.poll_timer());
        Poll::Ready(Ok(State::Opening))
    }

    /// Between two frames there must be silence.
    fn start_draining(&mut self, cx: &mut Cx<'_>) -> Result<State, Error> {
        self.begin_pause(cx);
        self.tty()?.set_read_timeout(cx, Some(self.response_timeout))?;
        Ok(State::Draining)
    }

    fn begin_pause(&self, cx: &mut Cx<'_>) {
        match self.port.pause() {
            Duration::ZERO => cx.set_timer(None),
            pause => cx.set_timer_after(pause),
        }
    }

    /// Drops what is said until nobody speaks. If it never ends, some device is broken: it is spoken over.
    fn drain(&mut self, cx: &mut Cx<'_>) -> Poll<Result<State, Error>> {
        loop {
            self.heard.clear();
            match self.hear(cx) {
                Poll::Ready(Ok(noise)) => {
                    cx.shared().counters.noise_bytes += noise as u64;
                    self.begin_pause(cx);
                }
                Poll::Ready(Err(Error::TimedOut)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.port.pause().is_zero() => break,
                Poll::Pending => {
                    ready!(cx.poll_timer());
                    break;
                }
            }
        }
        cx.set_timer(None);
        self.tty()?.set_read_deadline(cx, None)?;
        Poll::Ready(Ok(State::Resting))
    }

    /// Takes the next request. Listens meanwhile, to notice at once when the line is unplugged.
    fn rest(&mut self, cx: &mut Cx<'_>) -> Poll<Result<State, Error>> {
        if let Some(job) = cx.shared().take() {
            self.output = frame::rtu_frame(job.unit, &job.request);
            self.sent = 0;
            self.job = Some(job);
            let limit = self.port.time_of(self.output.len()) + self.response_timeout;
            self.tty()?.set_write_timeout(cx, Some(limit))?;
            return Poll::Ready(Ok(State::Sending));
        }
        let noise = ready!(self.hear(cx))?;
        cx.shared().counters.noise_bytes += noise as u64;
        Poll::Ready(self.start_draining(cx))
    }

    fn send(&mut self, cx: &mut Cx<'_>) -> Poll<Result<State, Error>> {
        let Some(tty) = &self.tty else { return Poll::Ready(Err(Error::Closed)) };
        match ready!(tty.write_all(cx, &self.output, &mut self.sent)) {
            Err(Error::TimedOut) => {
                tty.discard(cx, QueueSelector::OFlush)?;
                self.settle(cx, Outcome::NoAnswer);
                return Poll::Ready(self.start_draining(cx));
            }
            sent => sent?,
        }
        let on_wire = self.port.time_of(self.output.len()); // the kernel has the frame, the wire still has to carry it
        if self.job.as_ref().is_some_and(Job::is_broadcast) {
            cx.set_timer_after(on_wire + TURNAROUND);
            self.settle(cx, Outcome::Sent);
            return Poll::Ready(Ok(State::Turnaround));
        }
        self.heard.clear();
        self.tty()?.set_read_timeout(cx, Some(on_wire + self.response_timeout))?;
        Poll::Ready(Ok(State::Listening))
    }

    /// Collects the answer: until its length is reached, or where nothing tells the length until there is silence.
    ///
    /// Silence in a frame of known length does not break it off: USB adapters pause in mid-frame. The deadline does.
    fn listen(&mut self, cx: &mut Cx<'_>) -> Poll<Result<State, Error>> {
        loop {
            let silent = match self.hear(cx) {
                Poll::Ready(Ok(_)) => false,
                Poll::Ready(Err(Error::TimedOut)) => {
                    self.settle(cx, Outcome::NoAnswer);
                    return Poll::Ready(self.start_draining(cx));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(cx.poll_timer());
                    true
                }
            };
            let Some(job) = &self.job else { return Poll::Ready(Ok(State::Resting)) };
            if let Some(answer) = frame::find_response(&self.heard, job.unit, &job.request, silent) {
                let client = cx.shared().settle(job, Outcome::Answer(answer));
                if let Some(client) = client {
                    let _ = cx.notify(client);
                }
                self.job = None;
                self.backoff = BACKOFF_FIRST;
                return Poll::Ready(self.start_draining(cx));
            }
            if !silent {
                cx.set_timer_after(self.port.silence());
            }
        }
    }

    fn turn_around(&mut self, cx: &mut Cx<'_>) -> Poll<Result<State, Error>> {
        ready!(cx.poll_timer());
        Poll::Ready(self.start_draining(cx))
    }

    /// Adds what is said to `heard`.
    fn hear(&mut self, cx: &mut Cx<'_>) -> Poll<Result<usize, Error>> {
        let mut chunk = [0; frame::RTU_MAX];
        let length = ready!(self.tty()?.read(cx, &mut chunk))?;
        if self.heard.len() + length > HEARD_MAX {
            self.heard.clear();
        }
        let _ = self.heard.extend_from_slice(&chunk[..length]);
        Poll::Ready(Ok(length))
    }

    /// Gives the client of the present job its answer.
    fn settle(&mut self, cx: &mut Cx<'_>, outcome: Outcome<'_>) {
        let Some(job) = self.job.take() else { return };
        if let Some(client) = cx.shared().settle(&job, outcome) {
            let _ = cx.notify(client);
        }
    }

    fn tty(&self) -> Result<&SerialPort, Error> {
        self.tty.as_ref().ok_or(Error::Closed)
    }
}
