//! [`Reader`] and [`Writer`]: what streams of bytes have in common.

use core::task::{Poll, ready};

use rustix::io::Errno;

use crate::error::Error;
use crate::poller::Io;

/// What can be read from as a stream of bytes: Go's `io.Reader`.
///
/// ```
/// # use core::task::{Poll, ready};
/// use netpoll::{Error, Io, Reader};
///
/// /// Reads a big-endian number; `filled` starts with 0, and remembers how much has arrived.
/// fn read_u32(io: &mut Io<'_>, stream: &impl Reader, bytes: &mut [u8; 4], filled: &mut usize) -> Poll<Result<u32, Error>> {
///     ready!(stream.read_exact(io, bytes, filled))?;
///     *filled = 0;
///     Poll::Ready(Ok(u32::from_be_bytes(*bytes)))
/// }
/// ```
pub trait Reader {
    /// Reads what is there, at most `buf.len()` bytes; 0 is the end of the stream, unless `buf` is empty.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the read deadline, [`Error::Os`] with what the kernel says, [`Error::Closed`], [`Error::NotOwner`].
    fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>>;

    /// Reads until `buf` is full from `*filled` on, and keeps `*filled` up to date: after `Pending`, and after an error, it says how much has
    /// arrived, and the same call goes on from there. Go's `io.ReadFull`.
    ///
    /// # Errors
    ///
    /// As [`read`](Reader::read); [`Error::UnexpectedEof`] when the stream ends before, also if `*filled` is still 0; `EINVAL` when
    /// `read` says that it gave more than was asked for.
    fn read_exact(&self, io: &mut Io<'_>, buf: &mut [u8], filled: &mut usize) -> Poll<Result<(), Error>> {
        loop {
            match buf.get_mut(*filled..) {
                Some(rest) if !rest.is_empty() => match ready!(self.read(io, rest))? {
                    0 => return Poll::Ready(Err(Error::UnexpectedEof)),
                    n if n <= rest.len() => *filled += n,
                    _ => return Poll::Ready(Err(Errno::INVAL.into())),
                },
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// What can be written to as a stream of bytes: Go's `io.Writer`.
pub trait Writer {
    /// Writes as much as the kernel takes, and says how much.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the write deadline, [`Error::Os`] with what the kernel says, [`Error::Closed`], [`Error::NotOwner`].
    fn write(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>>;

    /// Writes all of `buf` from `*sent` on, and keeps `*sent` up to date: after `Pending`, and after an error, it says how much went out, and
    /// the same call goes on from there.
    ///
    /// # Errors
    ///
    /// As [`write`](Writer::write); [`Error::UnexpectedEof`] when nothing is taken and no error said why, as Go has it; `EINVAL` when `write`
    /// says that it took more than there was.
    #[inline(always)]
    fn write_all(&self, io: &mut Io<'_>, buf: &[u8], sent: &mut usize) -> Poll<Result<(), Error>> {
        let rest = match buf.get(*sent..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => return Poll::Ready(Ok(())),
        };
        // By far the most often the kernel takes all.
        match ready!(self.write(io, rest))? {
            n if n == rest.len() => {
                *sent = buf.len();
                Poll::Ready(Ok(()))
            }
            n => write_rest(self, io, buf, sent, n),
        }
    }
}

/// Goes on after a write that has taken `n` bytes, not all.
#[cold]
#[inline(never)]
fn write_rest<W: Writer + ?Sized>(writer: &W, io: &mut Io<'_>, buf: &[u8], sent: &mut usize, mut n: usize) -> Poll<Result<(), Error>> {
    loop {
        let left = buf.len().saturating_sub(*sent);
        match n {
            0 => return Poll::Ready(Err(Error::UnexpectedEof)),
            n if n <= left => *sent += n,
            _ => return Poll::Ready(Err(Errno::INVAL.into())),
        }
        match buf.get(*sent..) {
            Some(rest) if !rest.is_empty() => n = ready!(writer.write(io, rest))?,
            _ => return Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::Waiter;
    use crate::poller::{Poller, PollerStorage};

    /// Answers always the same.
    struct Always(usize);

    impl Reader for Always {
        fn read(&self, _: &mut Io<'_>, _: &mut [u8]) -> Poll<Result<usize, Error>> {
            Poll::Ready(Ok(self.0))
        }
    }

    impl Writer for Always {
        fn write(&self, _: &mut Io<'_>, _: &[u8]) -> Poll<Result<usize, Error>> {
            Poll::Ready(Ok(self.0))
        }
    }

    #[test]
    fn wrong_answers_are_errors() {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = Poller::new(&mut storage).unwrap();
        let mut io = poller.io(Waiter::new(1));
        // 2 of 3 are possible once, and too much for what is left.
        for (answer, expected, done) in [
            (0, Err(Error::UnexpectedEof), 0),
            (2, Err(Errno::INVAL.into()), 2),
            (4, Err(Errno::INVAL.into()), 0),
            (3, Ok(()), 3),
            (1, Ok(()), 3),
        ] {
            let (mut filled, mut sent) = (0, 0);
            assert_eq!(Always(answer).read_exact(&mut io, &mut [0; 3], &mut filled), Poll::Ready(expected), "{answer}");
            assert_eq!(Always(answer).write_all(&mut io, &[0; 3], &mut sent), Poll::Ready(expected), "{answer}");
            assert_eq!((filled, sent), (done, done), "{answer}");
        }
    }

    #[test]
    fn nothing_left_asks_nobody() {
        let mut storage = PollerStorage::<1>::new();
        let mut poller = Poller::new(&mut storage).unwrap();
        let mut io = poller.io(Waiter::new(1));
        for length in [0, 3] {
            let (mut filled, mut sent) = (length, length);
            assert_eq!(Always(4).read_exact(&mut io, &mut [0; 3][..length], &mut filled), Poll::Ready(Ok(())));
            assert_eq!(Always(4).write_all(&mut io, &[0; 3][..length], &mut sent), Poll::Ready(Ok(())));
            assert_eq!((filled, sent), (length, length));
        }
    }
}
