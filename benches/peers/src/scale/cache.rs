//! What the caches of this processor miss for one event, by callgrind's model of them, and what a million descriptors cost more than a
//! thousand.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::{INSIDE, NAME, REAL, WORKLOAD};
use crate::exact::{Calls, per_op, side_by_side};
use crate::report::{Report, Row};
use crate::trouble::{describe, retried};
use crate::work::{Case, Entry, Options, Workload};

pub fn run(options: &Options, report: &mut Report) {
    if !options.exact {
        return;
    }
    let caches = [("I1", "index1"), ("D1", "index0"), ("LL", "index2")].map(|(name, index)| Some(format!("--{name}={}", size(index)?)));
    let caches: Vec<String> = caches.into_iter().flatten().collect();
    let layout = std::mem::size_of::<netpoll::table::PollDesc<netpoll::OwnedFd>>();
    let node = std::mem::size_of::<netpoll::deadline::Node>();
    report.note(NAME, format!("A descriptor's entry in the table has {layout} bytes, its node of the deadline queue {node}."));
    report.note(NAME, format!("Caches as callgrind models them, the last one being L2: {}.", caches.join(" ")));
    report.note(NAME, "One miss in sixteen is of the list that says in which order events come, and no part of what is measured.");
    let mut instructions = BTreeMap::new();
    for workload in [&WORKLOAD, &INSIDE, &REAL] {
        for (case, entries) in workload.chosen(options) {
            eprintln!("{NAME} {}: caches of {} peers", case.name, entries.len());
            let counted = side_by_side(&entries, case.alone, |entry| per_event(&caches, workload, case, entry));
            for (entry, per_event) in entries.into_iter().zip(counted) {
                let per_event = match per_event {
                    Ok(per_event) => per_event,
                    Err(why) => {
                        report.fail(NAME, format!("caches, {} on {}: {why}", case.name, entry.peer));
                        continue;
                    }
                };
                let now = per_event.get("Ir").copied().unwrap_or_default();
                let of = |names: [&str; 2]| names.iter().filter_map(|name| per_event.get(*name)).sum();
                let mut add = |case: &str, measure, value| {
                    report.add(Row { workload: NAME, case: case.to_owned(), peer: entry.peer.to_owned(), measure, value, ratio: None });
                };
                add(case.name, "D1 misses", of(["D1mr", "D1mw"]));
                add(case.name, "L2 misses", of(["DLmr", "DLmw"]));
                for (many, few) in [("1M", "1k"), ("19k", "1k")] {
                    let base = case.name.replace(many, few);
                    if let Some(base) = instructions.get(&(entry.peer, base)).filter(|_| case.name.contains(many)) {
                        add(case.name, "instructions over those of 1k", now / base);
                    }
                }
                instructions.insert((entry.peer, case.name.to_owned()), now);
            }
        }
    }
}

/// As callgrind takes it: bytes, associativity, bytes of a line.
fn size(index: &str) -> Option<String> {
    let read = |what| std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/{index}/{what}")).ok();
    let bytes = read("size")?.trim().strip_suffix('K')?.parse::<u64>().ok()? * 1024;
    Some(format!("{bytes},{},{}", read("ways_of_associativity")?.trim(), read("coherency_line_size")?.trim()))
}

/// The difference of two runs. To set up has touched everything once.
fn per_event(caches: &[String], workload: &Workload, case: &Case, entry: &Entry) -> Result<BTreeMap<String, f64>, String> {
    let ops = case.ops / 10;
    let [short, long] = [ops, 2 * ops].map(|ops| retried(|| counts(caches, workload, case, entry, ops)));
    Ok(per_op(&short?, &long?, ops))
}

fn counts(caches: &[String], workload: &Workload, case: &Case, entry: &Entry, ops: u64) -> Result<Calls, String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--cache-sim=yes", &format!("--callgrind-out-file={}", file.path().display())])
        .args(caches)
        .arg(std::env::current_exe().map_err(|error| error.to_string())?)
        .args(["one", workload.name, case.name, entry.peer, &ops.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error} (apt-get install valgrind)"))?;
    if output.status.success() { parse(file.path()) } else { Err(describe(output.status, &String::from_utf8_lossy(&output.stderr))) }
}

/// The lines `events:` and `summary:` (or `totals:`) of callgrind's file.
fn parse(path: &Path) -> Result<Calls, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::split_whitespace);
    let (Some(names), Some(counts)) = (line("events:"), line("summary:").or_else(|| line("totals:"))) else {
        return Err("callgrind says nothing".to_owned());
    };
    Ok(names.map(str::to_owned).zip(counts.filter_map(|count| count.parse().ok())).collect())
}
