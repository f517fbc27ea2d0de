use core::arch::{asm, global_asm};

pub const WRITE: usize = 64;
pub const CLOCK_GETTIME: usize = 113;
pub const EXIT_GROUP: usize = 94;

global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "and x1, x0, -16",
    "mov sp, x1",
    "bl {enter}",
    "udf 0",
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
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, options(nostack));
    }
    result
}

// The compiler's own atomics ask the C library, before `main`, whether the CPU has the newer instructions. Nobody does that here: they
// use those that every CPU has. Some distributions compile them with a guard of the stack.
#[unsafe(no_mangle)]
extern "C" fn getauxval(_: usize) -> usize {
    0
}
#[unsafe(no_mangle)]
static __stack_chk_guard: usize = 0;
#[unsafe(no_mangle)]
extern "C" fn __stack_chk_fail() -> ! {
    crate::start::exit(101)
}
