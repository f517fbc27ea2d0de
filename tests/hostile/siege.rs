//! A situation: the server, the polite client and the hostile ones in a process of their own, and what must hold of all of them.

use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use netpoll::net::{KeepAlive, ListenOptions, TcpListener, UdpSocket};
use netpoll::{Breaker, Clock, Reactor, Stats};
use rustix::net::sockopt;

use crate::client::Deadlines;
use crate::journal::Journal;
use crate::server::{self, BUDGET, CAPACITY, Listener, Shared, Storage, Task};
use crate::{allocator, polite, report, util};

/// Longer than any situation takes on the slowest machine.
const LIMIT: Duration = Duration::from_secs(120);

/// How the server is set up.
#[derive(Clone, Copy)]
pub struct Rules {
    pub deadlines: Deadlines,
    pub clock: Clock,
    pub keep_alive: Option<KeepAlive>,
    /// Of the server's sockets: the smallest that the kernel has.
    pub small_send_buffers: bool,
    /// With it, requests come in as slowly as zero-window probes; segments are dropped and sent again after 200 ms.
    pub small_recv_buffers: bool,
    /// The polite client makes a new connection for each request, at a listener of its own.
    pub fresh_connections: bool,
    pub datagrams: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        let deadlines = Deadlines { idle: Duration::from_secs(30), request: None, write: Duration::from_secs(30) };
        let clock = Clock::Monotonic;
        Rules {
            deadlines,
            clock,
            keep_alive: None,
            small_send_buffers: false,
            small_recv_buffers: false,
            fresh_connections: false,
            datagrams: false,
        }
    }
}

/// The server as its peers see it, and what is known of it.
pub struct Site<'a> {
    pub address: SocketAddr,
    pub datagrams: Option<SocketAddr>,
    pub journal: &'a Journal,
    pub breaker: Breaker<'a>,
    thread: &'a AtomicU64,
}

impl Site<'_> {
    pub fn connect(&self) -> TcpStream {
        polite::connect(self.address)
    }

    /// Until the polite client has got so many more answers.
    pub fn until_answered(&self, requests: u64) {
        let enough = self.journal.polite_answered.get() + requests;
        util::eventually("the polite client's answers", || self.journal.polite_answered.get() >= enough);
    }

    /// The thread that the server runs on.
    pub fn thread(&self) -> libc::pthread_t {
        self.thread.load(Ordering::Relaxed) as _
    }
}

/// Runs `test` in a process of its own. What it has measured is printed here.
#[track_caller]
pub fn alone<F: FnOnce()>(test: F) {
    if util::is_alone() {
        util::limit_this_process(LIMIT);
        return test();
    }
    let output = util::run_alone(util::name_of::<F>());
    util::expect_passed(&output);
    let stdout = String::from_utf8_lossy(&output.stdout);
    for (at, _) in stdout.match_indices(report::MARK) {
        println!("{}", stdout[at + report::MARK.len()..].lines().next().unwrap_or_default());
    }
}

/// Lets `hostile` loose on a server. When it comes back, its peers have gone, or will be cut off.
pub fn besiege(situation: &str, rules: Rules, hostile: impl FnOnce(&Site<'_>)) -> Stats {
    let before = report::descriptors();
    let mut storage = Box::new(Storage::new());
    let (stats, mut latencies, journal) = with_server(&mut storage, rules, hostile);
    drop(storage);
    let lost = std::mem::take(&mut *journal.kept.lock().unwrap()).len() as u64;
    assert_eq!(report::descriptors(), before, "descriptors");
    assert_eq!(*journal.wrong.lock().unwrap(), [""; 0]);
    let fair = |most: u64, at_most: u64, of: &str| assert!(most <= at_most, "{most} {of}");
    fair(journal.most_calls.get(), BUDGET, "calls in a run");
    fair(journal.run_twice.get(), 0, "runs of a handler that its pass had run already");
    fair(journal.turned_away.get(), 0, "turned away");
    assert_eq!((stats.parked_handlers, stats.retired_slots, stats.lost_descriptors), (0, 0, lost), "{stats:?}");
    assert!(stats.stale_events == 0 || lost > 0, "{stats:?}");
    assert!(latencies.iter().max() < Some(&util::PATIENCE));
    println!("{}{}", report::MARK, report::row(situation, &mut latencies, Some(&journal)));
    stats
}

fn with_server(storage: &mut Storage, rules: Rules, hostile: impl FnOnce(&Site<'_>)) -> (Stats, Vec<Duration>, Arc<Journal>) {
    let journal = Arc::<Journal>::default();
    // The server's thread allocates nothing.
    journal.kept.lock().unwrap().reserve(CAPACITY);
    let thread = AtomicU64::new(0);
    let mut reactor = Reactor::with_clock(storage, rules.clock).unwrap().with_budget(NonZeroU8::new(BUDGET as u8).unwrap());
    let breaker = reactor.breaker();
    reactor.spawn(Task::Supervisor).unwrap();
    let address = listen(&mut reactor, &rules);
    let polite_address = if rules.fresh_connections { listen(&mut reactor, &rules) } else { address };
    let datagrams = rules.datagrams.then(|| {
        let socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        reactor.spawn_with(socket, Task::Datagrams).unwrap();
        address
    });
    let site = Site { address, datagrams, journal: &journal, breaker, thread: &thread };
    let (stats, latencies) = std::thread::scope(|scope| {
        let _stop = StopWhenDropped(&journal, breaker);
        let (journal, thread) = (&journal, &thread);
        // It takes the reactor along, so that nobody waits for an answer when it has failed.
        let server = scope.spawn(move || {
            // SAFETY: a plain call.
            thread.store(unsafe { libc::pthread_self() } as u64, Ordering::Relaxed);
            let mut shared = Shared { journal: Arc::clone(journal), deadlines: rules.deadlines, ending: false, ran: [None; CAPACITY] };
            // Before Linux 6.4 the first look at the clock allocates.
            let _ = Clock::Monotonic.now();
            assert_eq!(allocator::calls_of(|| server::serve(&mut reactor, &mut shared)), ((), 0), "calls of the allocator");
            server::expect_rest(&mut reactor, &mut shared);
            server::expect_nothing_left(&mut reactor, &mut shared)
        });
        let client = scope.spawn(|| polite::ask_and_ask(polite_address, journal, &rules));
        site.until_answered(3);
        let before = report::resident();
        hostile(&site);
        let grown = report::resident().saturating_sub(before);
        assert!(grown <= 32 << 10, "{grown} kB more memory");
        journal.polite_stops.store(true, Ordering::Relaxed);
        let latencies = client.join().unwrap();
        expect_recovery(&site);
        journal.stopping.store(true, Ordering::Relaxed);
        breaker.wake().unwrap();
        (server.join().unwrap(), latencies)
    });
    (stats, latencies, journal)
}

/// Everybody has gone or is cut off, and a newcomer is served.
fn expect_recovery(site: &Site<'_>) {
    let nobody = || util::eventually("the end of all connections", || site.journal.clients.get() == 0);
    nobody();
    // Nobody has been waiting longer when this one has its answer.
    polite::ask(&mut site.connect(), b"newcomer");
    nobody();
}

fn listen(reactor: &mut Reactor<'_, Task>, rules: &Rules) -> SocketAddr {
    let mut options = ListenOptions::default();
    options.keep_alive = rules.keep_alive;
    let socket = TcpListener::bind_with("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    // Inherited by what it accepts.
    if rules.small_send_buffers {
        sockopt::set_socket_send_buffer_size(&socket, 1).unwrap();
    }
    if rules.small_recv_buffers {
        sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
    }
    let address = socket.local_addr().unwrap();
    reactor.spawn_with(socket, |socket| Task::Listener(Listener { socket, last: None })).unwrap();
    address
}

/// Ends the server's thread, whatever happens to the test.
struct StopWhenDropped<'a>(&'a Journal, Breaker<'a>);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        let _ = self.1.wake();
    }
}
