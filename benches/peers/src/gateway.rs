//! W9: the Modbus gateway of the examples, and gateways on tokio, between TCP clients and a serial line of software without a limit of
//! speed. The gateway is a process of its own; its clients and the slave are this one.

mod load;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::exact::{Calls, calls_of, per_op};
use crate::measure;
use crate::report::{Report, Row};
use crate::trouble::retried;
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
    report.note(
        NAME,
        "`netpoll:pause` lets the line rest for 1.75 ms before each request, as the specification of Modbus has it; the others do not.",
    );
    report.note(NAME, "`tokio` has the queue and the time-outs of the example; `tokio:modbus` is tokio-modbus with a lock around the line, and no idle time-out.");
    let folder = match build() {
        Ok(folder) => folder,
        Err(why) => return report.fail(NAME, why),
    };
    let gateways: Vec<&Gateway> = GATEWAYS.iter().filter(|gateway| options.wants(gateway.peer)).collect();
    for (case, clients) in CLIENTS {
        let mut measured = |gateway: &Gateway, figures: Result<Figures, String>| match figures {
            Ok(figures) => figures.into_iter().for_each(|(measure, value)| {
                report.add(Row { workload: NAME, case: case.to_owned(), peer: gateway.peer.to_owned(), measure, value, ratio: None });
            }),
            Err(why) => report.fail(NAME, format!("{case} on {}: {why}", gateway.peer)),
        };
        if options.times {
            eprintln!("{NAME} {case}: times of {} gateways, {} rounds", gateways.len(), options.rounds);
            let mut rounds: Vec<Vec<Result<Time, String>>> = gateways.iter().map(|_| Vec::new()).collect();
            for _ in 0..options.rounds {
                gateways.iter().zip(&mut rounds).for_each(|(gateway, rounds)| rounds.push(retried(|| time(&folder, gateway, clients))));
            }
            for (gateway, rounds) in gateways.iter().zip(rounds) {
                measured(gateway, rounds.into_iter().collect::<Result<Vec<_>, _>>().map(|rounds| medians(&rounds)));
            }
        }
        if options.exact {
            for gateway in &gateways {
                eprintln!("{NAME} {case}: instructions and system calls of {}", gateway.peer);
                measured(gateway, retried(|| instructions(&folder, gateway, clients)).map(|count| vec![("instructions", count)]));
                measured(gateway, retried(|| calls(&folder, gateway, clients)).map(|calls| vec![("calls", calls.values().sum())]));
            }
        }
    }
}

/// What was measured, and how much of it.
type Figures = Vec<(&'static str, f64)>;

fn medians(rounds: &[Time]) -> Figures {
    let median = |of: fn(&Time) -> f64| measure::median(rounds.iter().map(of).collect());
    vec![
        ("transactions per second", median(|time| time.per_second)),
        ("ns", median(|time| time.cpu)),
        ("RSS kB", median(|time| time.rss)),
        ("anonymous kB", median(|time| time.anonymous)),
    ]
}

/// Sees that the gateways' programs are there: beside this one.
fn build() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.parent().expect("a program lies in a folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    command.args(["--bin", "gateway-netpoll", "--bin", "gateway-tokio", "--bin", "gateway-tokio-modbus", "--target-dir"]);
    let output = command.arg(folder.parent().unwrap_or(folder)).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(folder.to_owned()) } else { Err(format!("the gateways cannot be built: {said}")) }
}

/// A gateway that runs, perhaps under a tool. Ended when it is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(tool: &[&str], folder: &Path, gateway: &Gateway, line: &Line) -> Result<Running, String> {
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
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut greeting = String::new();
        let _ = BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut greeting);
        let address = greeting.split_whitespace().find_map(|word| word.parse().ok());
        let Some(address) = address else { return Err(format!("{}: no address in {greeting:?}", gateway.program)) };
        Ok(Running { child, address })
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
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
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

fn start(tool: &[&str], folder: &Path, gateway: &Gateway, clients: usize) -> Result<(Running, Load), String> {
    let line = Line::new().map_err(|error| format!("no pseudo-terminal: {error}"))?;
    let running = Running::start(tool, folder, gateway, &line)?;
    let load = Load::new(line, running.address, clients).map_err(|error| format!("connections: {error}"))?;
    Ok((running, load))
}

fn time(folder: &Path, gateway: &Gateway, clients: usize) -> Result<Time, String> {
    let transactions: u64 = if gateway.peer.ends_with("pause") { 300 } else { 10_000 };
    let (running, mut load) = start(&[], folder, gateway, clients)?;
    load.run(transactions / 10)?;
    let (cpu, wall) = (measure::process_cpu(running.pid()), measure::monotonic());
    load.run(transactions)?;
    let (cpu, wall) = (measure::process_cpu(running.pid()) - cpu, measure::monotonic() - wall);
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).map_err(|error| error.to_string())?;
    let kb = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    Ok(Time {
        per_second: transactions as f64 * 1e9 / wall as f64,
        cpu: cpu as f64 / transactions as f64,
        rss: kb("VmRSS:"),
        anonymous: kb("RssAnon:"),
    })
}

/// What a tool counts of two runs: the difference for each transaction.
fn difference(
    folder: &Path,
    gateway: &Gateway,
    clients: usize,
    count: impl Fn(&str) -> Calls,
    tool: &[&str],
) -> Result<BTreeMap<String, f64>, String> {
    const TRANSACTIONS: u64 = 640;
    let counted = |transactions| {
        let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        let path = file.path().to_str().ok_or("a temporary file without a plain name")?;
        let tool: Vec<String> = tool.iter().map(|argument| argument.replace("FILE", path)).collect();
        let (running, mut load) = start(&tool.iter().map(String::as_str).collect::<Vec<_>>(), folder, gateway, clients)?;
        load.run(transactions).map_err(|why| format!("under {}: {why}", tool[0]))?;
        running.end();
        std::fs::read_to_string(path).map(|text| count(&text)).map_err(|error| error.to_string())
    };
    let (short, long): (Calls, Calls) = (counted(TRANSACTIONS)?, counted(2 * TRANSACTIONS)?);
    Ok(per_op(&short, &long, TRANSACTIONS))
}

fn instructions(folder: &Path, gateway: &Gateway, clients: usize) -> Result<f64, String> {
    let count = |text: &str| {
        let total = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: "))?.trim().parse().ok());
        total.map(|total| ("instructions".to_owned(), total)).into_iter().collect()
    };
    let found = difference(folder, gateway, clients, count, &["valgrind", "--tool=callgrind", "--callgrind-out-file=FILE"])?;
    found.get("instructions").copied().ok_or_else(|| "callgrind says nothing".to_owned())
}

fn calls(folder: &Path, gateway: &Gateway, clients: usize) -> Result<BTreeMap<String, f64>, String> {
    difference(folder, gateway, clients, calls_of, &["strace", "-f", "-c", "-U", "calls,name", "-o", "FILE"])
}
