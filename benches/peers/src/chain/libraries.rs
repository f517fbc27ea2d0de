//! libev, libuv and libevent, in C.

use std::ffi::c_void;

use super::links::{Link, Links};
use crate::c::C;
use crate::work::{Case, Work};

unsafe extern "C" {
    fn chain_ev_start(links: *const Link, n: u32) -> *mut c_void;
    fn chain_ev_run(state: *mut c_void, ops: u64);
    fn chain_ev_waits(state: *const c_void) -> u64;
    fn chain_uv_start(links: *const Link, n: u32) -> *mut c_void;
    fn chain_uv_run(state: *mut c_void, ops: u64);
    fn chain_event_start(links: *const Link, n: u32, edge: u32) -> *mut c_void;
    fn chain_event_run(state: *mut c_void, ops: u64);
}

pub fn libev(case: &Case) -> Box<dyn Work> {
    // SAFETY: the links live as long as the process.
    let state = start(case, |links| unsafe { chain_ev_start(links.as_ptr(), links.len() as u32) });
    Box::new(C { state, run: chain_ev_run, waits: Some(chain_ev_waits) })
}

pub fn libuv(case: &Case) -> Box<dyn Work> {
    // SAFETY: as above.
    let state = start(case, |links| unsafe { chain_uv_start(links.as_ptr(), links.len() as u32) });
    Box::new(C { state, run: chain_uv_run, waits: None })
}

pub fn libevent(case: &Case) -> Box<dyn Work> {
    libevent_with(case, false)
}

pub fn libevent_edge(case: &Case) -> Box<dyn Work> {
    libevent_with(case, true)
}

fn libevent_with(case: &Case, edge: bool) -> Box<dyn Work> {
    // SAFETY: as above.
    let state = start(case, |links| unsafe { chain_event_start(links.as_ptr(), links.len() as u32, edge.into()) });
    Box::new(C { state, run: chain_event_run, waits: None })
}

fn start(case: &Case, set_up: impl FnOnce(&'static [Link]) -> *mut c_void) -> *mut c_void {
    let links = Links::new(case);
    let state = set_up(links.links);
    links.start();
    state
}
