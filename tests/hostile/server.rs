//! The server: its handlers, and the loop that looks after each pass whether everybody got what is theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use netpoll::net::{TcpListener, UdpSocket};
use netpoll::{Context, Errno, Error, Handler, HandlerId, Interest, Reactor, ReactorStorage, Stats, Timeout};
use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};

use crate::client::{Client, Deadlines};
use crate::journal::Journal;

/// Of both tables.
pub const CAPACITY: usize = 64;

/// Less than the default, so that a flood is soon stopped.
pub const BUDGET: u64 = 8;

/// After `accept` has said that there is no descriptor.
pub const TRY_AGAIN: Duration = Duration::from_millis(20);

pub type Storage = ReactorStorage<Task, CAPACITY, CAPACITY>;

// Handlers lie inline in their places, so each place has room for the largest.
#[allow(clippy::large_enum_variant)]
pub enum Task {
    /// Waits for wakes.
    Supervisor,
    Listener(Listener),
    Client(Client),
    Datagrams(UdpSocket),
    Idle,
}

pub struct Listener {
    pub socket: TcpListener,
    /// Whom it has accepted last.
    pub last: Option<HandlerId>,
}

pub struct Shared {
    pub journal: Arc<Journal>,
    pub deadlines: Deadlines,
    pub ending: bool,
    /// Whom this pass has run, by their places.
    pub ran: [Option<HandlerId>; CAPACITY],
}

impl Handler for Task {
    type Shared = Shared;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let id = cx.id();
        if cx.shared().ran[id.index()].replace(id) == Some(id) {
            cx.shared().journal.run_twice.add();
        }
        if cx.shared().ending {
            return Poll::Ready(Ok(()));
        }
        match self {
            Task::Supervisor => loop {
                ready!(cx.poll_wake());
                cx.shared().journal.wakes.add();
            },
            Task::Listener(listener) => listener.accept(cx),
            Task::Client(client) => client.on_ready(cx),
            Task::Datagrams(socket) => receive(socket, cx),
            Task::Idle => {
                ready!(cx.poll_notified());
                Poll::Ready(Ok(()))
            }
        }
    }

    fn on_error(&mut self, error: Error, cx: &mut Context<'_, Self>) {
        match self {
            Task::Client(client) => client.on_error(error),
            _ => cx.shared().journal.complain(format!("a listener ended: {error}")),
        }
    }
}

impl Listener {
    fn accept(&mut self, cx: &mut Context<'_, Task>) -> Poll<Result<(), Error>> {
        loop {
            match ready!(self.socket.accept(cx)) {
                Ok((socket, _)) => {
                    let (journal, deadlines) = (Arc::clone(&cx.shared().journal), cx.shared().deadlines);
                    let spawned = cx.spawn_with(socket, |stream| Task::Client(Client::new(stream, journal, deadlines)));
                    let journal = &cx.shared().journal;
                    match spawned {
                        Ok(_) => journal.accepted.add(),
                        Err(_) => journal.turned_away.add(),
                    }
                    if journal.meddling.load(Relaxed) {
                        // What the kernel has said of the connection in this pass is still to be acted on.
                        let last = std::mem::replace(&mut self.last, spawned.ok());
                        let _ = last.map(|last| cx.end(last));
                    }
                }
                Err(Error::Os(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    cx.shared().journal.exhausted.add();
                    cx.set_timer_after(TRY_AGAIN);
                    return Poll::Pending;
                }
                Err(Error::Os(Errno::CONNABORTED)) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Datagrams that are too long come cut off, and empty ones are none the less datagrams.
fn receive(socket: &UdpSocket, cx: &mut Context<'_, Task>) -> Poll<Result<(), Error>> {
    let (mut buf, mut calls) = ([0; 16], 0);
    loop {
        match ready!(socket.recv_from(cx, &mut buf)) {
            Ok((n, _)) if buf[..n].iter().all(|&byte| byte == b'u') => cx.shared().journal.datagrams.add(),
            Ok((n, _)) => cx.shared().journal.complain(format!("a datagram {:?}", &buf[..n])),
            // Of an earlier datagram, had one been sent.
            Err(error) => cx.shared().journal.complain(format!("a datagram: {error}")),
        }
        calls += 1;
        cx.shared().journal.most_calls.raise_to(calls);
    }
}

/// Serves until the journal says so.
pub fn serve(reactor: &mut Reactor<'_, Task>, shared: &mut Shared) {
    let journal = Arc::clone(&shared.journal);
    let mut wait = PoliteWait::default();
    while !journal.is_stopping() {
        wait.begin_pass(&journal);
        let before = cpu_time();
        pass(reactor, Timeout::Never, shared);
        journal.longest_pass.raise_to((cpu_time() - before).as_micros() as u64);
        wait.end_pass(&journal);
        assert!(reactor.len() <= CAPACITY && reactor.descriptors() <= CAPACITY);
        let stats = reactor.stats();
        journal.polls.set(stats.polls);
        journal.stale_events.set(stats.stale_events);
        journal.passes.add();
    }
}

fn pass(reactor: &mut Reactor<'_, Task>, timeout: impl Into<Timeout>, shared: &mut Shared) {
    shared.ran = [None; CAPACITY];
    reactor.run_once(timeout, shared).unwrap();
}

/// Of this thread: what a pass takes, however many others want the processor.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// How long the polite client's request has been waiting.
#[derive(Default)]
struct PoliteWait {
    asked: u64,
    passes: u64,
    since: Option<Instant>,
}

impl PoliteWait {
    /// Passes that a request may wait. It is one, but that this machine's CPU may be taken away between the arrival and its report: so it
    /// must also have taken this long.
    const MOST: (u64, Duration) = (100, Duration::from_secs(1));

    /// Whatever was sent by now the kernel can report in this pass.
    fn begin_pass(&mut self, journal: &Journal) {
        self.asked = journal.polite_asked.get();
        if self.asked <= journal.polite_answered.get() {
            (self.passes, self.since) = (0, None);
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    fn end_pass(&mut self, journal: &Journal) {
        let Some(since) = self.since else { return };
        self.passes += 1;
        if self.asked <= journal.polite_answered.get() {
            journal.most_passes.raise_to(self.passes);
            (self.passes, self.since) = (0, None);
        }
        assert!(
            self.passes <= PoliteWait::MOST.0 || since.elapsed() <= PoliteWait::MOST.1,
            "a request of the polite client waits for {} passes",
            self.passes
        );
    }
}

/// Nobody asks for anything: the loop waits, and does so once.
pub fn expect_rest(reactor: &mut Reactor<'_, Task>, shared: &mut Shared) {
    const REST: Duration = Duration::from_millis(50);
    let (before, begin) = (reactor.stats(), Instant::now());
    while let Some(left) = REST.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        pass(reactor, left, shared);
    }
    let after = reactor.stats();
    // Deadlines of connections that have gone come up once more.
    let (polls, deadlines) = (after.polls - before.polls, after.deadlines - before.deadlines);
    assert!(polls <= 2 + deadlines && deadlines <= CAPACITY as u64, "no rest: {before:?}, {after:?}");
    assert_eq!(after.events, before.events);
}

/// Ends the handlers that are left, and finds every place and every slot free and usable.
pub fn expect_nothing_left(reactor: &mut Reactor<'_, Task>, shared: &mut Shared) -> Stats {
    shared.ending = true;
    reactor.notify_all();
    pass(reactor, Timeout::Now, shared);
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
    shared.ending = false;
    for _ in 0..2 {
        let event = || (eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap(), Interest::READ);
        let handlers: Vec<_> = std::iter::from_fn(|| reactor.spawn_with(event(), |_| Task::Idle).ok()).collect();
        assert_eq!((handlers.len(), reactor.descriptors()), (CAPACITY, CAPACITY));
        pass(reactor, Timeout::Now, shared);
        handlers.into_iter().for_each(|id| reactor.end(id).unwrap());
    }
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
    reactor.stats()
}
