//! The clients of a gateway and the slave at the far end of its line, all in this thread: each client asks again as soon as it is answered,
//! and the slave answers at once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

/// The slave's unit.
const UNIT: u8 = 1;
/// The slave among the clients.
const SLAVE: Token = Token(usize::MAX);
/// A header and 5 bytes of request; a header and 4 bytes of answer.
const REQUEST: usize = 12;
const ANSWER: usize = 11;
/// Far longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A line of software.
pub struct Line {
    far: File,
    pub near: PathBuf,
    /// Keeps the line from hanging up before the gateway has opened its end.
    _near: File,
    heard: Vec<u8>,
}

impl Line {
    pub fn new() -> io::Result<Line> {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&far)?;
        fcntl_setfl(&far, OFlags::RDWR | OFlags::NONBLOCK)?;
        let near = PathBuf::from(ptsname(&far, [])?.into_string().map_err(io::Error::other)?);
        let _near = File::options().read(true).write(true).open(&near)?;
        Ok(Line { far: far.into(), near, _near, heard: Vec::new() })
    }

    /// Answers requests for one register with its address.
    fn answer(&mut self) -> io::Result<()> {
        let mut chunk = [0; 256];
        loop {
            match self.far.read(&mut chunk) {
                Ok(n) => self.heard.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            while self.heard.len() >= 8 {
                let request: Vec<u8> = self.heard.drain(..8).collect();
                if request[..2] != [UNIT, 3] {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the slave was asked {request:?}")));
                }
                let mut answer = vec![UNIT, 3, 2, request[2], request[3]];
                answer.extend(modbus_core::rtu::crc16(&answer).to_be_bytes());
                self.far.write_all(&answer)?;
            }
        }
    }
}

pub struct Load {
    poll: Poll,
    line: Line,
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    asked: u16,
    heard: Vec<u8>,
}

impl Client {
    fn ask(&mut self, register: u16) -> io::Result<()> {
        self.asked = self.asked.wrapping_add(1);
        let [[i0, i1], [r0, r1]] = [self.asked, register].map(u16::to_be_bytes);
        let request: [u8; REQUEST] = [i0, i1, 0, 0, 0, 6, UNIT, 3, r0, r1, 0, 1];
        self.stream.write_all(&request)
    }

    /// Whether its answer has come.
    fn hear(&mut self, register: u16) -> io::Result<bool> {
        let mut chunk = [0; 256];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.heard.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        if self.heard.len() < ANSWER {
            return Ok(false);
        }
        let [[i0, i1], [r0, r1]] = [self.asked, register].map(u16::to_be_bytes);
        if self.heard != [i0, i1, 0, 0, 0, 5, UNIT, 3, 2, r0, r1] {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the answer to {} of {register} is {:?}", self.asked, self.heard),
            ));
        }
        self.heard.clear();
        Ok(true)
    }
}

impl Load {
    pub fn new(line: Line, gateway: SocketAddr, clients: usize) -> io::Result<Load> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&line.far.as_raw_fd()), SLAVE, Interest::READABLE)?;
        let connect = |number| {
            let stream = std::net::TcpStream::connect(gateway)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            Ok(Client { stream, asked: 0, heard: Vec::new() })
        };
        let clients = (0..clients).map(connect).collect::<io::Result<_>>()?;
        Ok(Load { poll, line, clients })
    }

    /// Makes so many transactions, with one request of each client under way.
    pub fn run(&mut self, transactions: u64) -> Result<(), String> {
        self.transact(transactions).map_err(|error| format!("transactions: {error}"))
    }

    fn transact(&mut self, transactions: u64) -> io::Result<()> {
        let (mut asked, mut answered) = (0, 0);
        for (register, client) in (0..).zip(&mut self.clients) {
            if asked < transactions {
                client.ask(register)?;
                asked += 1;
            }
        }
        let mut events = Events::with_capacity(128);
        while answered < transactions {
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for 20 s, after {answered} of {transactions}")));
            }
            for event in &events {
                if event.token() == SLAVE {
                    self.line.answer()?;
                    continue;
                }
                let Token(number) = event.token();
                let client = &mut self.clients[number];
                if client.hear(number as u16)? {
                    answered += 1;
                    if asked < transactions {
                        client.ask(number as u16)?;
                        asked += 1;
                    }
                }
            }
        }
        Ok(())
    }
}
