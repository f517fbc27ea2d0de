//! Signals: a thread waits for them, remembers them and wakes the reactor; a handler does what they ask for.

use crate::app::{Cx, Shared, report};
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
    /// What the broker gets at the end to acknowledge what is left.
    grace: Duration,
}

impl Control {
    pub fn new(grace: Duration) -> Control {
        Control { grace }
    }

    pub fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        loop {
            if cx.poll_timer().is_ready() {
                cx.stop();
                return Poll::Ready(Ok(()));
            }
            ready!(cx.poll_wake());
            if STATISTICS.swap(false, Ordering::Acquire) {
                let stats = cx.stats();
                print_statistics(cx.shared(), &stats);
            }
            if END.swap(false, Ordering::Acquire) {
                self.end(cx);
            }
        }
    }

    /// No more readings; the broker's handler ends the program when all are acknowledged, the timer at the latest.
    fn end(&self, cx: &mut Cx<'_>) {
        let Some(meter) = cx.shared().handlers.meter.take() else { return cx.stop() }; // asked twice: at once
        let _ = cx.end(meter); // after its last reading it is gone already
        cx.shared().closing = true;
        report(format_args!("ending; {} readings are not acknowledged yet", cx.shared().spool.len()));
        cx.notify_all();
        cx.set_timer_after(self.grace);
    }
}

/// Everything that is counted.
pub fn print_statistics(shared: &Shared, stats: &Stats) {
    let _ = writeln!(stdout(), "{}\nreactor: {stats:?}", shared.counters);
}
