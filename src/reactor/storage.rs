//! Where handlers live: cells, which hold nothing but the handler, and headers, which hold everything else.

use core::cell::RefCell;

use super::roster::Header;
use crate::deadline::Node;
use crate::error::Error;
use crate::poller::{LendPoller, PollerParts, PollerStorage};
use crate::storage::Slots;

/// A handler's place. The tag stands apart from the handler and is zero when vacant, so that a `static` of these lies in `.bss` whatever
/// `H` is.
#[derive(Debug)]
#[repr(u8)]
pub(crate) enum Cell<H> {
    Vacant = 0,
    Live(H) = 1,
}

/// The running handler's is borrowed while it runs; everything else about it can then still be changed, through its header.
pub(crate) type Place<H> = RefCell<Cell<H>>;

/// Drops what was there. The running handler's place stays as it is.
pub(super) fn put<H>(place: &Place<H>, cell: Cell<H>) {
    if let Ok(mut place) = place.try_borrow_mut() {
        *place = cell;
    }
}

/// Lent storage taken apart.
#[derive(Debug)]
pub struct ReactorParts<'s, H> {
    pub(super) poller: PollerParts<'s>,
    pub(super) handlers: HandlerParts<'s, H>,
}

#[derive(Debug)]
pub(crate) struct HandlerParts<'s, H> {
    pub(super) headers: Slots<'s, Header>,
    pub(super) timers: Slots<'s, Node>,
    pub(super) places: &'s mut [Place<H>],
}

impl<H> HandlerParts<'_, H> {
    /// Drops every handler. The headers last: if a handler's drop panics, they say where the others are.
    pub(super) fn clear(&mut self) {
        let used = self.headers.len();
        self.places.iter_mut().take(used).for_each(|place| *place.get_mut() = Cell::Vacant);
        self.headers.clear();
        self.timers.clear();
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Storage that a [`Reactor`](crate::Reactor) can be made on: [`ReactorStorage`], or `BoxedReactorStorage` under `alloc`.
pub trait LendReactor<H>: sealed::Sealed {
    /// Empties the storage and makes a new break pipe in it.
    #[doc(hidden)]
    fn lend(&mut self) -> Result<ReactorParts<'_, H>, Error>;
}

/// Room for a [`Reactor`](crate::Reactor) of `HANDLERS` handlers with `DESCRIPTORS` descriptors among them: the size of `H` and 64 bytes
/// for each handler, 80 bytes for each descriptor, and 192 once.
///
/// Put it into a `static` (in a `static_cell::ConstStaticCell`, say), where it takes no space in the program's file and no memory before it
/// is used; or, if it is small, on the stack.
///
/// ```
/// use netpoll::{Callback, Reactor, ReactorStorage};
/// use static_cell::ConstStaticCell;
///
/// type Tick = Callback<(), u32>;
/// static STORAGE: ConstStaticCell<ReactorStorage<Tick, 64, 65_536>> = ConstStaticCell::new(ReactorStorage::new());
/// let reactor: Reactor<'static, Tick> = Reactor::new(STORAGE.take())?;
/// # Ok::<(), netpoll::Error>(())
/// ```
#[derive(Debug)]
pub struct ReactorStorage<H, const HANDLERS: usize, const DESCRIPTORS: usize> {
    poller: PollerStorage<DESCRIPTORS>,
    headers: heapless::Vec<Header, HANDLERS>,
    timers: heapless::Vec<Node, HANDLERS>,
    places: [Place<H>; HANDLERS],
}

impl<H, const HANDLERS: usize, const DESCRIPTORS: usize> ReactorStorage<H, HANDLERS, DESCRIPTORS> {
    /// Empty storage.
    pub const fn new() -> Self {
        const { assert!(HANDLERS < u32::MAX as usize, "a handler's index has 32 bits") };
        ReactorStorage {
            poller: PollerStorage::new(),
            headers: heapless::Vec::new(),
            timers: heapless::Vec::new(),
            places: [const { Place::new(Cell::Vacant) }; HANDLERS],
        }
    }
}

impl<H, const HANDLERS: usize, const DESCRIPTORS: usize> Default for ReactorStorage<H, HANDLERS, DESCRIPTORS> {
    fn default() -> Self {
        ReactorStorage::new()
    }
}

impl<H, const HANDLERS: usize, const DESCRIPTORS: usize> sealed::Sealed for ReactorStorage<H, HANDLERS, DESCRIPTORS> {}

impl<H, const HANDLERS: usize, const DESCRIPTORS: usize> LendReactor<H> for ReactorStorage<H, HANDLERS, DESCRIPTORS> {
    fn lend(&mut self) -> Result<ReactorParts<'_, H>, Error> {
        let mut handlers =
            HandlerParts { headers: Slots::Lent(&mut self.headers), timers: Slots::Lent(&mut self.timers), places: &mut self.places };
        handlers.clear();
        Ok(ReactorParts { handlers, poller: self.poller.lend()? })
    }
}

/// Room for a [`Reactor`](crate::Reactor) on the heap, with capacities chosen at run time. Allocates when it is made and never again.
///
/// ```
/// use netpoll::{BoxedReactorStorage, Callback, Reactor};
/// let mut storage = BoxedReactorStorage::<Callback<(), u32>>::with_capacity(100, 200);
/// let reactor = Reactor::new(&mut storage)?;
/// # Ok::<(), netpoll::Error>(())
/// ```
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct BoxedReactorStorage<H> {
    poller: crate::BoxedPollerStorage,
    headers: alloc::vec::Vec<Header>,
    timers: alloc::vec::Vec<Node>,
    places: alloc::boxed::Box<[Place<H>]>,
}

#[cfg(feature = "alloc")]
impl<H> BoxedReactorStorage<H> {
    /// Room for `handlers` handlers, which have `descriptors` descriptors among them. Of each handler's place nine bytes are written now.
    pub fn with_capacity(handlers: usize, descriptors: usize) -> BoxedReactorStorage<H> {
        BoxedReactorStorage {
            poller: crate::BoxedPollerStorage::with_capacity(descriptors),
            headers: alloc::vec::Vec::with_capacity(handlers),
            timers: alloc::vec::Vec::with_capacity(handlers),
            places: (0..handlers).map(|_| Place::new(Cell::Vacant)).collect(),
        }
    }
}

#[cfg(feature = "alloc")]
impl<H> sealed::Sealed for BoxedReactorStorage<H> {}

#[cfg(feature = "alloc")]
impl<H> LendReactor<H> for BoxedReactorStorage<H> {
    fn lend(&mut self) -> Result<ReactorParts<'_, H>, Error> {
        let mut handlers =
            HandlerParts { headers: Slots::Boxed(&mut self.headers), timers: Slots::Boxed(&mut self.timers), places: &mut self.places };
        handlers.clear();
        Ok(ReactorParts { handlers, poller: self.poller.lend()? })
    }
}
