//! The polite client: asks, waits for the answer, looks at it, thinks a moment, and asks again.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use netpoll::Clock;

use crate::journal::Journal;
use crate::siege::Rules;
use crate::util::PATIENCE;

/// What its requests begin with.
pub const PREFIX: &[u8] = b"polite ";

/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(1);

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The answer to a line, without its end.
pub fn backwards(line: &[u8]) -> Vec<u8> {
    line.iter().rev().copied().collect()
}

/// Asks until it is told to stop; how long each answer took.
pub fn ask_and_ask(address: SocketAddr, journal: &Journal, rules: &Rules) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut connection = Connection::new(address, rules.clock);
    let mut number = 0;
    while !journal.polite_stops.load(Relaxed) {
        number += 1;
        let mut line = format!("polite {number} {}", "abcdefghijklmnopqrstuvwxyz".repeat(number as usize % 9)).into_bytes();
        line.push(b'\n');
        if rules.fresh_connections {
            connection = Connection::new(address, rules.clock);
        }
        let begin = Instant::now();
        while !connection.ask(&line, || journal.polite_asked.set(number)) {
            // The server may think that it has fallen silent, if this thread was not run for so long: but not before its time.
            let silence = connection.clock.now() - connection.spoke[0];
            assert!(silence >= rules.deadlines.idle, "cut off after {silence:?}");
            connection = Connection::new(address, rules.clock);
        }
        latencies.push(begin.elapsed());
        std::thread::sleep(PAUSE);
    }
    latencies
}

struct Connection {
    stream: BufReader<TcpStream>,
    clock: Clock,
    /// When it sent the request before the last one, or connected; when it sent the last one.
    spoke: [netpoll::Instant; 2],
}

impl Connection {
    fn new(address: SocketAddr, clock: Clock) -> Connection {
        let now = clock.now();
        Connection { stream: BufReader::new(connect(address)), clock, spoke: [now; 2] }
    }

    /// Whether there was an answer, which is the right one.
    fn ask(&mut self, line: &[u8], sent: impl FnOnce()) -> bool {
        self.spoke = [self.spoke[1], self.clock.now()];
        if self.stream.get_mut().write_all(line).is_err() {
            return false;
        }
        sent();
        let mut answer = Vec::new();
        match self.stream.read_until(b'\n', &mut answer) {
            Ok(n) if n > 0 => {}
            Ok(_) => return false,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
            Err(error) => panic!("no answer: {error}"),
        }
        let question = &line[..line.len() - 1];
        assert!(answer.strip_suffix(b"\n") == Some(&backwards(question)[..]), "{answer:?} to {question:?}");
        true
    }
}

/// Asks once, and expects the answer.
pub fn ask(stream: &mut TcpStream, question: &[u8]) {
    stream.write_all(&[question, b"\n"].concat()).unwrap();
    expect_answer(stream, question);
}

pub fn expect_answer(stream: &mut TcpStream, question: &[u8]) {
    let mut answer = vec![0; question.len() + 1];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [&backwards(question)[..], b"\n"].concat());
}

/// The server ends the connection, with an end or a reset.
pub fn expect_end(stream: &mut TcpStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}
