//! The instructions for strings.

use core::arch::asm;

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
