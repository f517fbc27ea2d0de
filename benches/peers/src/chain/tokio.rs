//! tokio on one thread: a task for each link.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, Interest};
use tokio::runtime::{Builder, Runtime};

use super::BUFFER;
use super::links::{self, Link, Links, forward, pass_on};
use crate::tasks::Progress;
use crate::work::{Case, Work};

struct Tokio {
    runtime: Runtime,
    progress: Arc<Progress>,
}

impl Work for Tokio {
    fn run(&mut self, ops: u64) {
        self.runtime.block_on(self.progress.more(ops));
    }
}

/// Its `read` waits for the next edge after a read that fills less than the buffer.
async fn stream(mut from: impl AsyncRead + Unpin, link: Link, progress: Arc<Progress>) {
    let mut buf = [0; BUFFER];
    progress.waits();
    loop {
        let got = from.read(&mut buf).await.expect("a token");
        pass_on(link, &buf[..got]);
        progress.event();
    }
}

async fn counter(from: AsyncFd<OwnedFd>, link: Link, progress: Arc<Progress>) {
    let mut buf = [0; BUFFER];
    progress.waits();
    loop {
        let mut ready = from.readable().await.expect("a registration");
        while let Ok(got) = forward(link, &mut buf) {
            progress.event();
            if got < BUFFER {
                break;
            }
        }
        ready.clear_ready();
    }
}

pub fn tasks(case: &Case) -> Box<dyn Work> {
    let links = Links::new(case);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let progress = Arc::new(Progress::default());
    let entered = runtime.enter();
    for &link in links.links {
        let (fd, progress) = (link.from(), progress.clone());
        match links.kind {
            links::UNIX => {
                let from = tokio::net::UnixStream::from_std(fd.into()).expect("an epoll");
                tokio::spawn(stream(from, link, progress));
            }
            links::TCP => {
                let from = tokio::net::TcpStream::from_std(fd.into()).expect("an epoll");
                tokio::spawn(stream(from, link, progress));
            }
            _ => {
                // SAFETY: the descriptor is owned, and the same all the time.
                let from = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.expect("an epoll");
                tokio::spawn(counter(from, link, progress));
            }
        }
    }
    drop(entered);
    runtime.block_on(async {
        while progress.waiting() < links.links.len() {
            tokio::task::yield_now().await;
        }
    });
    links.start();
    Box::new(Tokio { runtime, progress })
}
