//! polling: edge-triggered, or its default, which reports once and is then asked again.

use polling::{Event, Events, PollMode, Poller};

use super::BUFFER;
use super::links::{Link, Links, forward};
use crate::work::{Case, Work};

struct Polling<const ONESHOT: bool> {
    poller: Poller,
    ready: Events,
    links: &'static [Link],
    events: u64,
    target: u64,
    waits: u64,
}

impl<const ONESHOT: bool> Work for Polling<ONESHOT> {
    fn run(&mut self, ops: u64) {
        self.target += ops;
        let mut buf = [0; BUFFER];
        while self.events < self.target {
            self.ready.clear();
            self.poller.wait(&mut self.ready, None).expect("a wait");
            self.waits += 1;
            for event in self.ready.iter() {
                let link = self.links[event.key];
                while let Ok(got) = forward(link, &mut buf) {
                    self.events += 1;
                    // Asked again, it would tell of what is left.
                    if ONESHOT || got < BUFFER {
                        break;
                    }
                }
                if ONESHOT {
                    self.poller.modify(link.borrow_from(), Event::readable(event.key)).expect("an epoll");
                }
            }
        }
    }

    fn waits(&self) -> Option<u64> {
        Some(self.waits)
    }
}

pub fn edge(case: &Case) -> Box<dyn Work> {
    start::<false>(case, PollMode::Edge)
}

pub fn oneshot(case: &Case) -> Box<dyn Work> {
    start::<true>(case, PollMode::Oneshot)
}

fn start<const ONESHOT: bool>(case: &Case, mode: PollMode) -> Box<dyn Work> {
    let links = Links::new(case);
    let poller = Poller::new().expect("a poller");
    for (number, link) in links.links.iter().enumerate() {
        // SAFETY: the links are open as long as the process lives.
        unsafe { poller.add_with_mode(link.from, Event::readable(number), mode) }.expect("an epoll");
    }
    links.start();
    Box::new(Polling::<ONESHOT> { poller, ready: Events::new(), links: links.links, events: 0, target: 0, waits: 0 })
}
