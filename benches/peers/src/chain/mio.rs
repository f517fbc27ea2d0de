//! mio: edge-triggered; a slab of links by token.

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::BUFFER;
use super::links::{Link, Links, forward};
use crate::work::{Case, Work};

struct Mio<const DRAIN: bool> {
    poll: Poll,
    ready: Events,
    links: &'static [Link],
    events: u64,
    target: u64,
    waits: u64,
}

impl<const DRAIN: bool> Work for Mio<DRAIN> {
    fn run(&mut self, ops: u64) {
        self.target += ops;
        let mut buf = [0; BUFFER];
        while self.events < self.target {
            self.poll.poll(&mut self.ready, None).expect("a wait");
            self.waits += 1;
            for event in &self.ready {
                let link = self.links[event.token().0];
                while let Ok(got) = forward(link, &mut buf) {
                    self.events += 1;
                    if !DRAIN && got < BUFFER {
                        break;
                    }
                }
            }
        }
    }

    fn waits(&self) -> Option<u64> {
        Some(self.waits)
    }
}

/// Until `EAGAIN`, as its documentation asks for.
pub fn drain(case: &Case) -> Box<dyn Work> {
    start::<true>(case)
}

/// A read that fills less than the buffer was the last one.
pub fn short(case: &Case) -> Box<dyn Work> {
    start::<false>(case)
}

fn start<const DRAIN: bool>(case: &Case) -> Box<dyn Work> {
    let links = Links::new(case);
    let poll = Poll::new().expect("a poll");
    for (number, link) in links.links.iter().enumerate() {
        poll.registry().register(&mut SourceFd(&link.from), Token(number), Interest::READABLE).expect("an epoll");
    }
    links.start();
    Box::new(Mio::<DRAIN> { poll, ready: Events::with_capacity(256), links: links.links, events: 0, target: 0, waits: 0 })
}
