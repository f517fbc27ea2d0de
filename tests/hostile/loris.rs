//! Slow loris: peers that send their request a byte at a time, in all places but one.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::Deadlines;
use crate::polite::{expect_answer, expect_end};
use crate::server::CAPACITY;
use crate::siege::{Rules, Site, alone, besiege};
use crate::util;

/// All but the listener's and the polite client's descriptor; the supervisor has a handler's place.
const LORISES: usize = CAPACITY - 3;

const IDLE: Duration = Duration::from_millis(400);

/// Between two bytes of a loris.
const PAUSE: Duration = Duration::from_millis(20);

fn lorises(site: &Site<'_>) -> Vec<TcpStream> {
    let lorises: Vec<TcpStream> = (0..LORISES).map(|_| site.connect()).collect();
    util::eventually("a place for each", || site.journal.clients.get() == LORISES as u64 + 1);
    lorises
}

fn trickle(lorises: &mut [TcpStream]) {
    // Who has been cut off already gets an error.
    lorises.iter_mut().for_each(|loris| drop(loris.write(b"z")));
    std::thread::sleep(PAUSE);
}

/// Each arrival pushes the idle deadline out: a loris that is never silent for so long stays, and is a client like any other.
#[test]
fn slow_loris_is_not_cut_off_by_an_idle_deadline() {
    alone(|| {
        let deadlines = Deadlines { idle: 4 * IDLE, request: None, write: IDLE };
        besiege("slow loris, idle deadline", Rules { deadlines, ..Rules::default() }, |site| {
            let mut lorises = lorises(site);
            let (begin, mut bytes, mut pause) = (Instant::now(), 0, Duration::ZERO);
            while begin.elapsed() < 5 * IDLE {
                let before = Instant::now();
                trickle(&mut lorises);
                bytes += 1;
                pause = pause.max(before.elapsed());
            }
            let cut = site.journal.request_cut.get();
            // Unless this machine has made them as slow as that.
            assert!(cut == 0 || pause >= 2 * IDLE, "{cut} cut off");
            if cut == 0 {
                lorises.iter_mut().for_each(|loris| loris.write_all(b"\n").unwrap());
                lorises.iter_mut().for_each(|loris| expect_answer(loris, &vec![b'z'; bytes]));
            }
            site.until_answered(100);
        });
    });
}

/// The deadline of the whole request cuts it off, however busy it is, and not before its time; those who come after it get its place.
#[test]
fn slow_loris_is_cut_off_by_the_deadline_of_the_request() {
    alone(|| {
        let deadlines = Deadlines { idle: 30 * IDLE, request: Some(IDLE), write: IDLE };
        besiege("slow loris, deadline of the request", Rules { deadlines, ..Rules::default() }, |site| {
            for round in 1..=2 {
                let begin = Instant::now();
                let mut lorises = lorises(site);
                let all = round * LORISES as u64;
                while site.journal.request_cut.get() < all {
                    assert!(begin.elapsed() < util::PATIENCE, "they stay");
                    trickle(&mut lorises);
                }
                assert!(begin.elapsed() >= IDLE);
                lorises.iter_mut().for_each(expect_end);
            }
            site.until_answered(100);
            assert_eq!(site.journal.idle_cut.get(), 0);
        });
    });
}
