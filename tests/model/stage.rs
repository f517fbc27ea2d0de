//! The real reactor on the real epoll, playing what the model expects.

use std::cell::Cell;
use std::io::{Read, Write};
use std::num::NonZeroU8;
use std::os::unix::net::UnixStream;
use std::task::Poll;

use netpoll::{
    Clock, Context, Direction, Errno, Error, Handler, HandlerId, Instant, Interest, OwnedFd, Reactor, ReactorStorage, Timeout, Token,
};

use super::diagram::Taken;
use super::explore::{Reached, fold};
use super::play::{BUDGET, Play};
use super::script::{self, Bytes, Does, Event, Ran};

/// More than a socket takes.
static FLOOD: [u8; 1 << 16] = [0; 1 << 16];

/// What only counts, or is another number each time.
const FORGOTTEN: &[&str] = &[
    "fd",
    "generation",
    "run",
    "rounds",
    "spawned_in",
    "wakes",
    "wakes_seen",
    "polls",
    "events",
    "stale_events",
    "deadlines",
    "parked_handlers",
];

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

fn now() -> Instant {
    Instant::from_nanos(NOW.get())
}

/// What the handlers share.
#[derive(Debug, Default)]
struct Shared {
    does: [Option<Does>; 2],
    ids: [Option<HandlerId>; 2],
    tokens: [Option<Token>; 2],
    ran: Vec<Ran>,
}

#[derive(Debug)]
struct Actor {
    who: usize,
    /// What it opens first of all.
    end: Option<OwnedFd>,
}

type Answer = Option<Result<(), Error>>;

impl Handler for Actor {
    type Shared = Shared;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let who = self.who;
        if let Some(end) = self.end.take() {
            cx.shared().tokens[who] = Some(cx.open(end, Interest::default()).map_err(|rejected| rejected.error)?);
            return Poll::Pending;
        }
        let does = cx.shared().does[who].unwrap_or(Does::Nothing);
        let mut bytes = Bytes::None;
        let answer = act(cx, who, does, &mut bytes);
        if answer.is_some() {
            cx.shared().does[who] = None;
        }
        cx.shared().ran.push(Ran { who, bytes, answer });
        if does == Does::End { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

fn act(cx: &mut Context<'_, Actor>, who: usize, does: Does, bytes: &mut Bytes) -> Answer {
    let tokens = cx.shared().tokens.map(|token| token.expect("opened"));
    let other = cx.shared().ids[1 - who].expect("spawned");
    let ahead = cx.now() + std::time::Duration::from_nanos(1);
    match does {
        Does::Nothing | Does::End => Some(Ok(())),
        Does::ReadOnce(of) => read(cx, tokens[of], bytes, 1),
        Does::ReadAll(of) => read(cx, tokens[of], bytes, usize::MAX),
        Does::WriteAll(of) => write(cx, tokens[of], bytes),
        Does::Close(of) => Some(cx.close(tokens[of]).map(drop)),
        Does::Give(of) => Some(cx.give(tokens[of], other)),
        Does::Unwait(of) => Some(cx.unwait(tokens[of], Direction::Read)),
        Does::SetDeadline(of) => Some(cx.set_deadline(tokens[of], Direction::Read, Some(ahead))),
        Does::SetPastDeadline(of) => {
            let past = cx.now();
            Some(cx.set_deadline(tokens[of], Direction::Read, Some(past)))
        }
        Does::ClearDeadline(of) => Some(cx.set_deadline(tokens[of], Direction::Read, None)),
        Does::SetTimer => {
            cx.set_timer(Some(ahead));
            Some(Ok(()))
        }
        Does::AskTimer => asked(cx.poll_timer()),
        Does::AskWake => asked(cx.poll_wake()),
        Does::AskNotified => asked(cx.poll_notified()),
        Does::Yield => {
            cx.yield_now();
            Some(Ok(()))
        }
        Does::NotifyOther => Some(cx.notify(other)),
        Does::EndOther => Some(cx.end(other)),
    }
}

fn asked(answer: Poll<()>) -> Answer {
    if answer.is_ready() { Some(Ok(())) } else { None }
}

/// Byte by byte.
fn read(cx: &mut Context<'_, Actor>, token: Token, bytes: &mut Bytes, times: usize) -> Answer {
    let mut read = Vec::new();
    let mut answer = Some(Ok(()));
    for _ in 0..times {
        let mut byte = [0];
        match cx.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut byte)) {
            Poll::Ready(Ok(0)) => break,
            Poll::Ready(Ok(_)) => read.push(byte[0]),
            Poll::Ready(Err(error)) => {
                answer = Some(Err(error));
                break;
            }
            Poll::Pending => {
                answer = None;
                break;
            }
        }
    }
    if !read.is_empty() {
        *bytes = Bytes::Read(read);
    }
    answer
}

fn write(cx: &mut Context<'_, Actor>, token: Token, bytes: &mut Bytes) -> Answer {
    loop {
        match cx.poll_io(token, Direction::Write, |fd| rustix::io::write(fd, &FLOOD)) {
            Poll::Ready(Ok(0)) => return Some(Err(Errno::INVAL.into())),
            Poll::Ready(Ok(_)) => *bytes = Bytes::Written,
            Poll::Ready(Err(error)) => return Some(Err(error)),
            Poll::Pending => return None,
        }
    }
}

struct Stage<'s> {
    reactor: Reactor<'s, Actor>,
    shared: Shared,
    far: [Option<UnixStream>; 2],
    play: Play,
}

/// Plays these events on a new stage, and so many may follow.
pub fn replay(events: &[Event], left: usize) -> Result<Reached<Event>, String> {
    NOW.set(1);
    let mut storage = ReactorStorage::<Actor, 2, 2>::new();
    let reactor = Reactor::with_clock(&mut storage, Clock::Custom(now)).unwrap().with_budget(NonZeroU8::new(BUDGET).unwrap());
    let mut stage = Stage { reactor, shared: Shared::default(), far: [None, None], play: Play::new() };
    stage.set();
    for &event in events {
        stage.happen(event)?;
    }
    let next = stage.next(events, left);
    let key = if next.is_empty() { 0 } else { fold(stage.play.key(), &stage.reactor, NOW.get(), FORGOTTEN) };
    // Whatever is to come of it comes.
    for _ in 0..3 {
        stage.turn()?;
        if !stage.play.anybody_ready() {
            break;
        }
    }
    Ok(Reached { key, next, taken: Taken::default() })
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?}; expected: {expected:?}")) }
}

impl Stage<'_> {
    /// Two handlers that have been run once, each with one descriptor.
    fn set(&mut self) {
        for who in [0, 1] {
            let (ours, far) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            far.set_nonblocking(true).unwrap();
            rustix::net::sockopt::set_socket_send_buffer_size(&ours, 0).unwrap();
            self.far[who] = Some(far);
            let id = self.reactor.spawn(Actor { who, end: Some(ours.into()) }).unwrap();
            self.shared.ids[who] = Some(id);
        }
        self.reactor.run_once(Timeout::Now, &mut self.shared).unwrap();
        assert!(self.shared.tokens.iter().all(Option::is_some), "the kernel refused a descriptor");
        self.play.parked = self.reactor.stats().parked_handlers;
    }

    /// The last event is not one without which everything would be the same: turns come by themselves.
    fn next(&self, events: &[Event], left: usize) -> Vec<Event> {
        let ends = |event| matches!(event, Event::Turn | Event::Tell(..));
        let can = |event: &Event| left > 0 && event.follows(events) && self.play.can(*event) && !(left == 1 && ends(*event));
        script::all().into_iter().filter(can).collect()
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tell(who, does) => self.tell(who, does),
            Event::Order(who, does) => {
                self.tell(who, does);
                self.notify(who)?;
            }
            Event::FarWrites(of) => {
                let byte = self.play.far_writes(of);
                self.far[of].as_ref().unwrap().write_all(&[byte]).unwrap();
            }
            Event::FarReads(of) => self.far_reads(of)?,
            Event::FarCloses(of) => {
                self.far_reads(of)?;
                self.play.far_closes(of);
                self.far[of] = None;
            }
            Event::Tick => {
                self.play.now += 1;
                NOW.set(self.play.now);
            }
            Event::Wake => {
                self.play.wake();
                same("wake", self.reactor.breaker().wake(), Ok(()))?;
            }
            Event::Notify(who) => self.notify(who)?,
            Event::End(who) => same("end", self.reactor.end(self.shared.ids[who].unwrap()), self.play.end(who))?,
            Event::Spawn(who) => self.spawn(who)?,
            Event::Turn => self.turn()?,
        }
        self.check()
    }

    fn tell(&mut self, who: usize, does: Does) {
        self.shared.does[who] = Some(does);
        self.play.tell(who, does);
    }

    fn notify(&mut self, who: usize) -> Result<(), String> {
        same("notify", self.reactor.notify(self.shared.ids[who].unwrap()), self.play.notify(who))
    }

    fn spawn(&mut self, who: usize) -> Result<(), String> {
        self.play.spawn(who);
        self.shared.does[who] = None;
        let id = self.reactor.spawn(Actor { who, end: None }).map_err(|_| "there was room")?;
        let old = self.shared.ids[who].replace(id).unwrap();
        same(
            "the id of a handler that has ended",
            (self.reactor.notify(old), self.reactor.end(old)),
            (Err(Error::Closed), Err(Error::Closed)),
        )
    }

    fn far_reads(&mut self, of: usize) -> Result<(), String> {
        let mut far = self.far[of].as_ref().unwrap();
        let mut total = 0;
        let mut bytes = [0; 1 << 16];
        while let Ok(n @ 1..) = far.read(&mut bytes) {
            total += n;
        }
        same("something was written", total > 0, self.play.far_reads(of))
    }

    fn turn(&mut self) -> Result<(), String> {
        self.reactor.run_once(Timeout::Now, &mut self.shared).map_err(|error| error.to_string())?;
        let ran = std::mem::take(&mut self.shared.ran);
        self.play.turn(&ran)
    }

    /// What holds in every state.
    fn check(&mut self) -> Result<(), String> {
        same("handlers", self.reactor.len(), self.play.living())?;
        same("descriptors", self.reactor.descriptors(), self.play.descriptors())?;
        let stats = self.reactor.stats();
        same("handlers that wait for nothing", stats.parked_handlers, self.play.parked)?;
        same("descriptors closed by somebody else, slots that are used up", (stats.lost_descriptors, stats.retired_slots), (0, 0))?;
        let sleeps = self.reactor.next_deadline().is_none_or(|at| at > now());
        if self.play.anybody_ready() && sleeps { Err("a foreign loop would sleep although somebody is ready".to_owned()) } else { Ok(()) }
    }
}
