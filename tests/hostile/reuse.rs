//! Numbers and slots that are used again and again while the kernel still has something to say of who had them before.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use crate::client::LOSE;
use crate::polite::ask;
use crate::siege::{Rules, Site, alone, besiege};
use crate::util;

/// Connections that are open at once; of two numbers and slots at first, and of those that are set free meanwhile.
const AT_ONCE: usize = 20;

/// Each connection that is accepted ends the one before it, in the pass in which the kernel reports both.
#[test]
fn numbers_and_slots_are_reused_with_events_pending() {
    alone(|| {
        besiege("numbers and slots reused", Rules::default(), |site| {
            site.journal.meddling.store(true, Ordering::Relaxed);
            for round in 0..60 {
                let mut streams: Vec<TcpStream> = (0..AT_ONCE).map(|_| site.connect()).collect();
                for (number, stream) in streams.iter_mut().enumerate().skip(round % 2) {
                    // Some end by themselves, some are ended before they get an answer, some are silent.
                    match number % 3 {
                        0 => drop(stream.write(b"never mind\n")),
                        1 => drop(stream.shutdown(std::net::Shutdown::Both)),
                        _ => {}
                    }
                }
            }
            site.journal.meddling.store(false, Ordering::Relaxed);
            util::eventually("all accepted, all gone", || {
                site.journal.accepted.get() == 60 * AT_ONCE as u64 + 1 && site.journal.clients.get() == 1
            });
            site.until_answered(50);
            expect_own_answers(site);
        });
    });
}

/// Sockets that live on although their numbers were taken away: what the kernel goes on to report of them is nobody's, and counted.
#[test]
fn lost_registrations_reach_nobody() {
    alone(|| {
        let stats = besiege("registrations that outlive their numbers", Rules::default(), |site| {
            let mut ghosts: Vec<TcpStream> = (0..AT_ONCE).map(|_| site.connect()).collect();
            ghosts.iter_mut().for_each(|ghost| ghost.write_all(&[LOSE, b"\n"].concat()).unwrap());
            util::eventually("all lost", || site.journal.clients.get() == 1);
            // In their slots, and silent.
            let heirs: Vec<TcpStream> = (0..AT_ONCE).map(|_| site.connect()).collect();
            util::eventually("heirs", || site.journal.clients.get() == AT_ONCE as u64 + 1);
            let before = site.journal.stale_events.get();
            for round in 1..=10 {
                for (number, ghost) in ghosts.iter_mut().enumerate() {
                    ghost.write_all(b"boo\n").unwrap();
                    let seen = before + (round - 1) * AT_ONCE as u64 + number as u64;
                    util::eventually("a stale event", || site.journal.stale_events.get() > seen);
                }
            }
            site.until_answered(50);
            assert_eq!(site.journal.most_silent_runs.get(), 1, "an heir was run");
            drop(heirs);
            expect_own_answers(site);
        });
        assert_eq!(stats.lost_descriptors, AT_ONCE as u64);
    });
}

/// Each new owner hears its own questions and nothing else.
fn expect_own_answers(site: &Site<'_>) {
    for round in 0..10 {
        let mut streams: Vec<TcpStream> = (0..AT_ONCE).map(|_| site.connect()).collect();
        for (number, stream) in streams.iter_mut().enumerate() {
            ask(stream, format!("round {round}, number {number}").as_bytes());
        }
    }
}
