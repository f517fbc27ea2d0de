//! Accepting, for listeners of every family: room first, then the call.

use core::task::{Poll, ready};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SocketAddrAny;

use crate::arch;
use crate::error::Error;
use crate::interest::Direction;
use crate::poller::Io;
use crate::token::Token;

/// A descriptor and its peer's address.
type Accepted<A> = (OwnedFd, A);

/// Makes the peer's address of the kernel's, if that gives one; `ECONNABORTED` for a connection that had died.
type Peer<A> = fn(Option<SocketAddrAny>) -> Result<A, Errno>;

/// How many dead connections one call passes over.
const PASSED_OVER: usize = 32;

/// Accepts for a new handler.
pub(super) fn accept<A>(io: &mut Io<'_>, listener: Token, peer: Peer<A>) -> Poll<Result<Accepted<A>, Error>> {
    if !io.has_room() {
        ready!(hold(io, listener))?;
        ready!(io.poll_room())?;
    }
    accept_now(io, listener, peer)
}

/// Accepts for the running handler.
pub(super) fn accept_own<A>(io: &mut Io<'_>, listener: Token, peer: Peer<A>) -> Poll<Result<Accepted<A>, Error>> {
    if !io.has_descriptor_room() {
        ready!(hold(io, listener))?;
        ready!(io.poll_descriptor_room())?;
    }
    accept_now(io, listener, peer)
}

/// There is no room: waits until a client is there, before it waits for room. A deadline counts all the same.
fn hold(io: &mut Io<'_>, listener: Token) -> Poll<Result<(), Error>> {
    ready!(io.poll_ready(listener, Direction::Read))?;
    io.hold(listener);
    Poll::Ready(Ok(()))
}

fn accept_now<A>(io: &mut Io<'_>, listener: Token, peer: Peer<A>) -> Poll<Result<Accepted<A>, Error>> {
    let accepted = ready!(io.poll_io(listener, Direction::Read, |fd| {
        for _ in 0..PASSED_OVER {
            match arch::accept(fd).and_then(|(socket, addr)| Ok((socket, peer(addr)?))) {
                Err(Errno::CONNABORTED) => {}
                answer => return answer,
            }
        }
        Err(Errno::CONNABORTED)
    }));
    if let Err(Error::Os(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) = accepted {
        io.run_when_freed();
    }
    Poll::Ready(accepted)
}

/// What a listener does when it is open: accepts sockets of one kind, whose addresses `peer` makes of the kernel's, within a deadline.
macro_rules! listener {
    ($kind:ty $(where $param:ident: $bound:path)?, socket: $socket:ty, address: $address:ty, peer: $peer:expr) => {
        impl $(<$param: $bound>)? $kind {
            /// Takes the next connection and its peer's address; the new socket is non-blocking and close-on-exec. Go's `Accept`.
            ///
            /// While there is no [room](crate::Io::has_room) for a handler with the connection this makes no system call, so that the
            /// backlog keeps the client, and the handler is run when a slot is freed. Connections that died in the backlog are passed over.
            ///
            /// # Errors
            ///
            /// [`Error::Os`](crate::Error::Os) with `EMFILE`, `ENFILE`, `ENOBUFS` or `ENOMEM` when the process or the system has no more:
            /// the connection is still in the backlog and the readiness is kept; set a timer and come again. (The handler is also run when
            /// one of its reactor's slots is freed.) `ECONNABORTED` when 32 connections in a row had died.
            /// [`Error::TimedOut`](crate::Error::TimedOut), [`Error::Closed`](crate::Error::Closed),
            /// [`Error::NotOwner`](crate::Error::NotOwner). [`Error::Full`](crate::Error::Full) on a bare poller without room.
            pub fn accept(
                &self,
                io: &mut $crate::Io<'_>,
            ) -> core::task::Poll<Result<($crate::Unopened<$socket>, $address), $crate::Error>> {
                let (fd, peer) = core::task::ready!($crate::net::accept::accept(io, self.token, $peer))?;
                core::task::Poll::Ready(Ok(($crate::Unopened::new(fd), peer)))
            }

            /// As [`accept`](Self::accept), for a handler that opens the connection for itself: no room for another handler is waited for.
            ///
            /// # Errors
            ///
            /// As [`accept`](Self::accept).
            pub fn accept_own(
                &self,
                io: &mut $crate::Io<'_>,
            ) -> core::task::Poll<Result<($crate::Unopened<$socket>, $address), $crate::Error>> {
                let (fd, peer) = core::task::ready!($crate::net::accept::accept_own(io, self.token, $peer))?;
                core::task::Poll::Ready(Ok(($crate::Unopened::new(fd), peer)))
            }

            /// Sets or clears the moment after which `accept` answers [`Error::TimedOut`](crate::Error::TimedOut). Go's `SetDeadline`.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn set_deadline(&self, io: &mut $crate::Io<'_>, at: Option<$crate::Instant>) -> Result<(), $crate::Error> {
                io.set_deadline(self.token, $crate::Direction::Read, at)
            }

            /// As [`set_deadline`](Self::set_deadline), from now.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed), [`Error::NotOwner`](crate::Error::NotOwner).
            pub fn set_timeout(&self, io: &mut $crate::Io<'_>, after: Option<core::time::Duration>) -> Result<(), $crate::Error> {
                io.set_timeout(self.token, $crate::Direction::Read, after)
            }
        }
    };
}

pub(super) use listener;
