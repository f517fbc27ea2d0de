//! What is known of every connection from outside: what each of its ends says that it sent and received, and whether that fits together.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use netpoll::HandlerId;

/// Longer than anything here stands still, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// All connections under suspicion.
pub const EVERYBODY: u64 = u64::MAX;

/// Who dialled, and who accepted: an index.
pub const DIALLED: usize = 0;
pub const ACCEPTED: usize = 1;

macro_rules! fates {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What becomes of connections, and what happens to them meanwhile. Each must happen at least once.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Fate { $($(#[$doc])* $name,)* }

        impl Fate {
            const ALL: &[Fate] = &[$(Fate::$name),*];
        }
    };
}

fates! {
    // How an end of a connection ends.
    /// All was sent and received, and both ends were told.
    Finished,
    /// As `Finished`, where nothing else is allowed.
    FinishedExactly,
    ClosedEarly,
    Reset,
    Dropped,
    EndedItself,
    EndedByAnother,
    ReadTimedOut,
    WriteTimedOut,
    BrokenByPeer,
    /// Its peer was gone before it had said who it was.
    Nameless,
    Refused,

    // What happens before that.
    HalfClosedFirst,
    HalfClosedSecond,
    StoppedShort,
    FellSilent,
    WentDeaf,
    Paused,
    Yielded,
    Given,
    PastDeadline,
    WriteTriedAgain,
    NotifiedForNothing,
    StaleId,
    Woken,
    UnixPair,

    // Limits.
    WaitedForRoom,
    TableFull,
    GiftRefused,
    AcceptedAtTheLimit,
    DialledAtTheLimit,

    // Those without connections.
    HolderClosedOne,
    Slept,

    // Blocking peers.
    PeerFinishedExactly,
    PeerReset,
    PeerResetAtOnce,
    PeerLeftDataUnread,
    PeerNeverRead,
    ServerReset,
    ServerClosed,
}

/// How one end went.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub fate: Fate,
    pub sent: u64,
    pub received: u64,
    /// It has read the end of the stream.
    pub end: bool,
    /// It was told by the kernel that the connection is broken.
    pub broken: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    pub id: u64,
    /// Nothing may go wrong.
    pub exact: bool,
    /// How much each end sends if nothing goes wrong.
    pub goals: [u64; 2],
    met: AtomicBool,
    reports: Mutex<[Option<Report>; 2]>,
    moved: Mutex<Instant>,
}

impl Link {
    /// Something was sent or received.
    fn touch(&self) {
        *self.moved.lock().unwrap() = Instant::now();
    }

    /// Whether what both ends say fits together.
    fn check(&self, reports: &[Report; 2]) -> Result<(), &'static str> {
        for (from, to) in [(DIALLED, ACCEPTED), (ACCEPTED, DIALLED)] {
            let (sender, receiver) = (&reports[from], &reports[to]);
            if sender.sent > self.goals[from] {
                return Err("more was sent than there was");
            }
            if receiver.received > sender.sent {
                return Err("more was received than was sent");
            }
            if receiver.end && !receiver.broken && receiver.received != sender.sent {
                return Err("the end of the stream came, and not all before it");
            }
            if self.exact && (receiver.received, receiver.end, receiver.broken) != (self.goals[from], true, false) {
                return Err("not all came through");
            }
        }
        Ok(())
    }
}

/// All connections, and what happened to them.
#[derive(Debug)]
pub struct Journal {
    pub seed: u64,
    /// No new connections.
    pub stopping: AtomicBool,
    /// The connection whose ends are to say what they are doing.
    pub suspect: AtomicU64,
    /// Nothing more is to be watched.
    pub over: AtomicBool,
    /// Ends of connections that handlers have, by side; the most of both together; and threads.
    alive: [AtomicUsize; 2],
    most: AtomicUsize,
    pub threads: AtomicUsize,
    pub bytes: AtomicU64,
    /// Whoever could be ended or notified by others.
    pub victims: Mutex<Vec<HandlerId>>,
    moves: AtomicU64,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    counts: [AtomicU64; Fate::ALL.len()],
    begun: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Journal {
    pub fn new(seed: u64) -> Arc<Journal> {
        Arc::new(Journal {
            seed,
            stopping: AtomicBool::new(false),
            suspect: AtomicU64::new(0),
            over: AtomicBool::new(false),
            alive: [const { AtomicUsize::new(0) }; 2],
            most: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            victims: Mutex::default(),
            moves: AtomicU64::new(0),
            links: Mutex::default(),
            counts: [const { AtomicU64::new(0) }; Fate::ALL.len()],
            begun: AtomicU64::new(0),
            failure: Mutex::default(),
        })
    }

    pub fn count(&self, fate: Fate) {
        self.counts[fate as usize].fetch_add(1, Relaxed);
        self.moves.fetch_add(1, Relaxed);
    }

    /// How often anything has happened.
    pub fn moves(&self) -> u64 {
        self.moves.load(Relaxed)
    }

    /// Ends of connections that handlers have.
    pub fn alive(&self, side: usize) -> usize {
        self.alive[side].load(Relaxed)
    }

    pub fn is_born(&self, side: usize) {
        self.alive[side].fetch_add(1, Relaxed);
        self.most.fetch_max(self.alive(DIALLED) + self.alive(ACCEPTED), Relaxed);
    }

    pub fn is_gone(&self, side: usize) {
        self.alive[side].fetch_sub(1, Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Another connection.
    pub fn begin(&self, exact: bool, goals: [u64; 2]) -> Arc<Link> {
        let id = self.begun.fetch_add(1, Relaxed) + 1;
        let link = Link { id, exact, goals, met: AtomicBool::new(false), reports: Mutex::default(), moved: Mutex::new(Instant::now()) };
        let link = Arc::new(link);
        self.links.lock().unwrap().insert(id, Arc::clone(&link));
        link
    }

    /// Nothing came of a connection.
    pub fn forget(&self, link: &Link) {
        self.links.lock().unwrap().remove(&link.id);
    }

    /// The accepting end has been told which connection it is.
    pub fn meet(&self, id: u64) -> Option<Arc<Link>> {
        let link = self.links.lock().unwrap().get(&id).cloned();
        if link.as_ref().is_none_or(|link| link.met.swap(true, Relaxed)) {
            self.fail(format!("connection {id}, which there is not, or which is met for the second time"));
        }
        link
    }

    pub fn moved(&self, link: Option<&Link>, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.moves.fetch_add(1, Relaxed);
        if let Some(link) = link {
            link.touch();
        }
    }

    /// One end is over; when both are, what they say must fit.
    pub fn report(&self, link: &Link, side: usize, report: Report) {
        self.count(report.fate);
        let mut reports = link.reports.lock().unwrap();
        if link.exact && report.fate != Fate::FinishedExactly && report.fate != Fate::PeerFinishedExactly {
            self.fail(format!("{link:?}: {report:?}"));
        }
        if reports[side].replace(report).is_some() {
            self.fail(format!("{}: a second report: {report:?}", link.id));
        }
        if let [Some(dialled), Some(accepted)] = *reports {
            if let Err(why) = link.check(&[dialled, accepted]) {
                self.fail(format!("connection {}, {:?}: {why}: {dialled:?}, {accepted:?}", link.id, link.goals));
            }
            drop(reports);
            self.forget(link);
        }
    }

    /// The first failure is kept.
    pub fn fail(&self, what: String) {
        self.failure.lock().unwrap().get_or_insert(what);
    }

    /// Fails without a lock that the handlers want while they are dropped.
    fn expect_none(&self, failure: Option<String>) {
        if let Some(failure) = failure {
            panic!("NETPOLL_SOAK_SEED={}: {failure}", self.seed);
        }
    }

    pub fn expect_no_failure(&self) {
        let failure = self.failure.lock().unwrap().take();
        self.expect_none(failure);
    }

    /// A connection that must come to its end and stands still.
    pub fn stuck(&self) -> Option<Arc<Link>> {
        let is_stuck = |link: &&Arc<Link>| link.exact && link.moved.lock().unwrap().elapsed() > PATIENCE;
        self.links.lock().unwrap().values().find(is_stuck).cloned()
    }

    /// All connections are over, on both sides.
    pub fn expect_all_over(&self) {
        // Who was not met in time has no peer that could report.
        let is_left = |link: &&Arc<Link>| link.exact || link.met.load(Relaxed) || link.reports.lock().unwrap()[DIALLED].is_none();
        let left = self.links.lock().unwrap().values().find(is_left).map(|link| format!("not over: {link:?}"));
        self.expect_none(left);
    }

    /// What has not happened yet.
    pub fn unseen(&self) -> Vec<Fate> {
        Fate::ALL.iter().copied().filter(|&fate| self.counts[fate as usize].load(Relaxed) == 0).collect()
    }

    pub fn summary(&self) -> String {
        let [begun, megabytes] = [self.begun.load(Relaxed), self.bytes.load(Relaxed) / 1_000_000];
        let mut summary = format!("{begun} connections, at most {} ends at once, {megabytes} MB;", self.most.load(Relaxed));
        for &fate in Fate::ALL {
            write!(summary, " {fate:?} {}", self.counts[fate as usize].load(Relaxed)).unwrap();
        }
        summary
    }
}

/// Random numbers (splitmix64).
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// So often in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// From 1 to `1 << bits`; each order of magnitude is as likely as any other.
    pub fn size(&mut self, bits: u64) -> u64 {
        let limit = 1 << self.below(bits + 1);
        1 + self.below(limit)
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// How many bytes tell which connection and which end it is.
const NAME: u64 = 8;

/// A prime: nothing that is lost, doubled or shifted looks like what should be there.
const PERIOD: u64 = 65_521;

/// What one end of a connection sends: its name, then bytes that no other connection sends in the same place.
#[derive(Clone, Copy, Debug)]
pub struct Tape {
    name: [u8; NAME as usize],
    start: u64,
}

impl Tape {
    pub fn of(id: u64, side: usize) -> Tape {
        let name = id * 2 + side as u64;
        Tape { name: name.to_le_bytes(), start: Rng::new(name).next() % PERIOD }
    }

    /// Which connection it is, and which end.
    pub fn read_name(name: [u8; NAME as usize]) -> (u64, usize) {
        let name = u64::from_le_bytes(name);
        (name / 2, (name % 2) as usize)
    }

    /// Some of the bytes from `offset` on, at most `len`.
    pub fn at(&self, offset: u64, len: usize) -> &[u8] {
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        let rest = match offset.checked_sub(NAME) {
            None => &self.name[offset as usize..],
            Some(offset) => {
                let bytes = BYTES.get_or_init(|| {
                    let mut rng = Rng::new(0);
                    let once: Vec<u8> = (0..PERIOD).map(|_| rng.next() as u8).collect();
                    once.repeat(2)
                });
                &bytes[((self.start + offset) % PERIOD) as usize..]
            }
        };
        &rest[..len.min(rest.len())]
    }

    /// Whether these are the bytes from `offset` on.
    pub fn is(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.at(offset, bytes.len());
            let Some(rest) = bytes.strip_prefix(expected) else { return false };
            (bytes, offset) = (rest, offset + expected.len() as u64);
        }
        true
    }
}
