//! The example servers, as their users run them, with lorises in their seats.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::report;

#[path = "../util/example.rs"]
mod example;
use example::Example;

const LORISES: usize = 60;
const REQUESTS: usize = 200;

/// For the lorises, the polite client, and another one.
const SEATS: usize = LORISES + 2;

/// A request to the gateway: one register of the simulated meter.
const READ_ONE: [u8; 12] = [0x5A, 0x5A, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1];

/// Longer than the polite client's thread has to wait for a processor.
const IDLE: Duration = Duration::from_millis(1000);

/// Lorises that send a byte now and then, peers that never say anything, and a client that wants to be answered.
fn besiege(situation: &str, server: &Example, trickle: u8, ask: impl Fn(&mut TcpStream) -> std::io::Result<()>) {
    let mut spoke = Instant::now();
    let mut polite = server.connect();
    ask(&mut polite).unwrap();
    let with_one = server.descriptors();
    let mut lorises: Vec<TcpStream> = (0..LORISES).map(|_| server.connect()).collect();
    let mut latencies = Vec::new();
    for request in 0..REQUESTS {
        if request % 5 == 0 {
            lorises.iter_mut().step_by(2).for_each(|loris| drop(loris.write(&[trickle])));
        }
        let begin = Instant::now();
        if let Err(error) = ask(&mut polite) {
            assert!(spoke.elapsed() >= IDLE, "{error}");
            polite = server.connect();
            ask(&mut polite).unwrap();
        }
        spoke = begin;
        latencies.push(begin.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    // Nobody sends any more: the idle deadline sets everybody free.
    lorises.iter_mut().for_each(|loris| drop(loris.read_to_end(&mut Vec::new())));
    crate::util::eventually("no descriptor is left", || server.descriptors() < with_one);
    ask(&mut server.connect()).unwrap();
    println!("{}", report::row(situation, &mut latencies, None));
}

#[cfg(feature = "alloc")]
#[test]
fn lorises_at_the_echo_server() {
    let server = start("echo");
    besiege("example `echo`: slow and silent peers", &server, b'z', |stream| {
        stream.write_all(b"polite")?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"polite");
        Ok(())
    });
}

#[test]
fn lorises_at_the_modbus_gateway() {
    let server = start("modbus_gateway");
    // Zeroes: a transaction, the protocol, and then a length that no request has.
    besiege("example `modbus_gateway`: slow and silent peers", &server, 0, |stream| {
        stream.write_all(&READ_ONE)?;
        let mut answer = [0; 11];
        stream.read_exact(&mut answer)?;
        assert_eq!(answer[..9], [0x5A, 0x5A, 0, 0, 0, 5, 1, 3, 2]);
        Ok(())
    });
}

/// A request that takes longer than the idle time-out is cut off, however busy its client is, and who waits for a seat gets it.
#[test]
fn slow_loris_at_the_modbus_gateway_loses_its_seat() {
    let server = start("modbus_gateway");
    let begin = Instant::now();
    let mut lorises: Vec<TcpStream> = (0..SEATS).map(|_| server.connect()).collect();
    let mut newcomer = server.connect();
    newcomer.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    newcomer.write_all(&READ_ONE).unwrap();
    // A transaction, the protocol, the length of what follows; that takes its time.
    lorises.iter_mut().for_each(|loris| loris.write_all(&[0, 1, 0, 0, 0, 254]).unwrap());
    let (mut sent, mut answer) = (0, [0; 11]);
    while let Err(error) = newcomer.read_exact(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        lorises.iter_mut().for_each(|loris| drop(loris.write(&[1])));
        sent += 1;
        assert!(sent < 254, "they have kept their seats");
    }
    assert!(begin.elapsed() >= IDLE);
    assert_eq!(answer[..9], [0x5A, 0x5A, 0, 0, 0, 5, 1, 3, 2]);
}

fn start(name: &str) -> Example {
    let (seats, idle) = (SEATS.to_string(), IDLE.as_millis().to_string());
    Example::start(name, &["--listen", "127.0.0.1:0", "--capacity", &seats, "--idle-timeout", &idle])
}
