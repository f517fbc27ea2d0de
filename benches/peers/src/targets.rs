//! Where netpoll stands: a line for each piece of work, from the same figures as the tables.

use crate::report::{Report, Table, number};

/// A figure that is looked at: less is better.
struct Target {
    work: &'static str,
    workload: &'static str,
    case: &'static str,
    measure: &'static str,
}

const fn target(work: &'static str, workload: &'static str, case: &'static str, measure: &'static str) -> Target {
    Target { work, workload, case, measure }
}

const TARGETS: &[Target] = &[
    target("W1 an event, 100 of 1000 pairs active: instructions", "chain", "unix-1000-100", "instructions"),
    target("W1 the same: calls", "chain", "unix-1000-100", "calls"),
    target("W1 an event, 1 of 100 active: instructions", "chain", "unix-100-1", "instructions"),
    target("W1 the same, one active: calls", "chain", "unix-100-1", "calls"),
    target("W1 an event, 100 of 1000 TCP connections active: instructions", "chain", "tcp-1000-100", "instructions"),
    target("W1 the same, TCP: calls", "chain", "tcp-1000-100", "calls"),
    target("W1 an event, 1 of 100 TCP connections active: instructions", "chain", "tcp-100-1", "instructions"),
    target("W1 the same, TCP, one active: calls", "chain", "tcp-100-1", "calls"),
    target("W2 a timer added and cancelled beside 1000: instructions", "timers", "add and cancel one beside 1000", "instructions"),
    target("W2 a deadline pushed out at random, of 10 000: instructions", "timers", "push out at random, of 10000", "instructions"),
    target("W2 a timer fires, of 1000: instructions", "timers", "fire 1000", "instructions"),
    target("W2 a timer fires, of 100 000: instructions", "timers", "fire 100000", "instructions"),
    target("W3 a wake while one is pending: instructions", "wakes", "while one is pending", "instructions"),
    target("W3 a wake and the turn that takes it: instructions", "wakes", "and the turn that takes it", "instructions"),
    target("W4 a request, 64 connections with idle deadlines: instructions", "echo", "C=64 64 B idle deadline", "instructions"),
    target("W4 the same: calls", "echo", "C=64 64 B idle deadline", "calls"),
    target("W4 a request, 64 connections without: instructions", "echo", "C=64 64 B", "instructions"),
    target("W5 open and close, a turn after each: instructions", "open_close", "a turn after each", "instructions"),
    target("W5 the same: calls", "open_close", "a turn after each", "calls"),
    target("W5 open and close alone: instructions", "open_close", "alone", "instructions"),
    target("W6 static program: bytes", "size", "static", "bytes"),
    target("W6 static program, resident when idle: kB", "size", "static, idle", "RSS kB"),
    target("W6 one connection more: bytes", "size", "static, one more", "bytes of a connection"),
    target(
        "W7 an edge at a million descriptors, over one at a thousand: instructions",
        "scale",
        "1M random",
        "instructions over those of 1k",
    ),
    target("W8 reads of 8 flooded before a quiet one's turn, most", "fairness", "8 flooded", "operations, most"),
    target("W9 a transaction, 64 clients: instructions", "gateway", "64 clients", "instructions"),
];

const HEAD: &str =
    "| work | floor | best peer | netpoll | ÷ best peer | its cheapest idiom | ÷ best peer |\n|---|--:|--:|--:|--:|--:|--:|\n";

/// The lines of what was measured, and of a table `before` those of what was not.
pub fn table(report: &Report, before: &str) -> String {
    let measured_or_kept = |target: &Target| {
        report.tables(target.workload).iter().find(|table| table.measure == target.measure).and_then(|table| line(target, table)).or_else(
            || {
                let begin = format!("| {} |", target.work);
                before.lines().find(|line| line.starts_with(&begin)).map(|line| format!("{line}\n"))
            },
        )
    };
    HEAD.to_owned() + &TARGETS.iter().filter_map(measured_or_kept).collect::<String>()
}

fn line(target: &Target, table: &Table<'_>) -> Option<String> {
    let least = |is: &dyn Fn(&str) -> bool| {
        let figures =
            table.peers.iter().filter(|peer| is(library(peer))).filter_map(|peer| Some((*peer, table.get(target.case, peer)?.value)));
        figures.min_by(|(_, one), (_, other)| one.total_cmp(other))
    };
    let named = |(peer, value): (&str, f64)| format!("{} ({peer})", number(value));
    let floor = least(&|library| is_floor(library));
    let peer = least(&|library| !is_floor(library) && library != "netpoll");
    let natural = table.get(target.case, "netpoll").map(|row| row.value);
    let cheapest = least(&|library| library == "netpoll")?;
    let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "–".to_owned());
    let ratio = |value: Option<f64>| {
        or_none(value.zip(peer).filter(|(_, peer)| peer.1 > 0.0).map(|(value, (_, peer))| format!("{:.2}", value / peer)))
    };
    let cells = [
        or_none(floor.map(named)),
        or_none(peer.map(named)),
        or_none(natural.map(number)),
        ratio(natural),
        named(cheapest),
        ratio(Some(cheapest.1)),
    ];
    Some(format!("| {} | {} |\n", target.work, cells.join(" | ")))
}

fn library(peer: &str) -> &str {
    peer.split(':').next().unwrap_or(peer)
}

/// What does less than a loop has to.
fn is_floor(library: &str) -> bool {
    ["raw", "bare", "std"].contains(&library)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;

    #[test]
    fn lines_of_what_was_not_measured_stay() {
        let mut report = Report::default();
        let figures = [("raw", 4.0), ("raw:drain", 3.0), ("mio", 6.0), ("polling", 5.0), ("netpoll", 10.0), ("netpoll:poller", 2.5)];
        for (peer, value) in figures {
            report.add(Row {
                workload: "open_close",
                case: "alone".into(),
                peer: peer.into(),
                measure: "instructions",
                value,
                ratio: None,
            });
        }
        let before =
            "| work |\n|---|\n| W5 open and close alone: instructions | old |\n| W6 static program: bytes | kept |\n| unknown | gone |\n";
        let lines = "| W5 open and close alone: instructions | 3.00 (raw:drain) | 5.00 (polling) | 10.0 | 2.00 | 2.50 (netpoll:poller) | 0.50 |\n\
                     | W6 static program: bytes | kept |\n";
        assert_eq!(table(&report, before), format!("{HEAD}{lines}"));
    }
}
