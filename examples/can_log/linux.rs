//! CAN: logs the frames of an interface as `candump` prints them, and sends some.
//!
//! ```text
//! ip link add vcan0 type vcan && ip link set vcan0 up
//! cargo run --release --example can_log -- vcan0 --send 123#DEADBEEF
//! ```
//!
//! The recipe for a library that keeps its socket: it is made non-blocking, the poller gets a duplicate, and the library's own calls are
//! made in [`poll_io`](netpoll::Io::poll_io). What CAN has of its own:
//!
//! * `ENOBUFS`: the interface's queue is full. It is no `EAGAIN`: an edge follows every refusal at once (measured), and none comes when there
//!   is room again. A timer tries again.
//! * `ENETDOWN`: the interface is down, for now. The socket stays bound, so reading goes on by itself when it is up again; sending tries
//!   again by the timer.
//! * `ENODEV`, and `ENXIO` when sending: the interface is gone, as an adapter that was unplugged. What comes back under its name is another
//!   one, for another socket: the program ends, and whoever supervises it starts it again.

use core::task::{Poll, ready};
use core::time::Duration;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;
use netpoll::{Context, Direction, Errno, Error, Handler, Interest, Reactor, ReactorStorage, Token};
use socketcan::{CanDataFrame, CanSocket, EmbeddedFrame, ExtendedId, Id, Socket, StandardId};
use static_cell::ConstStaticCell;

/// Logs the frames of a CAN interface
#[derive(Parser)]
#[command(name = "can_log")]
struct Arguments {
    interface: String,

    /// Frames to be sent, as `cansend` takes them: ID#DATA, all in hexadecimal
    #[arg(long, value_name = "ID#DATA", value_parser = frame)]
    send: Vec<CanDataFrame>,
}

/// Three digits are a standard identifier, eight an extended one.
fn frame(text: &str) -> Result<CanDataFrame, String> {
    let (id, digits) = text.split_once('#').ok_or("no # after the identifier")?;
    let hexadecimal = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?;
    let id = match (id.len(), hexadecimal(id)) {
        (3, Some(number)) => StandardId::new(number as u16).map(Id::Standard),
        (8, Some(number)) => ExtendedId::new(number).map(Id::Extended),
        _ => None,
    };
    let byte = |pair: &[u8]| if pair.len() == 2 { hexadecimal(core::str::from_utf8(pair).ok()?).map(|byte| byte as u8) } else { None };
    let data = digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>().ok_or("data in pairs of hexadecimal digits")?;
    CanDataFrame::new(id.ok_or("an identifier of 3 or 8 hexadecimal digits")?, &data).ok_or("more than 8 bytes".into())
}

/// What to do about an error.
#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    TryAgainAfter(Duration),
    GiveUp,
}

fn remedy(error: Error) -> Remedy {
    match error {
        // About a frame's time on a slow bus; a queue has ten or more.
        Error::Os(Errno::NOBUFS) => Remedy::TryAgainAfter(Duration::from_millis(2)),
        Error::Os(Errno::NETDOWN) => Remedy::TryAgainAfter(Duration::from_millis(500)),
        _ => Remedy::GiveUp,
    }
}

struct Log {
    socket: CanSocket,
    duplicate: Token,
    arguments: Arguments,
    sent: usize,
    down: bool,
}

impl Handler for Log {
    type Shared = ();
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        while let Some(frame) = self.arguments.send.get(self.sent) {
            match cx.poll_io(self.duplicate, Direction::Write, |_| self.socket.write_frame(frame).map_err(errno)) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => self.sent += 1,
                Poll::Ready(Err(error)) => {
                    let Remedy::TryAgainAfter(time) = remedy(error) else { return Poll::Ready(Err(error)) };
                    self.say_down(error);
                    cx.set_timer_after(time);
                    break;
                }
            }
        }
        loop {
            match ready!(cx.poll_io(self.duplicate, Direction::Read, |_| self.socket.read_frame().map_err(errno))) {
                Ok(frame) => {
                    self.down = false;
                    println!("{} {frame:X}", self.arguments.interface);
                }
                // The kernel says an error once, and then EAGAIN.
                Err(error) if remedy(error) != Remedy::GiveUp => self.say_down(error),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn on_error(&mut self, error: Error, _: &mut Context<'_, Self>) {
        eprintln!("can_log: {}: {error}", self.arguments.interface);
    }
}

impl Log {
    fn say_down(&mut self, error: Error) {
        if error == Error::Os(Errno::NETDOWN) && !core::mem::replace(&mut self.down, true) {
            eprintln!("can_log: {} is down, waiting", self.arguments.interface);
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn log(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let named = |error: io::Error| format!("{}: {error}", arguments.interface);
    let socket = CanSocket::open(&arguments.interface).map_err(named)?;
    socket.set_nonblocking(true)?;
    let duplicate = socket.as_fd().try_clone_to_owned()?;
    static STORAGE: ConstStaticCell<ReactorStorage<Log, 1, 1>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take())?;
    reactor.spawn_with((duplicate, Interest::default()), |duplicate| Log { socket, duplicate, arguments, sent: 0, down: false })?;
    Ok(reactor.run(&mut ())?)
}

pub fn main() -> ExitCode {
    if let Err(error) = log(Arguments::parse()) {
        eprintln!("can_log: {error}");
    }
    ExitCode::FAILURE // it logs until it is ended, or fails
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_is_waited_for() {
        assert!(matches!(remedy(Error::Os(Errno::NOBUFS)), Remedy::TryAgainAfter(_)));
        assert!(matches!(remedy(Error::Os(Errno::NETDOWN)), Remedy::TryAgainAfter(_)));
        for errno in [Errno::NODEV, Errno::NXIO, Errno::INVAL, Errno::BADF] {
            assert_eq!(remedy(Error::Os(errno)), Remedy::GiveUp);
        }
        assert_eq!(remedy(Error::Closed), Remedy::GiveUp);
    }

    #[test]
    fn frames_are_written_as_cansend_takes_them() {
        for text in ["123#DEADBEEF", "7FF#", "00000123#00", "1FFFFFFF#0102030405060708"] {
            assert_eq!(format!("{:X}", frame(text).unwrap()), text);
        }
        for text in
            ["", "#", "123", "12#00", "800#00", "20000000#00", "123#0", "123#0x", "123#+1", "123#010203040506070809", "123#é", "+12#00"]
        {
            assert!(frame(text).is_err(), "{text}");
        }
    }
}
