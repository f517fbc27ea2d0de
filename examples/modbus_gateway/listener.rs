//! Accepts clients, as many as there are seats. The others wait in the kernel's backlog.

use crate::app::{App, Cx, report};
use crate::client::Client;
use core::task::{Poll, ready};
use core::time::Duration;
use netpoll::Error;
use netpoll::net::TcpListener;

/// When the machine is out of descriptors or memory: somebody may give some back meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Listener {
    listener: TcpListener,
    idle: Duration,
    complained: bool,
}

impl Listener {
    pub fn new(listener: TcpListener, idle: Duration) -> Listener {
        Listener { listener, idle, complained: false }
    }

    pub fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        loop {
            if !cx.shared().has_seat() {
                return Poll::Pending; // run again by a client that leaves
            }
            let stream = match ready!(self.listener.accept(cx)) {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if !self.complained {
                        report(format_args!("accept: {error}"));
                    }
                    self.complained = true;
                    cx.set_timer_after(PAUSE);
                    return Poll::Pending;
                }
            };
            let Some(seat) = cx.shared().sit_down() else { continue };
            let idle = self.idle;
            if cx.spawn_with(stream, |stream| App::Client(Client::new(stream, seat, idle))).is_err() {
                cx.shared().leave(seat);
                continue;
            }
            cx.shared().counters.clients += 1;
            self.complained = false;
        }
    }
}
