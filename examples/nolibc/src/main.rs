//! A TCP echo server in one static file of less than 16 KiB: no libc, no std, no allocator.
//!
//! ```text
//! cargo build --release --manifest-path examples/nolibc/Cargo.toml
//! examples/nolibc/target/release/netpoll-echo-nolibc 127.0.0.1:7777
//! ```
//!
//! `start.rs`, `cpu` and `memory` stand for the C library, and have all `unsafe` of the program; `text.rs` stands for `core::fmt`; the rest
//! is the program that anybody would write with `netpoll`.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod cpu;
#[allow(unsafe_code)]
mod memory;
#[allow(unsafe_code)]
mod start;
mod text;

use core::ffi::CStr;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::task::{Poll, ready};
use core::time::Duration;

use netpoll::net::{TcpListener, TcpStream};
use netpoll::{Clock, Context, Errno, Error, Handler, Reactor, ReactorStorage};
use start::{Args, Output};
use static_cell::ConstStaticCell;
use text::Line;

const CONNECTIONS: usize = 64;
const IDLE: Duration = Duration::from_secs(60);
/// How long to wait before the next try when the machine is out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// One handler and one descriptor more than connections: the listener.
static STORAGE: ConstStaticCell<ReactorStorage<Server, { CONNECTIONS + 1 }, { CONNECTIONS + 1 }>> =
    ConstStaticCell::new(ReactorStorage::new());

#[expect(clippy::large_enum_variant, reason = "there is no heap to put a connection on")]
enum Server {
    Listener(TcpListener),
    Connection(Connection),
}

struct Connection {
    stream: TcpStream,
    buf: [u8; 2048],
    len: usize,
    sent: usize,
    /// Its idle deadline runs: set when it begins to wait for the client, pushed out by each arrival.
    guarded: bool,
}

impl Handler for Server {
    type Shared = ();
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        match self {
            Server::Listener(listener) => accept(listener, cx),
            Server::Connection(connection) => connection.echo(cx),
        }
    }
}

fn accept(listener: &TcpListener, cx: &mut Context<'_, Server>) -> Poll<Result<(), Error>> {
    loop {
        match ready!(listener.accept(cx)) {
            // `accept` has made sure of the room; a client that cannot be served all the same is hung up on by dropping its socket.
            Ok((socket, _)) => drop(cx.spawn_with(socket, Server::connection)),
            Err(Error::Os(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                let next_try = cx.now() + PAUSE;
                cx.set_timer(Some(next_try));
                return Poll::Pending;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

impl Server {
    fn connection(stream: TcpStream) -> Self {
        Server::Connection(Connection { stream, buf: [0; 2048], len: 0, sent: 0, guarded: false })
    }
}

impl Connection {
    fn echo(&mut self, cx: &mut Context<'_, Server>) -> Poll<Result<(), Error>> {
        loop {
            if self.sent == self.len {
                if !self.guarded {
                    let deadline = cx.now() + IDLE;
                    self.stream.set_deadline(cx, Some(deadline))?;
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

const USAGE: &[u8] = b"usage: netpoll-echo-nolibc [A.B.C.D:PORT]\nThe default is 127.0.0.1:7777.\n";

fn main(args: Args) -> u8 {
    let mut args = args.skip(1).map(CStr::to_bytes);
    let addr = match args.next() {
        None => Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7777)),
        Some(b"-h" | b"--help") => {
            start::write(Output::Out, USAGE);
            return 0;
        }
        Some(arg) => text::address(arg),
    };
    let (Some(addr), None) = (addr, args.next()) else {
        start::write(Output::Err, USAGE);
        return 2;
    };
    match serve(addr) {
        Ok(()) => 0,
        Err(error) => {
            Line::new().address(addr).text(": ").error(error).write(Output::Err);
            1
        }
    }
}

fn serve(addr: SocketAddrV4) -> Result<(), Error> {
    let listener = TcpListener::bind(addr.into())?;
    let addr = SocketAddrV4::new(*addr.ip(), listener.local_addr()?.port());
    let mut reactor = Reactor::with_clock(STORAGE.take(), Clock::Custom(start::monotonic))?;
    reactor.spawn_with(listener, Server::Listener)?;
    Line::new().text("listening on ").address(addr).write(Output::Out);
    reactor.run(&mut ())
}
