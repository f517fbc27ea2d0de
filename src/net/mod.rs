//! Sockets with the manners of Go's package `net`: [`TcpListener`], [`TcpStream`] and [`UdpSocket`]; [`UnixListener`], [`UnixStream`],
//! [`UnixSeqpacket`] and [`UnixDatagram`]; and [`Dial`].
//!
//! Every operation takes the [`Io`](crate::Io) of whoever owns the socket, which a handler's [`Context`](crate::Context) is by itself,
//! and answers `Pending` where Go would block. What Go returns as `(n, err)` comes apart: a `read` or `write` that moved anything answers
//! how much, and the error is the answer of the next one.
//!
//! A socket that belongs to nobody yet is an [`Unopened`]: what `bind`, `connect` and `accept` give, to be opened by its owner or handed to
//! `spawn_with`. Dropping it closes it. An opened socket is a token; dropping it does nothing, since its owner's end closes it; to close it
//! earlier there is `close`.
//!
//! Sockets are non-blocking and close-on-exec from the start, are called with `MSG_DONTWAIT`, and never raise `SIGPIPE`.
//!
//! # Platform
//!
//! What differs is said where it does. Everywhere it is so that what a system cannot do is an error with `EOPNOTSUPP`, unless it was only
//! asked for by default. macOS and iOS have no calls that make a descriptor close-on-exec at once: what another thread starts between the two
//! calls inherits it. Nor do they know `MSG_NOSIGNAL`, so sockets get `SO_NOSIGPIPE`; one that was made elsewhere gets it when it is opened as one of these types.
//!
//! # Addresses of Unix sockets
//!
//! A path, on Linux also an abstract name, which has no file and ends with its socket; or none:
//!
//! ```
//! use netpoll::Errno;
//! use netpoll::net::SocketAddrUnix;
//! assert_eq!(SocketAddrUnix::new("/run/gateway.sock")?.path_bytes(), Some(&b"/run/gateway.sock"[..]));
//! assert_eq!(SocketAddrUnix::new("/".repeat(109)), Err(Errno::NAMETOOLONG));
//! # #[cfg(any(target_os = "linux", target_os = "android"))]
//! # {
//! assert_eq!(SocketAddrUnix::new_abstract_name(b"gateway")?.abstract_name(), Some(&b"gateway"[..]));
//! assert!(SocketAddrUnix::new_unnamed().is_unnamed());
//! # }
//! # Ok::<(), Errno>(())
//! ```
//!
//! A path has at most 108 bytes on Linux, illumos and Solaris, 104 on the BSDs, macOS and iOS. One of all 108 works, but looks unnamed to who
//! asks for its address: there is no room for the NUL. So does a longer one that another program has managed to bind.
//!
#![doc = include_str!("manners.md")]

mod accept;
mod byte_stream;
mod dial;
mod inet_socket;
mod multicast;
mod options;
mod tcp_listener;
mod tcp_stream;
mod udp_socket;
mod unix_datagram;
mod unix_fds;
mod unix_listener;
mod unix_seqpacket;
mod unix_socket;
mod unix_stream;

pub use crate::descriptor::Unopened;
pub use dial::Dial;
pub use multicast::{Multicast, MulticastInterface};
pub use options::{ConnectOptions, KeepAlive, ListenOptions, UdpOptions};
pub use rustix::io::{IoSlice, IoSliceMut};
pub use rustix::net::{Shutdown, SocketAddrUnix};
pub use tcp_listener::TcpListener;
pub use tcp_stream::TcpStream;
pub use udp_socket::{Received, UdpSocket};
pub use unix_datagram::UnixDatagram;
pub use unix_fds::UnixReceived;
pub use unix_listener::{UnixConnection, UnixListenOptions, UnixListener};
pub use unix_seqpacket::UnixSeqpacket;
pub use unix_socket::{PeerCredentials, unlink_stale};
pub use unix_stream::UnixStream;

use rustix::net::{RecvFlags, SendFlags};

/// Whether a read that asked for `room` bytes has emptied the stream. 0 is the end of the stream, and says so again.
#[inline]
pub(crate) const fn is_short(n: usize, room: usize) -> bool {
    n.wrapping_sub(1) < room.wrapping_sub(1)
}

const RECV: RecvFlags = RecvFlags::DONTWAIT;
const SEND: SendFlags = SendFlags::DONTWAIT.union(crate::arch::NO_SIGNAL);
