//! The echo servers, on the reactor and under an executor, driven as their users drive them. Debian package: `socat`.

#[path = "util/example.rs"]
mod example;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use example::Example;
use rustix::process::Signal;

const SERVERS: [&str; 2] = ["echo", "async_echo"];

fn start(name: &str, arguments: &[&str]) -> Example {
    Example::start(name, &[&["--listen", "127.0.0.1:0"], arguments].concat())
}

fn each(arguments: &[&str], test: impl Fn(&str, Example)) {
    SERVERS.iter().for_each(|name| test(name, start(name, arguments)));
}

/// Bytes that differ at every place and for every client.
fn pattern(client: usize, len: usize) -> Vec<u8> {
    (0..len).map(|place| (place.wrapping_mul(31) ^ client.wrapping_mul(97) ^ (place >> 8)) as u8).collect()
}

#[test]
fn socat_gets_back_what_it_sends() {
    each(&[], |_, server| {
        let mut socat = Command::new("socat")
            .args(["-t", "10", "-", &format!("TCP:{}", server.address)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("apt-get install socat");
        let sent = pattern(1, 1 << 20);
        let mut stdin = socat.stdin.take().unwrap();
        let writer = {
            let sent = sent.clone();
            std::thread::spawn(move || stdin.write_all(&sent).unwrap())
        };
        let output = socat.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success());
        assert!(output.stdout == sent, "{} bytes came back", output.stdout.len());
    });
}

/// As redis-benchmark does it: 50 connections, 16 requests under way on each.
#[test]
fn pipelined_load_comes_back_in_order() {
    const CLIENTS: usize = 50;
    const REQUESTS: usize = 2_000;
    const PIPELINE: usize = 16;
    const SIZE: usize = 64;
    each(&[], |_, server| {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let server = &server;
                scope.spawn(move || {
                    let mut stream = server.connect();
                    let sent = pattern(client, PIPELINE * SIZE);
                    let mut answer = vec![0; sent.len()];
                    for _ in 0..REQUESTS / PIPELINE {
                        stream.write_all(&sent).unwrap();
                        stream.read_exact(&mut answer).unwrap();
                        assert!(answer == sent);
                    }
                });
            }
        });
    });
}

/// The server stops reading while its client does not read, and loses nothing.
#[test]
fn client_that_reads_late_gets_everything() {
    each(&[], |_, server| {
        let stream = server.connect();
        let sent = pattern(7, 16 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (&stream).write_all(&sent).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            let mut answer = Vec::new();
            (&stream).read_to_end(&mut answer).unwrap();
            assert!(answer == sent, "{} bytes came back", answer.len());
        });
    });
}

fn expect_end(mut stream: TcpStream) {
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
}

#[test]
fn silent_client_is_disconnected() {
    each(&["--idle-timeout", "50"], |_, server| expect_end(server.connect()));
}

#[test]
fn clients_beyond_the_capacity_wait_for_a_place() {
    // The listener is one of async_echo's descriptors.
    for (name, capacity) in [("echo", "2"), ("async_echo", "3")] {
        let server = start(name, &["--capacity", capacity]);
        let mut clients: Vec<TcpStream> = (0..5).map(|_| server.connect()).collect();
        for (client, stream) in clients.iter_mut().enumerate() {
            stream.write_all(&pattern(client, 100)).unwrap();
        }
        for (client, mut stream) in clients.into_iter().enumerate() {
            let mut answer = [0; 100];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer[..], pattern(client, 100));
        }
    }
}

#[test]
fn descriptors_are_not_leaked() {
    each(&[], |_, server| {
        let before = server.descriptors();
        for _ in 0..200 {
            let mut stream = server.connect();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
        }
        let start = std::time::Instant::now();
        while server.descriptors() != before {
            assert!(start.elapsed() < example::PATIENCE);
            std::thread::yield_now();
        }
    });
}

#[test]
fn signals_end_it_gracefully() {
    for signal in [Signal::TERM, Signal::INT] {
        each(&[], |name, server| {
            let mut stream = server.connect();
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            server.signal(signal);
            expect_end(stream);
            assert!(server.wait().success(), "{name}");
        });
    }
}

#[test]
fn stats_are_printed_at_the_end() {
    let mut server = start("echo", &["--stats"]);
    server.signal(Signal::TERM);
    let mut text = String::new();
    server.output.read_to_string(&mut text).unwrap();
    assert!(text.contains("polls:") && text.contains("wakes: 1"), "{text}");
}

#[test]
fn nonsense_arguments_end_with_status_2_and_usage() {
    for name in SERVERS {
        for arguments in [
            &["--listen", "here"][..],
            &["--capacity", "0"],
            &["--capacity", "99999999999"],
            &["--idle-timeout", "-1"],
            &["--idle-timeout", "0"],
            &["--fast"],
            &["x"],
        ] {
            let output = Command::new(example::path(name)).args(arguments).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {text}");
            assert!(text.contains("--help"), "{name} {arguments:?}: {text}");
        }
    }
}

#[test]
fn address_in_use_is_an_error() {
    each(&[], |name, server| {
        let output = Command::new(example::path(name)).args(["--listen", &server.address.to_string()]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("address already in use"));
    });
}
