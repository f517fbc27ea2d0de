//! The system's allocator, which counts what a thread asks of it while that thread wants it counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Plain cells, so that looking at them allocates nothing.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    if COUNTS.get() {
        CALLS.set(CALLS.get() + 1);
    }
}

// SAFETY: passes everything on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // Freeing is as much the allocator's work.
        count();
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread calls the allocator while `f` runs.
pub fn calls_of<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let before = CALLS.get();
    let outer = COUNTS.replace(true);
    let answer = f();
    COUNTS.set(outer);
    (answer, CALLS.get() - before)
}

/// What `f` does is not counted.
#[allow(dead_code)] // each test program uses a part of this
pub fn uncounted<T>(f: impl FnOnce() -> T) -> T {
    let outer = COUNTS.replace(false);
    let answer = f();
    COUNTS.set(outer);
    answer
}
