//! Numbers and addresses to and from text. The parser of `core::net` and `core::fmt` would be a third of the program, as they know much more.

use core::net::SocketAddrV4;

use netpoll::{Errno, Error};

use crate::start::{self, Output};

/// Reads `A.B.C.D:PORT`.
pub fn address(text: &[u8]) -> Option<SocketAddrV4> {
    let mut numbers = [0_u32; 5];
    let (mut part, mut digits) = (0, 0);
    for &byte in text {
        if byte.is_ascii_digit() && digits < 5 {
            let number = numbers.get_mut(part)?;
            *number = *number * 10 + u32::from(byte - b'0');
            digits += 1;
        } else if digits > 0 && b"...:".get(part) == Some(&byte) {
            (part, digits) = (part + 1, 0);
        } else {
            return None;
        }
    }
    let [a, b, c, d, port] = numbers;
    let octets = [a, b, c, d];
    if part < 4 || digits == 0 || port > 65535 || octets.iter().any(|&octet| octet > 255) {
        return None;
    }
    Some(SocketAddrV4::new(octets.map(|octet| octet as u8).into(), port as u16))
}

/// A line that is put together first, to be written at once.
pub struct Line {
    bytes: [u8; 128],
    len: usize,
}

impl Line {
    pub fn new() -> Self {
        Line { bytes: [0; 128], len: 0 }
    }

    pub fn write(self, to: Output) {
        start::write(to, self.text("\n").bytes());
    }

    /// Appends; what does not fit is lost.
    pub fn text(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            self.push(byte);
        }
        self
    }

    pub fn number(mut self, number: u32) -> Self {
        let mut divisor = 1;
        while number / divisor >= 10 {
            divisor *= 10;
        }
        while divisor > 0 {
            self.push(b'0' + (number / divisor % 10) as u8);
            divisor /= 10;
        }
        self
    }

    pub fn address(mut self, addr: SocketAddrV4) -> Self {
        for (octet, separator) in addr.ip().octets().into_iter().zip([".", ".", ".", ":"]) {
            self = self.number(octet.into()).text(separator);
        }
        self.number(addr.port().into())
    }

    /// The errors that a wrong address brings by name, any other by its number: see `errno -l`.
    pub fn error(self, error: Error) -> Self {
        match error {
            Error::Os(Errno::ACCESS) => self.text("permission denied"),
            Error::Os(Errno::ADDRINUSE) => self.text("address already in use"),
            Error::Os(Errno::ADDRNOTAVAIL) => self.text("cannot assign requested address"),
            Error::Os(errno) => self.text("os error ").number(errno.raw_os_error().unsigned_abs()),
            _ => self.text("failed"),
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = byte;
            self.len += 1;
        }
    }
}
