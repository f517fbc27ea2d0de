//! tokio, on one thread: a `Notify` that a task waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Peer, Wake};

pub struct Tokio {
    runtime: Runtime,
    task: JoinHandle<()>,
    notify: Arc<Notify>,
    woken: &'static AtomicU64,
}

impl Peer for Tokio {
    type Waker = Arc<Notify>;

    fn new(woken: &'static AtomicU64) -> Tokio {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let notify = Arc::new(Notify::new());
        let notified = Arc::clone(&notify);
        let task = runtime.spawn(async move {
            loop {
                notified.notified().await;
                woken.fetch_add(1, Ordering::Release);
            }
        });
        Tokio { runtime, task, notify, woken }
    }

    fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }

    fn turn(&mut self, _: bool) {
        // The driver is looked at once, and the task has run.
        self.runtime.block_on(tokio::task::yield_now());
    }

    fn serve(&mut self, stop: &AtomicBool) {
        self.task.abort();
        self.runtime.block_on(async {
            while !stop.load(Ordering::Acquire) {
                self.notify.notified().await;
                self.woken.fetch_add(1, Ordering::Release);
            }
        });
    }
}

impl Wake for Arc<Notify> {
    fn wake(&self) {
        self.notify_one();
    }
}
