//! The peers in C: `c/echo_*.c`.

use std::ffi::c_int;
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::time::Duration;

type Server = unsafe extern "C" fn(listener: c_int, size: usize, idle_ms: u64);

macro_rules! servers {
    ($($name:ident)*) => {
        mod functions {
            unsafe extern "C" { $(pub fn $name(listener: std::ffi::c_int, size: usize, idle_ms: u64);)* }
        }
        $(pub fn $name(listener: TcpListener, buffer: usize, idle: Option<Duration>) {
            serve(functions::$name, listener, buffer, idle);
        })*
    };
}

servers! {
    echo_raw echo_raw_drain echo_raw_lt
    echo_ev echo_ev_lazy
    echo_uv echo_uv_poll
    echo_event echo_event_et echo_event_bufferevent
}

fn serve(server: Server, listener: TcpListener, buffer: usize, idle: Option<Duration>) {
    let idle_ms = idle.map_or(0, |idle| idle.as_millis() as u64);
    // SAFETY: It takes over a listening descriptor and runs until the process ends.
    unsafe { server(listener.into_raw_fd(), buffer, idle_ms) };
}
