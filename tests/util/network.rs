//! A network of the test's own: interfaces and routes that nobody else sees.

#![allow(dead_code)] // each test program uses a part of it

use std::fmt::Display;
use std::process::Command;

/// Moves this process, which must be the test's own (`alone`), into a network of its own; `None`, said by `skip`, where that is not allowed.
pub fn own_network(skip: impl Fn(&dyn Display)) -> Option<()> {
    // SAFETY: no descriptor is unshared.
    let unshared = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
    unshared.map_err(|errno| skip(&format_args!("no network of its own: {errno}"))).ok()
}

/// Runs ip(8); `None`, said by `skip`, when it fails.
pub fn ip(skip: impl Fn(&dyn Display), arguments: &str) -> Option<()> {
    configure(skip, "ip", arguments)
}

/// As [`ip`], by tc(8): queueing disciplines.
pub fn tc(skip: impl Fn(&dyn Display), arguments: &str) -> Option<()> {
    configure(skip, "tc", arguments)
}

fn configure(skip: impl Fn(&dyn Display), program: &str, arguments: &str) -> Option<()> {
    match Command::new(program).args(arguments.split(' ')).output() {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            skip(&format_args!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()));
            None
        }
        Err(error) => {
            skip(&format_args!("{program}: {error}"));
            None
        }
    }
}

/// Sets a kernel parameter of this network.
pub fn sysctl(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
}
