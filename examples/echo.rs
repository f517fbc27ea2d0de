//! A TCP echo server: each client gets back what it sends.
//!
//! ```text
//! cargo run --release --features alloc --example echo -- --listen 127.0.0.1:7777 --idle-timeout 60000 --stats
//! socat - TCP:127.0.0.1:7777
//! ```
//!
//! SIGINT and SIGTERM end it gracefully: nobody is accepted any more, what was received is still echoed.

use core::net::SocketAddr;
use core::task::{Poll, ready};
use core::time::Duration;
use std::process::ExitCode;

use clap::Parser;
use netpoll::net::{TcpListener, TcpStream};
use netpoll::{BoxedReactorStorage, Context, Errno, Error, Handler, Reactor};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Echoes what each TCP client sends
#[derive(Parser)]
#[command(name = "echo")]
struct Arguments {
    /// Where clients connect; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7777")]
    listen: SocketAddr,

    /// How many clients at once; others wait until one leaves
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    capacity: u32,

    /// When a silent client is disconnected, in milliseconds; never without this
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    idle_timeout: Option<u64>,

    /// Print the reactor's counters at the end
    #[arg(long)]
    stats: bool,
}

/// What all handlers share.
struct Server {
    idle_timeout: Option<Duration>,
    ending: bool,
}

// Handlers lie inline in their places, so each place has room for the largest.
#[allow(clippy::large_enum_variant)]
enum Echo {
    Signals,
    Listener(TcpListener),
    Client(Client),
}

struct Client {
    stream: TcpStream,
    buf: [u8; 4096],
    len: usize,
    sent: usize,
    /// Its idle deadline runs: set when it has something to wait for, pushed out by each arrival.
    guarded: bool,
}

impl Handler for Echo {
    type Shared = Server;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        match self {
            Echo::Signals => {
                ready!(cx.poll_wake());
                cx.shared().ending = true;
                cx.notify_all();
                Poll::Ready(Ok(()))
            }
            Echo::Listener(listener) => accept(listener, cx),
            Echo::Client(client) => client.echo(cx),
        }
    }

    fn on_error(&mut self, error: Error, _: &mut Context<'_, Self>) {
        match (&self, error) {
            // A client that went away or fell silent is no news.
            (Echo::Client(_), Error::TimedOut | Error::Os(Errno::CONNRESET | Errno::PIPE)) => {}
            (Echo::Client(_), error) => eprintln!("echo: client: {error}"),
            (_, error) => eprintln!("echo: {error}"),
        }
    }
}

fn accept(listener: &TcpListener, cx: &mut Context<'_, Echo>) -> Poll<Result<(), Error>> {
    /// When the system has no descriptor left: long enough to spare the processor, short enough that no client notices.
    const TRY_AGAIN: Duration = Duration::from_millis(100);
    loop {
        if cx.shared().ending {
            return Poll::Ready(Ok(()));
        }
        match ready!(listener.accept(cx)) {
            Ok((socket, _)) => {
                let client = |stream| Echo::Client(Client { stream, buf: [0; 4096], len: 0, sent: 0, guarded: false });
                if let Err(rejected) = cx.spawn_with(socket, client) {
                    eprintln!("echo: client turned away: {rejected}");
                }
            }
            Err(Error::Os(error @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))) => {
                eprintln!("echo: {}", Error::Os(error));
                cx.set_timer_after(TRY_AGAIN);
                return Poll::Pending;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

impl Client {
    fn echo(&mut self, cx: &mut Context<'_, Echo>) -> Poll<Result<(), Error>> {
        loop {
            if self.sent == self.len {
                if cx.shared().ending {
                    return Poll::Ready(Ok(()));
                }
                if !self.guarded {
                    let idle = cx.shared().idle_timeout.map(|idle| cx.now() + idle);
                    self.stream.set_deadline(cx, idle)?;
                    self.guarded = true;
                }
                self.len = ready!(self.stream.read(cx, &mut self.buf))?;
                self.guarded = false;
                self.sent = 0;
                if self.len == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            self.sent += ready!(self.stream.write(cx, &self.buf[self.sent..self.len]))?;
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), Error> {
    // Beside the clients there are the listener, which has a descriptor, and the signals, which have none.
    let clients = arguments.capacity as usize;
    let mut storage = BoxedReactorStorage::with_capacity(clients + 2, clients + 1);
    let mut reactor = Reactor::new(&mut storage)?;

    if let (Some(breaker), Ok(mut signals)) = (reactor.shared_breaker(), Signals::new([SIGINT, SIGTERM])) {
        std::thread::spawn(move || signals.forever().try_for_each(|_| breaker.wake()));
    }
    reactor.spawn(Echo::Signals)?;

    let listener = TcpListener::bind(arguments.listen)?;
    println!("echo: listening on {}", listener.local_addr()?);
    reactor.spawn_with(listener, Echo::Listener)?;

    let mut server = Server { idle_timeout: arguments.idle_timeout.map(Duration::from_millis), ending: false };
    reactor.run(&mut server)?;
    if arguments.stats {
        println!("{:#?}", reactor.stats());
    }
    Ok(())
}

fn main() -> ExitCode {
    match serve(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}
