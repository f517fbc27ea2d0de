//! `examples/mqtt_bridge` against real peers: `mosquitto`, started, stopped and killed with files and an address of its own, and
//! `mosquitto_sub`; and against scripted brokers, which do what mosquitto does not.
//!
//! Debian packages: `mosquitto`, `mosquitto-clients`. A test whose tool is missing fails.

#[path = "util/example.rs"]
mod example;
#[path = "util/reactor.rs"]
mod reactor;

use example::{Example, PATIENCE};
use reactor::limit_this_program;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What may be published and not acknowledged, as the example has it.
const WINDOW: u16 = 16;

// ---- Around a test

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A directory of its own for each test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("mqtt_bridge-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An IP address of its own for each test. Not 127.0.0.1, from where connections come: their ports are taken from the same numbers, and one
/// of them could have a broker's port when that comes back.
fn own_ip() -> Ipv4Addr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, 1 + LAST.fetch_add(1, Ordering::Relaxed))
}

/// Where nobody listens. Never a listener's address, even if it is closed: a process that is just being made by another test still has it.
fn own_address() -> SocketAddr {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(own_ip(), 0)).unwrap();
    rustix::net::getsockname(&socket).unwrap().try_into().unwrap()
}

fn terminate(child: &mut Child) {
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    eventually("the end of a process", || child.try_wait().unwrap().is_some());
}

// ---- The bridge

struct Bridge {
    example: Example,
    log: PathBuf,
}

impl Deref for Bridge {
    type Target = Example;

    fn deref(&self) -> &Example {
        &self.example
    }
}

impl Bridge {
    fn start(directory: &Directory, broker: SocketAddr, arguments: &[&str]) -> Bridge {
        limit_this_program();
        let log = directory.file("bridge.log");
        let mut command = Command::new(example::path("mqtt_bridge"));
        command.args(["--broker", &broker.to_string(), "--interval", "1", "--backoff-min", "10", "--backoff-max", "100"]);
        command.args(arguments).stderr(File::create(&log).unwrap());
        let example = Example::spawn(command);
        assert_eq!(example.address, broker);
        Bridge { example, log }
    }

    /// What it has said so far.
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn expect(&self, line: &str) {
        let start = Instant::now();
        while !self.log().contains(line) {
            assert!(start.elapsed() < PATIENCE, "no {line:?} in\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks for the counters; the one that stands before or after `what`.
    fn counter(&mut self, what: &str) -> u64 {
        self.signal(Signal::USR1);
        let mut text = String::new();
        while !text.contains("reactor:") {
            assert_ne!(self.example.output.read_line(&mut text).unwrap(), 0, "{text}");
        }
        counter(&text, what)
    }

    /// Waits for its end: status, output and log.
    fn finish(mut self) -> (Option<i32>, String, String) {
        let child = &mut self.example.child;
        eventually("the end of the bridge", || child.try_wait().unwrap().is_some());
        let mut output = String::new();
        self.example.output.read_to_string(&mut output).unwrap();
        let log = self.log();
        (self.example.wait().code(), output, log)
    }
}

fn counter(text: &str, what: &str) -> u64 {
    let (before, after) = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    let no_digit = |letter: char| !letter.is_ascii_digit();
    let [number, other] = [after.split(no_digit).next(), before.rsplit(no_digit).next()].map(Option::unwrap_or_default);
    if number.is_empty() { other.parse().unwrap() } else { number.parse().unwrap() }
}

/// It took readings, and had all of them acknowledged; how many.
#[track_caller]
fn expect_all_acknowledged((status, output, log): (Option<i32>, String, String)) -> u64 {
    assert_eq!(status, Some(0), "{output}\n{log}");
    let readings = counter(&output, "readings: ");
    assert_eq!(counter(&output, "acknowledged: "), readings, "{output}");
    assert_eq!(counter(&output, " published: "), readings, "{output}");
    readings
}

// ---- mosquitto

struct Mosquitto {
    child: Child,
    address: SocketAddr,
    configuration: PathBuf,
    log: PathBuf,
}

impl Mosquitto {
    /// A broker that keeps everything, and saves each change at once.
    fn start(directory: &Directory, more: &str) -> Mosquitto {
        let address = own_address();
        let [configuration, log] = ["mosquitto.conf", "mosquitto.log"].map(|name| directory.file(name));
        let files = directory.0.display();
        let lines = format!(
            "listener {} {}\nuser root\nlog_type all\nlog_dest stderr\npersistence true\npersistence_location {files}/\n\
             autosave_interval 1\nautosave_on_changes true\nmax_inflight_messages 0\nmax_queued_messages 0\nallow_anonymous true\n{more}\n",
            address.port(),
            address.ip()
        );
        std::fs::write(&configuration, lines).unwrap();
        let child = Mosquitto::spawn(&configuration, &log, address);
        Mosquitto { child, address, configuration, log }
    }

    fn spawn(configuration: &Path, log: &Path, address: SocketAddr) -> Child {
        let mut command = Command::new("/usr/sbin/mosquitto"); // a place that is not in everybody's path
        let log = File::options().create(true).append(true).open(log).unwrap();
        command.arg("-c").arg(configuration).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("mosquitto: {error}; install the Debian package mosquitto"));
        eventually("mosquitto listens", || {
            assert!(child.try_wait().unwrap().is_none(), "mosquitto has ended");
            TcpStream::connect(address).is_ok()
        });
        child
    }

    /// Ends it as an administrator does.
    fn stop(&mut self) {
        terminate(&mut self.child);
    }

    /// Ends it as a power failure does, but for the disk.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// With the same address and files as before.
    fn start_again(&mut self) {
        self.child = Mosquitto::spawn(&self.configuration, &self.log, self.address);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Starts `mosquitto_sub` for this many messages.
    fn subscribe(&self, topic: &str, messages: u32) -> Child {
        let mut command = Command::new("mosquitto_sub");
        let (ip, port) = (self.address.ip().to_string(), self.address.port().to_string());
        command.args(["-h", &ip, "-p", &port, "-i", "sub", "-q", "1", "-t", topic, "-C", &messages.to_string()]).stdout(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("mosquitto_sub: {error}; install the Debian package mosquitto-clients"));
        eventually("the subscription", || self.log().contains("Sending SUBACK to sub"));
        child
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a subscriber that has all it waits for has printed.
fn printed(mut subscriber: Child) -> String {
    eventually("mosquitto_sub has everything", || subscriber.try_wait().unwrap().is_some());
    let Output { stdout, .. } = subscriber.wait_with_output().unwrap();
    String::from_utf8(stdout).unwrap()
}

// ---- MQTT, as far as the other side needs it

/// The next packet: its first byte, and what is behind its length.
fn read_packet(mut stream: &TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    let mut next = || stream.read_exact(&mut byte).map(|()| byte[0]);
    let first = next()?;
    let mut length = 0;
    for place in 0.. {
        let byte = next()?;
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((first, body))
}

#[derive(Debug, PartialEq, Clone)]
struct Publish {
    seq: u64,
    id: u16,
    dup: bool,
}

fn publish(first: u8, body: &[u8]) -> Publish {
    assert_eq!(first & !0x08, 0x32, "QoS 1, not retained");
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let (id, payload) = (&body[2 + topic..4 + topic], &body[4 + topic..]);
    let payload = std::str::from_utf8(payload).unwrap();
    let seq = payload.strip_prefix("{\"seq\":").and_then(|rest| rest.split_once(",\"power_w\":")).unwrap().0;
    Publish { seq: seq.parse().unwrap(), id: u16::from_be_bytes([id[0], id[1]]), dup: first & 0x08 != 0 }
}

/// A subscriber with a session that the broker keeps. It comes back by itself, and loses nothing that was delivered.
struct Subscriber {
    seqs: Arc<Mutex<Vec<u64>>>,
}

impl Subscriber {
    fn start(broker: SocketAddr) -> Subscriber {
        let seqs = Arc::new(Mutex::new(Vec::new()));
        let (heard, (ready, subscribed)) = (Arc::clone(&seqs), std::sync::mpsc::channel());
        thread::spawn(move || {
            // Until the test is over.
            while Arc::strong_count(&heard) > 1 {
                if let Ok(stream) = TcpStream::connect(broker) {
                    let _ = Subscriber::listen(&stream, &heard, &ready);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        subscribed.recv_timeout(PATIENCE).expect("no subscription");
        Subscriber { seqs }
    }

    fn listen(mut stream: &TcpStream, seqs: &Mutex<Vec<u64>>, ready: &std::sync::mpsc::Sender<()>) -> io::Result<()> {
        stream.write_all(b"\x10\x10\0\x04MQTT\x04\0\0\0\0\x04self")?;
        loop {
            match read_packet(stream)? {
                (0x20, body) => {
                    assert_eq!(body[1], 0, "refused");
                    if body[0] == 0 {
                        stream.write_all(b"\x82\x0d\0\x01\0\x08meters/1\x01")?;
                    }
                }
                (0x90, _) => drop(ready.send(())),
                (first, body) => {
                    let publish = publish(first, &body);
                    seqs.lock().unwrap().push(publish.seq);
                    let [high, low] = publish.id.to_be_bytes();
                    let _ = stream.write_all(&[0x40, 2, high, low]); // the broker may be gone, and what it has sent still be here
                }
            }
        }
    }

    fn wait_for(&self, seq: u64) {
        eventually("a reading", || self.seqs.lock().unwrap().iter().any(|&heard| heard >= seq));
    }

    /// Everything up to the `last` reading has come, at least once, and in order.
    fn expect_all(&self, last: u64) {
        self.wait_for(last);
        let mut seen = HashSet::new();
        let firsts: Vec<u64> = self.seqs.lock().unwrap().iter().copied().filter(|&seq| seen.insert(seq)).collect();
        assert_eq!(firsts, (1..=last).collect::<Vec<_>>());
    }
}

/// A broker that does what the test says.
struct Scripted {
    listener: TcpListener,
}

impl Scripted {
    fn new() -> Scripted {
        let listener = TcpListener::bind((own_ip(), 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Scripted { listener }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection, whose CONNECT is read and not answered.
    fn accept(&self) -> Session {
        let mut accepted = None;
        eventually("a connection", || {
            accepted = self.listener.accept().ok();
            accepted.is_some()
        });
        let (stream, _) = accepted.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (first, connect) = read_packet(&stream).unwrap();
        assert_eq!(first, 0x10, "CONNECT");
        Session { stream, connect }
    }

    /// The next connection, which is let in.
    fn welcome(&self) -> Session {
        let mut session = self.accept();
        session.send(&[0x20, 2, 0, 0]);
        session
    }
}

struct Session {
    stream: TcpStream,
    connect: Vec<u8>,
}

impl Session {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn acknowledge(&mut self, publish: &Publish) {
        let [high, low] = publish.id.to_be_bytes();
        self.send(&[0x40, 2, high, low]);
    }

    /// The next packet but for pings, which are answered.
    fn next_packet(&mut self) -> (u8, Vec<u8>) {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "nothing but pings");
            let packet = read_packet(&self.stream).unwrap();
            if packet.0 != 0xC0 {
                return packet;
            }
            self.send(&[0xD0, 0]);
        }
    }

    fn next(&mut self) -> Publish {
        let (first, body) = self.next_packet();
        publish(first, &body)
    }

    fn take(&mut self, count: u16) -> Vec<Publish> {
        (0..count).map(|_| self.next()).collect()
    }

    /// The next packet is a ping, which is not answered.
    #[track_caller]
    fn expect_ping(&mut self) {
        assert_eq!(read_packet(&self.stream).unwrap(), (0xC0, vec![]));
    }

    /// The bridge says goodbye and closes.
    #[track_caller]
    fn expect_goodbye(&mut self) {
        assert_eq!(self.next_packet(), (0xE0, vec![]));
        self.expect_end();
    }

    #[track_caller]
    fn expect_end(&mut self) {
        match self.stream.read_exact(&mut [0; 1]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {}
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// The bridge closes, whatever it may have sent before.
    fn drain(&mut self) {
        let start = Instant::now();
        while read_packet(&self.stream).is_ok() {
            assert!(start.elapsed() < PATIENCE, "it goes on");
        }
    }
}

/// The same readings with the same identifiers, as they are to be sent again.
fn again(publishes: &[Publish]) -> Vec<Publish> {
    publishes.iter().map(|publish| Publish { dup: true, ..publish.clone() }).collect()
}

// ---- With mosquitto

#[test]
fn every_reading_reaches_mosquitto_sub_once() {
    let directory = Directory::new("once");
    let broker = Mosquitto::start(&directory, "");
    let subscriber = broker.subscribe("meters/1", 50);
    let bridge = Bridge::start(&directory, broker.address, &["--readings", "50"]);
    assert!(bridge.greeting.starts_with("mqtt bridge: simulated meter, every 1ms -> 127."), "{}", bridge.greeting);
    assert!(bridge.greeting.ends_with(" as mqtt_bridge, topic meters/1\n"), "{}", bridge.greeting);
    let (status, output, log) = bridge.finish();
    assert_eq!(status, Some(0), "{output}\n{log}");
    let counters = "readings: 50, held 0 times; published: 50, again: 0, acknowledged: 50\n\
                    broker: 1 connections, 0 failed attempts, 0 pings, 0 packets ignored\n";
    assert_eq!(output, counters);
    let address = broker.address;
    assert_eq!(
        log,
        format!(
            "mqtt bridge: connected to {address}: new session, 0 to publish again\n\
             mqtt bridge: disconnected from {address}: everything is acknowledged\n"
        )
    );
    let printed = printed(subscriber);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 50);
    for (seq, line) in (1..).zip(lines) {
        assert!(line.starts_with(&format!("{{\"seq\":{seq},\"power_w\":1")) && line.ends_with('}'), "{line}");
    }
    eventually("the goodbye", || broker.log().contains("Received DISCONNECT from mqtt_bridge"));
}

#[test]
fn long_names_and_a_known_user_are_fine() {
    let directory = Directory::new("long");
    let (user, password, topic, id) = ("u".repeat(64), "p".repeat(64), "t/".repeat(64), "i".repeat(64));
    let users = directory.file("users");
    let made = Command::new("mosquitto_passwd").arg("-b").arg("-c").arg(&users).args([&user, &password]).status();
    assert!(made.expect("install the Debian package mosquitto").success());
    std::fs::write(directory.file("password"), format!("{password}\n")).unwrap();
    let subscribed_by_all = format!("password_file {}", users.display());
    let broker = Mosquitto::start(&directory, &subscribed_by_all);
    let subscriber = broker.subscribe(&topic, 3);
    let file = directory.file("password");
    let arguments =
        ["--readings", "3", "--topic", &topic, "--client-id", &id, "--username", &user, "--password-file", file.to_str().unwrap()];
    let bridge = Bridge::start(&directory, broker.address, &arguments);
    assert_eq!(expect_all_acknowledged(bridge.finish()), 3);
    assert_eq!(printed(subscriber).lines().count(), 3);
    assert!(broker.log().contains(&format!("as {id} (p2, c0, k30, u'{user}')")), "{}", broker.log());
}

#[test]
fn nothing_is_lost_when_the_broker_is_stopped_and_killed() {
    let directory = Directory::new("restarted");
    let mut broker = Mosquitto::start(&directory, "");
    let subscriber = Subscriber::start(broker.address);
    let bridge = Bridge::start(&directory, broker.address, &[]);
    subscriber.wait_for(100);
    broker.stop();
    bridge.expect("connection refused; trying again");
    broker.start_again();
    subscriber.wait_for(400);
    broker.kill();
    broker.start_again();
    subscriber.wait_for(800);
    broker.kill();
    broker.start_again();
    subscriber.wait_for(1200);
    bridge.signal(Signal::TERM);
    let (status, output, log) = bridge.finish();
    assert!(counter(&output, " connections") >= 4, "{output}{log}");
    assert!(log.contains("session resumed"), "{log}");
    subscriber.expect_all(expect_all_acknowledged((status, output, log)));
}

#[test]
fn broker_that_comes_late_gets_everything() {
    let directory = Directory::new("late");
    let mut broker = Mosquitto::start(&directory, "");
    let subscriber = Subscriber::start(broker.address); // its session is kept
    broker.stop();
    let mut bridge = Bridge::start(&directory, broker.address, &["--readings", "100"]);
    eventually("some attempts", || bridge.counter(" failed attempts") >= 5);
    eventually("all readings", || bridge.counter("readings: ") == 100);
    assert_eq!(bridge.log(), format!("mqtt bridge: no connection to {}: connection refused; trying again\n", broker.address)); // once
    broker.start_again();
    assert_eq!(expect_all_acknowledged(bridge.finish()), 100);
    subscriber.expect_all(100);
}

#[test]
fn full_queue_holds_the_meter_and_drops_nothing() {
    let directory = Directory::new("held");
    let mut broker = Mosquitto::start(&directory, "");
    let subscriber = Subscriber::start(broker.address);
    broker.stop();
    let mut bridge = Bridge::start(&directory, broker.address, &["--queue", "8"]);
    eventually("the queue is full", || bridge.counter(", held ") == 1);
    let attempts = bridge.counter(" failed attempts");
    eventually("time passes", || bridge.counter(" failed attempts") >= attempts + 5);
    assert_eq!((bridge.counter("readings: "), bridge.counter(", held ")), (8, 1));
    broker.start_again();
    subscriber.wait_for(100);
    bridge.signal(Signal::TERM);
    subscriber.expect_all(expect_all_acknowledged(bridge.finish()));
}

#[test]
fn wrong_password_is_told_and_tried_again() {
    let directory = Directory::new("password");
    let (users, file) = (directory.file("users"), directory.file("password"));
    let made = Command::new("mosquitto_passwd").arg("-b").arg("-c").arg(&users).args(["meter", "right"]).status();
    assert!(made.expect("install the Debian package mosquitto").success());
    std::fs::write(&file, "wrong").unwrap();
    let broker = Mosquitto::start(&directory, &format!("password_file {}", users.display()));
    let arguments = ["--username", "meter", "--password-file", file.to_str().unwrap(), "--readings", "3", "--grace", "100"];
    let mut bridge = Bridge::start(&directory, broker.address, &arguments);
    eventually("some attempts", || bridge.counter(" failed attempts") >= 3);
    eventually("all readings", || bridge.counter("readings: ") == 3);
    bridge.signal(Signal::TERM);
    let (status, _, log) = bridge.finish();
    let refused = format!("no connection to {}: refused: not authorized (return code 5); trying again\n", broker.address);
    let ending = "ending; 3 readings are not acknowledged yet";
    assert_eq!(log, format!("mqtt bridge: {refused}mqtt bridge: {ending}\nmqtt bridge: 3 readings were not acknowledged\n"));
    assert_eq!(status, Some(1));
}

#[test]
fn pings_keep_an_idle_connection() {
    let directory = Directory::new("pings");
    let broker = Mosquitto::start(&directory, "");
    let mut bridge = Bridge::start(&directory, broker.address, &["--keep-alive", "1", "--interval", "3600000"]);
    eventually("some pings", || bridge.counter(" pings") >= 3);
    assert_eq!((bridge.counter(" connections"), bridge.counter("readings: ")), (1, 1));
    bridge.signal(Signal::INT);
    assert_eq!(expect_all_acknowledged(bridge.finish()), 1);
}

// ---- With a broker that does what mosquitto does not

#[test]
fn connects_as_told() {
    let directory = Directory::new("connect");
    let broker = Scripted::new();
    let file = directory.file("password");
    std::fs::write(&file, "secret\r\nnot this\n").unwrap();
    let arguments = ["--client-id", "me", "--keep-alive", "300", "--username", "you", "--password-file", file.to_str().unwrap()];
    let _bridge = Bridge::start(&directory, broker.address(), &arguments);
    let session = broker.accept();
    assert_eq!(session.connect, b"\0\x04MQTT\x04\xC0\x01\x2C\0\x02me\0\x03you\0\x06secret"); // no clean session
}

#[test]
fn each_refusal_has_its_words_and_loses_nothing() {
    let directory = Directory::new("refused");
    let broker = Scripted::new();
    let bridge = Bridge::start(&directory, broker.address(), &["--readings", "3"]);
    let words = [
        "unacceptable protocol version (return code 1)",
        "client identifier rejected (return code 2)",
        "server unavailable (return code 3)",
        "bad user name or password (return code 4)",
        "not authorized (return code 5)",
        "unknown return code (return code 99)",
    ];
    for (code, words) in [1, 2, 3, 4, 5, 99].into_iter().zip(words) {
        let mut session = broker.accept();
        session.send(&[0x20, 2, 0, code]);
        session.expect_end();
        bridge.expect(&format!("no connection to {}: refused: {words}; trying again", broker.address()));
    }
    let mut session = broker.welcome();
    for seq in 1..=3 {
        let publish = session.next();
        assert_eq!(publish, Publish { seq, id: seq as u16, dup: false });
        session.acknowledge(&publish);
    }
    session.expect_goodbye();
    assert_eq!(expect_all_acknowledged(bridge.finish()), 3);
}

#[test]
fn late_acknowledgements_close_the_window_and_end_nothing() {
    let directory = Directory::new("window");
    let broker = Scripted::new();
    let bridge = Bridge::start(&directory, broker.address(), &["--readings", "100", "--keep-alive", "1"]);
    let mut session = broker.welcome();
    let mut sent = session.take(WINDOW);
    for _ in 0..2 {
        session.expect_ping(); // and no further reading before it
        session.send(&[0xD0, 0]);
    }
    for seq in 1..=100 {
        let publish = sent.remove(0);
        assert_eq!(publish, Publish { seq, id: seq as u16, dup: false });
        session.acknowledge(&publish);
        if seq + u64::from(WINDOW) <= 100 {
            sent.push(session.next());
        }
    }
    session.expect_goodbye();
    let (status, output, log) = bridge.finish();
    assert_eq!(counter(&output, " connections"), 1, "{output}");
    assert_eq!(expect_all_acknowledged((status, output, log)), 100);
}

#[test]
fn unacknowledged_readings_are_sent_again_in_order_with_dup() {
    let directory = Directory::new("again");
    let broker = Scripted::new();
    let bridge = Bridge::start(&directory, broker.address(), &["--readings", "5"]);
    let mut session = broker.welcome();
    let sent = session.take(5);
    session.acknowledge(&sent[0]);
    session.acknowledge(&sent[2]);
    session.send(&[0x40, 2, 0x77, 0x77]); // nobody's
    session.acknowledge(&sent[0]); // once more
    session.send(b"\x30\x03\0\x01t"); // a message that nobody has subscribed to
    drop(session);
    let left = again(&[sent[1].clone(), sent[3].clone(), sent[4].clone()]);
    let mut session = broker.welcome();
    assert_eq!(session.take(3), left);
    drop(session);
    let mut session = broker.welcome();
    assert_eq!(session.take(3), left);
    for publish in &left {
        session.acknowledge(publish);
    }
    session.expect_goodbye();
    let (status, output, log) = bridge.finish();
    assert_eq!(log.matches("closed by the broker; trying again").count(), 2, "{log}");
    assert_eq!(log.matches(": new session, 3 to publish again").count(), 2, "{log}");
    assert_eq!(counter(&output, " again: "), 6, "{output}");
    assert_eq!(counter(&output, " packets ignored"), 3, "{output}");
    assert_eq!(expect_all_acknowledged((status, output, log)), 5);
}

#[test]
fn what_is_no_answer_costs_the_connection_and_no_reading() {
    let directory = Directory::new("garbage");
    let broker = Scripted::new();
    let bridge = Bridge::start(&directory, broker.address(), &["--readings", "3"]);
    let instead_of_connack: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not MQTT: a client gets no packet that begins with 0x48"),
        (b"\x20\x03\0\0\0", "not MQTT: malformed CONNACK"),
        (b"\x40\x02\0\x01", "a packet out of turn"),
        (b"\x20\xff\xff\xff\xff\x01", "not MQTT: a length of more than four bytes"),
        (b"\x10\x0e\0\x04MQTT", "not MQTT: a client gets no packet that begins with 0x10"),
    ];
    for (bytes, reason) in instead_of_connack {
        let mut session = broker.accept();
        session.send(bytes);
        session.drain();
        bridge.expect(&format!("no connection to {}: {reason}; trying again", broker.address()));
    }
    let instead_of_puback: [(&[u8], &str); 5] = [
        (b"\x40\x02\0\0", "not MQTT: malformed PUBACK"),
        (b"\x20\x02\0\0", "a packet out of turn"),
        (b"\x32\xff\xff\x03xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "a packet of 65539 bytes, and 256 is the most"),
        (b"\xd0\0\xd0\0\xf3", "not MQTT: a client gets no packet that begins with 0xf3"),
        (b"\x90\x03\0\x01\0", "not MQTT: a client gets no packet that begins with 0x90"),
    ];
    let mut sent = Vec::new();
    for (bytes, reason) in instead_of_puback {
        let mut session = broker.welcome();
        let publishes = session.take(3);
        assert!(sent.is_empty() || publishes == again(&sent), "{publishes:?} after {sent:?}");
        sent = publishes;
        session.send(bytes);
        session.drain();
        bridge.expect(&format!("disconnected from {}: {reason}; trying again", broker.address()));
    }
    let mut session = broker.welcome();
    for publish in session.take(3) {
        session.acknowledge(&publish);
    }
    session.expect_goodbye();
    assert_eq!(expect_all_acknowledged(bridge.finish()), 3);
}

#[test]
fn answers_may_come_in_any_pieces() {
    let directory = Directory::new("pieces");
    let broker = Scripted::new();
    let bridge = Bridge::start(&directory, broker.address(), &["--readings", "40"]);
    let mut session = broker.accept();
    for byte in [0x20, 2, 1, 0] {
        session.send(&[byte]);
    }
    for publish in session.take(WINDOW) {
        let [high, low] = publish.id.to_be_bytes();
        for byte in [0x40, 2, high, low] {
            session.send(&[byte]);
        }
    }
    let rest: Vec<u8> = session.take(WINDOW).into_iter().flat_map(|publish| [0x40, 2, (publish.id >> 8) as u8, publish.id as u8]).collect();
    session.send(&rest[..21]);
    session.send(&rest[21..]);
    for _ in 0..8 {
        let publish = session.next();
        session.acknowledge(&publish);
    }
    session.expect_goodbye();
    bridge.expect("session resumed, 0 to publish again");
    assert_eq!(expect_all_acknowledged(bridge.finish()), 40);
}

#[test]
fn broker_that_stalls_in_mid_packet_is_left() {
    let directory = Directory::new("stall");
    let broker = Scripted::new();
    let arguments = ["--readings", "2", "--keep-alive", "1", "--timeout", "1500"];
    let bridge = Bridge::start(&directory, broker.address(), &arguments);
    let mut session = broker.welcome();
    let sent = session.take(2);
    session.send(&[0x40, 2, 0]);
    session.expect_ping();
    let start = Instant::now();
    session.expect_end();
    assert!(start.elapsed() > Duration::from_millis(1000), "{:?}", start.elapsed()); // the ping took its time to get here
    bridge.expect("no PINGRESP in time; trying again");
    let mut session = broker.welcome();
    assert_eq!(session.take(2), again(&sent));
    for publish in &sent {
        session.acknowledge(publish);
    }
    session.expect_goodbye();
    assert_eq!(expect_all_acknowledged(bridge.finish()), 2);
}

#[test]
fn broker_that_says_nothing_is_left() {
    let directory = Directory::new("silent");
    let broker = Scripted::new();
    let bridge = Bridge::start(&directory, broker.address(), &["--readings", "1", "--timeout", "1500"]);
    for _ in 0..2 {
        let mut session = broker.accept();
        session.send(&[0x20]);
        session.expect_end();
    }
    bridge.expect(&format!("no connection to {}: no CONNACK in time; trying again", broker.address()));
    let mut session = broker.welcome();
    let publish = session.next();
    session.acknowledge(&publish);
    session.expect_goodbye();
    assert_eq!(expect_all_acknowledged(bridge.finish()), 1);
}

#[test]
fn connecting_has_a_deadline() {
    let directory = Directory::new("deadline");
    let broker = Scripted::new();
    rustix::net::listen(&broker.listener, 0).unwrap(); // room for one
    let waiting = TcpStream::connect(broker.address()).unwrap();
    let bridge = Bridge::start(&directory, broker.address(), &["--readings", "1", "--timeout", "300"]);
    bridge.expect(&format!("no connection to {}: i/o timeout; trying again", broker.address()));
    drop(broker.listener.accept().unwrap());
    drop(waiting);
    rustix::net::listen(&broker.listener, 16).unwrap();
    let start = Instant::now();
    let mut session = loop {
        assert!(start.elapsed() < PATIENCE, "no attempt succeeds");
        // One that was given up may lie before the one that counts.
        let mut session = broker.accept();
        let _ = session.stream.write_all(&[0x20, 2, 0, 0]);
        let Ok((first, body)) = read_packet(&session.stream) else { continue };
        session.acknowledge(&publish(first, &body));
        break session;
    };
    session.expect_goodbye();
    assert_eq!(expect_all_acknowledged(bridge.finish()), 1);
}

#[test]
fn waits_grow_until_a_connection_is_of_use() {
    let directory = Directory::new("backoff");
    let broker = Scripted::new();
    let arguments = ["--readings", "15", "--backoff-min", "10", "--backoff-max", "3600000"];
    let bridge = Bridge::start(&directory, broker.address(), &arguments);
    let start = Instant::now();
    for _ in 0..8 {
        drop(broker.welcome());
    }
    // 10 + 20 + ... + 640 ms, and half of that by chance
    assert!(start.elapsed() >= Duration::from_millis(1270 / 2), "{:?}", start.elapsed());
    for _ in 0..14 {
        let mut session = broker.welcome();
        let publish = session.next();
        session.acknowledge(&publish);
        session.send(b"\xf0"); // the last wait would be of minutes if each were twice as long
        session.drain();
    }
    let mut session = broker.welcome();
    let publish = session.next();
    session.acknowledge(&publish);
    session.expect_goodbye();
    assert_eq!(expect_all_acknowledged(bridge.finish()), 15);
}

// ---- The end

#[test]
fn sigterm_ends_when_everything_is_acknowledged() {
    let directory = Directory::new("sigterm");
    let broker = Scripted::new();
    let mut bridge = Bridge::start(&directory, broker.address(), &["--grace", "3600000", "--keep-alive", "1", "--queue", "1024"]);
    let mut session = broker.welcome();
    let first = session.take(WINDOW);
    bridge.signal(Signal::TERM);
    bridge.expect("mqtt bridge: ending; ");
    let readings = bridge.counter("readings: ");
    for _ in 0..2 {
        session.expect_ping(); // much time for more readings
        session.send(&[0xD0, 0]);
    }
    assert_eq!(bridge.counter("readings: "), readings);
    for publish in &first {
        session.acknowledge(publish);
    }
    for _ in u64::from(WINDOW)..readings {
        let publish = session.next();
        session.acknowledge(&publish);
    }
    session.expect_goodbye();
    assert_eq!(expect_all_acknowledged(bridge.finish()), readings);
}

#[test]
fn sigterm_tries_a_broker_that_was_away_once_more_at_once() {
    let directory = Directory::new("hurry");
    let broker = Scripted::new();
    let arguments = ["--interval", "3600000", "--backoff-min", "3600000", "--backoff-max", "3600000", "--grace", "3600000"];
    let bridge = Bridge::start(&directory, broker.address(), &arguments);
    drop(broker.welcome());
    bridge.expect("disconnected");
    bridge.signal(Signal::TERM);
    let mut session = broker.welcome();
    let publish = session.next();
    session.acknowledge(&publish);
    session.expect_goodbye();
    assert_eq!(expect_all_acknowledged(bridge.finish()), 1);
}

#[test]
fn sigterm_with_nothing_left_needs_no_broker() {
    let directory = Directory::new("idle");
    let broker = Scripted::new();
    let arguments = ["--interval", "3600000", "--backoff-min", "3600000", "--backoff-max", "3600000", "--grace", "3600000"];
    let bridge = Bridge::start(&directory, broker.address(), &arguments);
    let mut session = broker.welcome();
    let publish = session.next();
    session.acknowledge(&publish);
    drop(session);
    bridge.expect("disconnected");
    drop(broker);
    bridge.signal(Signal::TERM);
    assert_eq!(expect_all_acknowledged(bridge.finish()), 1);
}

#[test]
fn sigterm_without_a_broker_ends_after_the_grace_time_and_says_what_is_lost() {
    let directory = Directory::new("grace");
    let broker = own_address();
    let mut bridge = Bridge::start(&directory, broker, &["--queue", "7", "--grace", "300"]);
    eventually("the queue is full", || bridge.counter("readings: ") == 7);
    let start = Instant::now();
    bridge.signal(Signal::TERM);
    let (status, output, log) = bridge.finish();
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(status, Some(1));
    assert!(log.ends_with("mqtt bridge: 7 readings were not acknowledged\n"), "{log}");
    assert_eq!(counter(&output, "readings: "), 7);
}

#[test]
fn sigint_twice_ends_at_once() {
    let directory = Directory::new("twice");
    let broker = Scripted::new();
    let mut bridge = Bridge::start(&directory, broker.address(), &["--grace", "3600000", "--interval", "3600000"]);
    let mut session = broker.welcome();
    session.next();
    eventually("the end", || {
        bridge.signal(Signal::INT); // two at the same time are one
        bridge.example.child.try_wait().unwrap().is_some()
    });
    let (status, _, log) = bridge.finish();
    assert_eq!(status, Some(1));
    assert!(log.ends_with("mqtt bridge: 1 readings were not acknowledged\n"), "{log}");
}

#[test]
fn statistics_at_the_end_include_the_reactors() {
    let directory = Directory::new("stats");
    let broker = Scripted::new();
    let bridge = Bridge::start(&directory, broker.address(), &["--readings", "1", "--stats"]);
    let mut session = broker.welcome();
    let publish = session.next();
    session.acknowledge(&publish);
    session.expect_goodbye();
    let (status, output, log) = bridge.finish();
    assert!(output.contains("\nreactor: Stats {"), "{output}");
    assert_eq!(expect_all_acknowledged((status, output, log)), 1);
}

// ---- Arguments

#[test]
fn nonsense_arguments_end_with_status_2_and_usage() {
    let long = "x".repeat(129);
    limit_this_program();
    let cases: [&[&str]; 27] = [
        &["--broker", "nowhere"],
        &["--broker", "127.0.0.1:99999"],
        &["--broker"],
        &["--topic", ""],
        &["--topic", "meters/#"],
        &["--topic", "meters/+/power"],
        &["--topic", &long],
        &["--client-id", ""],
        &["--client-id", &long[..65]],
        &["--username", "a\nb"],
        &["--password-file", "/dev/null"],
        &["--interval", "0"],
        &["--interval", "often"],
        &["--readings", "-1"],
        &["--readings", "0"],
        &["--queue", "0"],
        &["--queue", "1025"],
        &["--keep-alive", "0"],
        &["--keep-alive", "65536"],
        &["--timeout", "0"],
        &["--backoff-min", "0"],
        &["--backoff-max", "0"],
        &["--backoff-min", "2000", "--backoff-max", "1000"],
        &["--grace", "-1"],
        &["--stats", "yes"],
        &["--unknown"],
        &["stray"],
    ];
    for arguments in cases {
        let output = Command::new(example::path("mqtt_bridge")).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: ") && errors.contains("Usage: mqtt_bridge"), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_names_every_option() {
    let output = Command::new(example::path("mqtt_bridge")).arg("--help").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    let options =
        "broker topic client-id username password-file interval readings queue keep-alive timeout backoff-min backoff-max grace stats help";
    for option in options.split(' ') {
        assert!(text.contains(&format!("--{option}")), "{option}: {text}");
    }
}

#[test]
fn password_file_that_is_none_is_an_error() {
    let directory = Directory::new("nopassword");
    let (missing, empty, long) = (directory.file("missing"), directory.file("empty"), directory.file("long"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&long, "x".repeat(65)).unwrap();
    for (file, words) in [(missing, "No such file"), (empty, "empty"), (long, "longer than 64 bytes")] {
        let mut command = Command::new(example::path("mqtt_bridge"));
        let output = command.args(["--username", "meter", "--password-file"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(&file.display().to_string()) && errors.contains(words), "{errors}");
    }
}
