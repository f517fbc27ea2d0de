use core::arch::{asm, global_asm};

pub const WRITE: usize = 1;
pub const CLOCK_GETTIME: usize = 228;
pub const EXIT_GROUP: usize = 231;

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {enter}",
    "ud2",
    enter = sym crate::start::enter,
);

/// A system call with up to three arguments.
///
/// # Safety
///
/// The kernel reads and writes what the arguments point to.
pub unsafe fn system_call(number: usize, a: usize, b: usize, c: usize) -> isize {
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
