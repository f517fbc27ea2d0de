//! A service that is given its listening socket: by systemd as `LISTEN_FDS` says, or by an inetd, as descriptor 0.
//!
//! ```text
//! cargo build --release --example inherited
//! systemd-socket-activate --listen 127.0.0.1:7777 target/release/examples/inherited
//! socat - TCP:127.0.0.1:7777
//! ```
//!
//! The supervisor's sockets usually block, and `accept` has no `MSG_DONTWAIT`: [`Unopened`] refuses such a listener with `EINVAL`, because
//! a client that is gone before it is accepted, or that another process accepts, would stop the loop. `O_NONBLOCK` belongs to the open
//! socket, not to the descriptor, so setting it sets it for the supervisor and for everybody else who was given it, and it stays when this
//! program ends. That is for the program to decide, which knows with whom it shares: systemd and inetd (`wait`) only poll the socket while
//! the service runs; systemd does it itself if the unit says `NonBlocking=yes`. A socket whose other users need it to block cannot be used.

use core::fmt;
use core::net::SocketAddr;
use core::task::{Poll, ready};
use core::time::Duration;
use std::io::{Write, stderr, stdout};
use std::os::fd::IntoRawFd;
use std::process::ExitCode;

use clap::Parser;
use netpoll::net::{TcpListener, TcpStream, Unopened};
use netpoll::{Context, Errno, Error, Handler, OwnedFd, Reactor, ReactorStorage};
use rustix::io::FdFlags;
use static_cell::ConstStaticCell;

/// Tells each client its address, on the sockets that it is given, or else on its own
#[derive(Parser)]
#[command(name = "inherited")]
struct Arguments {
    /// Descriptor 0 is the socket, as an inetd gives it to services of the kind `wait`
    #[arg(long, conflicts_with = "listen")]
    inetd: bool,

    /// Where to listen when no socket is given
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7777")]
    listen: SocketAddr,
}

enum Service {
    Listener(TcpListener),
    Client { stream: TcpStream, line: String, sent: usize },
}

impl Handler for Service {
    type Shared = ();
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        match self {
            Service::Listener(listener) => loop {
                match ready!(listener.accept(cx)) {
                    Ok((socket, peer)) => {
                        let client = |stream| Service::Client { stream, line: format!("you are {peer}\n"), sent: 0 };
                        cx.spawn_with(socket, client)?;
                    }
                    Err(Error::Os(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                        cx.set_timer_after(Duration::from_millis(100));
                        return Poll::Pending;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            },
            Service::Client { stream, line, sent } => stream.write_all(cx, line.as_bytes(), sent),
        }
    }

    fn on_error(&mut self, error: Error, _: &mut Context<'_, Self>) {
        if let Service::Listener(_) = self {
            say(stderr(), format_args!("accept: {error}"));
        }
    }
}

type Failure = Box<dyn std::error::Error>;

/// The sockets that somebody has opened for this program, and what each is called; none if nobody has.
fn given(inetd: bool) -> Result<Vec<(OwnedFd, String)>, Failure> {
    if inetd {
        // A duplicate, because descriptor 0 is the standard library's too: whatever closes it, this one stays open.
        return Ok(vec![(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?, "descriptor 0".into())]);
    }
    // Once, and before anything else is opened: the crate believes that what the variables promise is there, and is this program's alone.
    let (mut sockets, mut missing) = (Vec::new(), None);
    for (index, (name, fd)) in sd_listen_fds::get()?.into_iter().enumerate() {
        let name = format!("descriptor {}{}", 3 + index, name.map(|name| format!(", {name}")).unwrap_or_default());
        let fd = fd.into_std();
        match rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC) {
            Ok(()) => sockets.push((fd, name)),
            Err(errno) => missing = Some((fd.into_raw_fd(), format!("{name}: {}", Error::Os(errno)))), // nothing is there to be closed
        }
    }
    missing.map_or(Ok(sockets), |(_, error)| Err(error.into()))
}

/// A listener that does not block.
fn prepare(socket: &OwnedFd) -> Result<(), String> {
    match rustix::net::sockopt::socket_acceptconn(socket) {
        Ok(true) => rustix::io::ioctl_fionbio(socket, true).map_err(|errno| Error::Os(errno).to_string()),
        Ok(false) => Err("a socket that does not listen".into()),
        Err(errno) => Err(Error::Os(errno).to_string()),
    }
}

/// Not by `println!`: an inetd has made the socket descriptors 1 and 2 too, where nothing can be written, and `println!` would panic.
fn say(mut to: impl Write, what: fmt::Arguments) {
    let _ = writeln!(to, "inherited: {what}");
}

fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let mut sockets = given(arguments.inetd)?;
    for (socket, name) in &sockets {
        prepare(socket).map_err(|error| format!("{name}: {error}"))?;
    }
    if sockets.is_empty() {
        sockets.push((TcpListener::bind(arguments.listen)?.into(), "a socket of its own".into()));
    }
    static STORAGE: ConstStaticCell<ReactorStorage<Service, 64, 64>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take())?;
    for (socket, name) in sockets {
        let listener = Unopened::<TcpListener>::from(socket);
        let address = listener.local_addr().map_err(|error| format!("{name}: {error}"))?;
        say(stdout(), format_args!("listening on {address} ({name})"));
        reactor.spawn_with(listener, Service::Listener)?;
    }
    Ok(reactor.run(&mut ())?)
}

fn main() -> ExitCode {
    match serve(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(stderr(), format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}
