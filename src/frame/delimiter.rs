//! [`Delimiter`]: frames that end with a byte, or with a few.

use super::{FrameError, Framing, Scan};

/// Frames that end with a delimiter of `D` bytes, which is not part of what is handed out: the lines of NMEA, SCPI and AT commands, COBS.
///
/// Go's `bufio.ScanLines` also takes a `\r` away from the end of each line; here a frame is what stands before the delimiter:
/// `trim_ascii_end` or `strip_suffix(b"\r")` do it where both kinds of lines come.
///
/// What follows the last delimiter of a stream is a frame cut short, no frame.
///
/// ```
/// use netpoll::frame::{Delimiter, FrameBuffer};
/// const LINE: Delimiter = Delimiter::new(*b"\n");
/// const NMEA: Delimiter<2> = Delimiter::new(*b"\r\n");
/// const COBS: Delimiter = Delimiter::new([0]);
///
/// let mut out = [0; 16];
/// assert_eq!(NMEA.encode(b"$GPGGA", &mut out), Ok(8));
/// let mut lines = FrameBuffer::<_, 82>::new(NMEA);
/// lines.space()[..8].copy_from_slice(&out[..8]);
/// lines.filled(8);
/// assert_eq!(lines.next_frame(), Ok(Some(&b"$GPGGA"[..])));
/// ```
///
/// An empty delimiter does not compile:
///
/// ```compile_fail
/// let empty = netpoll::frame::Delimiter::new([]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delimiter<const D: usize = 1>([u8; D]);

impl<const D: usize> Delimiter<D> {
    /// The framing whose frames end with these bytes.
    pub const fn new(delimiter: [u8; D]) -> Delimiter<D> {
        const { assert!(D > 0, "a delimiter has at least one byte") };
        Delimiter(delimiter)
    }

    /// Writes `body` and the delimiter to the start of `out`, and says how many bytes that are.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`] when `out` is too short, [`FrameError::Malformed`] when the peer would see the frame end earlier, because the
    /// delimiter is in `body`. What `out` contains then is unspecified.
    pub fn encode(&self, body: &[u8], out: &mut [u8]) -> Result<usize, FrameError> {
        let whole = body.len().saturating_add(D);
        let too_long = FrameError::TooLong { length: Some(whole), limit: out.len() };
        let frame = out.get_mut(..whole).ok_or(too_long)?;
        for (to, from) in frame.iter_mut().zip(body.iter().chain(&self.0)) {
            *to = *from;
        }
        match self.end(frame, 0) {
            Some((end, _)) if end == whole => Ok(whole),
            _ => Err(FrameError::Malformed),
        }
    }

    /// Where the first delimiter ends that ends behind the first `from` bytes, and where it begins.
    fn end(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let last = self.0.last()?;
        let mut end = from;
        loop {
            // By its last byte, so that none has to be looked at again when the delimiter comes in pieces.
            end += 1 + position(bytes.get(end..)?, *last)?;
            if let Some(body) = bytes.get(..end)?.strip_suffix(&self.0) {
                return Some((end, body.len()));
            }
        }
    }
}

/// Where `byte` is first.
fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    const BLOCK: usize = 16;
    // A block without it is passed over at once, which takes a few instructions where the processor has vectors.
    let is_without = |block: &&[u8]| !block.iter().fold(false, |found, &other| found | (other == byte));
    let passed = BLOCK * bytes.chunks_exact(BLOCK).take_while(is_without).count();
    bytes.get(passed..)?.iter().position(|&other| other == byte).map(|at| passed + at)
}

impl<const D: usize> Framing for Delimiter<D> {
    #[inline]
    fn scan(&self, bytes: &[u8], scanned: usize) -> Scan {
        match self.end(bytes, scanned) {
            Some((whole, body)) => Scan::Frame { whole, body: 0..body },
            None => Scan::More,
        }
    }

    /// The start of a delimiter.
    fn overlap(&self) -> usize {
        D.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(whole: usize, body: usize) -> Scan {
        Scan::Frame { whole, body: 0..body }
    }

    #[test]
    fn frame_ends_with_the_first_delimiter() {
        let line = Delimiter::new(*b"\n");
        assert_eq!(line.scan(b"", 0), Scan::More);
        assert_eq!(line.scan(b"ab", 0), Scan::More);
        assert_eq!(line.scan(b"ab\ncd\n", 0), frame(3, 2));
        assert_eq!(line.scan(b"\n", 0), frame(1, 0));
    }

    #[test]
    fn delimiter_in_pieces_is_found() {
        let crlf = Delimiter::new(*b"\r\n");
        assert_eq!(crlf.scan(b"a\r", 0), Scan::More);
        assert_eq!(crlf.scan(b"a\r\n", 2), frame(3, 1));
        // Neither half alone is one, nor both with something in between.
        assert_eq!(crlf.scan(b"\n\ra\n", 0), Scan::More);
        assert_eq!(crlf.scan(b"\n\r\r\n", 0), frame(4, 2));
        assert_eq!(Delimiter::new(*b"aab").scan(b"aaab", 0), frame(4, 1));
        assert_eq!(Delimiter::new(*b"aa").scan(b"aaa", 0), frame(2, 0));
    }

    // What was scanned is not looked at again: a delimiter there stays unseen.
    #[test]
    fn search_goes_on_where_it_stopped() {
        assert_eq!(Delimiter::new(*b"\n").scan(b"\na\n", 1), frame(3, 2));
        assert_eq!(Delimiter::new(*b"\n").scan(b"\n", 5), Scan::More);
    }

    #[test]
    fn first_place_is_found_everywhere() {
        let mut bytes = [0; 70];
        for at in (0..70).rev() {
            bytes[at] = 1;
            assert_eq!(position(&bytes, 1), Some(at));
            assert_eq!(position(&bytes[..at], 1), None);
        }
    }

    #[test]
    fn encode_refuses_what_would_be_read_as_something_else() {
        let mut out = [0; 8];
        let crlf = Delimiter::new(*b"\r\n");
        assert_eq!(crlf.encode(b"a\r", &mut out), Ok(4));
        assert_eq!(crlf.encode(b"a\r\nb", &mut out), Err(FrameError::Malformed));
        assert_eq!(crlf.encode(b"1234567", &mut out), Err(FrameError::TooLong { length: Some(9), limit: 8 }));
        assert_eq!(crlf.encode(b"123456", &mut out), Ok(8));
        // The end of the body and the start of the delimiter make one.
        assert_eq!(Delimiter::new(*b"aa").encode(b"ba", &mut out), Err(FrameError::Malformed));
    }
}
