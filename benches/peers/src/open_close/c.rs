//! The floor, libev, libuv and libevent, in C.

use std::ffi::c_void;
use std::os::fd::IntoRawFd;

use super::{counter, turns};
use crate::c::C;
use crate::work::{Case, Work};

unsafe extern "C" {
    fn open_close_raw_start(fd: i32, other: i32, turns: i32) -> *mut c_void;
    fn open_close_raw_run(state: *mut c_void, ops: u64);
    fn open_close_ev_start(fd: i32, other: i32, turns: i32) -> *mut c_void;
    fn open_close_ev_run(state: *mut c_void, ops: u64);
    fn open_close_uv_start(fd: i32, other: i32, turns: i32) -> *mut c_void;
    fn open_close_uv_run(state: *mut c_void, ops: u64);
    fn open_close_uv_run_stop(state: *mut c_void, ops: u64);
    fn open_close_event_start(fd: i32, other: i32, turns: i32) -> *mut c_void;
    fn open_close_event_run(state: *mut c_void, ops: u64);
}

type Start = unsafe extern "C" fn(i32, i32, i32) -> *mut c_void;
type Run = unsafe extern "C" fn(*mut c_void, u64);

pub fn raw(case: &Case) -> Box<dyn Work> {
    start(case, open_close_raw_start, open_close_raw_run)
}

pub fn libev(case: &Case) -> Box<dyn Work> {
    start(case, open_close_ev_start, open_close_ev_run)
}

pub fn libuv(case: &Case) -> Box<dyn Work> {
    start(case, open_close_uv_start, open_close_uv_run)
}

pub fn libuv_stop(case: &Case) -> Box<dyn Work> {
    start(case, open_close_uv_start, open_close_uv_run_stop)
}

pub fn libevent(case: &Case) -> Box<dyn Work> {
    start(case, open_close_event_start, open_close_event_run)
}

fn start(case: &Case, start: Start, run: Run) -> Box<dyn Work> {
    // SAFETY: two open descriptors, which nobody else closes.
    let state = unsafe { start(counter().into_raw_fd(), counter().into_raw_fd(), turns(case).into()) };
    Box::new(C { state, run, waits: None })
}
