//! [`Uevents`]: devices that come and go; and [`Uevent`], a message about one: pure.

use core::fmt;
use core::task::{Poll, ready};

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::netlink::KOBJECT_UEVENT;

use super::netlink::{self, Notice};
use crate::descriptor::{Unopened, descriptor};
use crate::error::Error;
use crate::interest::Interest;
use crate::poller::Io;
use crate::token::Token;

/// Learns from the kernel which devices come and go: what udev and mdev listen to.
///
/// A device is announced before its node in `/dev` has got its name, owner and rights from udev or mdev: who opens it at once may have to
/// try again. What is there already is not announced: look at `/sys` when listening has begun, and again after an overrun. In a container
/// only the events of its own network devices may come.
///
/// ```no_run
/// # use core::task::{Poll, ready};
/// use netpoll::linux::{Notice, Uevents};
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// struct Devices { uevents: Uevents, buf: [u8; Uevents::BUFFER] }
///
/// impl Handler for Devices {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             match ready!(self.uevents.recv(cx, &mut self.buf))? {
///                 Notice::Message(event) if event.is("SUBSYSTEM", "tty") && event.is("ACTION", "add") => {
///                     let _name = event.get("DEVNAME"); // b"ttyUSB0": a serial adapter was plugged in
///                 }
///                 Notice::Message(_) => {}
///                 Notice::Overrun => { /* look at /sys/class/tty again */ }
///             }
///         }
///     }
/// }
///
/// let uevents = Uevents::new()?;
/// uevents.set_receive_buffer(1 << 20)?;
/// let mut storage = ReactorStorage::<Devices, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// reactor.spawn_with(uevents, |uevents| Devices { uevents, buf: [0; Uevents::BUFFER] })?;
/// reactor.run(&mut ())?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Uevents {
    token: Token,
}

descriptor!(Uevents, interest: Interest::READ, must_not_block: false);
wait_deadline!(Uevents);

/// The group that the kernel announces to; that of udev is another one.
const KERNEL: u32 = 1;

impl Unopened<Uevents> {
    /// How many bytes of messages may wait, counted generously: a short message may take a thousand. The more, the rarer an overrun when a
    /// hub full of devices is plugged in.
    ///
    /// More than `/proc/sys/net/core/rmem_max` needs `CAP_NET_ADMIN`; without it that is what it will be.
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as setsockopt(2).
    pub fn set_receive_buffer(&self, bytes: usize) -> Result<(), Error> {
        netlink::set_receive_buffer(self.as_fd(), bytes)
    }
}

impl Uevents {
    /// A buffer that any message fits into: the kernel composes the variables in 2 KiB, a path takes 4 KiB at most.
    pub const BUFFER: usize = 8192;

    /// Listens from now on; what comes before it is opened waits.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as socket(2) and bind(2): `EPROTONOSUPPORT` on a kernel without uevents, `EMFILE`, `ENFILE`, `ENOBUFS`.
    pub fn new() -> Result<Unopened<Uevents>, Error> {
        Ok(Unopened::new(netlink::socket(Some(KOBJECT_UEVENT), KERNEL)?))
    }

    /// Receives the kernel's next message. What other processes send is passed over.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EMSGSIZE` when the message was larger than `buf`, `EBADMSG` when it was none: one message is lost.
    /// [`Error::TimedOut`], [`Error::Closed`], [`Error::NotOwner`].
    pub fn recv<'b>(&self, io: &mut Io<'_>, buf: &'b mut [u8]) -> Poll<Result<Notice<Uevent<'b>>, Error>> {
        Poll::Ready(match ready!(netlink::recv(io, self.token, buf))? {
            Notice::Message(message) => Uevent::parse(message).map(Notice::Message).ok_or(Errno::BADMSG.into()),
            Notice::Overrun => Ok(Notice::Overrun),
        })
    }
}

/// A message about a device: an action, a path under `/sys`, and variables. All of it is bytes, since the names of devices may be any.
///
/// ```
/// use netpoll::linux::Uevent;
/// let message = b"add@/devices/virtual/tty/ttyX\0ACTION=add\0SUBSYSTEM=tty\0DEVNAME=ttyX\0";
/// let event = Uevent::parse(message).unwrap();
/// assert_eq!((event.action(), event.devpath()), (&b"add"[..], &b"/devices/virtual/tty/ttyX"[..]));
/// assert!(event.is("SUBSYSTEM", "tty"));
/// assert_eq!(event.get("DEVNAME"), Some(&b"ttyX"[..]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Uevent<'b> {
    action: &'b [u8],
    devpath: &'b [u8],
    variables: &'b [u8],
}

impl<'b> Uevent<'b> {
    /// Takes a message apart; `None` if it is none of the kernel's: `action@/path`, then `KEY=value` any number of times, a zero byte
    /// after each.
    pub fn parse(message: &'b [u8]) -> Option<Uevent<'b>> {
        let (header, variables) = split_at_byte(message, 0)?;
        let (action, devpath) = split_at_byte(header, b'@')?;
        let is_whole = variables.last().is_none_or(|&last| last == 0);
        let is_event = !action.is_empty() && devpath.starts_with(b"/") && is_whole;
        is_event.then_some(Uevent { action, devpath, variables })
    }

    /// What happened: `add`, `remove`, `change`, `move`, `online`, `offline`, `bind`, `unbind`.
    pub fn action(&self) -> &'b [u8] {
        self.action
    }

    /// To which device: a path, to be put behind `/sys`.
    pub fn devpath(&self) -> &'b [u8] {
        self.devpath
    }

    /// All `KEY=value`, in the kernel's order. `ACTION`, `DEVPATH`, `SUBSYSTEM` and `SEQNUM` are always there, `DEVNAME` (without `/dev/`)
    /// if the device has a node.
    pub fn variables(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + use<'b> {
        self.variables.split(|&byte| byte == 0).filter_map(|variable| split_at_byte(variable, b'='))
    }

    /// The value of a variable.
    pub fn get(&self, key: &str) -> Option<&'b [u8]> {
        self.variables().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// Whether a variable is there and has this value.
    pub fn is(&self, key: &str, value: &str) -> bool {
        self.get(key) == Some(value.as_bytes())
    }
}

impl fmt::Debug for Uevent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.action.escape_ascii(), self.devpath.escape_ascii())?;
        self.variables().try_for_each(|(key, value)| write!(f, " {}={}", key.escape_ascii(), value.escape_ascii()))
    }
}

/// What comes before the first such byte, and what after it.
fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&it| it == byte)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn the_kernels_messages() {
        let message = b"remove@/devices/usb1/1-1\0ACTION=remove\0DEVPATH=/devices/usb1/1-1\0PRODUCT=a=b\0EMPTY=\0";
        let event = Uevent::parse(message).unwrap();
        assert_eq!((event.action(), event.devpath()), (&b"remove"[..], &b"/devices/usb1/1-1"[..]));
        let variables: Vec<_> = event.variables().collect();
        assert_eq!(variables.len(), 4);
        assert_eq!(variables[2], (&b"PRODUCT"[..], &b"a=b"[..]));
        assert!(event.is("EMPTY", "") && event.is("ACTION", "remove") && !event.is("ACTION", "add") && !event.is("ACTION", ""));
        assert_eq!((event.get("NONE"), event.get("PROD"), event.get("")), (None, None, None));
        // A name may have any byte, an `@` among them.
        let event = Uevent::parse(b"add@/devices/net/a@b\xff\0INTERFACE=a@b\xff\0").unwrap();
        assert_eq!((event.devpath(), event.get("INTERFACE")), (&b"/devices/net/a@b\xff"[..], Some(&b"a@b\xff"[..])));
        assert_eq!(std::format!("{event:?}"), r"add@/devices/net/a@b\xff INTERFACE=a@b\xff");
        assert_eq!(Uevent::parse(b"add@/\0").unwrap().variables().count(), 0);
    }

    #[test]
    fn other_messages() {
        let none: [&[u8]; 9] = [
            b"",
            b"\0",
            b"add@/devices/x",
            b"add\0ACTION=add\0",
            b"@/devices/x\0",
            b"add@\0",
            b"add@devices\0",
            b"add@/devices/x\0ACTION=ad",
            b"libudev\0\xfe\xed\xca\xfe",
        ];
        for message in none {
            assert_eq!(Uevent::parse(message), None, "{}", message.escape_ascii());
        }
        // What has no `=` is no variable.
        assert_eq!(Uevent::parse(b"add@/x\0\0\0junk\0A=1\0").unwrap().variables().collect::<Vec<_>>(), [(&b"A"[..], &b"1"[..])]);
    }
}
