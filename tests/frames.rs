//! Frames: whatever the stream and however it is cut into reads, they are those that a plain reading of all of it gives.

#![cfg(target_os = "linux")]

#[path = "util/plain_frames.rs"]
mod plain_frames;
#[path = "util/reactor.rs"]
mod util;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::task::{Poll, ready};
use std::time::{Duration, Instant as StdInstant};

use netpoll::frame::{Delimiter, FrameBuffer, FrameError, Framing, LengthPrefix, Scan};
use netpoll::net::TcpStream;
use netpoll::{AsFd, Context, Errno, Error, Io, Poller, PollerStorage, Reactor, ReactorStorage, Reader, Waiter};
use plain_frames::{Found, Header, delimited};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use util::{Answer, DONE, PATIENCE, Script, pair, run_until, script};

const ME: Waiter = Waiter::new(1);

/// Small enough that frames cross its end at every place.
const N: usize = 32;

/// What became of a stream: its frames, and what came then: what was left over, or an error.
type Outcome = (Vec<Vec<u8>>, Result<Vec<u8>, FrameError>);

// ---- A plain reading of a whole stream

/// What a plain reading sees at the start of some bytes.
type Plain<'a> = &'a dyn Fn(&[u8]) -> Found;

/// `limit`: where frames are too long. `skip`: these are left out.
fn read_plainly(mut rest: &[u8], limit: usize, skip: bool, plain: Plain<'_>) -> Outcome {
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let told = plain(&rest[..rest.len().min(limit)]);
        let too_long = match told {
            Err(error) => return (frames, Err(error)),
            Ok(Some((whole, _))) if whole > limit => FrameError::TooLong { length: Some(whole), limit },
            Ok(Some((whole, body))) if whole <= rest.len() => {
                frames.push(rest[body].to_vec());
                rest = &rest[whole..];
                continue;
            }
            Ok(None) if rest.len() >= limit => FrameError::TooLong { length: None, limit },
            _ => break,
        };
        if !skip {
            return (frames, Err(too_long));
        }
        match plain(rest) {
            Err(error) => return (frames, Err(error)),
            Ok(Some((whole, _))) if whole <= rest.len() => rest = &rest[whole..],
            _ => rest = &[],
        }
    }
    (frames, Ok(rest.to_vec()))
}

fn header() -> impl Strategy<Value = Header> {
    let position = || prop::option::of(0..10usize);
    (1..=4usize, any::<bool>(), 0..6usize, position(), position()).prop_map(|(width, little_endian, offset, counted_from, body_from)| {
        Header { width, little_endian, offset, counted_from, body_from }
    })
}

// ---- The buffer

/// Feeds `input` in pieces; after `TooLong` skips the frame if it is to.
fn read_in_pieces(buffer: &mut FrameBuffer<impl Framing, N>, input: &[u8], pieces: &[usize], skip: bool) -> Result<Outcome, TestCaseError> {
    let (mut frames, mut rest) = (Vec::new(), input);
    for &piece in pieces.iter().cycle() {
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) => {
                    prop_assert!(frame.len() <= N);
                    frames.push(frame.to_vec());
                    prop_assert_eq!(buffer.frame(), &frames[frames.len() - 1][..]);
                }
                Ok(None) => break,
                Err(FrameError::TooLong { .. }) if skip => buffer.skip_frame(),
                Err(error) => {
                    prop_assert_eq!(buffer.next_frame(), Err(error));
                    return Ok((frames, Err(error)));
                }
            }
        }
        if rest.is_empty() {
            break;
        }
        let space = buffer.space();
        prop_assert!(!space.is_empty());
        let n = piece.min(space.len()).min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        // Nobody may rely on what lies behind.
        space[n..].fill(0xEE);
        buffer.filled(n);
        rest = &rest[n..];
    }
    Ok((frames, Ok(buffer.pending().to_vec())))
}

/// Compares with the plain reading, without skipping and with it.
fn check<F: Framing>(framing: impl Fn() -> F, input: &[u8], pieces: &[usize], limit: usize, plain: Plain<'_>) -> Result<(), TestCaseError> {
    for skip in [false, true] {
        let mut buffer = FrameBuffer::new(framing()).with_limit(limit);
        let outcome = read_in_pieces(&mut buffer, input, pieces, skip)?;
        prop_assert_eq!(outcome, read_plainly(input, limit, skip, plain), "skip: {}", skip);
    }
    Ok(())
}

/// How much each read gives, again and again.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..4usize, 1..2 * N], 1..20)
}

/// Garbage in which numbers are often small.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![4 => Just(0u8), 4 => 0..24u8, 1 => any::<u8>()], 0..300)
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&b"aa\r\n"[..]), 0..300)
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn garbage_with_lengths(header in header(), input in garbage(), pieces in pieces(), limit in 1..=N) {
        // A header that is longer than the limit cannot be skipped.
        let limit = limit.max(header.end() + 1);
        check(|| header.framing(), &input, &pieces, limit, &|rest| header.plain(rest))?;
    }

    #[test]
    fn lines_of_any_length(input in text(), pieces in pieces(), limit in 1..=N) {
        check(|| Delimiter::new(*b"\n"), &input, &pieces, limit, &|rest| delimited(rest, *b"\n"))?;
        check(|| Delimiter::new(*b"\r\n"), &input, &pieces, limit, &|rest| delimited(rest, *b"\r\n"))?;
        check(|| Delimiter::new(*b"a\na"), &input, &pieces, limit, &|rest| delimited(rest, *b"a\na"))?;
    }

    // What was encoded is what comes out: the body, or the whole with its number put right.
    #[test]
    fn encoded_with_lengths(
        header in header(), bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..N), 0..12), pieces in pieces(),
    ) {
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for body in bodies {
            let mut out = [0xAA; N];
            match header.framing().encode(&body, &mut out) {
                Ok(whole) => {
                    prop_assert_eq!(whole, header.body_from() + body.len());
                    prop_assert!(out[whole..].iter().all(|&byte| byte == 0xAA));
                    for (i, &byte) in out[..whole].iter().enumerate().filter(|(i, _)| !(header.offset..header.end()).contains(i)) {
                        prop_assert_eq!(byte, i.checked_sub(header.body_from()).map_or(0xAA, |i| body[i]));
                    }
                    expected.push(out[header.body_from()..whole].to_vec());
                    stream.extend(&out[..whole]);
                }
                Err(FrameError::TooLong { length, limit }) => {
                    let whole = header.body_from() + body.len();
                    prop_assert_eq!((length, limit), (Some(whole), N));
                    prop_assert!(whole > N);
                }
                Err(error) => {
                    prop_assert_eq!(error, FrameError::Malformed);
                    let whole = header.body_from() + body.len();
                    prop_assert!(whole < header.end() || whole < header.counted_from());
                }
            }
        }
        let outcome = read_in_pieces(&mut FrameBuffer::new(header.framing()), &stream, &pieces, false)?;
        prop_assert_eq!(outcome, (expected, Ok(vec![])));
    }

    #[test]
    fn encoded_with_delimiters(bodies in prop::collection::vec(text(), 0..12), pieces in pieces()) {
        let framing = Delimiter::new(*b"\r\n");
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for mut body in bodies {
            body.truncate(40);
            let mut out = [0; N];
            let contains = body.windows(2).any(|window| window == b"\r\n");
            match framing.encode(&body, &mut out) {
                Ok(whole) => {
                    prop_assert!(whole == body.len() + 2 && !contains);
                    stream.extend(&out[..whole]);
                    expected.push(body);
                }
                Err(FrameError::TooLong { length, limit }) => {
                    prop_assert_eq!((length, limit), (Some(body.len() + 2), N));
                    prop_assert!(body.len() + 2 > N);
                }
                Err(error) => prop_assert!(error == FrameError::Malformed && contains),
            }
        }
        let outcome = read_in_pieces(&mut FrameBuffer::new(framing), &stream, &pieces, false)?;
        prop_assert_eq!(outcome, (expected, Ok(vec![])));
    }

    // Framings of a program's own that answer nonsense yield errors or nothing, and no frame twice.
    #[test]
    fn any_answer_is_survived(answers in prop::collection::vec(answer(), 1..20), input in garbage(), pieces in pieces(), skip: bool) {
        let mut buffer = FrameBuffer::<_, N>::new(Nonsense { answers, next: Cell::new(0) });
        let mut rest = &input[..];
        for &piece in pieces.iter().cycle() {
            for _ in 0..2 * N {
                match buffer.next_frame() {
                    Ok(Some(frame)) => prop_assert!(frame.len() <= N),
                    Err(_) if skip => buffer.skip_frame(),
                    _ => break,
                }
            }
            if rest.is_empty() {
                break;
            }
            let space = buffer.space();
            let n = piece.min(space.len()).min(rest.len());
            space[..n].copy_from_slice(&rest[..n]);
            buffer.filled(n);
            // Nothing else makes room where frames are refused.
            rest = &rest[n.max(1)..];
        }
    }
}

#[derive(Debug)]
struct Nonsense {
    answers: Vec<Scan>,
    next: Cell<usize>,
}

impl Framing for Nonsense {
    fn scan(&self, _: &[u8], _: usize) -> Scan {
        self.next.set(self.next.get() + 1);
        self.answers[self.next.get() % self.answers.len()].clone()
    }

    fn overlap(&self) -> usize {
        self.next.get() % (N + 2)
    }
}

fn answer() -> impl Strategy<Value = Scan> {
    let number = || prop_oneof![8 => 0..N + 2, 1 => Just(usize::MAX)];
    prop_oneof![
        Just(Scan::More),
        Just(Scan::Malformed),
        (number(), number(), number()).prop_map(|(whole, start, end)| Scan::Frame { whole, body: start..end }),
    ]
}

// ---- A stream that answers what it is told to

type Answers = VecDeque<Poll<Result<Vec<u8>, Error>>>;

struct Told(RefCell<Answers>);

impl Reader for Told {
    fn read(&self, _: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        let mut answers = self.0.borrow_mut();
        let Some(answer) = answers.pop_front() else { return Poll::Ready(Ok(0)) };
        let mut bytes = ready!(answer)?;
        let rest = bytes.split_off(bytes.len().min(buf.len()));
        buf[..bytes.len()].copy_from_slice(&bytes);
        if !rest.is_empty() {
            answers.push_front(Poll::Ready(Ok(rest)));
        }
        Poll::Ready(Ok(bytes.len()))
    }
}

// Waits and deadlines between any two bytes change nothing, and each is passed on once; the end is clean only between frames.
#[test]
fn waits_and_deadlines_lose_nothing() {
    let mut storage = PollerStorage::<1>::new();
    let poller = RefCell::new(Poller::new(&mut storage).unwrap());
    let answers = prop::collection::vec(
        prop_oneof![
            prop::collection::vec(0..6u8, 1..8).prop_map(|bytes| Poll::Ready(Ok(bytes))),
            Just(Poll::Ready(Err(Error::TimedOut))),
            Just(Poll::Pending),
        ],
        0..40,
    );
    proptest!(config(), |(answers in answers)| {
        let bytes: Vec<u8> = answers.iter().flat_map(|answer| if let Poll::Ready(Ok(bytes)) = answer { &bytes[..] } else { &[] }).copied().collect();
        let (expected, rest) = read_plainly(&bytes, N, false, &|rest| Ok(rest.first().map(|&n| (1 + usize::from(n), 1..1 + usize::from(n)))));
        let have = rest.unwrap().len();
        let waits = answers.iter().filter(|answer| answer.is_pending()).count();
        let timeouts = answers.iter().filter(|answer| matches!(answer, Poll::Ready(Err(_)))).count();
        let stream = Told(RefCell::new(answers.into()));
        let mut buffer = FrameBuffer::<_, N>::new(LengthPrefix::U8);
        let (mut frames, mut seen) = (Vec::new(), (0, 0));
        let end = loop {
            match buffer.poll_frame(&mut poller.borrow_mut().io(ME), &stream) {
                Poll::Pending => seen.0 += 1,
                Poll::Ready(Err(FrameError::Io(Error::TimedOut))) => seen.1 += 1,
                Poll::Ready(Ok(Some(frame))) => frames.push(frame.to_vec()),
                Poll::Ready(end) => break end.map(|frame| frame.is_none()),
            }
        };
        prop_assert_eq!((frames, seen), (expected, (waits, timeouts)));
        let expected = if have == 0 { Ok(true) } else { Err(FrameError::Truncated { have }) };
        prop_assert_eq!(end, expected);
        // And says it again.
        prop_assert_eq!(buffer.poll_frame(&mut poller.borrow_mut().io(ME), &stream).map_ok(|frame| frame.is_none()), Poll::Ready(expected));
    });
}

// A frame that is too long is refused with its header: the stream is not asked for the rest, nor asked again.
#[test]
fn too_long_frames_are_not_read() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let stream = Told(RefCell::new(VecDeque::from([Poll::Ready(Ok(vec![1, 7, 0xFF])), Poll::Ready(Err(Error::Closed))])));
    let mut buffer = FrameBuffer::<_, N>::new(LengthPrefix::U8);
    assert_eq!(buffer.poll_frame(&mut poller.io(ME), &stream), Poll::Ready(Ok(Some(&[7][..]))));
    for _ in 0..2 {
        let error = FrameError::TooLong { length: Some(256), limit: N };
        assert_eq!(buffer.poll_frame(&mut poller.io(ME), &stream), Poll::Ready(Err(error)));
    }
    assert_eq!(stream.0.borrow().len(), 1);
}

#[test]
fn errors_become_those_of_the_crate() {
    assert_eq!(Error::from(FrameError::TooLong { length: None, limit: 1 }), Error::Os(Errno::MSGSIZE));
    assert_eq!(Error::from(FrameError::Malformed), Error::Os(Errno::PROTO));
    assert_eq!(Error::from(FrameError::Truncated { have: 1 }), Error::UnexpectedEof);
    assert_eq!(Error::from(FrameError::from(Error::TimedOut)), Error::TimedOut);
}

// ---- TCP

/// Counts the reads.
struct Counted<'a>(&'a TcpStream, Cell<u32>);

impl Reader for Counted<'_> {
    fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        self.1.set(self.1.get() + 1);
        self.0.read(io, buf)
    }
}

fn with_stream<T>(test: impl FnOnce(&mut Poller<'_>, TcpStream, std::net::TcpStream) -> T) -> T {
    let mut storage = PollerStorage::<8>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let (peer, ours) = pair();
    let stream = ours.open(&mut poller.io(ME)).unwrap();
    test(&mut poller, stream, peer)
}

/// The next frame, as a blocking call would give it; fails if nobody is run although it waits.
#[track_caller]
fn block<F: Framing, const N: usize>(
    poller: &mut Poller<'_>,
    buffer: &mut FrameBuffer<F, N>,
    stream: &impl Reader,
) -> Result<Option<Vec<u8>>, FrameError> {
    loop {
        if let Poll::Ready(answer) = buffer.poll_frame(&mut poller.io(ME), stream) {
            return answer.map(|frame| frame.map(<[u8]>::to_vec));
        }
        let polled = poller.poll(PATIENCE, |_| ()).unwrap();
        assert!(polled.waiters > 0, "it waits, and nobody is run: a lost edge");
    }
}

#[test]
fn frames_that_arrive_byte_by_byte() {
    with_stream(|poller, stream, mut peer| {
        let sender = std::thread::spawn(move || {
            for byte in b"\0\x05first\0\0\0\x06second" {
                peer.write_all(&[*byte]).unwrap();
            }
        });
        let mut frames = FrameBuffer::<_, 16>::new(LengthPrefix::U16_BE);
        for frame in [&b"first"[..], b"", b"second"] {
            assert_eq!(block(poller, &mut frames, &stream), Ok(Some(frame.to_vec())));
        }
        for _ in 0..2 {
            assert_eq!(block(poller, &mut frames, &stream), Ok(None));
        }
        sender.join().unwrap();
    });
}

#[test]
fn end_of_the_stream_inside_a_frame() {
    with_stream(|poller, stream, mut peer| {
        peer.write_all(b"whole\r\ncut\r").unwrap();
        drop(peer);
        let mut lines = FrameBuffer::<_, 16>::new(Delimiter::new(*b"\r\n"));
        assert_eq!(block(poller, &mut lines, &stream), Ok(Some(b"whole".to_vec())));
        for _ in 0..2 {
            assert_eq!(block(poller, &mut lines, &stream), Err(FrameError::Truncated { have: 4 }));
        }
        assert_eq!(lines.pending(), b"cut\r");
    });
}

// A deadline in the middle of a frame is passed on, never early, and the frame goes on where it was; frames that are there come in spite of it.
#[test]
fn deadline_inside_a_frame() {
    with_stream(|poller, stream, mut peer| {
        peer.write_all(b"one\ntwo\nthr").unwrap();
        let mut lines = FrameBuffer::<_, 64>::new(Delimiter::new(*b"\n"));
        assert_eq!(block(poller, &mut lines, &stream), Ok(Some(b"one".to_vec())));
        while lines.pending() != b"two\nthr" {
            // Two segments, on some machine.
            let read = stream.read(&mut poller.io(ME), lines.space());
            let Poll::Ready(n) = read else {
                poller.poll(PATIENCE, |_| ()).unwrap();
                continue;
            };
            lines.filled(n.unwrap());
        }
        let began = StdInstant::now();
        stream.set_read_timeout(&mut poller.io(ME), Some(Duration::from_millis(20))).unwrap();
        assert_eq!(block(poller, &mut lines, &stream), Ok(Some(b"two".to_vec())));
        assert_eq!(block(poller, &mut lines, &stream), Err(FrameError::Io(Error::TimedOut)));
        assert!(began.elapsed() >= Duration::from_millis(20));
        peer.write_all(b"ee\nfour\n").unwrap();
        assert_eq!(block(poller, &mut lines, &stream), Err(FrameError::Io(Error::TimedOut)));
        stream.set_read_deadline(&mut poller.io(ME), None).unwrap();
        for line in ["three", "four"] {
            assert_eq!(block(poller, &mut lines, &stream), Ok(Some(line.as_bytes().to_vec())));
        }
    });
}

// What came in one read costs one read.
#[test]
fn pipelined_frames_cost_no_further_reads() {
    with_stream(|poller, stream, mut peer| {
        let stream = Counted(&stream, Cell::new(0));
        let sent: Vec<u8> = (0..100u8).flat_map(|n| [3, n, n, n]).collect();
        peer.write_all(&sent).unwrap();
        let mut frames = FrameBuffer::<_, 512>::new(LengthPrefix::U8);
        // All of it, in as many reads as the kernel makes of it.
        while frames.pending().len() < sent.len() {
            match stream.read(&mut poller.io(ME), frames.space()) {
                Poll::Ready(n) => frames.filled(n.unwrap()),
                Poll::Pending => drop(poller.poll(PATIENCE, |_| ()).unwrap()),
            }
        }
        let reads = stream.1.get();
        for n in 0..100 {
            assert_eq!(frames.poll_frame(&mut poller.io(ME), &stream), Poll::Ready(Ok(Some(&[n; 3][..]))));
        }
        assert_eq!(stream.1.get(), reads);
        assert!(frames.poll_frame(&mut poller.io(ME), &stream).is_pending());
        assert_eq!(stream.1.get(), reads + 1);
    });
}

// The echo of the documentation, to a peer that writes all before it reads anything: frames stay while their write waits.
#[test]
fn frames_are_sent_on_from_where_they_lie() {
    const FRAMES: usize = 400;
    let mut storage = ReactorStorage::<Script<bool>, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (mut peer, ours) = pair();
    for socket in [peer.as_fd(), ours.as_fd()] {
        sockopt::set_socket_send_buffer_size(socket, 65536).unwrap();
        sockopt::set_socket_recv_buffer_size(socket, 65536).unwrap();
    }
    reactor
        .spawn_with(ours, |stream| {
            let mut frames = Box::new(FrameBuffer::<_, 65536>::new(LengthPrefix::U16_LE.body_from(0)));
            let mut sent = 0;
            script(move |cx: &mut Context<'_, Script<bool>>| -> Answer {
                loop {
                    ready!(stream.write_all(cx, frames.frame(), &mut sent))?;
                    if ready!(frames.poll_frame(cx, &stream))?.is_none() {
                        *cx.shared() = true;
                        return DONE;
                    }
                    sent = 0;
                }
            })
        })
        .unwrap();
    let client = std::thread::spawn(move || {
        let stream: Vec<u8> = (0..FRAMES)
            .flat_map(|n| {
                let length = (n * 7919 % 60_000) as u16;
                length.to_le_bytes().into_iter().chain((0..length).map(move |at| (usize::from(at) * 31 + n) as u8))
            })
            .collect();
        let mut half = peer.try_clone().unwrap();
        let expected = stream.clone();
        let writer = std::thread::spawn(move || {
            half.write_all(&stream).unwrap();
            half.shutdown(std::net::Shutdown::Write).unwrap();
        });
        wait_until_full(&peer);
        let mut echo = Vec::new();
        peer.read_to_end(&mut echo).unwrap();
        writer.join().unwrap();
        assert!(echo == expected, "{} of {} bytes", echo.len(), expected.len());
    });
    let mut done = false;
    run_until(&mut reactor, &mut done, |done| *done);
    drop(reactor);
    client.join().unwrap();
}

/// Waits until nothing could be written for a while: our peer waits for us to read.
fn wait_until_full(peer: &std::net::TcpStream) {
    let end = StdInstant::now() + PATIENCE;
    while poll(&mut [PollFd::new(peer, PollFlags::OUT)], Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })).unwrap() > 0 {
        assert!(StdInstant::now() < end, "the peer never waits");
    }
}
