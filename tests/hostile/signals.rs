//! Signal storms: the server's thread is interrupted all the time, and woken from the handler.

use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netpoll::Breaker;

use crate::client::Deadlines;
use crate::polite::expect_end;
use crate::siege::{Rules, alone, besiege};
use crate::util;

static SIGNALS: AtomicU64 = AtomicU64::new(0);
static WAKE: OnceLock<Breaker<'static>> = OnceLock::new();

extern "C" fn wake(_: libc::c_int) {
    // Some only interrupt.
    if SIGNALS.fetch_add(1, Ordering::Relaxed).is_multiple_of(16) {
        let _ = WAKE.get().map(|breaker| breaker.wake());
    }
}

/// Without `SA_RESTART`: whatever can be interrupted is.
fn handle_signals() {
    // SAFETY: the handler does what is allowed in one: atomics, and a wake.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = wake as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
}

#[test]
fn signal_storm() {
    alone(|| {
        const IDLE: Duration = Duration::from_millis(300);
        let deadlines = Deadlines { idle: IDLE, request: None, write: IDLE };
        besiege("signal storm", Rules { deadlines, ..Rules::default() }, |site| {
            // SAFETY: the process ends, or the storm does, before the storage that it borrows.
            let breaker = unsafe { std::mem::transmute::<Breaker<'_>, Breaker<'static>>(site.breaker) };
            assert!(WAKE.set(breaker).is_ok());
            handle_signals();
            let stop = AtomicBool::new(false);
            let wakes = site.journal.wakes.get();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        // SAFETY: the server's thread lives as long as the siege.
                        assert_eq!(unsafe { libc::pthread_kill(site.thread(), libc::SIGUSR1) }, 0);
                        std::thread::sleep(Duration::from_micros(50));
                    }
                });
                let begin = Instant::now();
                let mut silent: Vec<TcpStream> = (0..20).map(|_| site.connect()).collect();
                silent.iter_mut().for_each(expect_end);
                assert!(begin.elapsed() >= IDLE);
                site.until_answered(100);
                util::eventually("a storm", || SIGNALS.load(Ordering::Relaxed) > 100 && site.journal.wakes.get() > wakes);
                stop.store(true, Ordering::Relaxed);
            });
        });
    });
}
