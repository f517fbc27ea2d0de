//! `netpoll::frame`: whatever the stream, the framing and the sizes of the reads, the frames are those of a plain reading that has all of
//! the stream before it. And a framing that answers nonsense loses no byte that its answers do not take away.
#![no_main]

#[path = "../../tests/util/plain_frames.rs"]
mod plain_frames;

use std::cell::{Cell, RefCell};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netpoll::frame::{Delimiter, FrameBuffer, FrameError, Framing, LengthPrefix, Scan};
use plain_frames::{Found, Header, delimited};

/// Small enough that frames cross its end at every place.
const N: usize = 32;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Read { kinds: [Kind; 2], limit: Limit, ops: Vec<Op>, stream: &'a [u8] },
    Encode { kind: Kind, bodies: Vec<&'a [u8]>, ops: Vec<Op> },
    Nonsense { answers: Vec<Answer>, overlaps: Vec<u8>, limit: Limit, ops: Vec<Op>, stream: &'a [u8] },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    /// A read that gives at most so much.
    Read(u8),
    /// A read that gives all there is room for, and claims to have given more.
    ReadTooMuch(usize),
    Next,
    /// Frames until there is none.
    Drain,
    Skip,
    Clear,
    Space,
    Turn,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Limit {
    None,
    Some(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Position {
    Near(u8),
    Any(u16),
}

impl Position {
    fn number(self) -> usize {
        match self {
            Position::Near(at) => usize::from(at) % 12,
            Position::Any(at) => at.into(),
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Byte(u8),
    Two([u8; 2]),
    Three([u8; 3]),
    Line,
    Lengths { width: u8, little_endian: bool, offset: Position, counted_from: Option<Position>, body_from: Option<Position> },
}

impl Kind {
    fn header(self) -> Option<Header> {
        let Kind::Lengths { width, little_endian, offset, counted_from, body_from } = self else { return None };
        Some(Header {
            width: 1 + usize::from(width) % 4,
            little_endian,
            offset: offset.number(),
            counted_from: counted_from.map(Position::number),
            body_from: body_from.map(Position::number),
        })
    }

    fn framing(self) -> Any {
        match self {
            Kind::Byte(byte) => Any::Byte(Delimiter::new([byte])),
            Kind::Two(bytes) => Any::Two(Delimiter::new(bytes)),
            Kind::Three(bytes) => Any::Three(Delimiter::new(bytes)),
            Kind::Line => Any::Byte(Delimiter::new(*b"\n")),
            Kind::Lengths { .. } => Any::Lengths(self.header().unwrap().framing()),
        }
    }

    fn plain(self, rest: &[u8]) -> Found {
        match self {
            Kind::Byte(byte) => delimited(rest, [byte]),
            Kind::Two(bytes) => delimited(rest, bytes),
            Kind::Three(bytes) => delimited(rest, bytes),
            Kind::Line => delimited(rest, *b"\n"),
            Kind::Lengths { .. } => self.header().unwrap().plain(rest),
        }
    }
}

/// One of the crate's framings.
#[derive(Debug)]
enum Any {
    Byte(Delimiter<1>),
    Two(Delimiter<2>),
    Three(Delimiter<3>),
    Lengths(LengthPrefix),
}

impl Any {
    fn encode(&self, body: &[u8], out: &mut [u8]) -> Result<usize, FrameError> {
        match self {
            Any::Byte(framing) => framing.encode(body, out),
            Any::Two(framing) => framing.encode(body, out),
            Any::Three(framing) => framing.encode(body, out),
            Any::Lengths(framing) => framing.encode(body, out),
        }
    }
}

impl Framing for Any {
    fn scan(&self, bytes: &[u8], scanned: usize) -> Scan {
        match self {
            Any::Byte(framing) => framing.scan(bytes, scanned),
            Any::Two(framing) => framing.scan(bytes, scanned),
            Any::Three(framing) => framing.scan(bytes, scanned),
            Any::Lengths(framing) => framing.scan(bytes, scanned),
        }
    }

    fn overlap(&self) -> usize {
        match self {
            Any::Byte(framing) => framing.overlap(),
            Any::Two(framing) => framing.overlap(),
            Any::Three(framing) => framing.overlap(),
            Any::Lengths(framing) => framing.overlap(),
        }
    }
}

fn limit_of(limit: Limit) -> usize {
    match limit {
        Limit::None => N,
        Limit::Some(limit) => N.min(limit.into()),
    }
}

// ---- A buffer and what has gone into it

struct Stream<'a> {
    bytes: &'a [u8],
    /// Where what has not been handed out or thrown away begins.
    at: usize,
    /// How much the buffer was given.
    have: usize,
}

impl<'a> Stream<'a> {
    fn unread(&self) -> &'a [u8] {
        &self.bytes[self.at..self.have]
    }

    /// Puts at most `n` more bytes into the buffer, and says that they were `more` than that.
    fn feed(&mut self, buffer: &mut FrameBuffer<impl Framing, N>, n: usize, more: usize) {
        let space = buffer.space();
        let n = n.min(space.len()).min(self.bytes.len() - self.have);
        // More than is true can only be said when there is no room for a lie.
        let more = if n == space.len() { more } else { 0 };
        space[..n].copy_from_slice(&self.bytes[self.have..][..n]);
        // Nobody may rely on what lies behind.
        space[n..].fill(0xEE);
        buffer.filled(n.saturating_add(more));
        self.have += n;
    }
}

// ---- A plain reading

struct Plain<'a> {
    stream: Stream<'a>,
    kind: Kind,
    limit: usize,
    skips: bool,
}

impl<'a> Plain<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>, FrameError> {
        if self.skips {
            let rest = self.stream.unread();
            match self.kind.plain(rest)? {
                Some((whole, _)) if whole <= rest.len() => {
                    self.stream.at += whole;
                    self.skips = false;
                }
                // A header that is longer than the buffer.
                None if self.kind.header().is_some() && rest.len() >= N => {
                    return Err(FrameError::TooLong { length: None, limit: self.limit });
                }
                _ => return Ok(None),
            }
        }
        let (rest, limit) = (self.stream.unread(), self.limit);
        match self.kind.plain(&rest[..rest.len().min(limit)])? {
            Some((whole, _)) if whole > limit => Err(FrameError::TooLong { length: Some(whole), limit }),
            Some((whole, body)) if whole <= rest.len() => {
                self.stream.at += whole;
                Ok(Some(&rest[body]))
            }
            None if !rest.is_empty() && rest.len() >= limit => Err(FrameError::TooLong { length: None, limit }),
            _ => Ok(None),
        }
    }
}

/// What the framing itself says of the start of some bytes.
fn check_scan(kind: Kind, bytes: &[u8]) {
    let expected = match kind.plain(bytes) {
        Ok(Some((whole, body))) => Scan::Frame { whole, body },
        Ok(None) => Scan::More,
        Err(_) => Scan::Malformed,
    };
    assert_eq!(kind.framing().scan(bytes, 0), expected);
}

fn read(kinds: [Kind; 2], limit: usize, ops: &[Op], bytes: &[u8]) {
    check_scan(kinds[0], bytes);
    check_scan(kinds[1], bytes);
    let mut buffer = FrameBuffer::new(kinds[0].framing()).with_limit(limit);
    let mut plain = Plain { stream: Stream { bytes, at: 0, have: 0 }, kind: kinds[0], limit, skips: false };
    let (mut last, mut turned): (&[u8], usize) = (&[], 0);
    // At last everything is read.
    let rest = [Op::Drain, Op::Read(u8::MAX)].into_iter().cycle().take(2 + bytes.len() / 4);
    for op in ops.iter().copied().take(300).chain(rest) {
        match op {
            Op::Read(_) | Op::ReadTooMuch(_) => {
                let (n, more) = if let Op::Read(n) = op { (n.into(), 0) } else { (N, if let Op::ReadTooMuch(n) = op { n } else { 0 }) };
                plain.stream.feed(&mut buffer, n, more);
                last = &[];
            }
            Op::Next | Op::Drain => loop {
                let expected = plain.next();
                let answer = buffer.next_frame();
                assert_eq!(answer, expected);
                assert!(answer.is_err() || buffer.frame().len() <= limit);
                last = expected.unwrap_or_default().unwrap_or_default();
                match expected {
                    Ok(None) => assert!(!buffer.space().is_empty(), "no frame, and no room for one"),
                    // Again each time, whatever is done but skipping and clearing.
                    Err(_) => assert_eq!(buffer.next_frame(), expected),
                    Ok(Some(_)) if matches!(op, Op::Drain) => continue,
                    Ok(Some(_)) => {}
                }
                break;
            },
            Op::Skip => {
                buffer.skip_frame();
                plain.skips = true;
            }
            Op::Clear => {
                buffer.clear();
                (plain.skips, plain.stream.at, last) = (false, plain.stream.have, &[]);
            }
            Op::Space => {
                buffer.space();
                last = &[];
            }
            // Between two frames, as is allowed; and the same framing again at any time.
            Op::Turn => {
                if !plain.skips {
                    turned += 1;
                    plain.kind = kinds[turned % 2];
                }
                *buffer.framing_mut() = plain.kind.framing();
            }
        }
        assert_eq!(buffer.frame(), last);
        assert_eq!(buffer.pending(), if plain.skips { &[] } else { plain.stream.unread() });
        assert_eq!(buffer.is_empty(), buffer.pending().is_empty());
    }
}

// ---- What is encoded comes out again

fn encode(kind: Kind, bodies: &[&[u8]], ops: &[Op]) {
    let framing = kind.framing();
    let mut stream = Vec::new();
    for &body in bodies.iter().take(20) {
        let mut out = [0xAA; N];
        let answer = framing.encode(body, &mut out);
        let Ok(whole) = answer else {
            check_refusal(kind, body, answer.unwrap_err(), &out);
            continue;
        };
        let start = kind.header().map_or(0, |header| header.body_from());
        assert!(out[whole..].iter().all(|&byte| byte == 0xAA), "written behind the frame");
        let mut buffer = FrameBuffer::<_, N>::new(kind.framing());
        buffer.space()[..whole].copy_from_slice(&out[..whole]);
        buffer.filled(whole);
        let frame = buffer.next_frame().expect("a frame").expect("a whole frame");
        assert_eq!(frame.len(), body.len());
        for (i, (got, sent)) in frame.iter().zip(body).enumerate() {
            let in_number = kind.header().is_some_and(|header| (header.offset..header.end()).contains(&(start + i)));
            assert!(got == sent || in_number);
        }
        assert!(buffer.is_empty());
        stream.extend(&out[..whole]);
    }
    read([kind; 2], N, ops, &stream);
}

fn check_refusal(kind: Kind, body: &[u8], error: FrameError, out: &[u8]) {
    match (kind.header(), error) {
        (None, FrameError::TooLong { length: Some(length), limit: N }) => assert!(length > N && length > body.len()),
        (None, FrameError::Malformed) => {
            let delimiter: &[u8] = match &kind {
                Kind::Byte(byte) => &[*byte],
                Kind::Two(bytes) => bytes,
                Kind::Three(bytes) => bytes,
                _ => b"\n",
            };
            let sent = [body, delimiter].concat();
            let first = sent.windows(delimiter.len()).position(|window| window == delimiter);
            assert!(first < Some(body.len()), "a body that could have been sent");
        }
        (Some(header), FrameError::TooLong { length: Some(length), limit }) => {
            assert_eq!(length, header.body_from() + body.len());
            assert!(length > limit);
            assert!(limit == N || limit == header.counted_from() + (256usize.pow(header.width as u32) - 1));
            assert!(out.iter().all(|&byte| byte == 0xAA), "written although it was refused");
        }
        (Some(header), FrameError::Malformed) => {
            let whole = header.body_from() + body.len();
            assert!(whole < header.end() || whole < header.counted_from());
            assert!(out.iter().all(|&byte| byte == 0xAA), "written although it was refused");
        }
        (_, error) => panic!("{error:?}"),
    }
}

// ---- Nonsense

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Answer {
    More,
    Malformed,
    Frame {
        whole: Length,
        start: Length,
        end: Length,
    },
    /// One that makes sense, if it is not too long.
    Sane {
        whole: u8,
        start: u8,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Length {
    Small(u8),
    Any(usize),
    /// So much less than the largest.
    Large(u8),
}

impl Length {
    fn number(self) -> usize {
        match self {
            Length::Small(n) => usize::from(n) % (N + 4),
            Length::Any(n) => n,
            Length::Large(n) => usize::MAX - usize::from(n),
        }
    }
}

impl Answer {
    fn scan(self) -> Scan {
        match self {
            Answer::More => Scan::More,
            Answer::Malformed => Scan::Malformed,
            Answer::Frame { whole, start, end } => Scan::Frame { whole: whole.number(), body: start.number()..end.number() },
            Answer::Sane { whole, start } => {
                let whole = 1 + usize::from(whole) % N;
                Scan::Frame { whole, body: usize::from(start) % whole..whole }
            }
        }
    }
}

/// A look, and what was answered.
struct Look {
    bytes: Vec<u8>,
    scanned: usize,
    answer: Scan,
}

struct Nonsense<'a> {
    answers: &'a [Answer],
    overlaps: &'a [u8],
    looks: RefCell<Vec<Look>>,
    count: Cell<usize>,
}

impl Nonsense<'_> {
    /// Changes with each look only, so that the model can ask too.
    fn overlap_now(&self) -> usize {
        match self.overlaps {
            [] => usize::MAX,
            overlaps => usize::from(overlaps[self.count.get() % overlaps.len()]),
        }
    }
}

impl Framing for Nonsense<'_> {
    fn scan(&self, bytes: &[u8], scanned: usize) -> Scan {
        let answer = match self.answers {
            [] => Scan::More,
            answers => answers[self.count.get() % answers.len()].scan(),
        };
        self.count.set(self.count.get() + 1);
        self.looks.borrow_mut().push(Look { bytes: bytes.to_vec(), scanned, answer: answer.clone() });
        answer
    }

    fn overlap(&self) -> usize {
        self.overlap_now()
    }
}

#[derive(PartialEq)]
enum Skip {
    Nothing,
    ToTheEnd,
    Bytes(usize),
}

struct Loose<'a> {
    stream: Stream<'a>,
    limit: usize,
    skip: Skip,
    /// Up to where `More` was answered.
    more_until: usize,
}

impl<'a> Loose<'a> {
    /// A length and a body, if they can be; what the buffer is to believe.
    fn sane(answer: &Scan) -> Found {
        match answer {
            Scan::More => Ok(None),
            Scan::Frame { whole, body } if *whole >= 1 && body.start <= body.end && body.end <= *whole => Ok(Some((*whole, body.clone()))),
            _ => Err(FrameError::Malformed),
        }
    }

    fn look(&mut self, look: Option<Look>, limit: usize) -> Found {
        let look = look.expect("nobody looked");
        let unread = self.stream.unread();
        let seen = &unread[..unread.len().min(limit)];
        assert_eq!(look.bytes, seen);
        assert!(look.scanned <= seen.len() && (look.scanned == 0 || self.stream.at + look.scanned <= self.more_until));
        let answer = Loose::sane(&look.answer);
        if answer == Ok(None) {
            self.more_until = self.stream.at + seen.len();
        }
        answer
    }

    fn next(&mut self, mut looks: impl Iterator<Item = Look>, overlap: usize) -> Result<Option<&'a [u8]>, FrameError> {
        let limit = self.limit;
        if self.skip == Skip::ToTheEnd {
            match self.look(looks.next(), N)? {
                Some((whole, _)) => self.skip = Skip::Bytes(whole),
                None => {
                    let keep = overlap.min(self.stream.unread().len());
                    self.stream.at = self.stream.have - keep;
                    return if keep < N { Ok(None) } else { Err(FrameError::TooLong { length: None, limit }) };
                }
            }
        }
        if let Skip::Bytes(left) = self.skip {
            let len = self.stream.unread().len();
            self.stream.at += left.min(len);
            if left > len {
                self.skip = Skip::Bytes(left - len);
                return Ok(None);
            }
            self.skip = Skip::Nothing;
        }
        let rest = self.stream.unread();
        if rest.is_empty() {
            return Ok(None);
        }
        let answer = self.look(looks.next(), limit)?;
        assert!(looks.next().is_none());
        match answer {
            Some((whole, _)) if whole > limit => Err(FrameError::TooLong { length: Some(whole), limit }),
            Some((whole, body)) if whole <= rest.len() => {
                self.stream.at += whole;
                Ok(Some(&rest[body]))
            }
            None if rest.len() >= limit => Err(FrameError::TooLong { length: None, limit }),
            _ => Ok(None),
        }
    }
}

fn nonsense(answers: &[Answer], overlaps: &[u8], limit: usize, ops: &[Op], bytes: &[u8]) {
    let framing = Nonsense { answers, overlaps, looks: RefCell::default(), count: Cell::new(0) };
    let mut buffer = FrameBuffer::new(framing).with_limit(limit);
    let mut loose = Loose { stream: Stream { bytes, at: 0, have: 0 }, limit, skip: Skip::Nothing, more_until: 0 };
    let rest = [Op::Next, Op::Read(u8::MAX)].into_iter().cycle().take(2 + bytes.len() / 4);
    for op in ops.iter().copied().take(300).chain(rest) {
        match op {
            Op::Read(n) => loose.stream.feed(&mut buffer, n.into(), 0),
            Op::ReadTooMuch(more) => loose.stream.feed(&mut buffer, N, more),
            Op::Next | Op::Drain => {
                let answer = buffer.next_frame().map(|frame| frame.map(<[u8]>::to_vec));
                let looks = buffer.framing().looks.take();
                assert!(looks.len() <= 2);
                let expected = loose.next(looks.into_iter(), buffer.framing().overlap_now());
                assert_eq!(answer, expected.map(|frame| frame.map(<[u8]>::to_vec)));
                assert!(expected != Ok(None) || !buffer.space().is_empty(), "no frame, and no room for one");
            }
            Op::Skip => {
                buffer.skip_frame();
                if loose.skip == Skip::Nothing {
                    loose.skip = Skip::ToTheEnd;
                }
            }
            Op::Clear => {
                buffer.clear();
                (loose.stream.at, loose.skip) = (loose.stream.have, Skip::Nothing);
            }
            Op::Space => drop(buffer.space().len()),
            Op::Turn => drop(buffer.framing_mut().looks.borrow()),
        }
        assert_eq!(buffer.pending(), if loose.skip == Skip::Nothing { loose.stream.unread() } else { &[] });
    }
}

fuzz_target!(|input: Input| {
    match input {
        Input::Read { kinds, limit, ops, stream } => read(kinds, limit_of(limit), &ops, stream),
        Input::Encode { kind, bodies, ops } => encode(kind, &bodies, &ops),
        Input::Nonsense { answers, overlaps, limit, ops, stream } => nonsense(&answers, &overlaps, limit_of(limit), &ops, stream),
    }
});
