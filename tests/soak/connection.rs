//! One end of a connection: sends its tape, checks the peer's, and comes to the end that it has planned, or that others prepare for it.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::net::{Shutdown, TcpStream, UnixStream};
use netpoll::{Context, Direction, Errno, Error, HandlerId, Instant, Io, OwnedFd, Token};

use crate::handlers::Task;
use crate::journal::{ACCEPTED, DIALLED, EVERYBODY, Fate, Journal, Link, Report, Rng, Tape};

const LONG_AGO: Option<Instant> = Some(Instant::from_nanos(1));

/// The kinds of streams.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same on each kind.
macro_rules! on {
    ($stream:expr, $kind:ident => $act:expr) => {
        match $stream {
            Stream::Tcp($kind) => $act,
            Stream::Unix($kind) => $act,
        }
    };
}

impl Stream {
    pub fn token(&self) -> Token {
        on!(self, stream => stream.token())
    }

    fn read(&self, io: &mut Io<'_>, buf: &mut [u8], rng: &mut Rng) -> Poll<Result<usize, Error>> {
        on!(self, stream => match rng.below(8) {
            0 if buf.len() > 1 => {
                let (first, second) = buf.split_at_mut(1);
                stream.read_vectored(io, &mut [IoSliceMut::new(first), IoSliceMut::new(second)])
            }
            1 => {
                let n = ready!(stream.peek(io, buf))?;
                stream.read(io, &mut buf[..n])
            }
            _ => stream.read(io, buf),
        })
    }

    /// Writes some of `buf`, and says how much, also if it fails.
    fn write(&self, io: &mut Io<'_>, buf: &[u8], sent: &mut usize, rng: &mut Rng) -> Poll<Result<(), Error>> {
        let some = on!(self, stream => match rng.below(8) {
            0 => {
                let (first, second) = buf.split_at(buf.len() / 2);
                stream.write_vectored(io, &[IoSlice::new(first), IoSlice::new(second)])
            }
            1 | 2 => return stream.write_all(io, buf, sent),
            _ => stream.write(io, buf),
        });
        some.map_ok(|n| *sent += n)
    }

    fn shutdown(&self, io: &mut Io<'_>, how: Shutdown) -> Result<(), Error> {
        on!(self, stream => stream.shutdown(io, how))
    }

    fn reset_on_close(&self, io: &mut Io<'_>) -> Result<(), Error> {
        match self {
            Stream::Tcp(stream) => stream.set_reset_on_close(io, true),
            // There is no such thing.
            Stream::Unix(_) => Ok(()),
        }
    }
}

/// What an end means to do when it has sent and received so much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plan {
    /// Sends all, half-closes, reads to the end.
    Complete,
    /// Closes the descriptor, and lives on for a while.
    Close,
    Reset,
    Drop,
    EndItself,
    /// Half-closes before all is sent.
    StopShort,
    /// Sends no more, and does not say so.
    FallSilent,
    /// Receives no more.
    GoDeaf,
}

pub struct End {
    journal: Arc<Journal>,
    stream: Stream,
    side: usize,
    /// Unknown to who accepts until the peer has said its name.
    link: Option<Arc<Link>>,
    rng: Rng,
    connecting: bool,
    /// Which handler it belongs to.
    owner: Option<HandlerId>,
    plan: Plan,
    /// How much is sent and received before the plan.
    until: u64,
    goal: u64,
    sent: u64,
    received: u64,
    peer_name: ([u8; 8], usize),
    /// No more is sent, no more is received.
    half_closed: bool,
    end: bool,
    deaf: bool,
    silent: bool,
    broken: bool,
    /// How long it waits for data, and for room.
    patience: [Option<Duration>; 2],
    paused: [Option<Instant>; 2],
    /// What it is doing: who fails while reading has failed by reading.
    doing: Direction,
    calls: u32,
    closed: bool,
    /// What it has closed, as far as the handler is concerned.
    kept: Option<OwnedFd>,
    reported: bool,
    /// How it ends when it is dropped.
    last: Fate,
}

impl End {
    fn new(journal: Arc<Journal>, stream: Stream, side: usize, seed: u64) -> End {
        journal.is_born(side);
        End {
            journal,
            stream,
            side,
            link: None,
            rng: Rng::new(seed),
            connecting: false,
            owner: None,
            plan: Plan::Complete,
            until: 0,
            goal: 0,
            sent: 0,
            received: 0,
            peer_name: ([0; 8], 0),
            half_closed: false,
            end: false,
            deaf: false,
            silent: false,
            broken: false,
            patience: [Some(Duration::from_secs(3)), None],
            paused: [None; 2],
            doing: Direction::Read,
            calls: 0,
            closed: false,
            kept: None,
            reported: false,
            last: Fate::EndedByAnother,
        }
    }

    pub fn dialled(journal: Arc<Journal>, stream: Stream, link: Arc<Link>, seed: u64) -> End {
        let mut end = End::new(journal, stream, DIALLED, seed);
        end.connecting = matches!(end.stream, Stream::Tcp(_));
        end.take(link);
        end
    }

    pub fn accepted(journal: Arc<Journal>, stream: Stream, seed: u64) -> End {
        End::new(journal, stream, ACCEPTED, seed)
    }

    /// It knows which connection it is.
    fn take(&mut self, link: Arc<Link>) {
        let rng = &mut self.rng;
        self.goal = link.goals[self.side];
        if link.exact {
            // Impatient writers go on where they were.
            self.patience = [None, rng.chance(300).then(|| rng.millis(1, 6))];
        } else {
            use Plan::{Close, Complete, Drop, EndItself, FallSilent, GoDeaf, Reset, StopShort};
            const PLANS: [Plan; 12] =
                [Complete, Complete, Complete, Complete, Close, Reset, Drop, EndItself, StopShort, FallSilent, FallSilent, GoDeaf];
            self.plan = PLANS[rng.below(PLANS.len() as u64) as usize];
            let share = rng.size(6);
            self.until = rng.below(1 + (link.goals[0] + link.goals[1]) / share);
            self.patience = [Some(rng.millis(100, 600)), Some(rng.millis(20, 300))];
        }
        self.link = Some(link);
    }

    pub fn token(&self) -> Token {
        self.stream.token()
    }

    pub fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    fn is_exact(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.exact)
    }

    /// Whether it is to be given to another handler now.
    pub fn wants_to_be_given(&mut self) -> bool {
        self.owner.is_some() && !self.closed && !self.connecting && self.rng.chance(10)
    }

    pub fn run(&mut self, cx: &mut Context<'_, Task>) -> Poll<Result<(), Error>> {
        let suspect = self.journal.suspect.load(Relaxed);
        if suspect == EVERYBODY || self.link.as_ref().is_some_and(|link| link.id == suspect) {
            eprintln!("soak: {:?} {self:?}", cx.id());
        }
        if self.closed {
            // What it has closed is closed; it lives until its timer has passed.
            assert_eq!(self.stream.read(cx, &mut [0; 8], &mut self.rng), Poll::Ready(Err(Error::Closed)));
            assert!(self.stream.shutdown(cx, Shutdown::Write) == Err(Error::Closed));
            return cx.poll_timer().map(Ok);
        }
        let former = self.owner.replace(cx.id());
        if former != self.owner {
            self.register();
        }
        if former.is_none() {
            self.be_patient(cx, Direction::Read)?;
        }
        if self.connecting {
            let Stream::Tcp(stream) = &self.stream else { unreachable!() };
            self.doing = Direction::Write;
            ready!(stream.poll_connected(cx))?;
            self.connecting = false;
        }
        if self.plan != Plan::Complete && self.sent + self.received >= self.until && self.carry_out(cx)? {
            return if self.closed { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        self.digress(cx)?;
        self.calls = self.rng.size(5) as u32;
        let first = if self.rng.chance(500) { Direction::Read } else { Direction::Write };
        self.go_on(cx, first)?;
        self.go_on(cx, if first == Direction::Read { Direction::Write } else { Direction::Read })?;
        if (self.half_closed || self.silent) && (self.end || self.deaf) {
            self.report(if self.is_exact() { Fate::FinishedExactly } else { Fate::Finished });
            return Poll::Ready(Ok(()));
        }
        if let Some(at) = self.paused.into_iter().flatten().min() {
            cx.set_timer(Some(at));
        }
        Poll::Pending
    }

    /// Others may end it, or notify it for nothing, unless nothing may go wrong.
    fn register(&self) {
        const VICTIMS: usize = 64;
        let (Some(link), Some(owner)) = (&self.link, self.owner) else { return };
        let mut victims = self.journal.victims.lock().unwrap();
        if link.exact {
        } else if victims.len() < VICTIMS {
            victims.push(owner);
        } else {
            victims[link.id as usize % VICTIMS] = owner;
        }
    }

    /// Does what it has planned; says whether that was its end.
    fn carry_out(&mut self, cx: &mut Context<'_, Task>) -> Result<bool, Error> {
        match std::mem::replace(&mut self.plan, Plan::Complete) {
            Plan::Complete => return Ok(false),
            Plan::Close => {
                // Open for a while, and of no concern to the reactor.
                self.kept = Some(cx.close(self.stream.token())?).filter(|_| self.rng.chance(500));
                self.closed = true;
                self.report(Fate::ClosedEarly);
                cx.set_timer_after(self.rng.millis(1, 5));
            }
            Plan::Reset => {
                self.stream.reset_on_close(cx)?;
                self.report(Fate::Reset);
            }
            Plan::Drop => self.report(Fate::Dropped),
            Plan::EndItself => {
                cx.end(cx.id())?;
                // What a handler says that has ended itself does not matter.
                self.last = Fate::EndedItself;
                cx.yield_now();
                self.closed = true;
            }
            Plan::StopShort => {
                self.goal = self.sent;
                self.journal.count(Fate::StoppedShort);
                return Ok(false);
            }
            Plan::FallSilent => {
                self.silent = true;
                self.journal.count(Fate::FellSilent);
                return Ok(false);
            }
            Plan::GoDeaf => {
                self.stream.shutdown(cx, Shutdown::Read)?;
                self.deaf = true;
                self.journal.count(Fate::WentDeaf);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What may happen to everybody, and must not do harm.
    fn digress(&mut self, cx: &mut Context<'_, Task>) -> Result<(), Error> {
        let now = cx.now();
        for (direction, paused) in [Direction::Read, Direction::Write].into_iter().zip(0..) {
            if self.paused[paused].is_some_and(|until| until <= now) {
                self.paused[paused] = None;
                self.be_patient(cx, direction)?;
            }
            if self.rng.chance(15) {
                self.paused[paused] = Some(now + Duration::from_millis(self.rng.size(8)));
                self.journal.count(Fate::Paused);
            }
        }
        if self.rng.chance(20) {
            cx.yield_now();
            self.journal.count(Fate::Yielded);
        }
        if self.rng.chance(20) {
            // A deadline in the past wins over whatever is there, and leaves it there.
            let mut byte = [0];
            self.stream_deadline(cx, Direction::Read, LONG_AGO)?;
            assert_eq!(self.stream.read(cx, &mut byte, &mut self.rng), Poll::Ready(Err(Error::TimedOut)));
            self.be_patient(cx, Direction::Read)?;
            self.stream_deadline(cx, Direction::Write, LONG_AGO)?;
            assert_eq!(self.stream.write(cx, &byte, &mut 0, &mut self.rng), Poll::Ready(Err(Error::TimedOut)));
            self.be_patient(cx, Direction::Write)?;
            self.journal.count(Fate::PastDeadline);
        }
        Ok(())
    }

    fn stream_deadline(&self, io: &mut Io<'_>, direction: Direction, at: Option<Instant>) -> Result<(), Error> {
        io.set_deadline(self.stream.token(), direction, at)
    }

    /// Pushes a deadline out.
    fn be_patient(&self, io: &mut Io<'_>, direction: Direction) -> Result<(), Error> {
        io.set_timeout(self.stream.token(), direction, self.patience[usize::from(direction == Direction::Write)])
    }

    /// Sends or receives as much as it can, or wants to in this run.
    fn go_on(&mut self, cx: &mut Context<'_, Task>, direction: Direction) -> Result<(), Error> {
        self.doing = direction;
        let sends = direction == Direction::Write;
        let has_nothing_to_do = if sends { self.silent || self.link.is_none() } else { self.deaf };
        if has_nothing_to_do || self.paused[usize::from(sends)].is_some() {
            return Ok(());
        }
        for _ in 0..self.calls {
            match if sends { self.send(cx) } else { self.receive(cx) } {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) | Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        // It stops early, and nothing is lost by that.
        cx.yield_now();
        Ok(())
    }

    /// Says whether there is more to be done.
    fn send(&mut self, cx: &mut Context<'_, Task>) -> Poll<Result<bool, Error>> {
        let Some(link) = self.link.clone() else { return Poll::Pending };
        if self.half_closed {
            return Poll::Ready(Ok(false));
        }
        if self.sent == self.goal {
            self.stream.shutdown(cx, Shutdown::Write)?;
            self.half_closed = true;
            self.journal.count(if self.end { Fate::HalfClosedSecond } else { Fate::HalfClosedFirst });
            return Poll::Ready(Ok(false));
        }
        let tape = Tape::of(link.id, self.side);
        let len = self.rng.size(14).min(self.goal - self.sent);
        let mut sent = 0;
        let answer = self.stream.write(cx, tape.at(self.sent, len as usize), &mut sent, &mut self.rng);
        if sent > 0 {
            self.sent += sent as u64;
            self.journal.moved(Some(&link), sent);
        }
        match ready!(answer) {
            Err(Error::TimedOut) if link.exact => self.journal.count(Fate::WriteTriedAgain),
            answer => answer?,
        }
        self.be_patient(cx, Direction::Write)?;
        Poll::Ready(Ok(true))
    }

    /// Says whether there may be more.
    fn receive(&mut self, cx: &mut Context<'_, Task>) -> Poll<Result<bool, Error>> {
        if self.end {
            return Poll::Ready(Ok(false));
        }
        let mut buf = [0; 8192];
        let (name, filled) = &mut self.peer_name;
        let n = if *filled < name.len() {
            let n = ready!(self.stream.read(cx, &mut name[*filled..], &mut self.rng))?;
            *filled += n;
            n
        } else {
            let len = self.rng.size(13) as usize;
            let n = ready!(self.stream.read(cx, &mut buf[..len], &mut self.rng))?;
            if let Some(link) = self.link.as_ref().filter(|link| !Tape::of(link.id, 1 - self.side).is(self.received, &buf[..n])) {
                self.journal.fail(format!("{} bytes from {} on are not the peer's: {link:?}, {self:?}", n, self.received));
            }
            n
        };
        if n == 0 {
            self.end = true;
            if self.link.is_none() {
                return Poll::Ready(Err(Error::Os(Errno::NOTCONN)));
            }
            return Poll::Ready(Ok(false));
        }
        self.received += n as u64;
        if self.peer_name.1 == self.peer_name.0.len() && self.received == 8 {
            self.know_peer()?;
            // Whoever had nothing to send because of that has something now.
            cx.yield_now();
        }
        self.journal.moved(self.link.as_deref(), n);
        self.be_patient(cx, Direction::Read)?;
        Poll::Ready(Ok(true))
    }

    /// The peer has said its name.
    fn know_peer(&mut self) -> Result<(), Error> {
        let (id, side) = Tape::read_name(self.peer_name.0);
        let expected = self.link.as_ref().is_none_or(|link| link.id == id);
        if side == self.side || !expected {
            self.journal.fail(format!("connection {id} from {side}: {self:?}"));
        }
        if self.side == ACCEPTED {
            let Some(link) = self.journal.meet(id) else { return Err(Error::Os(Errno::INVAL)) };
            self.take(link);
            self.register();
        }
        Ok(())
    }

    /// It failed.
    pub fn failed(&mut self, error: Error) {
        let fate = match error {
            _ if self.link.is_none() => Fate::Nameless,
            Error::TimedOut if self.doing == Direction::Read => Fate::ReadTimedOut,
            Error::TimedOut => Fate::WriteTimedOut,
            Error::Os(Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN) => {
                self.broken = true;
                Fate::BrokenByPeer
            }
            _ => return self.journal.fail(format!("{error}: {self:?}")),
        };
        self.report(fate);
    }

    fn report(&mut self, fate: Fate) {
        if std::mem::replace(&mut self.reported, true) {
            return;
        }
        let Some(link) = &self.link else { return self.journal.count(fate) };
        let &mut End { sent, received, end, broken, .. } = self;
        let link = Arc::clone(link);
        self.journal.report(&link, self.side, Report { fate, sent, received, end, broken });
    }
}

/// Without what all of them have in common.
impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let End { stream, side, link, plan, until, goal, sent, received, half_closed, end, deaf, silent, patience, paused, .. } = self;
        write!(f, "{stream:?}, side {side} of {link:?}: {plan:?} from {until} on, {sent} of {goal} sent, {received} received, ")?;
        write!(f, "half-closed {half_closed}, end {end}, deaf {deaf}, silent {silent}, patience {patience:?}, paused {paused:?}")
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.report(self.last);
        self.journal.is_gone(self.side);
    }
}
