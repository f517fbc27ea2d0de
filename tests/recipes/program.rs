//! An example as a process whose output is read line by line, and which never hangs a test.

#![allow(dead_code)] // not all of it is needed by any one of them

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::example::{self, PATIENCE};

pub struct Program {
    pub child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

/// How a program ended, and what it had said since it was last listened to.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub lines: Vec<String>,
    pub errors: String,
}

/// Longer than all of them take together. A program that never ends must fail its test, not hang it.
const LIMIT: Duration = Duration::from_secs(240);

fn limit_this_program() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::thread::spawn(|| {
            std::thread::sleep(LIMIT);
            eprintln!("not finished in {LIMIT:?}");
            std::process::exit(101);
        });
    });
}

pub fn command(name: &str, arguments: &[&str]) -> Command {
    limit_this_program();
    let mut command = Command::new(example::path(name));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Says, whether or not output is captured, what could not be tried here.
pub fn skip(test: &str, reason: impl std::fmt::Display) {
    std::io::stderr().write_all(format!("skipped: {test}: {reason}\n").as_bytes()).unwrap();
}

/// Runs an example to its end.
#[track_caller]
pub fn run(name: &str, arguments: &[&str]) -> Ended {
    Program::start(name, arguments).end()
}

/// Each list of arguments is refused with status 2 and a word on how it is done.
#[track_caller]
pub fn expect_usage(name: &str, nonsense: &[&[&str]]) {
    for arguments in nonsense {
        let ended = run(name, arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.contains("Usage") || ended.errors.contains("--help"), "{arguments:?}: {ended:?}");
        assert_eq!(ended.lines, [""; 0], "{arguments:?}");
    }
}

fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || BufReader::new(output).lines().try_for_each(|line| sender.send(line.unwrap()).ok()));
    lines
}

#[track_caller]
fn next(lines: &Receiver<String>) -> Option<String> {
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("no line in {PATIENCE:?}"),
    }
}

impl Program {
    pub fn start(name: &str, arguments: &[&str]) -> Program {
        Program::spawn(command(name, arguments))
    }

    pub fn spawn(mut command: Command) -> Program {
        limit_this_program();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, errors) = (lines_of(child.stdout.take().unwrap()), lines_of(child.stderr.take().unwrap()));
        Program { child, lines, errors }
    }

    /// The next line that it prints; `None` when it prints no more.
    #[track_caller]
    pub fn line(&mut self) -> Option<String> {
        next(&self.lines)
    }

    /// The next line that it prints to its standard error.
    #[track_caller]
    pub fn error(&mut self) -> Option<String> {
        next(&self.errors)
    }

    /// The next line, which begins with `beginning`; the rest of it.
    #[track_caller]
    pub fn expect(&mut self, beginning: &str) -> String {
        match self.line() {
            Some(line) => line.strip_prefix(beginning).unwrap_or_else(|| panic!("{line:?} instead of {beginning:?}")).to_owned(),
            None => panic!("the end instead of {beginning:?}: {:?}", self.ended()),
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        self.ended()
    }

    #[track_caller]
    fn ended(&mut self) -> Ended {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end; it has said {:?}", self.lines.try_iter().collect::<Vec<_>>());
            std::thread::sleep(Duration::from_millis(2));
        };
        let lines = std::iter::from_fn(|| self.line()).collect();
        let errors = std::iter::from_fn(|| self.error()).map(|line| line + "\n").collect();
        Ended { status, lines, errors }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
