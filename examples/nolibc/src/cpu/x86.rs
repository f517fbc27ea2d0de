use core::arch::{asm, global_asm};

pub const WRITE: usize = 4;
pub const CLOCK_GETTIME: usize = 265;
pub const EXIT_GROUP: usize = 252;

// The argument is on the stack: below it 12 bytes, so that the stack is aligned where the return address is pushed.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov eax, esp",
    "and esp, -16",
    "sub esp, 12",
    "push eax",
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
    // SAFETY: The registers are those of the kernel's calling convention; the compiler keeps ebx for itself, so that it gets it back.
    // The rest is the caller's promise.
    unsafe {
        asm!(
            "xchg {a}, ebx",
            "int 0x80",
            "xchg {a}, ebx",
            a = inout(reg) a => _,
            inlateout("eax") number => result,
            in("ecx") b, in("edx") c,
            options(nostack),
        );
    }
    result
}
