//! `examples/modbus_gateway` against real peers: `mbpoll` (libmodbus) and pymodbus as clients, a pymodbus RTU server and scripted slaves
//! on the far end of the serial line.
//!
//! Debian packages: `mbpoll`, `python3-pymodbus`, `socat`. A test whose tool is missing fails.

#[path = "util/example.rs"]
mod example;

use example::{Example, PATIENCE};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Function, address and quantity: one holding register from `address` on.
fn read_one(address: u8) -> [u8; 5] {
    [3, 0, address, 0, 1]
}

// ---- The gateway

struct Gateway(Example);

impl Deref for Gateway {
    type Target = Example;

    fn deref(&self) -> &Example {
        &self.0
    }
}

impl Gateway {
    fn start(arguments: &[&str]) -> Gateway {
        Gateway::spawn(Command::new(example::path("modbus_gateway")), arguments)
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> Gateway {
        command.args(["--listen", "127.0.0.1:0", "--baud", "115200", "--parity", "none"]).args(arguments);
        Gateway(Example::spawn(command))
    }

    fn on(tty: &Path, arguments: &[&str]) -> Gateway {
        Gateway::start(&[&["--serial", tty.to_str().unwrap()], arguments].concat())
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }

    fn connect(&self) -> Client {
        Client { stream: self.0.connect() }
    }

    /// Asks for the counters; the number that stands before or after `what`.
    fn counter(&mut self, what: &str) -> u64 {
        self.signal(Signal::USR1);
        let mut text = String::new();
        while !text.contains("reactor:") {
            assert_ne!(self.0.output.read_line(&mut text).unwrap(), 0, "{text}");
        }
        let (before, after) = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
        let no_digit = |letter: char| !letter.is_ascii_digit();
        let [number, other] = [after.split(no_digit).next(), before.rsplit(no_digit).next()].map(Option::unwrap_or_default);
        if number.is_empty() { other.parse().unwrap() } else { number.parse().unwrap() }
    }

    fn wait(self) -> ExitStatus {
        self.0.wait()
    }
}

// ---- A client that sends what it likes

struct Client {
    stream: TcpStream,
}

#[derive(Debug, PartialEq)]
struct Answer {
    id: u16,
    unit: u8,
    pdu: Vec<u8>,
}

fn request(id: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let [i0, i1] = id.to_be_bytes();
    let [l0, l1] = (1 + pdu.len() as u16).to_be_bytes();
    [&[i0, i1, 0, 0, l0, l1, unit], pdu].concat()
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut header = [0; 7];
        self.stream.read_exact(&mut header).unwrap();
        let [i0, i1, 0, 0, l0, l1, unit] = header else { panic!("{header:?}") };
        let mut pdu = vec![0; usize::from(u16::from_be_bytes([l0, l1])) - 1];
        self.stream.read_exact(&mut pdu).unwrap();
        Answer { id: u16::from_be_bytes([i0, i1]), unit, pdu }
    }

    fn ask(&mut self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        self.send(&request(0x5A5A, unit, pdu));
        let answer = self.answer();
        assert_eq!((answer.id, answer.unit), (0x5A5A, unit));
        answer.pdu
    }

    /// The gateway has closed the connection, and said nothing more.
    fn expect_end(&mut self) {
        // Not `read`: that ends by any signal.
        match self.stream.read_to_end(&mut Vec::new()) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("{other:?} instead of the end"),
        }
    }
}

// ---- Slaves

/// What a scripted slave sends for a request.
type Script = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send>;

/// A slave on the far end of a pty. Dropped, it hangs up.
struct Slave {
    name: PathBuf,
    line: File,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Slave {
    /// `script` gets each request with its CRC; what it gives is sent, piece by piece.
    fn new(script: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Slave {
        let line: File = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap().into();
        unlockpt(&line).unwrap();
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(ptsname(&line, []).unwrap().as_bytes()));
        let near_end = File::options().read(true).write(true).open(&name).unwrap(); // without it, reads fail before the gateway comes
        let (stop, stopped) = UnixStream::pair().unwrap();
        let script: Script = Box::new(script);
        let far_end = line.try_clone().unwrap();
        let thread = thread::spawn(move || {
            let _near_end = near_end;
            serve(far_end, &stopped, script);
        });
        Slave { name, line, stop: Some(stop), thread: Some(thread) }
    }
}

fn serve(mut line: File, stopped: &UnixStream, mut script: Script) {
    let mut heard = Vec::new();
    loop {
        let mut events = [PollFd::new(&line, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        poll(&mut events, None).unwrap();
        if !events[1].revents().is_empty() {
            return;
        }
        let mut chunk = [0; 256];
        let length = line.read(&mut chunk).unwrap();
        heard.extend_from_slice(&chunk[..length]);
        while heard.len() >= 8 {
            let request: Vec<u8> = heard.drain(..8).collect(); // all requests to scripted slaves are of this length
            for piece in script(&request) {
                line.write_all(&piece).unwrap();
            }
        }
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}

fn rtu(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = [&[unit], pdu].concat();
    let mut crc = 0xFFFF_u16;
    for byte in &frame {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xA001 };
        }
    }
    frame.extend(crc.to_le_bytes());
    frame
}

/// The right answer to a request for one register: its address, and the unit that was asked.
fn good_answer(request: &[u8]) -> Vec<u8> {
    rtu(request[0], &[3, 2, request[3], request[0]])
}

/// A slave that asks the test what to say: it passes on each request and sends what it is told.
fn led_slave() -> (Slave, Receiver<Vec<u8>>, Sender<Vec<u8>>) {
    let (heard, requests) = mpsc::channel();
    let (answers, told) = mpsc::channel::<Vec<u8>>();
    let slave = Slave::new(move |request| {
        let _ = heard.send(request.to_vec());
        told.recv().into_iter().collect()
    });
    (slave, requests, answers)
}

/// A process of somebody else's, ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two ttys, connected by `socat`.
fn socat(directory: &Path) -> (Process, PathBuf, PathBuf) {
    let ends = ["near", "far"].map(|name| directory.join(name));
    let mut command = Command::new("socat");
    command.args(ends.iter().map(|end| format!("pty,rawer,link={}", end.display())));
    let process = Process(command.spawn().unwrap_or_else(|error| panic!("socat: {error}; install the Debian package socat")));
    eventually("socat's ttys", || ends.iter().all(|end| end.exists()));
    let [near, far] = ends;
    (process, near, far)
}

// ---- Tools

fn mbpoll(gateway: &Gateway, arguments: &[&str], values: &[&str]) -> Output {
    let mut command = Command::new("mbpoll");
    command.args(["-m", "tcp", "-p", &gateway.port(), "-o", "10", "-1"]).args(arguments).arg("127.0.0.1").args(values);
    command.output().unwrap_or_else(|error| panic!("mbpoll: {error}; install the Debian package mbpoll"))
}

/// The values that mbpoll reads.
fn mbpoll_reads(gateway: &Gateway, arguments: &[&str]) -> Vec<i32> {
    let output = mbpoll(gateway, arguments, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    let values = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]:")?.1.split_whitespace().next()?.parse().ok());
    values.collect()
}

fn mbpoll_writes(gateway: &Gateway, arguments: &[&str], values: &[&str]) {
    let output = mbpoll(gateway, arguments, values);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("Written"), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
}

/// What mbpoll says when it is refused.
fn mbpoll_fails(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = mbpoll(gateway, arguments, &[]);
    assert!(!output.status.success(), "{arguments:?} is not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A Python that has pymodbus.
fn python(script: &str) -> Command {
    let has_pymodbus = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import pymodbus, serial"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(has_pymodbus);
    let python = python.expect("no pymodbus: install the Debian package python3-pymodbus, or pymodbus and pyserial from PyPI");
    let mut command = Command::new(python);
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway").join(script)); // -B: leave no __pycache__ here
    command
}

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
        let path = std::env::temp_dir().join(format!("modbus_gateway-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// ---- mbpoll and pymodbus

#[test]
fn readme_command_reads_the_simulated_meter() {
    let gateway = Gateway::start(&[]);
    assert!(gateway.greeting.contains("-> simulated meter on /dev/pts/"), "{}", gateway.greeting);
    assert!(gateway.greeting.ends_with(" (unit 1), 115200 8N2\n"), "{}", gateway.greeting);
    assert_eq!(mbpoll_reads(&gateway, &["-a", "1", "-r", "1", "-c", "4"]), [2301, 512, 1178, 5000]);
}

#[test]
fn mbpoll_reads_and_writes_with_every_function() {
    let gateway = Gateway::start(&[]);
    mbpoll_writes(&gateway, &["-t", "0", "-r", "11"], &["1"]); // 5: one coil
    mbpoll_writes(&gateway, &["-t", "0", "-r", "12"], &["0", "1", "1", "0", "1", "0", "0", "1", "1"]); // 15: coils
    assert_eq!(mbpoll_reads(&gateway, &["-t", "0", "-r", "11", "-c", "10"]), [1, 0, 1, 1, 0, 1, 0, 0, 1, 1]); // 1: read coils
    assert_eq!(mbpoll_reads(&gateway, &["-t", "1", "-r", "1", "-c", "4"]), [1, 0, 1, 0]); // 2: read discrete inputs
    mbpoll_writes(&gateway, &["-t", "4", "-r", "21"], &["4711"]); // 6: one register
    mbpoll_writes(&gateway, &["-t", "4", "-r", "22"], &["1", "2", "3"]); // 16: registers
    assert_eq!(mbpoll_reads(&gateway, &["-t", "4", "-r", "21", "-c", "4"]), [4711, 1, 2, 3]); // 3: read holding registers
    assert_eq!(mbpoll_reads(&gateway, &["-t", "3", "-r", "1", "-c", "2"]), [2301, 512]); // 4: read input registers
    assert_eq!(mbpoll_reads(&gateway, &["-t", "3", "-r", "1", "-c", "125"]).len(), 125); // the longest answer
}

#[test]
fn mbpoll_is_told_why_it_is_refused() {
    let gateway = Gateway::start(&["--response-timeout", "800"]);
    assert!(mbpoll_fails(&gateway, &["-r", "1000"]).contains("Illegal data address"));
    assert!(mbpoll_fails(&gateway, &["-a", "7"]).contains("Target device failed to respond"));
    assert!(mbpoll_fails(&gateway, &["-a", "250"]).contains("Gateway path unavailable"));
}

#[test]
fn sixteen_pymodbus_clients_see_their_own_answers() {
    let directory = Directory::new("sixteen");
    let (_socat, near, far) = socat(&directory.0);
    let _slave = Process(python("slave.py").arg(far).stderr(Stdio::null()).spawn().unwrap());
    let mut gateway = Gateway::on(&near, &["--stats"]);
    eventually("pymodbus's slave", || gateway.connect().ask(1, &read_one(0))[0] == 3);
    let clients = python("clients.py").args([&gateway.port(), "16", "8"]).output().unwrap();
    assert!(clients.status.success(), "{}{}", String::from_utf8_lossy(&clients.stdout), String::from_utf8_lossy(&clients.stderr));
    assert!(gateway.counter("answers: ") >= 16 * 8 * 4);
}

// ---- One client

#[test]
fn pipelined_requests_are_answered_in_order() {
    let gateway = Gateway::start(&[]);
    let mut client = gateway.connect();
    let stream: Vec<u8> = (0..100).flat_map(|id| request(id, 1, &[6, 0, 50, 0, id as u8])).collect();
    for piece in stream.chunks(7) {
        client.send(piece); // pieces that fit no frame
    }
    for id in 0..100 {
        assert_eq!(client.answer(), Answer { id, unit: 1, pdu: vec![6, 0, 50, 0, id as u8] });
    }
}

#[test]
fn half_closed_client_gets_all_its_answers() {
    let gateway = Gateway::start(&[]);
    let mut client = gateway.connect();
    for id in 0..10 {
        client.send(&request(id, 1, &read_one(0)));
    }
    client.stream.shutdown(Shutdown::Write).unwrap();
    for id in 0..10 {
        assert_eq!(client.answer(), Answer { id, unit: 1, pdu: vec![3, 2, 0x08, 0xFD] });
    }
    client.expect_end();
}

#[test]
fn garbage_from_a_client_costs_it_its_connection_and_nobody_else() {
    let mut gateway = Gateway::start(&[]);
    let mut polite = gateway.connect();
    assert_eq!(polite.ask(1, &read_one(1)), [3, 2, 2, 0]);
    let descriptors = gateway.descriptors();
    let mut random = 0x1234_5678_u32;
    let noise: Vec<u8> = core::iter::repeat_with(|| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8 | 1 // no zeros: never the protocol's number
    })
    .take(5000)
    .collect();
    let not_modbus: [&[u8]; 6] = [
        &[0, 1, 0, 1, 0, 6, 1, 3, 0, 0, 0, 1],
        &[0, 1, 0, 0, 0, 0],
        &[0, 1, 0, 0, 0, 1, 1],
        &[0, 1, 0, 0, 0, 255, 1, 3],
        b"GET / HTTP/1.1\r\n\r\n",
        &noise,
    ];
    for (number, bytes) in not_modbus.into_iter().enumerate() {
        let mut client = gateway.connect();
        let _ = client.stream.write_all(bytes); // the gateway may be faster
        client.expect_end();
        assert_eq!(polite.ask(1, &read_one(1)), [3, 2, 2, 0], "{number}");
    }
    // What was asked before the garbage is answered.
    let mut client = gateway.connect();
    client.send(&[request(9, 1, &read_one(1)), vec![0xFF; 4]].concat());
    assert_eq!(client.answer(), Answer { id: 9, unit: 1, pdu: vec![3, 2, 2, 0] });
    client.expect_end();
    assert_eq!(gateway.counter(" closed for an error or what is not Modbus"), 7);
    assert_eq!(gateway.descriptors(), descriptors);
}

#[test]
fn what_no_slave_can_be_asked_is_refused() {
    let gateway = Gateway::start(&[]);
    let mut client = gateway.connect();
    assert_eq!(client.ask(1, &[0x83, 0, 0, 0, 1]), [0x83, 1]);
    assert_eq!(client.ask(1, &[0]), [0x80, 1]);
    assert_eq!(client.ask(248, &read_one(0)), [0x83, 0x0A]);
    assert_eq!(client.ask(1, &[0x41, 1, 2, 3]), [0xC1, 1]); // the meter's own refusal: its length is known by silence alone
    assert_eq!(client.ask(1, &[0x41; 253]), [0xC1, 1]); // the longest frame there is
    assert_eq!(client.ask(1, &[&[16, 0, 0, 0, 123, 246], &[7; 246][..]].concat()), [16, 0, 0, 0, 123]); // and the longest of a known function
}

#[test]
fn idle_client_is_closed_and_a_waiting_one_is_not() {
    let slave = Slave::new(|_| vec![]);
    let mut gateway = Gateway::on(&slave.name, &["--idle-timeout", "1200", "--response-timeout", "1500"]);
    let start = Instant::now();
    let mut idle = gateway.connect();
    let mut waiting = gateway.connect();
    assert_eq!(waiting.ask(1, &read_one(0)), [0x83, 0x0B]);
    assert_eq!(waiting.ask(1, &read_one(0)), [0x83, 0x0B]);
    waiting.expect_end();
    idle.expect_end();
    assert!(start.elapsed() >= Duration::from_millis(2 * 1500 + 1200));
    assert_eq!(gateway.counter(" closed as idle"), 2);
}

#[test]
fn clients_beyond_the_capacity_wait_for_a_seat() {
    let mut gateway = Gateway::start(&["--capacity", "2"]);
    let mut clients = [gateway.connect(), gateway.connect(), gateway.connect()];
    clients[2].send(&request(3, 1, &read_one(0)));
    assert_eq!(clients[0].ask(1, &read_one(0)), [3, 2, 0x08, 0xFD]);
    assert_eq!(clients[1].ask(1, &read_one(0)), [3, 2, 0x08, 0xFD]);
    assert_eq!(gateway.counter(" accepted"), 2);
    let [first, _second, mut third] = clients;
    drop(first);
    assert_eq!(third.answer().id, 3);
}

#[test]
fn out_of_descriptors_the_gateway_serves_on() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 16; exec \"$0\" \"$@\""]).arg(example::path("modbus_gateway"));
    let mut gateway = Gateway::spawn(command, &[]);
    let mut clients: Vec<Client> = (0..12).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(&request(1, 1, &read_one(1)));
    }
    clients[0].answer();
    assert!((1..12).contains(&gateway.counter(" accepted")));
    clients.remove(0);
    for mut client in clients {
        assert_eq!(client.answer().pdu, [3, 2, 2, 0]); // each leaves a descriptor for the next
    }
    assert_eq!(gateway.counter(" accepted"), 12);
}

#[test]
fn one_pipelining_client_does_not_starve_eight_polite_ones() {
    let (slave, requests, answers) = led_slave();
    let mut gateway = Gateway::on(&slave.name, &["--response-timeout", "20000"]);
    let mut hog = gateway.connect();
    for id in 0..50 {
        hog.send(&request(id, 1, &read_one(0)));
    }
    let first = requests.recv_timeout(PATIENCE).unwrap(); // the slave keeps it until all have asked
    let mut polite: Vec<Client> = (0..8).map(|_| gateway.connect()).collect();
    for (number, client) in polite.iter_mut().enumerate() {
        client.send(&request(7, 2, &read_one(number as u8)));
    }
    eventually("all requests", || gateway.counter("requests: ") == 4 + 8); // of the hog's 50, only its window
    answers.send(good_answer(&first)).unwrap();
    let mut units = Vec::new();
    while units.iter().filter(|&&unit| unit == 2).count() < 8 {
        let request = requests.recv_timeout(PATIENCE).unwrap();
        units.push(request[0]);
        answers.send(good_answer(&request)).unwrap();
    }
    assert!(units.len() <= 8 + 1, "the line served {units:?}"); // a round has one request of each
    for (number, client) in polite.iter_mut().enumerate() {
        assert_eq!(client.answer(), Answer { id: 7, unit: 2, pdu: vec![3, 2, number as u8, 2] });
    }
    thread::spawn(move || requests.iter().for_each(|request| answers.send(good_answer(&request)).unwrap()));
    for id in 0..50 {
        assert_eq!(hog.answer().id, id);
    }
}

// ---- The line

#[test]
fn slave_that_never_answers_is_reported_in_time_and_the_next_is_served() {
    let slave = Slave::new(|request| if request[0] == 9 { vec![] } else { vec![good_answer(request)] });
    let gateway = Gateway::on(&slave.name, &["--response-timeout", "1000"]);
    let mut client = gateway.connect();
    let start = Instant::now();
    client.send(&[request(1, 9, &read_one(0)), request(2, 5, &read_one(8))].concat());
    assert_eq!(client.answer(), Answer { id: 1, unit: 9, pdu: vec![0x83, 0x0B] });
    let took = start.elapsed();
    assert!((Duration::from_secs(1)..PATIENCE).contains(&took), "{took:?}");
    assert_eq!(client.answer(), Answer { id: 2, unit: 5, pdu: vec![3, 2, 8, 5] });
}

#[test]
fn garbage_from_the_slave_is_dropped() {
    let slave = Slave::new(|request| {
        let good = good_answer(request);
        match request[3] {
            0 => vec![[&good[..6], &[!good[6]]].concat()],           // wrong CRC
            1 => vec![good[..4].to_vec()],                           // cut off
            2 => vec![vec![0xAA; 600]],                              // more than any frame
            3 => vec![rtu(request[0] + 1, &[3, 2, 0, 0])],           // another unit
            4 => vec![rtu(request[0], &[4, 2, 0, 0])],               // another function
            5 => vec![rtu(request[0], &[3, 4, 0, 0, 0, 0])],         // another length: late for an earlier request
            6 => vec![request.to_vec()],                             // an echo
            7 => vec![[&[0x00, request[0], 3], &good[..]].concat()], // noise before the frame
            8 => vec![request.to_vec(), good],                       // an echo before it
            9 => vec![[&good[..], &[0xFF; 20]].concat()],            // noise behind it
            10 => good.iter().map(|byte| vec![*byte]).collect(),     // byte by byte
            _ => vec![good],
        }
    });
    let gateway = Gateway::on(&slave.name, &["--response-timeout", "600"]);
    let mut client = gateway.connect();
    for address in 0..7 {
        assert_eq!(client.ask(5, &read_one(address)), [0x83, 0x0B], "{address}");
        assert_eq!(client.ask(5, &read_one(100)), [3, 2, 100, 5], "after {address}");
    }
    for address in 7..12 {
        assert_eq!(client.ask(5, &read_one(address)), [3, 2, address, 5], "{address}");
        assert_eq!(client.ask(5, &read_one(100)), [3, 2, 100, 5], "after {address}");
    }
}

#[test]
fn noise_on_the_resting_line_is_dropped() {
    let slave = Slave::new(|request| vec![good_answer(request)]);
    let mut gateway = Gateway::on(&slave.name, &[]);
    let mut client = gateway.connect();
    for round in 1..=3 {
        assert_eq!(client.ask(5, &read_one(1)), [3, 2, 1, 5]);
        (&slave.line).write_all(&good_answer(&rtu(5, &read_one(1)))[..6]).unwrap(); // nobody asked for it
        eventually("the noise is heard", || gateway.counter(" bytes of noise") == 6 * round);
    }
    assert_eq!(client.ask(5, &read_one(2)), [3, 2, 2, 5]);
}

#[test]
fn frames_are_set_apart_by_silence() {
    let (heard, moments) = mpsc::channel();
    let slave = Slave::new(move |request| {
        heard.send(Instant::now()).unwrap();
        vec![good_answer(request)]
    });
    let gateway = Gateway::on(&slave.name, &["--baud", "1200"]); // 11 bits each: 3.5 characters are 32 ms
    let mut client = gateway.connect();
    client.send(&[request(1, 5, &read_one(1)), request(2, 5, &read_one(2))].concat());
    assert_eq!([client.answer().id, client.answer().id], [1, 2]);
    let [first, second] = [moments.recv().unwrap(), moments.recv().unwrap()];
    assert!(second - first >= Duration::from_millis(32), "{:?}", second - first);
}

#[test]
fn line_of_software_needs_no_pause() {
    let slave = Slave::new(|request| vec![good_answer(request)]);
    let gateway = Gateway::on(&slave.name, &["--baud", "50", "--pause", "0"]); // 3.5 characters are 0.77 s
    let mut client = gateway.connect();
    let start = Instant::now();
    for register in 0..100 {
        assert_eq!(client.ask(5, &read_one(register)), [3, 2, register, 5]);
    }
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn device_that_never_stops_talking_stops_nobody() {
    let slave = Slave::new(|request| if request[3] == 0 { vec![] } else { vec![good_answer(request)] });
    let gateway = Gateway::on(&slave.name, &["--response-timeout", "600"]);
    let mut client = gateway.connect();
    let line = slave.line.try_clone().unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let babbler = thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_micros(500)) == Err(mpsc::RecvTimeoutError::Timeout) {
            (&line).write_all(&[0xAA; 3]).unwrap();
        }
    });
    for _ in 0..3 {
        assert_eq!(client.ask(5, &read_one(0)), [0x83, 0x0B]);
    }
    drop(stop);
    babbler.join().unwrap();
    assert_eq!(client.ask(5, &read_one(1)), [3, 2, 1, 5]);
}

#[test]
fn broadcast_is_sent_and_not_answered() {
    let (slave, requests, answers) = led_slave();
    let gateway = Gateway::on(&slave.name, &[]);
    let mut client = gateway.connect();
    client.send(&[request(1, 0, &[6, 0, 1, 0, 7]), request(2, 5, &read_one(3))].concat());
    let start = Instant::now();
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap(), rtu(0, &[6, 0, 1, 0, 7]));
    answers.send(vec![]).unwrap();
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap(), rtu(5, &read_one(3)));
    assert!(start.elapsed() >= Duration::from_millis(100), "slaves need time to digest a broadcast");
    answers.send(good_answer(&rtu(5, &read_one(3)))).unwrap();
    assert_eq!(client.answer(), Answer { id: 2, unit: 5, pdu: vec![3, 2, 3, 5] });
}

#[test]
fn line_torn_down_and_remade_is_survived() {
    let directory = Directory::new("remade");
    let tty = directory.0.join("tty");
    let mut gateway = Gateway::on(&tty, &["--response-timeout", "20000"]);
    let mut client = gateway.connect();
    assert_eq!(client.ask(5, &read_one(1)), [0x83, 0x0A]); // not there yet
    let descriptors = gateway.descriptors();

    for round in 1..=2 {
        let (slave, requests, answers) = led_slave();
        symlink(&slave.name, &tty).unwrap();
        eventually("the line is back", || gateway.counter("line: opened ") >= round);
        client.send(&request(1, 5, &read_one(2)));
        answers.send(good_answer(&requests.recv_timeout(PATIENCE).unwrap())).unwrap();
        assert_eq!(client.answer(), Answer { id: 1, unit: 5, pdu: vec![3, 2, 2, 5] });

        // One request is on the line when it breaks, one waits.
        client.send(&[request(2, 5, &read_one(3)), request(3, 6, &read_one(4))].concat());
        requests.recv_timeout(PATIENCE).unwrap();
        std::fs::remove_file(&tty).unwrap();
        drop((answers, requests));
        drop(slave);
        assert_eq!(client.answer(), Answer { id: 2, unit: 5, pdu: vec![0x83, 0x0A] });
        assert_eq!(client.answer(), Answer { id: 3, unit: 6, pdu: vec![0x83, 0x0A] });
        assert_eq!(client.ask(5, &read_one(5)), [0x83, 0x0A]);
        assert_eq!(gateway.descriptors(), descriptors);
    }
}

#[test]
fn unplugged_pymodbus_slave_comes_back() {
    let directory = Directory::new("unplugged");
    let (cable, near, far) = socat(&directory.0);
    let slave = Process(python("slave.py").arg(&far).stderr(Stdio::null()).spawn().unwrap());
    let gateway = Gateway::on(&near, &["--response-timeout", "300"]);
    eventually("the slave", || gateway.connect().ask(3, &read_one(0)) == [3, 2, 0, 0]);
    for end in [&near, &far] {
        std::fs::remove_file(end).unwrap(); // first, because the next pty of any test may get the old one's number
    }
    drop((cable, slave));
    eventually("the line is down", || gateway.connect().ask(3, &read_one(0)) == [0x83, 0x0A]);
    let (_cable, _, far) = socat(&directory.0);
    let _slave = Process(python("slave.py").arg(far).stderr(Stdio::null()).spawn().unwrap());
    eventually("the slave is back", || gateway.connect().ask(3, &read_one(0)) == [3, 2, 0, 0]);
    drop(gateway); // before its line goes away
}

// ---- The program

#[test]
fn nonsense_arguments_end_with_status_2_and_usage() {
    let cases: [&[&str]; 14] = [
        &["--listen", "nowhere"],
        &["--listen", "127.0.0.1:99999"],
        &["--baud", "fast"],
        &["--baud", "0"],
        &["--parity", "maybe"],
        &["--stop-bits", "3"],
        &["--capacity", "0"],
        &["--capacity", "100000"],
        &["--response-timeout", "-1"],
        &["--pause", "-1"],
        &["--idle-timeout", "0"],
        &["--serial"],
        &["--unknown"],
        &["stray"],
    ];
    for arguments in cases {
        let output = Command::new(example::path("modbus_gateway")).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: ") && errors.contains("Usage: modbus_gateway"), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_names_every_option() {
    let output = Command::new(example::path("modbus_gateway")).arg("--help").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    for option in
        ["listen", "serial", "baud", "parity", "stop-bits", "response-timeout", "pause", "idle-timeout", "capacity", "stats", "help"]
    {
        assert!(text.contains(&format!("--{option}")), "{option}: {text}");
    }
}

#[test]
fn address_in_use_is_an_error() {
    let gateway = Gateway::start(&[]);
    let output = Command::new(example::path("modbus_gateway")).args(["--listen", &gateway.address.to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("address already in use"));
}

#[test]
fn sigterm_ends_gracefully() {
    let (slave, requests, answers) = led_slave();
    let gateway = Gateway::on(&slave.name, &["--response-timeout", "20000"]);
    let mut idle = gateway.connect();
    let mut client = gateway.connect();
    client.send(&[request(1, 5, &read_one(1)), request(2, 5, &read_one(2))].concat());
    let on_line = requests.recv_timeout(PATIENCE).unwrap();
    gateway.signal(Signal::TERM);
    idle.expect_end();
    eventually("the listener is closed", || TcpStream::connect(gateway.address).is_err());
    answers.send(good_answer(&on_line)).unwrap();
    assert_eq!(client.answer(), Answer { id: 1, unit: 5, pdu: vec![3, 2, 1, 5] }); // what is on the line is finished
    assert_eq!(client.answer(), Answer { id: 2, unit: 5, pdu: vec![0x83, 0x0A] }); // what waits is refused
    client.expect_end();
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn sigint_twice_ends_at_once() {
    let (slave, requests, _answers) = led_slave();
    let gateway = Gateway::on(&slave.name, &["--response-timeout", "3600000"]);
    let mut client = gateway.connect();
    client.send(&request(1, 5, &read_one(1)));
    requests.recv_timeout(PATIENCE).unwrap();
    gateway.signal(Signal::INT);
    eventually("the listener is closed", || TcpStream::connect(gateway.address).is_err());
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn statistics_are_printed_on_sigusr1_and_at_the_end() {
    let mut gateway = Gateway::start(&["--stats"]);
    let mut client = gateway.connect();
    client.ask(1, &read_one(0));
    assert_eq!(gateway.counter(" accepted"), 1);
    assert_eq!(gateway.counter("answers: "), 1);
    gateway.signal(Signal::INT);
    let mut rest = String::new();
    gateway.0.output.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("requests: 1, answers: 1"), "{rest}");
    assert_eq!(gateway.wait().code(), Some(0));
}
