//! The table of `src/costs.md`: the functions that an event passes through, and what each of them takes of it.

use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::callgrind::{Dumps, by_address};
use crate::cases::EVENTS;
use crate::{STORAGE, raise_limit};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/costs.md");
const BEGIN: &str = "<!-- written by .ci/costs -->\n";

/// The functions that an event passes through, in their order, and what they do. What was inlined into one of them counts as its own unless
/// it is in this list too; what is in none is named by itself.
const FUNCTIONS: &[(&str, &str)] = &[
    ("pass", "one turn of the loop: until when to wait, and the round of those who are ready"),
    ("turn", "the loop around it, and what a handler's answer leads to"),
    ("look_after_freed", "whether somebody waits for a slot that was freed"),
    ("fire_timers", "timers that have passed"),
    ("look", "the kernel's wait and the events that it brings"),
    ("expire_due", "deadlines that have passed"),
    ("find", "the descriptor that an event's token names"),
    ("edge", "opens the gates; who waits at one is to be run"),
    ("next", "takes the next handler of the round"),
    ("dispatch", "calls the handler, unless it has run in this round"),
    ("finish", "what a run left to do"),
    ("poll_io_drained", "owner, deadline, gate, budget; the call; the gate again"),
];

const SYSTEM_CALLS: &str = "the system calls";
const OTHERS: &str = "memcpy and the like";
const HANDLER: &str = "the handler";

/// What is less than this in both columns goes into the last row.
const LEAST: f64 = 5.0;

pub fn write() -> Result<(), String> {
    if STORAGE != "static" {
        return Err("the page is written by the program without the feature `alloc`".to_string());
    }
    raise_limit()?;
    let columns = EVENTS.iter().map(|name| functions(name)).collect::<Result<Vec<_>, _>>()?;
    let text = std::fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
    let (kept, _) = text.split_once(BEGIN).ok_or_else(|| format!("{PATH}: no line {BEGIN}"))?;
    std::fs::write(PATH, format!("{kept}{BEGIN}{}", table(&columns))).map_err(|error| format!("{PATH}: {error}"))
}

/// Instructions of one event by row.
fn functions(case: &str) -> Result<BTreeMap<String, f64>, String> {
    let dumps = Dumps::of(case)?;
    let Some(&(operations, _)) = dumps.operations.get(1) else { return Err(format!("no case {case}")) };
    let (counts, others) = by_address(&dumps.read(1)?);
    let addresses: Vec<u64> = counts.iter().map(|&(address, _)| address).collect();
    let mut rows = BTreeMap::from([(OTHERS.to_string(), others / operations)]);
    for (frames, (_, count)) in frames(&addresses)?.iter().zip(&counts) {
        *rows.entry(row(frames)).or_default() += count / operations;
    }
    Ok(rows)
}

/// A function that was inlined, and the file it is written in.
struct Frame {
    function: String,
    file: String,
}

/// What was inlined into what at each address, from the inside out.
fn frames(addresses: &[u64]) -> Result<Vec<Vec<Frame>>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut addr2line = Command::new("addr2line");
    addr2line.args(["-a", "-f", "-i", "-C", "-e"]).arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut addr2line = addr2line.spawn().map_err(|error| format!("addr2line, of the package binutils: {error}"))?;
    let questions: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let stdin = addr2line.stdin.take();
    let writer = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(questions.as_bytes())));
    let output = addr2line.wait_with_output().map_err(|error| format!("addr2line: {error}"))?;
    let _ = writer.join();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut all: Vec<Vec<Frame>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            all.push(Vec::new());
        } else if let (Some(frames), Some(place)) = (all.last_mut(), lines.next()) {
            let file = place.rsplit_once(':').map_or(place, |(file, _)| file);
            frames.push(Frame { function: name(line), file: file.replace("src/../", "") });
        }
    }
    Ok(all)
}

/// The function alone, without its path and its types.
fn name(function: &str) -> String {
    let mut depth = 0;
    let plain: String = function
        .chars()
        .filter(|&c| {
            depth += i32::from(c == '<');
            let keeps = depth == 0;
            depth -= i32::from(c == '>');
            keeps
        })
        .collect();
    let names: Vec<&str> = plain.split("::").collect();
    names.iter().rev().find(|name| !name.is_empty() && !name.starts_with('{')).unwrap_or(&"").to_string()
}

/// In which row an instruction counts.
fn row(frames: &[Frame]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut helper = None;
    for Frame { function, file } in frames {
        if file.contains("/rustix-") {
            return SYSTEM_CALLS.to_string();
        }
        let Ok(file) = Path::new(file).strip_prefix(root) else { continue };
        if file.starts_with("benches") {
            break;
        }
        // Reading and writing hand a call to `poll_io`: their own part is that of the call.
        if FUNCTIONS.iter().any(|(known, _)| known == function) {
            return function.clone();
        }
        helper.get_or_insert(format!("`{function}` in {}", file.display()));
    }
    helper.unwrap_or(HANDLER.to_string())
}

fn table(columns: &[BTreeMap<String, f64>]) -> String {
    let of = |row: &str| columns.iter().map(|column| column.get(row).copied().unwrap_or(0.0)).collect::<Vec<f64>>();
    let mut names: Vec<String> = FUNCTIONS.iter().map(|(function, _)| function.to_string()).collect();
    let others = columns.iter().flat_map(|column| column.keys()).filter(|row| ![HANDLER, SYSTEM_CALLS, OTHERS].contains(&row.as_str()));
    for row in others {
        if !names.contains(row) {
            names.push(row.clone());
        }
    }
    names.extend([OTHERS, SYSTEM_CALLS, HANDLER].map(str::to_string));
    let mut text = String::from("\n| function | what it does | 100 ready at once | 1 ready |\n|---|---|---|---|\n");
    let mut rest = vec![0.0; columns.len()];
    let mut total = vec![0.0; columns.len()];
    for name in names {
        let counts = of(&name);
        let shown = counts.iter().any(|&count| count >= LEAST);
        for (sum, count) in total.iter_mut().zip(&counts) {
            *sum += count;
        }
        if !shown {
            rest.iter_mut().zip(&counts).for_each(|(sum, count)| *sum += count);
            continue;
        }
        let (function, does) = match FUNCTIONS.iter().find(|(function, _)| *function == name) {
            Some((function, does)) => (format!("`{function}`"), *does),
            None => (name, ""),
        };
        add(&mut text, &function, does, &counts);
    }
    if rest.iter().any(|&count| count >= 0.05) {
        add(&mut text, "others", "", &rest);
    }
    add(&mut text, "all", "", &total);
    text
}

fn add(text: &mut String, function: &str, does: &str, counts: &[f64]) {
    let _ = write!(text, "| {function} | {does} |");
    for count in counts {
        let _ = write!(text, " {count:.0} |");
    }
    text.push('\n');
}
