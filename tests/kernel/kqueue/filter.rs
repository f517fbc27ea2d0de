//! What is true of a descriptor at this moment: the kernel's `filt_` functions.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{SendFlags, SocketType, sockopt};

use super::descriptor;
use super::quirks::Quirks;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    Read,
    Write,
}

/// Why an event is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) eof: bool,
    pub(super) data: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pipe,
    /// Opened by a name.
    Fifo,
    Stream,
    /// Connected like a stream, but an empty message is a message.
    Seqpacket,
    Datagram,
    Directory,
    File,
    Other,
}

impl Kind {
    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Kind, Errno> {
        Ok(match FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) {
            FileType::Fifo if descriptor::has_a_name(fd) => Kind::Fifo,
            FileType::Fifo => Kind::Pipe,
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Socket => match sockopt::socket_type(fd)? {
                SocketType::STREAM => Kind::Stream,
                SocketType::SEQPACKET => Kind::Seqpacket,
                _ => Kind::Datagram,
            },
            _ => Kind::Other,
        })
    }

    /// Whether EV_ADD is refused.
    pub(super) fn attach(self, fd: BorrowedFd<'_>, filter: Filter, quirks: &Quirks) -> Result<(), Errno> {
        let refusal = match (self, filter) {
            (Kind::Pipe | Kind::Fifo, Filter::Write) if now(fd, PollFlags::OUT).intersects(PollFlags::ERR | PollFlags::HUP) => {
                quirks.broken_pipe
            }
            (Kind::File, Filter::Write) => quirks.file_write,
            (Kind::Directory, _) => quirks.directory,
            _ => None,
        };
        refusal.map_or(Ok(()), Err)
    }

    /// `None` while there is nothing to report.
    pub(super) fn look(self, fd: BorrowedFd<'_>, filter: Filter, quirks: &Quirks) -> Option<Truth> {
        match filter {
            Filter::Read => self.readable(fd, quirks),
            Filter::Write => self.writable(fd),
        }
    }

    fn readable(self, fd: BorrowedFd<'_>, quirks: &Quirks) -> Option<Truth> {
        let polled = now(fd, PollFlags::IN | PollFlags::RDHUP);
        let (error, hup, rdhup) = (polled.contains(PollFlags::ERR), polled.contains(PollFlags::HUP), polled.contains(PollFlags::RDHUP));
        let data = ioctl_fionread(fd).map_or(0, |bytes| bytes as i64);
        if self.is_unconnected(hup, rdhup) {
            return None;
        }
        let eof = match self {
            Kind::Stream | Kind::Seqpacket => hup || rdhup,
            Kind::Datagram => rdhup, // an error is not the end: row 33
            Kind::Pipe => hup || error,
            Kind::Fifo => (hup || error) && !quirks.misses_fifo_close,
            _ => hup,
        };
        let data = if self == Kind::Stream && is_listener(fd) { pending(fd, quirks) } else { data };
        let silent = self == Kind::Fifo && quirks.misses_fifo_close;
        (eof || polled.contains(PollFlags::IN) || (error && !silent)).then_some(Truth { eof, data })
    }

    fn writable(self, fd: BorrowedFd<'_>) -> Option<Truth> {
        let polled = now(fd, PollFlags::OUT | PollFlags::RDHUP);
        let (error, hup, rdhup) = (polled.contains(PollFlags::ERR), polled.contains(PollFlags::HUP), polled.contains(PollFlags::RDHUP));
        if self.is_unconnected(hup, rdhup) || (self == Kind::Stream && is_listener(fd)) {
            return None;
        }
        let eof = match self {
            Kind::Datagram => false,
            Kind::Stream => hup || error || (polled.contains(PollFlags::OUT) && has_ended(fd)),
            _ => hup || error,
        };
        let data = match self {
            Kind::Pipe | Kind::Fifo => {
                rustix::pipe::fcntl_getpipe_size(fd).map_or(0, |size| size as i64) - ioctl_fionread(fd).unwrap_or(0) as i64
            }
            Kind::Stream | Kind::Seqpacket | Kind::Datagram => {
                sockopt::socket_send_buffer_size(fd).map_or(0, |size| size as i64) - descriptor::unsent(fd) as i64
            }
            _ => 0,
        };
        (eof || error || polled.contains(PollFlags::OUT)).then_some(Truth { eof, data })
    }

    /// Linux says that such a socket has hung up, a BSD nothing: row 32.
    fn is_unconnected(self, hup: bool, rdhup: bool) -> bool {
        matches!(self, Kind::Stream | Kind::Seqpacket) && hup && !rdhup
    }
}

fn now(fd: BorrowedFd<'_>, events: PollFlags) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(fd, events)];
    match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => polled[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

fn is_listener(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(fd).unwrap_or(false)
}

/// It takes Linux long to say, so it is asked only if something depends on it.
fn pending(fd: BorrowedFd<'_>, quirks: &Quirks) -> i64 {
    if quirks.repeats_reads { descriptor::backlog(fd).unwrap_or(1) } else { 1 }
}

/// Whether this end has been shut down for writing. Nothing else says so without taking a pending error, and there is none here.
fn has_ended(fd: BorrowedFd<'_>) -> bool {
    rustix::net::send(fd, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) == Err(Errno::PIPE)
}
