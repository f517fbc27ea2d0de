//! The peers in C: `../../c/wakes_*.c`.

use std::ffi::{c_int, c_void};
use std::sync::atomic::AtomicU64;

use super::{Peer, Wake};

/// `struct wakes_peer`.
#[repr(C)]
pub struct Functions {
    start: unsafe extern "C" fn(&'static AtomicU64) -> *mut c_void,
    wake: unsafe extern "C" fn(*mut c_void),
    pending: unsafe extern "C" fn(*mut c_void, u64),
    turn: unsafe extern "C" fn(*mut c_void, c_int),
}

unsafe extern "C" {
    static wakes_raw: Functions;
    static wakes_raw_edge: Functions;
    static wakes_raw_coalescing: Functions;
    static wakes_raw_looking: Functions;
    static wakes_ev: Functions;
    static wakes_uv: Functions;
    static wakes_event: Functions;
}

/// A loop of C, and what is done to it. It is never freed: each lives as long as its process.
#[derive(Clone, Copy)]
pub struct Loop {
    functions: &'static Functions,
    at: *mut c_void,
}

// SAFETY: other threads get it to call `wake` with, which all of them allow, and nothing else.
unsafe impl Send for Loop {}

impl Loop {
    fn new(functions: &'static Functions, woken: &'static AtomicU64) -> Loop {
        // SAFETY: the counter lives as long as the loop.
        Loop { functions, at: unsafe { (functions.start)(woken) } }
    }
}

impl Wake for Loop {
    fn wake(&self) {
        // SAFETY: the loop was started and is never freed.
        unsafe { (self.functions.wake)(self.at) }
    }

    fn pending(&self, ops: u64) {
        // SAFETY: as in `wake`.
        unsafe { (self.functions.pending)(self.at, ops) }
    }
}

macro_rules! peer {
    ($name:ident, $functions:ident) => {
        pub struct $name(Loop);

        impl Peer for $name {
            type Waker = Loop;

            fn new(woken: &'static AtomicU64) -> $name {
                // SAFETY: a constant of the C file, laid out as its header says.
                $name(Loop::new(unsafe { &$functions }, woken))
            }

            fn waker(&self) -> Loop {
                self.0
            }

            fn turn(&mut self, wait: bool) {
                // SAFETY: the loop was started, and only this thread turns it.
                unsafe { (self.0.functions.turn)(self.0.at, c_int::from(wait)) }
            }
        }
    };
}

peer!(Raw, wakes_raw);
peer!(RawEdge, wakes_raw_edge);
peer!(RawCoalescing, wakes_raw_coalescing);
peer!(RawLooking, wakes_raw_looking);
peer!(Ev, wakes_ev);
peer!(Uv, wakes_uv);
peer!(Event, wakes_event);
