//! What differs from CPU to CPU: the entry point, the instruction of a system call, and the numbers of the calls.
//!
//! Each module has `system_call`, the numbers, and `_start`, which the kernel enters with the stack pointer at `argc`, followed by the
//! pointers of `argv` and a null pointer. It calls [`enter`](crate::start::enter) with that address, the stack aligned as a call needs it,
//! and no outer frame.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "arm")]
mod arm;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "x86")]
mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "arm")]
pub use arm::*;
#[cfg(target_arch = "riscv64")]
pub use riscv64::*;
#[cfg(target_arch = "x86")]
pub use x86::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

// The x32 machine has another list of calls; ILP32 of aarch64 and riscv have no Linux target that this was tried on.
#[cfg(not(all(
    target_os = "linux",
    any(
        all(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"), target_pointer_width = "64"),
        target_arch = "x86",
        target_arch = "arm"
    )
)))]
compile_error!("the entry point and the system calls are written for Linux on x86_64, x86, aarch64, arm and riscv64");
