//! Namespaces of the test's own: a network in which links can be made without privilege and nobody else makes any, numbers of processes
//! that nobody else takes.

#![allow(dead_code)] // each test program uses a part of it

use std::process::{Command, Output};

use crate::util::{expect_passed, is_alone, skip};

/// Runs the test `name` of this program again, in a process with a network of its own, in which it is root; skips it where that is not
/// allowed.
#[track_caller]
pub fn in_own_network(name: &str, test: impl FnOnce()) {
    in_own(&["--net"], name, test);
}

/// The same for namespaces that the command `unshare` is asked for, of the Debian package `util-linux`.
#[track_caller]
pub fn in_own(namespaces: &[&str], name: &str, test: impl FnOnce()) {
    if is_alone() {
        return test();
    }
    let unshare = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).args(namespaces).args(program).env("NETPOLL_TEST_ALONE", "1").output()
    };
    match unshare(&["true"]).map(why_not) {
        Ok(None) => {}
        Ok(Some(reason)) => return skip(name, format_args!("no namespace of its own: {reason}")),
        Err(error) => return skip(name, format_args!("unshare: {error}")),
    }
    let program = std::env::current_exe().unwrap();
    let arguments = [program.to_str().unwrap(), "--exact", name, "--test-threads=1", "--nocapture"];
    expect_passed(&unshare(&arguments).unwrap());
}

fn why_not(output: Output) -> Option<String> {
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// The command `ip`, of the Debian package `iproute2`. `None`, with a word, if that does not work here.
pub fn ip(test: &str, arguments: &str) -> Option<()> {
    let reason = match Command::new("ip").args(arguments.split(' ')).output().map(why_not) {
        Ok(None) => return Some(()),
        Ok(Some(reason)) => reason,
        Err(error) => error.to_string(),
    };
    skip(test, format_args!("ip {arguments}: {reason}"));
    None
}
