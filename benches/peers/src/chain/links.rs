//! The descriptors of a chain. They stay open until the process ends.

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use rustix::event::{EventfdFlags, eventfd};

use crate::work::Case;

pub const UNIX: u64 = 0;
pub const TCP: u64 = 1;
pub const EVENTFD: u64 = 2;

/// One link, as C sees it too.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Link {
    pub from: RawFd,
    pub to: RawFd,
}

impl Link {
    /// What it reads from, for those that want to own it. Once for each link.
    pub fn from(self) -> OwnedFd {
        // SAFETY: open, and nobody else closes it.
        unsafe { OwnedFd::from_raw_fd(self.from) }
    }

    /// What it writes to. A link's end for writing is never registered: its writability is nobody's business.
    pub fn to(self) -> BorrowedFd<'static> {
        // SAFETY: nobody closes it before the process ends.
        unsafe { BorrowedFd::borrow_raw(self.to) }
    }

    /// What it reads from.
    pub fn borrow_from(self) -> BorrowedFd<'static> {
        // SAFETY: nobody closes it before the process ends.
        unsafe { BorrowedFd::borrow_raw(self.from) }
    }
}

/// A ring: what is written to `to` of one link arrives at `from` of the next.
#[derive(Debug)]
pub struct Links {
    pub kind: u64,
    pub links: &'static [Link],
    tokens: usize,
    /// Bytes of a token.
    token: usize,
}

impl Links {
    pub fn new(case: &Case) -> Links {
        let &[kind, number, tokens] = case.parameters else { panic!("{case:?}") };
        raise_limit();
        let ends: Vec<(RawFd, RawFd)> = match kind {
            UNIX => (0..number).map(|_| unix()).collect(),
            TCP => {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
                (0..number).map(|_| tcp(&listener)).collect()
            }
            _ => (0..number).map(|_| counter()).collect(),
        };
        let next = ends.iter().cycle().skip(1);
        let links: Vec<Link> = ends.iter().zip(next).map(|(&(from, _), &(_, to))| Link { from, to }).collect();
        Links { kind, links: links.leak(), tokens: tokens as usize, token: if kind == EVENTFD { 8 } else { 1 } }
    }

    /// Puts the tokens on their way, as far from each other as can be. Only when every link waits: then none catches up with another.
    pub fn start(&self) {
        let token = 1u64.to_ne_bytes();
        for number in 0..self.tokens {
            let link = self.links[number * self.links.len() / self.tokens];
            assert_eq!(rustix::io::write(link.to(), &token[..self.token]), Ok(self.token));
        }
    }
}

/// One step of a link in Rust: what is there, or an error; and forwards it.
#[inline]
pub fn forward(link: Link, buf: &mut [u8; super::BUFFER]) -> rustix::io::Result<usize> {
    let got = rustix::io::read(link.borrow_from(), &mut *buf)?;
    pass_on(link, &buf[..got]);
    Ok(got)
}

/// Forwards what a link has read.
#[inline]
pub fn pass_on(link: Link, token: &[u8]) {
    assert_eq!(rustix::io::write(link.to(), token), Ok(token.len()));
}

/// As many descriptors as the system allows.
fn raise_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("the hard limit is allowed");
}

fn unix() -> (RawFd, RawFd) {
    let (from, to) = UnixStream::pair().expect("a pair");
    from.set_nonblocking(true).expect("a socket");
    to.set_nonblocking(true).expect("a socket");
    (from.into_raw_fd(), to.into_raw_fd())
}

fn tcp(listener: &TcpListener) -> (RawFd, RawFd) {
    let to = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (from, _) = listener.accept().expect("a connection");
    for end in [&from, &to] {
        end.set_nonblocking(true).expect("a socket");
        end.set_nodelay(true).expect("a socket");
    }
    (from.into_raw_fd(), to.into_raw_fd())
}

/// Both ends are the same.
fn counter() -> (RawFd, RawFd) {
    let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd").into_raw_fd();
    (fd, fd.as_raw_fd())
}
