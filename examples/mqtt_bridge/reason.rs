//! Why there is no connection to the broker, in the words of those who run brokers.

use crate::packet::{self, Fault};
use core::fmt;
use netpoll::{Errno, Error};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The kernel or a deadline ended it, or did not let it begin.
    Socket(Error),
    /// The broker closed it.
    Closed,
    /// A packet that was due did not come.
    Missing(&'static str),
    /// The return code in CONNACK.
    Refused(u8),
    /// Another packet than CONNACK came first, or CONNACK came later.
    OutOfTurn,
    Fault(Fault),
}

impl From<Error> for Reason {
    fn from(error: Error) -> Reason {
        match error {
            Error::Os(Errno::PIPE) => Reason::Closed, // noticed by writing, before the end was read
            _ => Reason::Socket(error),
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Reason {
        Reason::Fault(fault)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::Socket(error) => error.fmt(f),
            Reason::Closed => f.write_str("closed by the broker"),
            Reason::Missing(packet) => write!(f, "no {packet} in time"),
            Reason::Refused(code) => write!(f, "refused: {} (return code {code})", packet::refusal(code)),
            Reason::OutOfTurn => f.write_str("a packet out of turn"),
            Reason::Fault(fault) => fault.fmt(f),
        }
    }
}
