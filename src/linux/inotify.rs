//! [`Inotify`]: what happens to files and folders.

use core::ffi::CStr;
use core::iter::FusedIterator;
use core::task::{Poll, ready};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::descriptor::{Unopened, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// Learns what happens to files and folders: inotify(7).
///
/// A folder's watch tells what happens to it and to what lies directly in it. To be told of a file that is replaced rather than written to,
/// as editors and package managers do, watch its folder for `MOVED_TO | CLOSE_WRITE`.
///
/// Nothing is told of what other machines do to a network file system, and of `/proc`, `/sys` and `/dev/pts`.
///
/// ```
/// # use core::task::{Poll, ready};
/// use netpoll::linux::{Inotify, InotifyEvent, WatchFlags};
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// struct Spool { inotify: Inotify, buf: [u8; 1024] }
///
/// impl Handler for Spool {
///     type Shared = u32;
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             for event in ready!(self.inotify.read_events(cx, &mut self.buf))? {
///                 match event {
///                     InotifyEvent::Change { name: Some(name), .. } if name == c"stop" => return Poll::Ready(Ok(())),
///                     InotifyEvent::Change { .. } => *cx.shared() += 1,
///                     InotifyEvent::Overflow => { /* some events are lost: look into the folder */ }
///                     InotifyEvent::Removed(_) => return Poll::Ready(Ok(())), // the folder is gone
///                 }
///             }
///         }
///     }
/// }
///
/// let folder = std::env::temp_dir().join(format!("netpoll-spool-{}", std::process::id()));
/// std::fs::create_dir(&folder).unwrap();
/// let inotify = Inotify::new()?;
/// inotify.add_watch(folder.to_str().unwrap(), WatchFlags::CLOSE_WRITE)?;
///
/// let mut storage = ReactorStorage::<Spool, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// reactor.spawn_with(inotify, |inotify| Spool { inotify, buf: [0; 1024] })?;
/// std::fs::write(folder.join("job"), "1").unwrap();
/// std::fs::write(folder.join("stop"), "").unwrap();
/// let mut jobs = 0;
/// reactor.run(&mut jobs)?;
/// assert_eq!(jobs, 1);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Inotify {
    token: Token,
}

descriptor!(Inotify, interest: Interest::READ, must_not_block: true);
wait_deadline!(Inotify);

/// Names what is watched; the same file watched twice has one. The kernel does not use a number again before all others were used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Watch(i32);

fn add_watch(fd: BorrowedFd<'_>, path: impl Arg, flags: WatchFlags) -> Result<Watch, Error> {
    Ok(Watch(inotify::add_watch(fd, path, flags)?))
}

impl Unopened<Inotify> {
    /// Watches a file or folder before the descriptor is opened: as [`Inotify::add_watch`].
    ///
    /// # Errors
    ///
    /// As [`Inotify::add_watch`], of the [`Error::Os`] ones.
    pub fn add_watch(&self, path: impl Arg, flags: WatchFlags) -> Result<Watch, Error> {
        add_watch(self.as_fd(), path, flags)
    }
}

impl Inotify {
    /// A buffer that any event fits into: sixteen bytes and a name, which takes up to 255 and a zero.
    pub const BUFFER: usize = 16 + 255 + 1;

    /// Watches nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as inotify_init(2): `EMFILE` also when `/proc/sys/fs/inotify/max_user_instances` is reached.
    pub fn new() -> Result<Unopened<Inotify>, Error> {
        Ok(Unopened::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?))
    }

    /// Watches a file or folder, or changes for what. Finding the path may block, as open(2) does.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as inotify_add_watch(2): `ENOENT`, `EACCES`, `ENOTDIR`, `ENOSPC` when `/proc/sys/fs/inotify/max_user_watches` is
    /// reached, `EINVAL` for no flags at all. [`Error::Closed`], [`Error::NotOwner`].
    pub fn add_watch(&self, io: &mut Io<'_>, path: impl Arg, flags: WatchFlags) -> Result<Watch, Error> {
        add_watch(io.fd(self.token)?, path, flags)
    }

    /// Ends a watch. Its events that have not been read yet are still to come, and at last [`InotifyEvent::Removed`].
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EINVAL` for a watch that has ended. [`Error::Closed`], [`Error::NotOwner`].
    pub fn remove_watch(&self, io: &mut Io<'_>, watch: Watch) -> Result<(), Error> {
        Ok(inotify::remove_watch(io.fd(self.token)?, watch.0)?)
    }

    /// Reads as many whole events as fit into `buf`, at least one.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EINVAL` when the next event is larger than `buf`, and stays there to be read with a larger one:
    /// [`BUFFER`](Inotify::BUFFER) bytes are enough for any. [`Error::TimedOut`], [`Error::Closed`], [`Error::NotOwner`]. `EBADMSG` for a
    /// descriptor of another kind.
    pub fn read_events<'b>(&self, io: &mut Io<'_>, buf: &'b mut [u8]) -> Poll<Result<InotifyEvents<'b>, Error>> {
        let len = ready!(io.poll_io(self.token, Direction::Read, |fd| rustix::io::read(fd, &mut *buf)))?;
        let buf: &'b [u8] = buf;
        let events = buf.get(..len).and_then(InotifyEvents::parse);
        Poll::Ready(events.ok_or(Errno::BADMSG.into()))
    }
}

/// Something that an [`Inotify`] has to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InotifyEvent<'b> {
    /// What the watch was asked for has happened. Equal events in a row are one.
    Change {
        /// Where.
        watch: Watch,
        /// What; with `ISDIR` if to a folder. `UNMOUNT` comes unasked.
        what: ReadFlags,
        /// The same in a `MOVED_FROM` and its `MOVED_TO`, else 0.
        cookie: u32,
        /// To which file in a watched folder; `None` if to what is watched itself.
        name: Option<&'b CStr>,
    },
    /// The watch has ended: it was removed, or what it watched was deleted or unmounted, or its one event has come (`IN_IGNORED`).
    Removed(Watch),
    /// The queue was full, and events are lost (`IN_Q_OVERFLOW`): look at everything again. It goes on after that.
    Overflow,
}

/// The events in a buffer; by [`Inotify::read_events`].
#[derive(Clone, Debug)]
pub struct InotifyEvents<'b> {
    rest: &'b [u8],
}

impl<'b> InotifyEvents<'b> {
    /// What read(2) has put into a buffer; `None` if that is not a number of whole events.
    pub fn parse(bytes: &'b [u8]) -> Option<InotifyEvents<'b>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = split_event(rest)?.1;
        }
        Some(InotifyEvents { rest: bytes })
    }
}

impl<'b> Iterator for InotifyEvents<'b> {
    type Item = InotifyEvent<'b>;

    fn next(&mut self) -> Option<InotifyEvent<'b>> {
        let (event, rest) = split_event(self.rest)?;
        self.rest = rest;
        Some(event)
    }
}

impl FusedIterator for InotifyEvents<'_> {}

/// The first event and what follows it.
fn split_event(bytes: &[u8]) -> Option<(InotifyEvent<'_>, &[u8])> {
    let (watch, rest) = split_word(bytes)?;
    let (what, rest) = split_word(rest)?;
    let (cookie, rest) = split_word(rest)?;
    let (len, rest) = split_word(rest)?;
    let (name, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    // Filled up with zeroes; the first one ends the name.
    let name = if name.is_empty() { None } else { Some(CStr::from_bytes_until_nul(name).ok()?) };
    let (watch, what) = (Watch(watch.cast_signed()), ReadFlags::from_bits_retain(what));
    let event = if what.contains(ReadFlags::QUEUE_OVERFLOW) {
        InotifyEvent::Overflow
    } else if what.contains(ReadFlags::IGNORED) {
        InotifyEvent::Removed(watch)
    } else {
        InotifyEvent::Change { watch, what, cookie, name }
    };
    Some((event, rest))
}

fn split_word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_ne_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn bytes(watch: i32, what: ReadFlags, cookie: u32, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [watch as u32, what.bits(), cookie, name.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(name);
        bytes
    }

    #[test]
    fn buffer_takes_the_longest_name() {
        assert_eq!(Inotify::BUFFER, 16 + "x".repeat(255).len() + "\0".len());
    }

    #[test]
    fn events_are_told_apart() {
        let mut buffer = bytes(1, ReadFlags::CREATE | ReadFlags::ISDIR, 7, b"abc\0\0\0\0\0");
        buffer.extend(bytes(2, ReadFlags::MODIFY, 0, b""));
        buffer.extend(bytes(2, ReadFlags::IGNORED, 0, b""));
        buffer.extend(bytes(-1, ReadFlags::QUEUE_OVERFLOW, 0, b""));
        let events: Vec<_> = InotifyEvents::parse(&buffer).unwrap().collect();
        let what = ReadFlags::CREATE | ReadFlags::ISDIR;
        assert_eq!(
            events,
            [
                InotifyEvent::Change { watch: Watch(1), what, cookie: 7, name: Some(c"abc") },
                InotifyEvent::Change { watch: Watch(2), what: ReadFlags::MODIFY, cookie: 0, name: None },
                InotifyEvent::Removed(Watch(2)),
                InotifyEvent::Overflow,
            ]
        );
        assert_eq!(InotifyEvents::parse(b"").unwrap().count(), 0);
    }

    #[test]
    fn half_events_are_none() {
        let whole = bytes(1, ReadFlags::CREATE, 0, b"abc\0");
        let two = [&whole[..], &whole].concat();
        for len in 1..two.len() {
            assert_eq!(InotifyEvents::parse(&two[..len]).is_some(), len == whole.len(), "{len}");
        }
        assert!(InotifyEvents::parse(&bytes(1, ReadFlags::CREATE, 0, b"no end")).is_none());
        let mut long = whole;
        long[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(InotifyEvents::parse(&long).is_none());
    }
}
