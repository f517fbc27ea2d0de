//! polling: level-triggered, and the one-shot mode that it has everywhere.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};
use slab::Slab;

use super::pump::{Outcome, Pending, Until};

const LISTENER: usize = usize::MAX - 1;

struct Client {
    stream: TcpStream,
    pending: Pending,
    blocked: bool,
}

pub fn level(listener: TcpListener, buffer: usize, _: Option<Duration>) {
    serve(listener, buffer, PollMode::Level);
}

pub fn oneshot(listener: TcpListener, buffer: usize, _: Option<Duration>) {
    serve(listener, buffer, PollMode::Oneshot);
}

#[inline(always)]
fn serve(listener: TcpListener, buffer: usize, mode: PollMode) {
    let poller = Poller::new().unwrap();
    let mut events = Events::new();
    // SAFETY: What is added is deleted before it is closed; the listener never is.
    unsafe { poller.add_with_mode(&listener, Event::readable(LISTENER), PollMode::Level).unwrap() };
    let mut clients = Slab::<Client>::new();
    let mut buf = vec![0; buffer];
    loop {
        events.clear();
        poller.wait(&mut events, None).unwrap();
        for event in events.iter() {
            if event.key == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    let place = clients.vacant_entry();
                    // SAFETY: As above.
                    unsafe { poller.add_with_mode(&stream, Event::readable(place.key()), mode).unwrap() };
                    place.insert(Client { stream, pending: Pending::default(), blocked: false });
                }
                continue;
            }
            let Some(client) = clients.get_mut(event.key) else { continue };
            let outcome = client.pending.step(&mut client.stream, &mut buf, Until::OneRead);
            if outcome == Outcome::Gone {
                poller.delete(&client.stream).unwrap();
                clients.remove(event.key);
                continue;
            }
            let blocked = outcome == Outcome::WantsWrite;
            if mode == PollMode::Oneshot || blocked != client.blocked {
                let interest = if blocked { Event::writable(event.key) } else { Event::readable(event.key) };
                poller.modify_with_mode(&client.stream, interest, mode).unwrap();
                client.blocked = blocked;
            }
        }
    }
}
