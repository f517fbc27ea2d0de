//! Frames: the messages of a protocol, cut out of a stream of bytes in a fixed buffer.
//!
//! A stream has no borders: a read may give half a message or three of them. A [`FrameBuffer`] keeps what was read until a frame is whole,
//! and a [`Framing`] says where it ends: a [`LengthPrefix`], a [`Delimiter`], or one of the program's own. Framings make no system call and
//! know no descriptor; [`FrameBuffer::poll_frame`] is what connects them with a [`Reader`](crate::Reader).
//!
//! A console, whose requests are lines:
//!
//! ```
//! # use core::task::{Poll, ready};
//! use netpoll::frame::{Delimiter, FrameBuffer};
//! use netpoll::net::TcpStream;
//! use netpoll::{Context, Error, Handler};
//!
//! struct Console { stream: TcpStream, lines: FrameBuffer<Delimiter, 128>, answer: &'static [u8], sent: usize }
//!
//! impl Handler for Console {
//!     type Shared = ();
//!     type Error = Error;
//!
//!     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
//!         loop {
//!             ready!(self.stream.write_all(cx, self.answer, &mut self.sent))?;
//!             let Some(line) = ready!(self.lines.poll_frame(cx, &self.stream))? else { return Poll::Ready(Ok(())) };
//!             self.answer = match line.trim_ascii_end() { // some end their lines with "\r\n"
//!                 b"*IDN?" => b"example,console,0,1\n",
//!                 _ => b"ERROR\n",
//!             };
//!             self.sent = 0;
//!         }
//!     }
//! }
//!
//! fn console(stream: TcpStream) -> Console {
//!     Console { stream, lines: FrameBuffer::new(Delimiter::new(*b"\n")), answer: b"", sent: 0 }
//! }
//! ```
//!
//! An echo of frames that begin with their length. The frame stays where it is until the next one is asked for, so that it can be written
//! from there, however often the write has to wait:
//!
//! ```
//! # use core::task::{Poll, ready};
//! use netpoll::frame::{FrameBuffer, LengthPrefix};
//! use netpoll::net::TcpStream;
//! use netpoll::{Context, Error, Handler};
//!
//! struct Echo { stream: TcpStream, frames: FrameBuffer<LengthPrefix, 1024>, sent: usize }
//!
//! impl Handler for Echo {
//!     type Shared = ();
//!     type Error = Error;
//!
//!     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
//!         loop {
//!             ready!(self.stream.write_all(cx, self.frames.frame(), &mut self.sent))?;
//!             if ready!(self.frames.poll_frame(cx, &self.stream))?.is_none() {
//!                 return Poll::Ready(Ok(())); // the peer has said all
//!             }
//!             self.sent = 0;
//!         }
//!     }
//! }
//!
//! fn echo(stream: TcpStream) -> Echo {
//!     let with_their_header = LengthPrefix::U16_BE.body_from(0);
//!     Echo { stream, frames: FrameBuffer::new(with_their_header), sent: 0 }
//! }
//! ```

mod buffer;
mod delimiter;
mod error;
mod length_prefix;
mod reader;

pub use buffer::FrameBuffer;
pub use delimiter::Delimiter;
pub use error::FrameError;
pub use length_prefix::LengthPrefix;

use core::ops::Range;

/// Where the frames of a stream end. Go's `bufio.SplitFunc`.
///
/// What it answers must follow from the bytes of the frame alone, and may not change when more of them come: then frames are the same
/// however the stream is cut into reads.
///
/// MQTT, whose lengths have one to four bytes and stand behind a byte of flags:
///
/// ```
/// use netpoll::frame::{FrameBuffer, Framing, Scan};
///
/// struct Mqtt;
///
/// impl Framing for Mqtt {
///     fn scan(&self, bytes: &[u8], _scanned: usize) -> Scan {
///         let mut length = 0;
///         for (i, &byte) in bytes.iter().enumerate().skip(1).take(4) {
///             length |= usize::from(byte & 0x7F) << (7 * (i - 1));
///             if byte < 0x80 {
///                 let whole = 1 + i + length;
///                 return Scan::Frame { whole, body: 0..whole };
///             }
///         }
///         if bytes.len() < 5 { Scan::More } else { Scan::Malformed }
///     }
/// }
///
/// let mut packets = FrameBuffer::<_, 256>::new(Mqtt);
/// packets.space()[..4].copy_from_slice(&[0xC0, 0, 0xD0, 0]); // PINGREQ, PINGRESP
/// packets.filled(4);
/// assert_eq!(packets.next_frame(), Ok(Some(&[0xC0, 0][..])));
/// assert_eq!(packets.next_frame(), Ok(Some(&[0xD0, 0][..])));
/// assert_eq!(packets.next_frame(), Ok(None));
/// ```
pub trait Framing {
    /// Looks for the end of the frame that `bytes` begin with, and which may be longer or shorter than they are.
    ///
    /// The first `scanned` of them were there at an earlier look, which answered [`Scan::More`]: who searches goes on from there. 0 for a
    /// frame that was not looked at before.
    fn scan(&self, bytes: &[u8], scanned: usize) -> Scan;

    /// How many bytes at the end of those for which [`scan`](Framing::scan) has answered [`Scan::More`] it must see again to find the end of
    /// the frame. What comes before them is dropped by [`FrameBuffer::skip_frame`]. All of them, unless overridden.
    fn overlap(&self) -> usize {
        usize::MAX
    }
}

/// What a [`Framing`] says of the start of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scan {
    /// Nothing yet: the frame's length does not show in so few bytes.
    More,
    /// The frame's length is known, whether or not it is all there.
    Frame {
        /// Its bytes on the wire, header and delimiter included; at least 1. What does not fit in a `usize` is `usize::MAX`.
        whole: usize,
        /// What of them is handed out.
        body: Range<usize>,
    },
    /// No frame begins like this.
    Malformed,
}

impl Scan {
    /// The frame's length, at least 1, and its body, which lies within; a program's own framing may answer anything.
    #[inline]
    fn checked(self) -> Result<Option<(usize, Range<usize>)>, FrameError> {
        match self {
            Scan::More => Ok(None),
            Scan::Frame { whole, body } if whole > 0 && body.start <= body.end && body.end <= whole => Ok(Some((whole, body))),
            Scan::Frame { .. } | Scan::Malformed => Err(FrameError::Malformed),
        }
    }
}
