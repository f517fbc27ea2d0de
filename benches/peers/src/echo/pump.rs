//! What the Rust peers with a shared buffer have in common: a connection's step, from readiness to readiness; `c/echo.h` in Rust.

use std::io::{ErrorKind, Read, Write};

/// When a step stops reading: edge-triggered loops must know that nothing is left, level-triggered ones are told again.
#[allow(dead_code)] // no peer needs all
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    NothingLeft,
    ShortRead,
    OneRead,
}

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    WantsRead,
    WantsWrite,
    Gone,
}

/// What the kernel has not taken yet of an echo; nothing is read before it is gone.
#[derive(Default)]
pub struct Pending {
    bytes: Vec<u8>,
    sent: usize,
}

impl Pending {
    #[cold]
    fn flush(&mut self, stream: &mut impl Write) -> Outcome {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::WantsWrite,
                Err(_) => return Outcome::Gone,
            }
        }
        *self = Pending::default();
        Outcome::WantsRead
    }

    #[inline]
    pub fn step(&mut self, stream: &mut (impl Read + Write), buf: &mut [u8], until: Until) -> Outcome {
        if !self.bytes.is_empty() {
            match self.flush(stream) {
                Outcome::WantsRead => {}
                other => return other,
            }
        }
        loop {
            let len = match stream.read(buf) {
                Ok(0) => return Outcome::Gone,
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::WantsRead,
                Err(_) => return Outcome::Gone,
            };
            let sent = match stream.write(&buf[..len]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return Outcome::Gone,
            };
            if sent < len {
                self.bytes = buf[sent..len].to_vec();
                match self.flush(stream) {
                    Outcome::WantsRead => {}
                    other => return other,
                }
            }
            if until == Until::OneRead || (until == Until::ShortRead && len < buf.len()) {
                return Outcome::WantsRead;
            }
        }
    }
}
