//! Blocking peers on threads of their own: they do what a reactor's handlers would not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::net::sockopt;

use crate::journal::{ACCEPTED, DIALLED, Fate, Journal, Link, PATIENCE, Report, Rng, Tape};

/// Counts a thread for as long as it lives.
struct Alive<'j>(&'j Journal);

impl<'j> Alive<'j> {
    fn new(journal: &'j Journal) -> Alive<'j> {
        journal.threads.fetch_add(1, Relaxed);
        Alive(journal)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a peer panicked".into());
        }
        self.0.threads.fetch_sub(1, Relaxed);
    }
}

/// One end of a connection, as a blocking peer has it.
struct Peer<'j> {
    journal: &'j Journal,
    link: &'j Link,
    side: usize,
    stream: TcpStream,
    sent: u64,
    received: u64,
    end: bool,
    broken: bool,
}

impl Peer<'_> {
    /// Sends so much of the tape, as far as it gets.
    fn send(&mut self, goal: u64, rng: &mut Rng) {
        let tape = Tape::of(self.link.id, self.side);
        while self.sent < goal && !self.broken {
            let len = rng.size(16).min(goal - self.sent);
            match self.stream.write(tape.at(self.sent, len as usize)) {
                Ok(n) => {
                    self.sent += n as u64;
                    self.journal.moved(Some(self.link), n);
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Receives up to so much, as far as it comes.
    fn receive(&mut self, goal: u64, rng: &mut Rng) {
        let tape = Tape::of(self.link.id, 1 - self.side);
        let mut buf = vec![0; 1 << 16];
        while self.received < goal && !self.end && !self.broken {
            let len = (rng.size(16)).min(goal - self.received);
            match self.stream.read(&mut buf[..len as usize]) {
                Ok(0) => self.end = true,
                Ok(n) => {
                    if !tape.is(self.received, &buf[..n]) {
                        self.journal.fail(format!("{n} bytes from {} on are not the peer's: {:?}", self.received, self.link));
                    }
                    self.received += n as u64;
                    self.journal.moved(Some(self.link), n);
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    fn failed(&mut self, error: &std::io::Error) {
        match error.kind() {
            ErrorKind::Interrupted => {}
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => self.broken = true,
            _ => {
                self.journal.fail(format!("a peer: {error}: {:?}", self.link));
                self.broken = true;
            }
        }
    }

    /// Closes the connection; by a reset if it is one.
    fn report(self, fate: Fate) {
        let &Peer { sent, received, end, broken, .. } = &self;
        self.journal.report(self.link, self.side, Report { fate, sent, received, end, broken });
    }
}

fn reset_on_close(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// Dials until the end.
pub fn clients(journal: &Journal, addresses: &[SocketAddr], seed: u64) {
    let _alive = Alive::new(journal);
    let mut rng = Rng::new(seed);
    while !journal.is_stopping() {
        let address = addresses[rng.below(addresses.len() as u64) as usize];
        let Ok(stream) = TcpStream::connect(address) else {
            // No more descriptors, no more ports.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let way = rng.below(5);
        if way == 0 {
            // Dead before it is accepted, or soon after.
            reset_on_close(&stream);
            journal.count(Fate::PeerResetAtOnce);
            continue;
        }
        let goals = [(); 2].map(|()| 8 + rng.size(17));
        let link = journal.begin(way == 1, goals);
        let mut peer = Peer { journal, link: &link, side: DIALLED, stream, sent: 0, received: 0, end: false, broken: false };
        match way {
            1 => {
                peer.send(goals[DIALLED], &mut rng);
                let _ = peer.stream.shutdown(Shutdown::Write);
                peer.receive(u64::MAX, &mut rng);
                peer.report(Fate::PeerFinishedExactly);
            }
            2 => {
                peer.send(8 + rng.below(goals[DIALLED] - 7), &mut rng);
                peer.receive(rng.below(goals[ACCEPTED] + 1), &mut rng);
                reset_on_close(&peer.stream);
                peer.report(Fate::PeerReset);
            }
            3 => {
                peer.send(goals[DIALLED], &mut rng);
                let _ = peer.stream.shutdown(Shutdown::Write);
                peer.receive(rng.below(goals[ACCEPTED]), &mut rng);
                peer.report(Fate::PeerLeftDataUnread);
            }
            _ => {
                // Until the other end has lost its patience, and ends the connection.
                sockopt::set_socket_recv_buffer_size(&peer.stream, 4096).unwrap();
                peer.send(8, &mut rng);
                while !peer.broken && peer.stream.peek(&mut [0; 1 << 16]).is_ok_and(|n| n > 0) && !journal.is_stopping() {
                    std::thread::sleep(Duration::from_millis(10));
                    if rng.chance(30) {
                        break;
                    }
                }
                peer.report(Fate::PeerNeverRead);
            }
        }
    }
}

/// Accepts until the end, and treats nobody well.
pub fn server(journal: &Journal, listener: &TcpListener, seed: u64) {
    let _alive = Alive::new(journal);
    let mut rng = Rng::new(seed);
    listener.set_nonblocking(true).unwrap();
    // Those who have dialled last are served too.
    while !journal.is_stopping() || journal.alive(DIALLED) > 0 {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut name = [0; 8];
        if rng.chance(200) || stream.read_exact(&mut name).is_err() {
            reset_on_close(&stream);
            journal.count(Fate::ServerReset);
            continue;
        }
        let Some(link) = journal.meet(Tape::read_name(name).0) else { continue };
        let mut peer = Peer { journal, link: &link, side: ACCEPTED, stream, sent: 0, received: 8, end: false, broken: false };
        peer.receive(8 + rng.below(100), &mut rng);
        peer.send(rng.below(100).min(link.goals[ACCEPTED]), &mut rng);
        if rng.chance(500) {
            reset_on_close(&peer.stream);
            peer.report(Fate::ServerReset);
        } else {
            peer.report(Fate::ServerClosed);
        }
    }
}
