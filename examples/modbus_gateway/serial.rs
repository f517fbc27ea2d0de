//! The serial port: how it is opened and set, how long a character takes on it, and a pair of pseudo-terminals to simulate one.

use clap::ValueEnum;
use core::fmt;
use core::time::Duration;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, InputModes, OptionalActions, QueueSelector, SpecialCodeIndex, tcflush, tcgetattr, tcsetattr};
use std::borrow::Cow;
use std::ffi::CString;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Parity {
    None,
    Even,
    Odd,
}

/// Which device, and how its characters look on the wire.
#[derive(Clone, Debug)]
pub struct Port {
    pub path: CString,
    pub baud: u32,
    pub parity: Parity,
    pub stop_bits: u8,
}

impl Port {
    /// Opens and sets the device. Never waits: neither for a carrier nor, later, for a byte.
    pub fn open(&self) -> Result<OwnedFd, Errno> {
        let tty = open(self.path.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = tcgetattr(&tty)?;
        settings.make_raw();
        settings.set_speed(self.baud)?;
        let modes = &mut settings.control_modes;
        modes.remove(ControlModes::CSIZE | ControlModes::PARENB | ControlModes::PARODD | ControlModes::CSTOPB | ControlModes::CRTSCTS);
        modes.insert(ControlModes::CS8 | ControlModes::CREAD | ControlModes::CLOCAL);
        modes.set(ControlModes::PARENB, self.parity != Parity::None);
        modes.set(ControlModes::PARODD, self.parity == Parity::Odd);
        modes.set(ControlModes::CSTOPB, self.stop_bits == 2);
        settings.input_modes.set(InputModes::INPCK, self.parity != Parity::None); // a wrong parity reads as 0, and the CRC finds it
        settings.special_codes[SpecialCodeIndex::VMIN] = 1; // with 0, "nothing yet" would read as the end of the file, like a hang-up
        settings.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&tty, OptionalActions::Now, &settings)?;
        tcflush(&tty, QueueSelector::IOFlush)?; // what was said before is nobody's answer
        Ok(tty)
    }

    pub fn name(&self) -> Cow<'_, str> {
        self.path.to_string_lossy()
    }

    /// How long `bytes` characters are on the wire.
    pub fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * self.bits_per_character() * 1_000_000_000 / u64::from(self.baud))
    }

    /// The silence that ends a frame: 3.5 characters, and a fixed time where characters are too short for that.
    pub fn silence(&self) -> Duration {
        if self.baud > 19_200 { Duration::from_micros(1750) } else { self.time_of(7) / 2 }
    }

    fn bits_per_character(&self) -> u64 {
        1 + 8 + u64::from(self.parity != Parity::None) + u64::from(self.stop_bits)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} 8{parity}{}", self.baud, self.stop_bits)
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
    use rustix::termios::LocalModes;

    fn port(baud: u32, parity: Parity, stop_bits: u8) -> Port {
        Port { path: c"/dev/null".into(), baud, parity, stop_bits }
    }

    #[test]
    fn silence_is_three_and_a_half_characters_up_to_19200_baud() {
        assert_eq!(port(9600, Parity::Even, 1).silence(), Duration::from_nanos(4_010_416));
        assert_eq!(port(19_200, Parity::Even, 1).silence(), Duration::from_nanos(2_005_208));
        assert_eq!(port(19_200, Parity::None, 1).silence(), Duration::from_nanos(1_822_916));
        assert_eq!(port(115_200, Parity::None, 2).silence(), Duration::from_micros(1750));
        assert_eq!(port(9600, Parity::None, 2).time_of(256), Duration::from_nanos(293_333_333));
    }

    #[test]
    fn pty_is_opened_raw_and_what_is_no_terminal_is_refused() {
        let (_end, path) = pty().unwrap();
        let port = Port { path, ..port(9600, Parity::None, 2) };
        let settings = tcgetattr(port.open().unwrap()).unwrap();
        assert_eq!((settings.input_speed(), settings.output_speed()), (9600, 9600));
        assert!(!settings.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN));
        assert!(settings.control_modes.contains(ControlModes::CSTOPB | ControlModes::CLOCAL));
        assert_eq!(Port { path: c"/dev/null".into(), ..port.clone() }.open().unwrap_err(), Errno::NOTTY);
        assert_eq!(Port { path: c"/nonexistent".into(), ..port }.open().unwrap_err(), Errno::NOENT);
    }
}
