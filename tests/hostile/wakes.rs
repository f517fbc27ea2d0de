//! Wake storms: threads that do nothing but wake the loop.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::Deadlines;
use crate::polite::expect_end;
use crate::siege::{Rules, alone, besiege};
use crate::util;

/// I/O and deadlines come as ever, and the wakes are told.
#[test]
fn wake_storm() {
    alone(|| {
        const IDLE: Duration = Duration::from_millis(300);
        let deadlines = Deadlines { idle: IDLE, request: None, write: IDLE };
        besiege("wake storm of two threads", Rules { deadlines, ..Rules::default() }, |site| {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            site.breaker.wake().unwrap();
                        }
                    });
                }
                let begin = Instant::now();
                let mut silent: Vec<TcpStream> = (0..20).map(|_| site.connect()).collect();
                silent.iter_mut().for_each(expect_end);
                assert!(begin.elapsed() >= IDLE);
                site.until_answered(100);
                util::eventually("a storm", || site.journal.wakes.get() > 100);
                stop.store(true, Ordering::Relaxed);
            });
        });
    });
}
