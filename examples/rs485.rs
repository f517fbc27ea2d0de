//! RS-485: asks a device on a two-wire bus, or listens to what is said there.
//!
//! ```text
//! cargo run --release --example rs485 -- --device /dev/ttyS1 --baud 9600 --send 010300000002c40b     # a Modbus request
//! cargo run --release --example rs485 -- --device /dev/ttyUSB0 --automatic                           # listens for two seconds
//! ```
//!
//! On two wires somebody has to switch the transmitter off after the last bit, sooner than the answer comes; a program is too late for
//! that. Either the kernel's driver does it by the line RTS, which is what the ioctl `TIOCSRS485` asks for, or the adapter does it by itself,
//! as those on USB do (`--automatic`). Drivers that cannot say `ENOTTY`. The ioctl has no safe form in rustix: a library that takes and
//! gives back a descriptor (`serial2`) makes it, and everything else is as on any serial line.

use core::task::{Poll, ready};
use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use netpoll::os::{SerialPort, SerialSettings};
use netpoll::{Context, Errno, Error, Handler, OwnedFd, Reactor, ReactorStorage, Unopened};
#[cfg(target_os = "linux")]
use serial2::rs4xx::Rs485Config;
use static_cell::ConstStaticCell;

/// Sends bytes on an RS-485 bus and prints what comes, until nothing comes any more
#[derive(Parser)]
#[command(name = "rs485")]
struct Arguments {
    #[arg(long)]
    device: PathBuf,

    /// Bits per second
    #[arg(long, default_value_t = 19_200, value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    baud: u32,

    /// The adapter switches directions by itself
    #[arg(long)]
    automatic: bool,

    /// RTS is low while sending, and high otherwise
    #[arg(long, conflicts_with = "automatic")]
    invert_rts: bool,

    /// What to send, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = hexadecimal, default_value = "")]
    send: Bytes,

    /// How long to wait for the next message, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    wait: u64,
}

#[derive(Clone)]
struct Bytes(Vec<u8>);

fn hexadecimal(text: &str) -> Result<Bytes, String> {
    let digit = |letter: u8| char::from(letter).to_digit(16);
    let byte = |pair: &[u8]| if let [high, low] = *pair { Some((digit(high)? << 4 | digit(low)?) as u8) } else { None };
    text.as_bytes().chunks(2).map(byte).collect::<Option<_>>().map(Bytes).ok_or("two hexadecimal digits for each byte".into())
}

/// What ends a message: in a bus's own protocol this is some characters' time, here what a loaded machine keeps.
const SILENCE: Duration = Duration::from_millis(20);

struct Bus {
    line: SerialPort,
    request: Vec<u8>,
    sent: usize,
    asked: bool,
    wait: Duration,
    message: [u8; 256],
    len: usize,
}

impl Handler for Bus {
    type Shared = Result<(), Error>;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        ready!(self.line.write_all(cx, &self.request, &mut self.sent))?;
        if !self.asked {
            self.line.set_read_timeout(cx, Some(self.wait))?;
            self.asked = true;
        }
        loop {
            match ready!(self.line.read(cx, &mut self.message[self.len..])) {
                Ok(0) => return Poll::Ready(Err(Errno::IO.into())), // hung up: an adapter that was unplugged
                Ok(n) => {
                    self.len += n;
                    self.line.set_read_timeout(cx, Some(SILENCE))?;
                    if self.len == self.message.len() {
                        self.print();
                    }
                }
                Err(Error::TimedOut) if self.len > 0 => {
                    self.print();
                    self.line.set_read_timeout(cx, Some(self.wait))?;
                }
                Err(Error::TimedOut) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn on_error(&mut self, error: Error, cx: &mut Context<'_, Self>) {
        *cx.shared() = Err(error);
    }
}

impl Bus {
    fn print(&mut self) {
        let digits: Vec<String> = self.message[..self.len].iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{}", digits.concat());
        self.len = 0;
    }
}

/// Lets the driver switch directions.
#[cfg(target_os = "linux")]
fn half_duplex(tty: OwnedFd, invert_rts: bool) -> std::io::Result<Unopened<SerialPort>> {
    let mut mode = Rs485Config::new();
    mode.set_invert_rts(invert_rts);
    let port = serial2::SerialPort::from(tty);
    port.set_rs4xx_mode(mode)?;
    Ok(OwnedFd::from(port).into())
}

/// Elsewhere drivers are not asked for it.
#[cfg(not(target_os = "linux"))]
fn half_duplex(_: OwnedFd, _: bool) -> std::io::Result<Unopened<SerialPort>> {
    Err(Errno::NOTTY.into())
}

fn run(arguments: Arguments) -> Result<(), String> {
    let name = arguments.device.display();
    let mut line = SerialPort::open(&arguments.device, &SerialSettings::new(arguments.baud)).map_err(|error| format!("{name}: {error}"))?;
    if !arguments.automatic {
        line = half_duplex(line.into(), arguments.invert_rts).map_err(|error| match error.raw_os_error() {
            Some(number) if number == Errno::NOTTY.raw_os_error() => format!("the driver of {name} has no RS-485 mode"),
            _ => format!("{name}: {error}"),
        })?;
    }
    static STORAGE: ConstStaticCell<ReactorStorage<Bus, 1, 1>> = ConstStaticCell::new(ReactorStorage::new());
    let (request, wait) = (arguments.send.0, Duration::from_millis(arguments.wait));
    let bus = |line| Bus { line, request, sent: 0, asked: false, wait, message: [0; 256], len: 0 };
    let mut outcome = Ok(());
    let ran = Reactor::new(STORAGE.take()).and_then(|mut reactor| {
        reactor.spawn_with(line, bus)?;
        reactor.run(&mut outcome)
    });
    ran.and(outcome).map_err(|error| format!("{name}: {error}"))
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rs485: {error}");
            ExitCode::FAILURE
        }
    }
}
