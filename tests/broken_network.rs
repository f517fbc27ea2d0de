//! What a connection learns of a network that breaks, or of a peer that vanishes without a word.

#![cfg(target_os = "linux")]

#[path = "util/block.rs"]
mod block;
#[path = "util/network.rs"]
mod network;
#[path = "util/mod.rs"]
mod util;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener as StdListener, TcpStream as StdStream};
use std::task::Poll;
use std::time::Duration;

use block::block;
use netpoll::net::{Dial, KeepAlive, TcpStream};
use netpoll::{Errno, Error, Poller, PollerStorage, Waiter};
use util::{alone, skip};

const ME: Waiter = Waiter::new(1);

/// A connection over the loopback of a network of the test's own, which can be set `down` and `up` again: not a packet goes through, either way.
fn with_cut_connection(test: &str, body: impl FnOnce(&mut Poller<'_>, TcpStream, StdStream, &dyn Fn(&str))) {
    let skip = |reason: &dyn std::fmt::Display| skip(test, reason);
    let ip = |arguments: &str| network::ip(skip, arguments);
    if network::own_network(skip).and_then(|()| ip("link set lo up")).is_none() {
        return;
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut dial = Dial::to(listener.local_addr().unwrap());
    let stream = block(&mut poller, |io| dial.poll(io)).unwrap();
    let (peer, _) = listener.accept().unwrap();
    body(&mut poller, stream, peer, &|state| ip(&format!("link set lo {state}")).unwrap());
}

// The seeds: the peer is gone without a FIN, and nothing is sent: a read waits for ever, unless keep-alive finds out.
#[test]
fn keep_alive_finds_a_silent_peer() {
    alone(|| {
        with_cut_connection("keep_alive_finds_a_silent_peer", |poller, stream, _peer, network| {
            let second = Duration::from_secs(1);
            stream.set_keepalive(&mut poller.io(ME), Some(KeepAlive { idle: second, interval: second, count: 1 })).unwrap();
            assert!(stream.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
            network("down");
            let error = block(poller, |io| stream.read(io, &mut [0; 8])).unwrap_err();
            assert_eq!(error.to_string(), "connection timed out");
        });
    });
}

// The seeds: what was written is never acknowledged: the kernel gives up, and the waiting read is told.
#[test]
fn unacknowledged_data_fails_the_read() {
    alone(|| {
        with_cut_connection("unacknowledged_data_fails_the_read", |poller, stream, _peer, network| {
            network::sysctl("ipv4/tcp_retries2", "1");
            network("down");
            // Into the kernel's own buffer: it succeeds.
            assert_eq!(stream.write(&mut poller.io(ME), b"hello"), Poll::Ready(Ok(5)));
            let error = block(poller, |io| stream.read(io, &mut [0; 8])).unwrap_err();
            assert!(matches!(error, Error::Os(Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH)), "{error}");
            assert_eq!(block(poller, |io| stream.write(io, b"x")), Err(Error::Os(Errno::PIPE)));
        });
    });
}

// The seeds: only a deadline helps him who cannot wait for the kernel; and it harms nothing, if the network comes back.
#[test]
fn a_deadline_does_not_wait_for_the_kernel() {
    alone(|| {
        with_cut_connection("a_deadline_does_not_wait_for_the_kernel", |poller, stream, mut peer, network| {
            network("down");
            assert_eq!(stream.write(&mut poller.io(ME), b"hello"), Poll::Ready(Ok(5)));
            stream.set_read_timeout(&mut poller.io(ME), Some(Duration::from_millis(20))).unwrap();
            assert_eq!(block(poller, |io| stream.read(io, &mut [0; 8])), Err(Error::TimedOut));
            network("up");
            let mut received = [0; 5];
            peer.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"hello");
            stream.set_read_deadline(&mut poller.io(ME), None).unwrap();
            peer.write_all(b"again").unwrap();
            assert_eq!(block(poller, |io| stream.read(io, &mut received)), Ok(5));
        });
    });
}
