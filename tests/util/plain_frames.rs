//! Where frames end, found in a plain way: by looking at all that there is, in the words of the documentation. Tests and the fuzz target
//! `frames` compare `netpoll::frame` with it.

use std::ops::Range;

use netpoll::frame::{FrameError, LengthPrefix};

/// What a plain reading sees at the start of some bytes: the frame's length, if it shows, and its body.
pub type Found = Result<Option<(usize, Range<usize>)>, FrameError>;

pub fn delimited<const D: usize>(rest: &[u8], delimiter: [u8; D]) -> Found {
    Ok(rest.windows(D).position(|window| window == delimiter).map(|at| (at + D, 0..at)))
}

/// A length prefix in the words of its documentation.
#[derive(Clone, Debug)]
pub struct Header {
    pub width: usize,
    pub little_endian: bool,
    pub offset: usize,
    pub counted_from: Option<usize>,
    pub body_from: Option<usize>,
}

impl Header {
    pub fn framing(&self) -> LengthPrefix {
        let mut framing = match (self.width, self.little_endian) {
            (1, _) => LengthPrefix::U8,
            (2, false) => LengthPrefix::U16_BE,
            (3, false) => LengthPrefix::U24_BE,
            (4, false) => LengthPrefix::U32_BE,
            (2, true) => LengthPrefix::U16_LE,
            (3, true) => LengthPrefix::U24_LE,
            (4, true) => LengthPrefix::U32_LE,
            width => unreachable!("{width:?}"),
        };
        // In an order of its own.
        if let Some(from) = self.body_from {
            framing = framing.body_from(from as u16);
        }
        framing = framing.at(self.offset as u16);
        if let Some(from) = self.counted_from {
            framing = framing.counted_from(from as u16);
        }
        framing
    }

    pub fn end(&self) -> usize {
        self.offset + self.width
    }

    pub fn counted_from(&self) -> usize {
        self.counted_from.unwrap_or(self.end())
    }

    pub fn body_from(&self) -> usize {
        self.body_from.unwrap_or(self.end())
    }

    pub fn plain(&self, rest: &[u8]) -> Found {
        let Some(field) = rest.get(self.offset..self.end()) else { return Ok(None) };
        let mut digits = field.to_vec();
        if self.little_endian {
            digits.reverse();
        }
        let number = digits.iter().fold(0u128, |number, &digit| number * 256 + u128::from(digit));
        let whole = usize::try_from(number + self.counted_from() as u128).unwrap();
        if whole < self.end() || whole < self.body_from() {
            return Err(FrameError::Malformed);
        }
        Ok(Some((whole, self.body_from()..whole)))
    }
}
