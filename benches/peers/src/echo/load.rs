//! `peers load`: so many connections, each of which sends its next request when the last one is answered, and looks at the answer.
//!
//! Where requests are counted, all connections wait for each other: a server that a tool slows down otherwise finds the next request on the
//! connection that it has just answered, and never gets to EAGAIN or back to its loop.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::measure::process_cpu;

/// Prints requests, seconds, and nanoseconds of the server's CPU time.
#[derive(Debug, clap::Args)]
pub struct Load {
    addr: SocketAddr,
    /// The server's process
    pid: u32,
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    bytes: u32,
    /// So many requests in all, divided among the connections
    #[arg(long, value_name = "N", required_unless_present = "seconds", conflicts_with = "seconds")]
    requests: Option<u32>,
    /// For so long
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
}

impl Load {
    pub fn run(&self) -> Result<(), String> {
        let extent = match (self.requests, self.seconds) {
            (Some(requests), _) => Extent::Requests(requests as usize),
            (None, seconds) => Extent::For(Duration::try_from_secs_f64(seconds.unwrap_or(1.0)).map_err(|error| error.to_string())?),
        };
        run(self.addr, self.pid, self.connections, self.bytes as usize, extent).map_err(|error| format!("load: {error}"))
    }
}

#[derive(Clone, Copy)]
enum Extent {
    Requests(usize),
    For(Duration),
}

struct Client {
    stream: TcpStream,
    sent: usize,
    received: usize,
    /// How many requests it still has to send, the one under way included.
    left: usize,
}

struct Clients {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    message: Vec<u8>,
    buf: Vec<u8>,
    answered: usize,
}

fn run(addr: SocketAddr, pid: u32, connections: u32, bytes: usize, extent: Extent) -> std::io::Result<()> {
    super::raise_limit();
    let mut clients = Clients {
        poll: Poll::new()?,
        events: Events::with_capacity(1024),
        clients: Vec::new(),
        message: (0..bytes).map(|at| (at % 251) as u8).collect(),
        buf: vec![0; 64 * 1024],
        answered: 0,
    };
    for _ in 0..connections {
        clients.connect(addr)?;
    }
    // Everybody is accepted, and has been answered.
    clients.work(Extent::Requests(connections as usize))?;
    clients.answered = 0;
    let (start, cpu) = (Instant::now(), process_cpu(pid));
    clients.work(extent)?;
    println!("{} {} {}", clients.answered, start.elapsed().as_secs_f64(), process_cpu(pid) - cpu);
    clients.clients.iter().for_each(reset);
    Ok(())
}

/// Leaves no port behind that waits for a minute.
fn reset(client: &Client) {
    let _ = rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO));
}

impl Clients {
    fn connect(&mut self, addr: SocketAddr) -> std::io::Result<()> {
        let stream = std::net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(self.clients.len()), Interest::READABLE | Interest::WRITABLE)?;
        self.clients.push(Client { stream, sent: 0, received: 0, left: 0 });
        Ok(())
    }

    fn work(&mut self, extent: Extent) -> std::io::Result<()> {
        match extent {
            Extent::Requests(requests) => (0..requests / self.clients.len()).try_for_each(|_| self.round(1, None)),
            Extent::For(time) => self.round(usize::MAX, Some(Instant::now() + time)),
        }
    }

    /// So many requests of each connection, until all are answered or the time is over.
    fn round(&mut self, each: usize, end: Option<Instant>) -> std::io::Result<()> {
        let Clients { poll, events, clients, message, buf, answered } = self;
        let mut busy = clients.len();
        for client in clients.iter_mut() {
            client.left = each;
            client.step(message, buf, answered)?;
            busy -= usize::from(client.left == 0);
        }
        while busy > 0 && end.is_none_or(|end| Instant::now() < end) {
            poll.poll(events, Some(Duration::from_secs(10)))?;
            if events.is_empty() {
                return Err(std::io::Error::new(ErrorKind::TimedOut, "no answer for 10 s"));
            }
            for event in events.iter() {
                let client = &mut clients[event.token().0];
                if client.left > 0 {
                    client.step(message, buf, answered)?;
                    busy -= usize::from(client.left == 0);
                }
            }
        }
        Ok(())
    }
}

impl Client {
    /// Sends and receives until either would block, or nothing is left to do.
    fn step(&mut self, message: &[u8], buf: &mut [u8], answered: &mut usize) -> std::io::Result<()> {
        let wrong = |what| Err(std::io::Error::new(ErrorKind::InvalidData, what));
        while self.left > 0 {
            if self.sent < message.len() {
                match self.stream.write(&message[self.sent..]) {
                    Ok(n) => self.sent += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            match self.stream.read(buf) {
                Ok(0) => return wrong("the server has hung up"),
                Ok(n) => {
                    if message.get(self.received..self.received + n) != Some(&buf[..n]) {
                        return wrong("not what was sent");
                    }
                    self.received += n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.received == message.len() {
                (self.sent, self.received) = (0, 0);
                self.left -= 1;
                *answered += 1;
            }
        }
        Ok(())
    }
}
