//! Fault injection at the seam of system calls: short lives under `strace -e inject=`, in each of which one call fails once.
//!
//! Every run ends in what `faults/expected.rs` says: the error is told to whoever made the call, and the same operation then succeeds, or it
//! is not noticed at all. No descriptor, handler or wake-up is lost, nothing spins, nothing hangs. `.ci/faults` tries every point and checks
//! the table in `src/faults.md`.
//!
//! Debian package: `strace`. Where it is missing these tests fail.

// Machines of 32 bits have other names for half of the calls.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

#[path = "faults/errors.rs"]
mod errors;
#[path = "faults/expected.rs"]
mod expected;
#[path = "faults/life.rs"]
mod life;
#[path = "faults/lives/mod.rs"]
mod lives;
#[path = "faults/strace.rs"]
mod strace;
#[path = "faults/table.rs"]
mod table;
mod util;

use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use expected::Outcome;
use lives::LIVES;
use netpoll::Clock;
use strace::{Call, Fault, Seen};
use table::Table;

/// Set to a path, every point is tried and the table is written there; else the first point of each kind is tried.
const TABLE: &str = "NETPOLL_FAULTS_TABLE";

/// What a peer is told of a connection whose other end has failed.
const OF_THE_PEER: [&str; 3] = ["ECONNRESET", "EPIPE", "UnexpectedEof"];

/// How often a life is lived again in which the call was not made, because a peer or a timer was late or early.
const TRIES: usize = 3;

/// After so many failures no more points are tried.
const ENOUGH: usize = 16;

/// One call of so many may never be made, for the same reason.
const MISSED: usize = 200;

/// A process with a life to live does so before the test harness begins: strace counts the calls of each thread, and the harness's threads must
/// not be those that a fault hits.
// SAFETY: the function has the signature of an entry of this table, and needs nothing of the standard library's own preparations.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = live;

extern "C" fn live() {
    let Some(name) = std::env::var_os(life::LIFE) else { return };
    let (_, live) = LIVES.iter().find(|(known, _)| name == *known).expect("a known life");
    // Before Linux 6.4 the first look at the clock opens and reads a file, which is what one life is about.
    if name != "clock" {
        let _ = Clock::Monotonic.now();
    }
    let lived = std::panic::catch_unwind(live);
    std::process::exit(if lived.is_ok() { 0 } else { 101 });
}

/// One call that fails once in one life.
struct Point {
    life: &'static str,
    fault: Fault,
    /// How many calls of this name, and waits, the life takes when nothing fails.
    undisturbed: (usize, u64),
}

/// Every point of a life, or the first of each kind.
fn points(life: &'static str, all: bool) -> Vec<Point> {
    let seen = strace::run(life, None);
    let report = seen.report.unwrap_or_else(|why| panic!("{life} undisturbed: {why}"));
    assert_eq!((report.leaked, report.lost, &*report.told), (0, 0, &[][..]), "{life} undisturbed");
    let (mut points, mut known) = (Vec::new(), HashSet::new());
    for call in &seen.calls {
        let errors = expected::errors(life, call.name, &call.line);
        let undisturbed = (seen.calls.iter().filter(|other| other.name == call.name).count(), report.polls);
        for error in errors {
            if all || known.insert((table::label(call), error)) {
                let fault = Fault { call: call.name, entry: call.entry(), error, when: call.number.to_string() };
                points.push(Point { life, fault, undisturbed });
            }
        }
    }
    points
}

/// Does each piece of work, as many at once as there are processors.
fn at_once<T: Sync>(work: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(piece) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(piece);
                }
            });
        }
    });
}

/// What came of a fault, if that is what must come of it.
fn judge(point: &Point, call: &Call, seen: &Seen) -> Result<Outcome, String> {
    let Fault { error, .. } = point.fault;
    let report = seen.report.as_ref().map_err(Clone::clone)?;
    let expected = expected::outcome(point.life, call.name, &call.line, error).ok_or("no rule")?;
    let told: Vec<&str> = report.told.iter().filter_map(|entry| entry.rsplit_once(": ")).map(|(_, error)| error).collect();
    let is_told = |what: &str| told.contains(&what) && told.iter().all(|it| *it == what || OF_THE_PEER.contains(it));
    let outcome = match expected {
        Outcome::Either if told.is_empty() && point.life == "server" => Outcome::NextAddress,
        Outcome::Either if told.is_empty() => Outcome::Unnoticed,
        Outcome::Either if is_told("NotPollable") => Outcome::As("NotPollable"),
        Outcome::Either => Outcome::Told,
        // Of another operation than the look whether a name is in use.
        Outcome::As("kept") if is_told(error) && ["connect", "socket"].contains(&call.name) => Outcome::Told,
        other => other,
    };
    let is_so = match outcome {
        Outcome::Told => is_told(error),
        Outcome::As(what) => is_told(what),
        _ => told.is_empty(),
    };
    // strace lets nobody close what is not to be closed.
    let left_open = i64::from(outcome == Outcome::Closed);
    let calls = seen.calls.iter().filter(|other| other.name == call.name).count();
    let (usual, polls) = point.undisturbed;
    match () {
        () if !is_so => Err(format!("{expected:?} was expected")),
        () if report.leaked != left_open => Err(format!("{} descriptors leaked, {left_open} of them strace's", report.leaked)),
        () if report.lost != u64::from(outcome == Outcome::Counted) => Err("another count of lost descriptors was expected".to_owned()),
        () if calls > 2 * usual + 8 || report.polls > 2 * polls + 8 => Err(format!("{calls} calls instead of {usual}: it spins")),
        () => Ok(outcome),
    }
}

// Every call that the crate makes, with every error that it can return.
#[test]
fn a_call_that_fails_once_is_told_or_made_good() {
    let path = std::env::var_os(TABLE);
    let lives: Vec<_> = LIVES.iter().map(|(life, _)| *life).collect();
    let points: Vec<Point> = lives.iter().flat_map(|life| points(life, path.is_some())).collect();
    let (table, failures, missed) = (Mutex::new(Table::default()), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    at_once(&points, |point| {
        // What hangs takes its time.
        if failures.lock().unwrap().len() >= ENOUGH {
            return;
        }
        for attempt in 1..=TRIES {
            let seen = strace::run(point.life, Some(&point.fault));
            let Some(call) = seen.calls.iter().find(|call| call.name == point.fault.call && call.is_injected()) else {
                if attempt == TRIES {
                    missed.lock().unwrap().push(format!("{} {:?}: {:?}", point.life, point.fault, seen.report));
                }
                continue;
            };
            match judge(point, call, &seen) {
                Ok(outcome) => table.lock().unwrap().add(call, point.fault.error, outcome),
                Err(why) => {
                    let report = seen.report.as_ref().map_or_else(|_| String::new(), |report| format!("{report:?}"));
                    failures.lock().unwrap().push(format!("{}: {} => {report} {why}", point.life, call.line));
                }
            }
            return;
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} points\n{}", failures.len(), points.len(), failures.join("\n"));
    let missed = missed.into_inner().unwrap();
    assert!(missed.len() * MISSED <= points.len(), "never made: {}", missed.join("\n"));
    if let Some(path) = path {
        std::fs::write(path, table.into_inner().unwrap().page()).unwrap();
    }
}

/// A life, a call of it that fails [`WHILE`] times in a row, as when a table is full or memory short, what strace's line has in it, and how
/// often the program is told, where that does not depend on what its peers make of it.
type While = (&'static str, &'static str, &'static str, &'static str, Option<usize>);

const FOR_A_WHILE: &[While] = &[
    ("server", "accept4", "EMFILE", "", EACH_TIME),
    ("server", "accept4", "ENFILE", "", EACH_TIME),
    ("server", "accept4", "ENOBUFS", "", EACH_TIME),
    ("server", "accept4", "ENOMEM", "", EACH_TIME),
    ("server", "accept4", "ECONNABORTED", "", ONCE),
    ("server", "epoll_ctl", "ENOSPC", "EPOLL_CTL_ADD", EACH_TIME), // the break pipe
    ("server", "epoll_ctl", "ENOMEM", "EPOLLPRI", None),           // a connection; dials and accepted ones, and their ends
    ("server", "epoll_pwait", "EINTR", "", NEVER),
    ("server", "epoll_pwait", "ENOMEM", "", EACH_TIME),
    ("server", "socket", "EMFILE", "", EACH_TIME),
    ("server", "connect", "EADDRNOTAVAIL", "", None),
    ("server", "connect", "EINTR", "", None),
    ("server", "sendto", "ENOBUFS", "", None),
    ("server", "recvfrom", "EINTR", "", NEVER),
    ("poller", "epoll_create1", "EMFILE", "", EACH_TIME),
    ("poller", "pipe2", "ENFILE", "", EACH_TIME),
    ("poller", "epoll_ctl", "ENOSPC", "EPOLL_CTL_ADD", EACH_TIME),
    ("poller", "write", "ENOMEM", "", EACH_TIME),
    ("poller", "read", "EIO", "", EACH_TIME),
    ("poller", "epoll_pwait", "EBADF", "", EACH_TIME),
    ("udp", "sendto", "ENOBUFS", "", EACH_TIME),
    ("unix", "sendmsg", "ETOOMANYREFS", "", EACH_TIME),
    ("unix", "recvmsg", "ENOMEM", "", EACH_TIME),
    ("tcp", "accept4", "ECONNABORTED", "", ONCE),
    ("linux", "recvfrom", "ENOBUFS", "", EACH_TIME),
];

const NEVER: Option<usize> = Some(0);
/// What passes over 32 in a row.
const ONCE: Option<usize> = Some(1);
const EACH_TIME: Option<usize> = Some(WHILE);

/// More than the connections that one `accept` passes over, and fewer than a life notes.
const WHILE: usize = 40;

// An error that stays for a while is told as often as it comes, and no more; when it has gone, all goes on.
#[test]
fn a_call_that_fails_for_a_while_does_not_spin() {
    let failures = Mutex::new(Vec::new());
    at_once(FOR_A_WHILE, |&(life, call, error, says, told)| {
        let undisturbed = strace::run(life, None);
        let is_it = |other: &&Call| other.name == call && other.line.contains(says);
        let first = undisturbed.calls.iter().find(is_it).expect("the life makes this call");
        let when = format!("{}..{}", first.number, first.number + WHILE - 1);
        let seen = strace::run(life, Some(&Fault { call: first.name, entry: first.entry(), error, when }));
        let injected = seen.calls.iter().filter(|call| call.is_injected()).count();
        let (calls, usual) = (seen.calls.iter().filter(|other| other.name == call).count(), undisturbed.calls.iter().filter(is_it).count());
        let polls = undisturbed.report.as_ref().unwrap().polls;
        let why = match &seen.report {
            Err(why) => why.clone(),
            Ok(report) if report.leaked != 0 => format!("{report:?}"),
            Ok(report) if told.is_some_and(|told| report.told.len() != told) => {
                format!("told {} times instead of {told:?}: {report:?}", report.told.len())
            }
            // Once more for each error: a pause, a new connection.
            Ok(report) if report.polls > 3 * (polls + WHILE as u64) => format!("{report:?}: it spins"),
            Ok(_) if injected < WHILE => format!("only {injected} of {WHILE} were made"),
            Ok(_) if calls > 3 * (usual + WHILE) => format!("{calls} calls instead of {usual}: it spins"),
            Ok(_) => return,
        };
        failures.lock().unwrap().push(format!("{life}: {call} {error}: {why}"));
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

// What the lives call is what the crate's documentation says that the crate calls, no more and no less: nothing is left untried.
#[test]
fn every_documented_call_is_made() {
    const OTHER_NAMES: [(&str, &str); 2] = [("openat", "open"), ("statx", "newfstatat")];
    // Of machines of 32 bits and of those without a vDSO; and what is no call.
    const NOT_HERE: [&str; 5] = ["clock_gettime", "clock_gettime64", "64", "alloc", "unlink_stale"];
    const OF_THE_ALLOCATOR: [&str; 5] = ["brk", "mmap", "munmap", "mremap", "madvise"];
    let documented: BTreeSet<String> = include_str!("../src/lib.rs")
        .lines()
        .skip_while(|line| !line.starts_with("//! # System calls"))
        .skip(1)
        .take_while(|line| !line.starts_with("//! # "))
        .filter(|line| line.starts_with("//! |"))
        .filter_map(|line| line.split('|').nth(2))
        .flat_map(|calls| calls.split('`').skip(1).step_by(2))
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
        .map(|word| OTHER_NAMES.iter().find(|(other, _)| *other == word).map_or(word, |(_, name)| name).to_owned())
        .filter(|word| !NOT_HERE.contains(&&**word))
        .collect();
    let mut made = BTreeSet::new();
    for (life, _) in LIVES {
        let seen = strace::run(life, None);
        made.extend(seen.calls.iter().map(|call| call.name.to_owned()));
        made.extend(seen.others);
    }
    made.retain(|name| !OF_THE_ALLOCATOR.contains(&&**name));
    assert_eq!(made, documented);
}
