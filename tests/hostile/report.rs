//! The row of a situation, and what this process has.

use std::time::Duration;

use crate::journal::Journal;

/// What the parent process prints of its child's output.
pub const MARK: &str = "hostile: ";

/// Situation, requests, their latencies: median, 99th percentile and maximum in µs; most passes that one has waited, and the longest pass in µs
/// of CPU time.
pub fn row(situation: &str, latencies: &mut [Duration], journal: Option<&Journal>) -> String {
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_micros();
    let passes =
        journal.map_or(String::from("| |"), |journal| format!("| {} | {} |", journal.most_passes.get().max(1), journal.longest_pass.get()));
    format!("| {situation} | {} | {} | {} | {} {passes}", latencies.len(), at(0.5), at(0.99), at(1.0))
}

/// Of this process, in kB.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Open in this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
