//! TCP on a bare poller, one call after another: listener, client and server, with everything that a stream can do.

use std::io::{IoSlice, IoSliceMut};

use netpoll::Unopened;
use netpoll::net::{KeepAlive, ListenOptions, Shutdown, TcpListener, TcpStream};

use crate::life::{ME, suffers};

pub fn live() {
    super::on_poller(|told, poller| {
        let any = "127.0.0.1:0".parse().unwrap();
        let mut options = ListenOptions::default();
        options.reuse_port = true;
        let listener = told.again("listen", || TcpListener::bind_with(any, &options));
        let address = told.again("local_addr", || listener.local_addr());
        // As if a supervisor had made it.
        let listener = Unopened::<TcpListener>::from(netpoll::OwnedFd::from(listener));
        let listener = told.open(poller, listener);
        let socket = told.again("connect", || TcpStream::connect(address));
        if suffers("connect EINTR") {
            // What the kernel does by itself after an interruption, and strace has kept from it.
            let _ = rustix::net::connect(&socket, &address);
        }
        let client = told.open(poller, socket);
        told.wait(poller, "connected", |io| client.poll_connected(io));
        let (socket, _) = told.wait(poller, "accept", |io| listener.accept(io));
        let server = told.open(poller, socket);
        told.again("peer_addr", || server.peer_addr(&mut poller.io(ME)));
        told.again("nodelay", || client.set_nodelay(&mut poller.io(ME), true));
        told.again("keepalive", || client.set_keepalive(&mut poller.io(ME), Some(KeepAlive::default())));

        let mut buf = [0; 8];
        let mut sent = 0;
        told.wait(poller, "write", |io| client.write_all(io, b"ping", &mut sent));
        told.wait(poller, "peek", |io| server.peek(io, &mut buf));
        let mut filled = 0;
        told.wait(poller, "read", |io| server.read_exact(io, &mut buf[..4], &mut filled));
        assert_eq!(&buf[..4], b"ping");
        assert_eq!(told.wait(poller, "write", |io| server.write_vectored(io, &[IoSlice::new(b"po"), IoSlice::new(b"ng")])), 4);
        assert_eq!(told.wait(poller, "read", |io| client.read_vectored(io, &mut [IoSliceMut::new(&mut buf)])), 4);
        assert_eq!(&buf[..4], b"pong");
        assert_eq!(told.again("take_error", || client.take_error(&mut poller.io(ME))), None);
        told.again("shutdown", || client.shutdown(&mut poller.io(ME), Shutdown::Write));
        assert_eq!(told.wait(poller, "read", |io| server.read(io, &mut buf)), 0);
        for token in [client.token(), server.token(), listener.token()] {
            drop(poller.io(ME).close(token).unwrap());
        }
    });
}
