//! How long to wait before the next attempt: twice as long each time, within bounds, and less up to half by chance, so that a broker that
//! comes back is not met by all its clients at once.

use core::time::Duration;
use fastrand::Rng;

pub struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
    random: Rng,
}

impl Backoff {
    pub fn new(first: Duration, last: Duration, seed: u64) -> Backoff {
        Backoff { first, last, next: first, random: Rng::with_seed(seed) }
    }

    /// It has succeeded: begin anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// It has failed once more.
    pub fn fail(&mut self) -> Duration {
        let most = self.next;
        self.next = self.last.min(most.saturating_mul(2));
        Duration::from_micros(self.random.u64(most.as_micros() as u64 / 2..=most.as_micros() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(10);

    #[test]
    fn doubles_up_to_the_bound_and_begins_anew() {
        let mut backoff = Backoff::new(FIRST, LAST, 1);
        for most in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000].map(Duration::from_millis) {
            let wait = backoff.fail();
            assert!((most / 2..=most).contains(&wait), "{wait:?} of {most:?}");
        }
        backoff.reset();
        assert!((FIRST / 2..=FIRST).contains(&backoff.fail()));
    }

    #[test]
    fn two_clients_do_not_come_back_together() {
        let [mut one, mut other] = [1, 2].map(|seed| Backoff::new(FIRST, LAST, seed));
        let same = (0..20).filter(|_| one.fail() == other.fail()).count();
        assert!(same < 3, "{same} of 20");
    }

    #[test]
    fn equal_bounds_and_large_ones_are_fine() {
        let mut constant = Backoff::new(FIRST, FIRST, 3);
        assert!((0..9).all(|_| constant.fail() <= FIRST));
        let mut large = Backoff::new(Duration::from_secs(1), Duration::from_secs(86_400 * 365), 3);
        assert!((0..99).all(|_| large.fail() <= Duration::from_secs(86_400 * 365)));
    }
}
