//! What the handlers of a script share: the script, the model, the streams; and what is checked around every call.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

use arbitrary::Unstructured;
use netpoll::{Direction, Errno, Error, Instant, Interest, Io, OwnedFd, Rejected, SharedBreaker, Source, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};
use rustix::io::retry_on_intr;

use crate::model::{Gate, Model, Step, What, Who};
use crate::stream::{Kind, Stream};

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1000) };
}

/// A clock that the script moves.
pub fn clock() -> Instant {
    Instant::from_nanos(NOW.get())
}

pub fn advance(by: u64) {
    NOW.set(NOW.get() + by);
}

/// How often each handler was dropped.
pub type Ledger = Rc<RefCell<Vec<u32>>>;

pub struct World<'d> {
    pub script: Unstructured<'d>,
    pub model: Model,
    pub streams: Vec<Stream>,
    pub ledger: Ledger,
    /// Wakes from within a round.
    pub breaker: Option<SharedBreaker>,
    /// How often the reactor has said in this pass that it is about to wait.
    pub sleeps: u32,
    /// Handlers do nothing but try again what they wait for.
    pub is_quiet: bool,
    /// The next handler stops the loop.
    pub must_stop: bool,
    /// Something that no selector takes.
    null: OwnedFd,
}

impl<'d> World<'d> {
    pub fn new(script: Unstructured<'d>, model: Model) -> World<'d> {
        World {
            script,
            model,
            streams: Vec::new(),
            ledger: Ledger::default(),
            breaker: None,
            sleeps: 0,
            is_quiet: false,
            must_stop: false,
            null: std::fs::File::open("/dev/null").unwrap().into(),
        }
    }

    // ---- The script

    pub fn below(&mut self, limit: usize) -> usize {
        self.script.int_in_range(0..=limit.saturating_sub(1) as u8).unwrap_or(0).into()
    }

    pub fn is_over(&self) -> bool {
        self.script.is_empty()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let index = self.below(all.len());
        all.get(index).copied()
    }

    pub fn size(&mut self) -> usize {
        self.one_of(&[1, 10, 500, 3000, 9000]).unwrap()
    }

    pub fn direction(&mut self) -> Direction {
        self.one_of(&crate::model::DIRECTIONS).unwrap()
    }

    pub fn delay(&mut self) -> u64 {
        self.one_of(&[0, 1, 3, 10, 30, 1000, u64::MAX]).unwrap()
    }

    /// A moment, also in the past; or none.
    pub fn moment(&mut self) -> Option<u64> {
        match self.below(8) {
            0 => None,
            1 => Some(0),
            2 => Some(self.model.now),
            _ => Some(clock().as_nanos().saturating_add(self.delay())),
        }
    }

    /// Any handler that has ever been, rather one of the last.
    pub fn anybody(&mut self) -> Option<Who> {
        let len = self.model.beings.len();
        len.checked_sub(1 + self.below(len.min(12)))
    }

    /// Any descriptor that has ever been, rather one of the last.
    pub fn anything(&mut self) -> Option<What> {
        let len = self.model.descs.len();
        len.checked_sub(1 + self.below(len.min(12)))
    }

    /// A descriptor of this handler.
    pub fn something_of(&mut self, who: Who) -> Option<What> {
        let own: Vec<What> = self.model.own(who).collect();
        self.one_of(&own)
    }

    // ---- Sources

    /// The reactor's end of a new stream; or something that cannot be waited for.
    pub fn near(&mut self) -> Option<Near> {
        let kinds = [Kind::PipeIn, Kind::PipeOut, Kind::Pair, Kind::Pair, Kind::Listener];
        let kind = match self.below(kinds.len() + 1) {
            5 => {
                let fd = self.null.try_clone().unwrap();
                return Some(Near { fd, interest: Interest::READ, stream: usize::MAX });
            }
            kind => kinds[kind],
        };
        let stream = self.streams.len();
        if stream >= 24 {
            return None;
        }
        let (new, fd) = Stream::new(kind, stream);
        let interest = match (kind, self.below(4)) {
            (Kind::Pair, 1) => Interest::READ,
            (Kind::Pair, 2) => Interest::WRITE,
            _ => new.interest(),
        };
        self.streams.push(new);
        Some(Near { fd, interest, stream })
    }

    /// One or two ends.
    pub fn ends(&mut self) -> Option<Ends> {
        let how = self.below(8);
        let mut ends = vec![self.near()?];
        if how >= 5 {
            ends.push(self.near()?);
        }
        Some(Ends { ends, is_tidy: how == 6, opened: Rc::default() })
    }

    /// The answer to an offer of these ends, for a new handler or not.
    pub fn expect_taken(&self, ends: &[RawEnd], with_handler: bool) -> Result<(), Error> {
        if with_handler && !self.model.handler_room() {
            return Err(Error::Full);
        }
        let room = self.model.max_descs - self.model.open();
        for (place, end) in ends.iter().enumerate() {
            if place >= room {
                return Err(Error::Full);
            }
            if end.stream == usize::MAX {
                return Err(Error::NotPollable);
            }
        }
        Ok(())
    }

    pub fn opened(&mut self, who: Who, opened: Vec<(Token, RawEnd)>) {
        for (token, end) in opened {
            self.model.is_opened(who, token, end.fd, end.stream, end.interest);
        }
    }

    // ---- Gates

    /// One operation of the running handler on what is its own, and whether the answer is right.
    pub fn operate(
        &mut self,
        io: &mut Io<'_>,
        what: What,
        direction: Direction,
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Option<Result<usize, Error>> {
        let step = self.model.expect_step(what, direction);
        if step == Step::Unclear {
            return None;
        }
        let mut called = None;
        let answer = io.poll_io(self.model.descs[what].token, direction, |fd| {
            assert_eq!(called, None, "called twice");
            *called.insert(call(fd))
        });
        match (step, called) {
            (Step::Fail(error), None) => assert_eq!(answer, Poll::Ready(Err(error))),
            (Step::Yield, None) => {
                assert_eq!(answer, Poll::Pending);
                self.model.yields();
            }
            (Step::Wait | Step::CallOrWait, None) => {
                assert_eq!(answer, Poll::Pending);
                self.model.waits(what, direction);
            }
            (Step::Call | Step::CallOrWait, Some(Err(Errno::AGAIN))) => {
                assert_eq!(answer, Poll::Pending);
                self.model.called(what, direction, Gate::Idle);
                self.model.waits(what, direction);
            }
            (Step::Call | Step::CallOrWait, Some(result)) => {
                assert_eq!(answer, Poll::Ready(result.map_err(Error::Os)));
                self.model.called(what, direction, Gate::Ready);
            }
            _ => panic!("{step:?}, but {called:?}: {:?}", self.model.descs[what]),
        }
        match answer {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    pub fn read(&mut self, io: &mut Io<'_>, what: What, len: usize) -> Option<usize> {
        let mut bytes = vec![0; len];
        let answer = self.operate(io, what, Direction::Read, |fd| rustix::io::read(fd, &mut bytes))?;
        self.was_read(what, answer.map(|n| &bytes[..n]));
        answer.ok()
    }

    pub fn was_read(&mut self, what: What, answer: Result<&[u8], Error>) {
        let stream = &mut self.streams[self.model.descs[what].stream];
        match answer {
            Ok([]) => {
                assert!(stream.far_is_mute, "the end of a stream that goes on");
                assert!(stream.far_is_closed() || stream.inward.received == stream.inward.sent, "{:?}", stream.inward);
            }
            Ok(bytes) => stream.inward.receive(bytes),
            Err(Error::Os(Errno::CONNRESET)) => assert!(stream.far_is_closed()),
            Err(Error::Os(Errno::INVAL)) => assert_eq!(stream.kind, Kind::Listener),
            Err(error) => assert!([Error::TimedOut, Error::NotPollable].contains(&error), "{error:?}"),
        }
    }

    pub fn write(&mut self, io: &mut Io<'_>, what: What, len: usize) {
        let bytes = self.streams[self.model.descs[what].stream].outward.next(len);
        let Some(answer) = self.operate(io, what, Direction::Write, |fd| rustix::io::write(fd, &bytes)) else { return };
        let stream = &mut self.streams[self.model.descs[what].stream];
        match answer {
            Ok(n) => stream.outward.sent += n as u64,
            Err(Error::Os(Errno::PIPE | Errno::CONNRESET)) => assert!(stream.far_is_deaf),
            Err(error) => assert!([Error::TimedOut, Error::NotPollable].contains(&error), "{error:?}"),
        }
    }

    pub fn poll_ready(&mut self, io: &mut Io<'_>, what: What, direction: Direction) -> bool {
        let step = self.model.expect_step(what, direction);
        if step == Step::Unclear {
            return false;
        }
        let answer = io.poll_ready(self.model.descs[what].token, direction);
        match (step, answer) {
            (Step::Call | Step::CallOrWait, Poll::Ready(Ok(()))) => self.model.called(what, direction, Gate::Ready),
            (Step::Wait | Step::CallOrWait, Poll::Pending) => self.model.waits(what, direction),
            (Step::Yield, Poll::Pending) => self.model.yields(),
            (Step::Fail(expected), Poll::Ready(Err(error))) => assert_eq!(error, expected),
            _ => panic!("{step:?}, but {answer:?}: {:?}", self.model.descs[what]),
        }
        answer == Poll::Ready(Ok(()))
    }

    // ---- The script's own ends

    /// Something happens at the other end of a stream.
    pub fn far_end(&mut self) {
        let count = self.streams.len();
        if count == 0 {
            return;
        }
        let number = count - 1 - self.below(count.min(8));
        let (what, len) = (self.below(16), self.size());
        let stream = &mut self.streams[number];
        match what {
            0..5 if stream.kind == Kind::Listener => stream.connect(),
            5 if stream.kind == Kind::Listener => stream.hang_up(),
            0..5 => stream.far_writes(len),
            5..10 => stream.far_reads(len),
            10 => stream.far_closes(),
            11 => stream.far_is_duplicated(),
            12 => stream.far_shuts(true),
            13 => stream.far_shuts(false),
            14 => stream.dup_moves(len),
            _ if stream.dup.is_some() => stream.dup = None,
            _ => {
                let near = self.model.descs.iter().find(|desc| desc.open && desc.stream == number);
                // SAFETY: the reactor has it open; the audit says if it has not.
                self.streams[number].dup = near.map(|near| unsafe { BorrowedFd::borrow_raw(near.fd) }.try_clone_to_owned().unwrap());
            }
        }
    }

    /// How many descriptors are open because of this.
    pub fn fds(&self) -> usize {
        1 + self.model.open() + self.streams.iter().map(Stream::fds).sum::<usize>()
    }

    /// Whether each handler was dropped that has ended, and no other.
    pub fn check_drops(&self) {
        let ledger = self.ledger.borrow();
        assert_eq!(ledger.len(), self.model.beings.len());
        for (drops, being) in ledger.iter().zip(&self.model.beings) {
            assert_eq!(*drops, u32::from(!being.alive), "drops of {being:?}");
        }
    }
}

/// The reactor's end of a stream, before it is opened.
pub struct Near {
    pub fd: OwnedFd,
    pub interest: Interest,
    pub stream: usize,
}

/// The same, as it can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawEnd {
    pub fd: RawFd,
    pub interest: Interest,
    pub stream: usize,
}

impl Near {
    pub fn raw(&self) -> RawEnd {
        RawEnd { fd: self.fd.as_raw_fd(), interest: self.interest, stream: self.stream }
    }
}

/// A source of several descriptors.
pub struct Ends {
    pub ends: Vec<Near>,
    /// Takes back what it has opened when something fails; else that is left to the reactor.
    pub is_tidy: bool,
    /// How many it has opened.
    pub opened: Rc<Cell<usize>>,
}

impl Ends {
    pub fn raw(&self) -> Vec<RawEnd> {
        self.ends.iter().map(Near::raw).collect()
    }
}

impl Source for Ends {
    type Opened = Vec<(Token, RawEnd)>;

    fn open(self, io: &mut Io<'_>) -> Result<Self::Opened, Rejected<Self>> {
        let mut opened = Vec::new();
        let mut ends = self.ends.into_iter();
        while let Some(end) = ends.next() {
            let raw = end.raw();
            match io.open(end.fd, end.interest) {
                Ok(token) => {
                    opened.push((token, raw));
                    self.opened.set(opened.len());
                }
                Err(Rejected { value: fd, error }) => {
                    assert_eq!(fd.as_raw_fd(), raw.fd, "another descriptor came back");
                    let mut back = Vec::new();
                    if self.is_tidy {
                        for (token, raw) in opened {
                            back.push(Near { fd: io.close(token).unwrap(), interest: raw.interest, stream: raw.stream });
                        }
                    }
                    back.push(Near { fd, interest: raw.interest, stream: raw.stream });
                    back.extend(ends);
                    return Err(Rejected { value: Ends { ends: back, ..self }, error });
                }
            }
        }
        Ok(opened)
    }
}

/// How many descriptors this process has open, by one call for all numbers.
pub fn count_fds() -> usize {
    const NUMBERS: i32 = 160;
    // SAFETY: poll(2) says `NVAL` of those that nobody has, and does nothing to the others.
    let numbers = (0..NUMBERS).map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
    let mut fds: Vec<PollFd<'_>> = numbers.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty())).collect();
    // libFuzzer has an alarm.
    retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))).unwrap();
    fds.iter().filter(|fd| !fd.revents().contains(PollFlags::NVAL)).count()
}
