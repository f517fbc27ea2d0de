use core::arch::{asm, global_asm};

pub const WRITE: usize = 4;
pub const CLOCK_GETTIME: usize = 263;
pub const EXIT_GROUP: usize = 248;

global_asm!(
    ".globl _start",
    "_start:",
    "mov fp, #0",
    "mov lr, #0",
    "mov r0, sp",
    "bic r1, r0, #7",
    "mov sp, r1",
    "bl {enter}",
    "udf #0",
    enter = sym crate::start::enter,
);

/// A system call with up to three arguments.
///
/// # Safety
///
/// The kernel reads and writes what the arguments point to.
pub unsafe fn system_call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result;
    // SAFETY: The registers are those of the kernel's calling convention (EABI). The rest is the caller's promise.
    unsafe {
        asm!("svc 0", in("r7") number, inlateout("r0") a => result, in("r1") b, in("r2") c, options(nostack));
    }
    result
}

// The tables for unwinding name these; nobody unwinds.
#[unsafe(no_mangle)]
extern "C" fn __aeabi_unwind_cpp_pr0() {}
#[unsafe(no_mangle)]
extern "C" fn __aeabi_unwind_cpp_pr1() {}
#[unsafe(no_mangle)]
extern "C" fn __aeabi_unwind_cpp_pr2() {}
