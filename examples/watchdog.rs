//! A hardware watchdog, fed by a UDP echo server as long as it works: what resets a gateway that nobody can walk to.
//!
//! ```text
//! cargo run --release --example watchdog -- --listen 127.0.0.1:7777 --device /dev/watchdog
//! ```
//!
//! * The feed hangs on a *timer*, which runs in every pass of the loop, also when a flood of datagrams never lets it sleep
//!   ([`Handler::on_sleep`] would not do). If the loop stands still, so does the feed.
//! * A loop that turns proves little. After each feed the feeder asks the server for a sign of life, by `notify`; if none has come until
//!   the next, it does not feed, and the machine is reset once the device's time-out has passed (choose an interval of half of that at
//!   most, since one feed may be left out).
//! * The device is opened last, because opening it starts it, and it is not given to the poller: nobody can wait for it, and it never blocks.
//! * Who ends without writing `V` leaves the device running, which resets the machine: that is for crashes and failures. A graceful end
//!   writes it, and closing then stops the device (unless the kernel is built or told never to, `nowayout`).

use core::net::SocketAddr;
use core::task::{Poll, ready};
use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use netpoll::net::UdpSocket;
use netpoll::{Context, Error, Handler, HandlerId, Instant, OwnedFd, Reactor, ReactorStorage};
use rustix::fs::{Mode, OFlags};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use static_cell::ConstStaticCell;

/// Echoes datagrams, and feeds a watchdog while it does
#[derive(Parser)]
#[command(name = "watchdog")]
struct Arguments {
    /// The watchdog; opening it starts it
    #[arg(long, value_name = "FILE", default_value = "/dev/watchdog")]
    device: PathBuf,

    /// How often it is fed, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    interval: u64,

    /// Where datagrams arrive
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7777")]
    listen: SocketAddr,

    /// For a trial: let the server get stuck after so many datagrams
    #[arg(long, value_name = "N")]
    stick_after: Option<u64>,
}

struct Shared {
    device: OwnedFd,
    /// The server has worked since it was last asked to.
    alive: bool,
    failed: bool,
}

// Handlers lie inline in their places, so each place has room for the largest.
#[allow(clippy::large_enum_variant)]
enum App {
    Server { socket: UdpSocket, left: Option<u64>, buf: [u8; 2048], answer: Option<(usize, SocketAddr)> },
    Feeder { server: HandlerId, interval: Duration, next: Instant },
}

impl Handler for App {
    type Shared = Shared;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        match self {
            App::Server { socket, left, buf, answer } => loop {
                if *left == Some(0) {
                    return Poll::Pending; // as if it waited for what never comes
                }
                cx.shared().alive = true;
                if let Some((len, to)) = *answer {
                    // Whatever becomes of one answer, there are others.
                    let _ = ready!(socket.send_to(cx, &buf[..len], to));
                    *answer = None;
                }
                *answer = Some(ready!(socket.recv_from(cx, buf))?);
                *left = left.map(|left| left - 1);
            },
            App::Feeder { server, interval, next } => {
                if cx.poll_wake().is_ready() {
                    cx.stop();
                } else if cx.now() >= *next {
                    feed(cx.shared())?;
                    cx.notify(*server)?;
                    *next = cx.now() + *interval;
                    cx.set_timer(Some(*next));
                }
                Poll::Pending
            }
        }
    }

    fn on_error(&mut self, error: Error, cx: &mut Context<'_, Self>) {
        eprintln!("watchdog: {}: {error}", if let App::Server { .. } = self { "server" } else { "device" });
        cx.shared().failed = true;
        cx.stop();
    }
}

fn feed(shared: &mut Shared) -> Result<(), Error> {
    shared.failed = !core::mem::take(&mut shared.alive);
    if shared.failed {
        eprintln!("watchdog: not fed: the server is stuck");
    } else {
        rustix::io::write(&shared.device, b"\n")?;
    }
    Ok(())
}

fn serve(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let socket = UdpSocket::bind(arguments.listen)?;
    println!("watchdog: listening on {}", socket.local_addr()?);

    static STORAGE: ConstStaticCell<ReactorStorage<App, 2, 1>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take())?;
    let (breaker, mut signals) = (reactor.breaker(), Signals::new([SIGINT, SIGTERM])?);
    std::thread::spawn(move || signals.forever().try_for_each(|_| breaker.wake()));
    let server = |socket| App::Server { socket, left: arguments.stick_after, buf: [0; 2048], answer: None };
    let server = reactor.spawn_with(socket, server)?;
    let interval = Duration::from_millis(arguments.interval);
    reactor.spawn(App::Feeder { server, interval, next: Instant::from_nanos(0) })?;

    let device = rustix::fs::open(&arguments.device, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| format!("{}: {}", arguments.device.display(), Error::Os(errno)))?;
    let mut shared = Shared { device, alive: true, failed: false };
    reactor.run(&mut shared)?;
    if !shared.failed {
        rustix::io::write(&shared.device, b"V")?;
    }
    Ok(!shared.failed)
}

fn main() -> ExitCode {
    match serve(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("watchdog: {error}");
            ExitCode::FAILURE
        }
    }
}
