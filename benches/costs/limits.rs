//! What each case may cost, and the size of a program: `benches/costs/limits`.

use core::fmt::Write;
use std::process::Command;

use crate::{Cost, STORAGE, output};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/costs/limits");
/// So much more than was measured is allowed, in percent.
const SLACK: f64 = 3.0;
/// A limit is worth lowering when it is so much too high, in percent.
const TOO_HIGH: f64 = 5.0;

const HEAD: &str = "\
# The most that an operation may cost: instructions and system calls; and the most bytes of examples/nolibc. `.ci/costs` compares,
# `.ci/costs --write` writes what was measured, with 3 % for instructions and bytes, which hold for one compiler only.
";

struct Limit {
    storage: String,
    name: String,
    instructions: f64,
    calls: f64,
}

pub struct Limits {
    compiler: String,
    bytes: Option<u64>,
    limits: Vec<Limit>,
}

fn allowed(measured: f64) -> f64 {
    (measured * (1.0 + SLACK / 100.0)).ceil()
}

fn is_too_high(limit: f64, measured: f64) -> bool {
    limit > allowed(measured) * (1.0 + TOO_HIGH / 100.0)
}

/// The version of the compiler that cargo uses, and for what it compiles.
fn compiler() -> Result<String, String> {
    let said = output(Command::new("rustc").arg("-vV"))?.stdout;
    let said = String::from_utf8_lossy(&said);
    let version = said.lines().next().unwrap_or_default();
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    Ok(format!("{version}, {host}"))
}

impl Limits {
    /// None at all if there is no such file.
    pub fn read() -> Result<Limits, String> {
        let mut limits = Limits { compiler: String::new(), bytes: None, limits: Vec::new() };
        let text = match std::fs::read_to_string(PATH) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(limits),
            text => text.map_err(|error| format!("{PATH}: {error}"))?,
        };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            limits.add(line).ok_or_else(|| format!("{PATH}: not a limit: {line}"))?;
        }
        Ok(limits)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        match *fields.as_slice() {
            ["compiler", compiler] => self.compiler = compiler.to_string(),
            ["bytes", bytes] => self.bytes = Some(bytes.parse().ok()?),
            [storage, name, instructions, calls] => self.limits.push(Limit {
                storage: storage.to_string(),
                name: name.to_string(),
                instructions: instructions.parse().ok()?,
                calls: calls.parse().ok()?,
            }),
            _ => return None,
        }
        Some(())
    }

    /// Those of this storage.
    fn here(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter().filter(|limit| limit.storage == STORAGE)
    }

    fn of(&self, cost: &Cost) -> Option<&Limit> {
        self.here().find(|limit| limit.name == cost.name)
    }

    pub fn exceeded(&self, costs: &[Cost]) -> bool {
        costs
            .iter()
            .filter_map(|cost| Some((cost, self.of(cost)?)))
            .any(|(cost, limit)| cost.instructions > limit.instructions || round(cost.calls) > limit.calls)
    }

    /// Prints the costs beside the limits.
    ///
    /// # Errors
    ///
    /// One is exceeded; a case has none, or a limit no case.
    pub fn check(&self, costs: &[Cost], bytes: Option<u64>) -> Result<(), String> {
        let compiler = compiler()?;
        let binds = compiler == self.compiler;
        if !binds {
            println!("The limits of instructions and bytes hold for {}; this is {compiler}: they are only shown.", self.compiler);
        }
        let (mut grown, mut lower) = (Vec::new(), Vec::new());
        let mut compare = |name: &str, what: &str, measured: f64, limit: f64, binds: bool| {
            let measured_as = if what == "system calls" { round(measured) } else { measured.ceil() };
            let percent = (measured / limit - 1.0) * 100.0;
            if measured > limit {
                let line = format!("{STORAGE}: {name}: {measured_as} {what}, {percent:.1} % above the limit of {limit}");
                if binds { grown.push(line) } else { println!("{line}") }
            } else if binds && is_too_high(limit, measured) {
                lower.push(format!("{STORAGE}: {name}: {measured_as} {what}, {:.1} % below the limit of {limit}", -percent));
            }
        };
        println!("{STORAGE} storage:\n{:>14} {:>8} {:>14} {:>8}", "instructions", "limit", "system calls", "limit");
        for cost in costs {
            let Some(limit) = self.of(cost) else { continue };
            let &Cost { name, instructions, calls } = cost;
            println!("{instructions:14.1} {:8} {calls:14.3} {:8.3}  {name}", limit.instructions, limit.calls);
            compare(name, "instructions", instructions, limit.instructions, binds);
            compare(name, "system calls", round(calls), limit.calls, true);
        }
        if let (Some(bytes), Some(limit)) = (bytes, self.bytes) {
            println!("{bytes:14} {limit:8} {:14} {:8}  bytes of examples/nolibc", "", "");
            compare("examples/nolibc", "bytes", bytes as f64, limit as f64, binds);
        }
        let unlimited = costs.iter().filter(|cost| self.of(cost).is_none()).map(|cost| format!("{STORAGE}: {}: has no limit", cost.name));
        grown.extend(unlimited);
        let gone = self.here().filter(|limit| costs.iter().all(|cost| cost.name != limit.name));
        grown.extend(gone.map(|limit| format!("{STORAGE}: {}: is no case", limit.name)));
        if !lower.is_empty() {
            println!("limits that can be lowered (.ci/costs --write):\n{}", lower.join("\n"));
        }
        match grown.is_empty() {
            true => Ok(()),
            false => Err(format!("it costs more than it may:\n{}", grown.join("\n"))),
        }
    }

    /// Replaces the limits of this storage; the others stay.
    pub fn write(mut self, costs: &[Cost], bytes: Option<u64>) -> Result<(), String> {
        self.compiler = compiler()?;
        self.bytes = bytes.map(|bytes| allowed(bytes as f64) as u64).or(self.bytes);
        self.limits.retain(|limit| limit.storage != STORAGE);
        self.limits.extend(costs.iter().map(|cost| Limit {
            storage: STORAGE.to_string(),
            name: cost.name.to_string(),
            instructions: allowed(cost.instructions),
            calls: round(cost.calls),
        }));
        // Stable: the cases stay in their order.
        self.limits.sort_by(|a, b| b.storage.cmp(&a.storage));
        std::fs::write(PATH, self.text()).map_err(|error| format!("{PATH}: {error}"))
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}compiler | {}\n", self.compiler);
        if let Some(bytes) = self.bytes {
            let _ = writeln!(text, "bytes    | {bytes}");
        }
        for Limit { storage, name, instructions, calls } in &self.limits {
            let _ = writeln!(text, "{storage:8} | {name:52} | {instructions:6} | {calls:7.3}");
        }
        text
    }
}

/// As it is written.
fn round(calls: f64) -> f64 {
    (calls * 1000.0).round() / 1000.0
}
