use core::arch::{asm, global_asm};

pub const WRITE: usize = 64;
pub const CLOCK_GETTIME: usize = 113;
pub const EXIT_GROUP: usize = 94;

// Variables near the global pointer are addressed from it, if the linker finds that shorter.
global_asm!(
    ".globl _start",
    "_start:",
    ".option push",
    ".option norelax",
    "la gp, __global_pointer$",
    ".option pop",
    "mv s0, zero",
    "mv ra, zero",
    "mv a0, sp",
    "andi sp, sp, -16",
    "call {enter}",
    "unimp",
    enter = sym crate::start::enter,
);

/// A system call with up to three arguments.
///
/// # Safety
///
/// The kernel reads and writes what the arguments point to.
pub unsafe fn system_call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result;
    // SAFETY: The registers are those of the kernel's calling convention. The rest is the caller's promise.
    unsafe {
        asm!("ecall", in("a7") number, inlateout("a0") a => result, in("a1") b, in("a2") c, options(nostack));
    }
    result
}
