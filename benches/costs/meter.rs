//! What of a case is counted: calls of [`count`], and nothing else of the program.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How many operations were counted, in how many calls of [`counted`].
static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static ENTRIES: AtomicU64 = AtomicU64::new(0);
/// Whether system calls mark what is counted, for strace.
static MARKS: AtomicBool = AtomicBool::new(false);

/// For callgrind: by their names it knows where to count, and when a case ends.
pub const COUNTED: &str = "costs::meter::counted";
pub const CASE_ENDS: &str = "costs::meter::case_ends";

/// For strace: names of files that nobody has.
pub const BEGIN: &str = "/costs/begin";
pub const END: &str = "/costs/end";
pub const CASE: &str = "/costs/case/";

#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

#[inline(never)]
fn case_ends() {
    black_box(());
}

fn mark(name: &str) {
    if MARKS.load(Relaxed) {
        let _ = std::fs::metadata(name);
    }
}

/// Does some work that is so many operations, and counts what it takes.
pub fn count(operations: u64, mut work: impl FnMut()) {
    mark(BEGIN);
    counted(black_box(&mut work));
    mark(END);
    OPERATIONS.fetch_add(operations, Relaxed);
    ENTRIES.fetch_add(1, Relaxed);
}

pub fn mark_for_strace() {
    MARKS.store(true, Relaxed);
}

/// Runs a case from beginning to end; returns the operations and the entries.
pub fn run(name: &str, case: fn()) -> (u64, u64) {
    case();
    case_ends();
    mark(&format!("{CASE}{name}"));
    (OPERATIONS.swap(0, Relaxed), ENTRIES.swap(0, Relaxed))
}
