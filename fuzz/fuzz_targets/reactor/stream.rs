//! Pipes, socket pairs and listeners: the ends that the reactor does not have, and what went through.

use std::collections::VecDeque;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use netpoll::{Errno, Interest};
use rustix::fd::OwnedFd;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The reactor reads.
    PipeIn,
    /// The reactor writes.
    PipeOut,
    Pair,
    Listener,
}

/// What goes in one direction: each byte says where it belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    pub sent: u64,
    pub received: u64,
    salt: u8,
}

impl Flow {
    fn byte(self, at: u64) -> u8 {
        (at ^ at >> 8) as u8 ^ self.salt
    }

    /// The next bytes to be sent.
    pub fn next(&self, len: usize) -> Vec<u8> {
        (self.sent..).take(len).map(|at| self.byte(at)).collect()
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            assert!(self.received < self.sent, "more than was sent: {self:?}");
            assert_eq!(byte, self.byte(self.received), "{self:?}");
            self.received += 1;
        }
    }
}

#[derive(Debug)]
pub struct Stream {
    pub kind: Kind,
    /// The other end, and its duplicates.
    far: Vec<OwnedFd>,
    /// Another number for the reactor's end.
    pub dup: Option<OwnedFd>,
    /// To the reactor, and from it.
    pub inward: Flow,
    pub outward: Flow,
    /// The other end will not write any more, or not read.
    pub far_is_mute: bool,
    pub far_is_deaf: bool,
    address: Option<SocketAddr>,
    /// Those who have connected and are not accepted: gone already, if `None`.
    backlog: VecDeque<Option<OwnedFd>>,
}

impl Stream {
    fn with(kind: Kind, far: Option<OwnedFd>, number: usize) -> Stream {
        Stream {
            kind,
            far_is_mute: far.is_none() || kind == Kind::PipeOut,
            far_is_deaf: far.is_none() || kind == Kind::PipeIn,
            far: far.into_iter().collect(),
            dup: None,
            inward: Flow { salt: number as u8, ..Flow::default() },
            outward: Flow { salt: !number as u8, ..Flow::default() },
            address: None,
            backlog: VecDeque::new(),
        }
    }

    /// A new one, and the reactor's end of it. There is little room in it, so that writers have to wait.
    pub fn new(kind: Kind, number: usize) -> (Stream, OwnedFd) {
        match kind {
            Kind::PipeIn | Kind::PipeOut => {
                let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
                fcntl_setpipe_size(&write, 4096).unwrap();
                let (near, far) = if kind == Kind::PipeIn { (read, write) } else { (write, read) };
                (Stream::with(kind, Some(far), number), near)
            }
            Kind::Pair => {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
                set_socket_send_buffer_size(&near, 0).unwrap();
                (Stream::with(kind, Some(far), number), near)
            }
            Kind::Listener => {
                static NAMES: AtomicU64 = AtomicU64::new(0);
                let name = format!("netpoll-fuzz-{}-{}", std::process::id(), NAMES.fetch_add(1, Relaxed));
                let address = SocketAddr::from_abstract_name(name).unwrap();
                let listener = UnixListener::bind_addr(&address).unwrap();
                listener.set_nonblocking(true).unwrap();
                (Stream { address: Some(address), ..Stream::with(kind, None, number) }, listener.into())
            }
        }
    }

    pub fn interest(&self) -> Interest {
        match self.kind {
            Kind::PipeIn | Kind::Listener => Interest::READ,
            Kind::PipeOut => Interest::WRITE,
            Kind::Pair => Interest::READ | Interest::WRITE,
        }
    }

    /// How many descriptors of it are open here.
    pub fn fds(&self) -> usize {
        self.far.len() + self.backlog.iter().flatten().count() + usize::from(self.dup.is_some())
    }

    /// A client of a listener; at most a few.
    pub fn connect(&mut self) {
        let address = self.address.as_ref().filter(|_| self.backlog.len() < 4);
        if let Some(Ok(client)) = address.map(UnixStream::connect_addr) {
            client.set_nonblocking(true).unwrap();
            self.backlog.push_back(Some(client.into()));
        }
    }

    /// The first client hangs up before it is accepted.
    pub fn hang_up(&mut self) {
        if let Some(client) = self.backlog.front_mut() {
            *client = None;
        }
    }

    /// The listener has accepted: which client.
    pub fn accepted(&mut self, number: usize) -> Stream {
        let client = self.backlog.pop_front().expect("accepted nobody");
        Stream::with(Kind::Pair, client, number)
    }

    pub fn far_writes(&mut self, len: usize) {
        let Some(far) = self.far.first().filter(|_| !self.far_is_mute) else { return };
        match rustix::io::write(far, &self.inward.next(len)) {
            Ok(n) => self.inward.sent += n as u64,
            Err(errno) => assert!([Errno::AGAIN, Errno::PIPE, Errno::CONNRESET].contains(&errno), "{errno}"),
        }
    }

    pub fn far_reads(&mut self, len: usize) {
        let Some(far) = self.far.first().filter(|_| !self.far_is_deaf) else { return };
        let mut bytes = vec![0; len];
        match rustix::io::read(far, &mut bytes) {
            Ok(n) => self.outward.receive(&bytes[..n]),
            Err(errno) => assert!([Errno::AGAIN, Errno::CONNRESET].contains(&errno), "{errno}"),
        }
    }

    /// Closes one number for the far end.
    pub fn far_closes(&mut self) {
        self.far.pop();
        if self.far.is_empty() {
            (self.far_is_mute, self.far_is_deaf) = (true, true);
        }
    }

    pub fn far_is_closed(&self) -> bool {
        self.far.is_empty()
    }

    pub fn far_is_duplicated(&mut self) {
        if let [far] = &self.far[..] {
            self.far.push(fcntl_dupfd_cloexec(far, 0).unwrap());
        }
    }

    pub fn far_shuts(&mut self, writing: bool) {
        let Some(far) = self.far.first().filter(|_| self.kind == Kind::Pair) else { return };
        // ENOTCONN if the reactor's end is closed.
        let _ = shutdown(far, if writing { Shutdown::Write } else { Shutdown::Read });
        *(if writing { &mut self.far_is_mute } else { &mut self.far_is_deaf }) = true;
    }

    /// Another number for the reactor's end reads or writes too.
    pub fn dup_moves(&mut self, len: usize) {
        let Some(dup) = &self.dup else { return };
        if self.kind != Kind::PipeOut {
            let mut bytes = vec![0; len];
            if let Ok(n) = rustix::io::read(dup, &mut bytes) {
                self.inward.receive(&bytes[..n]);
            }
        } else if let Ok(n) = rustix::io::write(dup, &self.outward.next(len)) {
            self.outward.sent += n as u64;
        }
    }
}
