//! The program in `examples/nolibc`: builds it with the command that the documentation gives, looks at the file, and talks to it.
//!
//! `NETPOLL_TEST_NOLIBC` names a program that is made already, for another CPU too.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "util/nolibc.rs"]
mod util;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use util::{PATIENCE, Server, build, made_already, program};

const LIMIT: usize = 16 * 1024;
/// `CONNECTIONS` and the size of a connection's buffer, as the program has them.
const CONNECTIONS: usize = 64;
const BUFFER: usize = 2048;

/// Bytes that differ from client to client and do not repeat with the size of any buffer.
fn bytes(client: u32, len: usize) -> Vec<u8> {
    let mut state = client.wrapping_mul(0x9e37_79b9) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(step).collect()
}

fn ping(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text);
}

#[test]
fn it_is_small_and_static() {
    let elf = std::fs::read(program()).unwrap();
    let number = |at: usize, len: usize| elf[at..at + len].iter().rev().fold(0, |n: usize, &byte| n << 8 | usize::from(byte));
    const X86_64: usize = 62;
    // Other CPUs need more bytes for the same, and what 32 bits lack is done by calls.
    let limit = if number(18, 2) == X86_64 { LIMIT } else { 2 * LIMIT };
    assert!(elf.len() <= limit, "{} bytes", elf.len());

    assert_eq!((&elf[..4], elf[5]), (&b"\x7fELF"[..], 1), "little-endian");
    assert_eq!(number(16, 2), 2, "ET_EXEC: nothing has to relocate it");
    let (headers, size, count) = match elf[4] {
        1 => (number(28, 4), number(42, 2), number(44, 2)), // 32 bits
        _ => (number(32, 8), number(54, 2), number(56, 2)),
    };
    for header in 0..count {
        let kind = number(headers + header * size, 4);
        assert!(kind != 2 && kind != 3, "PT_DYNAMIC or PT_INTERP: it needs a loader");
    }
}

#[test]
fn no_allocator_no_libc_and_the_storage_costs_no_file() {
    if made_already().is_some() {
        eprintln!("skipped: no_allocator_no_libc_and_the_storage_costs_no_file: the symbols of the program made already are gone");
        return;
    }
    let program = build(true);
    let nm = Command::new("nm").arg("--print-size").arg(&program).output().expect("nm, of binutils");
    let symbols = String::from_utf8(nm.stdout).unwrap();
    let lines: Vec<Vec<&str>> = symbols.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.iter().any(|line| line.last() == Some(&"_start")), "{symbols}");

    for line in &lines {
        let (kind, name) = (line[line.len() - 2], line[line.len() - 1]);
        assert!(kind != "U" && kind != "w", "undefined: {name}");
        assert!(!["malloc", "calloc", "realloc", "free", "__errno_location", "__libc_start_main"].contains(&name), "{name}");
        assert!(!["rust_alloc", "rust_dealloc", "rust_realloc", "_Unwind_"].iter().any(|part| name.contains(part)), "{name}");
    }

    let size = |line: &[&str]| usize::from_str_radix(line[1], 16).unwrap();
    let storage = lines.iter().find(|line| line.len() == 4 && size(line) >= CONNECTIONS * BUFFER).expect("the storage has no symbol");
    assert!(storage[2].eq_ignore_ascii_case("b"), "not in .bss: {storage:?}");
}

#[test]
fn twenty_clients_at_once() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for client in 0..20 {
            let mut reader = server.connect();
            scope.spawn(move || {
                let sent = bytes(client, 300_000 + 7919 * client as usize);
                let mut writer = reader.try_clone().unwrap();
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        for piece in sent.chunks(1 + 4001 * (client as usize % 5)) {
                            writer.write_all(piece).unwrap();
                        }
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    // The end of file comes after the last byte: a half-closed connection is echoed to its end.
                    let mut received = Vec::new();
                    reader.read_to_end(&mut received).unwrap();
                    assert!(received == sent, "client {client}: {} bytes of {}", received.len(), sent.len());
                });
            });
        }
    });
}

#[test]
fn a_client_too_many_waits_for_a_free_slot() {
    let server = Server::start();
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    for client in &mut clients {
        ping(client, b"here");
    }

    let mut late = server.connect();
    late.write_all(b"late").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = [0; 4];
    late.read_exact(&mut answer).expect_err("served although the table is full");

    drop(clients.pop());
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    late.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"late");
    for client in &mut clients {
        ping(client, b"still here");
    }
}

#[test]
fn clients_come_and_go_and_some_reset() {
    let server = Server::start();
    for round in 0..500 {
        let mut client = server.connect();
        ping(&mut client, b"hello");
        if round % 2 == 0 {
            // An answer that nobody reads makes the close a reset.
            client.write_all(&[0; 4096]).unwrap();
        }
    }
    ping(&mut server.connect(), b"as ever");
}

#[test]
#[ignore = "takes the minute that the program allows"]
fn a_silent_client_is_hung_up_on() {
    let server = Server::start();
    let (mut silent, mut lively) = (server.connect(), server.connect());
    ping(&mut silent, b"hello");
    let began = Instant::now();
    silent.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while silent.read(&mut [0]).is_err() {
        ping(&mut lively, b"still here");
        assert!(began.elapsed() < Duration::from_secs(70));
    }
    assert!(began.elapsed() > Duration::from_secs(59));
    ping(&mut lively, b"still here");
}

fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().unwrap()
}

#[test]
fn nonsense_ends_with_status_2_and_the_usage() {
    for args in [
        &["nonsense"][..],
        &[""],
        &["127.0.0.1"],
        &["127.0.0.1:"],
        &["127.0.0.1:65536"],
        &["127.0.0.256:80"],
        &["localhost:80"],
        &["[::1]:80"],
        &["--port"],
        &["127.0.0.1:0", "127.0.0.1:0"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(output.stderr.starts_with(b"usage: "), "{args:?}");
    }
}

#[test]
fn help_is_no_error() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.starts_with(b"usage: "));
}

#[test]
fn a_taken_port_is_said_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = run(&[&addr]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("{addr}: address already in use\n"));
}
