//! [`FrameBuffer::poll_frame`]: frames from a stream.

use core::task::{Poll, ready};

use super::{FrameBuffer, FrameError, Framing};
use crate::poller::Io;
use crate::stream::Reader;

impl<F: Framing, const N: usize> FrameBuffer<F, N> {
    /// The next frame of a stream, or `None` when the stream has ended and no frame had begun.
    ///
    /// Frames that are in the buffer come first, without a system call and without a look at the deadline; only when there is none does it
    /// read, as much as there is room for. After `Pending`, and after an error, what has arrived of a frame stays, and the same call goes on
    /// from there. The frame stays too, for [`frame`](FrameBuffer::frame), until the next one is asked for.
    ///
    /// A buffer belongs to one stream: bytes of the next frames are in it.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`] and [`FrameError::Malformed`] as [`next_frame`](FrameBuffer::next_frame), before the rest of that frame is
    /// read, [`FrameError::Truncated`] when the stream ends inside a frame, [`FrameError::Io`] as [`Reader::read`].
    pub fn poll_frame(&mut self, io: &mut Io<'_>, stream: &(impl Reader + ?Sized)) -> Poll<Result<Option<&[u8]>, FrameError>> {
        while !self.advance()? {
            match ready!(stream.read(io, self.space()))? {
                0 if self.is_empty() => return Poll::Ready(Ok(None)),
                0 => return Poll::Ready(Err(FrameError::Truncated { have: self.pending().len() })),
                n => self.filled(n),
            }
        }
        Poll::Ready(Ok(Some(self.frame())))
    }
}
