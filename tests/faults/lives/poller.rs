//! A bare poller: made, woken, waited on with deadlines and timeouts; a descriptor opened, read, closed; one that is not pollable.

use std::task::Poll;
use std::time::Duration;

use netpoll::os::pipe;
use netpoll::{Direction, Error, Interest, OwnedFd, Timeout};

use crate::life::ME;

pub fn live() {
    let mut file: OwnedFd = std::fs::File::open("/proc/self/exe").unwrap().into();
    let mut given_back = None;
    super::on_poller(|told, poller| {
        let (reader, writer) = told.again("pipe", pipe);
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        let breaker = poller.breaker();
        for _ in 0..2 {
            told.again("wake", || breaker.wake());
            while !told.again("poll", || poller.poll(Timeout::Never, |_| ())).woken {}
        }
        let mut offered = reader;
        let token = loop {
            match poller.io(ME).open(offered, Interest::READ) {
                Ok(token) => break token,
                Err(rejected) => {
                    told.note("open", rejected.error);
                    offered = rejected.value;
                }
            }
        };
        let mut byte = [0];
        poller.io(ME).set_timeout(token, Direction::Read, Some(Duration::from_millis(5))).unwrap();
        let late = loop {
            match poller.io(ME).poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut byte)) {
                Poll::Ready(Err(error @ Error::Os(_))) => told.note("read", error),
                Poll::Ready(answer) => break answer,
                Poll::Pending => told.turn(poller),
            }
        };
        assert_eq!(late, Err(Error::TimedOut));
        poller.io(ME).set_deadline(token, Direction::Read, None).unwrap();
        let woken = told.again("poll", || poller.poll(Duration::from_millis(5), |_| ()));
        assert!(!woken.woken);
        told.again("write", || rustix::io::retry_on_intr(|| rustix::io::write(&writer, b"x")));
        let read = told.wait(poller, "read", |io| io.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut byte)));
        assert_eq!((read, byte), (1, *b"x"));
        let reader = poller.io(ME).close(token).unwrap();
        drop((reader, writer));
        given_back = loop {
            match poller.io(ME).open(file, Interest::READ) {
                Err(refused) if refused.error == Error::NotPollable => break Some(refused.value),
                Err(refused) => {
                    told.note("open", refused.error);
                    file = refused.value;
                }
                Ok(_) => panic!("a file was opened"),
            }
        };
    });
    drop(given_back);
}
