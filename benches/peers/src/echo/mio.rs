//! mio: edge-triggered; read until EAGAIN as it asks for, or until a short read.

use std::net::TcpListener;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::pump::{Outcome, Pending, Until};

const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: TcpStream,
    pending: Pending,
}

pub fn drain(listener: TcpListener, buffer: usize, _: Option<Duration>) {
    serve(listener, buffer, Until::NothingLeft);
}

pub fn short(listener: TcpListener, buffer: usize, _: Option<Duration>) {
    serve(listener, buffer, Until::ShortRead);
}

#[inline(always)]
fn serve(listener: TcpListener, buffer: usize, until: Until) {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1024);
    let mut listener = mio::net::TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    let mut clients = Slab::<Client>::new();
    let mut buf = vec![0; buffer];
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let place = clients.vacant_entry();
                    poll.registry().register(&mut stream, Token(place.key()), Interest::READABLE | Interest::WRITABLE).unwrap();
                    place.insert(Client { stream, pending: Pending::default() });
                }
                continue;
            }
            let Some(client) = clients.get_mut(event.token().0) else { continue };
            // A short read proves nothing once the end of the stream may stand behind it.
            let until = if event.is_read_closed() || event.is_error() { Until::NothingLeft } else { until };
            if client.pending.step(&mut client.stream, &mut buf, until) == Outcome::Gone {
                let mut client = clients.remove(event.token().0);
                poll.registry().deregister(&mut client.stream).unwrap();
            }
        }
    }
}
