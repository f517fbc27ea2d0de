//! calloop: a callback for each link.

use calloop::generic::Generic;
use calloop::{EventLoop, Interest, Mode, PostAction};

use super::BUFFER;
use super::links::{Links, forward};
use crate::work::{Case, Work};

struct Calloop {
    turns: EventLoop<'static, u64>,
    events: u64,
    target: u64,
    waits: u64,
}

impl Work for Calloop {
    fn run(&mut self, ops: u64) {
        self.target += ops;
        while self.events < self.target {
            self.turns.dispatch(None, &mut self.events).expect("a wait");
            self.waits += 1;
        }
    }

    fn waits(&self) -> Option<u64> {
        Some(self.waits)
    }
}

pub fn edge(case: &Case) -> Box<dyn Work> {
    start(case, Mode::Edge)
}

pub fn level(case: &Case) -> Box<dyn Work> {
    start(case, Mode::Level)
}

fn start(case: &Case, mode: Mode) -> Box<dyn Work> {
    let links = Links::new(case);
    let turns = EventLoop::<u64>::try_new().expect("a loop");
    for &link in links.links {
        let source = Generic::new(link.from(), Interest::READ, mode);
        let on_readable = move |_, _: &mut _, events: &mut u64| {
            let mut buf = [0; BUFFER];
            while let Ok(got) = forward(link, &mut buf) {
                *events += 1;
                if got < BUFFER {
                    break;
                }
            }
            Ok(PostAction::Continue)
        };
        turns.handle().insert_source(source, on_readable).expect("an epoll");
    }
    links.start();
    Box::new(Calloop { turns, events: 0, target: 0, waits: 0 })
}
