//! Times: the CPU time of the thread that works, in rounds that are interleaved over all peers.

use std::process::Command;

use rustix::time::{ClockId, clock_gettime};

use crate::report::{Report, Row};
use crate::trouble::{describe, retried};
use crate::work::{Case, Entry, Options, Work, Workload};

/// CPU time of this thread, in nanoseconds: what other programs do meanwhile is not in it.
pub fn thread_cpu() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

/// Wall-clock time, in nanoseconds.
pub fn monotonic() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// CPU time of another process, in nanoseconds.
pub fn process_cpu(pid: u32) -> u64 {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both are given places for their answers that live as long as the calls.
    let failed = unsafe { libc::clock_getcpuclockid(pid as i32, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0 };
    assert!(!failed, "no CPU clock of process {pid}");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn nanos(time: rustix::time::Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The middle one, or the mean of the two in the middle; not a number if one of them is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Runs every peer's round once, in turn, `rounds` times, every other time in reverse. For each peer: the median of its rounds, and the
/// median of the ratios to the first peer's round of the same time, so that a machine that slows down slows both.
pub fn interleave(rounds: u32, peers: usize, mut round: impl FnMut(usize) -> f64) -> Vec<(f64, f64)> {
    let mut values = vec![Vec::new(); peers];
    for number in 0..rounds {
        for step in 0..peers {
            let peer = if number % 2 == 0 { step } else { peers - 1 - step };
            values[peer].push(round(peer));
        }
    }
    let ratios = |of: &[f64]| of.iter().zip(&values[0]).map(|(value, floor)| value / floor).collect();
    values.iter().map(|of| (median(of.clone()), median(ratios(of)))).collect()
}

/// What one process measured.
#[derive(Debug)]
pub struct Once {
    pub nanos: u64,
    pub waits: Option<u64>,
}

/// Times `ops` operations after a warm-up of a tenth of them.
pub fn once(work: &mut dyn Work, ops: u64) -> Once {
    work.run(ops / 10);
    let (waits, start) = (work.waits(), thread_cpu());
    work.run(ops);
    let nanos = thread_cpu() - start;
    Once { nanos, waits: work.waits().zip(waits).map(|(after, before)| after - before) }
}

/// Times all cases of a workload.
pub fn times(workload: &'static Workload, options: &Options, report: &mut Report) {
    for (case, entries) in workload.chosen(options) {
        eprintln!("{} {}: times of {} peers, {} rounds", workload.name, case.name, entries.len(), options.rounds);
        let mut waits = vec![None; entries.len()];
        let results = interleave(options.rounds, entries.len(), |peer| match retried(|| in_process(workload, case, entries[peer])) {
            Ok(once) => {
                waits[peer] = once.waits;
                once.nanos as f64 / case.ops as f64
            }
            Err(why) => {
                report.fail(workload.name, format!("{} on {}: {why}", case.name, entries[peer].peer));
                f64::NAN
            }
        });
        let has_floor = entries.first().is_some_and(|entry| entry.peer == "raw");
        for ((entry, waits), (value, ratio)) in entries.iter().zip(waits).zip(results) {
            let row = |measure, value, ratio| Row {
                workload: workload.name,
                case: case.name.to_owned(),
                peer: entry.peer.to_owned(),
                measure,
                value,
                ratio,
            };
            if !value.is_finite() {
                continue;
            }
            report.add(row("ns", value, Some(ratio).filter(|ratio| has_floor && ratio.is_finite())));
            // Counting system calls tells it of every peer.
            if let (Some(waits), false) = (waits, options.exact) {
                report.add(row("events per wait", case.ops as f64 / waits as f64, None));
            }
        }
    }
}

/// One round in a process of its own.
fn in_process(workload: &Workload, case: &Case, entry: &Entry) -> Result<Once, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["one", "--time", workload.name, case.name, entry.peer, &case.ops.to_string()])
        .env("RUST_BACKTRACE", "0")
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(str::parse);
    match (output.status.success(), numbers.next()) {
        (true, Some(Ok(nanos))) => Ok(Once { nanos, waits: numbers.next().and_then(Result::ok) }),
        _ => Err(describe(output.status, &String::from_utf8_lossy(&output.stderr))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![1.0, f64::NAN, 2.0]).is_nan());
    }

    #[test]
    fn peers_take_turns_and_are_compared_within_a_round() {
        // The machine is slower in each round; the second peer takes twice as long.
        let (mut order, mut slow) = (Vec::new(), 0.0);
        let results = interleave(3, 2, |peer| {
            order.push(peer);
            slow += 0.5;
            f64::floor(slow + 0.5) * (peer + 1) as f64
        });
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        assert_eq!(results, [(2.0, 1.0), (4.0, 2.0)]);
    }
}
