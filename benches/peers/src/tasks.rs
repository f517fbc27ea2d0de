//! For peers that run tasks: what they have done, and who waits for it.

use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Poll, Waker};

/// One thread's; shared as tasks want it.
#[derive(Debug, Default)]
pub struct Progress {
    waiting: AtomicU64,
    events: AtomicU64,
    target: AtomicU64,
    who: Mutex<Option<Waker>>,
}

impl Progress {
    /// A task is about to wait for the first time.
    pub fn waits(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// How many have come that far.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed) as usize
    }

    /// One event more. Of one thread: no read-modify-write is needed.
    #[inline]
    pub fn event(&self) {
        let events = self.events.load(Relaxed) + 1;
        self.events.store(events, Relaxed);
        if events == self.target.load(Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if let Some(waker) = self.who.lock().expect("nobody panics").take() {
            waker.wake();
        }
    }

    /// Waits for so many events more.
    pub async fn more(&self, events: u64) {
        let target = self.target.load(Relaxed) + events;
        self.target.store(target, Relaxed);
        poll_fn(|cx| {
            if self.events.load(Relaxed) >= target {
                return Poll::Ready(());
            }
            *self.who.lock().expect("nobody panics") = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// Lets the other tasks run.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
