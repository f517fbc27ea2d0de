//! An operation on a bare poller, made as a blocking call would make it.

use std::task::Poll;
use std::time::{Duration, Instant};

use netpoll::{Io, Poller, Waiter};

/// Longer than anything here takes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who waits, where there is only one.
const ME: Waiter = Waiter::new(1);

/// Does what a blocking call would do; fails if nobody is run although the operation waits. The poll also ends when another descriptor has an
/// edge, for which nobody waits.
#[track_caller]
pub fn block<T, E>(poller: &mut Poller<'_>, mut operation: impl FnMut(&mut Io<'_>) -> Poll<Result<T, E>>) -> Result<T, E> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Poll::Ready(answer) = operation(&mut poller.io(ME)) {
            return answer;
        }
        while poller.poll(end.saturating_duration_since(Instant::now()), |_| ()).unwrap().waiters == 0 {
            assert!(Instant::now() < end, "it waits, and nobody is run: a lost edge");
        }
    }
}
