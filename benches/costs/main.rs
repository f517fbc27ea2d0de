//! What the operations of the crate cost: instructions under callgrind, system calls under strace. Both are counted, not timed, so that
//! the answer is the same on a busy machine, and the same each time.
//!
//! ```text
//! cargo bench --bench costs                      the costs of all cases
//! cargo bench --bench costs -- chain             of those with this in their names
//! cargo bench --bench costs --features alloc     on storage from the heap
//! .ci/costs                                      compares them with the limits, in benches/costs/limits
//! ```
//!
//! The program runs itself, with `--run` for its first argument, under either tool.

mod callgrind;
mod cases;
mod limits;
mod meter;
mod page;
mod strace;

use std::process::{Command, ExitCode, Output};

use cases::{CASES, Case, EMPTY};
use limits::Limits;

const USAGE: &str = "usage: costs [NAME | --check [BYTES] | --write [BYTES] | --page]

  NAME      costs of the cases with this in their names, else of all
  --check   fails if one costs more than its limit, or a program of so many bytes is larger than its own
  --write   writes the limits anew
  --page    writes the table of src/costs.md anew";

/// With which storage this program was built.
pub const STORAGE: &str = if cfg!(feature = "alloc") { "boxed" } else { "static" };

/// What one operation costs.
pub struct Cost {
    pub name: &'static str,
    pub instructions: f64,
    pub calls: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let for_bench = arguments.iter().any(|argument| argument == "--bench");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).filter(|&argument| argument != "--bench").collect();
    let done = match *arguments.as_slice() {
        // As `cargo test --benches` does.
        [] if !for_bench => run(""),
        [] => table(""),
        ["--run", name] => run(name),
        ["--run-marked", name] => {
            meter::mark_for_strace();
            run(name)
        }
        ["--check"] => check(None),
        ["--write"] => write(None),
        ["--check", bytes] => number(bytes).and_then(|bytes| check(Some(bytes))),
        ["--write", bytes] => number(bytes).and_then(|bytes| write(Some(bytes))),
        ["--page"] => page::write(),
        [name] if !name.starts_with('-') => table(name),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("costs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("not a number of bytes: {text}"))
}

/// The cases themselves; says how many operations and entries of each were counted.
fn run(name: &str) -> Result<(), String> {
    raise_limit()?;
    for case in selected(name) {
        let (operations, entries) = meter::run(case.name, case.run);
        println!("{operations}\t{entries}\t{}", case.name);
    }
    Ok(())
}

/// The empty case comes first in each run.
fn selected(name: &str) -> impl Iterator<Item = &'static Case> {
    let named = CASES.iter().filter(move |case| case.name.contains(name));
    core::iter::once(&EMPTY).chain(named)
}

/// A thousand connections are two thousand descriptors.
fn raise_limit() -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 4096;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < WANTED) {
        let raised = Rlimit { current: Some(WANTED), ..limit };
        setrlimit(Resource::Nofile, raised).map_err(|error| format!("{WANTED} descriptors are wanted: {error}"))?;
    }
    Ok(())
}

/// Runs a command to its end; an error if it cannot be started, or fails.
pub fn output(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{name} is not installed, and without it nothing is counted: apt-get install {name}"),
        _ => format!("{name}: {error}"),
    })?;
    if !output.status.success() {
        return Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(output)
}

/// Where the tools write to.
pub fn scratch(name: &str) -> Result<std::path::PathBuf, String> {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("costs-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    Ok(directory)
}

/// How many operations and entries a run says that it had of each case.
pub fn operations(stdout: &[u8]) -> Vec<(f64, f64)> {
    let number = |field: Option<&str>| field.and_then(|field| field.parse().ok()).unwrap_or(f64::NAN);
    let text = String::from_utf8_lossy(stdout);
    text.lines().map(|line| line.split('\t')).map(|mut fields| (number(fields.next()), number(fields.next()))).collect()
}

fn measure(name: &str) -> Result<Vec<Cost>, String> {
    raise_limit()?;
    let instructions = callgrind::instructions(name)?;
    let calls = strace::calls(name)?;
    let counted = instructions.into_iter().zip(calls);
    let cost = |(case, (instructions, calls)): (&Case, _)| Cost { name: case.name, instructions, calls };
    Ok(selected(name).skip(1).zip(counted).map(cost).collect())
}

fn table(name: &str) -> Result<(), String> {
    if selected(name).nth(1).is_none() {
        return Err(format!("no case has {name:?} in its name"));
    }
    let costs = measure(name)?;
    println!("{STORAGE} storage, one operation:\n{:>14} {:>14}", "instructions", "system calls");
    for cost in costs {
        println!("{:14.1} {:14.3}  {}", cost.instructions, cost.calls, cost.name);
    }
    Ok(())
}

/// What is above its limit is measured again: the system can only make an operation cost more than it must.
fn check(bytes: Option<u64>) -> Result<(), String> {
    let limits = Limits::read()?;
    let mut costs = measure("")?;
    for _ in 0..2 {
        if !limits.exceeded(&costs) {
            break;
        }
        for (cost, again) in costs.iter_mut().zip(measure("")?) {
            cost.instructions = cost.instructions.min(again.instructions);
            cost.calls = cost.calls.min(again.calls);
        }
    }
    limits.check(&costs, bytes)
}

fn write(bytes: Option<u64>) -> Result<(), String> {
    Limits::read()?.write(&measure("")?, bytes)
}
