//! Signals: a thread waits for them, remembers them and wakes the reactor; a handler does what they ask for.

use crate::app::Cx;
use crate::queue::Queue;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Poll, ready};
use core::time::Duration;
use netpoll::{Breaker, Error, Stats};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io::{self, Write, stdout};

static END: AtomicBool = AtomicBool::new(false);
static STATISTICS: AtomicBool = AtomicBool::new(false);

/// From here on SIGINT, SIGTERM and SIGUSR1 wake the reactor.
pub fn watch_signals(breaker: Breaker<'static>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let flag = if signal == SIGUSR1 { &STATISTICS } else { &END };
            flag.store(true, Ordering::Release);
            if breaker.wake().is_err() {
                return; // the reactor is gone, and so soon is the program
            }
        }
    })?;
    Ok(())
}

pub struct Control {
    /// What clients get at the end to fetch what they are owed.
    grace: Duration,
}

impl Control {
    pub fn new(grace: Duration) -> Control {
        Control { grace }
    }

    pub fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        loop {
            let nobody_left = cx.shared().closing && cx.shared().is_empty();
            if nobody_left || cx.poll_timer().is_ready() {
                cx.stop();
                return Poll::Ready(Ok(()));
            }
            ready!(cx.poll_wake());
            if STATISTICS.swap(false, Ordering::Acquire) {
                let stats = cx.stats();
                print_statistics(cx.shared(), &stats);
            }
            if END.swap(false, Ordering::Acquire) {
                if cx.shared().closing {
                    cx.stop(); // asked twice: at once
                }
                self.close(cx);
            }
        }
    }

    /// No new clients and no new requests; what is on the line is answered, what waits for the line refused, and then all leave.
    fn close(&self, cx: &mut Cx<'_>) {
        if let Some(listener) = cx.shared().handlers.listener.take() {
            let _ = cx.end(listener);
        }
        cx.shared().close();
        cx.notify_all();
        cx.set_timer_after(self.grace);
    }
}

pub fn print_statistics(queue: &Queue, stats: &Stats) {
    let _ = writeln!(stdout(), "{}\nreactor: {stats:?}", queue.counters);
}
