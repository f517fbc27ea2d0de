//! W9: the Modbus gateway of the examples, and gateways on tokio, between TCP clients and a serial line of software without a limit of
//! speed. The gateway is a process of its own; its clients and the slave are this one.

mod load;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::measure;
use crate::report::{Report, Row};
use crate::work::Options;
use load::{Line, Load};

pub const NAME: &str = "gateway";
pub const TITLE: &str = "W9 Modbus gateway: one transaction of a TCP client with a slave on a serial line";
pub const PEERS: &[&str] = &["netpoll", "tokio", "tokio:modbus"];

/// A gateway's program and its arguments before and after the device.
struct Gateway {
    peer: &'static str,
    program: &'static str,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const NETPOLL: [&str; 7] = ["--listen", "127.0.0.1:0", "--baud", "115200", "--parity", "none", "--serial"];

const GATEWAYS: [Gateway; 4] = [
    Gateway { peer: "netpoll", program: "gateway-netpoll", before: &NETPOLL, after: &["--pause", "0"] },
    Gateway { peer: "netpoll:pause", program: "gateway-netpoll", before: &NETPOLL, after: &[] },
    Gateway { peer: "tokio", program: "gateway-tokio", before: &[], after: &[] },
    Gateway { peer: "tokio:modbus", program: "gateway-tokio-modbus", before: &[], after: &[] },
];

const CLIENTS: [(&str, usize); 2] = [("1 client", 1), ("64 clients", 64)];

pub fn run(options: &Options, report: &mut Report) {
    let folder = build();
    report.note(
        NAME,
        "`netpoll:pause` lets the line rest for 1.75 ms before each request, as the specification of Modbus has it; the others do not.",
    );
    report.note(NAME, "`tokio` has the queue and the time-outs of the example; `tokio:modbus` is tokio-modbus with a lock around the line, and no idle time-out.");
    let gateways: Vec<&Gateway> = GATEWAYS.iter().filter(|gateway| options.wants(gateway.peer)).collect();
    for (case, clients) in CLIENTS {
        let row = |gateway: &Gateway, measure, value| Row {
            workload: NAME,
            case: case.to_owned(),
            peer: gateway.peer.to_owned(),
            measure,
            value,
            ratio: None,
        };
        if options.times {
            eprintln!("{NAME} {case}: times of {} gateways, {} rounds", gateways.len(), options.rounds);
            let mut rounds: Vec<Vec<Time>> = gateways.iter().map(|_| Vec::new()).collect();
            for _ in 0..options.rounds {
                gateways.iter().zip(&mut rounds).for_each(|(gateway, rounds)| rounds.push(time(&folder, gateway, clients)));
            }
            for (gateway, rounds) in gateways.iter().zip(rounds) {
                let median = |of: fn(&Time) -> f64| measure::median(rounds.iter().map(of).collect());
                report.add(row(gateway, "transactions per second", median(|time| time.per_second)));
                report.add(row(gateway, "ns", median(|time| time.cpu)));
                report.add(row(gateway, "RSS kB", median(|time| time.rss)));
                report.add(row(gateway, "anonymous kB", median(|time| time.anonymous)));
            }
        }
        if options.exact {
            for gateway in &gateways {
                eprintln!("{NAME} {case}: instructions and system calls of {}", gateway.peer);
                report.add(row(gateway, "instructions", instructions(&folder, gateway, clients)));
                let calls = calls(&folder, gateway, clients);
                report.add(row(gateway, "calls", calls.values().sum()));
                report.calls(NAME, case, gateway.peer, &calls);
            }
        }
    }
}

/// Sees that the gateways' programs are there: beside this one.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let status = Command::new(cargo).args(["build", "--quiet", "--release", "--bins", "--manifest-path", manifest]).status();
    assert!(status.expect("cargo").success(), "the gateways cannot be built");
    std::env::current_exe().expect("the path of this program").parent().expect("its folder").to_owned()
}

/// A gateway that runs, perhaps under a tool. Ended when it is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(tool: &[&str], folder: &Path, gateway: &Gateway, line: &Line) -> Running {
        let program = folder.join(gateway.program);
        let mut command = match tool {
            [] => Command::new(&program),
            [tool, arguments @ ..] => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(&program);
                command
            }
        };
        command.args(gateway.before).arg(&line.near).args(gateway.after).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", gateway.program));
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut greeting).expect("a greeting");
        let address = greeting.split_whitespace().find_map(|word| word.parse().ok());
        Running { child, address: address.unwrap_or_else(|| panic!("{}: no address in {greeting:?}", gateway.program)) }
    }

    /// The gateway's own process: the tool's child, if the tool is another process.
    fn pid(&self) -> u32 {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().next().and_then(|child| child.parse().ok()).unwrap_or(pid)
    }

    /// Ends it, so that its tool writes what it has counted.
    fn end(mut self) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a process that runs");
        self.child.wait().expect("its end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Time {
    per_second: f64,
    /// Of the gateway, for each transaction.
    cpu: f64,
    rss: f64,
    anonymous: f64,
}

fn start(tool: &[&str], folder: &Path, gateway: &Gateway, clients: usize) -> (Running, Load) {
    let line = Line::new().expect("a pty");
    let running = Running::start(tool, folder, gateway, &line);
    let load = Load::new(line, running.address, clients).expect("connections");
    (running, load)
}

fn time(folder: &Path, gateway: &Gateway, clients: usize) -> Time {
    let transactions: u64 = if gateway.peer.ends_with("pause") { 300 } else { 10_000 };
    let (running, mut load) = start(&[], folder, gateway, clients);
    load.run(transactions / 10).expect("a warm-up");
    let (cpu, wall) = (measure::process_cpu(running.pid()), measure::monotonic());
    load.run(transactions).expect("transactions");
    let (cpu, wall) = (measure::process_cpu(running.pid()) - cpu, measure::monotonic() - wall);
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).expect("its status");
    let kb = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    Time {
        per_second: transactions as f64 * 1e9 / wall as f64,
        cpu: cpu as f64 / transactions as f64,
        rss: kb("VmRSS:"),
        anonymous: kb("RssAnon:"),
    }
}

/// What a tool counts of two runs: the difference for each transaction.
fn difference(
    folder: &Path,
    gateway: &Gateway,
    clients: usize,
    count: impl Fn(&Path) -> BTreeMap<String, u64>,
    tool: &[&str],
) -> BTreeMap<String, f64> {
    const TRANSACTIONS: u64 = 640;
    let [short, long] = [TRANSACTIONS, 2 * TRANSACTIONS].map(|transactions| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let path = file.path().to_str().expect("a plain name");
        let tool: Vec<String> = tool.iter().map(|argument| argument.replace("FILE", path)).collect();
        let (running, mut load) = start(&tool.iter().map(String::as_str).collect::<Vec<_>>(), folder, gateway, clients);
        load.run(transactions).expect("transactions");
        running.end();
        count(file.path())
    });
    let per = |name: &str, count: u64| (count as f64 - short.get(name).map_or(0.0, |&n| n as f64)) / TRANSACTIONS as f64;
    long.iter().map(|(name, &count)| (name.clone(), per(name, count))).filter(|(_, count)| *count >= 0.0005).collect()
}

fn instructions(folder: &Path, gateway: &Gateway, clients: usize) -> f64 {
    let count = |path: &Path| {
        let text = std::fs::read_to_string(path).expect("what callgrind has written");
        let total = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: "))?.trim().parse().ok());
        BTreeMap::from([("instructions".to_owned(), total.unwrap_or_else(|| panic!("callgrind: {text}")))])
    };
    difference(folder, gateway, clients, count, &["valgrind", "--tool=callgrind", "--callgrind-out-file=FILE"]).values().sum()
}

fn calls(folder: &Path, gateway: &Gateway, clients: usize) -> BTreeMap<String, f64> {
    let count = |path: &Path| {
        let table = std::fs::read_to_string(path).expect("what strace has written");
        let line = |line: &str| {
            let (calls, name) = line.trim().split_once(' ')?;
            Some((name.trim().to_owned(), calls.parse().ok()?)).filter(|(name, _)| name != "total")
        };
        table.lines().filter_map(line).collect()
    };
    difference(folder, gateway, clients, count, &["strace", "-f", "-c", "-U", "calls,name", "-o", "FILE"])
}
