//! [`LengthPrefix`]: frames that begin with their length.

use core::ops::Range;

use super::{FrameError, Framing, Scan};

/// Frames that begin with a header in which their length stands. Netty's `LengthFieldBasedFrameDecoder`.
///
/// It starts with the kind of number, for which the header is that number, which counts what follows it, and the frame handed out is what
/// follows it. [`at`](LengthPrefix::at), [`counted_from`](LengthPrefix::counted_from) and [`body_from`](LengthPrefix::body_from) change
/// that, in any order; the positions they take are those of bytes in the frame, the first being 0.
///
/// | protocol | header | framing |
/// |---|---|---|
/// | DNS on TCP | length (2) | `U16_BE` |
/// | Modbus TCP | transaction (2), protocol (2), length (2) of what follows | `U16_BE.at(4).body_from(0)` |
/// | TPKT (S7, RDP) | version (1), reserved (1), length (2) of all of it | `U16_BE.at(2).counted_from(0).body_from(4)` |
/// | a type after the length, which does not count it | length (2), type (1) | `U16_LE.counted_from(3)` |
///
/// ```
/// use netpoll::frame::{FrameBuffer, FrameError, LengthPrefix};
/// /// With the header, for the transaction's number is in it.
/// const MODBUS: LengthPrefix = LengthPrefix::U16_BE.at(4).body_from(0);
///
/// let mut requests = FrameBuffer::<_, 1024>::new(MODBUS).with_limit(260);
/// let request = [0, 1, 0, 0, 0, 6, 17, 3, 0, 0, 0, 1];
/// requests.space()[..12].copy_from_slice(&request);
/// requests.filled(12);
/// assert_eq!(requests.next_frame(), Ok(Some(&request[..])));
///
/// requests.space()[..6].copy_from_slice(&[0, 2, 0, 0, 0xFF, 0xFF]); // refused before it arrives
/// requests.filled(6);
/// assert_eq!(requests.next_frame(), Err(FrameError::TooLong { length: Some(65541), limit: 260 }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LengthPrefix {
    offset: u16,
    /// 1 to 4 bytes.
    width: u8,
    little_endian: bool,
    counted_from: Option<u16>,
    body_from: Option<u16>,
}

impl LengthPrefix {
    /// One byte.
    pub const U8: LengthPrefix = LengthPrefix::new(1, false);
    /// Two bytes, big-endian.
    pub const U16_BE: LengthPrefix = LengthPrefix::new(2, false);
    /// Three bytes, big-endian.
    pub const U24_BE: LengthPrefix = LengthPrefix::new(3, false);
    /// Four bytes, big-endian.
    pub const U32_BE: LengthPrefix = LengthPrefix::new(4, false);
    /// Two bytes, little-endian.
    pub const U16_LE: LengthPrefix = LengthPrefix::new(2, true);
    /// Three bytes, little-endian.
    pub const U24_LE: LengthPrefix = LengthPrefix::new(3, true);
    /// Four bytes, little-endian.
    pub const U32_LE: LengthPrefix = LengthPrefix::new(4, true);

    const fn new(width: u8, little_endian: bool) -> LengthPrefix {
        LengthPrefix { offset: 0, width, little_endian, counted_from: None, body_from: None }
    }

    /// Where the number stands. 0 unless set.
    #[must_use]
    pub const fn at(self, offset: u16) -> LengthPrefix {
        LengthPrefix { offset, ..self }
    }

    /// The first byte that the number counts; 0 when it counts the whole frame. The byte after the number unless set.
    ///
    /// A frame that ends before its header or its body does is [`FrameError::Malformed`].
    #[must_use]
    pub const fn counted_from(self, position: u16) -> LengthPrefix {
        LengthPrefix { counted_from: Some(position), ..self }
    }

    /// The first byte that is handed out; 0 for frames with their header. The byte after the number unless set.
    #[must_use]
    pub const fn body_from(self, position: u16) -> LengthPrefix {
        LengthPrefix { body_from: Some(position), ..self }
    }

    /// Writes a frame with this body to the start of `out`, and says how many bytes that are.
    ///
    /// `body` is what the peer's framing, if it is the same, hands out: if that begins within the header, the header's other fields are
    /// taken from it and the number alone is put right. Bytes of the header before it are left as they are in `out`.
    ///
    /// ```
    /// use netpoll::frame::LengthPrefix;
    /// let mut out = [0xAA; 8];
    /// assert_eq!(LengthPrefix::U16_BE.encode(b"ping", &mut out), Ok(6));
    /// assert_eq!(out, *b"\0\x04ping\xAA\xAA");
    /// ```
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`] when the number cannot say it or `out` is too short, [`FrameError::Malformed`] when `body` begins within the
    /// header and ends there too, or ends before the number begins to count. `out` is unchanged.
    pub fn encode(&self, body: &[u8], out: &mut [u8]) -> Result<usize, FrameError> {
        let whole = self.body_start().saturating_add(body.len());
        let number = whole.checked_sub(self.count_start()).filter(|_| whole >= self.shortest()).ok_or(FrameError::Malformed)?;
        let too_long = |limit| FrameError::TooLong { length: Some(whole), limit };
        let number = u32::try_from(number)
            .ok()
            .filter(|&number| number <= self.max())
            .ok_or_else(|| too_long(self.count_start().saturating_add(to_usize(self.max()))))?;
        let limit = out.len();
        let place = out.get_mut(self.body_start()..whole).ok_or_else(|| too_long(limit))?;
        for (to, from) in place.iter_mut().zip(body) {
            *to = *from;
        }
        // Not beyond the end, since no frame is shorter than its header.
        if let Some(field) = out.get_mut(self.field()) {
            self.write(number, field);
        }
        Ok(whole)
    }

    #[inline]
    fn field(&self) -> Range<usize> {
        let start = usize::from(self.offset);
        start..start + usize::from(self.width)
    }

    #[inline]
    fn count_start(&self) -> usize {
        self.counted_from.map_or(self.field().end, usize::from)
    }

    #[inline]
    fn body_start(&self) -> usize {
        self.body_from.map_or(self.field().end, usize::from)
    }

    /// The length of the shortest frame.
    #[inline]
    fn shortest(&self) -> usize {
        self.field().end.max(self.body_start())
    }

    /// The largest number.
    fn max(&self) -> u32 {
        u32::MAX >> (u32::BITS - 8 * u32::from(self.width))
    }

    #[inline]
    fn read(&self, field: &[u8]) -> u32 {
        let append = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        if self.little_endian { field.iter().rev().fold(0, append) } else { field.iter().fold(0, append) }
    }

    fn write(&self, mut number: u32, field: &mut [u8]) {
        let mut take = |byte: &mut u8| {
            *byte = number as u8; // the lowest eight bits
            number >>= 8;
        };
        if self.little_endian { field.iter_mut().for_each(take) } else { field.iter_mut().rev().for_each(&mut take) }
    }
}

/// No machine with epoll or kqueue has smaller addresses.
fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Framing for LengthPrefix {
    #[inline]
    fn scan(&self, bytes: &[u8], _scanned: usize) -> Scan {
        let Some(field) = bytes.get(self.field()) else { return Scan::More };
        let whole = self.count_start().saturating_add(to_usize(self.read(field)));
        if whole < self.shortest() {
            return Scan::Malformed;
        }
        Scan::Frame { whole, body: self.body_start()..whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [(LengthPrefix, &[u8]); 7] = [
        (LengthPrefix::U8, &[3]),
        (LengthPrefix::U16_BE, &[1, 2]),
        (LengthPrefix::U24_BE, &[1, 2, 3]),
        (LengthPrefix::U32_BE, &[1, 2, 3, 4]),
        (LengthPrefix::U16_LE, &[2, 1]),
        (LengthPrefix::U24_LE, &[3, 2, 1]),
        (LengthPrefix::U32_LE, &[4, 3, 2, 1]),
    ];

    #[test]
    fn number_is_read_and_written_in_its_order() {
        for (framing, field) in KINDS {
            let number = [3, 0x102, 0x1_0203, 0x102_0304][field.len() - 1];
            assert_eq!(framing.read(field), number, "{framing:?}");
            let mut written = [0; 4];
            framing.write(number, &mut written[..field.len()]);
            assert_eq!(written[..field.len()], *field, "{framing:?}");
            let whole = field.len() + number as usize;
            assert_eq!(framing.scan(field, 0), Scan::Frame { whole, body: field.len()..whole });
            assert_eq!(framing.scan(&field[1..], 0), Scan::More);
        }
    }

    #[test]
    fn number_counts_from_where_it_is_told() {
        let tpkt = LengthPrefix::U16_BE.body_from(4).counted_from(0).at(2);
        assert_eq!(tpkt.scan(&[3, 0, 0], 0), Scan::More);
        assert_eq!(tpkt.scan(&[3, 0, 0, 9], 0), Scan::Frame { whole: 9, body: 4..9 });
        assert_eq!(tpkt.scan(&[3, 0, 0, 4], 0), Scan::Frame { whole: 4, body: 4..4 });
        assert_eq!(tpkt.scan(&[3, 0, 0, 3], 0), Scan::Malformed);
        let typed = LengthPrefix::U16_LE.counted_from(3);
        assert_eq!(typed.scan(&[0, 0], 0), Scan::Frame { whole: 3, body: 2..3 });
        // A body that begins behind the end.
        assert_eq!(LengthPrefix::U8.body_from(4).scan(&[2, 0, 0], 0), Scan::Malformed);
    }

    #[test]
    fn longest_number_does_not_overflow() {
        let far = LengthPrefix::U32_BE.counted_from(u16::MAX);
        let whole = (u32::MAX as usize).saturating_add(usize::from(u16::MAX));
        assert_eq!(far.scan(&[0xFF; 4], 0), Scan::Frame { whole, body: 4..whole });
        let field_at_the_end = LengthPrefix::U32_LE.at(u16::MAX);
        assert_eq!(field_at_the_end.scan(&[0xFF; 65538], 0), Scan::More);
        assert_eq!(field_at_the_end.scan(&[0; 65539], 0), Scan::Frame { whole: 65539, body: 65539..65539 });
    }

    #[test]
    fn encode_says_what_does_not_fit() {
        let too_long = |length, limit| Err(FrameError::TooLong { length: Some(length), limit });
        let mut out = [0xAA; 300];
        assert_eq!(LengthPrefix::U8.encode(&[1; 255], &mut out), Ok(256));
        assert_eq!(LengthPrefix::U8.encode(&[1; 256], &mut out), too_long(257, 256));
        assert_eq!(LengthPrefix::U8.counted_from(0).encode(&[1; 255], &mut out), too_long(256, 255));
        assert_eq!(LengthPrefix::U16_BE.encode(&[1; 299], &mut out), too_long(301, 300));
        assert_eq!(LengthPrefix::U16_BE.encode(&[], &mut []), too_long(2, 0));
        // The frame would end before the first byte that its number counts, or within its header.
        assert_eq!(LengthPrefix::U8.counted_from(2).encode(&[], &mut out), Err(FrameError::Malformed));
        assert_eq!(LengthPrefix::U8.counted_from(2).encode(&[7], &mut out), Ok(2));
        assert_eq!(LengthPrefix::U32_BE.body_from(0).encode(&[0; 3], &mut out), Err(FrameError::Malformed));
    }

    #[test]
    fn encode_leaves_the_other_fields() {
        let modbus = LengthPrefix::U16_BE.at(4);
        let mut out = [0xAA; 10];
        assert_eq!(modbus.encode(&[1, 3], &mut out), Ok(8));
        assert_eq!(out, [0xAA, 0xAA, 0xAA, 0xAA, 0, 2, 1, 3, 0xAA, 0xAA]);
        assert_eq!(modbus.body_from(0).encode(&[0, 9, 0, 0, 77, 77, 1, 3], &mut out), Ok(8));
        assert_eq!(out, [0, 9, 0, 0, 0, 2, 1, 3, 0xAA, 0xAA]);
    }
}
