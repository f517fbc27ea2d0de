//! MQTT 3.1.1 packets, pure: what a client that only publishes says, and what it is answered.
//!
//! Encoding, return codes and identifiers come from `mqttrs2`, which knows slices only: no std, no allocation. Not from there: where a
//! packet ends, which kinds a client may be sent and how long they are. Its decoder indexes past the end of short packets, so it is given
//! nothing but whole packets of the right length.

use crate::spool::{Message, Reading};
use core::fmt::{self, Write};
use core::num::NonZeroU16;
use core::time::Duration;
use heapless::{String, Vec};
use mqttrs2::{Connack, Connect, Packet, Pid, Protocol, Publish, QosPid, decode_slice, encode_slice};

/// The longest topic.
pub const TOPIC_MAX: usize = 128;
/// The longest client identifier, user name, password.
pub const NAME_MAX: usize = 64;
/// The longest packet that is sent: CONNECT with all three, or PUBLISH with such a topic.
pub const OUTPUT_MAX: usize = 256;
/// The longest packet that is taken. All answers are shorter; only what nobody asked for is not.
pub const INPUT_MAX: usize = 256;

const PAYLOAD_MAX: usize = 64;
const _: () = assert!(5 + 10 + 3 * (2 + NAME_MAX) <= OUTPUT_MAX && 5 + 2 + TOPIC_MAX + 2 + PAYLOAD_MAX <= OUTPUT_MAX);

pub type Topic = String<TOPIC_MAX>;
pub type Name = String<NAME_MAX>;
pub type Output = Vec<u8, OUTPUT_MAX>;

/// Who connects.
pub struct Identity {
    pub client_id: Name,
    pub username: Option<Name>,
    pub password: Option<Name>,
}

pub fn connect(identity: &Identity, keep_alive: Duration) -> Output {
    encode(&Packet::Connect(Connect {
        protocol: Protocol::MQTT311,
        keep_alive: keep_alive.as_secs().try_into().unwrap_or(u16::MAX),
        client_id: &identity.client_id,
        clean_session: false,
        last_will: None,
        username: identity.username.as_deref(),
        password: identity.password.as_ref().map(|password| password.as_bytes()),
    }))
}

pub fn publish(topic: &str, message: &Message) -> Output {
    let payload = payload(&message.reading);
    let pid = Pid::try_from(message.id.get()).unwrap_or_default();
    encode(&Packet::Publish(Publish {
        dup: message.dup,
        qospid: QosPid::AtLeastOnce(pid),
        retain: false,
        topic_name: topic,
        payload: payload.as_bytes(),
    }))
}

pub fn pingreq() -> Output {
    encode(&Packet::Pingreq)
}

pub fn disconnect() -> Output {
    encode(&Packet::Disconnect)
}

fn payload(reading: &Reading) -> String<PAYLOAD_MAX> {
    let mut payload = String::new();
    let _ = write!(payload, r#"{{"seq":{},"power_w":{}}}"#, reading.seq, reading.power_w); // at most 51 bytes
    payload
}

/// Everything fits, by the lengths above.
fn encode(packet: &Packet<'_>) -> Output {
    let mut output = [0; OUTPUT_MAX];
    let length = encode_slice(packet, &mut output).unwrap_or(0);
    output.into_iter().take(length).collect()
}

/// What the broker says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It lets the client in.
    Connected {
        session_present: bool,
    },
    /// It does not, by this return code.
    Refused(u8),
    /// It has taken this one.
    Puback(NonZeroU16),
    Pingresp,
    /// A message of a subscription that another program has left in the session.
    Publish,
}

/// What is no answer of a broker's. Nothing can mend the stream behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No packet that a client is sent begins with this byte.
    Kind(u8),
    /// The length does not end.
    Endless,
    /// This is longer than [`INPUT_MAX`].
    TooLong(usize),
    /// A packet that has another length, or other contents.
    Malformed(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kind(first) => write!(f, "not MQTT: a client gets no packet that begins with {first:#04x}"),
            Fault::Endless => f.write_str("not MQTT: a length of more than four bytes"),
            Fault::TooLong(length) => write!(f, "a packet of {length} bytes, and {INPUT_MAX} is the most"),
            Fault::Malformed(name) => write!(f, "not MQTT: malformed {name}"),
        }
    }
}

/// The first packet in `input` and how many bytes of it that is; `None` while it is not complete.
///
/// What cannot become a packet is found at once, not when its last byte has come.
pub fn split(input: &[u8]) -> Result<Option<(Answer, usize)>, Fault> {
    let Some(&first) = input.first() else { return Ok(None) };
    let (name, body) = match first {
        0x20 => ("CONNACK", Some(2)),
        0x30..=0x3F if first & 0b0110 != 0b0110 => ("PUBLISH", None),
        0x40 => ("PUBACK", Some(2)),
        0xD0 => ("PINGRESP", Some(0)),
        _ => return Err(Fault::Kind(first)),
    };
    let Some((length, header)) = remaining_length(&input[1..])? else { return Ok(None) };
    let end = 1 + header + length;
    if end > INPUT_MAX {
        return Err(Fault::TooLong(end));
    }
    if body.is_some_and(|body| body != length) {
        return Err(Fault::Malformed(name));
    }
    let Some(packet) = input.get(..end) else { return Ok(None) };
    let answer = if body.is_none() { Some(Answer::Publish) } else { decode(packet) };
    answer.map(|answer| Some((answer, end))).ok_or(Fault::Malformed(name))
}

/// A packet of known length, whole.
fn decode(packet: &[u8]) -> Option<Answer> {
    match decode_slice(packet) {
        Ok(Some(Packet::Connack(Connack { session_present, code: mqttrs2::ConnectReturnCode::Accepted }))) => {
            Some(Answer::Connected { session_present })
        }
        Ok(Some(Packet::Connack(_))) | Err(mqttrs2::Error::InvalidConnectReturnCode(_)) => packet.last().map(|&code| Answer::Refused(code)),
        Ok(Some(Packet::Puback(pid))) => NonZeroU16::new(pid.get()).map(Answer::Puback),
        Ok(Some(Packet::Pingresp)) => Some(Answer::Pingresp),
        _ => None,
    }
}

/// The length at the start of `bytes`, and how many of them say it.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut length = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((length, place + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Fault::Endless) }
}

/// A return code of CONNACK, in words.
pub fn refusal(code: u8) -> &'static str {
    match code {
        1 => "unacceptable protocol version",
        2 => "client identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorized",
        _ => "unknown return code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, id: u16, dup: bool) -> Message {
        Message { reading: Reading { seq, power_w: 1178 }, id: NonZeroU16::new(id).unwrap(), dup }
    }

    fn text(letters: usize) -> Name {
        core::iter::repeat_n('x', letters).collect()
    }

    #[test]
    fn what_is_sent_is_as_the_specification_has_it() {
        let anonymous = Identity { client_id: "me".parse().unwrap(), username: None, password: None };
        assert_eq!(connect(&anonymous, Duration::from_secs(60)), *b"\x10\x0e\0\x04MQTT\x04\x00\0\x3c\0\x02me");
        let known = Identity { username: Some("u".parse().unwrap()), password: Some("pw".parse().unwrap()), ..anonymous };
        assert_eq!(connect(&known, Duration::from_secs(258)), *b"\x10\x15\0\x04MQTT\x04\xc0\x01\x02\0\x02me\0\x01u\0\x02pw");
        assert_eq!(publish("a/b", &message(17, 0x102, false)), *b"\x32\x20\0\x03a/b\x01\x02{\"seq\":17,\"power_w\":1178}");
        assert_eq!(publish("a/b", &message(17, 0x102, true))[0], 0x3A);
        assert_eq!((pingreq(), disconnect()), (b"\xc0\0"[..].try_into().unwrap(), b"\xe0\0"[..].try_into().unwrap()));
    }

    #[test]
    fn the_longest_of_everything_fits() {
        let identity = Identity { client_id: text(NAME_MAX), username: Some(text(NAME_MAX)), password: Some(text(NAME_MAX)) };
        let packet = connect(&identity, Duration::from_secs(u64::MAX));
        assert_eq!((packet.len(), packet[1], packet[2]), (211, 0x80 | (208 - 128), 1));
        let topic: Topic = core::iter::repeat_n('x', TOPIC_MAX).collect();
        let longest = Message { reading: Reading { seq: u64::MAX, power_w: u32::MAX }, ..message(0, 1, true) };
        let packet = publish(&topic, &longest);
        assert!(packet.ends_with(br#"{"seq":18446744073709551615,"power_w":4294967295}"#));
        assert_eq!(packet.len(), 3 + usize::from(packet[1] & 0x7F) + 128);
    }

    #[test]
    fn answers_are_told_apart_and_found_in_pieces() {
        let stream = b"\x20\x02\x01\0\x40\x02\x01\x02\xd0\0\x31\x03\0\x01t\x20\x02\0\x05\x20\x02\0\x77";
        let mut answers = std::vec::Vec::new();
        let mut rest = &stream[..];
        while let Some((answer, length)) = split(rest).unwrap() {
            for piece in 0..length {
                assert_eq!(split(&rest[..piece]), Ok(None));
            }
            answers.push(answer);
            rest = &rest[length..];
        }
        let puback = Answer::Puback(NonZeroU16::new(0x102).unwrap());
        let connected = Answer::Connected { session_present: true };
        assert_eq!(answers, [connected, puback, Answer::Pingresp, Answer::Publish, Answer::Refused(5), Answer::Refused(0x77)]);
        assert_eq!(rest, []);
    }

    #[test]
    fn what_is_no_answer_is_a_fault_as_soon_as_it_can_be_told() {
        assert_eq!(split(b"HTTP/1.1 400"), Err(Fault::Kind(b'H')));
        for first in (0..=u8::MAX).filter(|first| ![0x20, 0x40, 0xD0].contains(first) && first >> 4 != 3) {
            assert_eq!(split(&[first]), Err(Fault::Kind(first)));
        }
        assert_eq!(split(b"\x36"), Err(Fault::Kind(0x36))); // both bits of QoS
        assert_eq!(split(b"\x30\xff\xff\xff\xff"), Err(Fault::Endless));
        assert_eq!(split(b"\x30\xff\xff\xff\x7f"), Err(Fault::TooLong(5 + 0xFFF_FFFF)));
        assert_eq!(split(b"\x30\xfe\x01"), Err(Fault::TooLong(INPUT_MAX + 1)));
        assert_eq!(split(b"\x30\xfd\x01"), Ok(None));
        assert_eq!(split(b"\x40\0"), Err(Fault::Malformed("PUBACK")));
        assert_eq!(split(b"\x40\x03"), Err(Fault::Malformed("PUBACK")));
        assert_eq!(split(b"\x40\x02\0\0"), Err(Fault::Malformed("PUBACK"))); // no identifier is 0
        assert_eq!(split(b"\xd0\x01"), Err(Fault::Malformed("PINGRESP")));
        assert_eq!(split(b"\x20\0"), Err(Fault::Malformed("CONNACK")));
    }

    #[test]
    fn no_input_makes_it_panic_or_read_too_far() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200_000 {
            let first = *random.choice(&[0x20, 0x30, 0x3D, 0x40, 0xD0, random.clone().u8(..)]).unwrap();
            let mut input: Vec<u8, 12> = (0..random.usize(0..12)).map(|_| random.u8(..) & random.u8(..) & random.u8(..)).collect();
            let _ = input.insert(0, first);
            if let Ok(Some((_, length))) = split(&input) {
                assert!(length <= input.len());
            }
        }
    }
}
