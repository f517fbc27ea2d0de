//! A model of kqueue on Linux, for tests: what kqueue(2) of the BSDs documents and does, over real Linux descriptors.
//!
//! It has the names and signatures of `rustix::event::kqueue`, as far as a reactor needs them, so that a back-end that is written
//! against rustix compiles against it. The queue is an epoll descriptor, so that it can be polled and nested; it watches two inner ones,
//! which tell the edges of reading from those of writing, and an eventfd that says that the model itself has something queued. Epoll only says
//! *when* to look: what is true of a descriptor is asked again when an event is taken, as a kernel's filters do, and nothing is consumed by
//! asking.
//!
//! `NETPOLL_KQUEUE` says whose manners it has: see [`Quirks`].
//!
//! What it cannot do:
//! * There are more events than on a BSD where Linux makes them (a FIN, which changes a socket's state, also wakes who waits to write), never
//!   fewer.
//! * It does not hide what reading and writing themselves do differently on Linux: an AF_UNIX peer that closes with unread data resets.
//! * A number that is closed and then given to a dup of the same file is taken for the old one, since epoll cannot tell them apart.
//! * `data` is what Linux counts; how many connections a listener has is known for IP alone.
//! * There are no filters but those for reading and writing.

#![allow(dead_code, unsafe_code, reason = "each who includes it needs a part; numbers of descriptors become descriptors here")]

mod change;
mod descriptor;
mod event;
mod filter;
mod quirks;
mod registry;
mod scan;
mod state;

pub use event::{Event, EventFilter, EventFlags};
pub use quirks::Quirks;

use std::cell::Cell;
use std::vec::Vec;

use core::time::Duration;
use rustix::buffer::Buffer;
use rustix::event::Timespec;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io;

std::thread_local! {
    static CALLS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// kqueue(2), with the manners that `NETPOLL_KQUEUE` names.
pub fn kqueue() -> io::Result<OwnedFd> {
    kqueue_like(Quirks::from_environment())
}

/// kqueue(2) with these manners.
pub fn kqueue_like(quirks: Quirks) -> io::Result<OwnedFd> {
    registry::create(quirks)
}

/// Closes what belongs to queues whose descriptors have been closed. `kqueue` does it too.
pub fn sweep() {
    registry::sweep();
}

/// How often this thread has called `kevent`, and with how many changes altogether.
pub fn calls() -> (u64, u64) {
    CALLS.get()
}

/// kevent(2).
///
/// # Safety
///
/// As rustix says: the descriptors of the changes must be valid as long as the queue is. The model bears it if they are not.
pub unsafe fn kevent_timespec<Fd: AsFd, Buf: Buffer<Event>>(
    kqueue: Fd,
    changelist: &[Event],
    mut eventlist: Buf,
    timeout: Option<&Timespec>,
) -> io::Result<Buf::Output> {
    let (first, room) = eventlist.parts_mut();
    let events = call(kqueue, changelist, room, timeout)?;
    assert!(events.len() <= room);
    for (at, event) in events.iter().enumerate() {
        // SAFETY: `first` points to `room` events, and `at` is less.
        unsafe { first.add(at).write(*event) };
    }
    // SAFETY: so many have just been written.
    Ok(unsafe { eventlist.assume_init(events.len()) })
}

/// kevent(2) with a `Duration`, of which rustix makes "for ever" where it cannot be counted.
///
/// # Safety
///
/// As for [`kevent_timespec`].
pub unsafe fn kevent<Fd: AsFd, Buf: Buffer<Event>>(
    kqueue: Fd,
    changelist: &[Event],
    eventlist: Buf,
    timeout: Option<Duration>,
) -> io::Result<Buf::Output> {
    let timespec = |timeout: Duration| {
        let tv_sec = timeout.as_secs().try_into().ok()?;
        Some(Timespec { tv_sec, tv_nsec: timeout.subsec_nanos() as _ })
    };
    // SAFETY: the same is asked of the caller.
    unsafe { kevent_timespec(kqueue, changelist, eventlist, timeout.and_then(timespec).as_ref()) }
}

fn call(kqueue: impl AsFd, changes: &[Event], room: usize, timeout: Option<&Timespec>) -> io::Result<Vec<Event>> {
    let (calls, changed) = CALLS.get();
    CALLS.set((calls + 1, changed + changes.len() as u64));
    let queue = registry::find(kqueue.as_fd())?;
    let answers = queue.locked(|state| state.apply_all(changes, room))?;
    match answers {
        Some(answers) => Ok(answers),
        None if room == 0 => Ok(Vec::new()), // row 63
        None => scan::wait(&queue, room, timeout),
    }
}
