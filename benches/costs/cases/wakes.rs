//! Telling a handler something: from within, from another thread.

use core::task::Poll;

use netpoll::{Callback, Context, Error, Timeout};

use super::reactor;
use crate::meter::count;

const TIMES: u64 = 100;

fn wait(_: &mut (), cx: &mut Context<'_, Callback<(), ()>>) -> Poll<Result<(), Error>> {
    while cx.poll_notified().is_ready() || cx.poll_wake().is_ready() {}
    Poll::Pending
}

/// Of handlers that are not ready.
pub fn notify() {
    let mut reactor = reactor();
    let ids: Vec<_> = (0..TIMES).map(|_| reactor.spawn(Callback { f: wait, data: () }).unwrap()).collect();
    for _ in 0..3 {
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        count(TIMES, || {
            for &id in &ids {
                reactor.notify(id).unwrap();
            }
        });
    }
}

/// The caller's part.
pub fn wake() {
    let mut reactor = reactor();
    reactor.spawn(Callback { f: wait, data: () }).unwrap();
    let breaker = reactor.breaker();
    for _ in 0..TIMES {
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        count(1, || breaker.wake().unwrap());
    }
}

pub fn wake_again() {
    let reactor = reactor::<Callback<(), ()>>();
    let breaker = reactor.breaker();
    breaker.wake().unwrap();
    count(TIMES, || {
        for _ in 0..TIMES {
            breaker.wake().unwrap();
        }
    });
}
