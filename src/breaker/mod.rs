//! The break pipe and [`Breaker`]: how another thread or a signal handler ends the poller's wait.

mod flag;

use core::fmt;
use core::sync::atomic::{self, AtomicBool, AtomicU32};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{self, Errno};

use crate::arch;
use crate::error::Error;
use flag::WakeFlag;

/// A pipe and a flag that says whether a byte is in it. Lives in the lent storage, so that it outlives the poller.
#[derive(Debug)]
pub(crate) struct BreakPipe {
    flag: WakeFlag,
    /// The read end, then the write end; a vector because its empty state is all zeroes, which keeps lent storage in `.bss`.
    ends: heapless::Vec<OwnedFd, 2>,
}

impl BreakPipe {
    pub(crate) const fn new() -> BreakPipe {
        BreakPipe { flag: WakeFlag::new(AtomicBool::new(false), AtomicU32::new(0)), ends: heapless::Vec::new() }
    }

    /// A new pipe for a new poller; the old one, which nobody can hold any more, is closed.
    pub(crate) fn open(&mut self) -> Result<(), Errno> {
        self.ends.clear();
        let (read, write) = arch::pipe()?;
        self.ends = heapless::Vec::from_array([read, write]);
        self.flag.open();
        Ok(())
    }

    /// The poller is gone. The descriptors stay open as long as the storage is lent, because a wake may be under way in another thread.
    pub(crate) fn close(&self) {
        self.flag.close();
    }

    pub(crate) fn read_end(&self) -> Option<BorrowedFd<'_>> {
        self.ends.first().map(AsFd::as_fd)
    }

    pub(crate) fn is_end(&self, fd: BorrowedFd<'_>) -> bool {
        self.ends.iter().any(|end| end.as_raw_fd() == fd.as_raw_fd())
    }

    #[inline]
    pub(crate) fn wake(&self) -> Result<(), Error> {
        self.flag.wake(|| self.write()).unwrap_or(Err(Error::Closed))
    }

    fn write(&self) -> Result<(), Error> {
        let Some(write) = self.ends.get(1) else { return Err(Error::Closed) };
        loop {
            match io::write(write, &[0]) {
                // A full pipe wakes as well as one more byte would.
                Ok(_) | Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Takes the wake: those that come after this are another one.
    pub(crate) fn drain(&self) -> Result<(), Errno> {
        self.flag.drain(|| self.empty())
    }

    fn empty(&self) -> Result<(), Errno> {
        let Some(read) = self.ends.first() else { return Ok(()) };
        let mut bytes = [0; 64];
        loop {
            match io::read(read, &mut bytes) {
                Ok(n) if n == bytes.len() => {}
                // A short read has emptied a pipe; the registration is level-triggered, so a byte that comes now is reported again.
                Ok(1..) | Err(Errno::AGAIN) => return Ok(()),
                // Both ends are ours: this is no end of file that could ever be.
                Ok(_) => return Err(Errno::PIPE),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Wakes a poller from another thread, from a signal handler, or from the same thread. Go's `netpollBreak`.
///
/// It borrows the lent storage, not the poller, so it can be copied, sent to threads and kept in a `static`; the pipe stays open as long as
/// it lives, and never is somebody else's descriptor.
///
/// ```
/// use netpoll::{Poller, PollerStorage, Timeout};
/// let mut storage = PollerStorage::<0>::new();
/// let mut poller = Poller::new(&mut storage)?;
/// let breaker = poller.breaker();
/// std::thread::scope(|scope| {
///     scope.spawn(move || breaker.wake());
///     assert!(poller.poll(Timeout::Never, |_| {}).unwrap().woken);
/// });
/// drop(poller);
/// assert_eq!(breaker.wake(), Err(netpoll::Error::Closed));
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Breaker<'s> {
    pipe: &'s BreakPipe,
}

static_assertions::assert_impl_all!(Breaker<'static>: Copy, Send, Sync);

impl<'s> Breaker<'s> {
    pub(crate) fn new(pipe: &'s BreakPipe) -> Breaker<'s> {
        Breaker { pipe }
    }

    /// Makes the poller return from its wait, or not begin it: `Polled::woken` is then set, and the handlers that wait for a wake are run.
    ///
    /// Any number of wakes before the poller looks are one wake; only the first makes a system call (one `write`). What the caller did
    /// before is seen by whoever is run. Async-signal-safe: no lock, no allocation; on back-ends that go through libc `errno` may change if
    /// the `write` fails, elsewhere there is none. While more than 128 descriptors are ready at once, the wake takes its turn among them.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the poller is gone. [`Error::Os`] if the kernel refuses the `write`: `ENOMEM` when it has no page for the
    /// byte, `EPERM` by a seccomp filter. Nothing is pending then: wake again. (One that another thread made meanwhile, and that relied on
    /// this one, is lost with it.)
    #[inline]
    pub fn wake(self) -> Result<(), Error> {
        self.pipe.wake()
    }
}

impl fmt::Debug for Breaker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("pending", &self.pipe.flag.is_pending()).finish_non_exhaustive()
    }
}

/// A [`Breaker`] that owns its share of the pipe, for threads that outlive every borrow. Made by storage on the heap.
#[cfg(feature = "alloc")]
#[derive(Clone)]
pub struct SharedBreaker {
    pipe: alloc::sync::Arc<BreakPipe>,
}

#[cfg(feature = "alloc")]
impl SharedBreaker {
    pub(crate) fn new(pipe: alloc::sync::Arc<BreakPipe>) -> SharedBreaker {
        SharedBreaker { pipe }
    }

    /// As [`Breaker::wake`].
    ///
    /// # Errors
    ///
    /// As [`Breaker::wake`].
    #[inline]
    pub fn wake(&self) -> Result<(), Error> {
        self.pipe.wake()
    }
}

#[cfg(feature = "alloc")]
impl fmt::Debug for SharedBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Breaker::new(&self.pipe).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn opened() -> BreakPipe {
        let mut pipe = BreakPipe::new();
        pipe.open().unwrap();
        pipe
    }

    // A forked child has the pipe too, and a flag of its own.
    #[test]
    fn drain_leaves_nothing_however_much_there_is() {
        let pipe = opened();
        for len in [1, 63, 64, 65, 128, 1000] {
            assert_eq!(io::write(&pipe.ends[1], &[0; 1000][..len]), Ok(len));
            assert_eq!(pipe.drain(), Ok(()));
            assert_eq!(io::read(&pipe.ends[0], &mut [0]), Err(Errno::AGAIN), "{len}");
        }
    }

    // A second read would find the end of the pipe.
    #[test]
    fn one_read_empties_the_pipe_if_it_is_short() {
        for (len, expected) in [(1, Ok(())), (63, Ok(())), (64, Err(Errno::PIPE))] {
            let mut pipe = opened();
            assert_eq!(io::write(&pipe.ends[1], &[0; 64][..len]), Ok(len));
            drop(pipe.ends.pop());
            assert_eq!(pipe.drain(), expected, "{len}");
        }
    }

    #[test]
    fn breakers_print_whether_a_wake_is_pending() {
        let pipe = opened();
        let breaker = Breaker::new(&pipe);
        assert_eq!(format!("{breaker:?}"), "Breaker { pending: false, .. }");
        breaker.wake().unwrap();
        assert_eq!(format!("{breaker:?}"), "Breaker { pending: true, .. }");
        pipe.drain().unwrap();
        assert_eq!(format!("{breaker:?}"), "Breaker { pending: false, .. }");
        #[cfg(feature = "alloc")]
        assert_eq!(format!("{:?}", SharedBreaker::new(alloc::sync::Arc::new(pipe))), "Breaker { pending: false, .. }");
    }
}
