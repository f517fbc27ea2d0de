//! The same work on netpoll and on other event loops. See BENCHMARKS.md.

mod c;
mod chain;
mod echo;
mod exact;
mod fairness;
mod gateway;
mod measure;
mod open_close;
mod plot;
mod report;
mod scale;
mod size;
mod targets;
mod tasks;
mod threads;
mod timers;
mod trouble;
mod wakes;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

use report::Report;
use work::{Options, Workload};

/// Measures itself, and adds what it finds.
type Run = fn(&Options, &mut Report);

/// How a workload is measured.
enum Measured {
    /// By the frame: times, instructions, system calls.
    Timed(&'static Workload),
    /// By itself: it needs a load process, is a size or a latency.
    Own { name: &'static str, title: &'static str, peers: &'static [&'static str], run: Run },
}

use Measured::{Own, Timed};

/// In the order of the report. A workload may have several lines, which are told apart by nothing but how they are measured.
const WORKLOADS: &[Measured] = &[
    Timed(&chain::WORKLOAD),
    Timed(&timers::WORKLOAD),
    Timed(&wakes::WORKLOAD),
    Own { name: wakes::WORKLOAD.name, title: wakes::WORKLOAD.title, peers: wakes::PEERS_BY_THE_CLOCK, run: wakes::run },
    Own { name: "echo", title: "W4: TCP echo", peers: echo::NAMES, run: echo::run },
    Timed(&open_close::WORKLOAD),
    Own { name: "size", title: "W6: size and memory", peers: size::NAMES, run: size::run },
    Timed(&scale::WORKLOAD),
    Timed(&scale::INSIDE),
    Timed(&scale::REAL),
    Own { name: scale::NAME, title: scale::WORKLOAD.title, peers: &["raw", "netpoll"], run: scale::run },
    Own { name: fairness::NAME, title: fairness::TITLE, peers: fairness::PEERS, run: fairness::run },
    Own { name: gateway::NAME, title: gateway::TITLE, peers: gateway::PEERS, run: gateway::run },
];

impl Measured {
    fn name(&self) -> &'static str {
        match self {
            Timed(workload) => workload.name,
            Own { name, .. } => name,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Timed(workload) => workload.title,
            Own { title, .. } => title,
        }
    }

    fn has_peer(&self, wanted: &str) -> bool {
        let is = |peer: &str| peer == wanted || peer.split(':').next() == Some(wanted);
        match self {
            Timed(workload) => workload.entries.iter().any(|entry| is(entry.peer)),
            Own { peers, .. } => peers.iter().any(|peer| is(peer)),
        }
    }

    fn run(&self, options: &Options, report: &mut Report) {
        match self {
            Timed(workload) => {
                report.introduce(workload);
                if options.times {
                    measure::times(workload, options, report);
                }
                if options.exact {
                    exact::count(workload, options, report);
                }
            }
            Own { run, .. } => run(options, report),
        }
    }
}

/// Runs the same work on netpoll and on other event loops, and prints tables.
#[derive(Debug, Parser)]
#[command(name = "peers", args_conflicts_with_subcommands = true, after_help = HOW_LONG)]
struct Arguments {
    /// Fewer cases and rounds
    #[arg(long)]
    quick: bool,
    /// Rounds of each time, 4 unless this or `--quick` (2) says otherwise
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..1000))]
    rounds: Option<u32>,
    /// No instructions and system calls (valgrind, strace)
    #[arg(long)]
    no_exact: bool,
    /// No times
    #[arg(long)]
    no_times: bool,
    /// Only this peer or library (and raw); may be given several times
    #[arg(long = "peer", value_name = "PEER")]
    peers: Vec<String>,
    /// Writes all figures to a file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Writes plots into a folder
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Writes tables and plots into the measured parts of a document
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Workloads; all if none is named
    #[arg(value_name = "WORKLOAD")]
    only: Vec<String>,
    #[command(subcommand)]
    one: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Does so many operations of one case on one peer, and nothing else
    One {
        /// Says their nanoseconds and waits, after a warm-up
        #[arg(long)]
        time: bool,
        workload: String,
        case: String,
        peer: String,
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        ops: u64,
    },
    /// A TCP echo server of one peer, until it is killed
    Serve(echo::Serve),
    /// Load for an echo server: prints requests, seconds, nanoseconds of the server's CPU time
    Load(echo::load::Load),
    /// How long a quiet connection waits beside flooded ones, of one peer
    Quiet(fairness::Round),
}

const HOW_LONG: &str =
    "On two cores of their own all workloads take more than an hour, with --quick a quarter of one; building comes before it.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.one {
        Some(Command::One { time, workload, case, peer, ops }) => one(*time, workload, case, peer, *ops),
        Some(Command::Serve(serve)) => serve.run(),
        Some(Command::Load(load)) => load.run(),
        Some(Command::Quiet(round)) => round.run(),
        None => all(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the arguments, and ends the program with 2.
fn nonsense(what: &str) -> ! {
    Arguments::command().error(ErrorKind::InvalidValue, what).exit()
}

fn one(time: bool, workload: &str, case: &str, peer: &str, ops: u64) -> Result<(), String> {
    let timed = WORKLOADS.iter().filter_map(|measured| match measured {
        Timed(workload) => Some(workload),
        Own { .. } => None,
    });
    let found = timed.filter(|known| known.name == workload).find_map(|workload| {
        let case = workload.cases.iter().find(|known| known.name == case)?;
        Some((case, workload.entries.iter().find(|known| known.peer == peer)?))
    });
    let Some((case, entry)) = found else { nonsense(&format!("no {workload} with a case {case} and a peer {peer}")) };
    trouble::end_if_hung();
    let mut work = (entry.start)(case);
    if time {
        let measure::Once { nanos, waits } = measure::once(&mut *work, ops);
        println!("{nanos} {}", waits.map(|waits| waits.to_string()).unwrap_or_default());
    } else {
        work.run(ops);
    }
    // Without tearing down thousands of descriptors.
    std::process::exit(0)
}

fn all(arguments: &Arguments) -> Result<(), String> {
    if let Some(name) = arguments.only.iter().find(|name| !names().contains(&name.as_str())) {
        nonsense(&format!("no workload {name}: there are {}", names().join(", ")));
    }
    if let Some(peer) = arguments.peers.iter().find(|peer| !WORKLOADS.iter().any(|measured| measured.has_peer(peer))) {
        nonsense(&format!("no peer {peer}"));
    }
    let options = Options {
        quick: arguments.quick,
        rounds: arguments.rounds.unwrap_or(if arguments.quick { 2 } else { 4 }),
        exact: !arguments.no_exact,
        times: !arguments.no_times,
        only: arguments.only.clone(),
        peers: arguments.peers.clone(),
    };
    let chosen = |name: &&str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let names: Vec<&str> = names().into_iter().filter(chosen).collect();
    if let Some(document) = &arguments.write {
        let parts: Vec<&str> = names.iter().copied().chain(["environment", "targets"]).collect();
        report::check(document, &parts)?;
    }
    let environment = report::environment();
    println!("{environment}");
    let (mut report, mut parts) = (Report::default(), vec![("environment", environment)]);
    for name in names {
        let of_name: Vec<&Measured> = WORKLOADS.iter().filter(|measured| measured.name() == name).collect();
        of_name.iter().for_each(|measured| measured.run(&options, &mut report));
        let tables = report.markdown(name);
        println!("## {}\n\n{tables}", of_name[0].title());
        let plots = plots(&report, name, arguments)?;
        parts.push((name, plots + &tables));
    }
    let before = arguments.write.as_deref().map(|document| report::read_part(document, "targets")).transpose()?;
    let targets = targets::table(&report, &before.unwrap_or_default());
    println!("{targets}");
    parts.push(("targets", targets));
    if let Some(file) = &arguments.csv {
        std::fs::write(file, report.csv()).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if let Some(document) = &arguments.write {
        report::replace(document, &parts)?;
    }
    match report.failures() {
        0 => Ok(()),
        failures => Err(format!("{failures} measurements failed")),
    }
}

/// Each once.
fn names() -> Vec<&'static str> {
    let mut names = Vec::new();
    for measured in WORKLOADS {
        if !names.contains(&measured.name()) {
            names.push(measured.name());
        }
    }
    names
}

/// Writes the plots of a workload, if they are wanted; Markdown that shows them.
fn plots(report: &Report, name: &'static str, arguments: &Arguments) -> Result<String, String> {
    let Some(folder) = &arguments.svg else { return Ok(String::new()) };
    let files = plot::write(report, name, folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let beside = arguments.write.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let show = |file: &PathBuf| format!("![{name}]({})\n\n", file.strip_prefix(beside).unwrap_or(file).display());
    Ok(files.iter().map(show).collect())
}
