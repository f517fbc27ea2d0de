//! What a C library would bring: the entry point, the arguments, `exit`, `write`, the clock, and the memory functions that the compiler calls.
//!
//! All `unsafe` of the program is in this file.

use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char};

use netpoll::Instant;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64")))]
compile_error!("the entry point and the system calls are written for x86_64 Linux");

// The kernel enters here with the stack pointer at `argc`, followed by the pointers of `argv` and a null pointer. `enter` gets
// that address; the stack is aligned as a call needs it, and the frame pointer is zero: the outermost frame.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {enter}",
    "ud2",
    enter = sym enter,
);

extern "C" fn enter(stack: *const usize) -> ! {
    // SAFETY: `_start` passes the stack pointer as the kernel left it: `argc`, then `argc` pointers. They stay valid and unchanged
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

/// A system call with up to three arguments.
///
/// # Safety
///
/// The kernel reads and writes what the arguments point to.
unsafe fn system_call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result;
    // SAFETY: The registers are those of the kernel's calling convention; `syscall` itself overwrites rcx and r11. The rest is
    // the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

const WRITE: usize = 1;
const CLOCK_GETTIME: usize = 228;
const EXIT_GROUP: usize = 231;
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
    let mut time = [0_u64; 2];
    // SAFETY: `clock_gettime` writes two numbers of 64 bits and keeps no pointer.
    unsafe { system_call(CLOCK_GETTIME, CLOCK_MONOTONIC, time.as_mut_ptr().expose_provenance(), 0) };
    let [seconds, nanos] = time;
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

// The compiler makes calls of these six and expects them as C has them. Assembly, and volatile reads in the loops, keep it from
// making the body of one into a call of the same.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: The caller vouches for `len` bytes at both; the direction flag is clear at every call.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") len => _, options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: The same promise; going upwards, no byte is overwritten before it is read.
        return unsafe { memcpy(to, from, len) };
    }
    // SAFETY: The same promise; `to` begins within `from`, so `len` is not 0 and the copy goes downwards from the last byte.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rdi") to.add(len - 1) => _, inout("rsi") from.add(len - 1) => _, inout("rcx") len => _,
            options(nostack),
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: The caller vouches for `len` bytes; the direction flag is clear at every call.
    unsafe {
        asm!("rep stosb", inout("rdi") to => _, in("al") byte as u8, inout("rcx") len => _, options(nostack, preserves_flags));
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for i in 0..len {
        // SAFETY: The caller vouches for `len` bytes at both.
        let (a, b) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: The same promise.
    unsafe { memcmp(a, b, len) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut len = 0;
    // SAFETY: The caller vouches for a zero byte at the end.
    while unsafe { text.add(len).read_volatile() } != 0 {
        len += 1;
    }
    len
}
