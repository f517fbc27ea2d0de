//! DNS: looks up the addresses of a name, by UDP, and by TCP when an answer does not fit into a datagram.
//!
//! ```text
//! cargo run --release --example dns_lookup -- --server 127.0.0.1:53 localhost
//! ```
//!
//! The recipe for a client of any protocol over UDP: a *connected* socket, so that the kernel drops what anybody else sends and reports a
//! refusal (ICMP) as an error of the socket; a read deadline for each try; an id of its own for each try; and whatever is no answer to the
//! last question is passed over. The codec, `domain`, allocates nothing and needs no `std`.

use core::net::SocketAddr;
use core::task::{Poll, ready};
use core::time::Duration;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

use clap::Parser;
use domain::base::{Message, MessageBuilder, Name, Rtype, StreamTarget, iana::Rcode};
use domain::{dep::octseq::Array, rdata::AllRecordData};
use netpoll::net::{TcpStream, UdpSocket};
use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
use static_cell::ConstStaticCell;

/// Prints the addresses of a name
#[derive(Parser)]
#[command(name = "dns_lookup")]
struct Arguments {
    /// Whom to ask
    #[arg(long, value_name = "ADDR")]
    server: SocketAddr,

    /// How long a try may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout: u64,

    /// How often to ask
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    tries: u32,

    name: Name<Array<255>>,
}

struct Shared {
    arguments: Arguments,
    found: bool,
}

type Failure = Box<dyn std::error::Error>;

/// The question for addresses of one kind.
struct Lookup {
    kind: Rtype,
    socket: UdpSocket,
    tries: u32,
    timeout: Duration,
    /// Sent in this try, and not answered yet.
    query: Option<StreamTarget<Array<512>>>,
    /// When the answer does not fit into a datagram: the connection, and how much of the query is written.
    tcp: Option<(TcpStream, usize)>,
    /// As TCP has it: its length in two bytes, then the answer.
    answer: [u8; 4096],
    len: usize,
}

impl Handler for Lookup {
    type Shared = Shared;
    type Error = Failure;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Failure>> {
        if self.tcp.is_none() {
            ready!(self.ask_by_udp(cx))?;
            if !Message::from_octets(&self.answer[2..self.len])?.header().tc() {
                return Poll::Ready(self.print(cx.shared()));
            }
            let server = cx.shared().arguments.server;
            let stream = TcpStream::connect(server)?.open(cx)?;
            stream.set_timeout(cx, Some(self.timeout))?;
            (self.tcp, self.len) = (Some((stream, 0)), 0);
        }
        ready!(self.ask_by_tcp(cx))?;
        Poll::Ready(self.print(cx.shared()))
    }

    fn on_error(&mut self, error: Failure, cx: &mut Context<'_, Self>) {
        let Arguments { server, name, .. } = &cx.shared().arguments;
        eprintln!("dns_lookup: {} of {name} from {server}: {error}", self.kind);
    }
}

impl Lookup {
    fn ask_by_udp(&mut self, cx: &mut Context<'_, Lookup>) -> Poll<Result<(), Failure>> {
        loop {
            if self.query.is_none() {
                let query = query(&cx.shared().arguments.name, self.kind)?;
                let datagram = query.as_dgram_slice();
                ready!(self.socket.send(cx, datagram))?;
                self.socket.set_read_timeout(cx, Some(self.timeout))?;
                (self.query, self.tries) = (Some(query), self.tries - 1);
            }
            match ready!(self.socket.recv(cx, &mut self.answer[2..])) {
                Ok(len) => {
                    self.len = 2 + len;
                    if self.is_answered() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(Error::TimedOut) if self.tries > 0 => self.query = None,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn ask_by_tcp(&mut self, cx: &mut Context<'_, Lookup>) -> Poll<Result<(), Failure>> {
        if let (Some(query), Some((stream, sent))) = (&self.query, &mut self.tcp) {
            ready!(stream.write_all(cx, query.as_stream_slice(), sent))?;
            while self.len < 2 + usize::from(u16::from_be_bytes([self.answer[0], self.answer[1]])) {
                match ready!(stream.read(cx, &mut self.answer[self.len..]))? {
                    0 => return Poll::Ready(Err("the answer is too long, or ends early".into())),
                    n => self.len += n,
                }
            }
        }
        Poll::Ready(if self.is_answered() { Ok(()) } else { Err("the answer is to another question".into()) })
    }

    /// Whether the answer is that to the query: by its id and by the question in it.
    fn is_answered(&self) -> bool {
        let Some(Ok(query)) = self.query.as_ref().map(|query| Message::from_octets(query.as_dgram_slice())) else { return false };
        Message::from_octets(&self.answer[2..self.len]).is_ok_and(|answer| answer.is_answer(&query))
    }

    fn print(&self, shared: &mut Shared) -> Result<(), Failure> {
        let answer = Message::from_octets(&self.answer[2..self.len])?;
        match answer.header().rcode() {
            Rcode::NOERROR => {}
            Rcode::NXDOMAIN => return Err("no such name".into()),
            code => return Err(format!("the server says {code}").into()),
        }
        let name = answer.canonical_name().ok_or("too many aliases")?;
        for record in answer.answer()?.limit_to_in::<AllRecordData<_, _>>() {
            let record = record?;
            if record.rtype() == self.kind && *record.owner() == name {
                println!("{}", record.data());
                shared.found = true;
            }
        }
        Ok(())
    }
}

/// A question that nobody who does not see it can answer: its id is random, and so is the port that the kernel has chosen.
fn query(name: &Name<Array<255>>, kind: Rtype) -> Result<StreamTarget<Array<512>>, Failure> {
    let mut id = [0; 2];
    File::open("/dev/urandom")?.read_exact(&mut id)?;
    let mut message = MessageBuilder::from_target(StreamTarget::new(Array::new())?)?;
    message.header_mut().set_id(u16::from_ne_bytes(id));
    message.header_mut().set_rd(true);
    let mut message = message.question();
    message.push((name, kind))?;
    Ok(message.finish())
}

fn look_up(arguments: Arguments) -> Result<bool, Error> {
    // Each of the two has a socket of either kind.
    static STORAGE: ConstStaticCell<ReactorStorage<Lookup, 2, 4>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take())?;
    let (tries, timeout) = (arguments.tries, Duration::from_millis(arguments.timeout));
    for kind in [Rtype::A, Rtype::AAAA] {
        let socket = UdpSocket::connect(arguments.server)?;
        reactor.spawn_with(socket, |socket| Lookup { kind, socket, tries, timeout, query: None, tcp: None, answer: [0; 4096], len: 0 })?;
    }
    let mut shared = Shared { arguments, found: false };
    reactor.run(&mut shared)?;
    if !shared.found {
        eprintln!("dns_lookup: no address of {}", shared.arguments.name);
    }
    Ok(shared.found)
}

fn main() -> ExitCode {
    match look_up(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("dns_lookup: {error}");
            ExitCode::FAILURE
        }
    }
}
