//! [`EventFd`]: a counter to wait for.

use core::task::Poll;

use rustix::event::EventfdFlags;
use rustix::io::{Errno, retry_on_intr};

use super::read_number;
use crate::descriptor::{Unopened, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A 64-bit counter that others add to, and that is waited for until it is not zero: eventfd(2).
///
/// It is for what is told by an eventfd: completions of the kernel's (AIO, io_uring), interrupts (VFIO, UIO, KVM), memory pressure of a
/// cgroup, another process that was given a duplicate. To wake the loop from a thread, the [`Breaker`](crate::Breaker) is made: it needs no
/// slot, and many wakes are one system call.
///
/// Whoever adds has a duplicate of the descriptor, to be had from the [`Unopened`] by [`AsFd`](crate::AsFd), and writes eight bytes in the
/// machine's order. Each addition is an edge, also while the last one has not been read.
///
/// ```
/// # use core::task::{Poll, ready};
/// use netpoll::linux::EventFd;
/// use netpoll::{AsFd, Context, Error, Handler, Reactor, ReactorStorage};
///
/// struct Completions { counter: EventFd }
///
/// impl Handler for Completions {
///     type Shared = u64;
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         *cx.shared() += ready!(self.counter.poll_read(cx))?;
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// let mut storage = ReactorStorage::<Completions, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// let counter = EventFd::counter(0)?;
/// let theirs = counter.as_fd().try_clone_to_owned().unwrap();
/// reactor.spawn_with(counter, |counter| Completions { counter })?;
///
/// let mut completed = 0;
/// reactor.run_once(core::time::Duration::ZERO, &mut completed)?; // it waits
/// rustix::io::write(&theirs, &5u64.to_ne_bytes()).unwrap();
/// rustix::io::write(&theirs, &2u64.to_ne_bytes()).unwrap();
/// reactor.run(&mut completed)?;
/// assert_eq!(completed, 7);
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct EventFd {
    token: Token,
}

// Whoever reads it makes room in it: each read would be an edge of writing.
descriptor!(EventFd, interest: Interest::READ, must_not_block: true);
wait_deadline!(EventFd);

impl EventFd {
    /// A counter of which each read takes everything.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as eventfd(2): `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn counter(initial: u32) -> Result<Unopened<EventFd>, Error> {
        EventFd::with(initial, EventfdFlags::empty())
    }

    /// A semaphore: each read takes one (`EFD_SEMAPHORE`).
    ///
    /// # Errors
    ///
    /// As [`counter`](EventFd::counter).
    pub fn semaphore(initial: u32) -> Result<Unopened<EventFd>, Error> {
        EventFd::with(initial, EventfdFlags::SEMAPHORE)
    }

    fn with(initial: u32, kind: EventfdFlags) -> Result<Unopened<EventFd>, Error> {
        let flags = kind | EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        Ok(Unopened::new(rustix::event::eventfd(initial, flags)?))
    }

    /// Waits until the counter is not zero, and takes all of it, or one if it is a semaphore; says how much that was.
    ///
    /// More than one has emptied it: what is added after that is seen in the next turn.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] by the deadline, [`Error::Closed`], [`Error::NotOwner`], [`Error::Os`] with `EINVAL` for a descriptor of
    /// another kind.
    pub fn poll_read(&self, io: &mut Io<'_>) -> Poll<Result<u64, Error>> {
        // More than one is what a counter gives, all that it had; a semaphore gives one, and perhaps has more.
        io.poll_io_drained(self.token, Direction::Read, |fd| read_number(fd)?.ok_or(Errno::INVAL).map(|n| (n, n > 1)))
    }

    /// Adds `n`, all of it or nothing, at once.
    ///
    /// To wait for room, which takes additions of 2⁶³, open the descriptor as `(fd, Interest::READ | Interest::WRITE)` and write the eight
    /// bytes by [`poll_io`](Io::poll_io).
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EAGAIN` where the counter would exceed 2⁶⁴ - 2, with `EINVAL` for an `n` of 2⁶⁴ - 1, which never fits.
    /// [`Error::Closed`], [`Error::NotOwner`].
    pub fn add(&self, io: &mut Io<'_>, n: u64) -> Result<(), Error> {
        let fd = io.fd(self.token)?;
        retry_on_intr(|| rustix::io::write(fd, &n.to_ne_bytes()))?;
        Ok(())
    }
}
