use core::alloc::{GlobalAlloc, Layout};

use netpoll::deadline::BoxedQueueStorage;
use netpoll::{BoxedPollerStorage, BoxedReactorStorage, Poller, Reactor, SharedBreaker};

use crate::foreign::Activity;
use crate::{functions, methods};

pub fn take_all() {
    methods! {
        BoxedQueueStorage: with_capacity 1, lend 1;
        BoxedPollerStorage: with_capacity 1;
        BoxedReactorStorage<Activity>: with_capacity 2;
        Poller<'static>: shared_breaker 1;
        Reactor<'static, Activity>: shared_breaker 1;
        SharedBreaker: wake 1, clone 1;
    }
    functions! {
        Poller::new::<BoxedPollerStorage> as fn(_) -> _;
        Reactor::<Activity>::new::<BoxedReactorStorage<Activity>> as fn(_) -> _;
        drop::<BoxedQueueStorage> as fn(_) -> _;
        drop::<BoxedPollerStorage> as fn(_) -> _;
        drop::<BoxedReactorStorage<Activity>> as fn(_) -> _;
        drop::<SharedBreaker> as fn(_) -> _;
    }
}

struct Heap;

unsafe extern "C" {
    fn netpoll_allocate(size: usize, align: usize) -> *mut u8;
    fn netpoll_free(memory: *mut u8, size: usize, align: usize);
}

// SAFETY: Nothing is run: these have no definition.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: As above.
        unsafe { netpoll_allocate(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: As above.
        unsafe { netpoll_free(memory, layout.size(), layout.align()) }
    }
}

#[global_allocator]
static HEAP: Heap = Heap;
