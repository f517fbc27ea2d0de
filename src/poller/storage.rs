//! Where a poller's tables live: lent by the program, or on the heap.

use rustix::fd::OwnedFd;

use crate::arch::Selector;
use crate::breaker::BreakPipe;
use crate::deadline::Node;
use crate::error::Error;
use crate::poll_desc::PollDesc;
use crate::storage::Slots;

/// Lent storage taken apart.
#[derive(Debug)]
pub struct PollerParts<'s> {
    pub(super) selector: Selector,
    pub(super) pipe: &'s BreakPipe,
    #[cfg(feature = "alloc")]
    pub(super) shared_pipe: Option<&'s alloc::sync::Arc<BreakPipe>>,
    pub(super) slots: Slots<'s, PollDesc<OwnedFd>>,
    pub(super) nodes: Slots<'s, Node>,
}

mod sealed {
    pub trait Sealed {}
}

/// Storage that a [`Poller`](crate::Poller) can be made on: [`PollerStorage`], or `BoxedPollerStorage` under `alloc`.
pub trait LendPoller: sealed::Sealed {
    /// Empties the storage and makes the kernel's objects: a selector, and a break pipe in the storage.
    #[doc(hidden)]
    fn lend(&mut self) -> Result<PollerParts<'_>, Error>;
}

/// Room for a [`Poller`](crate::Poller) of `N` descriptors: 80 bytes for each, and 128 once.
///
/// Put it into a `static` (in a `static_cell::ConstStaticCell`, say), or, if it is small, on the stack. Nothing is touched before it is
/// used, and a `static` of any `N` lies in `.bss`.
#[derive(Debug)]
pub struct PollerStorage<const N: usize> {
    pipe: BreakPipe,
    slots: heapless::Vec<PollDesc<OwnedFd>, N>,
    nodes: heapless::Vec<Node, N>,
}

impl<const N: usize> PollerStorage<N> {
    /// Empty storage.
    pub const fn new() -> PollerStorage<N> {
        const { assert!(N < u32::MAX as usize, "a token's index has 32 bits") };
        PollerStorage { pipe: BreakPipe::new(), slots: heapless::Vec::new(), nodes: heapless::Vec::new() }
    }
}

impl<const N: usize> Default for PollerStorage<N> {
    fn default() -> PollerStorage<N> {
        PollerStorage::new()
    }
}

impl<const N: usize> sealed::Sealed for PollerStorage<N> {}

impl<const N: usize> LendPoller for PollerStorage<N> {
    fn lend(&mut self) -> Result<PollerParts<'_>, Error> {
        // First, so that an earlier poller's descriptors are not in the way of new ones.
        self.slots.clear();
        self.nodes.clear();
        let selector = Selector::new()?;
        self.pipe.open()?;
        Ok(PollerParts {
            selector,
            pipe: &self.pipe,
            #[cfg(feature = "alloc")]
            shared_pipe: None,
            slots: Slots::Lent(&mut self.slots),
            nodes: Slots::Lent(&mut self.nodes),
        })
    }
}

/// Room for a [`Poller`](crate::Poller) on the heap, with a capacity chosen at run time. Allocates when it is made and never again.
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct BoxedPollerStorage {
    pipe: alloc::sync::Arc<BreakPipe>,
    slots: alloc::vec::Vec<PollDesc<OwnedFd>>,
    nodes: alloc::vec::Vec<Node>,
}

#[cfg(feature = "alloc")]
impl BoxedPollerStorage {
    /// Room for `descriptors` descriptors. Pages are touched when they are first used, not now.
    pub fn with_capacity(descriptors: usize) -> BoxedPollerStorage {
        BoxedPollerStorage {
            pipe: alloc::sync::Arc::new(BreakPipe::new()),
            slots: alloc::vec::Vec::with_capacity(descriptors),
            nodes: alloc::vec::Vec::with_capacity(descriptors),
        }
    }
}

#[cfg(feature = "alloc")]
impl sealed::Sealed for BoxedPollerStorage {}

#[cfg(feature = "alloc")]
impl LendPoller for BoxedPollerStorage {
    fn lend(&mut self) -> Result<PollerParts<'_>, Error> {
        self.slots.clear();
        self.nodes.clear();
        let selector = Selector::new()?;
        // A new one each time: shared breakers of an earlier poller keep theirs, which says `Closed`.
        let mut pipe = BreakPipe::new();
        pipe.open()?;
        self.pipe.close();
        self.pipe = alloc::sync::Arc::new(pipe);
        Ok(PollerParts {
            selector,
            pipe: &self.pipe,
            shared_pipe: Some(&self.pipe),
            slots: Slots::Boxed(&mut self.slots),
            nodes: Slots::Boxed(&mut self.nodes),
        })
    }
}
