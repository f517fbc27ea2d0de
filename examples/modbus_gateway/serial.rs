//! The serial line: which device, how it is set, the silence between frames, and a pair of pseudo-terminals to simulate one.

use clap::ValueEnum;
use core::fmt;
use core::time::Duration;
use netpoll::Unopened;
use netpoll::os::{self, SerialPort, SerialSettings, StopBits};
use netpoll::{Error, OwnedFd};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use std::borrow::Cow;
use std::ffi::CString;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Parity {
    None,
    Even,
    Odd,
}

impl From<Parity> for os::Parity {
    fn from(parity: Parity) -> os::Parity {
        match parity {
            Parity::None => os::Parity::None,
            Parity::Even => os::Parity::Even,
            Parity::Odd => os::Parity::Odd,
        }
    }
}

/// Which device, and how its characters look on the wire.
#[derive(Clone, Debug)]
pub struct Port {
    path: CString,
    settings: SerialSettings,
    /// Between two transactions; none: as the specification has it.
    pause: Option<Duration>,
}

impl Port {
    pub fn new(path: CString, baud: u32, parity: Parity, stop_bits: u8, pause: Option<Duration>) -> Port {
        let mut settings = SerialSettings::new(baud);
        settings.parity = parity.into();
        settings.stop_bits = if stop_bits == 2 { StopBits::Two } else { StopBits::One };
        Port { path, settings, pause }
    }

    /// Opens and sets the device. Never waits: neither for a carrier nor, later, for a byte.
    pub fn open(&self) -> Result<Unopened<SerialPort>, Error> {
        SerialPort::open(self.path.as_c_str(), &self.settings)
    }

    pub fn name(&self) -> Cow<'_, str> {
        self.path.to_string_lossy()
    }

    /// How long `bytes` characters are on the wire.
    pub fn time_of(&self, bytes: usize) -> Duration {
        self.settings.time_of(bytes)
    }

    /// The silence that ends a frame: 3.5 characters, and a fixed time where characters are too short for that.
    pub fn silence(&self) -> Duration {
        if self.settings.baud > 19_200 { Duration::from_micros(1750) } else { self.time_of(7) / 2 }
    }

    /// How long the line rests between two transactions.
    pub fn pause(&self) -> Duration {
        self.pause.unwrap_or_else(|| self.silence())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// A serial line of software: the slave's end of it, never waiting, and the name of the gateway's end.
pub fn pty() -> Result<(OwnedFd, CString), Errno> {
    let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    fcntl_setfl(&end, OFlags::RDWR | OFlags::NONBLOCK)?;
    unlockpt(&end)?;
    let name = ptsname(&end, [])?;
    Ok((end, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(baud: u32, parity: Parity, stop_bits: u8) -> Port {
        Port::new(c"/dev/null".into(), baud, parity, stop_bits, None)
    }

    #[test]
    fn silence_is_three_and_a_half_characters_up_to_19200_baud() {
        assert_eq!(port(9600, Parity::Even, 1).silence(), Duration::from_nanos(4_010_416));
        assert_eq!(port(19_200, Parity::Even, 1).silence(), Duration::from_nanos(2_005_208));
        assert_eq!(port(19_200, Parity::None, 1).silence(), Duration::from_nanos(1_822_916));
        assert_eq!(port(115_200, Parity::None, 2).silence(), Duration::from_micros(1750));
        assert_eq!(port(9600, Parity::Even, 1).pause(), Duration::from_nanos(4_010_416));
    }

    #[test]
    fn device_is_set_as_asked() {
        let (_end, path) = pty().unwrap();
        let tty = Port { path, ..port(9600, Parity::None, 2) }.open().unwrap();
        assert_eq!(SerialSettings::of(tty).unwrap().to_string(), "9600 8N2");
        assert_eq!(port(19_200, Parity::Odd, 1).to_string(), "19200 8O1");
        assert_eq!(port(19_200, Parity::Even, 1).to_string(), "19200 8E1");
    }
}
