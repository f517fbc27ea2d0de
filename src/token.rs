//! [`Token`]: which descriptor, and which use of its slot.

use core::num::NonZeroU32;

/// Names one opened descriptor: a slot of the table and the generation of its use.
///
/// A token is a plain number that may be copied, stored and sent anywhere. It never names a later descriptor that happens to take
/// the same slot: the generation is then another one, and every operation answers [`Error::Closed`](crate::Error::Closed).
///
/// What Go writes as `pollDesc.fdseq` (`runtime/netpoll.go`).
///
/// ```
/// use netpoll::Token;
/// let token = Token::from_u64(0x0000_0007_0000_0003).unwrap();
/// assert_eq!((token.index(), token.generation()), (3, 7));
/// assert_eq!(token.to_u64(), 0x0000_0007_0000_0003);
/// assert_eq!(Token::from_u64(3), None); // generations start at 1
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Token {
    index: u32,
    generation: NonZeroU32,
}

static_assertions::assert_eq_size!(Token, Option<Token>, u64);

impl Token {
    /// What the break pipe is registered under: all 64 bits are compared, and no slot has this index.
    pub(crate) const BREAK: u64 = u64::MAX;

    /// The first index that no slot may have.
    pub(crate) const RESERVED_INDEX: u32 = u32::MAX;

    pub(crate) const fn new(index: u32, generation: NonZeroU32) -> Token {
        Token { index, generation }
    }

    /// The slot's place in the table.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Which use of the slot; starts at 1 and grows by one each time that the slot is taken.
    pub const fn generation(self) -> u32 {
        self.generation.get()
    }

    /// The 64 bits that travel through the kernel: generation above, index below.
    pub const fn to_u64(self) -> u64 {
        ((self.generation.get() as u64) << 32) | self.index as u64
    }

    /// The token that [`to_u64`](Token::to_u64) made these bits from, or `None` if it cannot have made them.
    pub const fn from_u64(bits: u64) -> Option<Token> {
        let index = bits as u32;
        match NonZeroU32::new((bits >> 32) as u32) {
            Some(generation) if index != Self::RESERVED_INDEX => Some(Token { index, generation }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn break_token_never_collides() {
        assert_eq!(Token::from_u64(Token::BREAK), None);
        // go#72900: on a 32-bit machine a generation grew into the sentinel. Here no half alone decides.
        for generation in [1, 2, u32::MAX - 1, u32::MAX] {
            for index in [0, 1, u32::MAX - 1] {
                let token = Token::new(index, NonZeroU32::new(generation).unwrap());
                assert_ne!(token.to_u64(), Token::BREAK);
                assert_eq!(Token::from_u64(token.to_u64()), Some(token));
            }
        }
    }
}
