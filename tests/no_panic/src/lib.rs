//! Every public function of the library in one object, to look for panics in what the compiler makes of them: `.ci/no-panic`.
//!
//! [`netpoll_functions`] takes the address of each function, so none can be left out, and nothing is known of its arguments: what the
//! optimizer proves unreachable is so for every caller. Link-time optimization then drops what nobody calls. If a panic is left, the panic
//! handler is too, and with it the undefined symbol `netpoll_panics`: the script finds that, and shows by the debug information which
//! lines may panic. What handlers do, and other traits of the user's, is not the library's: here they are pointers to functions that
//! nobody knows.
#![no_std]

#[cfg(feature = "alloc")]
mod heap;

mod foreign;
mod formatting;
mod frame;
mod linux;
mod net;
mod os;
mod poller;
mod pure;
mod reactor;

/// The pointer to a function of so many arguments.
macro_rules! method {
    (0 $function:expr) => {
        core::hint::black_box($function as fn() -> _)
    };
    (1 $function:expr) => {
        core::hint::black_box($function as fn(_) -> _)
    };
    (2 $function:expr) => {
        core::hint::black_box($function as fn(_, _) -> _)
    };
    (3 $function:expr) => {
        core::hint::black_box($function as fn(_, _, _) -> _)
    };
    (4 $function:expr) => {
        core::hint::black_box($function as fn(_, _, _, _) -> _)
    };
}

/// Functions of types, each with the number of its arguments.
macro_rules! methods {
    ($($kind:ty: $($name:ident $count:tt),+;)+) => { $($(crate::method!($count <$kind>::$name);)+)+ };
}

/// Pointers to functions.
macro_rules! functions {
    ($($function:expr;)+) => { $(core::hint::black_box($function);)+ };
}

use {functions, method, methods};

// SAFETY: No other function of any program has this name.
#[unsafe(no_mangle)]
pub extern "C" fn netpoll_functions() {
    reactor::take_all();
    poller::take_all();
    net::take_all();
    os::take_all();
    linux::take_all();
    frame::take_all();
    pure::take_all();
    formatting::take_all();
    #[cfg(feature = "alloc")]
    heap::take_all();
}

// It is told where the panic is, so that panics of different lines stay apart.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    #[expect(improper_ctypes, reason = "it has no definition")]
    unsafe extern "C" {
        safe fn netpoll_panics(info: *const core::panic::PanicInfo<'_>) -> !;
    }
    netpoll_panics(info)
}
