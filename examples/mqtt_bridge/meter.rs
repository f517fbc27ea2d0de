//! The simulated energy meter: a reading each interval.
//!
//! When the queue is full the meter is held: the reading that is due is taken when there is room again, late, and with the next number.
//! None is dropped, and a number that is missing at the subscriber was lost on the way.

use crate::app::Cx;
use crate::spool::Reading;
use core::task::{Poll, ready};
use core::time::Duration;
use netpoll::{Error, Instant};

pub struct Meter {
    interval: Duration,
    /// How many readings are still to be taken; none: no end.
    left: Option<u64>,
    next_seq: u64,
    /// When the next reading is due; none before the first.
    next_at: Option<Instant>,
    /// It is due, or overdue.
    due: bool,
    held: bool,
}

impl Meter {
    pub fn new(interval: Duration, readings: Option<u64>) -> Meter {
        Meter { interval, left: readings, next_seq: 1, next_at: None, due: true, held: false }
    }

    /// Finished after the last reading, which ends the program when all are acknowledged.
    pub fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        while self.left != Some(0) {
            if !self.due {
                ready!(cx.poll_timer());
                self.due = true;
            }
            if !cx.shared().spool.has_room() {
                ready!(self.hold(cx));
                continue;
            }
            self.read(cx);
        }
        cx.shared().closing = true; // the broker's handler, notified of the last reading, sees it
        Poll::Ready(Ok(()))
    }

    /// Waits for room in the queue.
    fn hold(&mut self, cx: &mut Cx<'_>) -> Poll<()> {
        cx.shared().counters.held += u64::from(!self.held);
        self.held = true;
        cx.poll_notified()
    }

    fn read(&mut self, cx: &mut Cx<'_>) {
        self.held = false;
        let reading = Reading { seq: self.next_seq, power_w: power(self.next_seq) };
        if cx.shared().spool.put(reading).is_err() {
            return; // there is room
        }
        cx.shared().counters.readings += 1;
        self.next_seq += 1;
        self.left = self.left.map(|left| left - 1);
        // A reading that is late does not make the next ones late; a long pause is not made up for.
        let now = cx.now();
        let at = now.max(self.next_at.unwrap_or(now) + self.interval);
        self.due = false;
        self.next_at = Some(at);
        cx.set_timer(Some(at));
        if let Some(broker) = cx.shared().handlers.broker {
            let _ = cx.notify(broker);
        }
    }
}

/// Watts: up and down between 998 and 1358.
fn power(seq: u64) -> u32 {
    let phase = (seq * 9 + 171) % 720;
    998 + phase.min(720 - phase) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_goes_up_and_down_in_its_range() {
        let powers: std::vec::Vec<u32> = (1..=160).map(power).collect();
        assert_eq!(powers[0], 1178);
        assert!(powers.iter().all(|power| (998..=1358).contains(power)));
        assert!(powers.windows(2).all(|pair| pair[0].abs_diff(pair[1]) <= 9));
    }
}
