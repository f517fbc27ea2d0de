//! Readings of an energy meter, published to an MQTT broker as a gateway does it: QoS 1, through restarts of the broker, and without it.
//!
//! ```text
//! mosquitto &                                                   # a broker on port 1883 (apt-get install mosquitto)
//! mosquitto_sub -t 'meters/#' -v &                              # listens (apt-get install mosquitto-clients)
//! cargo run --example mqtt_bridge                               # publishes {"seq":1,"power_w":1178}, ...
//! ```
//!
//! Three handlers in one reactor (`app`): the simulated `meter`, a timer; the `broker`, which keeps a `connection`; and `control`, which
//! sees to signals. They share a `spool`: a bounded queue and the window of what is not acknowledged. `packet` knows MQTT, `backoff` when
//! to try again, `reason` why. Nothing is allocated after the start, and the memory of everything is known when the program is linked.
//!
//! What is promised: every reading that was taken reaches the broker at least once, in the order of the numbers, as long as this program
//! runs; when the broker is away too long the meter waits (`meter`). What is in memory when the program itself is killed is lost.
//! There is no TLS: password and readings cross the network as they are.

#![forbid(unsafe_code)]

mod app;
mod backoff;
mod broker;
mod connection;
mod control;
mod meter;
mod packet;
mod reason;
mod spool;

use app::{App, Handlers, Shared, report};
use backoff::Backoff;
use broker::{Broker, Settings};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use control::Control;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use meter::Meter;
use netpoll::{Clock, Error, Reactor, ReactorStorage};
use packet::{Identity, NAME_MAX, Name, TOPIC_MAX, Topic};
use spool::QUEUE_MAX;
use static_cell::ConstStaticCell;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Control, the meter and the broker; of these only the broker has a descriptor.
static STORAGE: ConstStaticCell<ReactorStorage<App, 3, 1>> = ConstStaticCell::new(ReactorStorage::new());
static SHARED: ConstStaticCell<Shared> = ConstStaticCell::new(Shared::new());

/// Publishes the readings of a simulated energy meter to an MQTT broker.
#[derive(Parser)]
#[command(name = "mqtt_bridge", args_override_self = true)]
struct Arguments {
    /// The broker
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    broker: SocketAddr,

    /// Where to publish
    #[arg(long, default_value = "meters/1", value_parser = topic)]
    topic: Topic,

    /// Under which name the broker keeps the session; no two clients may have the same
    #[arg(long, value_name = "ID", default_value = "mqtt_bridge", value_parser = name)]
    client_id: Name,

    /// As whom to connect
    #[arg(long, value_name = "NAME", value_parser = name)]
    username: Option<Name>,

    /// The file that has the password in its first line
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,

    /// Between two readings
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    interval: u64,

    /// How many readings to take before the program ends; without it, until it is told to
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    readings: Option<u64>,

    /// How many readings may wait to be published; beyond that the meter waits
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=QUEUE_MAX as i64))]
    queue: u16,

    /// Between two pings, by which a broker that is gone is noticed
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    keep_alive: u16,

    /// How long the broker may take to accept, to answer, or to take what it is sent
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout: u64,

    /// The first wait before it is tried again; each is twice as long, less up to half by chance
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    backoff_min: u64,

    /// The longest wait before it is tried again
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    backoff_max: u64,

    /// What SIGTERM leaves to get what was taken acknowledged
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(..=3_600_000))]
    grace: u64,

    /// Print the reactor's counters too; SIGUSR1 always prints all
    #[arg(long)]
    stats: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().and_then(check).unwrap_or_else(|error| refuse(&error));
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(format_args!("{failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let password = arguments.password_file.as_deref().map(password).transpose()?;
    let (interval, grace) = (Duration::from_millis(arguments.interval), Duration::from_millis(arguments.grace));
    let settings = Settings {
        broker: arguments.broker,
        identity: Identity { client_id: arguments.client_id, username: arguments.username, password },
        topic: arguments.topic,
        keep_alive: Duration::from_secs(arguments.keep_alive.into()),
        timeout: Duration::from_millis(arguments.timeout),
    };
    let seed = Clock::Monotonic.now().as_nanos() ^ u64::from(std::process::id()) << 32;
    let backoff = Backoff::new(Duration::from_millis(arguments.backoff_min), Duration::from_millis(arguments.backoff_max), seed);
    let greeting = format!(
        "mqtt bridge: simulated meter, every {interval:?} -> {} as {}, topic {}",
        settings.broker, settings.identity.client_id, settings.topic
    );

    let storage = STORAGE.try_take().ok_or("started twice")?;
    let shared = SHARED.try_take().ok_or("started twice")?;
    shared.spool.set_capacity(arguments.queue.into());
    let mut reactor = Reactor::new(storage).map_err(because("no reactor"))?;
    control::watch_signals(reactor.breaker()).map_err(because("no signals"))?;
    let meter = Meter::new(interval, arguments.readings);
    shared.handlers = start(&mut reactor, Control::new(grace), meter, Broker::new(settings, backoff)).map_err(because("no handler"))?;

    let _ = writeln!(stdout(), "{greeting}");
    reactor.run(shared).map_err(because("reactor"))?;
    if arguments.stats {
        control::print_statistics(shared, &reactor.stats());
    } else {
        let _ = writeln!(stdout(), "{}", shared.counters);
    }
    match shared.spool.len() {
        0 => Ok(()),
        left => Err(format!("{left} readings were not acknowledged")),
    }
}

/// What no single argument shows.
fn check(arguments: Arguments) -> Result<Arguments, clap::Error> {
    if arguments.backoff_min > arguments.backoff_max {
        return Err(Arguments::command().error(ErrorKind::ArgumentConflict, "'--backoff-min' is more than '--backoff-max'"));
    }
    Ok(arguments)
}

/// Prints help, or what is wrong with the arguments and how they are used, and ends with status 0 or 2.
fn refuse(error: &clap::Error) -> ! {
    let _ = error.print();
    if error.use_stderr() && !error.to_string().contains("Usage:") {
        let _ = writeln!(stderr(), "\n{}", Arguments::command().render_usage());
    }
    std::process::exit(error.exit_code())
}

/// Spawns the handlers.
fn start(reactor: &mut Reactor<'_, App>, control: Control, meter: Meter, broker: Broker) -> Result<Handlers, Error> {
    reactor.spawn(App::Control(control))?;
    Ok(Handlers { meter: Some(reactor.spawn(App::Meter(meter))?), broker: Some(reactor.spawn(App::Broker(broker))?) })
}

/// A topic to publish to has no wildcards.
fn topic(text: &str) -> Result<Topic, String> {
    if text.is_empty() || text.contains(['+', '#', '\0']) {
        return Err("empty, or with a '+', '#' or zero in it".into());
    }
    text.parse().map_err(|_| format!("longer than {TOPIC_MAX} bytes"))
}

fn name(text: &str) -> Result<Name, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("empty, or with a control character in it".into());
    }
    text.parse().map_err(|_| format!("longer than {NAME_MAX} bytes"))
}

fn password(path: &Path) -> Result<Name, String> {
    let text = std::fs::read_to_string(path).map_err(because(path.display()))?;
    name(text.lines().next().unwrap_or_default()).map_err(because(path.display()))
}

/// Says what an error is about.
fn because<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}
