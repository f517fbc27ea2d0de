//! The echo server of one peer, the one of the feature; `raw` is what every Rust program of std has: a listener and nothing behind it.

use std::io::Write;
use std::net::TcpListener;

#[cfg(any(feature = "mio", feature = "polling", feature = "calloop"))]
#[path = "../../src/echo/pump.rs"]
mod pump;

#[cfg(feature = "async-io")]
#[path = "../../src/echo/async_io.rs"]
mod peer;
#[cfg(feature = "calloop")]
#[path = "../../src/echo/calloop.rs"]
mod peer;
#[cfg(feature = "mio")]
#[path = "../../src/echo/mio.rs"]
mod peer;
#[cfg(feature = "netpoll")]
#[path = "../../src/echo/netpoll.rs"]
mod peer;
#[cfg(feature = "polling")]
#[path = "../../src/echo/polling.rs"]
mod peer;
#[cfg(feature = "tokio")]
#[path = "../../src/echo/tokio.rs"]
mod peer;

#[cfg(feature = "async-io")]
use peer::serve;
#[cfg(any(feature = "calloop", feature = "tokio"))]
use peer::natural as serve;
#[cfg(feature = "mio")]
use peer::short as serve;
#[cfg(feature = "netpoll")]
use peer::shared_buffer as serve;
#[cfg(feature = "polling")]
use peer::level as serve;

#[cfg(feature = "std")]
fn serve(listener: TcpListener, _: usize, _: Option<std::time::Duration>) {
    drop(listener.accept());
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", listener.local_addr().unwrap()).unwrap();
    out.flush().unwrap();
    serve(listener, 4096, None);
}
