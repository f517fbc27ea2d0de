//! Clocks that jump, stand still and go backwards, by the clock that a program may put in the place of the system's.

use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netpoll::Clock;

use crate::client::Deadlines;
use crate::polite::{ask, expect_end};
use crate::siege::{Rules, Site, alone, besiege};
use crate::util;

const IDLE: Duration = Duration::from_secs(60);
const PEERS: usize = 50;

/// What is added to the monotonic clock, in nanoseconds.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// If not zero, what the clock says.
static FROZEN: AtomicU64 = AtomicU64::new(0);

fn bent() -> netpoll::Instant {
    match FROZEN.load(Ordering::Acquire) {
        0 => {
            let now = Clock::Monotonic.now().as_nanos();
            netpoll::Instant::from_nanos(now.saturating_add_signed(OFFSET.load(Ordering::Relaxed)))
        }
        frozen => netpoll::Instant::from_nanos(frozen),
    }
}

fn jump(by: i64) {
    OFFSET.fetch_add(by, Ordering::Relaxed);
}

fn freeze() {
    FROZEN.store(bent().as_nanos(), Ordering::Relaxed);
}

/// Goes on from where it stood.
fn thaw() {
    let now = Clock::Monotonic.now().as_nanos() as i64;
    OFFSET.store(FROZEN.load(Ordering::Relaxed) as i64 - now, Ordering::Relaxed);
    FROZEN.store(0, Ordering::Release);
}

const fn nanos(duration: Duration) -> i64 {
    duration.as_nanos() as i64
}

fn with_bent_clock(situation: &str, idle: Duration, hostile: impl FnOnce(&Site<'_>)) {
    // An hour ahead, so that it can go backwards on a machine that has just been started.
    jump(nanos(Duration::from_secs(3600)));
    let deadlines = Deadlines { idle, request: None, write: idle };
    besiege(situation, Rules { clock: Clock::Custom(bent), deadlines, ..Rules::default() }, hostile);
}

fn silent_peers(site: &Site<'_>) -> Vec<TcpStream> {
    let peer = |_| {
        let mut peer = site.connect();
        ask(&mut peer, b"good night");
        peer
    };
    let peers = (0..PEERS).map(peer).collect();
    finish_pass(site);
    peers
}

/// Until the pass is over in which the server might not know yet of what has been done here.
fn finish_pass(site: &Site<'_>) {
    (0..2).for_each(|_| ask(&mut site.connect(), b"is everybody waiting?"));
}

/// Suspended for three days on a clock that goes on (`CLOCK_BOOTTIME`), or set by hand: whatever has passed is seen at the first pass, once.
#[test]
fn jump_ahead_by_days() {
    alone(|| {
        with_bent_clock("clock jumps ahead by days", IDLE, |site| {
            for round in 1..=3 {
                let mut peers = silent_peers(site);
                let before = site.journal.idle_cut.get();
                jump(nanos(Duration::from_secs(3 * 86_400)));
                site.breaker.wake().unwrap();
                peers.iter_mut().for_each(expect_end);
                util::eventually("all cut off", || site.journal.idle_cut.get() >= before + PEERS as u64);
                site.until_answered(50);
                // The jump also cuts off the polite client, if it is not waiting for an answer, and who has just left.
                assert!(site.journal.idle_cut.get() <= round * (PEERS as u64 + 3), "cut off twice");
            }
        });
    });
}

/// Backwards, which it must not: deadlines come late, none early, and nobody spins.
#[test]
fn backwards() {
    alone(|| {
        let idle = Duration::from_millis(1200);
        with_bent_clock("clock goes backwards", idle, |site| {
            let mut peers = silent_peers(site);
            jump(-nanos(IDLE));
            finish_pass(site);
            let before = site.journal.idle_cut.get();
            expect_no_spin(site, idle + idle / 4);
            assert_eq!(site.journal.idle_cut.get(), before, "early");
            jump(nanos(IDLE));
            site.breaker.wake().unwrap();
            peers.iter_mut().for_each(expect_end);
        });
    });
}

/// Suspended on a clock that stands still meanwhile (`CLOCK_MONOTONIC`): deadlines come as much later.
#[test]
fn frozen() {
    alone(|| {
        let idle = Duration::from_millis(1200);
        with_bent_clock("clock stands still", idle, |site| {
            let mut peers = silent_peers(site);
            freeze();
            finish_pass(site);
            let before = site.journal.idle_cut.get();
            expect_no_spin(site, idle + idle / 4);
            assert_eq!(site.journal.idle_cut.get(), before, "early");
            thaw();
            peers.iter_mut().for_each(expect_end);
        });
    });
}

/// Every deadline is ahead: the loop turns for the polite client, for its peers' deadlines, and for nothing else.
fn expect_no_spin(site: &Site<'_>, time: Duration) {
    let (begin, polls, requests) = (Instant::now(), site.journal.polls.get(), site.journal.polite_answered.get());
    while begin.elapsed() < time {
        site.until_answered(10);
    }
    let (polls, requests) = (site.journal.polls.get() - polls, site.journal.polite_answered.get() - requests);
    assert!(polls <= 2 * requests + 2 * PEERS as u64, "{polls} turns for {requests} requests");
}
