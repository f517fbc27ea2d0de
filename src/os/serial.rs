//! [`SerialPort`]: a serial line, and how its characters look on the wire.

use core::fmt;
use core::task::Poll;
use core::time::Duration;

use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, ioctl_tiocexcl, ioctl_tiocnxcl, tcflush,
    tcgetattr, tcsendbreak, tcsetattr,
};

use super::Arg;
use crate::arch::STICK_PARITY;
use crate::descriptor::{Unopened, deadlines, descriptor, reader, writer};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// A serial line: a UART, a USB adapter, a pseudo-terminal that stands for one (termios(3), tty_ioctl(4)).
///
/// Bytes go through as they are, in both directions. Opening it raises DTR and RTS, by which some boards are reset. Others may open it as well,
/// and of two readers each gets a part: see [`set_exclusive`](SerialPort::set_exclusive).
///
/// # An adapter that is unplugged
///
/// Whoever waits is run, and reads and writes answer `EIO` from then on; what had arrived and was not read may be lost. Close the port, at once
/// lest the adapter come back under another number, and try to open it again by a timer. Its name under `/dev/serial/by-id` stays the same.
///
/// ```no_run
/// use core::task::{Poll, ready};
/// use core::time::Duration;
/// use netpoll::os::{SerialPort, SerialSettings};
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// struct Scale { port: Option<SerialPort>, buf: [u8; 64] }
///
/// impl Handler for Scale {
///     type Shared = ();
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         loop {
///             while let Some(port) = &self.port {
///                 match ready!(port.read(cx, &mut self.buf)) {
///                     Ok(n) => println!("{:?}", &self.buf[..n]),
///                     Err(_) => { // unplugged
///                         drop(port.close(cx));
///                         self.port = None;
///                     }
///                 }
///             }
///             match SerialPort::open("/dev/ttyUSB0", &SerialSettings::new(9600)) {
///                 Ok(port) => self.port = Some(port.open(cx)?),
///                 Err(_) => {
///                     cx.set_timer_after(Duration::from_secs(1));
///                     return Poll::Pending; // not plugged in: run again in a second
///                 }
///             }
///         }
///     }
/// }
///
/// let mut storage = ReactorStorage::<Scale, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// reactor.spawn(Scale { port: None, buf: [0; 64] })?;
/// reactor.run(&mut ())?;
/// # Ok::<(), Error>(())
/// ```
///
/// # When the last byte is on the wire
///
/// A write has handed its bytes to the kernel, and has room again when few of them are left there, 256 on Linux. tcdrain(3) would block the
/// loop, so it is not here: set a timer to [`time_of`](SerialSettings::time_of) what was written. (The ioctl `TIOCOUTQ` counts what is left,
/// but not all drivers count their hardware's buffer.)
///
/// Closing waits too, up to 30 s on Linux, if output is held up by flow control: [`discard`](SerialPort::discard) it before.
///
/// # Platform
///
/// Names: `/dev/ttyUSB0` on Linux; `/dev/cuaU0` on FreeBSD, DragonFly and OpenBSD, `/dev/dtyU0` on NetBSD, `/dev/cu.usbserial-…` on macOS (those
/// called `tty` there wait for a carrier). illumos and Solaris know only the rates of termios(3), anything else is `EINVAL`. Terminals can be waited
/// for on all of these, but on some releases of macOS, where opening one is [`Error::NotPollable`].
///
/// # RS-485
///
/// Where the driver must be told to switch the transceiver, it takes an ioctl (`TIOCSRS485`) that no safe call makes: a library such as serial2
/// makes it on the descriptor before it is opened here, or once for all the device tree.
#[derive(Debug, PartialEq, Eq)]
pub struct SerialPort {
    token: Token,
}

descriptor!(SerialPort, interest: Interest::READ.union(Interest::WRITE), must_not_block: true);
reader!(SerialPort);
writer!(SerialPort);
deadlines!(SerialPort);

impl SerialPort {
    /// Opens a device and sets it: it never waits for a carrier, never becomes the program's terminal, and is [raw](SerialSettings::apply). What
    /// was received before is discarded.
    ///
    /// A line made elsewhere becomes a port by [`Unopened::from`]; it should be [set](SerialSettings::apply).
    ///
    /// # Errors
    ///
    /// [`Error::Os`], as open(2): `ENOENT`, `EACCES`, `ENODEV` and `ENXIO` when there is no such device, `EIO` when a port has no hardware,
    /// `EBUSY` when another program has it for itself. `ENOTTY` for what is no terminal. `EINVAL` as
    /// [`apply`](SerialSettings::apply) has it; for zero baud without opening anything.
    pub fn open(path: impl Arg, settings: &SerialSettings) -> Result<Unopened<SerialPort>, Error> {
        settings.check()?;
        let tty = super::open(path, OFlags::RDWR)?;
        settings.apply(&tty)?;
        tcflush(&tty, QueueSelector::IOFlush)?;
        Ok(Unopened::new(tty))
    }

    /// Reads what has been received, at most `buf.len()` bytes. An empty `buf` answers 0 without a look.
    ///
    /// A byte of the wrong parity, and a break, read as 0.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EIO` when the device is gone, also where the kernel says it by an end of the file. [`Error::TimedOut`] by the
    /// read deadline, [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn read(&self, io: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io(self.token, Direction::Read, |tty| match rustix::io::read(tty, &mut *buf) {
            Ok(0) => Err(Errno::IO),
            answer => answer,
        })
    }

    /// Writes as much as the kernel takes, and says how much; the wire has it [later](SerialPort#when-the-last-byte-is-on-the-wire). An empty
    /// `buf` answers 0 without a look.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EIO` when the device is gone. [`Error::TimedOut`] by the write deadline, which counts also while flow control
    /// holds output up. [`Error::Closed`], [`Error::NotOwner`].
    #[inline]
    pub fn write(&self, io: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        if buf.is_empty() {
            return Poll::Ready(io.fd(self.token).map(|_| 0));
        }
        io.poll_io(self.token, Direction::Write, |tty| rustix::io::write(tty, buf))
    }

    /// The settings in effect, as far as the driver says: see [`SerialSettings::of`].
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EIO` when the device is gone. [`Error::Closed`], [`Error::NotOwner`].
    pub fn settings(&self, io: &mut Io<'_>) -> Result<SerialSettings, Error> {
        SerialSettings::of(io.fd(self.token)?)
    }

    /// Changes the settings: at once, also for output that waits in the kernel.
    ///
    /// # Errors
    ///
    /// As [`SerialSettings::apply`]; then nothing has changed. [`Error::Closed`], [`Error::NotOwner`].
    pub fn set(&self, io: &mut Io<'_>, settings: &SerialSettings) -> Result<(), Error> {
        settings.apply(io.fd(self.token)?)
    }

    /// Keeps others from opening the device, or lets them (`TIOCEXCL`, `TIOCNXCL`): they get `EBUSY`, unless they have `CAP_SYS_ADMIN`.
    ///
    /// It ends when nobody has the device open. Of a pseudo-terminal, that is when its far end is closed, too: who wants to open it again before
    /// calls this with `false` first.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EIO` when the device is gone. [`Error::Closed`], [`Error::NotOwner`].
    pub fn set_exclusive(&self, io: &mut Io<'_>, exclusive: bool) -> Result<(), Error> {
        let tty = io.fd(self.token)?;
        if exclusive { ioctl_tiocexcl(tty) } else { ioctl_tiocnxcl(tty) }.map_err(Error::Os)
    }

    /// Discards what was received and not read, what was written and not sent, or both (tcflush(3)).
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EIO` when the device is gone. [`Error::Closed`], [`Error::NotOwner`].
    pub fn discard(&self, io: &mut Io<'_>, queue: QueueSelector) -> Result<(), Error> {
        tcflush(io.fd(self.token)?, queue).map_err(Error::Os)
    }

    /// Sends a break (tcsendbreak(3)). **It blocks the loop** until all output is on the wire, and then for 0.25 s on Linux.
    ///
    /// Where the others cannot wait: halve the rate, write a 0, and set the rate again when that is on the wire.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EIO` when the device is gone, `EINTR` when a signal came meanwhile: the break may have been cut short.
    /// [`Error::Closed`], [`Error::NotOwner`].
    pub fn send_break(&self, io: &mut Io<'_>) -> Result<(), Error> {
        tcsendbreak(io.fd(self.token)?).map_err(Error::Os)
    }
}

/// Bits of a character.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DataBits {
    /// 5.
    Five,
    /// 6.
    Six,
    /// 7: ASCII.
    Seven,
    /// 8: bytes.
    Eight,
}

impl DataBits {
    const fn count(self) -> u8 {
        match self {
            DataBits::Five => 5,
            DataBits::Six => 6,
            DataBits::Seven => 7,
            DataBits::Eight => 8,
        }
    }
}

/// The bit that is added to each character.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Parity {
    /// No such bit.
    None,
    /// The number of ones becomes even.
    Even,
    /// The number of ones becomes odd.
    Odd,
    /// Always 1. Linux has it (`CMSPAR`), not every driver, and no BSD.
    Mark,
    /// Always 0. As [`Mark`](Parity::Mark).
    Space,
}

/// The pause after each character.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StopBits {
    /// As long as 1 bit.
    One,
    /// As long as 2 bits; after 5 data bits most hardware makes 1.5 of it.
    Two,
}

impl StopBits {
    const fn count(self) -> u8 {
        match self {
            StopBits::One => 1,
            StopBits::Two => 2,
        }
    }
}

/// How a receiver holds up a sender.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlowControl {
    /// Not at all.
    None,
    /// By the wires RTS and CTS (`CRTSCTS`).
    RtsCts,
    /// By the characters XOFF (0x13) and XON (0x11), which then cannot be data (`IXON`, `IXOFF`).
    XonXoff,
}

/// How characters look on the wire. Prints as usual:
///
/// ```
/// use core::time::Duration;
/// use netpoll::os::{Parity, SerialSettings};
///
/// let mut settings = SerialSettings::new(19_200);
/// assert_eq!(settings.to_string(), "19200 8N1");
/// settings.parity = Parity::Even;
/// assert_eq!(settings.to_string(), "19200 8E1");
/// assert_eq!(settings.time_of(192), Duration::from_millis(110)); // 11 bits each
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct SerialSettings {
    /// Bits per second, of any number; which ones there are, the driver and its clock decide.
    pub baud: u32,
    /// Default: 8.
    pub data_bits: DataBits,
    /// Default: none.
    pub parity: Parity,
    /// Default: 1.
    pub stop_bits: StopBits,
    /// Default: none.
    pub flow_control: FlowControl,
}

impl SerialSettings {
    /// 8 data bits, no parity, 1 stop bit, no flow control.
    pub const fn new(baud: u32) -> SerialSettings {
        SerialSettings { baud, data_bits: DataBits::Eight, parity: Parity::None, stop_bits: StopBits::One, flow_control: FlowControl::None }
    }

    /// How long `bytes` characters are on the wire, one after another without a pause.
    pub const fn time_of(&self, bytes: usize) -> Duration {
        let baud = self.baud as u64;
        if baud == 0 {
            return Duration::MAX;
        }
        let bits = (bytes as u64).saturating_mul(self.bits_per_character());
        // Less than a second as it is, but so the compiler sees it, and leaves out the panic.
        Duration::new(bits / baud, (bits % baud * 1_000_000_000 / baud % 1_000_000_000) as u32)
    }

    const fn bits_per_character(&self) -> u64 {
        let parity = if matches!(self.parity, Parity::None) { 0 } else { 1 };
        1 + self.data_bits.count() as u64 + parity + self.stop_bits.count() as u64
    }

    /// Sets a terminal that was opened elsewhere: to these settings, and raw, so that bytes go through as they are, nothing is echoed, and a
    /// read answers as soon as there is a byte (cfmakeraw(3), `VMIN` 1, `VTIME` 0, `CLOCAL`).
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EINVAL`, and nothing has changed, for zero baud, for a parity that this system does not have, and when the driver
    /// chooses a rate that is more than 2 % off, which is what receivers bear. That is all that is looked at: a driver may leave out the
    /// rest in silence, as pseudo-terminals do with parity and data bits. Ask [`of`](SerialSettings::of) where it matters.
    /// `ENOTTY` for what is no terminal, `EIO` for one that is gone.
    pub fn apply(&self, tty: impl AsFd) -> Result<(), Error> {
        self.check()?;
        let before = tcgetattr(&tty)?;
        let mut wanted = before.clone();
        self.write_to(&mut wanted)?;
        tcsetattr(&tty, OptionalActions::Now, &wanted)?;
        let chosen = tcgetattr(&tty)?;
        if is_close(self.baud, chosen.input_speed()) && is_close(self.baud, chosen.output_speed()) {
            return Ok(());
        }
        tcsetattr(&tty, OptionalActions::Now, &before)?;
        Err(Errno::INVAL.into())
    }

    /// The settings of a terminal; its driver's word for them, the rate of output, and [`FlowControl::RtsCts`] where there is that and the
    /// other.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `ENOTTY` for what is no terminal, `EIO` for one that is gone.
    pub fn of(tty: impl AsFd) -> Result<SerialSettings, Error> {
        Ok(SerialSettings::read_from(&tcgetattr(tty)?))
    }

    /// What no terminal can be set to.
    fn check(&self) -> Result<(), Errno> {
        let stick = matches!(self.parity, Parity::Mark | Parity::Space);
        // Zero baud means to hang up.
        if self.baud == 0 || (stick && STICK_PARITY.is_empty()) { Err(Errno::INVAL) } else { Ok(()) }
    }

    fn write_to(&self, termios: &mut Termios) -> Result<(), Errno> {
        termios.make_raw(); // which leaves some modes of input as they are
        termios.set_speed(self.baud)?;
        let modes = &mut termios.control_modes;
        modes.remove(CHARACTER.union(ControlModes::CRTSCTS));
        modes.insert(ControlModes::CREAD | ControlModes::CLOCAL);
        modes.insert(modes_of(&SIZES, self.data_bits) | modes_of(&PARITIES, self.parity));
        modes.set(ControlModes::CSTOPB, self.stop_bits == StopBits::Two);
        modes.set(ControlModes::CRTSCTS, self.flow_control == FlowControl::RtsCts);
        let modes = &mut termios.input_modes;
        *modes = InputModes::empty();
        modes.set(InputModes::INPCK, self.parity != Parity::None);
        modes.set(InputModes::IXON | InputModes::IXOFF, self.flow_control == FlowControl::XonXoff);
        let codes = &mut termios.special_codes;
        // With VMIN 0 "nothing yet" would read as the end of the file, like a hang-up.
        (codes[SpecialCodeIndex::VMIN], codes[SpecialCodeIndex::VTIME]) = (1, 0);
        (codes[SpecialCodeIndex::VSTART], codes[SpecialCodeIndex::VSTOP]) = (0x11, 0x13);
        Ok(())
    }

    fn read_from(termios: &Termios) -> SerialSettings {
        let modes = termios.control_modes;
        SerialSettings {
            baud: termios.output_speed(),
            data_bits: name_of(&SIZES, modes & ControlModes::CSIZE).unwrap_or(DataBits::Eight),
            // Without PARENB the other two mean nothing.
            parity: name_of(&PARITIES, modes & PARITY).unwrap_or(Parity::None),
            stop_bits: if modes.contains(ControlModes::CSTOPB) { StopBits::Two } else { StopBits::One },
            flow_control: match (
                modes.contains(ControlModes::CRTSCTS),
                termios.input_modes.intersects(InputModes::IXON | InputModes::IXOFF),
            ) {
                (true, _) => FlowControl::RtsCts,
                (false, true) => FlowControl::XonXoff,
                (false, false) => FlowControl::None,
            },
        }
    }
}

impl fmt::Display for SerialSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
            Parity::Mark => 'M',
            Parity::Space => 'S',
        };
        write!(f, "{} {}{parity}{}", self.baud, self.data_bits.count(), self.stop_bits.count())
    }
}

const SIZES: [(DataBits, ControlModes); 4] = [
    (DataBits::Five, ControlModes::CS5),
    (DataBits::Six, ControlModes::CS6),
    (DataBits::Seven, ControlModes::CS7),
    (DataBits::Eight, ControlModes::CS8),
];

// Where there is no stick parity, what is read is one of the first three.
const PARITIES: [(Parity, ControlModes); 5] = [
    (Parity::None, ControlModes::empty()),
    (Parity::Even, ControlModes::PARENB),
    (Parity::Odd, ControlModes::PARENB.union(ControlModes::PARODD)),
    (Parity::Mark, ControlModes::PARENB.union(ControlModes::PARODD).union(STICK_PARITY)),
    (Parity::Space, ControlModes::PARENB.union(STICK_PARITY)),
];

const PARITY: ControlModes = ControlModes::PARENB.union(ControlModes::PARODD).union(STICK_PARITY);

/// All that tells what a character looks like.
const CHARACTER: ControlModes = ControlModes::CSIZE.union(PARITY).union(ControlModes::CSTOPB);

fn modes_of<T: Copy + PartialEq>(table: &[(T, ControlModes)], name: T) -> ControlModes {
    table.iter().find(|entry| entry.0 == name).map_or(ControlModes::empty(), |entry| entry.1)
}

fn name_of<T: Copy>(table: &[(T, ControlModes)], modes: ControlModes) -> Option<T> {
    table.iter().find(|entry| entry.1 == modes).map(|entry| entry.0)
}

/// The kernel's own measure of rates that are the same: 2 %.
fn is_close(wanted: u32, chosen: u32) -> bool {
    wanted.abs_diff(chosen) <= wanted / 50
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt};

    fn of_a_pty() -> Termios {
        tcgetattr(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_whatever_was_before() {
        let mut termios = of_a_pty();
        for (data_bits, _) in SIZES {
            for (parity, _) in PARITIES {
                let settings = SerialSettings { parity, ..SerialSettings::new(1) };
                let is_unknown = STICK_PARITY.is_empty() && matches!(parity, Parity::Mark | Parity::Space);
                assert_eq!(settings.check().is_err(), is_unknown);
                if is_unknown {
                    continue; // not on this system
                }
                for stop_bits in [StopBits::One, StopBits::Two] {
                    for flow_control in [FlowControl::None, FlowControl::RtsCts, FlowControl::XonXoff] {
                        let settings = SerialSettings { baud: 123_457, data_bits, parity, stop_bits, flow_control };
                        settings.write_to(&mut termios).unwrap();
                        assert_eq!(SerialSettings::read_from(&termios), settings);
                        assert_eq!(termios.input_modes.contains(InputModes::INPCK), parity != Parity::None);
                    }
                }
            }
        }
    }

    #[test]
    fn modes_are_those_of_the_manual() {
        let modes = |choose: fn(&mut SerialSettings)| {
            let mut termios = of_a_pty();
            let mut settings = SerialSettings::new(9600);
            choose(&mut settings);
            settings.write_to(&mut termios).unwrap();
            (termios.control_modes & CHARACTER.union(ControlModes::CRTSCTS), termios.input_modes)
        };
        let even_7 = |settings: &mut SerialSettings| (settings.parity, settings.data_bits) = (Parity::Even, DataBits::Seven);
        assert_eq!(modes(|_| ()), (ControlModes::CS8, InputModes::empty()));
        assert_eq!(modes(even_7), (ControlModes::CS7 | ControlModes::PARENB, InputModes::INPCK));
        let stick = ControlModes::CS8 | ControlModes::PARENB | STICK_PARITY;
        assert_eq!(modes(|settings| settings.parity = Parity::Mark).0, stick | ControlModes::PARODD);
        assert_eq!(modes(|settings| settings.parity = Parity::Space).0, stick);
        assert_eq!(modes(|settings| settings.stop_bits = StopBits::Two).0, ControlModes::CS8 | ControlModes::CSTOPB);
        assert_eq!(modes(|settings| settings.flow_control = FlowControl::RtsCts).0, ControlModes::CS8 | ControlModes::CRTSCTS);
        assert_eq!(modes(|settings| settings.flow_control = FlowControl::XonXoff).1, InputModes::IXON | InputModes::IXOFF);
    }

    #[test]
    fn rates_within_two_percent_are_the_same() {
        for (wanted, chosen) in [(115_200, 115_384), (115_200, 112_896), (9600, 9792), (49, 49), (u32::MAX, u32::MAX)] {
            assert!(is_close(wanted, chosen), "{wanted} {chosen}");
        }
        for (wanted, chosen) in [(115_200, 112_895), (9600, 9793), (9600, 0), (49, 50), (4_000_000, 9600), (0, 9600), (u32::MAX, 0)] {
            assert!(!is_close(wanted, chosen), "{wanted} {chosen}");
        }
    }

    #[test]
    fn time_counts_every_bit() {
        let mut settings = SerialSettings::new(9600);
        assert_eq!(settings.time_of(0), Duration::ZERO);
        assert_eq!(settings.time_of(960), Duration::from_secs(1));
        settings.stop_bits = StopBits::Two;
        assert_eq!(settings.time_of(256), Duration::from_nanos(293_333_333));
        (settings.parity, settings.data_bits) = (Parity::Space, DataBits::Five);
        assert_eq!(settings.time_of(9600), Duration::from_secs(9));
        assert_eq!(SerialSettings { baud: u32::MAX, ..settings }.time_of(1), Duration::from_nanos(2));
        assert!(SerialSettings { baud: 1, ..settings }.time_of(usize::MAX) >= Duration::from_secs(usize::MAX as u64));
        assert_eq!(SerialSettings { baud: 0, ..settings }.time_of(1), Duration::MAX);
    }
}
