//! [`FrameBuffer`]: what was read and is not yet handed out.

use core::fmt;
use core::ops::Range;

use super::{FrameError, Framing};

/// A buffer of `N` bytes in which the frames of one stream become whole.
///
/// On a descriptor, [`poll_frame`](FrameBuffer::poll_frame) does everything. By hand: ask for frames until there is none, then read into
/// [`space`](FrameBuffer::space) and say with [`filled`](FrameBuffer::filled) how much that was. A frame is handed out where it lies, not
/// copied; it stays there until the next frame or more space is asked for. Bytes are moved to the front of the buffer only when room is
/// short behind them, altogether no more of them than were read.
///
/// A frame that cannot fit, or is longer than the [limit](FrameBuffer::with_limit), is refused as soon as that shows: with the length in
/// its header, or after so many bytes without delimiter. That is said again until the buffer is [cleared](FrameBuffer::clear) or the frame
/// [skipped](FrameBuffer::skip_frame), for behind it nobody can tell what is a frame.
///
/// ```
/// use netpoll::frame::{Delimiter, FrameBuffer};
///
/// let mut lines = FrameBuffer::<_, 80>::new(Delimiter::new(*b"\n"));
/// let mut input = &b"first\nsecond\nthi"[..];
/// loop {
///     while let Some(line) = lines.next_frame()? {
///         println!("{}", line.escape_ascii());
///     }
///     match std::io::Read::read(&mut input, lines.space())? {
///         0 => break,
///         n => lines.filled(n),
///     }
/// }
/// assert_eq!(lines.pending(), b"thi"); // cut short
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FrameBuffer<F, const N: usize> {
    framing: F,
    limit: usize,
    /// What was read and not handed out; never reversed, never beyond `N`.
    start: usize,
    end: usize,
    /// How much of that the framing has seen and asked for more.
    scanned: usize,
    /// The body of the frame that was handed out last.
    body: Range<usize>,
    skip: Skip,
    bytes: [u8; N],
}

/// What is thrown away unseen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Skip {
    Nothing,
    /// All up to the end of the frame.
    ToTheEnd,
    /// The rest of a frame whose length is known.
    Bytes(usize),
}

impl<F: Framing, const N: usize> FrameBuffer<F, N> {
    /// An empty buffer, whose frames are at most `N` bytes long. With `N` 0 it does not compile.
    pub const fn new(framing: F) -> FrameBuffer<F, N> {
        const { assert!(N > 0, "a buffer has at least one byte") };
        FrameBuffer { framing, limit: N, start: 0, end: 0, scanned: 0, body: 0..0, skip: Skip::Nothing, bytes: [0; N] }
    }

    /// Refuses frames longer than `limit` bytes, header and delimiter included; `N` is the most. For protocols that have a limit, in a
    /// buffer with room for several frames.
    #[must_use]
    pub const fn with_limit(mut self, limit: usize) -> FrameBuffer<F, N> {
        self.limit = if limit < N { limit } else { N };
        self
    }

    /// Where to read to. Never empty if [`next_frame`](FrameBuffer::next_frame) has just said `None`.
    ///
    /// The frame that was handed out last is gone after this.
    pub fn space(&mut self) -> &mut [u8] {
        self.body = 0..0;
        let (len, front, behind) = (self.end - self.start, self.start, N - self.end);
        // Moved are no more bytes than were handed out since the last move; or, when there is no other way, than were read since: the frame
        // that was cut off then has been handed out, so what is left has less room than was free then, and all of that was read.
        if front > 0 && (behind == 0 || (front >= len && front > behind)) {
            if self.bytes.get(self.start..self.end).is_some() {
                self.bytes.copy_within(self.start..self.end, 0);
            }
            (self.start, self.end) = (0, len);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that the first `n` bytes of [`space`](FrameBuffer::space) were filled; more than there were count as all of them.
    pub fn filled(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(N);
    }

    /// The next frame, without its delimiter, or from where its [`LengthPrefix`](super::LengthPrefix) says on; `None` if it is not whole yet.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`] and [`FrameError::Malformed`], and again each time.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Ok(if self.advance()? { Some(self.frame()) } else { None })
    }

    /// The frame that was handed out last, again. Empty if no frame came of the last time that one was asked for.
    ///
    /// So a handler can send it on from where it lies, and find it there when the write goes on.
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(self.body.clone()).unwrap_or_default()
    }

    /// What was read and not handed out: whole frames that nobody has asked for, and the start of one. Empty while a frame is skipped, which
    /// nobody wants.
    ///
    /// At the end of a stream, after [`next_frame`](FrameBuffer::next_frame) has said `None`, it is a frame cut short.
    pub fn pending(&self) -> &[u8] {
        match self.skip {
            Skip::Nothing => self.unread(),
            Skip::ToTheEnd | Skip::Bytes(_) => &[],
        }
    }

    /// Whether nothing is [pending](FrameBuffer::pending).
    pub fn is_empty(&self) -> bool {
        self.pending().is_empty()
    }

    /// Throws away the next frame, however long it is, as it arrives: after [`FrameError::TooLong`], to go on with the one behind it; or at
    /// the start, on a line that was opened in the middle of a sentence.
    ///
    /// With a [`Delimiter`](super::Delimiter) one gets into step again in this way. A [`LengthPrefix`](super::LengthPrefix) is believed:
    /// whoever sent it may as well be out of step, or want to keep the program busy. A malformed frame cannot be skipped. The stream may end
    /// within a frame that is skipped; that is no error.
    pub fn skip_frame(&mut self) {
        if self.skip == Skip::Nothing {
            self.skip = Skip::ToTheEnd;
        }
    }

    /// Throws away everything, for a new stream.
    pub fn clear(&mut self) {
        (self.start, self.end, self.scanned) = (0, 0, 0);
        self.body = 0..0;
        self.skip = Skip::Nothing;
    }

    /// The framing.
    pub fn framing(&self) -> &F {
        &self.framing
    }

    /// The framing, to change it between two frames: for protocols that turn from lines to blocks. It looks at all that is pending anew.
    pub fn framing_mut(&mut self) -> &mut F {
        self.scanned = 0;
        &mut self.framing
    }

    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Goes to the next frame, if it is whole.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool, FrameError> {
        self.body = 0..0;
        if self.skip != Skip::Nothing {
            self.skip_more()?;
            if self.skip != Skip::Nothing {
                return Ok(false);
            }
        }
        let unread = self.unread();
        if unread.is_empty() {
            return Ok(false);
        }
        // Beyond the limit nothing is looked at, so that it makes no difference how much has been read.
        let seen = unread.get(..self.limit).unwrap_or(unread);
        let (limit, seen_len, unread_len) = (self.limit, seen.len(), unread.len());
        match self.framing.scan(seen, self.scanned).checked()? {
            Some((whole, _)) if whole > limit => Err(FrameError::TooLong { length: Some(whole), limit }),
            Some((whole, _)) if whole > unread_len => Ok(false),
            Some((whole, body)) => {
                self.body = self.start + body.start..self.start + body.end;
                self.drop_front(whole);
                Ok(true)
            }
            None => {
                self.scanned = seen_len;
                if seen_len < limit { Ok(false) } else { Err(FrameError::TooLong { length: None, limit }) }
            }
        }
    }

    /// Throws away what is there of the frame that is to be skipped.
    fn skip_more(&mut self) -> Result<(), FrameError> {
        let len = self.end - self.start;
        let left = match self.skip {
            Skip::Nothing => 0,
            Skip::Bytes(left) => left,
            Skip::ToTheEnd => match self.framing.scan(self.unread(), self.scanned).checked()? {
                Some((whole, _)) => whole,
                None => {
                    let keep = self.framing.overlap().min(len);
                    self.drop_front(len - keep);
                    self.scanned = keep;
                    // A header longer than the buffer.
                    return if keep < N { Ok(()) } else { Err(FrameError::TooLong { length: None, limit: self.limit }) };
                }
            },
        };
        self.drop_front(left.min(len));
        self.skip = if left > len { Skip::Bytes(left - len) } else { Skip::Nothing };
        Ok(())
    }

    fn drop_front(&mut self, n: usize) {
        self.start += n;
        self.scanned = 0;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}

impl<F: fmt::Debug, const N: usize> fmt::Debug for FrameBuffer<F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameBuffer")
            .field("framing", &self.framing)
            .field("limit", &self.limit)
            .field("unread", &(self.end - self.start))
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::{Delimiter, LengthPrefix, Scan};
    use super::*;

    const LINE: Delimiter = Delimiter::new(*b"\n");
    const CRLF: Delimiter<2> = Delimiter::new(*b"\r\n");

    fn feed<F: Framing, const N: usize>(buffer: &mut FrameBuffer<F, N>, bytes: &[u8]) {
        buffer.space()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    fn of<F: Framing, const N: usize>(framing: F, bytes: &[u8]) -> FrameBuffer<F, N> {
        let mut buffer = FrameBuffer::new(framing);
        feed(&mut buffer, bytes);
        buffer
    }

    fn some(frame: &[u8]) -> Result<Option<&[u8]>, FrameError> {
        Ok(Some(frame))
    }

    #[test]
    fn several_frames_of_one_read_come_one_by_one() {
        let mut lines = of::<_, 16>(LINE, b"a\n\nbc\nd");
        for line in [&b"a"[..], b"", b"bc"] {
            assert_eq!(lines.next_frame(), some(line));
            assert_eq!(lines.frame(), line);
        }
        assert_eq!(lines.next_frame(), Ok(None));
        assert_eq!((lines.frame(), lines.pending(), lines.is_empty()), (&b""[..], &b"d"[..], false));
    }

    #[test]
    fn frame_is_there_again_until_the_next_is_asked_for() {
        let mut lines = of::<_, 8>(LINE, b"abc\n");
        assert_eq!(lines.next_frame(), some(b"abc"));
        assert_eq!((lines.frame(), lines.is_empty()), (&b"abc"[..], true));
        assert_eq!(lines.space().len(), 8);
        assert_eq!(lines.frame(), b"");
    }

    #[test]
    fn next_frame_can_be_skipped_after_one_that_was_there_whole() {
        let mut frames = of::<_, 8>(LengthPrefix::U8, b"\x03abc");
        frames.skip_frame();
        assert_eq!(frames.next_frame(), Ok(None));
        frames.skip_frame();
        feed(&mut frames, b"\x01d\x01e");
        assert_eq!(frames.next_frame(), some(b"e"));
    }

    #[test]
    fn debug_says_how_much_is_unread() {
        let mut lines = of::<_, 8>(LINE, b"abc\ndef");
        assert_eq!(lines.next_frame(), some(b"abc"));
        let text = std::format!("{lines:?}");
        assert!(text.ends_with(", limit: 8, unread: 3, skip: Nothing, .. }"), "{text}");
    }

    #[test]
    fn too_long_is_said_as_soon_as_it_shows_and_again() {
        let known = Err(FrameError::TooLong { length: Some(10), limit: 9 });
        let mut frames = of::<_, 9>(LengthPrefix::U8, &[9]);
        assert_eq!(frames.next_frame(), known);
        feed(&mut frames, &[1; 8]);
        assert_eq!(frames.next_frame(), known);
        let unknown = Err(FrameError::TooLong { length: None, limit: 4 });
        let mut lines = of::<_, 9>(LINE, b"abcd").with_limit(4);
        assert_eq!(lines.next_frame(), unknown);
        // A delimiter behind the limit changes nothing.
        feed(&mut lines, b"\n");
        assert_eq!(lines.next_frame(), unknown);
        lines.clear();
        feed(&mut lines, b"abc\n");
        assert_eq!(lines.next_frame(), some(b"abc"));
    }

    #[test]
    fn limit_is_at_most_the_buffer() {
        let mut frames = of::<_, 4>(LengthPrefix::U8, &[4]).with_limit(100);
        assert_eq!(frames.next_frame(), Err(FrameError::TooLong { length: Some(5), limit: 4 }));
        let mut none = FrameBuffer::<_, 4>::new(LINE).with_limit(0);
        assert_eq!(none.next_frame(), Ok(None));
        feed(&mut none, b"\n");
        assert_eq!(none.next_frame(), Err(FrameError::TooLong { length: None, limit: 0 }));
    }

    #[test]
    fn more_than_the_space_is_all_of_it() {
        let mut lines = of::<_, 4>(LINE, b"a\n");
        lines.filled(usize::MAX);
        assert_eq!(lines.next_frame(), some(b"a"));
        assert_eq!(lines.pending().len(), 2);
    }

    #[test]
    fn skipped_lines_are_followed_by_the_next() {
        let mut lines = of::<_, 6>(CRLF, b"abcdef");
        assert!(lines.next_frame().is_err());
        lines.skip_frame();
        for more in [&b"\n"[..], b"g\r", b"\nhi\r\n"] {
            assert_eq!(lines.next_frame(), Ok(None));
            assert!(lines.is_empty());
            feed(&mut lines, more);
        }
        assert_eq!(lines.next_frame(), some(b"hi"));
    }

    #[test]
    fn skipped_frames_of_known_length_are_followed_by_the_next() {
        let mut frames = of::<_, 4>(LengthPrefix::U8, &[10, 1, 2, 3]);
        assert!(frames.next_frame().is_err());
        frames.skip_frame();
        for more in [&[4, 5, 6, 7][..], &[8, 9, 10, 1]] {
            assert_eq!(frames.next_frame(), Ok(None));
            assert!(frames.is_empty());
            feed(&mut frames, more);
        }
        assert_eq!(frames.next_frame(), Ok(None));
        assert!(!frames.is_empty());
        feed(&mut frames, &[7]);
        assert_eq!(frames.next_frame(), some(&[7]));
    }

    #[test]
    fn skipping_again_or_clearing_in_between() {
        let mut frames = of::<_, 4>(LengthPrefix::U8, &[4, 1]);
        frames.skip_frame();
        assert_eq!(frames.next_frame(), Ok(None));
        frames.skip_frame();
        feed(&mut frames, &[9, 9, 9, 0]);
        assert_eq!(frames.next_frame(), some(&[]));
        for begun in [&[][..], &[4, 1]] {
            feed(&mut frames, begun);
            frames.skip_frame();
            assert_eq!(frames.next_frame(), Ok(None));
            frames.clear();
            feed(&mut frames, &[1, 7]);
            assert_eq!(frames.next_frame(), some(&[7]));
        }
    }

    #[test]
    fn bytes_are_moved_only_when_room_is_short() {
        let mut lines = of::<_, 16>(LINE, b"ab\nc");
        assert_eq!(lines.next_frame(), some(b"ab"));
        assert_eq!(lines.space().len(), 12);
        feed(&mut lines, b"defgh\ni");
        assert_eq!(lines.next_frame(), some(b"cdefgh"));
        assert_eq!(lines.space().len(), 15);
        assert_eq!(lines.pending(), b"i");
    }

    #[test]
    fn first_frame_can_be_skipped_and_only_one() {
        let mut lines = FrameBuffer::<_, 8>::new(LINE);
        lines.skip_frame();
        lines.skip_frame();
        feed(&mut lines, b"x\ny\n");
        assert_eq!(lines.next_frame(), some(b"y"));
    }

    #[test]
    fn header_longer_than_the_buffer_cannot_be_skipped() {
        let mut frames = of::<_, 4>(LengthPrefix::U8.at(4), &[1; 4]);
        let error = Err(FrameError::TooLong { length: None, limit: 4 });
        assert_eq!(frames.next_frame(), error);
        frames.skip_frame();
        assert_eq!(frames.next_frame(), error);
    }

    #[test]
    fn framing_can_change_between_two_frames() {
        struct Both(bool);
        impl Framing for Both {
            fn scan(&self, bytes: &[u8], scanned: usize) -> Scan {
                if self.0 { LengthPrefix::U8.scan(bytes, scanned) } else { LINE.scan(bytes, scanned) }
            }
        }
        let mut frames = of::<_, 16>(Both(false), b"block\n\x03a\nb");
        assert_eq!(frames.next_frame(), some(b"block"));
        frames.framing_mut().0 = true;
        assert_eq!(frames.next_frame(), some(b"a\nb"));
        assert!(frames.framing().0);
        // What one framing has scanned, the next has not.
        let mut lines = of::<_, 16>(LINE, b"ab;c");
        assert_eq!(lines.next_frame(), Ok(None));
        *lines.framing_mut() = Delimiter::new(*b";");
        assert_eq!(lines.next_frame(), some(b"ab"));
    }

    #[test]
    fn wrong_answers_of_a_framing_are_errors() {
        struct Wrong(Scan);
        impl Framing for Wrong {
            fn scan(&self, _: &[u8], _: usize) -> Scan {
                self.0.clone()
            }
        }
        #[allow(clippy::reversed_empty_ranges)]
        for (whole, body) in [(0, 0..0), (2, 0..3), (2, 2..1), (2, usize::MAX..usize::MAX)] {
            let mut frames = of::<_, 8>(Wrong(Scan::Frame { whole, body }), b"abc");
            assert_eq!(frames.next_frame(), Err(FrameError::Malformed));
            frames.skip_frame();
            assert_eq!(frames.next_frame(), Err(FrameError::Malformed));
        }
    }

    // A framing sees what it has scanned, and only that is called scanned.
    #[test]
    fn scanned_is_what_was_there() {
        struct Spy(std::cell::RefCell<Vec<(usize, usize)>>);
        impl Framing for Spy {
            fn scan(&self, bytes: &[u8], scanned: usize) -> Scan {
                self.0.borrow_mut().push((bytes.len(), scanned));
                CRLF.scan(bytes, scanned)
            }
            fn overlap(&self) -> usize {
                CRLF.overlap()
            }
        }
        let mut lines = of::<_, 8>(Spy(Default::default()), b"ab");
        assert_eq!(lines.next_frame(), Ok(None));
        feed(&mut lines, b"c\r\nd");
        assert_eq!(lines.next_frame(), some(b"abc"));
        assert_eq!(lines.next_frame(), Ok(None));
        lines.skip_frame();
        feed(&mut lines, b"e");
        assert_eq!(lines.next_frame(), Ok(None));
        feed(&mut lines, b"\r");
        assert_eq!(lines.next_frame(), Ok(None));
        assert_eq!(*lines.framing().0.borrow(), [(2, 0), (6, 2), (1, 0), (2, 1), (2, 1)]);
        let mut lines = of::<_, 8>(Spy(Default::default()), b"abcdef").with_limit(4);
        assert!(lines.next_frame().is_err());
        lines.skip_frame();
        assert_eq!(lines.next_frame(), Ok(None));
        assert_eq!(*lines.framing().0.borrow(), [(4, 0), (6, 4)]);
    }

    proptest! {
        // Miri interprets.
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { ProptestConfig::default().cases },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        // Who takes all frames before more is read moves fewer bytes than are read; and has room behind the rest of a frame.
        #[test]
        fn moved_are_fewer_bytes_than_read(reads in prop::collection::vec(1..40usize, 1..200), lines in prop::collection::vec(0..30usize, 1..20)) {
            let mut input = lines.iter().cycle().flat_map(|&length| std::iter::repeat_n(b'a', length).chain([b'\n']));
            let mut buffer = FrameBuffer::<_, 32>::new(LINE);
            let (mut moved, mut read) = (0, 0);
            for most in reads {
                while buffer.next_frame().unwrap().is_some() {}
                let (len, start) = (buffer.end - buffer.start, buffer.start);
                let space = buffer.space();
                prop_assert!(!space.is_empty());
                let n = most.min(space.len());
                space[..n].fill_with(|| input.next().unwrap());
                moved += if buffer.start == start { 0 } else { len };
                buffer.filled(n);
                read += n;
                prop_assert!(moved <= read, "{} of {}", moved, read);
            }
        }
    }
}
