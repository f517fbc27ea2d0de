//! The table of call, error and outcome.

use std::collections::{BTreeMap, BTreeSet};

use crate::expected::Outcome;
use crate::strace::Call;

/// What came of which errors of a call, and at how many points.
#[derive(Default)]
pub struct Table(BTreeMap<(String, String), (BTreeSet<&'static str>, usize)>);

impl Table {
    pub fn add(&mut self, call: &Call, error: &'static str, outcome: Outcome) {
        let (errors, points) = self.0.entry((label(call), describe(outcome))).or_default();
        errors.insert(error);
        *points += 1;
    }

    pub fn page(&self) -> String {
        let points: usize = self.0.values().map(|(_, points)| points).sum();
        let mut page = HEAD.replace("POINTS", &points.to_string());
        for ((call, outcome), (errors, points)) in &self.0 {
            let errors: Vec<&str> = errors.iter().copied().collect();
            page += &format!("| {call} | {} | {outcome} | {points} |\n", errors.join(" "));
        }
        page
    }
}

const HEAD: &str = "\
# What comes of a system call that fails

Written by `.ci/faults` from its runs. Short lives of a poller, a server, sockets, pipes and what only Linux has are lived under
`strace -e inject=`, and in each one call fails once with one error: POINTS runs. The program makes again what it is told has failed, and comes
to its end. No descriptor, handler or wake-up is lost, nothing spins, nothing hangs.

The errors are those of the man pages, and for every call `EINTR`, `ENOMEM`, `EBADF` and the `EPERM` of a seccomp filter, whether or not the
kernel ever says so. Not tried is what means that a call is to be waited for: `EAGAIN`, `EINPROGRESS`. One call can have several outcomes where
several operations make it. A `connect` that strace interrupts
does not go on by itself, as the kernel's does: so `Dial` takes it for one that has failed.

* told: the operation answers with this error. What it was made on is as it was, what was offered comes back, and the same operation succeeds
  when it is made again.
* told as …: the operation answers with this instead.
* unnoticed: the call is made again, or its answer can be done without.
* closed: unnoticed; the descriptor counts as closed, and its number is not closed again.
* counted: unnoticed but for [`Stats::lost_descriptors`](crate::Stats::lost_descriptors).

| call | errors | outcome | points |
|---|---|---|---|
";

fn describe(outcome: Outcome) -> String {
    match outcome {
        Outcome::Told => "told",
        Outcome::As("NotPollable") => "told as `NotPollable`",
        Outcome::As("overrun") => "told as `Notice::Overrun`",
        Outcome::As("kept") => "`unlink_stale` leaves the name alone",
        Outcome::As(error) => return format!("told as {error}"),
        Outcome::Unnoticed => "unnoticed",
        Outcome::NextAddress => "`Dial` goes on to the next address",
        Outcome::Closed => "closed",
        Outcome::Counted => "counted",
        Outcome::Either | Outcome::NotTried => unreachable!("no outcome of a run"),
    }
    .to_owned()
}

/// A call, and which of those that share its name.
pub fn label(call: &Call) -> String {
    const KINDS: [(&str, &str); 9] = [
        ("EPOLL_CTL_ADD", "`EPOLL_CTL_ADD`"),
        ("EPOLL_CTL_DEL", "`EPOLL_CTL_DEL`"),
        ("F_GETFL", "`F_GETFL`"),
        ("F_DUPFD", "`F_DUPFD_CLOEXEC`"),
        ("SO_ERROR", "`SO_ERROR`"),
        ("SO_PEERCRED", "`SO_PEERCRED`"),
        ("SO_RCVBUFFORCE", "`SO_RCVBUFFORCE`"),
        ("SO_TYPE", "`SO_TYPE`"),
        ("/proc/self/auxv", "of `/proc/self/auxv`"),
    ];
    match KINDS.iter().find(|(what, _)| call.line.contains(what)) {
        Some((_, kind)) => format!("`{}` {kind}", call.name),
        None => format!("`{}`", call.name),
    }
}
