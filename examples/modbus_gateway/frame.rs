//! Modbus frames, pure: TCP's (a 7-byte header and a PDU) and the serial line's (unit, PDU, CRC).
//!
//! CRC, header and the length of most answers come from `modbus-core`. Not from there: requests are told apart by the TCP header's
//! length alone, since a gateway passes on functions that no codec knows, and the length of serial requests 15 and 16
//! (<https://github.com/slowtec/modbus-core/issues/12>).

use heapless::Vec;
use modbus_core::{Error, Exception, rtu, tcp};

/// The longest PDU: what RS-485 leaves between the unit's byte and the CRC.
pub const PDU_MAX: usize = 253;
/// The longest frame on TCP.
pub const TCP_MAX: usize = HEADER + PDU_MAX;
/// The longest frame on the serial line.
pub const RTU_MAX: usize = 1 + PDU_MAX + 2;

/// Transaction, protocol, length (2 bytes each) and unit.
const HEADER: usize = 7;

/// To all slaves at once; none of them answers.
pub const BROADCAST: u8 = 0;
/// What a slave may be called; the rest is reserved.
pub const LAST_UNIT: u8 = 247;

pub type Pdu = Vec<u8, PDU_MAX>;
pub type TcpFrame = Vec<u8, TCP_MAX>;
pub type RtuFrame = Vec<u8, RTU_MAX>;

/// The first request in `input` and how many bytes of it that is; `None` while it is not complete.
///
/// An error means that the stream is not Modbus or out of step, which nothing can mend: the connection is to be closed.
pub fn split_tcp(input: &[u8]) -> Result<Option<(tcp::DecodedFrame<'_>, usize)>, Error> {
    if let Some(protocol @ 1..) = word(input, 2) {
        return Err(Error::ProtocolNotModbus(protocol));
    }
    let Some(length) = word(input, 4).map(usize::from) else { return Ok(None) };
    if !(2..=1 + PDU_MAX).contains(&length) {
        return Err(Error::LengthMismatch(length, 1 + PDU_MAX));
    }
    Ok(tcp::extract_frame(input, length - 1)?.map(|frame| (frame, HEADER - 1 + length)))
}

/// The big-endian 16 bits at `at`.
fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// The frame that takes `pdu` to a TCP client.
pub fn tcp_frame(transaction: u16, unit: u8, pdu: &Pdu) -> TcpFrame {
    let [t0, t1] = transaction.to_be_bytes();
    let [l0, l1] = (1 + pdu.len() as u16).to_be_bytes();
    [t0, t1, 0, 0, l0, l1, unit].into_iter().chain(pdu.iter().copied()).collect()
}

/// The frame that takes `pdu` over the serial line.
pub fn rtu_frame(unit: u8, pdu: &Pdu) -> RtuFrame {
    let mut frame: RtuFrame = core::iter::once(unit).chain(pdu.iter().copied()).collect();
    let crc = rtu::crc16(&frame).to_be_bytes(); // modbus-core gives it in the order of the wire
    frame.extend(crc);
    frame
}

/// The answer that refuses `function`.
pub fn refusal(function: u8, exception: Exception) -> Pdu {
    Pdu::from_array([function | 0x80, exception as u8])
}

/// How long the PDU is that starts after the first byte of a serial frame.
#[derive(Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    /// The byte that says it has not come yet.
    More,
    /// Only the silence after it tells.
    Untold,
}

impl From<Result<Option<usize>, Error>> for Length {
    fn from(told: Result<Option<usize>, Error>) -> Length {
        match told {
            Ok(Some(length)) => Length::Known(length),
            Ok(None) => Length::More,
            Err(_) => Length::Untold,
        }
    }
}

fn response_length(frame: &[u8]) -> Length {
    match *frame {
        [_, 0x80..=0xFF, ..] => Length::Known(2),
        [_, 0x11 | 0x14 | 0x15, count, ..] => Length::Known(2 + usize::from(count)),
        [_, 0x11 | 0x14 | 0x15] => Length::More,
        _ => rtu::response_pdu_len(frame).into(),
    }
}

fn request_length(frame: &[u8]) -> Length {
    match *frame {
        [_, 0x0F | 0x10, _, _, _, _, count, ..] => Length::Known(6 + usize::from(count)),
        [_, 0x0F | 0x10, ..] => Length::More,
        _ => rtu::request_pdu_len(frame).into(),
    }
}

/// The frame at the start of `heard`, if it is whole. `silent`: the line has been silent since, so whatever has come is all there is.
fn whole(heard: &[u8], length: Length, silent: bool) -> Option<rtu::DecodedFrame<'_>> {
    let pdu = match length {
        Length::Known(pdu) => pdu,
        Length::Untold if silent => heard.len().checked_sub(3)?,
        Length::More | Length::Untold => return None,
    };
    if !(1..=PDU_MAX).contains(&pdu) {
        return None;
    }
    rtu::extract_frame(heard, pdu).ok().flatten() // wrong CRC: noise
}

/// The answer to `request` in what was heard of the line, if it is there.
///
/// It may stand behind noise, an echo of the request or a late answer to an earlier one: what counts is that unit, function, length and CRC fit.
pub fn find_response<'a>(heard: &'a [u8], unit: u8, request: &[u8], silent: bool) -> Option<&'a [u8]> {
    (0..heard.len()).find_map(|start| {
        let heard = &heard[start..];
        let &[from, function, ..] = heard else { return None };
        if from != unit || Some(&(function & 0x7F)) != request.first() {
            return None;
        }
        let frame = whole(heard, response_length(heard), silent)?;
        answers(request, frame.pdu).then_some(frame.pdu)
    })
}

/// A slave's view: the request at the start of `heard`.
pub fn first_request(heard: &[u8], silent: bool) -> Option<rtu::DecodedFrame<'_>> {
    whole(heard, request_length(heard), silent)
}

/// Can `response` be meant for `request`? Slaves that answer late are common, and a late answer must not become somebody else's data.
fn answers(request: &[u8], response: &[u8]) -> bool {
    let asked = word(request, 3).map(usize::from);
    let count = response.get(1).map(|&count| usize::from(count));
    match response.first() {
        None => false,
        Some(0x80..) => true,
        Some(0x01 | 0x02) => count == asked.map(|coils| coils.div_ceil(8)),
        Some(0x03 | 0x04 | 0x17) => count == asked.map(|registers| 2 * registers),
        Some(0x05 | 0x06) => response.get(1..3) == request.get(1..3),
        Some(0x0F | 0x10) => response.get(1..5) == request.get(1..5),
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ_TWO: &[u8] = &[3, 0, 0, 0, 2];

    fn rtu(unit: u8, pdu: &[u8]) -> RtuFrame {
        rtu_frame(unit, &Pdu::from_slice(pdu).unwrap())
    }

    #[test]
    fn crc_is_sent_low_byte_first() {
        assert_eq!(rtu(1, &[3, 0, 0, 0, 1])[6..], [0x84, 0x0A]); // the example of every Modbus tutorial
    }

    #[test]
    fn longest_frames_fit() {
        let pdu = Pdu::from_slice(&[7; PDU_MAX]).unwrap();
        assert_eq!(tcp_frame(1, 1, &pdu).len(), 260);
        assert_eq!(rtu_frame(1, &pdu).len(), 256);
    }

    #[test]
    fn tcp_requests_are_told_apart_at_every_cut() {
        let mut stream: std::vec::Vec<u8> = tcp_frame(0x1234, 9, &Pdu::from_slice(READ_TWO).unwrap()).to_vec();
        stream.extend(tcp_frame(2, 1, &Pdu::from_slice(&[0x41]).unwrap()));
        for cut in 0..12 {
            assert_eq!(split_tcp(&stream[..cut]), Ok(None), "{cut}");
        }
        let (frame, length) = split_tcp(&stream).unwrap().unwrap();
        assert_eq!((frame.transaction_id, frame.unit_id, frame.pdu, length), (0x1234, 9, READ_TWO, 12));
        let (frame, length) = split_tcp(&stream[12..]).unwrap().unwrap();
        assert_eq!((frame.transaction_id, frame.pdu, length), (2, &[0x41][..], 8));
    }

    #[test]
    fn what_is_not_modbus_is_an_error_as_soon_as_it_shows() {
        assert!(split_tcp(&[0, 1, 0, 1]).is_err());
        assert!(split_tcp(b"GET / HTTP/1.1\r\n").is_err());
        for length in [0u16, 1, 255, 256, 0xFFFF] {
            let [high, low] = length.to_be_bytes();
            assert!(split_tcp(&[0, 1, 0, 0, high, low]).is_err(), "{length}");
        }
        for length in [2u16, 254] {
            let [high, low] = length.to_be_bytes();
            assert_eq!(split_tcp(&[0, 1, 0, 0, high, low]), Ok(None), "{length}");
        }
    }

    #[test]
    fn response_is_complete_with_its_last_byte() {
        let frame = rtu(5, &[3, 4, 1, 2, 3, 4]);
        for cut in 0..frame.len() {
            assert_eq!(find_response(&frame[..cut], 5, READ_TWO, true), None, "{cut}");
        }
        assert_eq!(find_response(&frame, 5, READ_TWO, false), Some(&[3, 4, 1, 2, 3, 4][..]));
    }

    #[test]
    fn exception_is_a_response() {
        assert_eq!(find_response(&rtu(5, &[0x83, 2]), 5, READ_TWO, false), Some(&[0x83, 2][..]));
    }

    #[test]
    fn response_is_found_behind_noise() {
        let frame = rtu(5, &[3, 4, 1, 2, 3, 4]);
        for noise in [&[0xFF][..], &[5], &[5, 3], &[5, 3, 4, 9, 9], &[5, 0x83], &[0; 200], &[5, 3, 255]] {
            let heard: std::vec::Vec<u8> = noise.iter().chain(&frame).copied().collect();
            assert_eq!(find_response(&heard, 5, READ_TWO, false), Some(&[3, 4, 1, 2, 3, 4][..]), "{noise:?}");
        }
    }

    #[test]
    fn others_answers_are_not_taken() {
        let mut broken = rtu(5, &[3, 4, 1, 2, 3, 4]);
        broken[4] ^= 1;
        let wrong_unit = rtu(6, &[3, 4, 1, 2, 3, 4]);
        let wrong_function = rtu(5, &[4, 4, 1, 2, 3, 4]);
        let wrong_count = rtu(5, &[3, 2, 1, 2]);
        let echo = rtu(5, READ_TWO);
        for heard in [broken, wrong_unit, wrong_function, wrong_count, echo] {
            assert_eq!(find_response(&heard, 5, READ_TWO, true), None, "{heard:?}");
        }
    }

    #[test]
    fn writes_are_answered_with_what_was_written() {
        let cases: [(&[u8], &[u8], &[u8]); 4] = [
            (&[5, 0, 1, 0xFF, 0], &[5, 0, 1, 0xFF, 0], &[5, 0, 2, 0xFF, 0]),
            (&[6, 0, 1, 0, 7], &[6, 0, 1, 0, 7], &[6, 0, 2, 0, 7]),
            (&[15, 0, 1, 0, 3, 1, 7], &[15, 0, 1, 0, 3], &[15, 0, 1, 0, 4]),
            (&[16, 0, 1, 0, 1, 2, 0, 7], &[16, 0, 1, 0, 1], &[16, 0, 2, 0, 1]),
        ];
        for (request, right, wrong) in cases {
            assert_eq!(find_response(&rtu(1, right), 1, request, false), Some(right));
            assert_eq!(find_response(&rtu(1, wrong), 1, request, false), None);
        }
    }

    #[test]
    fn unknown_function_ends_with_silence() {
        let frame = rtu(5, &[0x41, 1, 2, 3]);
        assert_eq!(find_response(&frame, 5, &[0x41], false), None);
        assert_eq!(find_response(&frame, 5, &[0x41], true), Some(&[0x41, 1, 2, 3][..]));
        assert_eq!(find_response(&rtu(5, &[0xC1, 1]), 5, &[0x41], false), Some(&[0xC1, 1][..]));
        assert_eq!(find_response(&rtu(5, &[0x11, 2, 9, 0xFF]), 5, &[0x11], false), Some(&[0x11, 2, 9, 0xFF][..]));
    }

    #[test]
    fn slave_reads_requests_of_every_length() {
        let requests: [&[u8]; 6] = [
            READ_TWO,
            &[5, 0, 1, 0xFF, 0],
            &[15, 0, 1, 0, 9, 2, 1, 1],
            &[16, 0, 1, 0, 2, 4, 1, 2, 3, 4],
            &[0x16, 0, 4, 0, 0xF2, 0, 0x25],
            &[0x17, 0, 3, 0, 6, 0, 14, 0, 1, 2, 0, 255],
        ];
        for pdu in requests {
            let frame = rtu(1, pdu);
            assert_eq!(first_request(&frame[..frame.len() - 1], false), None, "{pdu:?}");
            let request = first_request(&frame, false).unwrap();
            assert_eq!((request.slave, request.pdu), (1, pdu));
        }
        assert_eq!(first_request(&rtu(1, &[0x41, 9]), true).unwrap().pdu, &[0x41, 9]);
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut bytes = [0; 300];
        for _ in 0..2000 {
            for byte in &mut bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8 & if state & 0x100 == 0 { 0xFF } else { 0x17 };
            }
            let cut = (state >> 32) as usize % bytes.len();
            let heard = &bytes[..cut];
            let _ = split_tcp(heard);
            for silent in [false, true] {
                let _ = first_request(heard, silent);
                let _ = find_response(heard, heard.first().copied().unwrap_or(0), &heard[heard.len().min(1)..], silent);
            }
        }
    }
}
