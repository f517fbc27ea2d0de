//! The model of event ports against what port_associate(3C), port_dissociate(3C) and port_getn(3C) of illumos say.

#![cfg(target_os = "linux")] // the model is made of epoll

#[path = "kernel/port.rs"]
mod port;

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::ptr::without_provenance_mut;
use std::time::{Duration, Instant};

use port::PollFlags;
use rustix::event::{PollFd, Timespec, poll};
use rustix::fd::{AsRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, FdFlags};

const LONG: Duration = Duration::from_secs(20);
const MINE: usize = 7;

const IN: i32 = 0x1;
const OUT: i32 = 0x4;
const HUP: i32 = 0x10;
const RDHUP: i32 = 0x4000;

struct Port(OwnedFd);

impl Port {
    fn new() -> Port {
        Port(port::create_like(false).unwrap())
    }

    fn associate(&self, object: &impl AsRawFd, events: PollFlags, user: usize) -> Result<(), Errno> {
        // SAFETY: no descriptor is used but by the model, which bears any number.
        unsafe { port::associate_fd(&self.0, object.as_raw_fd(), events, without_provenance_mut(user)) }
    }

    fn dissociate(&self, object: &impl AsRawFd) -> Result<(), Errno> {
        // SAFETY: as above.
        unsafe { port::dissociate_fd(&self.0, object.as_raw_fd()) }
    }

    fn getn(&self, room: usize, min: u32, timeout: Option<Duration>) -> Result<Vec<(RawFd, i32, usize)>, Errno> {
        let timeout = timeout.map(timespec);
        let mut room = vec![MaybeUninit::uninit(); room];
        let (list, _) = port::getn(&self.0, &mut room[..], min, timeout.as_ref())?;
        Ok(list.iter().map(|event| (event.object() as RawFd, event.events(), event.userdata().addr())).collect())
    }

    fn now(&self) -> Result<Vec<(RawFd, i32, usize)>, Errno> {
        self.getn(16, 1, Some(Duration::ZERO))
    }

    fn is_readable(&self) -> bool {
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timespec(Duration::ZERO))).unwrap() == 1
    }
}

fn timespec(timeout: Duration) -> Timespec {
    Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ }
}

#[test]
fn an_association_ends_with_its_event() {
    let (port, (mut reader, mut writer)) = (Port::new(), io::pipe().unwrap());
    port.associate(&reader, PollFlags::IN, MINE).unwrap();
    assert_eq!((port.is_readable(), port.now()), (false, Err(Errno::TIME)));
    writer.write_all(b"1").unwrap();
    assert!(port.is_readable());
    assert_eq!(port.now(), Ok(vec![(reader.as_raw_fd(), IN, MINE)]));
    writer.write_all(b"2").unwrap();
    assert_eq!((port.is_readable(), port.now()), (false, Err(Errno::TIME)));
    assert_eq!(port.dissociate(&reader), Err(Errno::NOENT));

    port.associate(&reader, PollFlags::IN, 8).unwrap();
    assert_eq!(port.now(), Ok(vec![(reader.as_raw_fd(), IN, 8)]));
    reader.read_exact(&mut [0; 2]).unwrap();
    port.associate(&reader, PollFlags::IN, 8).unwrap();
    assert_eq!(port.now(), Err(Errno::TIME));
}

#[test]
fn associating_again_replaces_and_takes_back() {
    let (port, (ours, mut theirs)) = (Port::new(), UnixStream::pair().unwrap());
    theirs.write_all(b"1").unwrap();
    port.associate(&ours, PollFlags::IN, MINE).unwrap();
    port.associate(&ours, PollFlags::OUT, 8).unwrap();
    assert_eq!(port.now(), Ok(vec![(ours.as_raw_fd(), OUT, 8)]));
    port.associate(&ours, PollFlags::IN | PollFlags::OUT, 9).unwrap();
    port.associate(&ours, PollFlags::PRI, 10).unwrap();
    assert_eq!(port.now(), Err(Errno::TIME));
    assert_eq!((port.dissociate(&ours), port.dissociate(&ours)), (Ok(()), Err(Errno::NOENT)));
}

/// As illumos looks when it is associated, and does not look again.
#[test]
fn what_was_ready_when_associated_comes_though_it_was_drained() {
    let (port, (mut reader, mut writer)) = (Port::new(), io::pipe().unwrap());
    writer.write_all(b"1").unwrap();
    port.associate(&reader, PollFlags::IN, MINE).unwrap();
    reader.read_exact(&mut [0]).unwrap();
    assert_eq!(port.now(), Ok(vec![(reader.as_raw_fd(), IN, MINE)]));
    assert_eq!(port.now(), Err(Errno::TIME));
}

#[test]
fn a_dissociated_event_does_not_come() {
    let (port, (reader, mut writer)) = (Port::new(), io::pipe().unwrap());
    port.associate(&reader, PollFlags::IN, MINE).unwrap();
    writer.write_all(b"1").unwrap();
    port.dissociate(&reader).unwrap();
    assert_eq!(port.now(), Err(Errno::TIME));
    port.associate(&reader, PollFlags::IN, MINE).unwrap();
    port.dissociate(&reader).unwrap();
    assert_eq!((port.is_readable(), port.now()), (false, Err(Errno::TIME)));
}

/// And a stream that has hung up is not writable.
#[test]
fn hang_ups() {
    let (port, (ours, theirs)) = (Port::new(), UnixStream::pair().unwrap());
    let all = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP;
    theirs.shutdown(Shutdown::Write).unwrap();
    port.associate(&ours, all, MINE).unwrap();
    assert_eq!(port.now(), Ok(vec![(ours.as_raw_fd(), IN | OUT | RDHUP, MINE)]));
    drop(theirs);
    port.associate(&ours, all, MINE).unwrap();
    assert_eq!(port.now(), Ok(vec![(ours.as_raw_fd(), IN | HUP | RDHUP, MINE)]));

    let (reader, writer) = io::pipe().unwrap();
    port.associate(&reader, PollFlags::empty(), MINE).unwrap();
    drop(writer);
    assert_eq!(port.now(), Ok(vec![(reader.as_raw_fd(), HUP, MINE)]));
}

/// `dup2` closes a number and gives it away at once.
#[test]
fn closing_ends_the_association() {
    let (port, (reader, mut writer), (other, mut other_writer)) = (Port::new(), io::pipe().unwrap(), io::pipe().unwrap());
    let _dup = reader.try_clone().unwrap();
    let mut number = OwnedFd::from(reader);
    port.associate(&number, PollFlags::IN, MINE).unwrap();
    rustix::io::dup2(&other, &mut number).unwrap();
    assert_eq!(port.dissociate(&number), Err(Errno::NOENT));
    port.associate(&number, PollFlags::IN, 8).unwrap();
    writer.write_all(b"1").unwrap();
    assert_eq!(port.now(), Err(Errno::TIME));
    other_writer.write_all(b"1").unwrap();
    assert_eq!(port.now(), Ok(vec![(number.as_raw_fd(), IN, 8)]));

    port.associate(&number, PollFlags::IN, MINE).unwrap();
    drop(number);
    assert_eq!(port.now(), Err(Errno::TIME));
}

#[test]
fn errors() {
    let (port, (reader, writer)) = (Port::new(), io::pipe().unwrap());
    assert_eq!(port.associate(&9999, PollFlags::IN, 0), Err(Errno::BADFD));
    assert_eq!((port.dissociate(&9999), port.dissociate(&-1)), (Err(Errno::BADFD), Err(Errno::BADFD)));
    assert_eq!(port.dissociate(&reader), Err(Errno::NOENT));
    let no_port = Port(writer.into());
    assert_eq!(no_port.associate(&reader, PollFlags::IN, 0), Err(Errno::BADFD));
    assert_eq!(no_port.now(), Err(Errno::BADFD));
    assert_eq!(port.getn(1, 2, None), Err(Errno::INVAL));
    for (tv_sec, tv_nsec) in [(-1, 0), (0, 1_000_000_000), (0, -1)] {
        let (mut room, timeout) = ([MaybeUninit::uninit()], Timespec { tv_sec, tv_nsec });
        assert_eq!(port::getn(&port.0, &mut room, 1, Some(&timeout)).map(drop), Err(Errno::INVAL));
    }
    assert_eq!(rustix::io::fcntl_getfd(&port.0), Ok(FdFlags::empty()));
}

#[test]
fn as_many_as_there_is_room_for_and_as_few_as_are_wanted() {
    let (port, mut pipes) = (Port::new(), [(); 3].map(|()| io::pipe().unwrap()));
    for (at, (reader, writer)) in pipes.iter_mut().enumerate() {
        port.associate(reader, PollFlags::IN, at).unwrap();
        writer.write_all(b"1").unwrap();
    }
    assert_eq!(port.getn(0, 0, None), Ok(vec![]));
    let two = port.getn(2, 1, None).unwrap();
    assert!(port.is_readable());
    let third = port.now().unwrap();
    let mut users: Vec<usize> = two.iter().chain(&third).map(|event| event.2).collect();
    users.sort_unstable();
    assert_eq!((two.len(), users), (2, vec![0, 1, 2]));
    assert_eq!(port.getn(1, 0, Some(LONG)), Ok(vec![]));
    let (began, wait) = (Instant::now(), Duration::from_millis(20));
    assert_eq!(port.getn(1, 1, Some(wait)), Err(Errno::TIME));
    assert!(began.elapsed() >= wait);
}

#[test]
fn a_sleeper_is_woken() {
    let (port, (reader, mut writer)) = (Port::new(), io::pipe().unwrap());
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| port.getn(1, 1, None));
        writer.write_all(b"1").unwrap();
        port.associate(&reader, PollFlags::IN, MINE).unwrap();
        assert_eq!(sleeper.join().unwrap(), Ok(vec![(reader.as_raw_fd(), IN, MINE)]));
    });
}

#[test]
fn what_is_always_ready() {
    let (port, file) = (Port::new(), File::open("/dev/null").unwrap());
    for _ in 0..2 {
        port.associate(&file, PollFlags::IN, MINE).unwrap();
        assert_eq!((port.now(), port.now()), (Ok(vec![(file.as_raw_fd(), IN, MINE)]), Err(Errno::TIME)));
    }
    port.associate(&file, PollFlags::IN, MINE).unwrap();
    assert_eq!((port.dissociate(&file), port.now()), (Ok(()), Err(Errno::TIME)));
}

/// A time that is up takes events with it, and waits are interrupted; not so a call that does not wait.
#[test]
fn hostile() {
    let (port, (reader, mut writer)) = (Port(port::create_like(true).unwrap()), io::pipe().unwrap());
    writer.write_all(b"1").unwrap();
    port.associate(&reader, PollFlags::IN, MINE).unwrap();
    assert_eq!(port.getn(1, 1, Some(Duration::from_nanos(1))), Err(Errno::TIME));
    assert_eq!(port.now(), Err(Errno::TIME));
    let outcomes = [(); 4].map(|()| {
        port.associate(&reader, PollFlags::IN, MINE).unwrap();
        assert_eq!(port.now(), Ok(vec![(reader.as_raw_fd(), IN, MINE)]));
        port.associate(&reader, PollFlags::IN, MINE).unwrap();
        port.getn(1, 1, None)
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(Errno::INTR)).count(), 1);
}

#[test]
fn sweeping() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    let ports = [(); 100].map(|()| port::create().unwrap());
    assert!(count() >= before + 150);
    drop(ports);
    let _one_more = port::create().unwrap();
    assert!(count() < before + 50);
}
