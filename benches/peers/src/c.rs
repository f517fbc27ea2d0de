//! A peer in C: `void *start(...)`, and two functions of what it answers.

use std::ffi::c_void;

use crate::work::Work;

/// What `c/*.c` set up.
#[derive(Debug)]
pub struct C {
    pub state: *mut c_void,
    pub run: unsafe extern "C" fn(*mut c_void, u64),
    /// None if it does not count them.
    pub waits: Option<unsafe extern "C" fn(*const c_void) -> u64>,
}

impl Work for C {
    fn run(&mut self, ops: u64) {
        // SAFETY: the state is what this library's `start` answered; nobody else has it.
        unsafe { (self.run)(self.state, ops) }
    }

    fn waits(&self) -> Option<u64> {
        // SAFETY: as above.
        self.waits.map(|waits| unsafe { waits(self.state) })
    }
}
