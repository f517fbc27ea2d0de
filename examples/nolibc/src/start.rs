//! What a C library would bring: the arguments, `exit`, `write`, the clock.

use core::ffi::{CStr, c_char};

use netpoll::Instant;

use crate::cpu::{CLOCK_GETTIME, EXIT_GROUP, WRITE, system_call};

/// Called by `_start`, which makes the promise that `stack` is the stack pointer as the kernel left it.
pub extern "C" fn enter(stack: *const usize) -> ! {
    // SAFETY: The stack pointer as the kernel left it points to `argc`, then `argc` pointers. They stay valid and unchanged
    // until the process ends.
    let args = unsafe { Args { next: stack.add(1).cast(), left: *stack } };
    exit(crate::main(args))
}

/// The arguments of the program; the first one is its name.
pub struct Args {
    next: *const *const c_char,
    left: usize,
}

impl Iterator for Args {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: `left` says that there is one more pointer; the kernel has put a string that ends in a zero byte behind it.
        unsafe {
            let arg = CStr::from_ptr(*self.next);
            self.next = self.next.add(1);
            Some(arg)
        }
    }
}

const EINTR: isize = 4;

/// Ends the process.
pub fn exit(status: u8) -> ! {
    loop {
        // SAFETY: No argument is a pointer, and nothing runs after it.
        unsafe { system_call(EXIT_GROUP, status.into(), 0, 0) };
    }
}

/// The monotonic clock, by one system call for each pass of the reactor.
///
/// The crate's own needs none, but finding the kernel's function in memory takes 2 KB of program.
pub fn monotonic() -> Instant {
    const CLOCK_MONOTONIC: usize = 1;
    // As wide as the machine: this call is older than the one that counts 64 bits everywhere, and seconds since the start fit.
    let mut time = [0_usize; 2];
    // SAFETY: `clock_gettime` writes two such numbers and keeps no pointer.
    unsafe { system_call(CLOCK_GETTIME, CLOCK_MONOTONIC, time.as_mut_ptr().expose_provenance(), 0) };
    let [seconds, nanos] = time.map(|number| number as u64);
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// Where text goes.
#[derive(Clone, Copy)]
pub enum Output {
    Out = 1,
    Err = 2,
}

/// Writes all of `bytes`; gives up at an error, as there is nowhere to report it to.
pub fn write(to: Output, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: `write` only reads, and only the bytes of this slice. A closed descriptor is an error like any other.
        let written = unsafe { system_call(WRITE, to as usize, bytes.as_ptr().expose_provenance(), bytes.len()) };
        match bytes.get(written.cast_unsigned()..) {
            Some(rest) if written > 0 => bytes = rest,
            _ if written == -EINTR => {}
            _ => return,
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Formatting the place and the message of the panic would cost 5 KB.
    write(Output::Err, b"netpoll-echo-nolibc: internal error\n");
    exit(101)
}
