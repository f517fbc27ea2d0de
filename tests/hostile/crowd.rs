//! Connection floods: more connections than there are places.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::polite::{ask, expect_answer};
use crate::server::CAPACITY;
use crate::siege::{Rules, alone, besiege};
use crate::util;

const CROWD: usize = 4 * CAPACITY;

/// Places that the polite client leaves: one handler is the supervisor.
const PLACES: usize = CAPACITY - 3;

/// Who does not find a place is not accepted, so nobody is accepted to be dropped; the longest waiting comes first.
#[test]
fn who_waits_longest_comes_first() {
    alone(|| {
        besiege("four times as many connections as places", Rules::default(), |site| {
            let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| site.connect()).collect();
            for (number, stream) in crowd.iter_mut().enumerate() {
                stream.write_all(format!("number {number}\n").as_bytes()).unwrap();
            }
            for (leaving, mut stream) in crowd.into_iter().enumerate() {
                let seated = (leaving + PLACES).min(CROWD);
                util::eventually("the next one's place", || site.journal.accepted.get() == seated as u64 + 1);
                expect_answer(&mut stream, format!("number {leaving}").as_bytes());
            }
            assert_eq!(site.journal.accepted.get(), CROWD as u64 + 1);
            site.until_answered(50);
        });
    });
}

/// A crowd that comes again and again at one listener, and the polite client that has to come in by another one.
#[test]
fn crowd_at_one_listener_does_not_shut_the_other() {
    alone(|| {
        besiege("a crowd before the other listener", Rules { fresh_connections: true, ..Rules::default() }, |site| {
            const EACH: usize = 40;
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut crowd: Vec<TcpStream> = (0..EACH).map(|_| site.connect()).collect();
                        while !stop.load(Ordering::Relaxed) {
                            let mut first = crowd.remove(0);
                            ask(&mut first, b"me first");
                            crowd.push(site.connect());
                        }
                    });
                }
                util::eventually("a crowd", || site.journal.clients.get() >= PLACES as u64 - 2);
                site.until_answered(100);
                stop.store(true, Ordering::Relaxed);
            });
        });
    });
}
