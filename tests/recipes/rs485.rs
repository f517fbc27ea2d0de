//! `rs485` on pseudo-terminals, whose driver has no RS-485 mode, and on the machine's own serial line.

use std::io::{Read, Write};

use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

use crate::program::{Ended, Program, expect_usage, run, skip};

/// The far end of a line, and the name of the near one.
fn line() -> (std::fs::File, String) {
    let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&end).unwrap();
    let name = ptsname(&end, Vec::new()).unwrap().into_string().unwrap();
    (std::fs::File::from(end), name)
}

/// All bytes that it printed: a machine that is late may make two messages of one.
fn printed(ended: &Ended) -> String {
    ended.lines.concat()
}

#[test]
fn driver_without_the_mode_is_named() {
    let (_end, name) = line();
    let ended = run("rs485", &["--device", &name]);
    assert_eq!((ended.status.code(), ended.errors), (Some(1), format!("rs485: the driver of {name} has no RS-485 mode\n")));
}

#[test]
fn own_serial_line_has_the_mode_or_not() {
    if !std::path::Path::new("/dev/ttyS0").exists() {
        return skip("rs485::own_serial_line_has_the_mode_or_not", "no /dev/ttyS0");
    }
    let ended = run("rs485", &["--device", "/dev/ttyS0", "--baud", "115200", "--wait", "50"]);
    match ended.status.code() {
        Some(0) => {}
        Some(1) if ["no RS-485 mode", "permission denied", "input/output error"].iter().any(|error| ended.errors.contains(error)) => {}
        _ => panic!("{ended:?}"),
    }
}

#[test]
fn request_goes_out_and_the_answer_is_printed() {
    let (mut end, name) = line();
    let arguments = ["--device", &name, "--automatic", "--send", "010300000002c40b", "--wait", "1000"];
    let program = Program::start("rs485", &arguments);
    let mut request = [0; 8];
    end.read_exact(&mut request).unwrap();
    assert_eq!(request, [1, 3, 0, 0, 0, 2, 0xc4, 0x0b]);
    // 3 and 4 would end the line or the file if the line were not raw, 0x0d become 0x0a.
    end.write_all(&[1, 3, 4, 0x0d, 0x0a, 0xff, 0]).unwrap();
    let ended = program.end();
    assert_eq!((ended.status.code(), &printed(&ended)[..]), (Some(0), "0103040d0aff00"), "{ended:?}");
}

#[test]
fn long_message_comes_in_pieces_and_whole() {
    let (mut end, name) = line();
    let program = Program::start("rs485", &["--device", &name, "--automatic", "--send", "00", "--wait", "1000"]);
    end.read_exact(&mut [0]).unwrap();
    let message: Vec<u8> = (0..1000_u32).map(|place| place as u8).collect();
    end.write_all(&message).unwrap();
    let ended = program.end();
    assert_eq!(printed(&ended), message.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
}

#[test]
fn silence_is_no_failure() {
    let (_end, name) = line();
    let began = std::time::Instant::now();
    let ended = run("rs485", &["--device", &name, "--automatic", "--wait", "100"]);
    assert!(began.elapsed().as_millis() >= 100);
    assert_eq!((ended.status.code(), printed(&ended)), (Some(0), String::new()));
}

#[test]
fn line_that_is_unplugged_is_an_error() {
    let (mut end, name) = line();
    let program = Program::start("rs485", &["--device", &name, "--automatic", "--send", "00", "--wait", "60000"]);
    end.read_exact(&mut [0]).unwrap();
    drop(end);
    let ended = program.end();
    assert_eq!((ended.status.code(), ended.errors), (Some(1), format!("rs485: {name}: input/output error\n")));
}

#[test]
fn what_is_no_terminal_is_an_error() {
    for (device, error) in [("/dev/null", "inappropriate ioctl for device"), ("/nonexistent", "no such file or directory")] {
        let ended = run("rs485", &["--device", device]);
        assert_eq!((ended.status.code(), ended.errors), (Some(1), format!("rs485: {device}: {error}\n")));
    }
}

#[test]
fn nonsense_is_refused() {
    let device = ["--device", "/dev/null"];
    let nonsense: [&[&str]; 9] = [
        &["--baud", "1"],
        &["--baud", "fast"],
        &["--send", "0"],
        &["--send", "0x"],
        &["--send", "+1"],
        &["--send", "é"],
        &["--wait", "0"],
        &["--automatic", "--invert-rts"],
        &["x"],
    ];
    expect_usage("rs485", &[&[]]);
    nonsense.iter().for_each(|arguments| expect_usage("rs485", &[&[&device, *arguments].concat()]));
}
