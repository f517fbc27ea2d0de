//! `signals`: what its children inherit, that none of them is lost, and what each signal does.

use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;

use crate::example::PATIENCE;
use crate::program::{Program, command, expect_usage, run};

/// A line of /proc/PID/status, which says it in hexadecimal.
fn mask(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {status}"));
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn status_of(program: &Program) -> String {
    std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap()
}

/// Passes over what it says of commands that start, in whatever order.
fn next(program: &mut Program) -> String {
    loop {
        let line = program.line().unwrap_or_else(|| panic!("it says no more"));
        if !line.contains(" started: ") {
            return line;
        }
    }
}

#[test]
fn children_start_with_no_signal_blocked_or_ignored() {
    let ended = run("signals", &["exec grep -E '^Sig(Blk|Ign)' /proc/self/status"]);
    assert!(ended.status.success(), "{ended:?}");
    let status = ended.lines.join("\n");
    assert_eq!(mask(&status, "SigBlk:"), 0, "{status}");
    // What the test's own parents ignore is ignored by everybody below, but for SIGPIPE, which no Rust program passes on; and glibc's
    // posix_spawn lets children ignore the two signals that it keeps for itself.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = mask(&own, "SigIgn:") & !(1 << (Signal::PIPE.as_raw() - 1)) | 0b11 << 31;
    assert_eq!(mask(&status, "SigIgn:") & !allowed, 0, "{status}");
}

#[test]
fn it_needs_neither_a_thread_nor_a_mask() {
    let mut program = Program::start("signals", &["echo ready; exec sleep 60"]);
    assert_eq!(next(&mut program), "ready");
    // While it starts a child the C library blocks everything for a moment.
    let end = Instant::now() + PATIENCE;
    let mut status = status_of(&program);
    while mask(&status, "SigBlk:") != 0 {
        assert!(Instant::now() < end, "{status}");
        status = status_of(&program);
    }
    assert!(status.contains("Threads:\t1\n"), "{status}");
    let caught = mask(&status, "SigCgt:");
    for signal in [Signal::HUP, Signal::INT, Signal::TERM, Signal::CHILD] {
        assert_ne!(caught & 1 << (signal.as_raw() - 1), 0, "{signal:?}: {status}");
    }
    program.signal(Signal::TERM);
    assert!(program.end().status.success());
}

/// However many SIGCHLDs become one.
#[test]
fn no_child_is_lost_when_all_end_at_once() {
    for _ in 0..10 {
        let mut command = command("signals", &["cat"; 32]);
        command.stdin(Stdio::piped());
        let mut program = Program::spawn(command);
        (0..32).for_each(|_| assert!(program.expect("signals: ").ends_with(" started: cat")));
        drop(program.child.stdin.take()); // the end of all their inputs
        let ended = program.end();
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(ended.lines.iter().filter(|line| line.ends_with(" ended: exit status: 0")).count(), 32, "{ended:?}");
    }
}

#[test]
fn children_that_end_before_it_waits_are_seen() {
    let ended = run("signals", &["exit 7", "kill -KILL $$", "no-such-command 2>/dev/null", ":"]);
    assert!(ended.status.success(), "{ended:?}");
    for (status, count) in [("exit status: 7", 1), ("signal: 9 (SIGKILL)", 1), ("exit status: 127", 1), ("exit status: 0", 1)] {
        assert_eq!(ended.lines.iter().filter(|line| line.ends_with(&format!(" ended: {status}"))).count(), count, "{status}: {ended:?}");
    }
}

#[test]
fn hangup_starts_everything_anew() {
    let mut program = Program::start("signals", &["trap 'echo told; exit 3' TERM; echo ready; while kill -0 $PPID; do sleep 0.01; done"]);
    for _ in 0..3 {
        assert_eq!(next(&mut program), "ready");
        program.signal(Signal::HUP);
        assert_eq!(next(&mut program), "told");
        assert!(next(&mut program).ends_with(" ended: exit status: 3"));
    }
    assert_eq!(next(&mut program), "ready");
    program.signal(Signal::INT);
    assert_eq!(next(&mut program), "told");
    assert!(next(&mut program).ends_with(" ended: exit status: 3"));
    assert!(program.end().status.success());
}

/// Signals that come while it runs, and in any number, are not lost: the last of them is answered.
#[test]
fn many_signals_end_in_what_the_last_one_wants() {
    let mut program = Program::start("signals", &["exec sleep 60", "exec sleep 60"]);
    program.expect("signals: ");
    for _ in 0..500 {
        program.signal(Signal::HUP);
        program.signal(Signal::CHILD);
    }
    program.signal(Signal::TERM);
    let ended = program.end();
    assert!(ended.status.success(), "{ended:?}");
    let count = |what: &str| ended.lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count(" started: ") + 1, count(" ended: signal: 15 (SIGTERM)"), "{ended:?}");
    assert!(count(" ended: ") >= 2, "{ended:?}");
}

#[test]
fn command_that_does_not_end_is_killed() {
    let mut program = Program::start("signals", &["--grace", "50", "trap '' TERM; echo ready; while kill -0 $PPID; do sleep 0.01; done"]);
    assert_eq!(next(&mut program), "ready");
    program.signal(Signal::TERM);
    assert!(next(&mut program).ends_with(" ended: signal: 9 (SIGKILL)"));
    assert!(program.end().status.success());
}

#[test]
fn nonsense_is_refused() {
    expect_usage("signals", &[&[], &["--grace", "-1", ":"], &["--grace", "x", ":"], &["--reload", ":"], &[":"; 33]]);
}
