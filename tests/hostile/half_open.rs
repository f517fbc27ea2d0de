//! Half-open connections: peers that say nothing more, and peers that have gone without a word.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use netpoll::net::KeepAlive;
use rustix::net::{AddressFamily, SocketType};

use crate::client::Deadlines;
use crate::polite::{ask, expect_end};
use crate::siege::{Rules, alone, besiege};
use crate::{network, util};

const IDLE: Duration = Duration::from_millis(1200);
const PEERS: usize = 60;

/// Some have never said anything, some have.
#[test]
fn silent_peers_are_cut_off_by_the_idle_deadline() {
    alone(|| {
        let deadlines = Deadlines { idle: IDLE, request: None, write: IDLE };
        besiege("silent peers, idle deadline", Rules { deadlines, ..Rules::default() }, |site| {
            let mut begin = Instant::now();
            let mut peers: Vec<TcpStream> = (0..PEERS)
                .map(|number| {
                    begin = Instant::now();
                    let mut peer = site.connect();
                    if number % 2 == 0 {
                        ask(&mut peer, b"one question");
                    }
                    peer
                })
                .collect();
            peers.iter_mut().for_each(expect_end);
            assert!(begin.elapsed() >= IDLE);
            site.until_answered(100);
            // The polite client may have been as slow as that, too.
            assert!(site.journal.idle_cut.get() >= PEERS as u64);
            // Once by its end, or once by its deadline.
            assert!(site.journal.most_silent_runs.get() <= 2);
        });
    });
}

/// No deadline comes, but keep-alive: the kernel asks the peers, and nothing comes back.
#[test]
fn vanished_peers_are_found_by_keep_alive() {
    let name = "half_open::vanished_peers_are_found_by_keep_alive";
    alone(|| {
        let skip = |reason: &dyn std::fmt::Display| util::skip(name, reason);
        let ip = |arguments: &str| network::ip(skip, arguments);
        if network::own_network(skip).and_then(|()| ip("link set lo up")).is_none() {
            return;
        }
        let second = Duration::from_secs(1);
        let keep_alive = Some(KeepAlive { idle: second, interval: second, count: 1 });
        besiege("vanished peers, keep-alive", Rules { keep_alive, ..Rules::default() }, |site| {
            let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| connect_from("127.0.0.2:0", site.address)).collect();
            peers.iter_mut().for_each(|peer| ask(peer, b"here I am"));
            // Whatever is sent to them from now on disappears.
            ip("route add blackhole 127.0.0.2/32 table local").unwrap();
            util::eventually("all found out", || site.journal.vanished.get() == PEERS as u64);
            assert_eq!(site.journal.clients.get(), 1);
            site.until_answered(100);
        });
    });
}

fn connect_from(local: &str, to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &local.parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(util::PATIENCE)).unwrap();
    stream
}
