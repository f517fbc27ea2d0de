//! async-io under async-executor (smol): a task for each link.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use async_executor::LocalExecutor;
use async_io::{Async, block_on};

use super::BUFFER;
use super::links::{Link, Links, forward};
use crate::tasks::{Progress, yield_now};
use crate::work::{Case, Work};

struct AsyncIo {
    executor: LocalExecutor<'static>,
    progress: Rc<Progress>,
}

impl Work for AsyncIo {
    fn run(&mut self, ops: u64) {
        block_on(self.executor.run(self.progress.more(ops)));
    }
}

/// As its own streams read: they try, and wait if there is nothing.
async fn optimist(from: Async<OwnedFd>, link: Link, progress: Rc<Progress>) {
    let mut buf = [0; BUFFER];
    progress.waits();
    loop {
        from.read_with(|_| Ok(forward(link, &mut buf)?)).await.expect("a token");
        progress.event();
    }
}

/// Waits first, which saves the call that finds nothing.
async fn pessimist(from: Async<OwnedFd>, link: Link, progress: Rc<Progress>) {
    let mut buf = [0; BUFFER];
    progress.waits();
    loop {
        from.readable().await.expect("a registration");
        if forward(link, &mut buf).is_ok() {
            progress.event();
        }
    }
}

pub fn tries(case: &Case) -> Box<dyn Work> {
    start(case, optimist)
}

pub fn waits(case: &Case) -> Box<dyn Work> {
    start(case, pessimist)
}

fn start<F: Future<Output = ()> + 'static>(case: &Case, task: fn(Async<OwnedFd>, Link, Rc<Progress>) -> F) -> Box<dyn Work> {
    let links = Links::new(case);
    let (executor, progress) = (LocalExecutor::new(), Rc::new(Progress::default()));
    // Within `block_on` from the beginning, which keeps its helper thread asleep.
    let all_wait = async {
        for &link in links.links {
            let from = Async::new_nonblocking(link.from()).expect("an epoll");
            executor.spawn(task(from, link, progress.clone())).detach();
        }
        while progress.waiting() < links.links.len() {
            yield_now().await;
        }
    };
    block_on(executor.run(all_wait));
    links.start();
    Box::new(AsyncIo { executor, progress })
}
