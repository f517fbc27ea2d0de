//! The peers in C: `../../c/fairness_*.c`.

use std::ffi::c_int;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use super::Counters;

type Function = unsafe extern "C" fn(&Counters, *const c_int, c_int);

unsafe extern "C" {
    fn fairness_raw_drain(counters: &Counters, fds: *const c_int, floods: c_int);
    fn fairness_raw_short(counters: &Counters, fds: *const c_int, floods: c_int);
    fn fairness_raw_level(counters: &Counters, fds: *const c_int, floods: c_int);
    fn fairness_ev(counters: &Counters, fds: *const c_int, floods: c_int);
    fn fairness_uv(counters: &Counters, fds: *const c_int, floods: c_int);
    fn fairness_event(counters: &Counters, fds: *const c_int, floods: c_int);
}

fn serve(function: Function, counters: &Counters, streams: &[TcpStream]) {
    let fds: Vec<c_int> = streams.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: one more descriptor than there are flooded ones; they, and the counters, outlive the call, and nothing is kept of them.
    unsafe { function(counters, fds.as_ptr(), streams.len() as c_int - 1) }
}

pub fn raw_drain(counters: &'static Counters, streams: Vec<TcpStream>) {
    serve(fairness_raw_drain, counters, &streams);
}

pub fn raw_short(counters: &'static Counters, streams: Vec<TcpStream>) {
    serve(fairness_raw_short, counters, &streams);
}

pub fn raw_level(counters: &'static Counters, streams: Vec<TcpStream>) {
    serve(fairness_raw_level, counters, &streams);
}

pub fn ev(counters: &'static Counters, streams: Vec<TcpStream>) {
    serve(fairness_ev, counters, &streams);
}

pub fn uv(counters: &'static Counters, streams: Vec<TcpStream>) {
    serve(fairness_uv, counters, &streams);
}

pub fn event(counters: &'static Counters, streams: Vec<TcpStream>) {
    serve(fairness_event, counters, &streams);
}
