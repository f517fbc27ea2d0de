//! [`WakeFlag`]: in which order those who wake and the one who is woken touch the flag and the pipe. What the pipe is does not matter here.

// From the parent, because tests/loom includes this file and gives it loom's, which have no constant constructor and no `get_mut`.
use super::atomic::{AtomicBool, AtomicU32, Ordering};

const IDLE: u32 = 0;
const PENDING: u32 = 1;

/// Whether there is a poller to wake, and whether a byte for it is in the pipe, or about to be.
#[derive(Debug)]
pub(super) struct WakeFlag {
    open: AtomicBool,
    /// Go's `netpollWakeSig`. No wider than 32 bits: not every gateway's CPU has more.
    pending: AtomicU32,
}

impl WakeFlag {
    /// Of two atomics that are zero: no poller.
    pub(super) const fn new(open: AtomicBool, pending: AtomicU32) -> WakeFlag {
        WakeFlag { open, pending }
    }

    /// For a new poller with an empty pipe. Nobody else looks at it yet, so the order is of no matter.
    pub(super) fn open(&mut self) {
        self.pending.store(IDLE, Ordering::Relaxed);
        self.open.store(true, Ordering::Relaxed);
    }

    /// Whoever is told by a later wake that the poller is gone also sees what it did before.
    pub(super) fn close(&self) {
        self.open.store(false, Ordering::Release);
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed) == PENDING
    }

    /// Has a byte written, unless one is pending; `None` when the poller is gone.
    ///
    /// Release: what the caller did before is seen by the poller that clears the flag, by this wake or by the pending one. Acquire: the
    /// byte comes after the pipe was emptied, or that would take it along.
    #[inline]
    pub(super) fn wake<E>(&self, write: impl FnOnce() -> Result<(), E>) -> Option<Result<(), E>> {
        if !self.open.load(Ordering::Acquire) {
            return None;
        }
        if self.pending.swap(PENDING, Ordering::AcqRel) == PENDING {
            return Some(Ok(()));
        }
        Some(self.first(write))
    }

    #[cold]
    fn first<E>(&self, write: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let written = write();
        if written.is_err() {
            // Without a byte the poller never clears the flag, and every later wake would be skipped.
            self.pending.swap(IDLE, Ordering::AcqRel);
        }
        written
    }

    /// Has the pipe emptied, then clears the flag, in this order: the other way round leaves a set flag over an empty pipe, and every later
    /// wake is skipped. The queues that a wake announces are looked at afterwards. Where emptying fails, a byte is left, which is reported
    /// again.
    ///
    /// A swap, never a store: a waker that found the flag set relies on this read-modify-write seeing what it published.
    pub(super) fn drain<E>(&self, empty: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        empty()?;
        self.pending.swap(IDLE, Ordering::AcqRel);
        Ok(())
    }
}
