//! Rows, and what is made of them: Markdown, CSV, the measured parts of BENCHMARKS.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::work::Workload;

/// One figure.
#[derive(Debug)]
pub struct Row {
    pub workload: &'static str,
    pub case: String,
    pub peer: String,
    /// `ns`, `instructions`, `calls`, `bytes`, `events per wait`.
    pub measure: &'static str,
    pub value: f64,
    /// To `raw`.
    pub ratio: Option<f64>,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    /// What is to be said beside a workload's figures.
    notes: Vec<(&'static str, String)>,
    calls: Vec<String>,
    failures: usize,
}

/// One table: a measure of a workload.
#[derive(Debug)]
pub struct Table<'a> {
    pub workload: &'static str,
    pub measure: &'static str,
    pub cases: Vec<&'a str>,
    pub peers: Vec<&'a str>,
    rows: Vec<&'a Row>,
}

impl<'a> Table<'a> {
    pub fn get(&self, case: &str, peer: &str) -> Option<&'a Row> {
        // The last one: a figure may be measured again.
        self.rows.iter().rev().find(|row| row.case == case && row.peer == peer).copied()
    }
}

impl Report {
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Says something below a workload's tables.
    pub fn note(&mut self, workload: &'static str, text: impl Into<String>) {
        let note = (workload, text.into());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Something could not be measured: said below the tables, and by the program's end.
    pub fn fail(&mut self, workload: &'static str, text: String) {
        eprintln!("{workload} {text}");
        self.failures += 1;
        self.note(workload, format!("Failed: {text}"));
    }

    pub fn failures(&self) -> usize {
        self.failures
    }

    /// What is said of a workload whatever is measured.
    pub fn introduce(&mut self, workload: &'static Workload) {
        for out in workload.left_out {
            let of = if out.case.is_empty() { String::new() } else { format!(" ({})", out.case) };
            self.note(workload.name, format!("Left out: {}{of}: {}.", out.peer, out.why));
        }
    }

    /// Which system calls a peer makes for one operation: for the CSV.
    pub fn calls(&mut self, workload: &str, case: &str, peer: &str, calls: &BTreeMap<String, f64>) {
        for (name, number) in calls {
            self.calls.push(format!("{workload},{},{peer},calls of {name},{number:.4},", quoted(case)));
        }
    }

    /// The tables of a workload, in the order in which their first rows came.
    pub fn tables(&self, workload: &'static str) -> Vec<Table<'_>> {
        let mut tables: Vec<Table<'_>> = Vec::new();
        for row in self.rows.iter().filter(|row| row.workload == workload) {
            let index = tables.iter().position(|table| table.measure == row.measure).unwrap_or(tables.len());
            if index == tables.len() {
                tables.push(Table { workload, measure: row.measure, cases: Vec::new(), peers: Vec::new(), rows: Vec::new() });
            }
            let table = &mut tables[index];
            add_once(&mut table.cases, &row.case);
            add_once(&mut table.peers, &row.peer);
            table.rows.push(row);
        }
        tables
    }

    /// The tables and notes of a workload.
    pub fn markdown(&self, workload: &'static str) -> String {
        let mut text = String::new();
        for table in self.tables(workload) {
            table.write(&mut text);
        }
        for (_, note) in self.notes.iter().filter(|(of, _)| *of == workload) {
            let _ = writeln!(text, "* {note}");
        }
        text
    }

    pub fn csv(&self) -> String {
        let mut text = String::from("workload,case,peer,measure,value,ratio\n");
        for Row { workload, case, peer, measure, value, ratio } in &self.rows {
            let ratio = ratio.map(|ratio| format!("{ratio:.4}")).unwrap_or_default();
            let _ = writeln!(text, "{workload},{},{peer},{},{value:.4},{ratio}", quoted(case), quoted(measure));
        }
        for line in &self.calls {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// As CSV has it.
fn quoted(text: &str) -> String {
    if text.contains(',') { format!("\"{text}\"") } else { text.to_owned() }
}

fn add_once<'a>(names: &mut Vec<&'a str>, name: &'a str) {
    if !names.contains(&name) {
        names.push(name);
    }
}

impl Table<'_> {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "| {} | {} |\n|---|{}", self.measure, self.cases.join(" | "), "--:|".repeat(self.cases.len()));
        for peer in &self.peers {
            let cells = self.cases.iter().map(|case| self.get(case, peer).map_or("–".to_owned(), cell));
            let name = if peer.starts_with("netpoll") { format!("**{peer}**") } else { (*peer).to_owned() };
            let _ = writeln!(text, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        text.push('\n');
    }
}

fn cell(row: &Row) -> String {
    let ratio = row.ratio.map(|ratio| format!(" (x{ratio:.2})")).unwrap_or_default();
    number(row.value) + &ratio
}

/// Three digits, as far as there are.
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Machine, kernel, versions and command, as a list.
pub fn environment() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, model)| model);
    let uname = rustix::system::uname();
    let [sysname, release, machine] = [uname.sysname(), uname.release(), uname.machine()].map(|name| name.to_string_lossy());
    let crates = ["mio", "polling", "calloop", "tokio", "async-io", "async-executor", "rustix", "netpoll"];
    let crates = crates.map(|name| format!("{name} {}", locked(name).unwrap_or("unknown")));
    // SAFETY: these only say constants.
    let libev = unsafe { (ev_version_major(), ev_version_minor()) };
    let cpu_count = std::thread::available_parallelism().map_or(1, usize::from);
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    [
        format!("* Machine: {cpu_count} × {model} ({machine}); {sysname} {release}"),
        format!("* Libraries: {}; libev {}.{}, libuv {}, libevent {}", crates.join(", "), libev.0, libev.1, LIBUV, LIBEVENT),
        format!("* Compilers: {} (release, `lto = \"fat\"`, `codegen-units = 1`, `panic = \"abort\"`), {} (`-O2`)", RUSTC, CC),
        format!("* Command: `cargo run --release --manifest-path benches/peers/Cargo.toml -- {command}`\n"),
    ]
    .join("\n")
}

const LIBUV: &str = env!("PEERS_LIBUV");
const LIBEVENT: &str = env!("PEERS_LIBEVENT");
const RUSTC: &str = env!("PEERS_RUSTC");
const CC: &str = env!("PEERS_CC");

unsafe extern "C" {
    fn ev_version_major() -> i32;
    fn ev_version_minor() -> i32;
}

/// The version of a dependency.
fn locked(name: &str) -> Option<&'static str> {
    let package = include_str!("../Cargo.lock").split("[[package]]").find(|package| package.contains(&format!("\nname = \"{name}\"\n")))?;
    package.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
}

/// The text between the two marks of a part of a document, or why it cannot be found.
fn part<'a>(document: &'a str, name: &str) -> Result<(&'a str, &'a str), String> {
    let [begin, end] = [format!("<!-- measured: {name} -->\n"), format!("<!-- end: {name} -->")];
    let missing = || format!("no lines `{}` and `{end}` in the document", begin.trim());
    let at = document.find(&begin).ok_or_else(missing)? + begin.len();
    let rest = document[at..].find(&end).ok_or_else(missing)?;
    Ok((&document[..at], &document[at + rest..]))
}

/// Whether a document has room for these parts.
pub fn check(path: &Path, parts: &[&str]) -> Result<(), String> {
    let document = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parts.iter().try_for_each(|name| part(&document, name).map(drop))
}

/// What a part of a document says.
pub fn read_part(path: &Path, name: &str) -> Result<String, String> {
    let document = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (before, after) = part(&document, name)?;
    Ok(document[before.len()..document.len() - after.len()].to_owned())
}

/// Replaces parts of a document.
pub fn replace(path: &Path, parts: &[(&str, String)]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut document = std::fs::read_to_string(path).map_err(failed)?;
    for (name, text) in parts {
        let (before, after) = part(&document, name)?;
        document = format!("{before}{text}{after}");
    }
    std::fs::write(path, document).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &str, peer: &str, value: f64, ratio: Option<f64>) -> Row {
        Row { workload: "w", case: case.to_owned(), peer: peer.to_owned(), measure: "calls", value, ratio }
    }

    #[test]
    fn tables_show_the_last_figure_and_what_is_missing() {
        let mut report = Report::default();
        report.add(row("a", "raw", 1.0, Some(1.0)));
        report.add(row("a", "netpoll", 9.0, None));
        report.add(row("a", "netpoll", 20.0, Some(20.0)));
        report.add(row("b", "raw", 123.4, None));
        report.note("w", "A note.");
        report.note("w", "A note.");
        report.note("other", "Not here.");
        let expected = "| calls | a | b |\n|---|--:|--:|\n| raw | 1.00 (x1.00) | 123 |\n| **netpoll** | 20.0 (x20.00) | – |\n\n* A note.\n";
        assert_eq!(report.markdown("w"), expected);
        assert_eq!(report.csv().lines().nth(1), Some("w,a,raw,calls,1.0000,1.0000"));
    }

    #[test]
    fn parts_of_a_document_are_replaced() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let document = |text: &str| format!("# Title\n<!-- measured: w -->\n{text}<!-- end: w -->\nafter\n");
        std::fs::write(file.path(), document("old\n")).unwrap();
        check(file.path(), &["w"]).unwrap();
        assert!(check(file.path(), &["w", "other"]).unwrap_err().contains("<!-- measured: other -->"));
        for text in ["new\nlines\n", ""] {
            replace(file.path(), &[("w", text.to_owned())]).unwrap();
            assert_eq!(std::fs::read_to_string(file.path()).unwrap(), document(text));
        }
    }
}
