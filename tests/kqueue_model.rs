//! The model of kqueue against what was measured on NetBSD and what is remembered of the others. The rows are those of that table, which
//! `tests/kernel/kqueue/quirks.rs` goes by too.

#![cfg(target_os = "linux")] // the model is made of epoll

#[path = "kernel/kqueue/mod.rs"]
mod kqueue;

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::mem::ManuallyDrop;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::ptr::without_provenance_mut;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kqueue::{Event, EventFilter, EventFlags as Flags, Quirks, kqueue_like};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

const LONG: Duration = Duration::from_secs(20);
const ADD: Flags = Flags::ADD.union(Flags::CLEAR);
const MINE: usize = 7;

#[derive(Debug, PartialEq, Eq)]
enum Got {
    R(i64),
    W,
    REof(i64),
    WEof,
}
use Got::{R, REof, W, WEof};

fn got(event: &Event) -> Got {
    let flags = event.flags();
    assert!(!flags.contains(Flags::ERROR), "{event:?}");
    match (event.filter(), flags.contains(Flags::EOF)) {
        (EventFilter::Read(_), false) => R(event.data()),
        (EventFilter::Read(_), true) => REof(event.data()),
        (EventFilter::Write(_), false) => W,
        (EventFilter::Write(_), true) => WEof,
        (filter, _) => panic!("{filter:?}"),
    }
}

fn fd(event: &Event) -> RawFd {
    match event.filter() {
        EventFilter::Read(fd) | EventFilter::Write(fd) => fd,
        filter => panic!("{filter:?}"),
    }
}

fn change(filter: EventFilter, flags: Flags, udata: usize) -> Event {
    Event::new(filter, flags, without_provenance_mut(udata))
}

fn read(of: &impl AsRawFd, flags: Flags) -> Event {
    change(EventFilter::Read(of.as_raw_fd()), flags, MINE)
}

fn write(of: &impl AsRawFd, flags: Flags) -> Event {
    change(EventFilter::Write(of.as_raw_fd()), flags, MINE)
}

struct Queue(OwnedFd);

impl Queue {
    fn new(quirks: Quirks) -> Queue {
        Queue(kqueue_like(quirks).unwrap())
    }

    fn call(&self, changes: &[Event], room: usize, timeout: Option<Timespec>) -> Result<Vec<Event>, Errno> {
        let mut events = Vec::with_capacity(room.max(1));
        events.resize(room, read(&-1, Flags::empty()));
        // SAFETY: no descriptor is used but by the model, which bears any number.
        let count = unsafe { kqueue::kevent_timespec(&self.0, changes, &mut events[..], timeout.as_ref()) }?;
        events.truncate(count);
        Ok(events)
    }

    fn changed(&self, changes: &[Event]) -> Result<(), Errno> {
        self.call(changes, 0, Some(timespec(LONG))).map(|events| assert!(events.is_empty()))
    }

    fn add(&self, changes: &[Event]) {
        self.changed(changes).unwrap();
    }

    fn events(&self, room: usize, timeout: Duration) -> Vec<Event> {
        self.call(&[], room, Some(timespec(timeout))).unwrap()
    }

    fn now(&self) -> Vec<Got> {
        self.events(16, Duration::ZERO).iter().map(got).collect()
    }

    fn next(&self) -> Vec<Got> {
        self.events(16, LONG).iter().map(got).collect()
    }

    /// All that comes until the kernel has nothing more to say, and each of these has come.
    fn all(&self, wanted: &[Got]) -> Vec<Got> {
        let (began, mut all) = (Instant::now(), Vec::new());
        while !wanted.iter().all(|wanted| all.contains(wanted)) {
            assert!(began.elapsed() < LONG, "{all:?}");
            all.extend(self.events(16, Duration::from_millis(100)).iter().map(got));
        }
        all.extend(self.now());
        all
    }
}

fn timespec(timeout: Duration) -> Timespec {
    Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ }
}

fn pipe() -> (PipeReader, PipeWriter) {
    io::pipe().unwrap()
}

fn take(from: &mut impl Read, count: usize) {
    from.read_exact(&mut vec![0; count]).unwrap();
}

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// So that the peer sees a reset.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

fn errors(answers: &[Event]) -> Vec<(RawFd, u16, i64, usize)> {
    answers.iter().map(|answer| (fd(answer), answer.flags().bits(), answer.data(), answer.udata().addr())).collect()
}

fn errno(errno: Errno) -> i64 {
    errno.raw_os_error().into()
}

/// Rows 1, 2.
#[test]
fn each_arrival_is_one_edge_and_two_before_a_wait_are_one() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::NETBSD), pipe());
    queue.add(&[read(&reader, ADD)]);
    assert_eq!(queue.now(), []);
    writer.write_all(b"12345").unwrap();
    assert_eq!((queue.now(), queue.now()), (vec![R(5)], vec![]));
    writer.write_all(b"678").unwrap();
    assert_eq!((queue.now(), queue.now()), (vec![R(8)], vec![]));
    writer.write_all(b"9").unwrap();
    writer.write_all(b"0").unwrap();
    assert_eq!((queue.now(), queue.now()), (vec![R(10)], vec![]));
}

/// Rows 3, 4, 5, 23.
#[test]
fn adding_looks_and_a_drained_descriptor_says_nothing() {
    let (queue, (mut reader, mut writer)) = (Queue::new(Quirks::NETBSD), pipe());
    writer.write_all(b"12345").unwrap();
    queue.add(&[read(&reader, ADD)]);
    assert_eq!((queue.now(), queue.now()), (vec![R(5)], vec![]));
    queue.add(&[change(EventFilter::Read(reader.as_raw_fd()), ADD, 8)]);
    let again = queue.events(2, Duration::ZERO);
    assert_eq!((again.len(), got(&again[0]), again[0].udata().addr()), (1, R(5), 8));
    queue.add(&[read(&reader, ADD)]);
    take(&mut reader, 5);
    assert_eq!(queue.now(), []);
    writer.write_all(b"1").unwrap();
    take(&mut reader, 1);
    assert_eq!(queue.now(), []);
}

/// Row 6.
#[test]
fn one_shot_is_reported_as_it_was_and_only_once() {
    for (quirks, drained) in [(Quirks::NETBSD, vec![R(0)]), (Quirks::MACOS, vec![])] {
        let (queue, (mut reader, mut writer)) = (Queue::new(quirks), pipe());
        writer.write_all(b"12").unwrap();
        queue.add(&[read(&reader, Flags::ADD | Flags::ONESHOT)]);
        assert_eq!((queue.now(), queue.now()), (vec![R(2)], vec![]));
        assert_eq!(queue.changed(&[read(&reader, Flags::DELETE)]), Err(Errno::NOENT));
        queue.add(&[read(&reader, Flags::ADD | Flags::ONESHOT)]);
        take(&mut reader, 2);
        assert_eq!(queue.now(), drained);
    }
}

/// Rows 7, 9.
#[test]
fn reading_a_part_repeats_the_event_where_the_system_does() {
    for repeats in [true, false] {
        let (queue, (mut reader, mut writer)) = (Queue::new(if repeats { Quirks::NETBSD } else { Quirks::PLAIN }), pipe());
        let after = |event| if repeats { vec![event] } else { vec![] };
        queue.add(&[read(&reader, ADD)]);
        writer.write_all(b"12345").unwrap();
        assert_eq!((queue.now(), queue.now()), (vec![R(5)], vec![]));
        take(&mut reader, 3);
        assert_eq!((queue.now(), queue.now()), (after(R(2)), vec![]));
        drop(writer);
        assert_eq!((queue.now(), queue.now()), (vec![REof(2)], vec![]));
        take(&mut reader, 2);
        assert_eq!((queue.now(), queue.now()), (after(REof(0)), vec![]));
    }
}

/// Rows 8, 11, 12.
#[test]
fn the_peers_reading_repeats_writability_where_the_system_does() {
    fn check(quirks: Quirks, mut writer: impl Write + AsRawFd, mut reader: impl Read, repeats: bool) {
        let queue = Queue::new(quirks);
        queue.add(&[write(&writer, ADD)]);
        assert_eq!((queue.now(), queue.now()), (vec![W], vec![]));
        writer.write_all(b"12345").unwrap();
        let _ = queue.now(); // TCP may have been acknowledged already
        take(&mut reader, 5);
        if repeats {
            queue.all(&[W]);
        } else {
            assert_eq!(queue.now(), []);
        }
    }
    let (reader, writer) = pipe();
    check(Quirks::NETBSD, writer, reader, true);
    let (reader, writer) = pipe();
    check(Quirks::PLAIN, writer, reader, false);
    let (ours, theirs) = UnixStream::pair().unwrap();
    check(Quirks::NETBSD, ours, theirs, true);
    let (ours, theirs) = tcp();
    check(Quirks::PLAIN, ours, theirs, false);
}

/// Row 10.
#[test]
fn a_listener_says_how_many_wait_and_repeats_itself() {
    let (queue, listener) = (Queue::new(Quirks::NETBSD), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let _clients = [(); 3].map(|()| TcpStream::connect(address).unwrap());
    let mut seen = Vec::new();
    queue.add(&[read(&listener, ADD)]);
    while seen.last() != Some(&R(3)) {
        seen.extend(queue.next());
        queue.add(&[read(&listener, ADD)]);
    }
    let _ = queue.now();
    listener.accept().unwrap();
    assert_eq!((queue.now(), queue.now()), (vec![R(2)], vec![]));
}

/// Rows 13, 18, 19.
#[test]
fn the_two_filters_of_a_descriptor_are_apart() {
    let (queue, (ours, mut theirs)) = (Queue::new(Quirks::PLAIN), UnixStream::pair().unwrap());
    queue.add(&[read(&ours, ADD), write(&ours, ADD)]);
    assert_eq!(queue.now(), [W]);
    theirs.write_all(b"1").unwrap();
    assert_eq!((queue.now(), queue.now()), (vec![R(1)], vec![]));
    queue.add(&[read(&ours, ADD), write(&ours, ADD)]);
    let one_by_one: Vec<Got> = (0..2).flat_map(|_| queue.events(1, Duration::ZERO)).map(|event| got(&event)).collect();
    assert_eq!((one_by_one, queue.now()), (vec![R(1), W], vec![]));
    queue.add(&[write(&ours, Flags::DELETE)]);
    assert_eq!(queue.now(), []);
    theirs.write_all(b"2").unwrap();
    assert_eq!((queue.now(), queue.now()), (vec![R(2)], vec![]));
}

/// Row 14: not before a page is free.
#[test]
fn a_full_pipe_is_writable_when_there_is_room_for_a_page() {
    let (queue, (mut reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[0; 4096]).is_ok() {}
    queue.add(&[write(&writer, ADD)]);
    assert_eq!(queue.now(), []);
    take(&mut reader, 1);
    assert_eq!(queue.now(), []);
    take(&mut reader, 8192);
    assert_eq!((queue.now(), queue.now()), (vec![W], vec![]));
}

/// Rows 20, 24.
#[test]
fn the_peers_half_close_is_for_the_reader() {
    let (queue, (ours, mut theirs)) = (Queue::new(Quirks::PLAIN), UnixStream::pair().unwrap());
    queue.add(&[read(&ours, ADD)]);
    theirs.write_all(b"123456789").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    assert_eq!((queue.now(), queue.now()), (vec![REof(9)], vec![]));
    queue.add(&[write(&ours, ADD)]);
    assert_eq!(queue.now(), [W]);
}

/// Row 21, also one call after the other.
#[test]
fn the_peers_close_is_for_both() {
    let (queue, (ours, theirs)) = (Queue::new(Quirks::PLAIN), UnixStream::pair().unwrap());
    queue.add(&[read(&ours, ADD), write(&ours, ADD)]);
    assert_eq!(queue.now(), [W]);
    drop(theirs);
    assert_eq!((queue.now(), queue.now()), (vec![REof(0), WEof], vec![]));

    let (queue, (ours, theirs)) = (Queue::new(Quirks { splits_hangups: true, ..Quirks::PLAIN }), UnixStream::pair().unwrap());
    queue.add(&[read(&ours, ADD), write(&ours, ADD)]);
    drop(theirs);
    assert_eq!((queue.now(), queue.now(), queue.now()), (vec![WEof], vec![REof(0)], vec![]));
}

/// Row 22: Linux wakes the writer too, who is told that he may write.
#[test]
fn a_fin_is_no_end_for_the_writer() {
    let (queue, (ours, theirs)) = (Queue::new(Quirks::PLAIN), tcp());
    queue.add(&[read(&ours, ADD), write(&ours, ADD)]);
    assert_eq!(queue.now(), [W]);
    drop(theirs);
    let all = queue.all(&[REof(0)]);
    assert!(all.iter().all(|got| matches!(got, REof(0) | W)), "{all:?}");
}

/// Row 25, and what varies: once or twice.
#[test]
fn ones_own_end_is_for_the_writer() {
    for (quirks, after) in [(Quirks::PLAIN, vec![]), (Quirks::NETBSD, vec![WEof])] {
        let (queue, (ours, mut theirs)) = (Queue::new(quirks), tcp());
        queue.add(&[read(&ours, ADD), write(&ours, ADD)]);
        assert_eq!(queue.now(), [W]);
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!((queue.next(), queue.now(), queue.now()), (vec![WEof], after, vec![]));
        theirs.write_all(b"1").unwrap();
        queue.all(&[R(1)]);
    }
}

/// Row 26.
#[test]
fn ones_own_end_of_reading_is_for_the_reader() {
    let (queue, (ours, _theirs)) = (Queue::new(Quirks::PLAIN), tcp());
    queue.add(&[read(&ours, ADD)]);
    ours.shutdown(Shutdown::Read).unwrap();
    queue.all(&[REof(0)]);
}

/// Rows 27, 29: the error is still there for who reads.
#[test]
fn a_reset_is_for_both_and_its_error_is_not_consumed() {
    let (queue, (mut ours, theirs)) = (Queue::new(Quirks::PLAIN), tcp());
    queue.add(&[read(&ours, ADD), write(&ours, ADD)]);
    assert_eq!(queue.now(), [W]);
    reset(theirs);
    queue.all(&[REof(0), WEof]);
    assert_eq!(ours.read(&mut [0]).unwrap_err().raw_os_error(), Some(Errno::CONNRESET.raw_os_error()));
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
}

/// Rows 30, 31, 32.
#[test]
fn connecting() {
    let (queue, socket) = (Queue::new(Quirks::PLAIN), tcp_socket());
    queue.add(&[read(&socket, ADD), write(&socket, ADD)]);
    assert_eq!(queue.now(), []);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert!(matches!(rustix::net::connect(&socket, &address), Ok(()) | Err(Errno::INPROGRESS)));
    queue.all(&[W]);
    assert_eq!(rustix::net::sockopt::socket_error(&socket), Ok(Ok(())));
    drop(listener);

    let refused = tcp_socket();
    let outcome = rustix::net::connect(&refused, &address);
    assert_eq!(outcome, Err(Errno::INPROGRESS));
    queue.add(&[read(&refused, ADD), write(&refused, ADD)]);
    queue.all(&[REof(0), WEof]);
    assert_eq!(rustix::net::sockopt::socket_error(&refused), Ok(Err(Errno::CONNREFUSED)));
}

fn tcp_socket() -> OwnedFd {
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None).unwrap()
}

/// Row 33: an error that is not the end.
#[test]
fn an_unreachable_port_wakes_both_without_an_end() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (queue, socket) = (Queue::new(Quirks::PLAIN), UdpSocket::bind("127.0.0.1:0").unwrap());
    socket.connect(gone).unwrap();
    queue.add(&[read(&socket, ADD), write(&socket, ADD)]);
    assert_eq!(queue.now(), [W]);
    socket.send(b"1").unwrap();
    queue.all(&[R(0), W]);
    assert_eq!(socket.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

/// Rows 34, 35, 36.
#[test]
fn a_pipe_whose_other_end_is_closed() {
    let (queue, (reader, writer)) = (Queue::new(Quirks::PLAIN), pipe());
    queue.add(&[write(&writer, ADD), read(&writer, ADD)]);
    assert_eq!(queue.now(), [W]);
    drop(reader);
    let all = queue.all(&[WEof, REof(0)]);
    assert_eq!(all.len(), 2, "{all:?}");

    for (quirks, answer) in [
        (Quirks::NETBSD, Err(Errno::BADF)),
        (Quirks::FREEBSD, Err(Errno::PIPE)),
        (Quirks::MACOS, Err(Errno::PIPE)),
        (Quirks::OPENBSD, Ok(())),
    ] {
        let queue = Queue::new(quirks);
        assert_eq!(queue.changed(&[write(&writer, ADD)]), answer);
        assert_eq!(queue.now(), answer.map_or(vec![], |()| vec![WEof]));
    }

    let (queue, (reader, writer)) = (Queue::new(Quirks::PLAIN), pipe());
    queue.add(&[write(&reader, ADD)]);
    drop(writer);
    assert_eq!(queue.now(), [WEof]);
}

/// Row 37.
#[test]
fn urgent_data_says_nothing() {
    let (queue, (ours, theirs)) = (Queue::new(Quirks::PLAIN), tcp());
    queue.add(&[read(&ours, ADD)]);
    rustix::net::send(&theirs, b"!", rustix::net::SendFlags::OOB).unwrap();
    let mut urgent = [PollFd::new(&ours, PollFlags::PRI)];
    assert_eq!(poll(&mut urgent, Some(&timespec(LONG))), Ok(1));
    assert_eq!(queue.now(), []);
}

/// Rows 38, 39, 41, 42, 43.
#[test]
fn failing_changes_are_answered_at_once() {
    for (quirks, kept) in [(Quirks::NETBSD, 0), (Quirks::MACOS, ADD.bits())] {
        let (queue, (reader, mut writer)) = (Queue::new(quirks), pipe());
        writer.write_all(b"1").unwrap();
        assert_eq!(queue.changed(&[read(&reader, Flags::DELETE)]), Err(Errno::NOENT));
        assert_eq!(queue.changed(&[read(&9999, Flags::DELETE)]), Err(Errno::BADF));
        assert_eq!(queue.changed(&[read(&9999, ADD)]), Err(Errno::BADF));
        assert_eq!(queue.changed(&[read(&-1, ADD)]), Err(Errno::BADF));
        let answers = queue.call(&[read(&9999, ADD), read(&reader, ADD)], 8, None).unwrap();
        assert_eq!(errors(&answers), [(9999, Flags::ERROR.bits() | kept, errno(Errno::BADF), MINE)]);
        assert_eq!(queue.now(), [R(1)]); // row 44
    }
}

/// Row 39: what a hostile system says.
#[test]
fn deleting_a_closed_descriptor_may_say_that_it_is_unknown() {
    let queue = Queue::new(Quirks { delete_closed: Errno::NOENT, ..Quirks::PLAIN });
    assert_eq!(queue.changed(&[read(&9999, Flags::DELETE)]), Err(Errno::NOENT));
}

/// Row 40.
#[test]
fn a_deleted_event_does_not_come() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    queue.add(&[read(&reader, ADD)]);
    writer.write_all(b"1").unwrap();
    queue.add(&[read(&reader, Flags::DELETE)]);
    assert_eq!(queue.now(), []);
}

/// Rows 45, 46.
#[test]
fn without_room_the_first_error_is_the_last_change() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    writer.write_all(b"1").unwrap();
    assert_eq!(queue.changed(&[read(&9999, ADD), read(&reader, ADD)]), Err(Errno::BADF));
    assert_eq!(queue.call(&[read(&9999, ADD), read(&9998, Flags::DELETE), read(&reader, ADD)], 1, None).map(drop), Err(Errno::BADF));
    assert_eq!(queue.now(), []);
}

/// Row 47.
#[test]
fn receipts_come_at_once_and_without_events() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    writer.write_all(b"1").unwrap();
    let receipts = [read(&reader, ADD | Flags::RECEIPT), write(&writer, ADD | Flags::RECEIPT), read(&9999, ADD | Flags::RECEIPT)];
    let answers = queue.call(&receipts, 8, None).unwrap();
    let flags = Flags::ERROR.bits();
    assert_eq!(
        errors(&answers),
        [(reader.as_raw_fd(), flags, 0, MINE), (writer.as_raw_fd(), flags, 0, MINE), (9999, flags, errno(Errno::BADF), MINE)]
    );
    assert_eq!(queue.now(), [R(1), W]);
}

/// Row 48: the receipt for which there is no room ends the call, which says nothing; its change is applied.
#[test]
fn without_room_receipts_are_lost() {
    for (quirks, applied) in [(Quirks::NETBSD, 1), (Quirks::MACOS, 3)] {
        let (queue, (reader, mut writer)) = (Queue::new(quirks), pipe());
        writer.write_all(b"1").unwrap();
        let receipts = [read(&reader, ADD | Flags::RECEIPT), write(&writer, ADD | Flags::RECEIPT), write(&writer, ADD | Flags::RECEIPT)];
        queue.changed(&receipts).unwrap();
        assert_eq!(queue.now().len(), applied.min(2));
        let queue = Queue::new(quirks);
        let changes = [receipts[1], receipts[1], receipts[0]];
        assert_eq!(queue.call(&changes, 1, None).unwrap().len(), usize::from(applied == 3));
        assert_eq!(queue.now().len(), applied.min(2));
    }
}

/// Row 50.
#[test]
fn a_change_and_a_wait_in_one_call() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    writer.write_all(b"1").unwrap();
    let events = queue.call(&[read(&reader, ADD)], 8, None).unwrap();
    assert_eq!(events.iter().map(got).collect::<Vec<_>>(), [R(1)]);
}

/// Rows 51, 52.
#[test]
fn disabled_stays_so_until_enabled() {
    for (quirks, looks) in [(Quirks::FREEBSD, true), (Quirks::NETBSD, false)] {
        let (queue, (reader, mut writer)) = (Queue::new(quirks), pipe());
        writer.write_all(b"1").unwrap();
        queue.add(&[read(&reader, ADD)]);
        assert_eq!(queue.now(), [R(1)]);
        queue.add(&[read(&reader, Flags::DISABLE)]);
        queue.add(&[read(&reader, ADD)]);
        assert_eq!(queue.now(), []);
        queue.add(&[read(&reader, Flags::ENABLE)]);
        assert_eq!(queue.now(), if looks { vec![R(1)] } else { vec![] });
        queue.add(&[read(&reader, ADD | Flags::ENABLE)]);
        assert_eq!(queue.now(), [R(1)]);
        queue.add(&[read(&reader, Flags::DISABLE)]);
        writer.write_all(b"2").unwrap();
        assert_eq!(queue.now(), []);
        queue.add(&[read(&reader, Flags::ENABLE)]);
        assert_eq!((queue.now(), queue.now()), (vec![R(2)], vec![]));
    }
}

/// Row 54.
#[test]
fn adding_again_does_not_change_the_mode() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    writer.write_all(b"1").unwrap();
    queue.add(&[read(&reader, ADD)]);
    queue.add(&[read(&reader, Flags::ADD)]);
    assert_eq!((queue.now(), queue.now()), (vec![R(1)], vec![]));
    queue.add(&[read(&reader, Flags::DELETE)]);
    queue.add(&[read(&reader, Flags::ADD)]);
    queue.add(&[read(&reader, ADD)]);
    assert_eq!((queue.now(), queue.now()), (vec![R(1)], vec![R(1)]));
}

/// Rows 55, 56.
#[test]
fn udata_is_kept_until_it_is_set() {
    for (quirks, set) in [(Quirks::FREEBSD, 1), (Quirks::NETBSD, usize::MAX)] {
        let (queue, (reader, mut writer)) = (Queue::new(quirks), pipe());
        let filter = EventFilter::Read(reader.as_raw_fd());
        queue.add(&[change(EventFilter::Read(reader.as_raw_fd()), ADD, usize::MAX)]);
        queue.add(&[change(filter, Flags::ENABLE, 1)]);
        writer.write_all(b"1").unwrap();
        assert_eq!(queue.events(1, Duration::ZERO)[0].udata().addr(), set);
        queue.add(&[change(filter, ADD, 2)]);
        assert_eq!(queue.events(1, Duration::ZERO)[0].udata().addr(), 2);
    }
}

/// Row 57.
#[test]
fn closing_ends_it() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    queue.add(&[read(&reader, ADD)]);
    writer.write_all(b"1").unwrap();
    drop(reader);
    assert_eq!(queue.now(), []);
}

/// Rows 57, 58: `dup2` closes a number and gives it away at once.
#[test]
fn a_number_that_is_used_again_is_unknown() {
    for add_again in [false, true] {
        let (queue, (reader, mut writer), (other, mut other_writer)) = (Queue::new(Quirks::PLAIN), pipe(), pipe());
        let mut number = OwnedFd::from(reader);
        queue.add(&[read(&number, ADD)]);
        writer.write_all(b"1").unwrap();
        other_writer.write_all(b"12").unwrap();
        rustix::io::dup2(&other, &mut number).unwrap();
        if add_again {
            queue.add(&[change(EventFilter::Read(number.as_raw_fd()), ADD, 8)]);
            assert_eq!(queue.events(2, Duration::ZERO)[0].udata().addr(), 8);
            assert_eq!(queue.now(), []);
            other_writer.write_all(b"3").unwrap();
            assert_eq!((queue.now(), queue.now()), (vec![R(3)], vec![]));
        } else {
            assert_eq!(queue.changed(&[read(&number, Flags::DELETE)]), Err(Errno::NOENT));
            assert_eq!(queue.now(), []);
        }
    }
}

/// Row 59: epoll goes on with the dead number, the model does not.
#[test]
fn a_dup_says_nothing_for_a_closed_number() {
    let (queue, (reader, mut writer), (other, mut other_writer)) = (Queue::new(Quirks::PLAIN), pipe(), pipe());
    let mut dup = reader.try_clone().unwrap();
    let mut number = OwnedFd::from(reader);
    queue.add(&[read(&number, ADD), write(&writer, ADD)]);
    assert_eq!(queue.now(), [W]);
    other_writer.write_all(b"12").unwrap();
    rustix::io::dup2(&other, &mut number).unwrap();
    writer.write_all(b"1").unwrap();
    assert_eq!(queue.now(), []);
    queue.add(&[read(&number, ADD)]);
    assert_eq!(queue.now(), [R(2)]);
    take(&mut dup, 1);
    writer.write_all(b"1").unwrap();
    assert_eq!(queue.now(), []);
    drop(number);
    writer.write_all(b"1").unwrap();
    assert_eq!(queue.now(), []);
}

/// Row 60.
#[test]
fn a_dup_and_another_queue_are_told_too() {
    let (queues, (reader, mut writer)) = ([Queue::new(Quirks::PLAIN), Queue::new(Quirks::PLAIN)], pipe());
    let dup = reader.try_clone().unwrap();
    for queue in &queues {
        queue.add(&[read(&reader, ADD), read(&dup, ADD)]);
    }
    writer.write_all(b"1").unwrap();
    for queue in &queues {
        assert_eq!((queue.now(), queue.now()), (vec![R(1), R(1)], vec![]));
    }
}

/// Runs it in a thread that sleeps in `kevent`, and gives what it got.
fn beside(queue: &Queue, f: impl FnOnce()) -> Vec<Got> {
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let sleeper = scope.spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            queue.next()
        });
        let path = format!("/proc/self/task/{}/stat", told.recv().unwrap().as_raw_nonzero());
        let began = Instant::now();
        while !std::fs::read_to_string(&path).unwrap().contains(") S ") {
            assert!(began.elapsed() < LONG);
            thread::yield_now();
        }
        f();
        sleeper.join().unwrap()
    })
}

/// Rows 61, 62.
#[test]
fn closing_ends_nobodys_sleep() {
    let (queue, (reader, mut writer), (other, _writer)) = (Queue::new(Quirks::PLAIN), pipe(), pipe());
    queue.add(&[read(&reader, ADD), read(&other, ADD)]);
    // SAFETY: `queue` outlives it and closes the number, which is never free.
    let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(queue.0.as_raw_fd()) });
    let got = beside(&queue, || {
        let dup = queue.0.try_clone().unwrap();
        rustix::io::dup2(&other, &mut number).unwrap();
        drop(other);
        writer.write_all(b"1").unwrap();
        rustix::io::dup2(&dup, &mut number).unwrap();
    });
    assert_eq!(got, [R(1)]);
}

/// Row 70.
#[test]
fn adding_what_is_ready_wakes_a_sleeper() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    writer.write_all(b"1").unwrap();
    assert_eq!(beside(&queue, || queue.add(&[read(&reader, ADD)])), [R(1)]);
}

/// Row 69.
#[test]
fn one_of_two_sleepers_gets_the_edge() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    queue.add(&[read(&reader, ADD)]);
    let got: usize = thread::scope(|scope| {
        let sleepers = [(); 2].map(|()| scope.spawn(|| queue.events(1, Duration::from_millis(200)).len()));
        writer.write_all(b"1").unwrap();
        sleepers.into_iter().map(|sleeper| sleeper.join().unwrap()).sum()
    });
    assert_eq!(got, 1);
}

/// Rows 63, 64.
#[test]
fn time_outs() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    queue.add(&[read(&reader, ADD)]);
    writer.write_all(b"1").unwrap();
    assert_eq!(queue.call(&[], 0, None).unwrap().len(), 0);
    assert_eq!(queue.call(&[], 0, Some(Timespec { tv_sec: -1, tv_nsec: 0 })).unwrap().len(), 0);
    assert_eq!(queue.call(&[], 1, None).unwrap().len(), 1);
    for wait in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(1500), Duration::from_millis(100)] {
        let began = Instant::now();
        assert_eq!(queue.events(1, wait).len(), 0);
        assert!(began.elapsed() >= wait);
    }
}

/// Row 65.
#[test]
fn a_wait_lasts_whole_ticks() {
    let (queue, began) = (Queue::new(Quirks::NETBSD), Instant::now());
    assert_eq!(queue.events(1, Duration::from_nanos(1)).len(), 0);
    assert!(began.elapsed() >= Duration::from_millis(20));
}

/// Rows 66, 67.
#[test]
fn time_outs_that_are_none() {
    let queue = Queue::new(Quirks::PLAIN);
    for (tv_sec, tv_nsec) in [(-1, 0), (0, 1_000_000_000), (0, -1)] {
        assert_eq!(queue.call(&[], 1, Some(Timespec { tv_sec, tv_nsec })).map(drop), Err(Errno::INVAL));
    }
    let (reader, mut writer) = pipe();
    writer.write_all(b"1").unwrap();
    for tv_sec in [25 * 86400, 100_000_001, i64::from(i32::MAX), i64::MAX] {
        let (queue, macos) = (Queue::new(Quirks::PLAIN), Queue::new(Quirks::MACOS));
        let waits = Some(Timespec { tv_sec, tv_nsec: 0 });
        assert_eq!(queue.call(&[read(&reader, ADD)], 1, waits).unwrap().len(), 1);
        let too_long = tv_sec > 100_000_000;
        assert_eq!(
            macos.call(&[read(&reader, ADD)], 1, waits).map(|events| events.len()),
            if too_long { Err(Errno::INVAL) } else { Ok(1) }
        );
    }
}

/// Rows 71, 74: level-triggered, as a break pipe is, and in turn.
#[test]
fn level_triggered_comes_until_drained_and_in_turn() {
    let (queue, mut pipes) = (Queue::new(Quirks::PLAIN), [pipe(), pipe(), pipe()]);
    for (reader, writer) in &mut pipes {
        queue.add(&[read(reader, Flags::ADD)]);
        writer.write_all(b"1").unwrap();
    }
    let numbers: Vec<RawFd> = (0..6).map(|_| fd(&queue.events(1, Duration::ZERO)[0])).collect();
    assert_eq!(numbers[..3], numbers[3..]);
    assert!(pipes.iter().all(|(reader, _)| numbers.contains(&reader.as_raw_fd())));
    for (reader, _) in &mut pipes[1..] {
        take(reader, 1);
    }
    assert_eq!((queue.now(), queue.now()), (vec![R(1)], vec![R(1)]));
    take(&mut pipes[0].0, 1);
    assert_eq!(queue.now(), []);
}

/// Row 75: also for an event that is then dropped.
#[test]
fn a_queue_can_be_polled_and_nested() {
    let (queue, (mut reader, mut writer)) = (Queue::new(Quirks::PLAIN), pipe());
    let readable = || poll(&mut [PollFd::new(&queue.0, PollFlags::IN)], Some(&timespec(Duration::ZERO))).unwrap() == 1;
    let outer = Queue::new(Quirks::PLAIN);
    outer.add(&[read(&queue.0, ADD)]);
    queue.add(&[read(&reader, ADD)]);
    assert!(!readable());
    writer.write_all(b"1").unwrap();
    assert!(readable());
    assert_eq!((outer.now().len(), queue.now(), readable()), (1, vec![R(1)], false));
    queue.add(&[read(&reader, ADD)]);
    assert!(readable());
    take(&mut reader, 1);
    assert!(readable());
    assert_eq!((queue.now(), readable()), (vec![], false));
    queue.add(&[write(&writer, ADD), read(&writer, ADD)]);
    assert_eq!(queue.events(1, Duration::ZERO).len(), 1);
    assert!(!readable());
}

/// Row 76.
#[test]
fn a_queue_is_not_closed_on_exec() {
    assert_eq!(rustix::io::fcntl_getfd(&Queue::new(Quirks::PLAIN).0), Ok(FdFlags::empty()));
}

/// Row 77.
#[test]
fn what_is_always_ready() {
    let (file, directory) = (File::open(std::env::current_exe().unwrap()).unwrap(), File::open("/").unwrap());
    let null = File::open("/dev/null").unwrap();
    let queue = Queue::new(Quirks::FREEBSD);
    for file in [&file, &directory, &null] {
        queue.add(&[read(file, ADD)]);
        assert_eq!((queue.now().len(), queue.now().len()), (1, 0));
    }
    queue.add(&[write(&file, ADD), read(&file, Flags::DELETE)]);
    assert_eq!(queue.now(), [W]);
    drop(file);
    let queue = Queue::new(Quirks::NETBSD);
    assert_eq!(queue.changed(&[write(&File::open("/proc/self/exe").unwrap(), ADD)]), Err(Errno::INVAL));
    assert_eq!(queue.changed(&[read(&directory, ADD)]), Err(Errno::OPNOTSUPP));
}

/// Row 78.
#[test]
fn what_is_no_queue() {
    let no_queue = Queue(pipe().0.into());
    assert_eq!(no_queue.call(&[], 0, None).map(drop), Err(Errno::BADF));
    let epoll = Queue(rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap());
    assert_eq!(epoll.call(&[], 0, None).map(drop), Err(Errno::BADF));
}

/// G11: only Darwin does not tell who reads from a FIFO that its last writer has gone.
#[test]
fn a_fifo_on_darwin_does_not_end() {
    let path = std::env::temp_dir().join(format!("netpoll-kqueue-model-{}", std::process::id()));
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    for (quirks, end) in [(Quirks::FREEBSD, vec![REof(0)]), (Quirks::MACOS, vec![])] {
        let reader = rustix::fs::open(&path, rustix::fs::OFlags::NONBLOCK, rustix::fs::Mode::empty()).unwrap();
        let mut writer = File::options().write(true).open(&path).unwrap();
        let queue = Queue::new(quirks);
        queue.add(&[read(&reader, ADD)]);
        writer.write_all(b"1").unwrap();
        assert_eq!(queue.now(), [R(1)]);
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]), Ok(1));
        assert_eq!(queue.now(), []);
        drop(writer);
        assert_eq!(queue.now(), end);
    }
    std::fs::remove_file(path).unwrap();
}

/// Row 68, G24, G28, G31: what happens now and then.
#[test]
fn now_and_then() {
    let outcomes = |quirks: Quirks, timeout: Duration| {
        let queue = Queue::new(quirks);
        (0..8).map(|_| queue.call(&[], 1, Some(timespec(timeout))).map(|events| events.len())).collect::<Vec<_>>()
    };
    let (none, short) = (Ok(0), Duration::from_millis(5));
    let every_fourth = |error| vec![none, none, none, Err(error), none, none, none, Err(error)];
    assert_eq!(outcomes(Quirks { interrupts: Some(4), ..Quirks::PLAIN }, short), every_fourth(Errno::INTR));
    assert_eq!(outcomes(Quirks { interrupts: Some(1), ..Quirks::PLAIN }, Duration::ZERO), [none; 8]);
    assert_eq!(outcomes(Quirks { timeouts_fail: Some(4), ..Quirks::PLAIN }, short), every_fourth(Errno::TIMEDOUT));
    let began = Instant::now();
    assert_eq!(outcomes(Quirks { wakes_early: Some(1), ..Quirks::PLAIN }, LONG), [none; 8]);
    assert!(began.elapsed() < LONG);

    let (queue, (reader, mut writer)) = (Queue::new(Quirks { interrupts_changes: Some(1), ..Quirks::PLAIN }), pipe());
    writer.write_all(b"1").unwrap();
    assert_eq!(queue.call(&[read(&reader, ADD | Flags::RECEIPT)], 1, None).map(drop), Err(Errno::INTR));
    assert_eq!(queue.now(), [R(1)]);
}

/// golang/go#14127.
#[test]
fn an_event_of_nothing() {
    let (queue, (reader, mut writer)) = (Queue::new(Quirks { nothings: Some(1), ..Quirks::PLAIN }), pipe());
    writer.write_all(b"1").unwrap();
    queue.add(&[read(&reader, ADD)]);
    let events = queue.events(2, Duration::ZERO);
    assert_eq!(events.iter().map(|event| (fd(event), event.udata().addr())).collect::<Vec<_>>(), [(0, 0), (reader.as_raw_fd(), MINE)]);
}

/// All that is legal at once: nothing is lost, and nothing comes after it was drained.
#[test]
fn a_hostile_system_loses_nothing() {
    let (queue, mut pipes) = (Queue::new(Quirks::HOSTILE), [(); 9].map(|()| pipe()));
    for (reader, writer) in &mut pipes {
        let add = [read(reader, ADD | Flags::RECEIPT)];
        while queue.call(&add, 1, None).map(drop) == Err(Errno::INTR) {}
        writer.write_all(b"1").unwrap();
    }
    let began = Instant::now();
    let mut waiting: Vec<RawFd> = pipes.iter().map(|(reader, _)| reader.as_raw_fd()).collect();
    while !waiting.is_empty() {
        assert!(began.elapsed() < LONG, "{waiting:?}");
        let Ok(events) = queue.call(&[], 16, Some(timespec(Duration::from_millis(1)))) else { continue };
        for number in events.iter().filter(|event| event.udata().addr() == MINE).map(fd) {
            let reader = &mut pipes.iter_mut().find(|(reader, _)| reader.as_raw_fd() == number).unwrap().0;
            if waiting.contains(&number) {
                take(reader, 1);
                waiting.retain(|waiting| *waiting != number);
            }
        }
    }
    let late: usize = (0..20).filter_map(|_| queue.call(&[], 16, Some(timespec(Duration::ZERO))).ok()).map(|events| events.len()).sum();
    assert_eq!(late, 0);
}

/// Closed queues leave nothing behind, and calls are counted.
#[test]
fn sweeping_and_counting() {
    let (calls, changes) = kqueue::calls();
    let queue = Queue::new(Quirks::PLAIN);
    let (reader, _writer) = pipe();
    queue.add(&[read(&reader, ADD), read(&reader, Flags::DELETE)]);
    queue.now();
    assert_eq!(kqueue::calls(), (calls + 2, changes + 2));
    let ears = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = ears();
    let queues = [(); 100].map(|()| Queue::new(Quirks::PLAIN));
    assert!(ears() >= before + 300);
    drop(queues);
    let _one_more = Queue::new(Quirks::PLAIN);
    assert!(ears() < before + 200);
}

/// `NETPOLL_KQUEUE` chooses; the listener of AF_UNIX does not tell how many wait.
#[test]
fn the_environments_flavour() {
    let quirks = Quirks::from_environment();
    assert!(std::env::var_os("NETPOLL_KQUEUE").is_some() || quirks == Quirks::FREEBSD);
    let path = std::env::temp_dir().join(format!("netpoll-kqueue-model-listener-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let _clients = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
    std::fs::remove_file(path).unwrap();
    let queue = Queue(kqueue::kqueue().unwrap());
    let add = [read(&listener, ADD | Flags::RECEIPT)];
    while queue.call(&add, 1, None).map(drop) == Err(Errno::INTR) {}
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4];
    // SAFETY: the listener is open.
    let (events, rest) = unsafe { kqueue::kevent(&queue.0, &[], &mut buffer, Some(LONG)) }.unwrap();
    assert_eq!((events.len(), rest.len()), (1, 3));
    let tag = events[0].udata();
    assert_eq!(tag.addr(), MINE);
}

/// Row 20: who waits for room is not told of the peer's half-close.
#[test]
fn a_half_close_makes_no_room() {
    for flags in [ADD, Flags::ADD | Flags::ONESHOT] {
        let (queue, (mut ours, theirs)) = (Queue::new(Quirks::PLAIN), UnixStream::pair().unwrap());
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 4096]).is_ok() {}
        queue.add(&[write(&ours, flags), read(&ours, ADD)]);
        assert_eq!(queue.now(), []);
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!((queue.now(), queue.now()), (vec![REof(0)], vec![]));
    }
}
