//! [`FrameError`]: why there is no next frame.

use core::fmt;

use rustix::io::Errno;

use crate::error::Error;

/// Why there is no next frame, or no frame could be made.
///
/// `?` turns it into an [`Error`], which says less: [`TooLong`](FrameError::TooLong) becomes `EMSGSIZE`,
/// [`Malformed`](FrameError::Malformed) `EPROTO`, [`Truncated`](FrameError::Truncated) [`Error::UnexpectedEof`].
///
/// ```
/// use netpoll::{Errno, Error, frame::FrameError};
/// let error = FrameError::TooLong { length: Some(70000), limit: 1024 };
/// assert_eq!(error.to_string(), "frame of 70000 bytes is longer than the limit of 1024");
/// assert_eq!(FrameError::TooLong { length: None, limit: 80 }.to_string(), "frame is longer than the limit of 80 bytes");
/// assert_eq!(FrameError::Truncated { have: 7 }.to_string(), "unexpected EOF at byte 7 of a frame");
/// assert_eq!(FrameError::Io(Error::TimedOut).to_string(), "i/o timeout");
/// assert_eq!(Error::from(error), Error::Os(Errno::MSGSIZE));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is longer than the buffer or its limit, or than a header can say or the output holds. Lengths are those on the wire, header
    /// and delimiter included.
    TooLong {
        /// How long it is, if that shows before its end.
        length: Option<usize>,
        /// How long it may be.
        limit: usize,
    },
    /// This is no frame: its length is less than that of its header, or a body to be sent contains the delimiter.
    Malformed,
    /// The stream has ended inside a frame.
    Truncated {
        /// How many bytes of it have come.
        have: usize,
    },
    /// What reading said. After [`Error::TimedOut`] nothing is lost: set the deadline anew and go on.
    Io(Error),
}

impl From<Error> for FrameError {
    fn from(error: Error) -> FrameError {
        FrameError::Io(error)
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Error {
        match error {
            FrameError::TooLong { .. } => Error::Os(Errno::MSGSIZE),
            FrameError::Malformed => Error::Os(Errno::PROTO),
            FrameError::Truncated { .. } => Error::UnexpectedEof,
            FrameError::Io(error) => error,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrameError::TooLong { length: Some(length), limit } => write!(f, "frame of {length} bytes is longer than the limit of {limit}"),
            FrameError::TooLong { length: None, limit } => write!(f, "frame is longer than the limit of {limit} bytes"),
            FrameError::Malformed => f.write_str("malformed frame"),
            FrameError::Truncated { have } => write!(f, "unexpected EOF at byte {have} of a frame"),
            FrameError::Io(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_wrong_with_a_frame() {
        for (error, text) in [
            (FrameError::TooLong { length: Some(9), limit: 8 }, "frame of 9 bytes is longer than the limit of 8"),
            (FrameError::TooLong { length: None, limit: 8 }, "frame is longer than the limit of 8 bytes"),
            (FrameError::Malformed, "malformed frame"),
            (FrameError::Truncated { have: 3 }, "unexpected EOF at byte 3 of a frame"),
            (FrameError::Io(Error::TimedOut), "i/o timeout"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
