//! What the server and the polite client tell the test.

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counts that only grow, but for `clients`.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn sub(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub fn raise_to(&self, to: u64) {
        self.0.fetch_max(to, Relaxed);
    }
}

#[derive(Default)]
pub struct Journal {
    /// Connections that are open.
    pub clients: Count,
    pub accepted: Count,
    /// Accepted, and then there was no room.
    pub turned_away: Count,
    /// `accept` said that there is no descriptor.
    pub exhausted: Count,
    /// Lines that were answered to the last byte.
    pub answered: Count,
    /// Why connections ended: their deadlines,
    pub idle_cut: Count,
    pub request_cut: Count,
    pub write_cut: Count,
    /// what they sent,
    pub overlong: Count,
    /// a reset, or the kernel's own patience.
    pub reset: Count,
    pub vanished: Count,
    pub datagrams: Count,
    /// Runs of the handler that waits for wakes, each with a wake.
    pub wakes: Count,
    pub passes: Count,
    /// Most calls that answered something, in one direction of one run.
    pub most_calls: Count,
    /// Runs of handlers that their pass had run already.
    pub run_twice: Count,
    /// Most runs of a connection that has not sent a byte.
    pub most_silent_runs: Count,
    /// Most passes that the polite client's request waited in the kernel.
    pub most_passes: Count,
    /// In µs of the thread's CPU time.
    pub longest_pass: Count,
    /// The polite client's requests: sent, answered.
    pub polite_asked: Count,
    pub polite_answered: Count,
    /// As the reactor counts them.
    pub polls: Count,
    pub stale_events: Count,
    /// Each accepted connection ends the one before it.
    pub meddling: AtomicBool,
    pub polite_stops: AtomicBool,
    pub stopping: AtomicBool,
    /// Files whose descriptors were taken away behind the reactor's back.
    pub kept: Mutex<Vec<OwnedFd>>,
    /// What must not happen.
    pub wrong: Mutex<Vec<String>>,
}

impl Journal {
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    pub fn complain(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}
