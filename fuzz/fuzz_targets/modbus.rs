//! The frames of the Modbus gateway's example: streams cut anywhere, and lines on which answers stand among noise.
#![no_main]

#[allow(dead_code)]
#[path = "../../examples/modbus_gateway/frame.rs"]
mod frame;

use arbitrary::{Arbitrary, Unstructured};
use frame::{PDU_MAX, Pdu, RTU_MAX, TCP_MAX};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// What a client sends, and where it is cut.
    Tcp { cuts: Vec<u8>, requests: Vec<Request<'a>>, garbage: &'a [u8] },
    /// What is heard on the line after a request.
    Line { unit: u8, request: Request<'a>, silent: bool, heard: Vec<Heard<'a>> },
    /// An answer behind noise that does not contain the unit.
    Answer { unit: u8, asked: Asked, silent: bool, noise: &'a [u8], behind: &'a [u8], data: &'a [u8] },
}

/// 1 to `PDU_MAX` bytes.
#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Arbitrary<'a> for Bytes<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Bytes<'a>> {
        let bytes: &[u8] = u.arbitrary()?;
        Ok(Bytes(if bytes.is_empty() { &[0x41] } else { &bytes[..bytes.len().min(PDU_MAX)] }))
    }
}

#[derive(Arbitrary, Debug)]
struct Request<'a> {
    transaction: u16,
    unit: u8,
    pdu: Bytes<'a>,
}

#[derive(Arbitrary, Debug)]
enum Heard<'a> {
    Noise(&'a [u8]),
    /// With its CRC.
    Frame(u8, Bytes<'a>),
    /// Of the unit that was asked, to its function.
    Answer(Bytes<'a>),
    /// The same but for one bit.
    Broken(Bytes<'a>, u16),
    Echo,
}

/// Requests whose answers have a known shape.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Asked {
    Bits { inputs: bool, from: u16, count: u8 },
    Registers { inputs: bool, from: u16, count: u8 },
    WriteOne { coil: bool, at: u16, value: u16 },
    WriteMany { coils: bool, at: u16, count: u8 },
    Mask { at: u16, and: u16, or: u16 },
    Refused { function: u8, exception: u8 },
}

fn pdu(bytes: &[u8]) -> Pdu {
    Pdu::from_slice(bytes).unwrap()
}

/// `CRC-16/MODBUS`, by polynomial division.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| u16::from(byte >> bit & 1))) {
        crc = if (crc ^ bit) & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
    }
    crc.to_le_bytes()
}

// ---- TCP

/// The first request of `rest` in the words of the specification: its length on the wire; nothing yet; or not Modbus.
fn plain_tcp(rest: &[u8]) -> Result<Option<usize>, ()> {
    let number = |at: usize| rest.get(at..at + 2).map(|bytes| usize::from(bytes[0]) * 256 + usize::from(bytes[1]));
    if number(2).is_some_and(|protocol| protocol != 0) {
        return Err(());
    }
    match number(4) {
        Some(length) if !(2..=254).contains(&length) => Err(()),
        Some(length) if rest.len() >= 6 + length => Ok(Some(6 + length)),
        _ => Ok(None),
    }
}

/// Reads a stream in pieces, and says which requests came and whether it went well.
fn split(stream: &[u8], cuts: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let (mut requests, mut at, mut have) = (Vec::new(), 0, 0);
    let mut cuts = cuts.iter().cycle();
    loop {
        let rest = &stream[at..have];
        let answer = frame::split_tcp(rest);
        assert_eq!(answer.as_ref().map(|found| found.as_ref().map(|(_, length)| *length)).map_err(drop), plain_tcp(rest));
        match answer {
            Ok(Some((request, length))) => {
                assert_eq!((&rest[7..length], rest[6]), (request.pdu, request.unit_id));
                assert_eq!(rest[..2], request.transaction_id.to_be_bytes());
                assert!((1..=PDU_MAX).contains(&request.pdu.len()) && length <= TCP_MAX);
                requests.push(rest[..length].to_vec());
                at += length;
            }
            Err(_) => return (requests, false),
            Ok(None) if have == stream.len() => return (requests, true),
            Ok(None) => {
                // What the gateway's buffers have room for is enough.
                assert!(rest.len() < TCP_MAX);
                have = stream.len().min(have + 1 + usize::from(cuts.next().copied().unwrap_or(u8::MAX)));
            }
        }
    }
}

fn tcp(cuts: &[u8], requests: &[Request<'_>], garbage: &[u8]) {
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for request in requests.iter().take(20) {
        let frame = frame::tcp_frame(request.transaction, request.unit, &pdu(request.pdu.0));
        stream.extend(&frame);
        expected.push(frame.to_vec());
    }
    stream.extend(garbage);
    let (found, went_well) = split(&stream, cuts);
    assert_eq!(found[..expected.len()], expected);
    assert!(went_well || !garbage.is_empty());
    for cuts in [&[0][..], &[u8::MAX], &[6], &[5, 200]] {
        assert_eq!(split(&stream, cuts), (found.clone(), went_well));
    }
}

// ---- The line

/// Where `part`, which was cut out of `heard`, begins.
fn place(heard: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - heard.as_ptr().addr()
}

/// That what was found is a frame of that line: between its unit and its CRC.
fn check_frame(heard: &[u8], pdu: &[u8], unit: u8) {
    let at = place(heard, pdu);
    assert!((1..=PDU_MAX).contains(&pdu.len()));
    assert_eq!(heard[at..][..pdu.len()], *pdu);
    assert_eq!(heard[at - 1], unit);
    assert_eq!(heard[at + pdu.len()..][..2], crc(&heard[at - 1..at + pdu.len()]));
}

/// Whether the answer can be meant for the request; what the specification says of each function.
fn fits(request: &[u8], answer: &[u8]) -> bool {
    let asked = |at: usize| usize::from(request[at]) * 256 + usize::from(request[at + 1]);
    if answer[0] & 0x7F != request[0] {
        return false;
    }
    if answer[0] >= 0x80 {
        return answer.len() == 2;
    }
    match request[0] {
        1 | 2 => answer.len() == 2 + usize::from(answer[1]) && (request.len() < 5 || usize::from(answer[1]) == asked(3).div_ceil(8)),
        3 | 4 | 0x17 => answer.len() == 2 + usize::from(answer[1]) && (request.len() < 5 || usize::from(answer[1]) == 2 * asked(3)),
        5 | 6 => answer.len() == 5 && (request.len() < 3 || answer[1..3] == request[1..3]),
        0x0F | 0x10 => answer.len() == 5 && (request.len() < 5 || answer[1..5] == request[1..5]),
        0x11 | 0x14 | 0x15 => answer.len() == 2 + usize::from(answer[1]),
        _ => true,
    }
}

fn check_line(heard: &[u8], unit: u8, request: &[u8], silent: bool) -> Option<Vec<u8>> {
    let answer = frame::find_response(heard, unit, request, silent);
    if let Some(pdu) = answer {
        check_frame(heard, pdu, unit);
        assert!(fits(request, pdu), "{request:?} was not answered by {pdu:?}");
    }
    if let Some(first) = frame::first_request(heard, silent) {
        assert_eq!(place(heard, first.pdu), 1);
        check_frame(heard, first.pdu, first.slave);
    }
    answer.map(<[u8]>::to_vec)
}

fn line(unit: u8, request: &Pdu, silent: bool, parts: &[Heard<'_>]) {
    let mut heard = Vec::new();
    for part in parts.iter().take(10) {
        match part {
            Heard::Noise(noise) => heard.extend(*noise),
            Heard::Frame(unit, bytes) => heard.extend(frame::rtu_frame(*unit, &pdu(bytes.0))),
            Heard::Answer(bytes) | Heard::Broken(bytes, _) => {
                let mut answer = pdu(bytes.0);
                answer[0] = answer[0] & 0x80 | request[0] & 0x7F;
                let mut frame = frame::rtu_frame(unit, &answer);
                if let Heard::Broken(_, bit) = part {
                    let bit = usize::from(*bit) % (8 * frame.len());
                    frame[bit / 8] ^= 1 << (bit % 8);
                }
                heard.extend(frame);
            }
            Heard::Echo => heard.extend(frame::rtu_frame(unit, request)),
        }
    }
    heard.truncate(4 * RTU_MAX);
    for silent in [silent, !silent] {
        check_line(&heard, unit, request, silent);
    }
}

impl Asked {
    /// The request and its answer.
    fn exchange(self, data: &[u8]) -> (Pdu, Pdu) {
        let words = |function: u8, words: &[u16]| -> Pdu {
            core::iter::once(function).chain(words.iter().flat_map(|word| word.to_be_bytes())).collect()
        };
        let counted = |function: u8, count: usize| -> Pdu {
            [function, count as u8].into_iter().chain(data.iter().copied().chain(core::iter::repeat(0x55)).take(count)).collect()
        };
        match self {
            Asked::Bits { inputs, from, count } => {
                let (function, count) = (1 + u8::from(inputs), u16::from(count).max(1));
                (words(function, &[from, count]), counted(function, usize::from(count).div_ceil(8)))
            }
            Asked::Registers { inputs, from, count } => {
                let (function, count) = (3 + u8::from(inputs), u16::from(count) % 125 + 1);
                (words(function, &[from, count]), counted(function, 2 * usize::from(count)))
            }
            Asked::WriteOne { coil, at, value } => {
                let written = words(if coil { 5 } else { 6 }, &[at, value]);
                (written.clone(), written)
            }
            Asked::WriteMany { coils, at, count } => {
                let (function, count) = (if coils { 15 } else { 16 }, u16::from(count) % 123 + 1);
                let bytes = if coils { count.div_ceil(8) } else { 2 * count };
                let answer = words(function, &[at, count]);
                let mut request = answer.clone();
                request.extend(counted(bytes as u8, 0).iter().take(1).copied());
                request.extend(core::iter::repeat_n(0xA5, bytes.into()));
                (request, answer)
            }
            Asked::Mask { at, and, or } => {
                let pdu = words(0x16, &[at, and, or]);
                (pdu.clone(), pdu)
            }
            Asked::Refused { function, exception } => (pdu(&[function & 0x7F, 0, 0, 0, 1]), pdu(&[function | 0x80, exception])),
        }
    }
}

fn answer(unit: u8, asked: Asked, silent: bool, noise: &[u8], behind: &[u8], data: &[u8]) {
    let (request, response) = asked.exchange(data);
    let frame = frame::rtu_frame(unit, &response);
    assert_eq!(frame[..frame.len() - 2], [&[unit], &response[..]].concat());
    assert_eq!(frame[frame.len() - 2..], crc(&frame[..frame.len() - 2]));
    let mut heard: Vec<u8> = noise.iter().copied().filter(|&byte| byte != unit).take(300).collect();
    let start = heard.len();
    heard.extend(&frame);
    // It is not there before its last byte.
    assert_eq!(frame::find_response(&heard[..heard.len() - 1], unit, &request, false), None);
    heard.extend(behind);
    let found = frame::find_response(&heard, unit, &request, silent);
    assert_eq!(found, Some(&response[..]));
    assert_eq!(place(&heard, found.unwrap()), start + 1);
    check_line(&heard, unit, &request, silent);
    // A slave reads the request as it was sent.
    let sent = frame::rtu_frame(unit, &request);
    if !matches!(asked, Asked::Refused { .. }) {
        let read = frame::first_request(&[&sent[..], behind].concat(), silent).map(|frame| (frame.slave, frame.pdu.to_vec()));
        assert_eq!(read, Some((unit, request.to_vec())));
    }
}

fuzz_target!(|input: Input| {
    match input {
        Input::Tcp { cuts, requests, garbage } => tcp(&cuts, &requests, garbage),
        Input::Line { unit, request, silent, heard } => line(unit, &pdu(request.pdu.0), silent, &heard),
        Input::Answer { unit, asked, silent, noise, behind, data } => answer(unit, asked, silent, noise, behind, data),
    }
});
