//! An echo server: the wait, a read, an idle deadline pushed out, a write, for each of many clients.

use core::task::{Poll, ready};
use core::time::Duration;

use netpoll::net::TcpStream;
use netpoll::{Context, Error, Handler, Timeout, Unopened};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{listener, reactor, settle, tcp_pair};
use crate::meter::count;

const CLIENTS: u64 = 64;
const IDLE: Duration = Duration::from_secs(60);

struct Echo {
    stream: TcpStream,
    buf: [u8; 512],
    len: usize,
    sent: usize,
}

impl Handler for Echo {
    type Shared = u64;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        loop {
            if self.sent == self.len {
                self.len = ready!(self.stream.read(cx, &mut self.buf))?;
                self.sent = 0;
                let idle = cx.now() + IDLE;
                self.stream.set_read_deadline(cx, Some(idle))?;
                *cx.shared() += 1;
            }
            self.sent += ready!(self.stream.write(cx, &self.buf[self.sent..self.len]))?;
        }
    }
}

pub fn echo() {
    let mut reactor = reactor();
    let listener = listener();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (server, client) = tcp_pair(&listener);
        reactor.spawn_with(Unopened::from(server), |stream| Echo { stream, buf: [0; 512], len: 0, sent: 0 }).unwrap();
        clients.push(client);
    }
    let mut requests = 0;
    settle(&mut reactor, &mut requests);
    let mut buf = [7; 64];
    for round in 1..20 {
        for client in &clients {
            send(client, &buf, SendFlags::NOSIGNAL).unwrap();
        }
        let mut serve = || {
            while requests < round * CLIENTS {
                reactor.run_once(Timeout::Never, &mut requests).unwrap();
            }
        };
        // The first time the deadlines are set, and the clock is looked for.
        if round == 1 {
            serve()
        } else {
            count(CLIENTS, serve)
        }
        for client in &clients {
            assert_eq!(recv(client, &mut buf, RecvFlags::empty()).unwrap().0, 64);
        }
    }
}
