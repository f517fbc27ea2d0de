//! Counts that no other program disturbs: user-space instructions under callgrind, system calls under strace.
//!
//! Each is counted in two runs of different length; the difference is free of what starting and setting up cost.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::report::{Report, Row};
use crate::work::{Case, Entry, Options, Workload};

/// Calls by name.
type Calls = BTreeMap<String, u64>;

/// Counts all cases of a workload.
pub fn count(workload: &'static Workload, options: &Options, report: &mut Report) {
    for (case, entries) in workload.chosen(options) {
        eprintln!("{} {}: instructions and system calls of {} peers", workload.name, case.name, entries.len());
        let mut floor = BTreeMap::new();
        for entry in entries {
            let ops = (case.ops / 10).max(1);
            let run = |count: &dyn Fn(&Run<'_>) -> Calls| {
                let [short, long] = [ops, 2 * ops].map(|ops| count(&Run { workload, case, entry, ops }));
                per_op(&short, &long, ops)
            };
            let mut add = |measure, value| {
                if entry.peer == "raw" {
                    floor.insert(measure, value);
                }
                report.add(Row {
                    workload: workload.name,
                    case: case.name.to_owned(),
                    peer: entry.peer.to_owned(),
                    measure,
                    value,
                    ratio: floor.get(measure).map(|floor| value / floor).filter(|ratio| ratio.is_finite()),
                });
            };
            let instructions = run(&instructions);
            add("instructions", instructions.values().sum());
            let calls = run(&system_calls);
            add("calls", calls.values().sum());
            let waits: f64 = calls.iter().filter(|(name, _)| name.starts_with("epoll_") && name.contains("wait")).map(|(_, n)| n).sum();
            if waits > 0.0 && workload.unit == "event" {
                add("events per wait", 1.0 / waits);
            }
            report.calls(workload.name, case.name, entry.peer, &calls);
        }
    }
}

fn per_op(short: &Calls, long: &Calls, ops: u64) -> BTreeMap<String, f64> {
    let difference = |name: &str, calls: u64| (calls as f64 - short.get(name).map_or(0.0, |&n| n as f64)) / ops as f64;
    long.iter().map(|(name, &calls)| (name.clone(), difference(name, calls))).filter(|(_, calls)| *calls >= 0.0005).collect()
}

/// One run of one peer, in a process of its own.
#[derive(Debug)]
struct Run<'a> {
    workload: &'a Workload,
    case: &'a Case,
    entry: &'a Entry,
    ops: u64,
}

impl Run<'_> {
    /// Runs it under a tool, which is given a file for its answer.
    fn under(&self, tool: &str, arguments: &[&str], answer: &Path) -> String {
        let program = std::env::current_exe().expect("the path of this program");
        let output = Command::new(tool)
            .args(arguments)
            .arg(program)
            .args(["one", self.workload.name, self.case.name, self.entry.peer, &self.ops.to_string()])
            .output()
            .unwrap_or_else(|error| panic!("{tool}: {error} (apt-get install valgrind strace)"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{tool}: {self:?}: {said}");
        std::fs::read_to_string(answer).unwrap_or_default() + &said
    }
}

/// One entry: all instructions in user space.
fn instructions(run: &Run<'_>) -> Calls {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let out = format!("--callgrind-out-file={}", file.path().display());
    let said = run.under("valgrind", &["--tool=callgrind", &out], Path::new("/dev/null"));
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    Calls::from([("instructions".to_owned(), collected.unwrap_or_else(|| panic!("callgrind: {said}")))])
}

fn system_calls(run: &Run<'_>) -> Calls {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_str().expect("a temporary file with a plain name");
    let table = run.under("strace", &["-f", "-c", "-U", "calls,name", "-o", path], file.path());
    let line = |line: &str| {
        let (calls, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), calls.parse().ok()?)).filter(|(name, _)| name != "total")
    };
    table.lines().filter_map(line).collect()
}
