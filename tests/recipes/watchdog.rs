//! `watchdog` with a FIFO for a device. This machine has no watchdog: what the kernel makes of the bytes is not tested.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, sendto, socket};
use rustix::process::Signal;

use crate::example::PATIENCE;
use crate::program::{Program, expect_usage, run, skip};

const INTERVAL: Duration = Duration::from_millis(20);

/// A machine that is this late is not to be told from one that stands still.
const LATE: Duration = Duration::from_secs(3);

/// What is written to the device, and when.
struct Device {
    path: PathBuf,
    written: Receiver<(Instant, u8)>,
}

impl Device {
    fn new() -> Device {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("netpoll-watchdog-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let fifo = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let (sender, written) = channel();
        std::thread::spawn(move || {
            let mut byte = [0];
            while read(&fifo, &mut byte) == 1 && sender.send((Instant::now(), byte[0])).is_ok() {}
        });
        Device { path, written }
    }

    /// The next byte, and when it came; `None` when the device is closed.
    #[track_caller]
    fn next(&self) -> Option<(Instant, u8)> {
        match self.written.recv_timeout(PATIENCE) {
            Ok(written) => Some(written),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("neither fed nor closed"),
        }
    }

    #[track_caller]
    fn expect_feeds(&self, count: u32) {
        (0..count).for_each(|_| assert_eq!(self.next().map(|(_, byte)| byte), Some(b'\n')));
    }

    /// What comes until it is closed.
    fn rest(&self) -> Vec<u8> {
        std::iter::from_fn(|| self.next()).map(|(_, byte)| byte).collect()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One byte, or none at the end.
fn read(fifo: &OwnedFd, byte: &mut [u8]) -> usize {
    // Before anybody has opened it for writing `read` would say 0, `poll` does not.
    poll(&mut [PollFd::new(fifo, PollFlags::IN)], None).unwrap();
    rustix::io::read(fifo, byte).unwrap()
}

fn start(device: &Device, arguments: &[&str]) -> (Program, SocketAddr) {
    let interval = INTERVAL.as_millis().to_string();
    let fixed = ["--listen", "127.0.0.1:0", "--device", device.path.to_str().unwrap(), "--interval", &interval];
    let mut program = Program::start("watchdog", &[&fixed, arguments].concat());
    let address = program.expect("watchdog: listening on ").parse().unwrap();
    (program, address)
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn idle_server_is_fed_for_and_ends_gracefully() {
    let device = Device::new();
    let began = Instant::now();
    let (program, _) = start(&device, &[]);
    device.expect_feeds(21);
    assert!(began.elapsed() >= 20 * INTERVAL, "{:?}", began.elapsed()); // never early
    program.signal(Signal::TERM);
    let rest = device.rest();
    assert_eq!(rest.iter().position(|byte| *byte == b'V'), Some(rest.len() - 1), "{rest:?}");
    assert!(program.end().status.success());
}

/// More datagrams than it can echo, from every side and all the time.
fn flood(server: SocketAddr, over: &AtomicBool, answers: &AtomicU32) {
    let socket = client(server);
    socket.set_nonblocking(true).unwrap();
    while !over.load(Ordering::Relaxed) {
        (0..16).for_each(|_| drop(socket.send(&[0; 256])));
        let got = std::iter::from_fn(|| socket.recv(&mut [0; 256]).ok()).count();
        answers.fetch_add(got as u32, Ordering::Relaxed);
    }
}

#[test]
fn flood_does_not_keep_the_feed_away() {
    let device = Device::new();
    let (program, address) = start(&device, &[]);
    device.expect_feeds(1);
    let (over, answers) = (AtomicBool::new(false), AtomicU32::new(0));
    let worst = scope(|scope| {
        (0..3).for_each(|_| drop(scope.spawn(|| flood(address, &over, &answers))));
        let (began, mut before, mut worst) = (Instant::now(), Instant::now(), Duration::ZERO);
        while began.elapsed() < Duration::from_secs(2) {
            let Some((at, b'\n')) = device.next() else { break };
            (worst, before) = (worst.max(at.saturating_duration_since(before)), at);
        }
        over.store(true, Ordering::Relaxed);
        worst
    });
    let answers = answers.into_inner();
    assert!(worst < LATE, "{worst:?} without a feed");
    assert!(answers > 1000, "only {answers} answers: no flood");
    program.signal(Signal::TERM);
    assert_eq!(device.rest().last(), Some(&b'V'));
    assert!(program.end().status.success());
}

/// Sends a datagram that says that it comes from the server itself, which answers to itself from then on. Only root may.
fn let_circulate(server: SocketAddr) -> Result<(), Errno> {
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(Protocol::from_raw(NonZeroU32::new(255).unwrap())))?;
    let SocketAddr::V4(address) = server else { panic!("{server}") };
    let (ip, port) = (address.ip().octets(), address.port().to_be_bytes());
    let mut packet = [0; 20 + 8 + 4];
    packet[..10].copy_from_slice(&[0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17]);
    packet[12..20].copy_from_slice(&[ip, ip].concat());
    packet[20..24].copy_from_slice(&[port, port].concat());
    packet[25] = 12;
    sendto(raw, &packet, SendFlags::empty(), &server).map(drop)
}

/// How often it has stood still until something happened.
fn sleeps(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap().trim().parse().unwrap()
}

/// A hundred datagrams circulate: there is always another one, and no pass of the loop ever waits.
#[test]
fn feed_needs_no_rest() {
    let device = Device::new();
    let (program, address) = start(&device, &[]);
    for _ in 0..100 {
        if let Err(errno) = let_circulate(address) {
            return skip("watchdog::feed_needs_no_rest", format_args!("a raw socket: {errno}"));
        }
    }
    device.expect_feeds(2);
    let before = sleeps(&program);
    device.expect_feeds(20);
    // A program also sleeps for a page that is not there or a pipe that is in use, but not at every turn.
    let slept = sleeps(&program) - before;
    assert!(slept < 40, "it slept {slept} times: no flood");
    program.signal(Signal::TERM);
    assert_eq!(device.rest().last(), Some(&b'V'));
    assert!(program.end().status.success());
}

#[test]
fn stuck_server_is_not_fed_for() {
    let device = Device::new();
    let (mut program, address) = start(&device, &["--stick-after", "3"]);
    device.expect_feeds(2);
    let client = client(address);
    for answered in [true, true, false] {
        client.send(b"x").unwrap();
        assert!(!answered || client.recv(&mut [0; 8]).unwrap() == 1);
    }
    assert_eq!(program.error().as_deref(), Some("watchdog: not fed: the server is stuck"));
    device.written.try_iter().for_each(drop);
    // The loop turns, and datagrams keep it busy; for ten times as long as it takes until the device is due.
    (0..100).for_each(|_| drop(client.send(b"x")));
    sleep(10 * INTERVAL);
    program.signal(Signal::TERM);
    assert_eq!(device.rest(), b"", "fed, or stopped");
    assert_eq!(program.end().status.code(), Some(1));
}

#[test]
fn crash_leaves_the_device_running() {
    let device = Device::new();
    let (program, _) = start(&device, &[]);
    device.expect_feeds(1);
    program.signal(Signal::KILL);
    assert!(!device.rest().contains(&b'V'));
    assert!(!program.end().status.success());
}

#[test]
fn missing_device_and_one_that_fails_are_errors() {
    let ended = run("watchdog", &["--listen", "127.0.0.1:0", "--device", "/nonexistent"]);
    assert_eq!((ended.status.code(), &ended.errors[..]), (Some(1), "watchdog: /nonexistent: no such file or directory\n"));
    let ended = run("watchdog", &["--listen", "127.0.0.1:0", "--device", "/dev/full"]);
    assert_eq!((ended.status.code(), &ended.errors[..]), (Some(1), "watchdog: device: no space left on device\n"));
}

#[test]
fn nonsense_is_refused() {
    expect_usage(
        "watchdog",
        &[&["--interval", "0"], &["--listen", "here"], &["--stick-after", "-1"], &["/dev/watchdog"], &["--interval", "3600001"]],
    );
}
