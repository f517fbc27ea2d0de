//! A Modbus TCP to Modbus RTU gateway, as it runs on an industrial gateway: many TCP clients, one serial line.
//!
//! ```text
//! cargo run --example modbus_gateway -- --serial /dev/ttyUSB0 --baud 9600 --parity none
//! cargo run --example modbus_gateway                                      # a simulated meter, for a first look
//! mbpoll -m tcp -p 1502 -a 1 -r 1 -c 4 127.0.0.1                          # reads it
//! ```
//!
//! Five kinds of handlers in one reactor (`app`): a `listener`, its `client`s, the `line`, and, without `--serial`, a simulated `meter`
//! on a pty; `control` sees to signals. They share a `queue` of requests. `frame` knows Modbus, `serial` knows terminals. Nothing is
//! allocated after the start, and the memory of everything is known when the program is linked.

#![forbid(unsafe_code)]

mod app;
mod client;
mod control;
mod frame;
mod line;
mod listener;
mod meter;
mod queue;
mod serial;

use app::{App, report};
use clap::{CommandFactory, Parser};
use control::Control;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use line::Line;
use listener::Listener;
use meter::Meter;
use netpoll::net::{TcpListener, Unopened};
use netpoll::{Error, Interest, OwnedFd, Reactor, ReactorStorage};
use queue::{Handlers, MAX_CLIENTS, Queue};
use serial::{Parity, Port};
use static_cell::ConstStaticCell;
use std::ffi::CString;
use std::io::{Write, stderr, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Every client is a handler with a descriptor; so are the listener, the line and the meter. Control has none.
const HANDLERS: usize = MAX_CLIENTS + 4;

static STORAGE: ConstStaticCell<ReactorStorage<App, HANDLERS, HANDLERS>> = ConstStaticCell::new(ReactorStorage::new());
static QUEUE: ConstStaticCell<Queue> = ConstStaticCell::new(Queue::new());

/// Takes Modbus TCP clients to the slaves of a Modbus RTU line.
#[derive(Parser)]
#[command(name = "modbus_gateway", args_override_self = true)]
struct Arguments {
    /// Where clients connect
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1502")]
    listen: SocketAddr,

    /// The serial line; without it, a simulated meter on a pty
    #[arg(long, value_name = "DEVICE")]
    serial: Option<PathBuf>,

    /// Bits per second
    #[arg(long, default_value_t = 19_200, value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    baud: u32,

    /// The bit that makes the ones of a character even or odd
    #[arg(long, value_enum, default_value = "even")]
    parity: Parity,

    /// 1 or 2; as the specification has it: 1, and 2 without parity
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    stop_bits: Option<u8>,

    /// How long a slave may take to answer
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    response_timeout: u64,

    /// How long the line rests between two transactions: 3.5 characters, and 1750 above 19200 baud, unless it is no line but software
    #[arg(long, value_name = "US", value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pause: Option<u64>,

    /// When a client that asks nothing, or does not come to the end of a request, is disconnected
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..))]
    idle_timeout: u64,

    /// How many clients at once; others wait until one leaves
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=MAX_CLIENTS as i64))]
    capacity: u16,

    /// Print counters at the end; SIGUSR1 always prints them
    #[arg(long)]
    stats: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| refuse(&error));
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(format_args!("{failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let response_timeout = Duration::from_millis(arguments.response_timeout);
    let idle_timeout = Duration::from_millis(arguments.idle_timeout);
    let (path, slave) = match &arguments.serial {
        Some(path) => (c_path(path)?, None),
        None => serial::pty().map(|(end, path)| (path, Some(end))).map_err(because("no pseudo-terminal"))?,
    };
    let stop_bits = arguments.stop_bits.unwrap_or(if arguments.parity == Parity::None { 2 } else { 1 });
    let pause = arguments.pause.map(Duration::from_micros);
    let port = Port::new(path, arguments.baud, arguments.parity, stop_bits, pause);
    let listener = TcpListener::bind(arguments.listen).map_err(because(arguments.listen))?;
    let address = listener.local_addr().map_err(because(arguments.listen))?;
    let far_end =
        if slave.is_some() { format!("simulated meter on {} (unit {})", port.name(), meter::UNIT) } else { port.name().into_owned() };
    let greeting = format!("modbus gateway: tcp {address} -> {far_end}, {port}");

    let storage = STORAGE.try_take().ok_or("started twice")?;
    let queue = QUEUE.try_take().ok_or("started twice")?;
    queue.set_capacity(arguments.capacity.into());
    let mut reactor = Reactor::new(storage).map_err(because("no reactor"))?;
    control::watch_signals(reactor.breaker()).map_err(because("no signals"))?;
    queue.handlers = start(&mut reactor, listener, idle_timeout, port, response_timeout, slave).map_err(because("no handler"))?;

    let _ = writeln!(stdout(), "{greeting}");
    reactor.run(queue).map_err(because("reactor"))?;
    if arguments.stats {
        control::print_statistics(queue, &reactor.stats());
    }
    if queue.failed { Err("ended by a failure".into()) } else { Ok(()) }
}

/// Prints help, or what is wrong with the arguments and how they are used, and ends with status 0 or 2.
fn refuse(error: &clap::Error) -> ! {
    let _ = error.print();
    if error.use_stderr() && !error.to_string().contains("Usage:") {
        let _ = writeln!(stderr(), "\n{}", Arguments::command().render_usage());
    }
    std::process::exit(error.exit_code())
}

/// Spawns the handlers that are there from the beginning.
fn start(
    reactor: &mut Reactor<'_, App>,
    listener: Unopened<TcpListener>,
    idle_timeout: Duration,
    port: Port,
    response_timeout: Duration,
    slave: Option<OwnedFd>,
) -> Result<Handlers, Error> {
    if let Some(slave) = slave {
        let silence = port.silence();
        reactor.spawn_with((slave, Interest::READ | Interest::WRITE), |line| App::Meter(Meter::new(line, silence)))?;
    }
    let grace = response_timeout + Duration::from_secs(1);
    Ok(Handlers {
        control: Some(reactor.spawn(App::Control(Control::new(grace)))?),
        line: Some(reactor.spawn(App::Line(Line::new(port, response_timeout)))?),
        listener: Some(reactor.spawn_with(listener, |listener| App::Listener(Listener::new(listener, idle_timeout)))?),
    })
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(because(path.display()))
}

/// Says what an error is about.
fn because<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}
