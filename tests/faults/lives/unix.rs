//! Unix sockets on a bare poller: a stale name, a listener, streams that pass descriptors, pairs, datagrams.

use std::os::fd::AsFd;
use std::task::Poll;

use netpoll::net::{Shutdown, SocketAddrUnix, UnixDatagram, UnixListener, UnixSeqpacket, UnixStream, unlink_stale};

use crate::life::{ME, Told};

pub fn live() {
    let folder = super::Folder::new();
    let path = folder.path("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = SocketAddrUnix::new(path.as_str()).unwrap();
    super::on_poller(|told, poller| {
        remove(told, &address);
        let mut buf = [0; 8];
        let listener = told.again("listen", || UnixListener::bind(&address).inspect_err(|_| drop(std::fs::remove_file(&path))));
        let listener = told.open(poller, listener);
        let client = told.again("connect", || UnixStream::connect(&address));
        let client = told.open(poller, client);
        let (server, _) = told.wait(poller, "accept", |io| listener.accept(io));
        let server = told.open(poller, server);
        told.again("peer_credentials", || server.peer_credentials(&mut poller.io(ME)));
        told.again("local_addr", || server.local_addr(&mut poller.io(ME)));
        told.wait(poller, "send", |io| client.send_with_fds(io, b"take", &[std::io::stderr().as_fd()]));
        let mut fds = [const { None }; 2];
        let received = told.wait(poller, "recv", |io| server.recv_with_fds(io, &mut buf, &mut fds));
        assert_eq!((received.len, received.fds), (4, 1));
        drop(fds);
        told.wait(poller, "write", |io| server.write(io, b"done"));
        assert_eq!(told.wait(poller, "read", |io| client.read(io, &mut buf)), 4);
        told.again("shutdown", || client.shutdown(&mut poller.io(ME), Shutdown::Write));
        for token in [client.token(), server.token(), listener.token()] {
            drop(poller.io(ME).close(token).unwrap());
        }

        let (one, other) = told.again("pair", UnixSeqpacket::pair);
        let (one, other) = (told.open(poller, one), told.open(poller, other));
        while let Poll::Ready(received) = other.recv(&mut poller.io(ME), &mut buf) {
            told.note("recv", received.unwrap_err());
        }
        told.wait(poller, "send", |io| one.send(io, b"packet"));
        assert_eq!(told.wait(poller, "recv", |io| other.recv(io, &mut buf)), 6);
        for token in [one.token(), other.token()] {
            drop(poller.io(ME).close(token).unwrap());
        }

        let receiver = SocketAddrUnix::new(folder.path("datagrams")).unwrap();
        let server =
            told.again("bind", || UnixDatagram::bind(&receiver).inspect_err(|_| drop(std::fs::remove_file(folder.path("datagrams")))));
        let server = told.open(poller, server);
        let client = told.again("unbound", UnixDatagram::unbound);
        let client = told.open(poller, client);
        told.again("send_to", || client.send_to(&mut poller.io(ME), b"hello", &receiver));
        assert_eq!(told.wait(poller, "recv", |io| server.recv_from(io, &mut buf)).0, 5);
        for token in [client.token(), server.token()] {
            drop(poller.io(ME).close(token).unwrap());
        }
    });
}

/// Removes the name of the listener that is gone; what only looks as if it were used is left alone, and tried again.
fn remove(told: &Told, address: &SocketAddrUnix) {
    while !told.again("unlink_stale", || unlink_stale(address)) {
        told.add("unlink_stale: kept".to_owned());
    }
}
