//! [`Source`]: something unopened that a handler can be spawned with.

use rustix::fd::OwnedFd;

use crate::error::Rejected;
use crate::interest::Interest;
use crate::poller::Io;
use crate::token::Token;

/// Something unopened that becomes a handler's own when it is opened: what `spawn_with` takes.
///
/// Dropping it unopened closes it.
pub trait Source: Sized {
    /// What the handler works with.
    type Opened;

    /// Opens it for the handler in whose name `io` acts.
    ///
    /// # Errors
    ///
    /// As [`Io::open`], with the source, unchanged.
    fn open(self, io: &mut Io<'_>) -> Result<Self::Opened, Rejected<Self>>;
}

/// Any descriptor, with the directions to open.
impl Source for (OwnedFd, Interest) {
    type Opened = Token;

    #[inline]
    fn open(self, io: &mut Io<'_>) -> Result<Token, Rejected<Self>> {
        let (fd, interest) = self;
        io.open(fd, interest).map_err(|rejected| rejected.map(|fd| (fd, interest)))
    }
}
