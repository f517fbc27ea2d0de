//! RST storms: connections that are reset before they are accepted, in the middle of a request, in the middle of an answer.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

use crate::server::CAPACITY;
use crate::siege::{Rules, Site, alone, besiege};
use crate::util;

const STORM: usize = 1500;

/// Closes by a reset.
fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

fn storm(situation: &str, rules: Rules, each: impl Fn(&mut TcpStream, usize) + Sync) {
    besiege(situation, rules, |site| {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for number in 0..STORM / 2 {
                        let mut stream = site.connect();
                        each(&mut stream, number);
                        reset(stream);
                    }
                });
            }
        });
        site.until_answered(20);
        all_have_come(site);
    });
}

fn all_have_come(site: &Site<'_>) {
    util::eventually("all accepted, all gone", || site.journal.accepted.get() > STORM as u64 && site.journal.clients.get() == 1);
}

#[test]
fn reset_at_once() {
    alone(|| storm("reset at once", Rules::default(), |_, _| ()));
}

#[test]
fn reset_within_requests_and_after_them() {
    alone(|| {
        storm("reset in the middle of a request", Rules::default(), |stream, number| {
            let request: &[u8] = [&b"half a requ"[..], b"a request\n", b"many\nof\nthem\nat\nonce\n"][number % 3];
            stream.write_all(request).unwrap();
        });
    });
}

/// The server has more to read, and more to write than there is room for.
#[test]
fn reset_within_answers() {
    alone(|| {
        const PEERS: usize = 20;
        let rules = Rules { small_send_buffers: true, ..Rules::default() };
        besiege("reset in the middle of an answer", rules, |site| {
            for _ in 0..10 {
                let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| deaf(site)).collect();
                peers.iter_mut().for_each(fill);
                peers.into_iter().for_each(reset);
                site.until_answered(5);
            }
            util::eventually("all gone", || site.journal.clients.get() == 1);
            assert_eq!(site.journal.reset.get(), 10 * PEERS as u64);
        });
    });
}

fn deaf(site: &Site<'_>) -> TcpStream {
    let stream = site.connect();
    set_socket_recv_buffer_size(&stream, 1).unwrap();
    stream
}

/// Sends requests until the server takes no more, since it cannot get rid of the answers.
fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[&[b'r'; 255][..], b"\n"].concat().repeat(16)).is_ok() {}
}

/// More than the tables hold die while they wait to be accepted: none of them costs anybody a place.
#[test]
fn reset_in_the_backlog() {
    alone(|| {
        besiege("reset in the backlog", Rules::default(), |site| {
            let seated: Vec<TcpStream> = (0..CAPACITY - 3).map(|_| site.connect()).collect();
            util::eventually("no place left", || site.journal.clients.get() == CAPACITY as u64 - 2);
            let before = site.journal.accepted.get();
            (0..500).for_each(|_| reset(site.connect()));
            site.until_answered(100);
            assert_eq!(site.journal.accepted.get(), before);
            drop(seated);
            util::eventually("all accepted, all gone", || site.journal.accepted.get() >= before + 500 && site.journal.clients.get() == 1);
        });
    });
}
