//! `can_log` on a virtual CAN interface where the kernel has any, and else as far as its errors.

use std::process::{Command, Stdio};

use crate::example;
use crate::program::{Program, expect_usage, run, skip};

/// In a network of its own, so that the interface is nobody else's, and gone with the last process.
fn alone(arguments: &str) -> Command {
    let script = format!("ip link add vcan0 type vcan && exec \"$0\" vcan0 {arguments}");
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "sh", "-c", &script]).arg(example::path("can_log")).stdin(Stdio::null());
    unshare
}

#[test]
fn interface_that_is_down_is_waited_for_and_one_that_is_gone_is_not() {
    let mut sender = Program::spawn(alone("--send 123#DEADBEEF --send 1FFFFFFF#"));
    let first = sender.error();
    if first.as_deref() != Some("can_log: vcan0 is down, waiting") {
        return skip("can_log: frames", format_args!("no vcan: {}", first.unwrap_or_default()));
    }
    let pid = sender.child.id().to_string();
    let inside = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &pid, program]).args(arguments).stdin(Stdio::null());
        command
    };
    let path = example::path("can_log");
    let ip = |arguments: &[&str]| assert!(inside("ip", arguments).status().unwrap().success());
    let mut logger = Program::spawn(inside(path.to_str().unwrap(), &["vcan0"]));
    assert_eq!(logger.error().as_deref(), Some("can_log: vcan0 is down, waiting"));
    ip(&["link", "set", "vcan0", "up"]);
    assert_eq!(logger.expect("vcan0 "), "123#DEADBEEF");
    assert_eq!(logger.expect("vcan0 "), "1FFFFFFF#");
    ip(&["link", "set", "vcan0", "down"]);
    assert_eq!(logger.error().as_deref(), Some("can_log: vcan0 is down, waiting"));
    ip(&["link", "set", "vcan0", "up"]);
    let mut second = Program::spawn(inside(path.to_str().unwrap(), &["vcan0", "--send", "7ff#01"]));
    assert_eq!(logger.expect("vcan0 "), "7FF#01");
    assert_eq!(sender.expect("vcan0 "), "7FF#01");
    ip(&["link", "del", "vcan0"]);
    assert_eq!(second.line(), None);
    for program in [sender, logger, second] {
        let ended = program.end();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.errors.ends_with("can_log: vcan0: no such device\n"), "{ended:?}");
    }
}

#[test]
fn what_is_no_can_interface_is_an_error() {
    let ended = run("can_log", &["nocan0"]);
    assert_eq!((ended.status.code(), &ended.errors[..]), (Some(1), "can_log: nocan0: No such device (os error 19)\n"));
    // Where the kernel knows CAN, the loopback interface is no such interface; else nothing is.
    let ended = run("can_log", &["lo"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.errors.starts_with("can_log: lo: "), "{ended:?}");
}

#[test]
fn nonsense_is_refused() {
    let nonsense: [&[&str]; 8] = [
        &[],
        &["can0", "can1"],
        &["can0", "--send"],
        &["can0", "--send", "123"],
        &["can0", "--send", "800#00"],
        &["can0", "--send", "123#0"],
        &["can0", "--send", "123#+1"],
        &["can0", "--send", "123#112233445566778899"],
    ];
    expect_usage("can_log", &nonsense);
}
