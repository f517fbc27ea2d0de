//! Deadlines and timers.

use core::task::Poll;
use core::time::Duration;

use netpoll::linux::EventFd;
use netpoll::{Callback, Context, Error, Handler, HandlerId, Instant, Timeout};

use super::clock::{SECOND, now, pass};
use super::reactor;
use crate::meter::count;

const ENTRIES: u64 = 1000;

/// Different moments in no order, in the second that begins `after` seconds from now.
fn moments(after: u64) -> Vec<Instant> {
    let mut random = fastrand::Rng::with_seed(6);
    (0..ENTRIES).map(|_| now() + Duration::from_nanos(after * SECOND + random.u64(0..SECOND))).collect()
}

/// One handler that owns all descriptors.
pub fn push_out() {
    type Owner = Callback<(), Vec<EventFd>>;
    fn run(counters: &mut Vec<EventFd>, cx: &mut Context<'_, Owner>) -> Poll<Result<(), Error>> {
        for _ in 0..ENTRIES {
            counters.push(EventFd::counter(0)?.open(cx).map_err(|rejected| rejected.error)?);
        }
        for (counter, at) in counters.iter().zip(moments(1)) {
            counter.set_deadline(cx, Some(at))?;
        }
        let mut order: Vec<_> = (0..counters.len()).collect();
        fastrand::Rng::with_seed(7).shuffle(&mut order);
        let later = moments(2);
        count(ENTRIES, || {
            for &index in &order {
                counters[index].set_deadline(cx, Some(later[index])).unwrap();
            }
        });
        Poll::Pending
    }
    let mut reactor = reactor::<Owner>();
    reactor.spawn(Callback { f: run, data: Vec::new() }).unwrap();
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
}

/// Sets its timer as it is told.
struct Timed;

struct Timers {
    at: Vec<Instant>,
    fired: u64,
}

impl Handler for Timed {
    type Shared = Timers;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        if cx.poll_timer().is_ready() {
            cx.shared().fired += 1;
        }
        let index = cx.id().index();
        let at = cx.shared().at[index];
        cx.set_timer(Some(at));
        Poll::Pending
    }
}

/// As the timers fire they are set anew.
pub fn fire() {
    let mut reactor = reactor::<Timed>();
    for _ in 0..ENTRIES {
        reactor.spawn(Timed).unwrap();
    }
    let mut timers = Timers { at: moments(1), fired: 0 };
    reactor.run_once(Timeout::Now, &mut timers).unwrap();
    for round in 1..4 {
        timers.at = moments(2);
        timers.at.rotate_left(round);
        pass(Duration::from_secs(2));
        count(ENTRIES, || reactor.run_once(Timeout::Now, &mut timers).unwrap());
        assert_eq!(timers.fired, round as u64 * ENTRIES);
    }
}

pub fn set_and_cancel() {
    type Others = Callback<(), Option<HandlerId>>;
    fn wait(_: &mut Option<HandlerId>, cx: &mut Context<'_, Others>) -> Poll<Result<(), Error>> {
        let at = moments(1)[cx.id().index()];
        cx.set_timer(Some(at));
        Poll::Pending
    }
    fn run(_: &mut Option<HandlerId>, cx: &mut Context<'_, Others>) -> Poll<Result<(), Error>> {
        let at = moments(1);
        count(ENTRIES, || {
            for &at in &at {
                cx.set_timer(Some(at));
                cx.set_timer(None);
            }
        });
        Poll::Pending
    }
    let mut reactor = reactor::<Others>();
    for _ in 0..ENTRIES {
        reactor.spawn(Callback { f: wait, data: None }).unwrap();
    }
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    reactor.spawn(Callback { f: run, data: None }).unwrap();
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
}
