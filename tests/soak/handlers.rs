//! The handlers: ends of connections, the listener, the driver that keeps everything busy, and those that only take room.

use std::mem::replace;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};

use netpoll::net::{TcpListener, TcpStream, UnixStream, Unopened};
use netpoll::{AsFd, Context, Direction, Errno, Error, Handler, HandlerId, Instant, Interest, Token};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::connection::{End, Stream};
use crate::journal::{ACCEPTED, DIALLED, Fate, Journal, Link, Rng};

#[allow(clippy::large_enum_variant)] // nearly all of them are ends
pub enum Task {
    End(End),
    Listener {
        listener: TcpListener,
        journal: Arc<Journal>,
        rng: Rng,
    },
    Driver(Driver),
    /// Was refused a connection, or will be.
    Refused {
        stream: TcpStream,
        journal: Arc<Journal>,
    },
    /// Gave this descriptor away, and lives on for a while.
    Giver {
        given: Token,
        journal: Arc<Journal>,
    },
    /// Has descriptors, and closes them one by one.
    Holder {
        held: Vec<Token>,
        more: u64,
        journal: Arc<Journal>,
    },
    /// Has a timer only.
    Sleeper {
        journal: Arc<Journal>,
        naps: u64,
    },
    /// Takes up a place.
    Idle,
}

impl Handler for Task {
    type Shared = ();
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        match self {
            Task::End(end) => match end.wants_to_be_given() {
                true => self.give(cx),
                false => end.run(cx),
            },
            Task::Listener { listener, journal, rng } => accept(listener, journal, rng, cx),
            Task::Driver(driver) => driver.run(cx),
            Task::Refused { stream, journal } => {
                let answer = ready!(stream.poll_connected(cx));
                if answer != Err(Error::Os(Errno::CONNREFUSED)) {
                    journal.fail(format!("refused: {answer:?}"));
                }
                journal.count(Fate::Refused);
                Poll::Ready(Ok(()))
            }
            Task::Giver { given, journal } => {
                assert!(matches!(cx.fd(*given), Err(Error::NotOwner | Error::Closed)));
                let in_time = cx.poll_timer();
                if in_time.is_pending() && cx.poll_notified().is_pending() {
                    journal.fail("run because of what it has given away".into());
                }
                in_time.map(Ok)
            }
            Task::Holder { held, more, journal } => hold(held, more, journal, cx),
            Task::Sleeper { journal, naps } => {
                if cx.poll_timer().is_ready() {
                    journal.count(Fate::Slept);
                    match naps.checked_sub(1) {
                        Some(left) => *naps = left,
                        None => return Poll::Ready(Ok(())),
                    }
                }
                cx.set_timer_after(Rng::new(*naps).millis(1, 20));
                Poll::Pending
            }
            Task::Idle => cx.poll_notified().map(Ok),
        }
    }

    fn on_error(&mut self, error: Error, _: &mut Context<'_, Self>) {
        match self {
            Task::End(end) => end.failed(error),
            Task::Listener { journal, .. } | Task::Refused { journal, .. } | Task::Holder { journal, .. } => {
                journal.fail(error.to_string())
            }
            _ => panic!("{error}"),
        }
    }
}

impl Task {
    /// Another handler goes on with the connection, in the middle of whatever it is doing. This one ends, at once or later.
    fn give(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        let Task::End(end) = self else { return Poll::Pending };
        let given = end.token();
        let journal = end.journal();
        let task = replace(self, Task::Giver { given, journal: Arc::clone(&journal) });
        match cx.spawn(task) {
            Ok(to) => {
                cx.give(given, to)?;
                journal.count(Fate::Given);
                if given.index() % 2 == 0 {
                    return Poll::Ready(Ok(()));
                }
                cx.set_timer_after(Rng::new(given.to_u64()).millis(1, 5));
                Poll::Pending
            }
            Err(rejected) => {
                *self = rejected.value;
                journal.count(Fate::GiftRefused);
                let Task::End(end) = self else { return Poll::Pending };
                end.run(cx)
            }
        }
    }
}

fn accept(listener: &TcpListener, journal: &Arc<Journal>, rng: &mut Rng, cx: &mut Context<'_, Task>) -> Poll<Result<(), Error>> {
    loop {
        if !cx.has_room() {
            journal.count(Fate::WaitedForRoom);
        }
        match ready!(listener.accept(cx)) {
            Ok((socket, _)) => {
                small_buffers(&socket, rng);
                let (journal, seed) = (Arc::clone(journal), rng.next());
                // There is room: `accept` has seen to that.
                cx.spawn_with(socket, |stream| Task::End(End::accepted(journal, Stream::Tcp(stream), seed)))?;
            }
            Err(Error::Os(Errno::MFILE | Errno::NFILE)) => {
                journal.count(Fate::AcceptedAtTheLimit);
                cx.set_timer_after(rng.millis(1, 5));
                return Poll::Pending;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Makes the kernel's buffers so small that writers have to wait, more often than not.
fn small_buffers(socket: &impl AsFd, rng: &mut Rng) {
    // It fails where the peer has reset the connection already, which is no matter.
    if rng.chance(600) {
        let _ = sockopt::set_socket_send_buffer_size(socket, (4 << 10) << rng.below(4));
    }
    if rng.chance(80) {
        // A window smaller than a segment, which is 64 KiB here, moves five times a second. That is the kernel's doing, and takes time.
        let _ = sockopt::set_socket_recv_buffer_size(socket, 16 << 10);
    }
}

fn hold(held: &mut Vec<Token>, more: &mut u64, journal: &Journal, cx: &mut Context<'_, Task>) -> Poll<Result<(), Error>> {
    while *more > 0 {
        *more -= 1;
        let Ok(event) = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC) else { break };
        match cx.open(event, Interest::READ) {
            Ok(token) => held.push(token),
            Err(rejected) => {
                assert_eq!(rejected.error, Error::Full);
                journal.count(Fate::TableFull);
                break;
            }
        }
    }
    *more = 0;
    for &token in &*held {
        let read = cx.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0; 8][..]));
        assert!(read.is_pending());
    }
    if cx.poll_timer().is_ready() {
        if let Some(token) = held.pop() {
            drop(cx.close(token)?);
            assert_eq!(cx.fd(token).err(), Some(Error::Closed));
            journal.count(Fate::HolderClosedOne);
        }
    }
    if held.is_empty() {
        return Poll::Ready(Ok(()));
    }
    let after = Rng::new(held.len() as u64).millis(1, 10);
    cx.set_timer_after(after);
    Poll::Pending
}

/// How many descriptors the process may have; as many as it ever may for `None`.
pub fn limit_descriptors(current: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: current.or(maximum), maximum }).unwrap();
}

/// Keeps the reactor full, and disturbs whomever it can.
pub struct Driver {
    pub journal: Arc<Journal>,
    pub rng: Rng,
    /// How many ends that have dialled there are to be.
    pub connections: usize,
    pub ours: Vec<SocketAddr>,
    pub hostile: SocketAddr,
    pub refuses: SocketAddr,
    pub listeners: Vec<HandlerId>,
    /// Until when the process has no more descriptors, and when that comes next.
    pub at_the_limit: Option<Instant>,
    pub next_limit: Instant,
    /// When all places of handlers are taken next.
    pub next_crowd: Instant,
}

impl Driver {
    fn run(&mut self, cx: &mut Context<'_, Task>) -> Poll<Result<(), Error>> {
        while cx.poll_wake().is_ready() {
            self.journal.count(Fate::Woken);
        }
        if self.journal.is_stopping() {
            limit_descriptors(None);
            let ends = self.journal.alive(DIALLED) + self.journal.alive(ACCEPTED);
            if ends + self.journal.threads.load(Relaxed) == 0 {
                for listener in self.listeners.drain(..) {
                    cx.end(listener)?;
                    assert_eq!(cx.end(listener), Err(Error::Closed));
                }
                return Poll::Ready(Ok(()));
            }
            cx.set_timer_after(self.rng.millis(5, 10));
            return Poll::Pending;
        }
        self.change_limit(cx);
        self.crowd(cx);
        for _ in 0..32 + self.connections / 8 {
            if self.journal.alive(DIALLED) >= self.connections {
                break;
            }
            match self.rng.below(100) {
                0..=79 => {
                    let address = self.ours[self.rng.below(self.ours.len() as u64) as usize];
                    self.dial(cx, address, None);
                }
                80..=89 => self.unix_pair(cx),
                90..=93 => self.dial(cx, self.hostile, Some(false)),
                94..=95 => self.be_refused(cx),
                96..=97 => {
                    let more = self.rng.size(4);
                    self.spawn(cx, |journal| Task::Holder { held: Vec::new(), more, journal });
                }
                _ => {
                    let naps = self.rng.below(4);
                    self.spawn(cx, |journal| Task::Sleeper { journal, naps });
                }
            }
        }
        for _ in 0..self.rng.below(4) {
            self.disturb(cx);
        }
        cx.set_timer_after(self.rng.millis(1, 4));
        Poll::Pending
    }

    /// Now and then the process has no more descriptors, for a moment.
    fn change_limit(&mut self, cx: &mut Context<'_, Task>) {
        let now = cx.now();
        if self.at_the_limit.is_some_and(|until| until <= now) {
            limit_descriptors(None);
            self.at_the_limit = None;
            self.next_limit = now + self.rng.millis(300, 1000);
        } else if self.at_the_limit.is_none() && self.next_limit <= now {
            // Most of these are taken, and so are many above them.
            let ends = self.journal.alive(DIALLED) + self.journal.alive(ACCEPTED);
            // As many as the model of kqueue polls at once there must be.
            limit_descriptors(Some((ends as u64 / 2).max(8)));
            self.at_the_limit = Some(now + self.rng.millis(5, 30));
        }
    }

    /// Now and then no handler finds a place, for a moment.
    fn crowd(&mut self, cx: &mut Context<'_, Task>) {
        let now = cx.now();
        if self.next_crowd <= now {
            self.next_crowd = now + self.rng.millis(100, 400);
            while cx.spawn(Task::Sleeper { journal: Arc::clone(&self.journal), naps: 0 }).is_ok() {}
        }
    }

    fn begin(&mut self, exact: Option<bool>) -> Arc<Link> {
        let exact = exact.unwrap_or_else(|| self.rng.chance(400));
        let goals = [(); 2].map(|()| 8 + self.rng.size(18));
        self.journal.begin(exact, goals)
    }

    /// Whether there is no room, as far as it asks before it tries.
    fn keeps_away(&mut self, cx: &mut Context<'_, Task>) -> bool {
        !cx.has_room() && self.rng.chance(990)
    }

    fn spawn(&mut self, cx: &mut Context<'_, Task>, make: impl FnOnce(Arc<Journal>) -> Task) {
        if let Err(rejected) = cx.spawn(make(Arc::clone(&self.journal))) {
            assert_eq!(rejected.error, Error::Full);
            self.journal.count(Fate::TableFull);
        }
    }

    fn connect(&mut self, address: SocketAddr) -> Option<Unopened<TcpStream>> {
        match TcpStream::connect(address) {
            Ok(socket) => {
                small_buffers(&socket, &mut self.rng);
                Some(socket)
            }
            Err(Error::Os(Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL)) => {
                self.journal.count(Fate::DialledAtTheLimit);
                None
            }
            Err(error) => {
                self.journal.fail(format!("connect: {error}"));
                None
            }
        }
    }

    fn dial(&mut self, cx: &mut Context<'_, Task>, address: SocketAddr, exact: Option<bool>) {
        if self.keeps_away(cx) {
            return;
        }
        let Some(socket) = self.connect(address) else { return };
        let link = self.begin(exact);
        let (journal, theirs, seed) = (Arc::clone(&self.journal), Arc::clone(&link), self.rng.next());
        let spawned = cx.spawn_with(socket, |stream| Task::End(End::dialled(journal, Stream::Tcp(stream), theirs, seed)));
        if let Err(rejected) = spawned {
            assert_eq!(rejected.error, Error::Full);
            self.journal.count(Fate::TableFull);
            self.journal.forget(&link);
        }
    }

    fn be_refused(&mut self, cx: &mut Context<'_, Task>) {
        let Some(socket) = self.connect(self.refuses) else { return };
        let journal = Arc::clone(&self.journal);
        if let Err(rejected) = cx.spawn_with(socket, |stream| Task::Refused { stream, journal }) {
            assert_eq!(rejected.error, Error::Full);
        }
    }

    /// Both ends at once.
    fn unix_pair(&mut self, cx: &mut Context<'_, Task>) {
        if self.keeps_away(cx) {
            return;
        }
        let Ok((first, second)) = UnixStream::pair() else {
            self.journal.count(Fate::DialledAtTheLimit);
            return;
        };
        small_buffers(&first, &mut self.rng);
        small_buffers(&second, &mut self.rng);
        let seed = self.rng.next();
        let journal = Arc::clone(&self.journal);
        // Who accepts knows nothing of the connection before the other says its name: it is no loss if that never comes to be.
        let accepts = cx.spawn_with(second, |stream| Task::End(End::accepted(journal, Stream::Unix(stream), seed)));
        if accepts.is_err() {
            self.journal.count(Fate::TableFull);
            return;
        }
        let link = self.begin(None);
        let (journal, theirs, seed) = (Arc::clone(&self.journal), Arc::clone(&link), self.rng.next());
        let dials = cx.spawn_with(first, |stream| Task::End(End::dialled(journal, Stream::Unix(stream), theirs, seed)));
        match dials {
            Ok(_) => self.journal.count(Fate::UnixPair),
            Err(_) => {
                self.journal.count(Fate::TableFull);
                self.journal.forget(&link);
            }
        }
    }

    /// Ends somebody, or notifies somebody for nothing; whoever it was may be gone for long.
    fn disturb(&mut self, cx: &mut Context<'_, Task>) {
        let victim = {
            let victims = self.journal.victims.lock().unwrap();
            if victims.is_empty() {
                return;
            }
            victims[self.rng.below(victims.len() as u64) as usize]
        };
        let (answer, fate) =
            if self.rng.chance(500) { (cx.end(victim), None) } else { (cx.notify(victim), Some(Fate::NotifiedForNothing)) };
        match (answer, fate) {
            (Ok(()), Some(fate)) => self.journal.count(fate),
            (Ok(()), None) => {} // its last report says so
            (Err(error), _) => {
                assert_eq!(error, Error::Closed);
                self.journal.count(Fate::StaleId);
            }
        }
    }
}
