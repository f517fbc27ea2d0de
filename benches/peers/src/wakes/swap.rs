//! One atomic swap: what no coalescing wake can do without.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Wake;

/// On a cache line of its own.
#[repr(align(64))]
pub struct Swap(AtomicU32);

impl Swap {
    pub fn new() -> Swap {
        Swap(AtomicU32::new(0))
    }
}

impl Wake for Swap {
    #[inline]
    fn wake(&self) {
        if self.0.swap(1, Ordering::AcqRel) != 1 {
            first();
        }
    }
}

#[cold]
#[inline(never)]
fn first() {
    std::hint::black_box(());
}
