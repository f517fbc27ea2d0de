//! UDP on a bare poller: two sockets, one of them connected, and a multicast group.

use std::io::{IoSlice, IoSliceMut};

use netpoll::net::{MulticastInterface, UdpSocket};

use crate::life::ME;

pub fn live() {
    super::on_poller(|told, poller| {
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = told.again("bind", || UdpSocket::bind(any));
        let address = told.again("local_addr", || socket.local_addr());
        let client = told.again("connect", || UdpSocket::connect(address));
        let server = told.open(poller, socket);
        let client = told.open(poller, client);
        told.again("set_ttl", || server.set_ttl(&mut poller.io(ME), 3));
        let group = "224.0.0.251".parse().unwrap();
        let loopback = MulticastInterface::Index(1);
        told.again("join", || server.multicast(&mut poller.io(ME))?.join(group, loopback));

        let mut buf = [0; 8];
        told.wait(poller, "send", |io| client.send(io, b"ping"));
        let (n, from) = told.wait(poller, "recv", |io| server.recv_from(io, &mut buf));
        assert_eq!(&buf[..n], b"ping");
        told.wait(poller, "send", |io| server.send_to(io, b"pong", from));
        let n = told.wait(poller, "recv", |io| client.recv(io, &mut buf));
        assert_eq!(&buf[..n], b"pong");
        told.wait(poller, "send", |io| client.send_msg(io, &[IoSlice::new(b"again")], None));
        let received = told.wait(poller, "recv", |io| server.recv_msg(io, &mut [IoSliceMut::new(&mut buf)]));
        assert_eq!(received.len, 5);
        for token in [client.token(), server.token()] {
            drop(poller.io(ME).close(token).unwrap());
        }
    });
}
