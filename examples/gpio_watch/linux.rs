//! GPIO lines: prints their edges, by the character device, or by sysfs on kernels that have no better.
//!
//! ```text
//! cargo run --release --example gpio_watch -- --chip /dev/gpiochip0 17 27
//! cargo run --release --example gpio_watch -- --sysfs /sys/class/gpio/gpio17/value     # exported, its `edge` set to `both`
//! ```
//!
//! Two recipes. The first is for a library that keeps its descriptor for itself and has no way to say `EAGAIN`: the poller gets a
//! duplicate, [`poll_ready`](netpoll::Io::poll_ready) says when there may be something, the library's own question whether there is, and
//! [`clear_ready`](netpoll::Io::clear_ready) that there was nothing. (The poller unregisters its duplicate before it closes it, so it does
//! not matter which of the two is closed first.)
//!
//! The second is for files that are always readable and announce a change as an exception: sysfs values, `/proc/mounts`, the `events`
//! files of cgroups. `Interest::PRIORITY` alone, because `READ` would be ready for ever; and after the event, seek to the beginning
//! and read, by which the kernel learns that this change was seen.

use core::task::{Poll, ready};
use std::error::Error;
use std::io::{Write, stdout};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use gpiocdev::Request;
use gpiocdev::line::EdgeDetection;
use netpoll::{BorrowedFd, Context, Direction, Handler, Interest, OwnedFd, Reactor, ReactorStorage, Token};
use rustix::fs::{Mode, OFlags, SeekFrom};
use static_cell::ConstStaticCell;

/// Prints the edges of GPIO lines
#[derive(Parser)]
#[command(name = "gpio_watch")]
struct Arguments {
    /// A character device, with the offsets of its lines
    #[arg(long, value_name = "DEVICE", requires = "lines", required_unless_present = "sysfs", conflicts_with = "sysfs")]
    chip: Option<PathBuf>,

    /// The value of one line in sysfs
    #[arg(long, value_name = "FILE", conflicts_with = "lines")]
    sysfs: Option<PathBuf>,

    #[arg(value_name = "LINE", num_args = 1..=64)]
    lines: Vec<u32>,
}

enum Watch {
    Chip { request: Request, duplicate: Token },
    Sysfs { value: Token },
}

impl Handler for Watch {
    type Shared = ();
    type Error = Box<dyn Error>;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Box<dyn Error>>> {
        match self {
            Watch::Chip { request, duplicate } => loop {
                ready!(cx.poll_ready(*duplicate, Direction::Read))?;
                if request.has_edge_event()? {
                    let event = request.read_edge_event()?;
                    let (seconds, nanos) = (event.timestamp_ns / 1_000_000_000, event.timestamp_ns % 1_000_000_000);
                    writeln!(stdout(), "line {} {:?} at {seconds}.{nanos:09}", event.offset, event.kind)?;
                } else {
                    cx.clear_ready(*duplicate, Direction::Read)?; // an edge from here on is a new one
                }
            },
            Watch::Sysfs { value } => loop {
                ready!(cx.poll_ready(*value, Direction::Priority))?;
                cx.clear_ready(*value, Direction::Priority)?;
                print_value(cx.fd(*value)?)?;
            },
        }
    }

    fn on_error(&mut self, error: Box<dyn Error>, cx: &mut Context<'_, Self>) {
        eprintln!("gpio_watch: {error}");
        cx.stop();
    }
}

fn print_value(file: BorrowedFd<'_>) -> Result<(), Box<dyn Error>> {
    let mut text = [0; 64];
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    let len = rustix::io::read(file, &mut text)?;
    Ok(writeln!(stdout(), "value {}", String::from_utf8_lossy(&text[..len]).lines().next().unwrap_or_default())?)
}

fn watch(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    static STORAGE: ConstStaticCell<ReactorStorage<Watch, 1, 1>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take())?;
    if let Some(chip) = &arguments.chip {
        let mut builder = Request::builder();
        builder.on_chip(chip).with_consumer("gpio_watch").with_lines(&arguments.lines);
        let request = builder.with_edge_detection(EdgeDetection::BothEdges).request();
        let request = request.map_err(|error| format!("{}: {error}", chip.display()))?;
        // The lines are requested for this program alone, so nobody else has a descriptor that this would change.
        rustix::io::ioctl_fionbio(&request, true)?;
        let duplicate = request.as_fd().try_clone_to_owned()?;
        reactor.spawn_with((duplicate, Interest::READ), |duplicate| Watch::Chip { request, duplicate })?;
    }
    if let Some(path) = &arguments.sysfs {
        let named = |error: netpoll::Error| format!("{}: {error}", path.display());
        let value: OwnedFd =
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| named(errno.into()))?;
        print_value(value.as_fd())?; // its gate opens by a change, not before
        reactor.spawn_with((value, Interest::PRIORITY), |value| Watch::Sysfs { value }).map_err(|rejected| named(rejected.error))?;
    }
    Ok(reactor.run(&mut ())?)
}

pub fn main() -> ExitCode {
    if let Err(error) = watch(&Arguments::parse()) {
        eprintln!("gpio_watch: {error}");
    }
    ExitCode::FAILURE // it watches until it is ended, or fails
}
