//! The simulated meter: a Modbus slave on the far end of a pty, in the same reactor as the gateway.

use crate::app::Cx;
use crate::frame::{self, BROADCAST, Pdu, RTU_MAX, RtuFrame};
use core::task::{Poll, ready};
use core::time::Duration;
use heapless::Vec;
use modbus_core::{Coils, Data, Exception, Request};
use netpoll::{Direction, Error, Token};

/// What the meter answers to.
pub const UNIT: u8 = 1;

/// How many there are of each: holding registers, input registers, coils, discrete inputs.
const SIZE: usize = 128;

pub struct Meter {
    /// The far end of the pty.
    line: Token,
    silence: Duration,
    registers: Registers,
    heard: Vec<u8, RTU_MAX>,
    output: RtuFrame,
    sent: usize,
}

impl Meter {
    pub fn new(line: Token, silence: Duration) -> Meter {
        Meter { line, silence, registers: Registers::new(), heard: Vec::new(), output: Vec::new(), sent: 0 }
    }

    pub fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        loop {
            while self.sent < self.output.len() {
                let rest = &self.output[self.sent..];
                self.sent += ready!(cx.poll_io(self.line, Direction::Write, |line| rustix::io::write(line, rest)))?;
            }
            let silent = self.heard.is_full() || ready!(self.hear(cx))?;
            if let Some(request) = frame::first_request(&self.heard, silent) {
                if let UNIT | BROADCAST = request.slave {
                    let answer = self.registers.answer(request.pdu);
                    if request.slave == UNIT {
                        self.output = frame::rtu_frame(UNIT, &answer);
                        self.sent = 0;
                    }
                }
                self.heard.clear(); // half-duplex: nobody speaks behind a request
            } else if silent {
                self.heard.clear(); // noise
            }
        }
    }

    /// Adds what is said to `heard`; true: nothing more is coming, the line is silent.
    fn hear(&mut self, cx: &mut Cx<'_>) -> Poll<Result<bool, Error>> {
        let mut chunk = [0; RTU_MAX];
        let room = RTU_MAX - self.heard.len();
        let Poll::Ready(length) = cx.poll_io(self.line, Direction::Read, |line| rustix::io::read(line, &mut chunk[..room])) else {
            ready!(cx.poll_timer());
            return Poll::Ready(Ok(true));
        };
        let _ = self.heard.extend_from_slice(&chunk[..length?]);
        cx.set_timer_after(self.silence);
        Poll::Ready(Ok(false))
    }
}

/// The meter's memory.
pub struct Registers {
    holding: [u16; SIZE],
    input: [u16; SIZE],
    coils: [bool; SIZE],
    discrete: [bool; SIZE],
}

impl Registers {
    /// The first four, holding and input: 230.1 V, 5.12 A, 1178 W, 50.00 Hz.
    pub const fn new() -> Registers {
        let mut input = [0; SIZE];
        [input[0], input[1], input[2], input[3]] = [2301, 512, 1178, 5000];
        let mut discrete = [false; SIZE];
        [discrete[0], discrete[2]] = [true, true];
        Registers { holding: input, input, coils: [false; SIZE], discrete }
    }

    /// Does what the request says and answers it: with an exception if it cannot be done.
    pub fn answer(&mut self, request: &[u8]) -> Pdu {
        self.serve(request).unwrap_or_else(|exception| frame::refusal(request.first().copied().unwrap_or(0), exception))
    }

    /// In the order of the specification's state diagrams: function, then quantity and value, then address.
    fn serve(&mut self, pdu: &[u8]) -> Result<Pdu, Exception> {
        let request = Request::try_from(pdu).map_err(|error| match error {
            modbus_core::Error::FnCode(_) => Exception::IllegalFunction,
            _ => Exception::IllegalDataValue,
        })?;
        match request {
            Request::ReadCoils(first, count) => read_bits(pdu, span(&self.coils, first, count.into(), 2000)?),
            Request::ReadDiscreteInputs(first, count) => read_bits(pdu, span(&self.discrete, first, count.into(), 2000)?),
            Request::ReadHoldingRegisters(first, count) => read_words(pdu, span(&self.holding, first, count.into(), 125)?),
            Request::ReadInputRegisters(first, count) => read_words(pdu, span(&self.input, first, count.into(), 125)?),
            Request::WriteSingleCoil(at, value) => {
                span_mut(&mut self.coils, at, 1, 1)?[0] = value;
                echo(pdu)
            }
            Request::WriteSingleRegister(at, value) => {
                span_mut(&mut self.holding, at, 1, 1)?[0] = value;
                echo(pdu)
            }
            Request::WriteMultipleCoils(first, values) => self.write_coils(pdu, first, values),
            Request::WriteMultipleRegisters(first, values) => self.write_registers(pdu, first, values),
            _ => Err(Exception::IllegalFunction),
        }
    }

    fn write_coils(&mut self, pdu: &[u8], first: u16, values: Coils<'_>) -> Result<Pdu, Exception> {
        check_count(pdu, values.packed_len())?;
        let coils = span_mut(&mut self.coils, first, values.len(), 1968)?;
        coils.iter_mut().zip(values).for_each(|(coil, value)| *coil = value);
        echo(pdu)
    }

    fn write_registers(&mut self, pdu: &[u8], first: u16, values: Data<'_>) -> Result<Pdu, Exception> {
        check_count(pdu, 2 * values.len())?;
        let registers = span_mut(&mut self.holding, first, values.len(), 123)?;
        registers.iter_mut().zip(values).for_each(|(register, value)| *register = value);
        echo(pdu)
    }
}

/// The quantity of a write, its byte count and its bytes must say the same.
fn check_count(pdu: &[u8], bytes: usize) -> Result<(), Exception> {
    let agrees = pdu.len() == 6 + bytes && usize::from(pdu[5]) == bytes;
    agrees.then_some(()).ok_or(Exception::IllegalDataValue)
}

fn span<T>(table: &[T], first: u16, count: usize, most: usize) -> Result<&[T], Exception> {
    if !(1..=most).contains(&count) {
        return Err(Exception::IllegalDataValue);
    }
    let first = usize::from(first);
    table.get(first..first + count).ok_or(Exception::IllegalDataAddress)
}

fn span_mut<T>(table: &mut [T], first: u16, count: usize, most: usize) -> Result<&mut [T], Exception> {
    let range = span(table, first, count, most).map(|_| usize::from(first)..usize::from(first) + count)?;
    Ok(&mut table[range])
}

fn read_bits(pdu: &[u8], bits: &[bool]) -> Result<Pdu, Exception> {
    let bytes = bits.chunks(8).map(|eight| eight.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit)));
    Ok([pdu[0], bits.len().div_ceil(8) as u8].into_iter().chain(bytes).collect())
}

fn read_words(pdu: &[u8], words: &[u16]) -> Result<Pdu, Exception> {
    Ok([pdu[0], 2 * words.len() as u8].into_iter().chain(words.iter().flat_map(|word| word.to_be_bytes())).collect())
}

/// Writes are answered with function, address and value or quantity: how the request began.
fn echo(pdu: &[u8]) -> Result<Pdu, Exception> {
    Ok(pdu.iter().copied().take(5).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: &[u8]) -> Pdu {
        Registers::new().answer(request)
    }

    #[test]
    fn every_function_reads_what_was_written() {
        let mut meter = Registers::new();
        assert_eq!(meter.answer(&[5, 0, 9, 0xFF, 0]), [5, 0, 9, 0xFF, 0]);
        assert_eq!(meter.answer(&[15, 0, 10, 0, 10, 2, 0b0101_0101, 0b11]), [15, 0, 10, 0, 10]);
        assert_eq!(meter.answer(&[1, 0, 9, 0, 11]), [1, 2, 0b1010_1011, 0b110]);
        assert_eq!(meter.answer(&[6, 0, 20, 0x12, 0x34]), [6, 0, 20, 0x12, 0x34]);
        assert_eq!(meter.answer(&[16, 0, 21, 0, 2, 4, 1, 2, 3, 4]), [16, 0, 21, 0, 2]);
        assert_eq!(meter.answer(&[3, 0, 20, 0, 3]), [3, 6, 0x12, 0x34, 1, 2, 3, 4]);
        assert_eq!(meter.answer(&[2, 0, 0, 0, 3]), [2, 1, 0b101]);
        assert_eq!(meter.answer(&[4, 0, 0, 0, 1]), [4, 2, 8, 0xFD]);
    }

    #[test]
    fn unknown_functions_are_refused() {
        for function in [0u8, 7, 8, 0x16, 0x17, 0x2B, 0x41, 0x7F] {
            let request = [function, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 1];
            assert_eq!(ask(&request), [function | 0x80, 1], "{function}");
        }
    }

    #[test]
    fn wrong_quantities_and_values_are_refused() {
        let requests: [&[u8]; 10] = [
            &[3, 0, 0, 0, 0],
            &[3, 0, 0, 0, 126],
            &[1, 0, 0, 0x07, 0xD1],
            &[5, 0, 0, 0x12, 0x34],
            &[15, 0, 0, 0, 9, 1, 1],
            &[15, 0, 0, 0, 0, 0],
            &[16, 0, 0, 0, 2, 2, 0, 1],
            &[16, 0, 0, 0, 1, 2, 0],
            &[16, 0, 0, 0, 1, 2, 0, 1, 9],
            &[3, 0, 0],
        ];
        for request in requests {
            assert_eq!(ask(request), [request[0] | 0x80, 3], "{request:?}");
        }
    }

    #[test]
    fn addresses_outside_are_refused() {
        let requests: [&[u8]; 6] = [
            &[3, 0, 125, 0, 4],
            &[3, 0xFF, 0xFF, 0, 125],
            &[1, 0, 128, 0, 1],
            &[5, 0, 128, 0, 0],
            &[6, 1, 0, 0, 0],
            &[16, 0, 127, 0, 2, 4, 0, 1, 0, 2],
        ];
        for request in requests {
            assert_eq!(ask(request), [request[0] | 0x80, 2], "{request:?}");
        }
    }

    #[test]
    fn any_request_is_answered_with_its_function() {
        let mut meter = Registers::new();
        let mut state = 1u64;
        for _ in 0..20_000 {
            let request: Pdu = (0..state % 40)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    ((state >> 60) as u8) << (state >> 40 & 3)
                })
                .collect();
            state = state.wrapping_add(0x9E37_79B9);
            let answer = meter.answer(&request);
            assert!(answer.len() >= 2);
            assert_eq!(answer[0] & 0x7F, request.first().copied().unwrap_or(0) & 0x7F);
        }
    }
}
