//! `dns_lookup` against dnsmasq (Debian package `dnsmasq-base`), and against servers that do not behave.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use crate::example::PATIENCE;
use crate::program::{Ended, expect_usage, run};

const A: u16 = 1;
const AAAA: u16 = 28;

fn look_up(server: SocketAddr, arguments: &[&str]) -> Ended {
    let server = server.to_string();
    run("dns_lookup", &[&["--server", &server], arguments].concat())
}

fn sorted(ended: &Ended) -> Vec<&str> {
    let mut lines: Vec<_> = ended.lines.iter().map(String::as_str).collect();
    lines.sort_unstable();
    lines
}

/// A socket and a listener on the same port.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

// ---- A real server

struct Dnsmasq {
    child: Child,
    address: SocketAddr,
}

impl Dnsmasq {
    /// On a free port, which another program may take in between: then dnsmasq ends, and another port is tried.
    fn start(arguments: &[&str]) -> Dnsmasq {
        loop {
            let address = sockets().0.local_addr().unwrap();
            let port = format!("--port={}", address.port());
            let fixed = [
                "--keep-in-foreground",
                "--local=/test/",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--listen-address=127.0.0.1",
            ];
            let mut child = Command::new("dnsmasq")
                .args(fixed)
                .args(["--bind-interfaces", "--pid-file=", "--log-facility=/dev/null", &port])
                .args(arguments)
                .stderr(Stdio::null())
                .spawn()
                .expect("apt-get install dnsmasq-base");
            let end = Instant::now() + PATIENCE;
            loop {
                if TcpStream::connect(address).is_ok() {
                    return Dnsmasq { child, address };
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                assert!(Instant::now() < end, "dnsmasq does not listen");
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn dnsmasq_answers_for_both_families() {
    let dnsmasq = Dnsmasq::start(&["--host-record=meter.test,192.0.2.7,2001:db8::7", "--address=/four.test/192.0.2.4"]);
    let both = look_up(dnsmasq.address, &["meter.test"]);
    assert_eq!((both.status.code(), sorted(&both)), (Some(0), vec!["192.0.2.7", "2001:db8::7"]), "{both:?}");
    let one = look_up(dnsmasq.address, &["FOUR.test."]);
    assert_eq!((one.status.code(), sorted(&one)), (Some(0), vec!["192.0.2.4"]), "{one:?}");
}

#[test]
fn alias_is_followed() {
    let dnsmasq = Dnsmasq::start(&["--host-record=meter.test,192.0.2.7", "--cname=alias.test,meter.test"]);
    let ended = look_up(dnsmasq.address, &["alias.test"]);
    assert_eq!((ended.status.code(), sorted(&ended)), (Some(0), vec!["192.0.2.7"]), "{ended:?}");
}

#[test]
fn name_that_dnsmasq_does_not_know_is_an_error() {
    let dnsmasq = Dnsmasq::start(&[]);
    let ended = look_up(dnsmasq.address, &["nobody.test"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.errors.contains("A of nobody.test") && ended.errors.contains("no such name"), "{ended:?}");
}

/// More than 512 bytes: dnsmasq sets TC in its datagram, and gives everything by TCP.
#[test]
fn long_answer_of_dnsmasq_comes_by_tcp() {
    let records: Vec<String> = (0..60).map(|host| format!("--host-record=many.test,192.0.2.{host}")).collect();
    let dnsmasq = Dnsmasq::start(&records.iter().map(String::as_str).collect::<Vec<_>>());
    let ended = look_up(dnsmasq.address, &["many.test"]);
    let mut expected: Vec<String> = (0..60).map(|host| format!("192.0.2.{host}")).collect();
    expected.sort_unstable();
    assert_eq!((ended.status.code(), sorted(&ended)), (Some(0), expected.iter().map(String::as_str).collect()), "{ended:?}");
}

// ---- Servers of the test

/// A query as it came.
struct Query {
    bytes: Vec<u8>,
    from: SocketAddr,
}

impl Query {
    fn kind(&self) -> u16 {
        u16::from_be_bytes([self.bytes[self.bytes.len() - 4], self.bytes[self.bytes.len() - 3]])
    }

    fn id(&self) -> [u8; 2] {
        [self.bytes[0], self.bytes[1]]
    }

    /// The answer: the host's address for A, nothing for AAAA.
    fn answer(&self, host: u8) -> Vec<u8> {
        let mut answer = self.bytes.clone();
        answer[2] |= 0x80; // QR
        if self.kind() == A {
            answer[7] = 1;
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, host]);
        }
        answer
    }
}

fn with(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut bytes);
    bytes
}

/// Does something with every query that comes to the socket, until it has said of two that they are done with.
fn serve_on(socket: UdpSocket, mut each: impl FnMut(&UdpSocket, Query) -> bool + Send + 'static) -> JoinHandle<()> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    spawn(move || {
        let (mut left, mut bytes) = (2, [0; 1024]);
        while left > 0 {
            let (len, from) = socket.recv_from(&mut bytes).unwrap();
            left -= u32::from(each(&socket, Query { bytes: bytes[..len].to_vec(), from }));
        }
    })
}

fn serve(each: impl FnMut(&UdpSocket, Query) -> bool + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    (socket.local_addr().unwrap(), serve_on(socket, each))
}

fn expect_one(ended: &Ended, host: u8) {
    assert_eq!((ended.status.code(), &ended.lines[..]), (Some(0), &[format!("192.0.2.{host}")][..]), "{ended:?}");
}

#[test]
fn lost_query_is_asked_again_under_another_id() {
    // Ids are random: among three tries of both kinds two are the same once in 10 000 times; all of them never.
    let mut seen = Vec::new();
    let (address, server) = serve(move |socket, query| {
        seen.push((query.kind(), query.id()));
        let tries = seen.iter().filter(|(kind, _)| *kind == query.kind()).count();
        if tries < 3 {
            return false;
        }
        let first = seen.iter().find(|(kind, _)| *kind == query.kind()).unwrap();
        assert!(seen.iter().any(|other| other.0 == first.0 && other.1 != first.1), "{seen:?}");
        socket.send_to(&query.answer(3), query.from).unwrap();
        true
    });
    expect_one(&look_up(address, &["--timeout", "50", "--tries", "50", "meter.test"]), 3);
    server.join().unwrap();
}

/// The answer to the try before has the wrong id; it comes first.
#[test]
fn answers_to_other_queries_are_passed_over() {
    let (address, server) = serve(|socket, query| {
        let send = |bytes: Vec<u8>| socket.send_to(&bytes, query.from).unwrap();
        send(with(query.answer(66), |answer| answer[1] ^= 1)); // another id
        send(with(query.answer(66), |answer| answer[13] ^= 1)); // another question
        send(with(query.answer(66), |answer| answer[2] &= 0x7f)); // no answer but a query
        send(query.answer(66)[..11].to_vec()); // too short for a header
        send(Vec::new());
        send(query.answer(5));
        true
    });
    expect_one(&look_up(address, &["meter.test"]), 5);
    server.join().unwrap();
}

#[test]
fn answers_from_another_address_are_not_seen() {
    let (address, server) = serve(|socket, query| {
        let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        stranger.send_to(&query.answer(66), query.from).unwrap();
        socket.send_to(&query.answer(6), query.from).unwrap();
        true
    });
    expect_one(&look_up(address, &["meter.test"]), 6);
    server.join().unwrap();
}

/// Answers the query of one connection.
fn serve_tcp(listener: TcpListener, answer: impl Fn(Query) -> Vec<u8> + Send + 'static) -> JoinHandle<()> {
    spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut bytes).unwrap();
        stream.set_nodelay(true).unwrap();
        // In pieces, of which the first ends in the middle of the length.
        let answer = answer(Query { bytes, from });
        for piece in [&answer[..answer.len().min(1)], answer.get(1..9).unwrap_or_default(), answer.get(9..).unwrap_or_default()] {
            if stream.write_all(piece).is_err() {
                return; // it has heard enough
            }
            std::thread::sleep(Duration::from_millis(5)); // so that they are read one by one, nearly always
        }
    })
}

/// Says by UDP that the answer for A is longer, and so serves it by TCP.
fn look_up_by_tcp(answer: impl Fn(Query) -> Vec<u8> + Send + 'static) -> Ended {
    let (udp, tcp) = sockets();
    let address = udp.local_addr().unwrap();
    let server = serve_on(udp, |socket, query| {
        assert!([A, AAAA].contains(&query.kind()));
        let truncated = if query.kind() == A { 2 } else { 0 };
        socket.send_to(&with(query.answer(66), |answer| answer[2] |= truncated), query.from).unwrap();
        true
    });
    let tcp = serve_tcp(tcp, answer);
    let ended = look_up(address, &["meter.test"]);
    server.join().unwrap();
    drop(TcpStream::connect(address)); // if nobody else did, so that this ends
    tcp.join().unwrap();
    ended
}

fn prefixed(bytes: Vec<u8>) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
}

#[test]
fn truncated_answer_is_asked_for_by_tcp() {
    expect_one(&look_up_by_tcp(|query| prefixed(query.answer(8))), 8);
}

#[test]
fn wrong_answers_by_tcp_are_errors() {
    for (answer, error) in [
        ((|query| prefixed(query.answer(8))[..20].to_vec()) as fn(Query) -> Vec<u8>, "ends early"),
        (|_| vec![0xff; 5000], "too long"),
        (|query| prefixed(with(query.answer(8), |answer| answer[1] ^= 1)), "another question"),
        (|_| Vec::new(), "ends early"),
    ] {
        let ended = look_up_by_tcp(answer);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.errors.contains(error), "{ended:?}");
    }
}

#[test]
fn server_that_says_an_error_is_quoted() {
    let (address, server) = serve(|socket, query| {
        socket.send_to(&with(query.answer(9), |answer| answer[3] |= 2), query.from).unwrap();
        true
    });
    let ended = look_up(address, &["meter.test"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.errors.contains("the server says SERVFAIL"), "{ended:?}");
    server.join().unwrap();
}

#[test]
fn addresses_of_one_family_are_enough() {
    let (address, server) = serve(|socket, query| {
        let refused = if query.kind() == A { 0 } else { 5 };
        socket.send_to(&with(query.answer(9), |answer| answer[3] |= refused), query.from).unwrap();
        true
    });
    let ended = look_up(address, &["meter.test"]);
    expect_one(&ended, 9);
    assert!(ended.errors.contains("AAAA of meter.test"), "{ended:?}");
    server.join().unwrap();
}

#[test]
fn silent_server_is_a_timeout_after_all_tries() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let ended = look_up(socket.local_addr().unwrap(), &["--timeout", "40", "--tries", "3", "meter.test"]);
    assert!(began.elapsed().as_millis() >= 120);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.errors.contains("A of meter.test from 127.0.0.1") && ended.errors.contains("i/o timeout"), "{ended:?}");
    let queries = std::iter::from_fn(|| socket.recv(&mut [0; 512]).ok()).count();
    assert_eq!(queries, 6);
}

#[test]
fn port_where_nobody_listens_is_a_refusal_and_not_a_timeout() {
    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let ended = look_up(nobody, &["--timeout", "60000", "meter.test"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.errors.contains("connection refused"), "{ended:?}");
}

#[test]
fn name_without_addresses_says_so() {
    let dnsmasq = Dnsmasq::start(&["--txt-record=text.test,hello"]);
    let ended = look_up(dnsmasq.address, &["text.test"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.errors.contains("no address of text.test"), "{ended:?}");
}

#[test]
fn nonsense_is_refused() {
    let long = format!("{}.test", "x".repeat(64));
    expect_usage(
        "dns_lookup",
        &[
            &[],
            &["name"],
            &["--server", "127.0.0.1:53"],
            &["--server", "here", "name"],
            &["--server", "127.0.0.1:53", "--tries", "0", "name"],
            &["--server", "127.0.0.1:53", "--timeout", "-1", "name"],
            &["--server", "127.0.0.1:53", "two..dots"],
            &["--server", "127.0.0.1:53", &long],
        ],
    );
}
