//! W4: a TCP echo server of each peer, a process of its own, under a load process that sends the next request of a connection when the last one
//! is answered. With and without an idle deadline on each connection, pushed out by each request.

mod async_io;
mod c;
mod calloop;
pub mod load;
mod mio;
mod netpoll;
mod polling;
mod pump;
mod tokio;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::exact::calls_of;
use crate::measure::{interleave, median};
use crate::report::{Report, Row};
use crate::trouble::retried;
use crate::work::Options;

const WORKLOAD: &str = "echo";

/// Far beyond the length of any run: what is measured is pushing it out.
const IDLE: Duration = Duration::from_secs(60);

/// Takes over a non-blocking listener, with so large a buffer, and does not return.
type Function = fn(TcpListener, usize, Option<Duration>);

struct Peer {
    name: &'static str,
    serve: Function,
    /// Also has idle deadlines.
    timers: bool,
    /// Only differs from another by its idle deadlines.
    only_timers: bool,
}

const fn peer(name: &'static str, serve: Function) -> Peer {
    Peer { name, serve, timers: false, only_timers: false }
}

const fn with_timers(name: &'static str, serve: Function) -> Peer {
    Peer { timers: true, ..peer(name, serve) }
}

const fn other_timers(name: &'static str, serve: Function) -> Peer {
    Peer { only_timers: true, ..with_timers(name, serve) }
}

static PEERS: &[Peer] = &[
    with_timers("raw", c::echo_raw),
    peer("raw:drain", c::echo_raw_drain),
    peer("raw:lt", c::echo_raw_lt),
    with_timers("netpoll", netpoll::own_buffer),
    with_timers("netpoll:shared", netpoll::shared_buffer),
    peer("mio", mio::drain),
    peer("mio:short", mio::short),
    peer("polling", polling::level),
    peer("polling:oneshot", polling::oneshot),
    with_timers("calloop", calloop::natural),
    other_timers("calloop:lazy", calloop::lazy),
    with_timers("tokio", tokio::natural),
    other_timers("tokio:reset", tokio::reset),
    peer("async-io", async_io::serve),
    with_timers("libev", c::echo_ev),
    other_timers("libev:lazy", c::echo_ev_lazy),
    with_timers("libuv", c::echo_uv),
    with_timers("libuv:poll", c::echo_uv_poll),
    with_timers("libevent", c::echo_event),
    with_timers("libevent:et", c::echo_event_et),
    with_timers("libevent:bufferevent", c::echo_event_bufferevent),
];

/// Of all peers.
pub const NAMES: &[&str] = &[
    "raw",
    "raw:drain",
    "raw:lt",
    "netpoll",
    "netpoll:shared",
    "mio",
    "mio:short",
    "polling",
    "polling:oneshot",
    "calloop",
    "calloop:lazy",
    "tokio",
    "tokio:reset",
    "async-io",
    "libev",
    "libev:lazy",
    "libuv",
    "libuv:poll",
    "libevent",
    "libevent:et",
    "libevent:bufferevent",
];

/// What the load is.
#[derive(Clone, Copy)]
struct Load {
    connections: usize,
    bytes: usize,
    idle: bool,
    quick: bool,
}

const fn load(connections: usize, bytes: usize, idle: bool) -> Load {
    Load { connections, bytes, idle, quick: connections == 64 && bytes == 64 }
}

const LOADS: [Load; 8] = [
    load(64, 64, false),
    load(64, 64, true),
    load(64, 16 * 1024, false),
    load(64, 16 * 1024, true),
    load(1000, 64, false),
    load(1000, 64, true),
    load(1000, 16 * 1024, false),
    load(1000, 16 * 1024, true),
];

impl Load {
    fn name(self) -> String {
        let bytes = if self.bytes < 1024 { format!("{} B", self.bytes) } else { format!("{} KiB", self.bytes / 1024) };
        format!("C={} {bytes}{}", self.connections, if self.idle { " idle deadline" } else { "" })
    }

    /// Larger than a request, so that a short read shows that nothing is left.
    fn buffer(self) -> usize {
        (2 * self.bytes).max(4096)
    }

    fn peers(self, options: &Options) -> Vec<&'static Peer> {
        let fits = |peer: &&Peer| options.wants(peer.name) && if self.idle { peer.timers } else { !peer.only_timers };
        PEERS.iter().filter(fits).collect()
    }
}

/// `peers serve`: says its address and its process, and never returns.
#[derive(Debug, clap::Args)]
pub struct Serve {
    peer: String,
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    buffer: u32,
    /// When a silent connection is hung up on; never if 0
    #[arg(long, value_name = "MS", default_value_t = 0)]
    idle_ms: u64,
}

impl Serve {
    pub fn run(&self) -> Result<(), String> {
        let peer = PEERS.iter().find(|peer| peer.name == self.peer).ok_or_else(|| format!("no such peer: {}", self.peer))?;
        let idle = (self.idle_ms > 0).then(|| Duration::from_millis(self.idle_ms));
        if idle.is_some() && !peer.timers {
            return Err(format!("{} has no timers", self.peer));
        }
        raise_limit();
        let listener = announce().map_err(|error| error.to_string())?;
        (peer.serve)(listener, self.buffer as usize, idle);
        Err(format!("{} has ended", self.peer))
    }
}

fn announce() -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    // At once: who reads may want the first line only.
    let lines = format!("listening on {}\n{}\n", listener.local_addr()?, std::process::id());
    let mut out = std::io::stdout();
    out.write_all(lines.as_bytes())?;
    out.flush()?;
    Ok(listener)
}

/// As many descriptors as the system allows.
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A server, killed when dropped.
pub struct Server {
    /// Of the server itself, or of the tool that it runs under.
    child: Child,
    pub pid: u32,
    pub addr: SocketAddr,
}

impl Server {
    /// Starts a program that says `listening on ADDRESS`, then the number of its process if it runs under a tool.
    pub fn start(command: &mut Command, under_tool: bool) -> Result<Server, String> {
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let line = lines.next().unwrap_or_default();
        let addr = line.strip_prefix("listening on ").and_then(|addr| addr.parse().ok());
        let addr = addr.ok_or_else(|| format!("{command:?} does not listen, but says {line:?}"))?;
        let pid = if under_tool { lines.next().and_then(|pid| pid.parse().ok()) } else { Some(child.id()) };
        Ok(Server { child, pid: pid.ok_or_else(|| format!("{command:?} does not say its number"))?, addr })
    }

    /// Ends it in the way that tools count to the end of.
    fn stop(mut self) {
        self.signal();
        self.child.wait().expect("a child");
    }

    fn signal(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid as i32).expect("a process number");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal();
            let _ = self.child.wait();
        }
    }
}

fn server(tool: &[&str], peer: &Peer, load: Load) -> Result<Server, String> {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = match tool {
        [] => Command::new(program),
        [tool, arguments @ ..] => {
            let mut command = Command::new(tool);
            command.args(arguments).arg(program);
            command
        }
    };
    let idle_ms = if load.idle { IDLE.as_millis() } else { 0 };
    command.args(["serve", peer.name, "--buffer", &load.buffer().to_string(), "--idle-ms", &idle_ms.to_string()]);
    Server::start(&mut command, !tool.is_empty())
}

/// What the load process says of its run.
#[derive(Clone, Copy)]
struct Answer {
    requests: f64,
    seconds: f64,
    cpu_ns: f64,
}

fn put_load(server: &Server, load: Load, extent: [&str; 2]) -> Result<Answer, String> {
    let program = std::env::current_exe().expect("the path of this program");
    let output = Command::new(program)
        .args(["load", &server.addr.to_string(), &server.pid.to_string()])
        .args(["--connections", &load.connections.to_string(), "--bytes", &load.bytes.to_string()])
        .args(extent)
        .output()
        .expect("a load process");
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [requests, seconds, cpu_ns] if output.status.success() => Ok(Answer { requests, seconds, cpu_ns }),
        _ => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

pub fn run(options: &Options, report: &mut Report) {
    for load in LOADS.into_iter().filter(|load| load.quick || !options.quick) {
        if options.times {
            time(load, options, report);
        }
        if options.exact {
            count(load, options, report);
        }
    }
    for note in [
        "Idle deadlines: only peers that have timers. `raw` has them in a lazy heap, libevent in its queue of common timeouts; tokio:reset, libev:lazy \
         and calloop:lazy differ from tokio, libev and calloop by nothing but a cheaper idiom.",
        "`netpoll` has a buffer for each connection, as in the crate's first example; `netpoll:shared` one for all, as have the others but tokio and \
         async-io.",
        "mio reads to EAGAIN, mio:short until a short read; polling and calloop, which do not tell of a half-close, are level-triggered.",
        "Requests/s are bound by the latency of two processes that wake each other; CPU time, instructions and calls rank.",
        "Instructions, calls and events per wait are counted while all connections send at once, and again when all are answered. Under valgrind \
         clocks are system calls for everybody.",
    ] {
        report.note(WORKLOAD, note);
    }
}

fn row(load: Load, peer: &Peer, measure: &'static str, value: f64, ratio: Option<f64>) -> Row {
    Row { workload: WORKLOAD, case: load.name(), peer: peer.name.to_owned(), measure, value, ratio }
}

/// One round.
fn under_load(server: &Result<Server, String>, load: Load) -> Result<Answer, String> {
    let server = server.as_ref().map_err(String::clone)?;
    retried(|| put_load(server, load, ["--seconds", "0.4"]))
}

/// CPU time of the server per request, and requests per second.
fn time(load: Load, options: &Options, report: &mut Report) {
    let peers = load.peers(options);
    eprintln!("{WORKLOAD} {}: times of {} peers, {} rounds", load.name(), peers.len(), options.rounds);
    let servers: Vec<_> = peers.iter().map(|peer| server(&[], peer, load)).collect();
    let mut rates = vec![Vec::new(); peers.len()];
    let results = interleave(options.rounds, peers.len(), |peer| match under_load(&servers[peer], load) {
        Ok(answer) => {
            rates[peer].push(answer.requests / answer.seconds);
            answer.cpu_ns / answer.requests
        }
        Err(error) => {
            report.fail(WORKLOAD, format!("{} on {}: {error}", load.name(), peers[peer].name));
            f64::NAN
        }
    });
    for ((peer, rates), (value, ratio)) in peers.iter().zip(rates).zip(results) {
        if value.is_finite() {
            report.add(row(load, peer, "CPU ns", value, Some(ratio)));
            report.add(row(load, peer, "requests/s", median(rates), None));
        }
    }
}

/// Instructions and system calls per request: two runs of different length, so that the difference is free of connecting and closing.
fn count(load: Load, options: &Options, report: &mut Report) {
    let peers = load.peers(options);
    eprintln!("{WORKLOAD} {}: instructions and system calls of {} peers", load.name(), peers.len());
    let each = if load.connections > 100 { [10, 40] } else { [50, 250] };
    let requests = each.map(|each| each * load.connections);
    let mut floor = BTreeMap::new();
    for peer in peers {
        if let Err(error) = count_peer(peer, load, requests, &mut floor, report) {
            report.fail(WORKLOAD, format!("{} on {}: {error}", load.name(), peer.name));
        }
    }
}

fn count_peer(
    peer: &Peer,
    load: Load,
    requests: [usize; 2],
    floor: &mut BTreeMap<&'static str, f64>,
    report: &mut Report,
) -> Result<(), String> {
    let mut add = |report: &mut Report, measure, value| {
        if peer.name == "raw" {
            floor.insert(measure, value);
        }
        report.add(row(load, peer, measure, value, floor.get(measure).map(|floor| value / floor)));
    };
    let more = (requests[1] - requests[0]) as f64;
    let counted = instructions(peer, load, requests[1])? - instructions(peer, load, requests[0])?;
    add(report, "instructions", counted / more);
    let (short, long) = (system_calls(peer, load, requests[0])?, system_calls(peer, load, requests[1])?);
    let per_request = |(name, calls): (&String, &f64)| (name.clone(), (calls - short.get(name).unwrap_or(&0.0)) / more);
    let calls: BTreeMap<String, f64> = long.iter().map(per_request).filter(|(_, calls)| *calls >= 0.0005).collect();
    add(report, "calls", calls.values().sum());
    // Of one run: a difference of waits, which are few, would be mostly noise.
    let is_wait = |name: &str| name.starts_with("epoll_") && name.contains("wait");
    let waits: f64 = long.iter().filter(|(name, _)| is_wait(name)).map(|(_, calls)| calls).sum();
    report.add(row(load, peer, "events per wait", requests[1] as f64 / waits, None));
    report.calls(WORKLOAD, &load.name(), peer.name, &calls);
    Ok(())
}

/// Runs so many requests against a server under a tool, and gives what that has written.
fn under(tool: &[&str], peer: &Peer, load: Load, requests: usize, answer: &Path) -> Result<String, String> {
    let answered = retried(|| {
        let server = server(tool, peer, load)?;
        let answered = put_load(&server, load, ["--requests", &requests.to_string()]);
        server.stop();
        answered
    });
    answered.map_err(|error| format!("under {}: {error}", tool[0]))?;
    std::fs::read_to_string(answer).map_err(|error| error.to_string())
}

fn instructions(peer: &Peer, load: Load, requests: usize) -> Result<f64, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let log = format!("--log-file={}", file.path().display());
    let profile = tempfile::NamedTempFile::new().expect("a temporary file");
    let profile = format!("--callgrind-out-file={}", profile.path().display());
    let said = under(&["valgrind", "--tool=callgrind", &profile, &log], peer, load, requests, file.path())?;
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.ok_or(said)
}

fn system_calls(peer: &Peer, load: Load, requests: usize) -> Result<BTreeMap<String, f64>, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_str().expect("a temporary file with a plain name");
    let table = under(&["strace", "-f", "-c", "-U", "calls,name", "-o", path], peer, load, requests, file.path())?;
    Ok(calls_of(&table).into_iter().map(|(name, calls)| (name, calls as f64)).collect())
}
