//! A token in the pointer that kqueue and event ports hand back: whole where a pointer has 64 bits, else the low bits of both halves.

use core::ffi::c_void;

use crate::error::Error;
use crate::token::Token;

/// How many bits of a 32-bit pointer are the slot's: a million of them, more than a process there can open.
const INDEX: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX) - 1;

/// Which bits of a token come back.
pub(super) const KEPT: u64 = if usize::BITS >= 64 { u64::MAX } else { kept32() };

const fn kept32() -> u64 {
    ((u32::MAX >> INDEX) as u64) << 32 | u32::MAX as u64
}

/// The pointer that carries these bits. Fails for a slot whose place does not fit.
pub(super) fn pack(bits: u64) -> Result<*mut c_void, Error> {
    let packed = if usize::BITS >= 64 { bits as usize } else { pack32(bits).ok_or(Error::Full)? as usize };
    Ok(core::ptr::without_provenance_mut(packed))
}

/// The bits that a pointer carried, as far as they are [`KEPT`].
pub(super) fn unpack(udata: *mut c_void) -> u64 {
    if usize::BITS >= 64 { udata.addr() as u64 } else { unpack32(udata.addr() as u32) }
}

fn pack32(bits: u64) -> Option<u32> {
    let (generation, index) = ((bits >> 32) as u32, bits as u32);
    if bits == Token::BREAK {
        Some(u32::MAX)
    } else if index < INDEX_MASK {
        Some(generation << INDEX | index)
    } else {
        None
    }
}

fn unpack32(udata: u32) -> u64 {
    match udata & INDEX_MASK {
        INDEX_MASK => Token::BREAK,
        index => u64::from(udata >> INDEX) << 32 | u64::from(index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_comes_back() {
        for index in [0, 1, INDEX_MASK - 1] {
            for generation in [1, 2, 0xfff, 0x1000, 0x1001, u32::MAX] {
                let bits = u64::from(generation) << 32 | u64::from(index);
                assert_eq!(unpack32(pack32(bits).unwrap()), bits & kept32());
            }
        }
    }

    #[test]
    fn break_token_never_collides() {
        assert_eq!(unpack32(pack32(Token::BREAK).unwrap()), Token::BREAK);
        for index in 0..=INDEX_MASK {
            for generation in [0xfff, u32::MAX] {
                assert_ne!(pack32(u64::from(generation) << 32 | u64::from(index)), pack32(Token::BREAK));
            }
        }
    }

    #[test]
    fn a_place_that_does_not_fit_is_refused() {
        for index in [INDEX_MASK, INDEX_MASK + 1, u32::MAX - 1] {
            assert_eq!(pack32(1 << 32 | u64::from(index)), None);
        }
    }

    #[test]
    fn unknown_udata_is_some_other_slot_or_none() {
        // G27: a 0 is generation 0, which no slot ever has.
        assert_eq!(unpack32(0), 0);
        assert_eq!(unpack(core::ptr::null_mut()), 0);
    }
}
