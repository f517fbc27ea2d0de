//! Counts that no other program disturbs: user-space instructions under callgrind, system calls under strace.
//!
//! Each is counted in two runs of different length; the difference is free of what starting and setting up cost.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::report::{Report, Row};
use crate::trouble::{describe, retried};
use crate::work::{Case, Entry, Options, Workload};

/// Calls by name.
pub type Calls = BTreeMap<String, u64>;

/// The same for one operation.
type PerOp = BTreeMap<String, f64>;

/// Counts all cases of a workload.
pub fn count(workload: &'static Workload, options: &Options, report: &mut Report) {
    for (case, entries) in workload.chosen(options) {
        eprintln!("{} {}: instructions and system calls of {} peers", workload.name, case.name, entries.len());
        let counted = side_by_side(&entries, case.alone, |entry| count_one(workload, case, entry));
        let mut floor = BTreeMap::new();
        for (entry, counted) in entries.into_iter().zip(counted) {
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
            let (instructions, calls) = match counted {
                Ok(counted) => counted,
                Err(why) => {
                    report.fail(workload.name, format!("{} on {}: {why}", case.name, entry.peer));
                    continue;
                }
            };
            add("instructions", total(&instructions));
            add("calls", total(&calls));
            let waits: f64 = calls.iter().filter(|(name, _)| name.starts_with("epoll_") && name.contains("wait")).map(|(_, n)| n).sum();
            if waits > 0.0 && workload.unit == "event" {
                add("events per wait", 1.0 / waits);
            }
            report.calls(workload.name, case.name, entry.peer, &calls);
        }
    }
}

/// Instructions and calls of one operation.
fn count_one(workload: &Workload, case: &Case, entry: &Entry) -> Result<(PerOp, PerOp), String> {
    let ops = (case.ops / 10).max(1);
    let run = |count: fn(&Run<'_>) -> Result<Calls, String>| {
        let [short, long] = [ops, 2 * ops].map(|ops| retried(|| count(&Run { workload, case, entry, ops })));
        Ok::<_, String>(per_op(&short?, &long?, ops))
    };
    let (instructions, calls) = (run(instructions)?, run(system_calls)?);
    // What goes by the clock may do less under valgrind when it has more to do.
    if instructions.is_empty() { Err("twice the work took no more instructions".to_owned()) } else { Ok((instructions, calls)) }
}

/// Does it to all items, two at a time unless each must be `alone`; for what is no matter of time. The answers, in order.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], alone: bool, act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, answers) = (AtomicUsize::new(0), items.iter().map(|_| Mutex::new(None)).collect::<Vec<_>>());
    let work = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Relaxed));
        for (item, answer) in numbers.map_while(|at| items.get(at).zip(answers.get(at))) {
            *answer.lock().expect("nobody panics") = Some(act(item));
        }
    };
    std::thread::scope(|scope| (0..if alone { 1 } else { 2 }).for_each(|_| drop(scope.spawn(work))));
    answers.into_iter().map(|answer| answer.into_inner().expect("nobody panics").expect("all were done")).collect()
}

/// Of none it is 0, where `sum` says -0.
fn total(per_op: &BTreeMap<String, f64>) -> f64 {
    per_op.values().fold(0.0, |total, number| total + number)
}

/// The difference of two runs, one of which did so many operations more.
pub fn per_op(short: &Calls, long: &Calls, ops: u64) -> BTreeMap<String, f64> {
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
    /// Runs it under a tool; what that says.
    fn under(&self, tool: &str, arguments: &[&str]) -> Result<String, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let output = Command::new(tool)
            .args(arguments)
            .arg(program)
            .args(["one", self.workload.name, self.case.name, self.entry.peer, &self.ops.to_string()])
            .env("RUST_BACKTRACE", "0")
            .output()
            .map_err(|error| format!("{tool}: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(said) } else { Err(format!("{tool}: {}", describe(output.status, &said))) }
    }
}

/// One entry: all instructions in user space.
fn instructions(run: &Run<'_>) -> Result<Calls, String> {
    // Not /dev/null, which valgrind would replace, as root, with a file.
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let profile = format!("--callgrind-out-file={}", file.path().display());
    let said = run.under("valgrind", &["--tool=callgrind", &profile])?;
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    Ok(Calls::from([("instructions".to_owned(), collected.ok_or("callgrind says nothing")?)]))
}

fn system_calls(run: &Run<'_>) -> Result<Calls, String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let path = file.path().to_str().ok_or("a temporary file without a plain name")?;
    run.under("strace", &["-f", "-c", "-U", "calls,name", "-o", path])?;
    std::fs::read_to_string(file.path()).map(|table| calls_of(&table)).map_err(|error| error.to_string())
}

/// What strace has counted.
pub fn calls_of(table: &str) -> Calls {
    let line = |line: &str| {
        let (calls, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), calls.parse().ok()?)).filter(|(name, _)| name != "total")
    };
    table.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_done_and_answer_in_order() {
        let items: Vec<u64> = (0..100).collect();
        for alone in [true, false] {
            let busy = AtomicUsize::new(0);
            let answers = side_by_side(&items, alone, |item| {
                assert!(busy.fetch_add(1, Relaxed) < if alone { 1 } else { 2 });
                std::thread::yield_now();
                busy.fetch_sub(1, Relaxed);
                2 * item
            });
            assert_eq!(answers, items.iter().map(|item| 2 * item).collect::<Vec<_>>());
        }
        assert_eq!(side_by_side(&[] as &[u64], false, |item| *item), []);
    }

    #[test]
    fn differences_are_free_of_what_starting_costs() {
        let calls = |wait, read| Calls::from([("epoll_wait".to_owned(), wait), ("execve".to_owned(), 1), ("read".to_owned(), read)]);
        let mut long = calls(5, 210);
        long.insert("futex".to_owned(), 50);
        let expected = [("epoll_wait", 0.02), ("futex", 0.5), ("read", 2.0)];
        assert_eq!(per_op(&calls(3, 10), &long, 100), expected.map(|(name, per_op)| (name.to_owned(), per_op)).into());
        assert!(total(&BTreeMap::new()).is_sign_positive());
    }
}
