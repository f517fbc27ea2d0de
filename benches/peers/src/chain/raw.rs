//! The floor: epoll by hand, in C.

use std::ffi::c_void;

use super::links::{Link, Links};
use crate::c::C;
use crate::work::{Case, Work};

unsafe extern "C" {
    fn chain_raw_start(links: *const Link, n: u32, mode: u32) -> *mut c_void;
    fn chain_raw_run_short(state: *mut c_void, ops: u64);
    fn chain_raw_run_drain(state: *mut c_void, ops: u64);
    fn chain_raw_waits(state: *const c_void) -> u64;
}

type Run = unsafe extern "C" fn(*mut c_void, u64);

pub fn short(case: &Case) -> Box<dyn Work> {
    start(case, 0, chain_raw_run_short)
}

pub fn drain(case: &Case) -> Box<dyn Work> {
    start(case, 1, chain_raw_run_drain)
}

pub fn level(case: &Case) -> Box<dyn Work> {
    start(case, 2, chain_raw_run_short)
}

fn start(case: &Case, mode: u32, run: Run) -> Box<dyn Work> {
    let links = Links::new(case);
    // SAFETY: the links live as long as the process.
    let state = unsafe { chain_raw_start(links.links.as_ptr(), links.links.len() as u32, mode) };
    links.start();
    Box::new(C { state, run, waits: Some(chain_raw_waits) })
}
