//! Floods of bytes: peers that send requests as fast as they can, and take the answers.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::BUDGET;
use crate::siege::{Rules, Site, alone, besiege};
use crate::util;

/// The budget stops each run, and the polite client is run once in each pass.
#[test]
fn flood_of_requests() {
    alone(|| {
        besiege("flood of requests", Rules::default(), |site| {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                (0..2).for_each(|_| drop(scope.spawn(|| flood(site, &stop))));
                site.until_answered(300);
                util::eventually("a flood that uses up the budget", || site.journal.most_calls.get() >= BUDGET);
                stop.store(true, Ordering::Relaxed);
            });
        });
    });
}

/// Two connections that are never empty.
fn flood(site: &Site<'_>, stop: &AtomicBool) {
    let mut streams = [site.connect(), site.connect()];
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let (flood, mut answers) = (b"xxx\nyyy\n".repeat(8192), vec![0; 1 << 16]);
    while !stop.load(Ordering::Relaxed) {
        for stream in &mut streams {
            expect_going(stream.write(&flood));
            expect_going(stream.read(&mut answers));
        }
    }
}

fn expect_going(answer: std::io::Result<usize>) {
    match answer {
        Ok(n) => assert_ne!(n, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

/// A line that never ends is cut off, not kept.
#[test]
fn flood_without_an_end_of_line() {
    alone(|| {
        const PEERS: u64 = 200;
        besiege("lines without an end", Rules::default(), |site| {
            let endless = [b'e'; 1 << 16];
            for _ in 0..PEERS {
                let mut stream: TcpStream = site.connect();
                // Until the server closes.
                while stream.write(&endless).is_ok() {}
            }
            site.until_answered(20);
            assert_eq!(site.journal.overlong.get(), PEERS);
        });
    });
}
