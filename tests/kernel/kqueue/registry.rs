//! Which queue a descriptor stands for. Nobody tells the model that one was closed: it finds out by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{self, Errno};
use rustix::process::{Pid, getpid};

use super::descriptor;
use super::quirks::Quirks;
use super::state::{Ears, State};

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) ears: Arc<Ears>,
    state: Mutex<State>,
    /// A child does not inherit it: row 76.
    process: Pid,
}

impl Queue {
    /// With the lock, and afterwards the queue's descriptor says whether something is queued.
    pub(super) fn locked<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        state.signal();
        result
    }

    /// Whether `fd` is the descriptor that listens to this queue's ears.
    fn is(&self, fd: BorrowedFd<'_>) -> bool {
        self.process == getpid() && descriptor::is_watched(fd, self.ears.queued.as_fd())
    }
}

static QUEUES: Mutex<BTreeMap<RawFd, Arc<Queue>>> = Mutex::new(BTreeMap::new());

fn queues() -> MutexGuard<'static, BTreeMap<RawFd, Arc<Queue>>> {
    QUEUES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Without close-on-exec: row 76.
pub(super) fn create(quirks: Quirks) -> io::Result<OwnedFd> {
    sweep();
    let kqueue = epoll::create(CreateFlags::empty())?;
    let ears = Arc::new(Ears::new()?);
    for ear in ears.all() {
        epoll::add(&kqueue, ear, EventData::new_u64(0), EventFlags::IN)?;
    }
    let state = Mutex::new(State::new(quirks, ears.clone()));
    queues().insert(kqueue.as_raw_fd(), Arc::new(Queue { ears, state, process: getpid() }));
    Ok(kqueue)
}

/// EBADF if it is not one: row 78.
pub(super) fn find(kqueue: BorrowedFd<'_>) -> io::Result<Arc<Queue>> {
    queues().get(&kqueue.as_raw_fd()).filter(|queue| queue.is(kqueue)).cloned().ok_or(Errno::BADF)
}

/// Closes what belongs to queues whose descriptors have been closed. `kqueue` does it too.
pub(super) fn sweep() {
    queues().retain(|fd, queue| descriptor::borrow(*fd).is_ok_and(|fd| queue.is(fd)));
}
