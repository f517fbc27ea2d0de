//! Threads on cores of their own.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Keeps this thread on one core, where there is more than one.
pub fn pin(cpu: usize) {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).unwrap();
    }
}
