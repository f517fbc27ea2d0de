//! A life under strace: its calls between the marks, and its report.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::life::{FAULT, LIFE, REPORT};

/// What a life begins and ends with.
const MARK: &str = "getppid(";

/// What is to fail: one call, or some calls in a row.
#[derive(Clone, Debug)]
pub struct Fault {
    pub call: &'static str,
    /// The kernel's name for it on this machine.
    pub entry: String,
    pub error: &'static str,
    /// strace's `when`, counted from the start of the process.
    pub when: String,
}

/// One call of a life.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: &'static str,
    pub line: String,
    /// The how manyth call of the kernel's name it is in the process.
    pub number: usize,
}

impl Call {
    /// The kernel's name for it.
    pub fn entry(&self) -> String {
        self.line.split('(').next().unwrap_or_default().to_owned()
    }

    pub fn is_injected(&self) -> bool {
        self.line.contains("(INJECTED)")
    }
}

/// What a life says at its end.
#[derive(Debug)]
pub struct Report {
    pub leaked: i64,
    pub lost: u64,
    pub polls: u64,
    pub told: Vec<String>,
}

/// What was seen of a life.
#[derive(Debug)]
pub struct Seen {
    pub calls: Vec<Call>,
    /// The names of those that no fault is known for.
    pub others: BTreeSet<String>,
    /// Why there is none, else.
    pub report: Result<Report, String>,
}

/// One name for each call, whatever the machine's kernel calls it.
fn canonical(name: &str) -> Option<&'static str> {
    let name = match name {
        "epoll_wait" | "epoll_pwait2" => "epoll_pwait",
        "openat" => "open",
        "recv" => "recvfrom",
        "send" => "sendto",
        "fcntl64" => "fcntl",
        "unlink" => "unlinkat",
        "statx" | "fstatat64" => "newfstatat",
        "fstat64" => "fstat",
        "timerfd_settime64" => "timerfd_settime",
        "timerfd_gettime64" => "timerfd_gettime",
        name => name,
    };
    CALLS.iter().find(|(known, _)| *known == name).map(|(known, _)| *known)
}

/// What is traced, and injected into, under these names.
pub const CALLS: &[(&str, &str)] = &[
    ("accept4", "accept4"),
    ("bind", "bind"),
    ("close", "close"),
    ("connect", "connect"),
    ("epoll_create1", "epoll_create1"),
    ("epoll_ctl", "epoll_ctl"),
    ("epoll_pwait", "?epoll_wait,epoll_pwait,?epoll_pwait2"),
    ("eventfd2", "eventfd2"),
    ("fcntl", "fcntl,?fcntl64"),
    ("fstat", "?fstat,?fstat64"),
    ("getpeername", "getpeername"),
    ("getsockname", "getsockname"),
    ("getsockopt", "getsockopt"),
    ("inotify_add_watch", "inotify_add_watch"),
    ("inotify_init1", "inotify_init1"),
    ("inotify_rm_watch", "inotify_rm_watch"),
    ("ioctl", "ioctl"),
    ("listen", "listen"),
    ("newfstatat", "?newfstatat,?statx,?fstatat64"),
    ("open", "?open,openat"),
    ("pidfd_open", "pidfd_open"),
    ("pidfd_send_signal", "pidfd_send_signal"),
    ("pipe2", "pipe2"),
    ("prctl", "prctl"),
    ("read", "read"),
    ("recvfrom", "?recv,recvfrom"),
    ("recvmsg", "recvmsg"),
    ("sendmsg", "sendmsg"),
    ("sendto", "?send,sendto"),
    ("setsockopt", "setsockopt"),
    ("shutdown", "shutdown"),
    ("socket", "socket"),
    ("socketpair", "socketpair"),
    ("timerfd_create", "timerfd_create"),
    ("timerfd_gettime", "timerfd_gettime,?timerfd_gettime64"),
    ("timerfd_settime", "timerfd_settime,?timerfd_settime64"),
    ("unlinkat", "?unlink,unlinkat"),
    ("waitid", "waitid"),
    ("write", "write"),
];

fn traced(call: &str) -> &'static str {
    CALLS.iter().find(|(known, _)| *known == call).unwrap_or_else(|| panic!("{call}")).1
}

/// Lives a life, undisturbed or with faults.
pub fn run(life: &str, fault: Option<&Fault>) -> Seen {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let record = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}-{number}.strace", std::process::id()));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-s", "64", "-o"]).arg(&record);
    match fault {
        None => {}
        Some(Fault { call, entry, error, when }) => {
            command.arg("--seccomp-bpf").arg("-e").arg(format!("trace={},getppid,prctl", traced(call)));
            command.arg("-e").arg(format!("inject={entry}:error={error}:when={when}"));
            command.env(FAULT, format!("{call} {error}"));
        }
    }
    if life == "clock" && fault.is_none_or(|fault| fault.call != "prctl") {
        command.args(["-e", "inject=prctl:error=EINVAL"]);
    }
    command.arg(std::env::current_exe().unwrap()).env(LIFE, life);
    let output = command.output().unwrap_or_else(|error| panic!("strace: {error}: install the package strace"));
    let text = fs::read_to_string(&record).expect("strace has recorded nothing: may this user trace?");
    let _ = fs::remove_file(&record);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = match stdout.lines().find_map(|line| line.strip_prefix(REPORT)).and_then(parse) {
        Some(report) if output.status.success() => Ok(report),
        _ => Err(format!("{}\n{stdout}\n{stderr}\n{text}", output.status)),
    };
    let (calls, others) = calls(&text);
    Seen { calls, others, report }
}

fn parse(report: &str) -> Option<Report> {
    let (numbers, told) = report.split_once(" told ")?;
    let mut numbers = numbers.split(' ').skip(1).step_by(2);
    let told = told.split(", ").filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    Some(Report { leaked: numbers.next()?.parse().ok()?, lost: numbers.next()?.parse().ok()?, polls: numbers.next()?.parse().ok()?, told })
}

/// The calls between the marks, of the thread that made these.
fn calls(text: &str) -> (Vec<Call>, BTreeSet<String>) {
    let (mut calls, mut others) = (Vec::new(), BTreeSet::new());
    let (mut marks, mut numbers) = (0, HashMap::new());
    let Some((thread, _)) = text.lines().filter_map(split).find(|(_, line)| line.starts_with(MARK)) else { return (calls, others) };
    for (_, line) in text.lines().filter_map(split).filter(|(of, _)| *of == thread) {
        // Signals, ends of processes and of interrupted lines look otherwise.
        let is_name = |entry: &&str| entry.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let Some(entry) = line.split_once('(').map(|(entry, _)| entry).filter(is_name) else { continue };
        if line.starts_with(MARK) {
            marks += 1;
            continue;
        }
        let Some(name) = canonical(entry) else {
            others.extend((marks == 1).then(|| entry.to_owned()));
            continue;
        };
        let number = *numbers.entry(entry).and_modify(|number| *number += 1).or_insert(1);
        if marks == 1 {
            calls.push(Call { name, line: line.to_owned(), number });
        }
    }
    (calls, others)
}

/// A line of strace's: of whom, and what.
fn split(line: &str) -> Option<(&str, &str)> {
    line.split_once(' ').map(|(thread, line)| (thread, line.trim_start()))
}
