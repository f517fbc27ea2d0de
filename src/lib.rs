#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]
//! netpoll

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[path = "../arch/mod.rs"]
mod arch;
mod breaker;
pub mod deadline;
mod error;
mod interest;
pub mod net;
mod poller;
mod reactor;
pub mod readiness;
mod source;
mod storage;
pub mod table;
mod time;
mod token;

pub use breaker::Breaker;
#[cfg(feature = "alloc")]
pub use breaker::SharedBreaker;
pub use error::{Error, Rejected};
pub use interest::{Direction, Interest};
#[cfg(feature = "alloc")]
pub use poller::BoxedPollerStorage;
pub use poller::{Io, Polled, Poller, PollerStorage, Stats, Timeout};
#[cfg(feature = "alloc")]
pub use reactor::BoxedReactorStorage;
pub use reactor::{Callback, Context, Handler, HandlerId, Reactor, ReactorStorage};
pub use readiness::Readiness;
pub use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
pub use rustix::io::Errno;
pub use source::Source;
pub use table::Waiter;
pub use time::{Clock, Instant};
pub use token::Token;
