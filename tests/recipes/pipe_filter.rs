//! `pipe_filter` around programs that read everything, something or nothing.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Output, Stdio};

use rustix::process::Signal;

use crate::program::{command, expect_usage, run};

/// A file of its own for each test.
struct Input(PathBuf, Vec<u8>);

impl Input {
    fn of(len: usize) -> Input {
        let bytes = (0..len).map(|place| b'a' + (place % 26) as u8).collect();
        let name = format!("netpoll-pipe_filter-{}-{:?}", std::process::id(), std::thread::current().id());
        let input = Input(std::env::temp_dir().join(name), bytes);
        std::fs::write(&input.0, &input.1).unwrap();
        input
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn through(&self, filter: &[&str]) -> Output {
        command("pipe_filter", &[&["--input", self.path()], filter].concat()).output().unwrap()
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Far more than both pipes hold: whoever writes it all before he reads stands still.
const MUCH: usize = 4 << 20;

#[test]
fn everything_goes_through() {
    let input = Input::of(MUCH);
    let output = input.through(&["tr", "a-z", "A-Z"]);
    assert!(output.status.success());
    assert!(output.stdout == input.1.to_ascii_uppercase(), "{} bytes", output.stdout.len());
    assert!(Input::of(0).through(&["cat"]).stdout.is_empty());
}

#[test]
fn child_that_has_heard_enough_is_no_failure() {
    let output = Input::of(MUCH).through(&["head", "-c", "5"]);
    assert_eq!((output.status.code(), &output.stdout[..], &output.stderr[..]), (Some(0), &b"abcde"[..], &b""[..]));
}

#[test]
fn child_that_does_not_read_is_heard_to_its_end() {
    let output = Input::of(MUCH).through(&["sh", "-c", "exec <&-; sleep 0.1; echo late; exit 3"]);
    assert_eq!((output.status.code(), &output.stdout[..], &output.stderr[..]), (Some(3), &b"late\n"[..], &b""[..]));
}

/// `yes` goes on for ever: only SIGPIPE ends it, which it must not have inherited as ignored.
#[test]
fn reader_that_leaves_ends_the_child() {
    let input = Input::of(10);
    let mut child =
        command("pipe_filter", &["--input", input.path(), "yes"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "y\n");
    drop(lines);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + Signal::PIPE.as_raw()), "{errors}");
    assert!(errors.starts_with("pipe_filter: output: Broken pipe"), "{errors}");
}

#[test]
fn child_has_blocking_pipes_and_the_default_of_sigpipe() {
    let script = "grep flags: /proc/self/fdinfo/0 /proc/self/fdinfo/1; grep SigIgn: /proc/self/status";
    let output = Input::of(10).through(&["sh", "-c", script]);
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let [input, output, ignored] = numbers[..] else { panic!("{text}") };
    for flags in [input, output] {
        assert_eq!(u32::from_str_radix(flags, 8).unwrap() & 0o4000, 0, "{text}");
    }
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & (1 << (Signal::PIPE.as_raw() - 1)), 0, "{text}");
}

#[test]
fn it_ends_as_the_child_does() {
    let input = Input::of(10);
    assert_eq!(input.through(&["sh", "-c", "cat >/dev/null; exit 7"]).status.code(), Some(7));
    assert_eq!(input.through(&["sh", "-c", "kill -KILL $$"]).status.code(), Some(128 + 9));
}

#[test]
fn what_cannot_be_opened_or_run_is_an_error() {
    let input = Input::of(10);
    for (arguments, error) in [
        (["--input", "/nonexistent", "cat"], "/nonexistent: No such file"),
        (["--input", input.path(), "no-such-command"], "no-such-command: No such file"),
        (["--input", "/", "cat"], "input: Is a directory"),
    ] {
        let ended = run("pipe_filter", &arguments);
        assert!(ended.errors.contains(error), "{ended:?}");
    }
    assert_eq!(run("pipe_filter", &["--input", input.path(), "no-such-command"]).status.code(), Some(1));
}

#[test]
fn nonsense_is_refused() {
    expect_usage("pipe_filter", &[&[], &["cat"], &["--input", "/dev/null"], &["--output", "x", "cat"]]);
}
