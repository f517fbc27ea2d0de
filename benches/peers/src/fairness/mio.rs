//! mio: each event is read until `WouldBlock`, as its documentation asks.

use std::io::Read;
use std::net::TcpStream;

use mio::{Events, Interest, Poll, Token};

use super::{Counters, READ};

pub fn serve(counters: &'static Counters, streams: Vec<TcpStream>) {
    let mut poll = Poll::new().unwrap();
    let mut streams: Vec<_> = streams.into_iter().map(mio::net::TcpStream::from_std).collect();
    for (at, stream) in streams.iter_mut().enumerate() {
        poll.registry().register(stream, Token(at), Interest::READABLE).unwrap();
    }
    let (quiet, mut events) = (streams.len() - 1, Events::with_capacity(128));
    while !counters.is_over() {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            let Token(at) = event.token();
            while streams[at].read(&mut [0; READ]).is_ok_and(|n| n > 0) {
                if at == quiet { counters.has_run() } else { counters.count() }
            }
        }
    }
}
