//! [`Dial`]: one connection to the first of several addresses that answers.

use core::net::SocketAddr;
use core::task::Poll;
use core::time::Duration;

use heapless::Vec;
use rustix::io::Errno;

use super::{ConnectOptions, TcpStream};
use crate::error::{Error, OpError};
use crate::poller::Io;
use crate::time::Instant;

/// The least time that an address gets while there is as much: Go's `saneMinimum`.
const SANE_MINIMUM: Duration = Duration::from_secs(2);

/// How often an unlucky choice of the local port is tried again, as in Go.
const RETRIES: u8 = 2;

/// Connects to the first of up to `N` addresses that answers, one after another, within a time. Go's `net.Dialer`.
///
/// What is left of the time is shared among the addresses that are left, at least 2 s for each while there is as much, so that one that
/// says nothing does not use up what the others need. The kernel's own limit (`/proc/sys/net/ipv4/tcp_syn_retries`, about two minutes)
/// counts too. Each attempt takes a place in the table, and gives it back when it fails.
///
/// A port of this machine that nobody listens on can, rarely, be chosen as the caller's own, and the connection then leads to itself. That
/// is recognised, tried again, and in the end refused.
///
/// ```no_run
/// use core::task::{Poll, ready};
/// use core::time::Duration;
/// use netpoll::net::{Dial, TcpStream};
/// use netpoll::{Context, Error, Handler};
///
/// enum Client { Dial(Dial<2>), Stream(TcpStream, usize) }
///
/// impl Handler for Client {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             match self {
///                 Client::Dial(dial) => *self = Client::Stream(ready!(dial.poll(cx))?, 0),
///                 Client::Stream(stream, sent) => return stream.write_all(cx, b"hello\n", sent),
///             }
///         }
///     }
/// }
///
/// let addrs = ["192.0.2.1:7777".parse().unwrap(), "[2001:db8::1]:7777".parse().unwrap()];
/// let client = Client::Dial(Dial::new(&addrs)?.with_timeout(Duration::from_secs(10)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it does nothing until it is polled"]
pub struct Dial<const N: usize = 1> {
    addrs: Vec<SocketAddr, N>,
    options: ConnectOptions,
    limit: Limit,
    state: State,
}

/// How long a dial may take.
#[derive(Clone, Copy, Debug)]
enum Limit {
    None,
    /// From when it begins.
    Within(Duration),
    Until(Instant),
}

#[derive(Debug)]
enum State {
    Begin,
    Next(Attempts),
    Connecting { stream: TcpStream, addr: SocketAddr, attempts: Attempts },
}

/// What has been tried.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    deadline: Option<Instant>,
    /// Index of the address whose turn it is.
    next: usize,
    retries: u8,
    first_error: Option<OpError>,
}

impl Dial {
    /// Dials one address.
    pub fn to(addr: SocketAddr) -> Dial {
        Dial::over(core::iter::once(addr).collect())
    }
}

impl<const N: usize> Dial<N> {
    /// Dials several addresses, in this order.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] for more than `N`; [`Error::Os`] with `EDESTADDRREQ` for none ("destination address required").
    pub fn new(addrs: &[SocketAddr]) -> Result<Dial<N>, Error> {
        match addrs {
            [] => Err(Errno::DESTADDRREQ.into()),
            _ => Ok(Dial::over(Vec::from_slice(addrs).map_err(|_| Error::Full)?)),
        }
    }

    fn over(addrs: Vec<SocketAddr, N>) -> Dial<N> {
        Dial { addrs, options: ConnectOptions::default(), limit: Limit::None, state: State::Begin }
    }

    /// With a local address to connect from, or other options.
    pub fn with_options(mut self, options: ConnectOptions) -> Dial<N> {
        self.options = options;
        self
    }

    /// Within `timeout` from when it is first polled, all addresses together. Go's `DialTimeout`.
    pub fn with_timeout(mut self, timeout: Duration) -> Dial<N> {
        self.limit = Limit::Within(timeout);
        self
    }

    /// Until a moment, all addresses together. Go's `Dialer.Deadline`.
    pub fn with_deadline(mut self, at: Instant) -> Dial<N> {
        self.limit = Limit::Until(at);
        self
    }

    /// Goes on until one is connected, or all have failed.
    ///
    /// After an answer the next call begins anew with the first address; a [timeout](Dial::with_timeout) then counts from there.
    ///
    /// # Errors
    ///
    /// The first address's error, as it is Go's choice, with that address; each as [`TcpStream::connect`] and
    /// [`TcpStream::poll_connected`] have it: `ECONNREFUSED`, `ENETUNREACH`, `EHOSTUNREACH`, `ETIMEDOUT` by the kernel,
    /// [`Error::TimedOut`] by the deadline. [`Error::Full`] at once when the table is; [`Error::NotOwner`] for another handler than the one
    /// that began.
    pub fn poll(&mut self, io: &mut Io<'_>) -> Poll<Result<TcpStream, OpError>> {
        loop {
            match core::mem::replace(&mut self.state, State::Begin) {
                State::Begin => {
                    let deadline = match self.limit {
                        Limit::None => None,
                        Limit::Within(timeout) => Some(io.read_clock() + timeout),
                        Limit::Until(at) => Some(at),
                    };
                    self.state = State::Next(Attempts { deadline, next: 0, retries: 0, first_error: None });
                }
                State::Next(attempts) => {
                    let Some(&addr) = self.addrs.get(attempts.next) else {
                        return Poll::Ready(Err(attempts.first_error()));
                    };
                    self.state = match self.attempt(io, addr, &attempts) {
                        Ok(stream) => State::Connecting { stream, addr, attempts },
                        Err(Error::Full) => return Poll::Ready(Err(OpError::new("dial", addr, Error::Full))),
                        Err(Error::Os(Errno::ADDRNOTAVAIL)) if self.may_retry(&attempts) => State::Next(attempts.again()),
                        Err(error) => State::Next(attempts.failed(addr, error)),
                    };
                }
                State::Connecting { stream, addr, attempts } => {
                    let attempts = match stream.poll_connected(io) {
                        Poll::Pending => {
                            self.state = State::Connecting { stream, addr, attempts };
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(Error::NotOwner)) => {
                            self.state = State::Connecting { stream, addr, attempts };
                            return Poll::Ready(Err(OpError::new("dial", addr, Error::NotOwner)));
                        }
                        Poll::Ready(connected) => match connected.and_then(|()| self.leads_elsewhere(io, &stream, addr)) {
                            Ok(true) => return Poll::Ready(Ok(stream)),
                            Ok(false) if self.may_retry(&attempts) => attempts.again(),
                            Ok(false) => attempts.failed(addr, Errno::CONNREFUSED.into()),
                            Err(error) => attempts.failed(addr, error),
                        },
                    };
                    drop(stream.close(io));
                    self.state = State::Next(attempts);
                }
            }
        }
    }

    /// Gives up: closes what is half connected. (A handler's end does it too.) It has to be the handler that polled it: to others it is
    /// nothing.
    pub fn cancel(&mut self, io: &mut Io<'_>) {
        self.state = match core::mem::replace(&mut self.state, State::Begin) {
            State::Connecting { stream, addr, attempts } => match stream.close(io) {
                Err(Error::NotOwner) => State::Connecting { stream, addr, attempts },
                Ok(_) | Err(_) => State::Begin,
            },
            State::Begin | State::Next(_) => State::Begin,
        }
    }

    /// Begins to connect to one address.
    fn attempt(&self, io: &mut Io<'_>, addr: SocketAddr, attempts: &Attempts) -> Result<TcpStream, Error> {
        let deadline = match attempts.deadline {
            Some(deadline) => Some(partial_deadline(io.read_clock(), deadline, self.addrs.len() - attempts.next).ok_or(Error::TimedOut)?),
            None => None,
        };
        if !io.has_descriptor_room() {
            // Nobody is called whose answer could not be kept.
            return Err(Error::Full);
        }
        let stream = TcpStream::connect_with(addr, &self.options)?.open(io)?;
        stream.set_write_deadline(io, deadline)?;
        Ok(stream)
    }

    /// Whether another local port may help: the kernel's choice led to itself, or, says Go, it spuriously found none.
    fn may_retry(&self, attempts: &Attempts) -> bool {
        attempts.retries < RETRIES && self.options.local.is_none_or(|local| local.port() == 0)
    }

    /// Whether it is not a connection to itself, as far as that was not asked for. Makes it ready for use, or for its end.
    fn leads_elsewhere(&self, io: &mut Io<'_>, stream: &TcpStream, addr: SocketAddr) -> Result<bool, Error> {
        let local = stream.local_addr(io)?;
        let elsewhere = local.port() != addr.port()
            || self.options.local == Some(local)
            || match stream.peer_addr(io) {
                Ok(peer) => peer != local,
                // It was reset meanwhile: the first read will tell.
                Err(Error::Os(Errno::NOTCONN)) => true,
                Err(error) => return Err(error),
            };
        match elsewhere {
            true => stream.set_write_deadline(io, None)?,
            // Without a reset the port would be taken for a minute.
            false => stream.set_reset_on_close(io, true)?,
        }
        Ok(elsewhere)
    }
}

impl Attempts {
    fn first_error(&self) -> OpError {
        self.first_error.unwrap_or(OpError::new("dial", SocketAddr::from(([0; 4], 0)), Errno::DESTADDRREQ))
    }

    fn again(self) -> Attempts {
        Attempts { retries: self.retries + 1, ..self }
    }

    fn failed(self, addr: SocketAddr, error: Error) -> Attempts {
        let first_error = self.first_error.or(Some(OpError::new("dial", addr, error)));
        Attempts { next: self.next + 1, retries: 0, first_error, ..self }
    }
}

/// Until when the first of `addrs` that are left is tried; `None` when the time is up. Go's `partialDeadline`.
fn partial_deadline(now: Instant, deadline: Instant, addrs: usize) -> Option<Instant> {
    let left = deadline.saturating_duration_since(now);
    if left.is_zero() {
        return None;
    }
    let share = left / u32::try_from(addrs).unwrap_or(u32::MAX).max(1);
    Some(now + share.max(SANE_MINIMUM).min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_is_tried_twice_if_the_kernel_chose_it() {
        let local = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        for (local, may_choose) in [(None, true), (local(0), true), (local(9), false)] {
            let options = ConnectOptions { local, ..ConnectOptions::default() };
            let dial = Dial::<1>::over(Vec::new()).with_options(options);
            let mut attempts = Attempts { deadline: None, next: 0, retries: 0, first_error: None };
            for retries in [true, true, false] {
                assert_eq!(dial.may_retry(&attempts), retries && may_choose, "{local:?}");
                attempts = attempts.again();
            }
        }
    }

    #[test]
    fn next_address_has_all_its_retries_and_the_first_error_is_kept() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let begun = Attempts { deadline: Some(Instant::from_nanos(9)), next: 0, retries: 0, first_error: None };
        let again = begun.again().again();
        assert_eq!((again.next, again.retries), (0, 2));
        let second = again.failed(addr(1), Errno::ADDRNOTAVAIL.into());
        assert_eq!((second.next, second.retries, second.deadline), (1, 0, Some(Instant::from_nanos(9))));
        let third = second.failed(addr(2), Error::TimedOut);
        assert_eq!((third.next, third.first_error()), (2, OpError::new("dial", addr(1), Errno::ADDRNOTAVAIL)));
    }

    // Go's TestDialerPartialDeadline.
    #[test]
    fn the_time_is_shared_as_in_go() {
        let second = Duration::from_secs(1);
        let now = Instant::from_nanos(1_000_000_000_000);
        let share = |left, addrs| partial_deadline(now, now + left, addrs).map(|at| at - now);
        assert_eq!(share(12 * second, 1), Some(12 * second));
        assert_eq!(share(12 * second, 2), Some(6 * second));
        assert_eq!(share(12 * second, 3), Some(4 * second));
        // At least two seconds,
        assert_eq!(share(12 * second, 999), Some(2 * second));
        assert_eq!(share(12 * second, usize::MAX), Some(2 * second));
        // as long as there are as many.
        assert_eq!(share(second, 999), Some(second));
        assert_eq!(share(Duration::from_nanos(1), 2), Some(Duration::from_nanos(1)));
        assert_eq!(share(Duration::ZERO, 1), None);
        assert_eq!(partial_deadline(now + second, now, 1), None);
    }
}
