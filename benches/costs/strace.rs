//! System calls, counted by strace.

use std::process::Command;

use crate::meter::{BEGIN, CASE, END};
use crate::{operations, output, scratch};

/// Of one operation of each case whose name has `name` in it.
pub fn calls(name: &str) -> Result<Vec<f64>, String> {
    let directory = scratch("strace")?;
    let trace = directory.join("out");
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let said = output(Command::new("strace").arg("-o").arg(&trace).arg(program).args(["--run-marked", name]));
    let text = std::fs::read(&trace);
    let _ = std::fs::remove_dir_all(&directory);
    let (said, text) = (said?, text.map_err(|error| format!("{}: {error}", trace.display()))?);
    let counted = counted(&String::from_utf8_lossy(&text));
    let operations = operations(&said.stdout);
    // The first is the empty one.
    Ok(counted.into_iter().zip(operations).map(|(calls, (operations, _))| calls as f64 / operations).skip(1).collect())
}

/// The calls between the marks, case by case.
fn counted(trace: &str) -> Vec<u64> {
    let mut cases = Vec::new();
    let (mut calls, mut counts) = (0, false);
    for line in trace.lines() {
        if line.contains(BEGIN) {
            counts = true;
        } else if line.contains(END) {
            counts = false;
        } else if line.contains(CASE) {
            cases.push(core::mem::take(&mut calls));
        } else if counts && line.contains('(') {
            calls += 1;
        }
    }
    cases
}
