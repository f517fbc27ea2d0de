//! `c/scale_raw.c`.

use std::ffi::c_void;

use super::{BATCH, order, raise_limit};
use crate::c::C;
use crate::work::{Case, Work};

unsafe extern "C" {
    fn scale_raw_table(n: u32, order: *const u32) -> *mut c_void;
    fn scale_raw_table_run(table: *mut c_void, ops: u64);
    fn scale_raw_ring(n: u32, active: u32, stride: u32) -> *mut c_void;
    fn scale_raw_ring_run(ring: *mut c_void, ops: u64);
    fn scale_raw_ring_waits(ring: *const c_void) -> u64;
}

pub fn edges(case: &Case) -> Box<dyn Work> {
    let &[_, n, random] = case.parameters else { panic!("{case:?}") };
    let order = order(n, random).leak();
    // SAFETY: `order` has `n` numbers below `n`, and stays.
    Box::new(C { state: unsafe { scale_raw_table(n as u32, order.as_ptr()) }, run: scale_raw_table_run, waits: None })
}

pub fn ring(case: &Case) -> Box<dyn Work> {
    let &[n, stride] = case.parameters else { panic!("{case:?}") };
    raise_limit();
    // SAFETY: numbers only.
    let state = unsafe { scale_raw_ring(n as u32, BATCH as u32, stride as u32) };
    Box::new(C { state, run: scale_raw_ring_run, waits: Some(scale_raw_ring_waits) })
}
