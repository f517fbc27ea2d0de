//! W2 in C: c/timers_*.

use std::ffi::c_void;

use super::shared::Plan;
use crate::c::C;
use crate::work::{Case, Work};

type New = unsafe extern "C" fn(u32, i32, u64, u64) -> *mut c_void;
type Run = unsafe extern "C" fn(*mut c_void, u64);

macro_rules! peers {
    ($($peer:ident $new:ident $run:ident)*) => {
        $(
            pub fn $peer(case: &Case) -> Box<dyn Work> {
                unsafe extern "C" {
                    fn $new(count: u32, operation: i32, start: u64, window: u64) -> *mut c_void;
                    fn $run(work: *mut c_void, ops: u64);
                }
                start(case, $new, $run)
            }
        )*
    };
}

peers! {
    raw timers_raw_heap_new timers_raw_heap_run
    raw_lazy timers_raw_lazy_new timers_raw_lazy_run
    raw_wheel timers_raw_wheel_new timers_raw_wheel_run
    libev timers_ev_new timers_ev_run
    libuv timers_uv_new timers_uv_run
    libevent timers_event_new timers_event_run
    libevent_common timers_event_common_new timers_event_run
}

fn start(case: &Case, new: New, run: Run) -> Box<dyn Work> {
    let plan = Plan::of(case);
    // SAFETY: it sets up what `run` takes.
    let state = unsafe { new(plan.count as u32, plan.operation as i32, plan.start, plan.window) };
    Box::new(C { state, run, waits: None })
}
