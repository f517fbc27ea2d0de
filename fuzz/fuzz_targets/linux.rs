//! What the kernel writes into buffers of `netpoll::linux`: the events of inotify(7) and the messages about devices, against a reading by
//! offsets and by splitting.
#![no_main]

use std::ffi::CStr;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netpoll::linux::{InotifyEvent, InotifyEvents, Uevent};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Events(&'a [u8]),
    Composed { events: Vec<Event<'a>>, tail: &'a [u8] },
    Device(&'a [u8]),
    ComposedDevice { action: &'a [u8], path: &'a [u8], variables: Vec<(&'a [u8], &'a [u8])> },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Event<'a> {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: &'a [u8],
    zeroes: u8,
}

impl Event<'_> {
    fn bytes(&self) -> Vec<u8> {
        let len = self.name.len() + usize::from(self.zeroes);
        let mut bytes = Vec::new();
        for word in [self.watch.cast_unsigned(), self.mask, self.cookie, len as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(self.name);
        bytes.resize(16 + len, 0);
        bytes
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().unwrap()))
}

/// What is told of each event, as text: a watch cannot be made.
fn plainly(bytes: &[u8]) -> Option<Vec<String>> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (watch, mask, cookie) = (word(bytes, at)? as i32, word(bytes, at + 4)?, word(bytes, at + 8)?);
        let len = word(bytes, at + 12)? as usize;
        let name = bytes.get(at + 16..at + 16 + len)?;
        let name = if len == 0 { None } else { Some(&name[..name.iter().position(|&byte| byte == 0)?]) };
        all.push(if mask & 0x4000 != 0 {
            "overflow".to_string()
        } else if mask & 0x8000 != 0 {
            format!("removed Watch({watch})")
        } else {
            format!("Watch({watch}) {mask:x} {cookie} {name:?}")
        });
        at += 16 + len;
    }
    Some(all)
}

fn events(bytes: &[u8]) -> Option<usize> {
    let parsed = InotifyEvents::parse(bytes);
    let expected = plainly(bytes);
    assert_eq!(parsed.is_some(), expected.is_some());
    let (mut parsed, expected) = (parsed?, expected?);
    let told = |event: InotifyEvent<'_>| match event {
        InotifyEvent::Overflow => "overflow".to_string(),
        InotifyEvent::Removed(watch) => format!("removed {watch:?}"),
        InotifyEvent::Change { watch, what, cookie, name } => {
            format!("{watch:?} {:x} {cookie} {:?}", what.bits(), name.map(CStr::to_bytes))
        }
    };
    assert_eq!(parsed.clone().map(told).collect::<Vec<_>>(), expected);
    assert!(expected.iter().all(|_| parsed.next().is_some()) && parsed.next().is_none() && parsed.next().is_none());
    Some(expected.len())
}

fn device(message: &[u8]) -> bool {
    let lines: Vec<&[u8]> = message.split(|&byte| byte == 0).collect();
    let at = lines[0].iter().position(|&byte| byte == b'@');
    let is_one = message.last() == Some(&0) && at.is_some_and(|at| at > 0 && lines[0].get(at + 1) == Some(&b'/'));
    let Some(event) = Uevent::parse(message) else {
        assert!(!is_one);
        return false;
    };
    assert!(is_one);
    assert_eq!([event.action(), b"@", event.devpath()].concat(), lines[0]);
    assert!(!event.action().contains(&b'@'));
    let expected: Vec<&[u8]> = lines[1..].iter().copied().filter(|line| line.contains(&b'=')).collect();
    let variables: Vec<_> = event.variables().collect();
    assert_eq!(variables.iter().map(|(key, value)| [key, &b"="[..], value].concat()).collect::<Vec<_>>(), expected);
    for (key, value) in &variables {
        assert!(!key.contains(&b'='));
        let first = variables.iter().find(|(other, _)| other == key).map(|(_, value)| *value);
        let Ok(key) = str::from_utf8(key) else { continue };
        assert_eq!(event.get(key), first);
        if let Ok(value) = str::from_utf8(value) {
            assert_eq!(event.is(key, value), first == Some(value.as_bytes()));
        }
    }
    assert_eq!((event.get("a=b"), event.get("NONE").is_some()), (None, variables.iter().any(|(key, _)| key == b"NONE")));
    assert!(format!("{event:?}").is_ascii());
    true
}

fuzz_target!(|input: Input| {
    match input {
        Input::Events(bytes) => drop(events(bytes)),
        Input::Composed { events: composed, tail } => {
            let mut bytes: Vec<u8> = composed.iter().flat_map(Event::bytes).collect();
            let told = events(&bytes);
            let is_whole = |event: &Event<'_>| event.zeroes > 0 || event.name.is_empty() || event.name.contains(&0);
            assert_eq!(told, composed.iter().all(is_whole).then_some(composed.len()));
            bytes.extend(tail);
            events(&bytes);
        }
        Input::Device(message) => drop(device(message)),
        Input::ComposedDevice { action, path, variables } => {
            let mut message = [action, b"@/", path, b"\0"].concat();
            for (key, value) in variables {
                message.extend([key, b"=", value, b"\0"].concat());
            }
            let is_plain = !action.is_empty() && !action.contains(&0) && !action.contains(&b'@');
            assert!(device(&message) || !is_plain);
        }
    }
});
