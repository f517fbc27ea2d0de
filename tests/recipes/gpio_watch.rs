//! `gpio_watch`. This machine has no GPIO lines: the character device is tried as far as its errors, the way of sysfs by other files whose
//! changes the kernel announces as it does those of `/sys/class/gpio/*/value`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::example;
use crate::program::{Program, expect_usage, run, skip};

/// A cgroup, whose `cgroup.events` says whether a process is in it. The kernel's code is that of sysfs (kernfs).
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Result<Cgroup, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = fields.find(|fields| fields[2] == "cgroup2").ok_or("no cgroup2 is mounted")?[1].to_owned();
        let name = format!("netpoll-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(root).join(name);
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Cgroup(path))
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn add(&self, process: &Child) {
        std::fs::write(self.file("cgroup.procs"), process.id().to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn end(mut process: Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn each_change_of_a_value_is_read_from_its_beginning() {
    let cgroup = match Cgroup::new() {
        Ok(cgroup) => cgroup,
        Err(reason) => return skip("gpio_watch::each_change_of_a_value_is_read_from_its_beginning", reason),
    };
    let mut program = Program::start("gpio_watch", &["--sysfs", &cgroup.file("cgroup.events")]);
    program.expect("value populated 0");
    for _ in 0..3 {
        let process = Command::new("sleep").arg("60").spawn().unwrap();
        cgroup.add(&process);
        program.expect("value populated 1");
        end(process);
        program.expect("value populated 0");
    }
}

/// How much of a processor it has used, in ticks.
fn ticks(program: &Program) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The file is readable all the time: who opened it for reading would never come to rest.
#[test]
fn mounts_announce_changes_and_cost_nothing_in_between() {
    let test = "gpio_watch::mounts_announce_changes_and_cost_nothing_in_between";
    let script = "mount -t tmpfs tmpfs /mnt && echo ready && exec \"$0\" --sysfs /proc/self/mounts";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script]).arg(example::path("gpio_watch"));
    let mut program = Program::spawn(unshare);
    if program.line().as_deref() != Some("ready") {
        return skip(test, program.end().errors);
    }
    program.expect("value ");
    let pid = program.child.id().to_string();
    for step in [&["mount", "-t", "tmpfs", "tmpfs", "/mnt"][..], &["umount", "/mnt"]] {
        let before = ticks(&program);
        std::thread::sleep(Duration::from_millis(200));
        assert!(ticks(&program) - before < 10);
        let done = Command::new("nsenter").args(["--mount", "-t", &pid]).args(step).stdin(Stdio::null()).status().unwrap();
        assert!(done.success());
        assert!(program.expect("value ").len() > 5);
    }
}

#[test]
fn what_is_no_device_is_an_error() {
    skip("gpio_watch: edges of the character device", "no /dev/gpiochip0, and no kernel that can simulate one");
    for (arguments, error) in [
        (&["--chip", "/nonexistent", "1"][..], "gpio_watch: /nonexistent: No such file or directory (os error 2)\n"),
        (&["--chip", "/dev/null", "1", "2"], "gpio_watch: /dev/null: \"/dev/null\" is not a GPIO character device.\n"),
        (&["--sysfs", "/nonexistent"], "gpio_watch: /nonexistent: no such file or directory\n"),
        (&["--sysfs", "/etc/passwd"], "gpio_watch: /etc/passwd: not pollable\n"),
        (&["--sysfs", "/dev/null"], "gpio_watch: /dev/null: not pollable\n"),
    ] {
        let ended = run("gpio_watch", arguments);
        assert_eq!((ended.status.code(), &ended.errors[..]), (Some(1), error), "{arguments:?}");
    }
}

#[test]
fn nonsense_is_refused() {
    let many: Vec<String> = (0..65).map(|line| line.to_string()).collect();
    let many: Vec<&str> = ["--chip", "/dev/gpiochip0"].into_iter().chain(many.iter().map(String::as_str)).collect();
    expect_usage(
        "gpio_watch",
        &[
            &[],
            &["17"],
            &["--chip", "/dev/gpiochip0"],
            &["--chip", "/dev/gpiochip0", "x"],
            &["--chip", "/dev/gpiochip0", "-1"],
            &["--chip", "/dev/gpiochip0", "--sysfs", "/sys", "1"],
            &["--sysfs", "/sys", "1"],
            &["--sysfs"],
            &many,
        ],
    );
}
