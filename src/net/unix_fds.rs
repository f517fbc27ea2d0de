//! Passing descriptors over Unix sockets: `SCM_RIGHTS`, unix(7).

use core::mem::MaybeUninit;
use core::task::{Poll, ready};

use rustix::cmsg_space;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SocketAddrUnix};

use super::unix_socket::address;
use super::{RECV, SEND};
use crate::arch;
use crate::error::Error;
use crate::interest::Direction;
use crate::poller::Io;
use crate::token::Token;

/// How many descriptors a message can carry, Linux's `SCM_MAX_FD`. It costs a kilobyte of stack.
const MOST: usize = 253;

/// What `recv_with_fds` tells of what it has received.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct UnixReceived {
    /// How many bytes are in the buffer.
    pub len: usize,
    /// There were more than fitted, and they are lost (`MSG_TRUNC`). Never so on a stream, which keeps them.
    pub truncated: bool,
    /// How many descriptors have come.
    pub fds: usize,
    /// More have come, and are closed (`MSG_CTRUNC`): there was no room for them, or the process has as many as it may.
    pub fds_truncated: bool,
    /// The sender's address; unnamed if it was not bound.
    pub from: SocketAddrUnix,
}

impl UnixReceived {
    pub(super) fn nothing() -> Result<UnixReceived, Error> {
        Ok(UnixReceived { len: 0, truncated: false, fds: 0, fds_truncated: false, from: arch::unnamed()? })
    }
}

pub(super) fn send(io: &mut Io<'_>, token: Token, buf: &[u8], fds: &[BorrowedFd<'_>]) -> Poll<Result<usize, Error>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Poll::Ready(Err(Errno::INVAL.into()));
    }
    io.poll_io(token, Direction::Write, |fd| rustix::net::sendmsg(fd, &[IoSlice::new(buf)], &mut control, SEND))
}

pub(super) fn recv(io: &mut Io<'_>, token: Token, buf: &mut [u8], fds: &mut [Option<OwnedFd>]) -> Poll<Result<UnixReceived, Error>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut control = match fds.iter().filter(|slot| slot.is_none()).count() {
        0 => RecvAncillaryBuffer::default(),
        room => RecvAncillaryBuffer::new(space.get_mut(..cmsg_space!(ScmRights(room.min(MOST)))).unwrap_or_default()),
    };
    let flags = RECV | arch::RECV_FDS;
    let message =
        ready!(io.poll_io(token, Direction::Read, |fd| rustix::net::recvmsg(fd, &mut [IoSliceMut::new(buf)], &mut control, flags)))?;
    let from = address(message.address)?;
    let (fds, has_dropped) = place(&mut control, fds);
    Poll::Ready(Ok(UnixReceived {
        len: message.bytes,
        truncated: message.flags.contains(ReturnFlags::TRUNC),
        fds,
        fds_truncated: has_dropped || message.flags.contains(ReturnFlags::CTRUNC),
        from,
    }))
}

/// Moves descriptors to the empty slots: how many, and whether some found none and were closed. The kernel counts the room in words, so
/// that one or two more than were asked for can come.
fn place(control: &mut RecvAncillaryBuffer<'_>, fds: &mut [Option<OwnedFd>]) -> (usize, bool) {
    let mut slots = fds.iter_mut().filter(|slot| slot.is_none());
    let (mut placed, mut has_dropped) = (0, false);
    for message in control.drain() {
        let RecvAncillaryMessage::ScmRights(received) = message else { continue };
        for fd in received {
            match slots.next() {
                Some(slot) if arch::received(&fd).is_ok() => {
                    *slot = Some(fd);
                    placed += 1;
                }
                _ => has_dropped = true,
            }
        }
    }
    (placed, has_dropped)
}
