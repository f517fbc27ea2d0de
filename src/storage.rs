//! Lent storage: a table's elements live in a `heapless::Vec` or, under `alloc`, in a `Vec` that never grows.

use heapless::vec::VecView;

/// A vector of fixed capacity that somebody else owns. Its length is the high-water mark, so that nothing is initialised before it is used.
#[derive(Debug)]
pub(crate) enum Slots<'a, T> {
    Lent(&'a mut VecView<T>),
    #[cfg(feature = "alloc")]
    Boxed(&'a mut alloc::vec::Vec<T>),
}

impl<'a, T> Slots<'a, T> {
    #[inline]
    pub(crate) fn reborrow(&mut self) -> Slots<'_, T> {
        match self {
            Slots::Lent(vec) => Slots::Lent(vec),
            #[cfg(feature = "alloc")]
            Slots::Boxed(vec) => Slots::Boxed(vec),
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Slots::Lent(vec) => vec.as_slice(),
            #[cfg(feature = "alloc")]
            Slots::Boxed(vec) => vec.as_slice(),
        }
    }

    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Slots::Lent(vec) => vec.as_mut_slice(),
            #[cfg(feature = "alloc")]
            Slots::Boxed(vec) => vec.as_mut_slice(),
        }
    }

    #[inline]
    pub(crate) fn into_mut_slice(self) -> &'a mut [T] {
        match self {
            Slots::Lent(vec) => vec.as_mut_slice(),
            #[cfg(feature = "alloc")]
            Slots::Boxed(vec) => vec.as_mut_slice(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.as_slice().get(index as usize)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.as_mut_slice().get_mut(index as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn capacity(&self) -> usize {
        match self {
            Slots::Lent(vec) => vec.capacity(),
            #[cfg(feature = "alloc")]
            Slots::Boxed(vec) => vec.capacity(),
        }
    }

    /// Appends, or gives the element back when the capacity is used up.
    pub(crate) fn push(&mut self, element: T) -> Result<(), T> {
        match self {
            Slots::Lent(vec) => vec.push(element),
            #[cfg(feature = "alloc")]
            Slots::Boxed(vec) if vec.len() == vec.capacity() => Err(element),
            #[cfg(feature = "alloc")]
            Slots::Boxed(vec) => {
                vec.push(element);
                Ok(())
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Slots::Lent(vec) => vec.clear(),
            #[cfg(feature = "alloc")]
            Slots::Boxed(vec) => vec.clear(),
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn boxed_slots_never_grow() {
        let mut vec = Vec::with_capacity(2);
        let capacity = vec.capacity();
        let mut slots = Slots::Boxed(&mut vec);
        for n in 0..capacity {
            assert_eq!((slots.push(n), slots.len()), (Ok(()), n + 1));
        }
        assert_eq!((slots.push(7), slots.len(), slots.capacity()), (Err(7), capacity, capacity));
        slots.clear();
        assert_eq!((slots.len(), slots.push(7)), (0, Ok(())));
    }
}
