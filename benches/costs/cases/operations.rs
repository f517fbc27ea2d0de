//! Single operations of a handler, while it runs.

use core::num::NonZeroU8;
use core::task::Poll;

use netpoll::linux::EventFd;
use netpoll::net::TcpStream;
use netpoll::{Callback, Context, Direction, Error, Timeout, Unopened};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{listener, reactor, tcp_pair};
use crate::meter::count;

/// As many as a run's budget allows.
const RUN: u64 = 60;
const BUDGET: NonZeroU8 = NonZeroU8::MAX;

type Inside<D> = Callback<(), D>;
type Run<D> = fn(&mut D, &mut Context<'_, Inside<D>>) -> Poll<Result<(), Error>>;

fn on_counter(run: Run<EventFd>) {
    let mut reactor = reactor().with_budget(BUDGET);
    reactor.spawn_with(EventFd::counter(1).unwrap(), |data| Callback { f: run, data }).unwrap();
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
}

pub fn poll_io_ready() {
    on_counter(|counter, cx| {
        let token = counter.token();
        count(RUN, || {
            for _ in 0..RUN {
                assert!(cx.poll_io(token, Direction::Read, |_| Ok(())).is_ready());
            }
        });
        Poll::Pending
    });
}

pub fn poll_io_idle() {
    on_counter(|counter, cx| {
        let token = counter.token();
        cx.clear_ready(token, Direction::Read)?;
        count(RUN, || {
            for _ in 0..RUN {
                assert!(cx.poll_io(token, Direction::Read, |_| Ok(())).is_pending());
            }
        });
        Poll::Pending
    });
}

pub fn read_and_write() {
    let (ours, theirs) = tcp_pair(&listener());
    let mut reactor = reactor().with_budget(BUDGET);
    let run: Run<_> = |(stream, theirs), cx: &mut Context<'_, Inside<(TcpStream, _)>>| {
        let mut buf = [0; 64];
        for _ in 0..RUN {
            send(&*theirs, &buf, SendFlags::NOSIGNAL).unwrap();
            // A read of all that is there leaves the gate open.
            count(1, || {
                assert_eq!(stream.read(cx, &mut buf), Poll::Ready(Ok(64)));
                assert_eq!(stream.write(cx, &buf), Poll::Ready(Ok(64)));
            });
            recv(&*theirs, &mut buf, RecvFlags::empty()).unwrap();
        }
        Poll::Pending
    };
    let make = |stream| Callback { f: run, data: (stream, theirs) };
    reactor.spawn_with(Unopened::<TcpStream>::from(ours), make).unwrap();
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
}
