//! The cases of Go's `src/net/timeout_test.go` and `src/os/timeout_test.go`, under Go's names and with Go's tables. The comment at each
//! says what Go's test demands; what it demands of a `net.Conn` or an `os.File` is tried on every kind of stream.
//!
//! A goroutine is a waiter here, and a call that blocks one that is tried again when its waiter is handed out. Where Go sleeps the test
//! waits in the poller, since deadlines pass there and nowhere else.
//!
//! Go's cases that do not apply:
//!
//! * `TestVariousDeadlines1Proc`, `TestVariousDeadlines4Proc`: a poller belongs to one thread, there is no `GOMAXPROCS`.
//! * That `Dialer.Timeout` goes before `Dialer.Deadline`, or the other way round: a dial has one of the two. The table of `TestDialTimeout`
//!   is tried with the earlier.
//! * Races of the data itself (`TestRacyRead`, `TestRacyWrite`, `TestReadWriteDeadlineRace`, `TestConcurrentSetDeadline` under Go's race
//!   detector): a buffer is borrowed for one call and not kept while its caller waits, and one thread at a time has the poller. What is
//!   left of each is in its comment.
//! * `SetDeadline` of what is not pollable (`os.ErrNoDeadline`): it is refused when it is opened, so that there is nothing to set one on.

#![cfg(target_os = "linux")]

#[path = "util/streams.rs"]
mod streams;
mod util;

use std::cell::Cell;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::net::{Dial, TcpListener, TcpStream, UdpSocket};
use netpoll::{Clock, Direction, Errno, Error, Instant, Io, OwnedFd, PollerStorage, Timeout, Token, Waiter};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketType};
use streams::{ME, Stream, block, close_ends, from_now, go, must_not_return, now, of_every_socket, of_every_stream};
use util::{BOTH, READ, TestPoller, pty};

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000 * MICROSECOND;
const SECOND: i64 = 1_000 * MILLISECOND;
const HOUR: i64 = 3_600 * SECOND;

/// Go's `testVariousDeadlines`.
const VARIOUS: [i64; 19] = [
    1,
    2,
    5,
    50,
    100,
    200,
    500,
    750,
    MICROSECOND,
    5 * MICROSECOND,
    25 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    5 * MILLISECOND,
    100 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
];

fn with_poller(test: impl FnOnce(&mut TestPoller<'_>)) {
    test(&mut TestPoller::new(&mut PollerStorage::<32>::new()));
}

/// What Go's loops over `xerrs` do: calls until the call fails, with pauses of a third of the timeout, then once more. With a deadline in
/// the past no call may succeed. Says how many did.
fn call_until_timed_out(
    poller: &mut TestPoller<'_>,
    timeout: i64,
    deadline: Instant,
    mut call: impl FnMut(&mut Io<'_>) -> Poll<Result<usize, Error>>,
) -> usize {
    let mut succeeded = 0;
    loop {
        match block(poller, &mut call) {
            Ok(n) => {
                assert!(timeout > 0 && n > 0, "{n} with a timeout of {timeout}");
                succeeded += 1;
                assert_eq!(poller.turn(Timeout::At(from_now(timeout / 3))), []);
            }
            Err(error) => {
                assert_eq!(error, Error::TimedOut);
                assert!(now() >= deadline);
                assert_eq!(block(poller, &mut call), Err(Error::TimedOut));
                return succeeded;
            }
        }
    }
}

// ---- Dialling

/// What becomes of a connection that has until `deadline`, and of a dialler that has.
fn dial(poller: &mut TestPoller<'_>, address: SocketAddr, deadline: Instant) -> [Result<(), Error>; 2] {
    let stream = TcpStream::connect(address).unwrap().open(&mut poller.io(ME)).unwrap();
    stream.set_write_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
    let connected = block(poller, |io| stream.poll_connected(io));
    drop(stream.close(&mut poller.io(ME)).unwrap());
    let mut dial = Dial::to(address).with_deadline(deadline);
    let dialled = block(poller, |io| dial.poll(io).map_err(Error::from));
    let dialled = dialled.map(|stream| drop(stream.close(&mut poller.io(ME)).unwrap()));
    [connected, dialled]
}

/// A listener that takes no more connections, with the one that it has.
fn hanging_listener() -> (OwnedFd, SocketAddr, StdStream) {
    let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let only = StdStream::connect(address).unwrap();
    poll(&mut [PollFd::new(&listener, PollFlags::IN)], None).unwrap();
    (listener, address, only)
}

/// Dial: a timeout or a deadline, the earlier of them, ends it with a timeout, never early; at once if it is in the past, also when the
/// peer is there.
#[test]
fn dial_timeout() {
    let (_listener, hanging, _only) = hanging_listener();
    let listener = util::tcp_listener();
    with_poller(|poller| {
        for (timeout, delta) in [
            (Some(-5 * SECOND), None),
            (None, Some(-5 * SECOND)),
            (Some(-5 * SECOND), Some(5 * SECOND)),
            (Some(i64::MIN), None),
            (None, Some(i64::MIN)),
            (Some(MILLISECOND), None),
            (None, Some(MILLISECOND)),
            (Some(MILLISECOND), Some(5 * SECOND)),
        ] {
            let deadline = timeout.into_iter().chain(delta).map(from_now).min().unwrap();
            let address = if deadline < now() { listener.local_addr().unwrap() } else { hanging };
            assert_eq!(dial(poller, address, deadline), [Err(Error::TimedOut); 2], "{timeout:?} {delta:?}");
            assert!(now() >= deadline);
        }
    });
}

/// Dial: timeouts that overflow the clock are no timeouts.
#[test]
fn dial_timeout_max_duration() {
    let listener = util::tcp_listener();
    with_poller(|poller| {
        for deadline in [from_now(i64::MAX), now() + Duration::MAX, Instant::FAR_FUTURE] {
            assert_eq!(dial(poller, listener.local_addr().unwrap(), deadline), [Ok(()); 2]);
        }
    });
}

// ---- Accepting

fn with_listener(test: impl FnOnce(&mut TestPoller<'_>, TcpListener, SocketAddr)) {
    with_poller(|poller| {
        let unopened = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = unopened.local_addr().unwrap();
        let listener = unopened.open(&mut poller.io(ME)).unwrap();
        test(poller, listener, address);
    });
}

/// Accept: a deadline in the past fails even if a connection is there; one ahead fails when it has passed.
#[test]
fn accept_timeout() {
    for timeout in [-5 * SECOND, 10 * MILLISECOND] {
        with_listener(|poller, listener, address| {
            let client = (timeout < 0).then(|| StdStream::connect(address).unwrap());
            if client.is_some() {
                // In the poller's eyes too.
                assert_eq!(block(poller, |io| io.poll_ready(listener.token(), Direction::Read)), Ok(()));
            }
            let deadline = from_now(timeout);
            listener.set_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
            assert_eq!(block(poller, |io| listener.accept(io)).unwrap_err(), Error::TimedOut);
            assert!(now() >= deadline);
        });
    }
}

/// Accept: a deadline set after none was set ends the wait.
#[test]
fn accept_timeout_must_return() {
    with_listener(|poller, listener, _| {
        listener.set_deadline(&mut poller.io(ME), None).unwrap();
        let deadline = from_now(10 * MILLISECOND);
        listener.set_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
        assert_eq!(block(poller, |io| listener.accept(io)).unwrap_err(), Error::TimedOut);
        assert!(now() >= deadline);
    });
}

/// Accept: a deadline that has passed and was taken back does not end the wait; closing does.
#[test]
fn accept_timeout_must_not_return() {
    with_listener(|poller, listener, _| {
        listener.set_deadline(&mut poller.io(ME), Some(from_now(-5 * SECOND))).unwrap();
        listener.set_deadline(&mut poller.io(ME), None).unwrap();
        must_not_return(poller, |io| listener.accept(io));
        close_ends(poller, listener.token(), |io| listener.accept(io));
    });
}

// ---- Reading

of_every_stream! {
    read_timeout,
    read_timeout_must_not_return,
    read_timeout_fluctuation,
    write_timeout,
    write_timeout_must_not_return,
    write_timeout_fluctuation,
    various_deadlines,
    read_write_deadline_race,
    concurrent_set_deadline,
    racy_read,
    racy_write,
}

of_every_socket! {
    read_write_prolonged_timeout,
    read_write_deadline_race_of_one_end,
}

/// Read: a deadline in the past fails even if data is there; one ahead lets reads succeed until it has passed; then every read fails, and
/// reads nothing: afterwards the rest is there.
fn read_timeout<S: Stream>() {
    const TEXT: &[u8] = b"READ TIMEOUT TEST";
    with_poller(|poller| {
        let (reader, writer) = S::pair(poller);
        assert_eq!(block(poller, |io| writer.write(io, TEXT)), Ok(TEXT.len()));
        let (mut received, mut byte) = (Vec::new(), [0]);
        for timeout in [-5 * SECOND, 50 * MILLISECOND] {
            let deadline = from_now(timeout);
            reader.set_read_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
            call_until_timed_out(poller, timeout, deadline, |io| {
                let answer = reader.read(io, &mut byte);
                received.extend(matches!(answer, Poll::Ready(Ok(1))).then_some(byte[0]));
                answer
            });
        }
        assert!((1..TEXT.len()).contains(&received.len()), "{}", received.len());
        reader.set_read_deadline(&mut poller.io(ME), None).unwrap();
        while received.len() < TEXT.len() {
            assert_eq!(block(poller, |io| reader.read(io, &mut byte)), Ok(1));
            received.push(byte[0]);
        }
        assert_eq!(received, TEXT);
    });
}

/// Read: a deadline that has passed and was taken back does not end the wait, nor does that of writing; closing does.
fn read_timeout_must_not_return<S: Stream>() {
    with_poller(|poller| {
        let (reader, _writer) = S::pair(poller);
        let mut io = poller.io(ME);
        reader.set_deadline(&mut io, Some(from_now(-5 * SECOND))).unwrap();
        reader.set_write_deadline(&mut io, Some(from_now(-5 * SECOND))).unwrap();
        reader.set_read_deadline(&mut io, None).unwrap();
        must_not_return(poller, |io| reader.read(io, &mut [0]));
        close_ends(poller, reader.token(), |io| reader.read(io, &mut [0]));
    });
}

/// An open socket and its address.
fn packet_listener(poller: &mut TestPoller<'_>) -> (UdpSocket, SocketAddr) {
    let unopened = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = unopened.local_addr().unwrap();
    (unopened.open(&mut poller.io(ME)).unwrap(), address)
}

/// The start of a packet; the rest of it is gone.
fn read_from(io: &mut Io<'_>, socket: &UdpSocket) -> Poll<Result<usize, Error>> {
    socket.recv_from(io, &mut [0]).map_ok(|(n, _)| n)
}

/// ReadFrom: as Read.
#[test]
fn read_from_timeout() {
    with_poller(|poller| {
        let (receiver, address) = packet_listener(poller);
        let (sender, _) = packet_listener(poller);
        for _ in 0..17 {
            assert_eq!(block(poller, |io| sender.send_to(io, b"READFROM TIMEOUT TEST", address)), Ok(21));
        }
        assert_eq!(block(poller, |io| io.poll_ready(receiver.token(), Direction::Read)), Ok(()));
        let mut packets = 0;
        for timeout in [-5 * SECOND, 50 * MILLISECOND] {
            let deadline = from_now(timeout);
            receiver.set_read_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
            packets += call_until_timed_out(poller, timeout, deadline, |io| read_from(io, &receiver));
        }
        receiver.set_read_deadline(&mut poller.io(ME), None).unwrap();
        while packets < 17 {
            assert_eq!(block(poller, |io| read_from(io, &receiver)), Ok(1));
            packets += 1;
        }
        assert!(read_from(&mut poller.io(ME), &receiver).is_pending());
    });
}

/// The longest that an operation with a timeout may take, and the timeout to try next if it took longer than that: Go's
/// `timeoutUpperBound`, `nextTimeout`.
fn fluctuation(poller: &mut TestPoller<'_>, mut operation: impl FnMut(&mut TestPoller<'_>, Instant) -> Error) {
    const LONGEST: i64 = 20 * SECOND;
    let mut timeout = MILLISECOND;
    loop {
        let began = now();
        let deadline = began + Duration::from_nanos(timeout as u64);
        assert_eq!(operation(poller, deadline), Error::TimedOut);
        let took = (now() - began).as_nanos() as i64;
        assert!(took >= timeout, "{took} ns instead of at least {timeout}");
        if took <= timeout / 10 * 11 {
            return;
        }
        assert!(took < LONGEST, "{took} ns instead of {timeout}");
        timeout = LONGEST.min(took / 4 * 5);
    }
}

/// Read: never early, and not more than a tenth late, with a timeout from 1 ms to 20 s, whatever this machine can do.
fn read_timeout_fluctuation<S: Stream>() {
    with_poller(|poller| {
        let (reader, _writer) = S::pair(poller);
        fluctuation(poller, |poller, deadline| {
            reader.set_read_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
            block(poller, |io| reader.read(io, &mut [0; 256])).unwrap_err()
        });
    });
}

/// ReadFrom: as Read.
#[test]
fn read_from_timeout_fluctuation() {
    with_poller(|poller| {
        let (receiver, _) = packet_listener(poller);
        fluctuation(poller, |poller, deadline| {
            receiver.set_read_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
            block(poller, |io| read_from(io, &receiver)).unwrap_err()
        });
    });
}

// ---- Writing

/// Write: a deadline in the past fails even if there is room; one ahead lets writes succeed until it has passed; then every write fails,
/// and writes nothing: the peer gets what succeeded.
fn write_timeout<S: Stream>() {
    const TEXT: &[u8] = b"WRITE TIMEOUT TEST";
    for timeout in [-5 * SECOND, 10 * MILLISECOND] {
        with_poller(|poller| {
            let (reader, writer) = S::pair(poller);
            let deadline = from_now(timeout);
            writer.set_write_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
            let succeeded = call_until_timed_out(poller, timeout, deadline, |io| writer.write(io, TEXT));
            drop(poller.close(writer.token()).unwrap());
            let (mut received, mut buf) = (0, [0; 64]);
            loop {
                match block(poller, |io| reader.read(io, &mut buf)).unwrap() {
                    0 => break,
                    n => received += n,
                }
            }
            assert_eq!(received, succeeded * TEXT.len());
        });
    }
}

/// Write: a deadline that has passed and was taken back does not end the wait, nor does that of reading; closing does.
fn write_timeout_must_not_return<S: Stream>() {
    with_poller(|poller| {
        let (_reader, writer) = S::pair(poller);
        let mut io = poller.io(ME);
        writer.set_deadline(&mut io, Some(from_now(-5 * SECOND))).unwrap();
        writer.set_read_deadline(&mut io, Some(from_now(-5 * SECOND))).unwrap();
        writer.set_write_deadline(&mut io, None).unwrap();
        let write_for_ever = |io: &mut Io<'_>| -> Poll<Result<(), Error>> {
            loop {
                assert!(ready!(writer.write(io, &[0; 1024]))? > 0);
            }
        };
        let end = from_now(100 * MILLISECOND);
        while now() < end {
            assert!(write_for_ever(&mut poller.io(ME)).is_pending());
            // What a TCP peer's kernel takes over makes room.
            poller.turn(Timeout::At(end));
        }
        close_ends(poller, writer.token(), write_for_ever);
    });
}

/// WriteTo: as Write.
#[test]
fn write_to_timeout() {
    const TEXT: &[u8] = b"WRITETO TIMEOUT TEST";
    for timeout in [-5 * SECOND, 10 * MILLISECOND] {
        with_poller(|poller| {
            let (receiver, address) = packet_listener(poller);
            let (sender, _) = packet_listener(poller);
            let deadline = from_now(timeout);
            sender.set_write_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
            let succeeded = call_until_timed_out(poller, timeout, deadline, |io| sender.send_to(io, TEXT, address));
            for _ in 0..succeeded {
                assert_eq!(block(poller, |io| read_from(io, &receiver)), Ok(1));
            }
            assert!(read_from(&mut poller.io(ME), &receiver).is_pending());
        });
    }
}

/// Write: never early, and not more than a tenth late, with a timeout from 1 ms to 20 s, whatever this machine can do.
fn write_timeout_fluctuation<S: Stream>() {
    with_poller(|poller| {
        let (_reader, writer) = S::pair(poller);
        fluctuation(poller, |poller, deadline| {
            writer.set_write_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
            loop {
                if let Err(error) = block(poller, |io| writer.write(io, b"TIMEOUT WRITER")) {
                    return error;
                }
            }
        });
    });
}

// ---- Both

/// Copying a stream that does not end fails with a timeout, whatever the timeout, both when nothing comes (package net) and when a writer
/// sends as fast as it can (package os).
fn various_deadlines<S: Stream>() {
    for flood in [false, true] {
        // Longer floods: `various_deadlines_1ns_to_1s` in `deadlines.rs`.
        for timeout in VARIOUS.into_iter().filter(|&timeout| !flood || timeout <= 100 * MILLISECOND) {
            for _ in 0..if timeout > 5 * MILLISECOND { 1 } else { 3 } {
                with_poller(|poller| {
                    let (reader, writer) = S::pair(poller);
                    let deadline = from_now(timeout);
                    reader.set_deadline(&mut poller.io(ME), Some(deadline)).unwrap();
                    let mut copy = |io: &mut Io<'_>| {
                        loop {
                            if let Err(error) = ready!(reader.read(io, &mut [0; 4096])) {
                                assert_eq!(error, Error::TimedOut);
                                assert!(now() >= deadline);
                                drop(io.close(reader.token()).unwrap());
                                return Poll::Ready(());
                            }
                        }
                    };
                    let mut send = |io: &mut Io<'_>| {
                        loop {
                            if let Err(error) = ready!(writer.write(io, &[b'a'; 4096])) {
                                assert!(matches!(error, Error::Os(Errno::PIPE | Errno::CONNRESET)), "{error}");
                                return Poll::Ready(());
                            }
                        }
                    };
                    if flood {
                        go(poller, &mut [&mut copy, &mut send]);
                    } else {
                        go(poller, &mut [&mut copy]);
                    }
                });
            }
        }
    }
}

/// Both deadlines of a server's end are pushed out by an hour before each read and each write, 1000 times and by two goroutines, while the
/// client plays ping-pong: no call fails before the client is gone.
fn read_write_prolonged_timeout<S: Stream>() {
    with_poller(|poller| {
        let (client, server) = S::pair(poller);
        let gone = Cell::new(false);
        let mut read = |io: &mut Io<'_>| {
            loop {
                server.set_read_deadline(io, Some(from_now(HOUR))).unwrap();
                match ready!(server.read(io, &mut [0])) {
                    Ok(1..) => {}
                    end => {
                        assert!(gone.get(), "{end:?}");
                        return Poll::Ready(());
                    }
                }
            }
        };
        let mut write = |io: &mut Io<'_>| {
            loop {
                server.set_write_deadline(io, Some(from_now(HOUR))).unwrap();
                if let Err(error) = ready!(server.write(io, &[0])) {
                    assert!(gone.get(), "{error}");
                    return Poll::Ready(());
                }
            }
        };
        let (mut rounds, mut writes) = (0, true);
        let mut play = |io: &mut Io<'_>| {
            while rounds < 1000 {
                if writes {
                    assert_eq!(ready!(client.write(io, &[0])), Ok(1));
                    writes = false;
                }
                assert_eq!(ready!(client.read(io, &mut [0])), Ok(1));
                (rounds, writes) = (rounds + 1, true);
            }
            gone.set(true);
            drop(io.close(client.token()).unwrap());
            Poll::Ready(())
        };
        go(poller, &mut [&mut read, &mut write, &mut play]);
    });
}

/// Deadlines of 2 µs are set while reads and writes wait, 1000 of each: all of them come back, with a timeout if they fail. (In turns here:
/// deadlines, a look at the poller, a read, a write.)
fn deadline_race<S: Stream>(poller: &mut TestPoller<'_>, reader: &S, writer: &S) {
    const TIMES: usize = 1000;
    let (mut ticks, mut reads, mut writes) = (0, 0, 0);
    let end = from_now(30 * SECOND);
    while reads < TIMES || writes < TIMES {
        if ticks < TIMES {
            ticks += 1;
            reader.set_read_deadline(&mut poller.io(ME), Some(from_now(2 * MICROSECOND))).unwrap();
            writer.set_write_deadline(&mut poller.io(ME), Some(from_now(2 * MICROSECOND))).unwrap();
        }
        poller.turn(Timeout::Now);
        let mut io = poller.io(ME);
        let read = if reads < TIMES { reader.read(&mut io, &mut [0]) } else { Poll::Pending };
        let write = if writes < TIMES { writer.write(&mut io, &[0]) } else { Poll::Pending };
        for (answer, count) in [(read, &mut reads), (write, &mut writes)] {
            if let Poll::Ready(answer) = answer {
                assert!(matches!(answer, Ok(1) | Err(Error::TimedOut)), "{answer:?}");
                *count += 1;
            }
        }
        assert!(now() < end, "{reads} reads and {writes} writes came back");
    }
}

/// See [`deadline_race`]: two ends, as of `os.Pipe`.
fn read_write_deadline_race<S: Stream>() {
    with_poller(|poller| {
        let (reader, writer) = S::pair(poller);
        deadline_race(poller, &reader, &writer);
    });
}

/// See [`deadline_race`]: both directions of one descriptor, as of a `net.Conn`.
fn read_write_deadline_race_of_one_end<S: Stream>() {
    with_poller(|poller| {
        let (end, _peer) = S::pair(poller);
        deadline_race(poller, &end, &end);
    });
}

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(HOUR as u64) };
}

/// Lets `waiter` wait to write to what stays full: a TCP peer's buffer takes some more in a while.
fn settled(poller: &mut TestPoller<'_>, token: Token, waiter: u32) {
    let mut quiet = 0;
    while quiet < 3 {
        poller.wait_write(waiter, token);
        quiet = if poller.turn(Timeout::After(Duration::from_millis(1))).contains(&waiter) { 0 } else { quiet + 1 };
    }
}

/// Issue 35367. Deadlines that become steadily earlier, 100 times by 8 goroutines on 10 connections: the timers do not get out of order.
/// (One after the other here; and each is then seen to pass in its time, by those who wait.)
fn concurrent_set_deadline<S: Stream>() {
    const GOROUTINES: u64 = 8;
    const STREAMS: u64 = 10;
    const TRIES: u64 = 100;
    let mut storage = PollerStorage::<40>::new();
    let mut poller = TestPoller::with_clock(&mut storage, Clock::Custom(|| Instant::from_nanos(NOW.get())));
    let begin = NOW.get();
    let ahead = |hours: u64, seconds: u64| begin + hours * HOUR as u64 + seconds * SECOND as u64;
    let empty: Vec<(S, S)> = (0..STREAMS).map(|_| S::pair(&mut poller)).collect();
    let full: Vec<(S, S)> = (0..STREAMS).map(|_| S::pair(&mut poller)).collect();
    // What the kernel says of new descriptors; then all wait.
    poller.turn(Timeout::Now);
    for (k, ((reader, _), (_, writer))) in empty.iter().zip(&full).enumerate() {
        poller.wait(k as u32, reader.token(), Direction::Read);
        settled(&mut poller, writer.token(), k as u32 + 100);
    }
    let mut deadlines = vec![[0; 2]; STREAMS as usize];
    for i in 1..=GOROUTINES {
        for j in (1..=TRIES).rev() {
            for k in 0..STREAMS {
                let [read, write] = [ahead(2, i * j * k), ahead(1, i * j * k)];
                let (reader, writer) = (&empty[k as usize].0, &full[k as usize].1);
                reader.set_read_deadline(&mut poller.io(ME), Some(Instant::from_nanos(read))).unwrap();
                writer.set_write_deadline(&mut poller.io(ME), Some(Instant::from_nanos(write))).unwrap();
                deadlines[k as usize] = [read, write];
            }
        }
    }
    let mut expected: Vec<(u64, u32)> = (0..).zip(deadlines).flat_map(|(k, [read, write])| [(read, k), (write, k + 100)]).collect();
    expected.sort_unstable();
    for at in expected.chunk_by(|a, b| a.0 == b.0) {
        NOW.set(at[0].0 - 1);
        poller.expect_nobody();
        NOW.set(at[0].0);
        let mut run = poller.turn(Timeout::Now);
        run.sort_unstable();
        assert_eq!(run, at.iter().map(|at| at.1).collect::<Vec<_>>());
    }
    assert_eq!(poller.next_deadline(), None);
}

/// The bytes of a stream: no two places near each other look alike.
fn pattern(index: usize) -> u8 {
    (index ^ (index >> 8).wrapping_mul(31)) as u8
}

/// A buffer may be overwritten as soon as a read has timed out, 1000 times with timeouts of 1 ms under a flood: no read reaches into it
/// later. (That none can is the borrow checker's doing; what is left to see is that no byte goes into a read that failed.)
fn racy_read<S: Stream>() {
    with_poller(|poller| {
        let (reader, writer) = S::pair(poller);
        let (mut sent, mut reads, mut received, mut buf) = (0, 0, 0, [0; 1024]);
        let mut write = |io: &mut Io<'_>| {
            loop {
                let bytes: Vec<u8> = (sent..sent + 700).map(pattern).collect();
                match ready!(writer.write(io, &bytes)) {
                    Ok(n) => sent += n,
                    Err(_) => return Poll::Ready(()),
                }
            }
        };
        reader.set_read_deadline(&mut poller.io(ME), Some(from_now(MILLISECOND))).unwrap();
        let mut read = |io: &mut Io<'_>| {
            while reads < 1000 {
                let answer = ready!(reader.read(io, &mut buf));
                reads += 1;
                match answer {
                    Ok(n) => {
                        assert!(n > 0 && buf[..n].iter().enumerate().all(|(index, &byte)| byte == pattern(received + index)));
                        received += n;
                    }
                    Err(error) => {
                        assert_eq!(error, Error::TimedOut);
                        reader.set_read_deadline(io, Some(from_now(MILLISECOND))).unwrap();
                    }
                }
                buf = [0; 1024];
                if reads % 10 == 0 {
                    // The next one finds its deadline passed, and data.
                    reader.set_read_deadline(io, Some(from_now(-1))).unwrap();
                }
            }
            drop(io.close(reader.token()).unwrap());
            Poll::Ready(())
        };
        go(poller, &mut [&mut write, &mut read]);
        assert!(received > 0 && received <= sent);
    });
}

/// A buffer may be overwritten as soon as a write has timed out, 1000 times with timeouts of 1 ms: no write takes from it later. (As for
/// [`racy_read`]; no byte of a write that failed is sent.)
fn racy_write<S: Stream>() {
    with_poller(|poller| {
        let (reader, writer) = S::pair(poller);
        writer.set_write_deadline(&mut poller.io(ME), Some(from_now(MILLISECOND))).unwrap();
        let (mut writes, mut sent) = (0, 0);
        let mut write = |io: &mut Io<'_>| {
            while writes < 1000 {
                let mut buf: Vec<u8> = (sent..sent + 1024).map(pattern).collect();
                let answer = ready!(writer.write(io, &buf));
                buf.fill(0);
                writes += 1;
                match answer {
                    Ok(n) => sent += n,
                    Err(error) => {
                        assert_eq!(error, Error::TimedOut);
                        writer.set_write_deadline(io, Some(from_now(MILLISECOND))).unwrap();
                    }
                }
                if writes % 10 == 0 {
                    // The next one finds its deadline passed, and perhaps room.
                    writer.set_write_deadline(io, Some(from_now(-1))).unwrap();
                }
            }
            drop(io.close(writer.token()).unwrap());
            Poll::Ready(())
        };
        let (mut received, mut buf) = (0, [0; 700]);
        let mut read = |io: &mut Io<'_>| {
            loop {
                let n = ready!(reader.read(io, &mut buf)).unwrap();
                if n == 0 {
                    return Poll::Ready(());
                }
                assert!(buf[..n].iter().enumerate().all(|(index, &byte)| byte == pattern(received + index)));
                received += n;
            }
        };
        go(poller, &mut [&mut write, &mut read]);
        assert!(sent > 0);
        assert_eq!(received, sent);
    });
}

// ---- What is no stream

/// What the kernel cannot wait for has no deadlines. (It is refused, and handed back as it was.)
#[test]
fn nonpollable_deadline() {
    let path = std::env::temp_dir().join(format!("netpoll-file-{}", std::process::id()));
    let file = std::fs::File::create_new(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    with_poller(|poller| {
        let rejected = poller.io(ME).open(file.into(), BOTH).unwrap_err();
        assert_eq!(rejected.error, Error::NotPollable);
        util::write(&rejected.value, b"still a file");
        assert_eq!(poller.descriptors(), 0);
    });
}

/// Issue 23943. Closing a terminal that somebody reads from does not hang. (And the reader comes back.)
#[test]
fn tty_close() {
    let (_master, slave) = pty();
    with_poller(|poller| {
        let token = poller.open(slave, READ);
        let read = |io: &mut Io<'_>| io.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0; 1][..]));
        assert!(read(&mut poller.io(Waiter::new(7))).is_pending());
        assert_eq!(poller.turn(Timeout::Now), []);
        close_ends(poller, token, read);
    });
}
