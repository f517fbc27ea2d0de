//! [`Descriptor`]: what every opened descriptor has; and [`Unopened`]: one that belongs to nobody yet.

use core::fmt;
use core::marker::PhantomData;

use crate::arch;
use crate::error::Rejected;
use crate::interest::Interest;
use crate::poller::{Io, is_blocking};
use crate::source::Source;
use crate::token::Token;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) mod sealed {
    /// Only this crate knows whether its calls would block on a descriptor.
    pub trait Sealed {}
}

/// A kind of descriptor: what an [`Unopened`] becomes. Implemented by the types of [`net`](crate::net), [`os`](crate::os) and
/// [`linux`](crate::linux), each of which is a token that knows the calls that suit it.
pub trait Descriptor: sealed::Sealed + Sized {
    /// The directions to open.
    #[doc(hidden)]
    const INTEREST: Interest;

    /// Whether its calls would block on a blocking descriptor.
    #[doc(hidden)]
    const MUST_NOT_BLOCK: bool;

    #[doc(hidden)]
    fn from_token(token: Token) -> Self;
}

/// Implements [`Descriptor`] for a `struct` with the field `token`, and what all of them offer. A generic one names its parameter behind
/// `where`, and behind the rest the field that marks it.
macro_rules! descriptor {
    (
        $kind:ty $(where $param:ident: $bound:path)?,
        interest: $interest:expr,
        must_not_block: $must_not_block:expr
        $(, $mark:ident: $value:expr)?
    ) => {
        impl $(<$param: $bound>)? $crate::descriptor::sealed::Sealed for $kind {}

        impl $(<$param: $bound>)? $crate::descriptor::Descriptor for $kind {
            const INTEREST: $crate::Interest = $interest;
            const MUST_NOT_BLOCK: bool = $must_not_block;

            fn from_token(token: $crate::Token) -> Self {
                Self { token $(, $mark: $value)? }
            }
        }

        impl $(<$param: $bound>)? $kind {
            /// The token, for [`Io::poll_io`](crate::Io::poll_io), [`Io::fd`](crate::Io::fd) and [`Context::give`](crate::Context::give).
            pub fn token(&self) -> $crate::Token {
                self.token
            }

            /// Closes it now rather than at the handler's end: gives the descriptor back, and dropping that closes it.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn close(&self, io: &mut $crate::Io<'_>) -> Result<$crate::OwnedFd, $crate::Error> {
                io.close(self.token)
            }
        }
    };
}

/// Implements [`Reader`](crate::Reader) by the type's own `read`, and offers the rest without the trait.
macro_rules! reader {
    ($kind:ty) => {
        impl $crate::stream::Reader for $kind {
            #[inline]
            fn read(&self, io: &mut $crate::Io<'_>, buf: &mut [u8]) -> core::task::Poll<Result<usize, $crate::Error>> {
                <$kind>::read(self, io, buf)
            }
        }

        impl $kind {
            /// Reads until `buf` is full from `*filled` on, and keeps `*filled` up to date: after `Pending`, and after an error, it says how
            /// much has arrived, and the same call goes on from there. Go's `io.ReadFull`.
            ///
            /// # Errors
            ///
            /// As `read`; [`Error::UnexpectedEof`](crate::Error::UnexpectedEof) when the stream ends before, also if `*filled` is still 0.
            pub fn read_exact(
                &self,
                io: &mut $crate::Io<'_>,
                buf: &mut [u8],
                filled: &mut usize,
            ) -> core::task::Poll<Result<(), $crate::Error>> {
                $crate::stream::Reader::read_exact(self, io, buf, filled)
            }
        }
    };
}

/// Implements [`Writer`](crate::Writer) by the type's own `write`, and offers the rest without the trait.
macro_rules! writer {
    ($kind:ty) => {
        impl $crate::stream::Writer for $kind {
            #[inline(always)]
            fn write(&self, io: &mut $crate::Io<'_>, buf: &[u8]) -> core::task::Poll<Result<usize, $crate::Error>> {
                <$kind>::write(self, io, buf)
            }
        }

        impl $kind {
            /// Writes all of `buf` from `*sent` on, and keeps `*sent` up to date: after `Pending`, and after an error, it says how much went
            /// out, and the same call goes on from there.
            ///
            /// Start with 0. Only the owner can write, so nothing comes in between.
            ///
            /// # Errors
            ///
            /// As `write`. After [`Error::TimedOut`](crate::Error::TimedOut) set the deadline anew and call again: nothing is lost or sent
            /// twice.
            #[inline(always)]
            pub fn write_all(&self, io: &mut $crate::Io<'_>, buf: &[u8], sent: &mut usize) -> core::task::Poll<Result<(), $crate::Error>> {
                $crate::stream::Writer::write_all(self, io, buf, sent)
            }
        }
    };
}

/// The deadline of reads.
macro_rules! read_deadline {
    ($kind:ty) => {
        impl $kind {
            /// Sets or clears the moment after which reads answer [`Error::TimedOut`](crate::Error::TimedOut), also when data is there:
            /// absolute, sticky. Go's `SetReadDeadline`.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            #[inline]
            pub fn set_read_deadline(&self, io: &mut $crate::Io<'_>, at: Option<$crate::Instant>) -> Result<(), $crate::Error> {
                io.set_deadline(self.token, $crate::Direction::Read, at)
            }

            /// As [`set_read_deadline`](Self::set_read_deadline), from now, by a fresh look at the clock.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn set_read_timeout(&self, io: &mut $crate::Io<'_>, after: Option<core::time::Duration>) -> Result<(), $crate::Error> {
                io.set_timeout(self.token, $crate::Direction::Read, after)
            }
        }
    };
}

/// The deadline of writes.
macro_rules! write_deadline {
    ($kind:ty) => {
        impl $kind {
            /// Sets or clears the moment after which writes, and a wait for the connection, answer
            /// [`Error::TimedOut`](crate::Error::TimedOut): absolute, sticky. Go's `SetWriteDeadline`.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            #[inline]
            pub fn set_write_deadline(&self, io: &mut $crate::Io<'_>, at: Option<$crate::Instant>) -> Result<(), $crate::Error> {
                io.set_deadline(self.token, $crate::Direction::Write, at)
            }

            /// As [`set_write_deadline`](Self::set_write_deadline), from now, by a fresh look at the clock.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn set_write_timeout(&self, io: &mut $crate::Io<'_>, after: Option<core::time::Duration>) -> Result<(), $crate::Error> {
                io.set_timeout(self.token, $crate::Direction::Write, after)
            }
        }
    };
}

/// The deadlines of both directions, each by itself and together.
macro_rules! deadlines {
    ($kind:ty) => {
        $crate::descriptor::read_deadline!($kind);
        $crate::descriptor::write_deadline!($kind);

        impl $kind {
            /// Sets or clears both deadlines. Go's `SetDeadline`.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            #[inline]
            pub fn set_deadline(&self, io: &mut $crate::Io<'_>, at: Option<$crate::Instant>) -> Result<(), $crate::Error> {
                io.set_deadlines(self.token, at)
            }

            /// As [`set_deadline`](Self::set_deadline), from now, by a fresh look at the clock.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn set_timeout(&self, io: &mut $crate::Io<'_>, after: Option<core::time::Duration>) -> Result<(), $crate::Error> {
                io.set_timeouts(self.token, after)
            }
        }
    };
}

pub(crate) use {deadlines, descriptor, read_deadline, reader, write_deadline, writer};

/// A descriptor that belongs to nobody yet: made by `bind`, `connect` or `accept`, to become a `T` when its owner opens it.
///
/// Dropping it closes it. Options and addresses can be had before, through [`AsFd`] too.
///
/// ```
/// use netpoll::net::TcpListener;
/// let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
/// println!("listening on {}", listener.local_addr()?);
/// # Ok::<(), netpoll::Error>(())
/// ```
#[must_use = "dropping it closes it"]
pub struct Unopened<T> {
    fd: OwnedFd,
    connecting: bool,
    /// Made elsewhere: nobody knows whether it blocks.
    inherited: bool,
    kind: PhantomData<fn() -> T>,
}

impl<T: Descriptor> Unopened<T> {
    pub(crate) fn new(fd: OwnedFd) -> Unopened<T> {
        Unopened { fd, connecting: false, inherited: false, kind: PhantomData }
    }

    pub(crate) fn connecting(fd: OwnedFd) -> Unopened<T> {
        Unopened { fd, connecting: true, inherited: false, kind: PhantomData }
    }

    /// Opens it for whoever runs: one `epoll_ctl`.
    ///
    /// # Errors
    ///
    /// As [`Io::open`], with the descriptor, unchanged; `EINVAL` for one that was made elsewhere and would block.
    pub fn open(self, io: &mut Io<'_>) -> Result<T, Rejected<Unopened<T>>> {
        let Unopened { fd, connecting, inherited, kind } = self;
        let blocks = inherited && T::MUST_NOT_BLOCK && is_blocking(fd.as_fd());
        if inherited {
            if let Err(errno) = arch::prepare_socket(fd.as_fd()) {
                return Err(Rejected::new(Unopened { fd, connecting, inherited, kind }, errno));
            }
        }
        let interest = if connecting { T::INTEREST | Interest::CONNECTING } else { T::INTEREST };
        match io.open_unless(blocks, fd, interest) {
            Ok(token) => Ok(T::from_token(token)),
            Err(rejected) => Err(rejected.map(|fd| Unopened { fd, connecting, inherited, kind })),
        }
    }
}

impl<T: Descriptor> Source for Unopened<T> {
    type Opened = T;

    fn open(self, io: &mut Io<'_>) -> Result<T, Rejected<Self>> {
        Unopened::open(self, io)
    }
}

impl<T: Descriptor> From<OwnedFd> for Unopened<T> {
    /// A descriptor that the program made or inherited itself: of the right kind, non-blocking; a socket connected or listening already.
    fn from(fd: OwnedFd) -> Unopened<T> {
        Unopened { inherited: true, ..Unopened::new(fd) }
    }
}

impl<T> From<Unopened<T>> for OwnedFd {
    fn from(unopened: Unopened<T>) -> OwnedFd {
        unopened.fd
    }
}

impl<T> AsFd for Unopened<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T> fmt::Debug for Unopened<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unopened").field("fd", &self.fd).field("connecting", &self.connecting).finish()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn unopened_prints_its_descriptor() {
        let (read, _write) = crate::os::pipe().unwrap();
        let text = std::format!("{read:?}");
        assert!(text.starts_with("Unopened { fd: OwnedFd {") && text.ends_with(", connecting: false }"), "{text}");
    }
}
