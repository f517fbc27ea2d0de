//! The row of a situation, and what this process has.

use std::time::Duration;

/// What the parent process prints of its child's output.
pub const MARK: &str = "hostile: ";

/// Situation, requests, median, 99th percentile, maximum (in µs), most passes that a request has waited.
pub fn row(situation: &str, latencies: &mut [Duration], passes: Option<u64>) -> String {
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_micros();
    let passes = passes.map_or(String::from("-"), |passes| passes.to_string());
    format!("| {situation} | {} | {} | {} | {} | {passes} |", latencies.len(), at(0.5), at(0.99), at(1.0))
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
