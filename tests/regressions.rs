//! What reviews have found, and what must not come back: each test is named after what once went wrong.

#![cfg(target_os = "linux")]

#[path = "util/mod.rs"]
mod descriptors;
#[path = "util/reactor.rs"]
mod util;

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Poll, ready};
use std::time::Duration;

use descriptors::{alone, break_pipe_of, open_fds, pipe, replace, socket_pair, write};
use netpoll::net::{Dial, KeepAlive, ListenOptions, TcpListener, TcpStream, UdpSocket, Unopened};
use netpoll::{
    Clock, Context, Direction, Errno, Error, Handler, HandlerId, Instant, Interest, Io, OwnedFd, Poller, PollerStorage, Reactor,
    ReactorStorage, Rejected, Source, Stats, Timeout, Token, Waiter, Writer,
};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use util::{Answer, DONE, Log, Probe, Script, planned_panic, run_until, script, settle, std_connect, std_listener};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const ME: Waiter = Waiter::new(1);

/// Panics when it is dropped, unless a panic is under way.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            planned_panic();
        }
    }
}

/// Runs `act`, which must panic.
#[track_caller]
fn expect_panic(act: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(act)).unwrap_err();
}

/// What the kernel does not take.
fn not_pollable() -> OwnedFd {
    std::fs::File::open("/").unwrap().into()
}

/// A handler that waits for nothing.
fn idle<S>() -> Script<S> {
    script(|_| Poll::Pending)
}

fn bind() -> (Unopened<TcpListener>, Door) {
    let listener = TcpListener::bind(LOCAL).unwrap();
    let door = Door { address: listener.local_addr().unwrap(), arrived: Probe::of(&listener) };
    (listener, door)
}

/// Where clients find a listener.
struct Door {
    address: SocketAddr,
    arrived: Probe,
}

impl Door {
    /// A client that is in the backlog.
    fn knock(&self) -> StdStream {
        let client = std_connect(self.address);
        self.arrived.wait_readable();
        client
    }
}

/// Counts the connections that it accepts, one in a run, and drops them.
fn counter(listener: TcpListener) -> Script<u32> {
    script(move |cx: &mut Context<'_, Script<u32>>| {
        drop(ready!(listener.accept(cx))?);
        *cx.shared() += 1;
        Poll::Pending
    })
}

/// Whether `act` comes back, on a thread of its own.
fn comes_back(act: impl FnOnce() + Send + 'static) -> bool {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        act();
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(20)).is_ok()
}

// ---- Panics

// A handler that panicked has ended: `end` says so, and whoever gets its place lives and runs.
#[test]
fn end_and_spawn_after_panic_kills_innocent() {
    let mut storage = ReactorStorage::<Script<u32>, 1, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let panicking = reactor.spawn(script(|_| planned_panic())).unwrap();
    expect_panic(|| reactor.run_once(Timeout::Now, &mut 0).unwrap());
    assert_eq!(reactor.end(panicking), Err(Error::Closed));
    reactor
        .spawn(script(|cx: &mut Context<'_, Script<u32>>| {
            *cx.shared() += 1;
            Poll::Pending
        }))
        .unwrap();
    let mut runs = 0;
    reactor.run_once(Timeout::Now, &mut runs).unwrap();
    assert_eq!((runs, reactor.len()), (1, 1));
}

// A panic ended the last handler: nobody is left to wait for.
#[test]
fn run_after_the_last_handler_panicked_never_returns() {
    assert!(comes_back(|| {
        let mut storage = ReactorStorage::<Script, 1, 0>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        reactor.spawn(script(|_| planned_panic())).unwrap();
        expect_panic(|| reactor.run(&mut ()).unwrap());
        reactor.run(&mut ()).unwrap();
        assert!(reactor.is_empty());
    }));
}

thread_local! {
    static CLOCK_PANICS: Cell<bool> = const { Cell::new(false) };
}

fn clock_that_may_panic() -> Instant {
    if CLOCK_PANICS.take() {
        planned_panic();
    }
    Instant::from_nanos(1)
}

// A panic of the program's clock between the kernel's wait and the round: whom the kernel has woken is run by the next pass.
#[test]
fn panic_of_the_clock_loses_an_edge() {
    let mut storage = ReactorStorage::<Script<u32>, 1, 1>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(clock_that_may_panic)).unwrap();
    let (ours, writer) = pipe();
    let read_all = |ours: Token| {
        script(move |cx: &mut Context<'_, Script<u32>>| {
            // So that each pass reads the clock.
            let later = cx.now() + Duration::from_secs(1);
            cx.set_timer(Some(later));
            loop {
                *cx.shared() += ready!(cx.poll_io(ours, Direction::Read, |fd| rustix::io::read(fd, &mut [0; 1])))? as u32;
            }
        })
    };
    reactor.spawn_with((ours, Interest::READ), read_all).unwrap();
    let mut bytes = 0;
    reactor.run_once(Timeout::Now, &mut bytes).unwrap();
    rustix::io::write(&writer, b"xy").unwrap();
    CLOCK_PANICS.set(true);
    expect_panic(|| reactor.run_once(Timeout::Now, &mut bytes).unwrap());
    assert_eq!(bytes, 0);
    reactor.run_once(Timeout::Now, &mut bytes).unwrap();
    assert_eq!(bytes, 2);
}

// A handler may catch a panic of its own `make`: neither the place nor the descriptor stays behind.
#[test]
fn caught_panic_in_make_leaves_a_place_behind() {
    let mut storage = ReactorStorage::<Script, 3, 3>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let mut sources: Vec<_> = (0..2).map(|_| pipe()).collect();
    let mut writers = Vec::new();
    let make_badly = move |cx: &mut Context<'_, Script>| {
        for (source, writer) in sources.drain(..) {
            writers.push(writer);
            expect_panic(|| drop(cx.spawn_with((source, Interest::READ), |_| planned_panic())));
        }
        Poll::Pending
    };
    reactor.spawn(script(make_badly)).unwrap();
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    assert_eq!((reactor.len(), reactor.descriptors()), (1, 0));
    for _ in 0..2 {
        reactor.spawn(idle()).unwrap();
    }
}

/// Opens a pipe, and panics.
struct OpensAndPanics(OwnedFd);

impl Source for OpensAndPanics {
    type Opened = ();

    fn open(self, io: &mut Io<'_>) -> Result<(), Rejected<Self>> {
        io.open(self.0, Interest::READ).unwrap();
        planned_panic()
    }
}

// A handler may catch a panic of a source's: what it has itself, from before and from after, is closed when it ends.
#[test]
fn caught_panic_in_open_loses_the_handlers_descriptors() {
    let mut storage = ReactorStorage::<Script, 2, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let mut pipes: Vec<_> = (0..4).map(|_| pipe()).collect();
    let (first, _first_writer) = pipes.pop().unwrap();
    let make = |_: Token| {
        let mut runs = 0;
        script(move |cx: &mut Context<'_, Script>| {
            runs += 1;
            if runs == 1 {
                let mut take = || pipes.pop().unwrap().0;
                cx.open(take(), Interest::READ).unwrap();
                expect_panic(|| drop(cx.spawn_with(OpensAndPanics(take()), |()| unreachable!())));
                cx.open(take(), Interest::READ).unwrap();
                cx.yield_now();
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
    };
    reactor.spawn_with((first, Interest::READ), make).unwrap();
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    assert_eq!((reactor.len(), reactor.descriptors()), (1, 3));
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
    reactor.spawn(idle()).unwrap();
    reactor.spawn(idle()).unwrap();
}

/// Opens a pipe, and waits for it.
struct OpensAndWaits(OwnedFd);

impl Source for OpensAndWaits {
    type Opened = ();

    fn open(self, io: &mut Io<'_>) -> Result<(), Rejected<Self>> {
        let token = io.open(self.0, Interest::READ).unwrap();
        let read = io.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0; 1]));
        assert!(read.is_pending());
        Ok(())
    }
}

// What a source waits for while it is opened is no wait of the handler that spawns: that one is parked.
#[test]
fn wait_in_open_hides_a_parked_handler() {
    let mut storage = ReactorStorage::<Script, 2, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (read, _write) = pipe();
    let mut source = Some(OpensAndWaits(read));
    let handler = script(move |cx: &mut Context<'_, Script>| {
        if let Some(source) = source.take() {
            cx.spawn_with(source, |()| idle()).map_err(|rejected| rejected.error).unwrap();
        }
        Poll::Pending
    });
    reactor.spawn(handler).unwrap();
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    assert_eq!(reactor.stats().parked_handlers, 1);
}

// A panicking handler takes only its own descriptors with it, not one that took the slot of a descriptor that it had closed.
#[test]
fn end_after_panic_closes_anothers_descriptor() {
    let mut storage = ReactorStorage::<Script, 3, 3>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (own, _own_writer) = pipe();
    let (innocent, _innocent_writer) = pipe();
    let mut innocent = Some(innocent);
    let make = |own: Token| {
        script(move |cx: &mut Context<'_, Script>| {
            drop(cx.close(own).unwrap());
            let make = |token: Token| {
                script(move |cx: &mut Context<'_, Script>| {
                    cx.fd(token)?;
                    Poll::Pending
                })
            };
            cx.spawn_with((innocent.take().unwrap(), Interest::READ), make).unwrap();
            planned_panic()
        })
    };
    let panicking = reactor.spawn_with((own, Interest::READ), make).unwrap();
    expect_panic(|| reactor.run_once(Timeout::Now, &mut ()).unwrap());
    assert_eq!(reactor.descriptors(), 1);
    assert_eq!(reactor.end(panicking), Err(Error::Closed));
    assert_eq!(reactor.descriptors(), 1, "the innocent handler's descriptor");
}

// An acceptor that waits for room is run when a handler is freed whose drop panics.
#[test]
fn panicking_drop_loses_room_wakeup() {
    let mut storage = ReactorStorage::<Script<u32>, 2, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (listener, door) = bind();
    reactor.spawn_with(listener, counter).unwrap();
    let bomb = Bomb;
    let bombed = reactor
        .spawn(script(move |cx: &mut Context<'_, Script<u32>>| {
            let _ = &bomb;
            cx.poll_notified().map(Ok)
        }))
        .unwrap();
    let _client = door.knock();
    let mut accepted = 0;
    settle(&mut reactor, &mut accepted);
    assert_eq!(accepted, 0);
    reactor.notify(bombed).unwrap();
    expect_panic(|| settle(&mut reactor, &mut accepted));
    settle(&mut reactor, &mut accepted);
    assert_eq!(accepted, 1);
}

// Storage on the heap that a reactor was dropped on, with a panic, is emptied before it is lent again.
#[cfg(feature = "alloc")]
#[test]
fn drop_panic_leaves_handlers_in_relent_storage() {
    let alive = Rc::new(());
    let mut storage = netpoll::BoxedReactorStorage::<Script>::with_capacity(3, 1);
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let bomb = Bomb;
    reactor
        .spawn(script(move |_| {
            let _ = &bomb;
            Poll::Pending
        }))
        .unwrap();
    let share = Rc::clone(&alive);
    reactor
        .spawn(script(move |_| {
            let _ = &share;
            Poll::Pending
        }))
        .unwrap();
    expect_panic(|| drop(reactor));
    let _reactor = Reactor::new(&mut storage).unwrap();
    assert_eq!(Rc::strong_count(&alive), 1, "emptied first");
}

struct PanickingSource(OwnedFd);

impl Source for PanickingSource {
    type Opened = ();

    fn open(self, io: &mut Io<'_>) -> Result<(), Rejected<Self>> {
        io.open(self.0, Interest::READ).unwrap();
        planned_panic()
    }
}

// A source that panics after it has opened something leaves neither a handler's place nor that descriptor behind.
#[test]
fn panicking_source_leaks() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (read_end, _write_end) = pipe();
    expect_panic(|| drop(reactor.spawn_with(PanickingSource(read_end), |()| idle())));
    settle(&mut reactor, &mut ());
    assert_eq!((reactor.len(), reactor.descriptors()), (0, 0));
}

// A foreign loop must not sleep after a panic: it has made room that an acceptor waits for.
#[test]
fn foreign_loop_sleeps_after_a_panic() {
    let mut storage = ReactorStorage::<Script<u32>, 2, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (listener, door) = bind();
    reactor.spawn_with(listener, counter).unwrap();
    let panicking = reactor
        .spawn(script(|cx: &mut Context<'_, Script<u32>>| {
            ready!(cx.poll_notified());
            planned_panic()
        }))
        .unwrap();
    let _client = door.knock();
    let mut accepted = 0;
    settle(&mut reactor, &mut accepted);
    reactor.notify(panicking).unwrap();
    expect_panic(|| reactor.run_once(Timeout::Now, &mut accepted).unwrap());
    assert!(reactor.next_deadline().is_some());
}

// ---- Ending

// An acceptor that waits for room is run when a handler is ended from outside.
#[test]
fn outside_end_loses_room_wakeup() {
    let mut storage = ReactorStorage::<Script<u32>, 2, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (listener, door) = bind();
    reactor.spawn_with(listener, counter).unwrap();
    let other = reactor.spawn(idle()).unwrap();
    let _client = door.knock();
    let mut accepted = 0;
    settle(&mut reactor, &mut accepted);
    assert_eq!(accepted, 0);
    reactor.end(other).unwrap();
    settle(&mut reactor, &mut accepted);
    assert_eq!(accepted, 1);
}

// A foreign loop must not sleep after such an end either.
#[test]
fn foreign_loop_sleeps_after_an_end() {
    let mut storage = ReactorStorage::<Script<u32>, 2, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (listener, door) = bind();
    reactor.spawn_with(listener, counter).unwrap();
    let other = reactor.spawn(idle()).unwrap();
    let _client = door.knock();
    settle(&mut reactor, &mut 0);
    reactor.end(other).unwrap();
    assert!(reactor.next_deadline().is_some());
}

// The place of a handler that is ended before its first run is free, also if no pass was made since.
#[test]
fn spawn_end_spawn_full_forever() {
    let mut storage = ReactorStorage::<Script, 1, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let first = reactor.spawn(idle()).unwrap();
    reactor.end(first).unwrap();
    reactor.run(&mut ()).unwrap();
    assert!(reactor.spawn(idle()).is_ok());
}

// A handler that replaces another one, which is to be run in the same round, has its place at once.
#[test]
fn ended_while_queued_keeps_its_place() {
    let mut storage = ReactorStorage::<Script, 2, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let replaced = Rc::<Cell<Option<HandlerId>>>::default();
    let victim = Rc::clone(&replaced);
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script>| {
            let _ = cx.end(victim.get().unwrap());
            entries.push(cx.spawn(idle()).is_ok());
            Poll::Pending
        }))
        .unwrap();
    replaced.set(Some(reactor.spawn(idle()).unwrap()));
    reactor.run_once(Timeout::Now, &mut ()).unwrap();
    assert_eq!(log.take(), [true]);
}

/// Two readers and a third handler.
type Three = [Cell<Option<HandlerId>>; 3];

/// Reads; whoever is the first in a pass notifies the third handler, then the other reader.
fn reader(who: usize, three: &Rc<Three>) -> impl FnOnce(Token) -> Script<Vec<usize>> {
    let three = Rc::clone(three);
    move |token| {
        script(move |cx: &mut Context<'_, Script<Vec<usize>>>| {
            cx.shared().push(who);
            if cx.shared().len() == 1 {
                [2, 1 - who].into_iter().try_for_each(|other| cx.notify(three[other].get().unwrap()))?;
            }
            while cx.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0u8; 1]))?.is_ready() {}
            Poll::Pending
        })
    }
}

// Notified before its turn came in a round, a handler stays queued for the next one; notified in that, it is run in the one after it.
#[test]
fn leftover_link_runs_who_is_notified_a_round_early() {
    if !util::is_orderly() {
        return descriptors::skip("leftover_link_runs_who_is_notified_a_round_early", "one wait need not hand out both events");
    }
    let mut storage = ReactorStorage::<Script<Vec<usize>>, 3, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let three = Rc::<Three>::default();
    let (near, far): (Vec<_>, Vec<_>) = (0..2).map(|_| pipe()).unzip();
    for (who, read_end) in near.into_iter().enumerate() {
        three[who].set(Some(reactor.spawn_with((read_end, Interest::READ), reader(who, &three)).unwrap()));
    }
    let third = script(|cx: &mut Context<'_, Script<Vec<usize>>>| {
        cx.shared().push(2);
        let _ = cx.poll_notified();
        Poll::Pending
    });
    three[2].set(Some(reactor.spawn(third).unwrap()));
    let pass = |reactor: &mut Reactor<'_, Script<Vec<usize>>>| {
        let mut ran = Vec::new();
        reactor.run_once(Timeout::Now, &mut ran).unwrap();
        ran
    };
    assert_eq!(pass(&mut reactor), [0, 1, 2]);
    assert_eq!(pass(&mut reactor), []);
    far.iter().for_each(|write_end| write(write_end, b"x"));
    let [first, second] = pass(&mut reactor)[..] else { panic!("both are ready") };
    write(&far[first], b"x");
    assert_eq!(pass(&mut reactor), [first, 2]);
    assert_eq!(pass(&mut reactor), [second]);
}

// ---- Sources that fail

// The place of a failed `spawn_with` is free, also if no pass was made since.
#[test]
fn failing_spawn_with_occupies_its_place() {
    let mut storage = ReactorStorage::<Script, 1, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    assert!(reactor.spawn_with((not_pollable(), Interest::READ), |_| idle()).is_err());
    reactor.run(&mut ()).unwrap();
    assert!(reactor.spawn(idle()).is_ok(), "{} handlers", reactor.len());
}

// What cannot be waited for is `NotPollable` in every build, although it also blocks; the check for what blocks comes second.
#[test]
fn blocking_file_is_not_pollable_in_release_builds_only() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let rejected = poller.io(ME).open(file.into(), Interest::READ).unwrap_err();
    assert_eq!(rejected.error, Error::NotPollable);
    assert_eq!(poller.io(ME).open(not_pollable(), Interest::default()).unwrap_err().error, Error::NotPollable);
    if cfg!(debug_assertions) {
        let (blocking, _write_end) = rustix::pipe::pipe().unwrap();
        let rejected = poller.io(ME).open(blocking, Interest::READ).unwrap_err();
        assert_eq!(rejected.error, Error::Os(Errno::INVAL));
        // Nothing of it is left.
        assert_eq!((poller.descriptors(), poller.poll(Timeout::Now, |_| unreachable!()).unwrap().waiters), (0, 0));
    }
    poller.io(ME).open(pipe().0, Interest::READ).unwrap();
}

// The same for what was inherited: `program < file`, where a pipe was expected.
#[test]
fn inherited_file_is_said_to_block() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let file = OwnedFd::from(std::fs::File::open(std::env::current_exe().unwrap()).unwrap());
    let rejected = Unopened::<netpoll::os::PipeReader>::from(file).open(&mut poller.io(ME)).unwrap_err();
    assert_eq!(rejected.error, Error::NotPollable);
    let (blocking, _write_end) = rustix::pipe::pipe().unwrap();
    let rejected = Unopened::<netpoll::os::PipeReader>::from(blocking).open(&mut poller.io(ME)).unwrap_err();
    assert_eq!((rejected.error, poller.descriptors()), (Error::Os(Errno::INVAL), 0));
}

// When an acceptor is given a client there is room for it, whatever failed in the same run.
#[test]
fn failing_spawn_with_makes_accept_drop_a_client() {
    let mut storage = ReactorStorage::<Script, 2, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let (listener, door) = bind();
    let make = |listener: TcpListener| {
        script(move |cx: &mut Context<'_, Script>| {
            assert!(cx.spawn_with((not_pollable(), Interest::READ), |_| unreachable!()).is_err());
            let (socket, _) = ready!(listener.accept(cx))?;
            entries.push(cx.spawn_with(socket, |_| idle()).map(drop).map_err(|rejected| rejected.error));
            Poll::Pending
        })
    };
    reactor.spawn_with(listener, make).unwrap();
    let _client = door.knock();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [Ok(())]);
}

/// Opens the first, fails on the second.
struct TwoDescriptors(OwnedFd, OwnedFd);

impl Source for TwoDescriptors {
    type Opened = ();

    fn open(self, io: &mut Io<'_>) -> Result<(), Rejected<Self>> {
        let TwoDescriptors(first, second) = self;
        io.open(first, Interest::READ).unwrap();
        match io.open(second, Interest::READ) {
            Ok(_) => Ok(()),
            Err(Rejected { value, error }) => Err(Rejected { value: TwoDescriptors(not_pollable(), value), error }),
        }
    }
}

// What a source had opened before it failed is closed.
#[test]
fn half_opened_source_leaks() {
    let mut storage = ReactorStorage::<Script, 2, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (read_end, _write_end) = pipe();
    assert!(reactor.spawn_with(TwoDescriptors(read_end, not_pollable()), |()| idle()).is_err());
    settle(&mut reactor, &mut ());
    assert_eq!(reactor.descriptors(), 0);
}

// ---- Listeners and streams

// An acceptor that keeps its connections needs no room for another handler.
#[test]
fn single_handler_server_never_accepts() {
    let mut storage = ReactorStorage::<Script<u32>, 1, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (listener, door) = bind();
    let make = |listener: TcpListener| {
        script(move |cx: &mut Context<'_, Script<u32>>| {
            let (socket, _) = ready!(listener.accept_own(cx))?;
            socket.open(cx)?;
            *cx.shared() += 1;
            Poll::Pending
        })
    };
    reactor.spawn_with(listener, make).unwrap();
    let _client = door.knock();
    let mut accepted = 0;
    settle(&mut reactor, &mut accepted);
    assert_eq!(accepted, 1);
}

// A deadline that passes while an acceptor waits for room is told, and once only.
#[test]
fn room_wait_swallows_the_accept_deadline() {
    let mut storage = ReactorStorage::<Script, 2, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let (listener, door) = bind();
    let make = |listener: TcpListener| {
        let mut is_set = false;
        script(move |cx: &mut Context<'_, Script>| {
            if !mem::replace(&mut is_set, true) {
                listener.set_timeout(cx, Some(Duration::from_millis(30)))?;
            }
            if let Err(error) = ready!(listener.accept(cx)) {
                entries.push(error);
            }
            Poll::Pending
        })
    };
    reactor.spawn_with(listener, make).unwrap();
    reactor.spawn(idle()).unwrap();
    let _client = door.knock();
    run_until(&mut reactor, &mut (), |()| log.len() > 0);
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [Error::TimedOut]);
}

// So is a deadline that is set in the past while an acceptor waits for room.
#[test]
fn room_wait_swallows_an_accept_deadline_in_the_past() {
    let mut storage = ReactorStorage::<Script, 1, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let (listener, door) = bind();
    let make = |listener: TcpListener| {
        script(move |cx: &mut Context<'_, Script>| {
            let answer = listener.accept(cx);
            if answer.is_pending() {
                listener.set_timeout(cx, Some(Duration::ZERO))?;
            }
            if let Err(error) = ready!(answer) {
                entries.push(error);
            }
            Poll::Pending
        })
    };
    reactor.spawn_with(listener, make).unwrap();
    let _client = door.knock();
    settle(&mut reactor, &mut ());
    assert_eq!(log.take(), [Error::TimedOut]);
}

// Acceptors that share the last place get it in turn.
#[test]
fn room_list_starves_an_acceptor() {
    let mut storage = ReactorStorage::<Script<[u32; 3]>, 4, 8>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let mut clients = Vec::new();
    for name in 0..3 {
        let (listener, door) = bind();
        clients.extend((0..30).map(|_| door.knock()));
        let make = |listener: TcpListener| {
            script(move |cx: &mut Context<'_, Script<[u32; 3]>>| {
                loop {
                    let (socket, _) = ready!(listener.accept(cx))?;
                    cx.shared()[name] += 1;
                    let mut has_run = false;
                    let make = |_| {
                        script(move |cx: &mut Context<'_, Script<[u32; 3]>>| {
                            if mem::replace(&mut has_run, true) {
                                return DONE;
                            }
                            cx.yield_now();
                            Poll::Pending
                        })
                    };
                    cx.spawn_with(socket, make)?;
                }
            })
        };
        reactor.spawn_with(listener, make).unwrap();
    }
    let mut accepted = [0; 3];
    run_until(&mut reactor, &mut accepted, |accepted| accepted.iter().sum::<u32>() >= 60);
    assert!(accepted.iter().all(|&count| count > 10), "{accepted:?}");
}

// Keep-alive times that the kernel does not take are the kernel's word, not a panic.
#[test]
fn endless_keep_alive_panics() {
    let mut options = ListenOptions::default();
    options.keep_alive = Some(KeepAlive { idle: Duration::MAX, ..KeepAlive::default() });
    assert_eq!(TcpListener::bind_with(LOCAL, &options).map(drop), Err(Error::Os(Errno::INVAL)));
}

// An inherited listener that blocks is not taken: the loop would stand still in its accept.
#[test]
fn blocking_listener_blocks_the_loop() {
    assert!(comes_back(|| {
        let mut storage = ReactorStorage::<Script, 4, 4>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let listener = Unopened::<TcpListener>::from(OwnedFd::from(std_listener().0));
        let make = |listener: TcpListener| script(move |cx: &mut Context<'_, Script>| -> Answer { listener.accept(cx).map_ok(drop) });
        let spawned = reactor.spawn_with(listener, make).map_err(|rejected| rejected.error);
        reactor.run_once(Timeout::Now, &mut ()).unwrap();
        assert_eq!(spawned, Err(Error::Os(Errno::INVAL)));
    }));
}

// Whoever asks again after a refused connection is answered: no edge will come.
#[test]
fn second_poll_connected_waits_for_ever() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    // Bound, so that nobody else takes it, but not listening.
    let refusing = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&refusing, &LOCAL).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&refusing).unwrap()).unwrap();
    let stream = TcpStream::connect(address).unwrap().open(&mut poller.io(ME)).unwrap();
    for errno in [Errno::CONNREFUSED, Errno::NOTCONN] {
        // The second time too: kqueue may say in two events what has become of reading and of writing.
        let answer = loop {
            if let Poll::Ready(answer) = stream.poll_connected(&mut poller.io(ME)) {
                break answer;
            }
            assert_eq!(poller.poll(util::PATIENCE, |_| {}).unwrap().waiters, 1);
        };
        assert_eq!(answer, Err(Error::Os(errno)));
    }
}

// A read of nothing from a closed stream is `Closed`, like any other.
#[test]
fn empty_read_succeeds_on_a_closed_stream() {
    let mut storage = PollerStorage::<2>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let (_peer, ours) = util::pair();
    let stream = ours.open(&mut poller.io(ME)).unwrap();
    drop(stream.close(&mut poller.io(ME)).unwrap());
    assert_eq!(stream.read(&mut poller.io(ME), &mut []), Poll::Ready(Err(Error::Closed)));
}

// ---- Time

// On a clock that stands still a wait ends all the same.
#[test]
fn frozen_clock_never_ends_a_poll() {
    fn frozen() -> Instant {
        Instant::from_nanos(42)
    }
    assert!(comes_back(|| {
        let mut storage = PollerStorage::<2>::new();
        let mut poller = Poller::with_clock(&mut storage, Clock::Custom(frozen)).unwrap();
        poller.poll(Duration::from_millis(5), |_| {}).unwrap();
    }));
}

// A deadline that is now, and a timeout of zero, have passed when they are set, and beat data that is there.
#[test]
fn ready_data_beats_a_zero_timeout() {
    let mut storage = ReactorStorage::<Script, 2, 2>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let log = Log::new();
    let entries = log.clone();
    let (ours, theirs) = socket_pair();
    write(&theirs, b"data");
    let make = |stream: TcpStream| {
        script(move |cx: &mut Context<'_, Script>| {
            let now = cx.now();
            stream.set_read_deadline(cx, Some(now))?;
            entries.push(stream.read(cx, &mut [0; 1]));
            stream.set_read_timeout(cx, Some(Duration::ZERO))?;
            entries.push(stream.read(cx, &mut [0; 1]));
            DONE
        })
    };
    reactor.spawn_with(Unopened::from(ours), make).unwrap();
    reactor.run(&mut ()).unwrap();
    assert_eq!(log.take(), [Poll::Ready(Err(Error::TimedOut)); 2]);
}

// ---- Wakes

#[derive(Default)]
struct Mail {
    posted: VecDeque<u32>,
    read: Vec<u32>,
}

/// Takes what was posted whenever it is woken.
fn postman(cx: &mut Context<'_, Script<Mail>>) -> Answer {
    loop {
        ready!(cx.poll_wake());
        let mail = cx.shared();
        mail.read.extend(mail.posted.drain(..));
    }
}

// A wake whose waiter is ended before it is told goes to its successor, which was spawned in the same round.
#[test]
fn wake_dies_with_an_ended_waiter() {
    let mut storage = ReactorStorage::<Script<Mail>, 4, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let first = reactor.spawn(script(postman)).unwrap();
    let (read_end, write_end) = pipe();
    let make = |token: Token| {
        script(move |cx: &mut Context<'_, Script<Mail>>| {
            ready!(cx.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0u8; 1])))?;
            cx.end(first)?;
            cx.spawn(script(postman))?;
            DONE
        })
    };
    reactor.spawn_with((read_end, Interest::READ), make).unwrap();
    let mut mail = Mail::default();
    reactor.run_once(Timeout::Now, &mut mail).unwrap();
    write(&write_end, b"x");
    mail.posted.push_back(7);
    reactor.breaker().wake().unwrap();
    settle(&mut reactor, &mut mail);
    assert_eq!(mail.read, [7]);
}

// A handler that waited for a wake once, and did not ask again when it was run for another reason, takes no wake from who asks later.
#[test]
fn stale_interest_steals_the_wake() {
    let mut storage = ReactorStorage::<Script<u32>, 4, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let mut has_asked = false;
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script<u32>>| {
            if !mem::replace(&mut has_asked, true) {
                assert!(cx.poll_wake().is_pending());
            }
            Poll::Pending
        }))
        .unwrap();
    let mut wakes = 0;
    reactor.run_once(Timeout::Now, &mut wakes).unwrap();
    reactor.notify_all();
    reactor.run_once(Timeout::Now, &mut wakes).unwrap();
    reactor.breaker().wake().unwrap();
    reactor.run_once(Timeout::Now, &mut wakes).unwrap();
    reactor
        .spawn(script(|cx: &mut Context<'_, Script<u32>>| {
            if cx.poll_wake().is_ready() {
                *cx.shared() += 1;
            }
            Poll::Pending
        }))
        .unwrap();
    reactor.run_once(Timeout::Now, &mut wakes).unwrap();
    assert_eq!(wakes, 1);
}

// ---- Waits and storage

/// Waits for nothing that its descriptor says.
struct Deaf;

/// Makes the event that ends each wait, before the wait.
struct Sleeper {
    write_end: OwnedFd,
    sleeps: u64,
}

impl Handler for Deaf {
    type Shared = Sleeper;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Answer {
        cx.poll_notified().map(Ok)
    }

    fn on_sleep(sleeper: &mut Sleeper, _: &Stats) {
        sleeper.sleeps += 1;
        write(&sleeper.write_end, b"x");
    }
}

// `on_sleep` is called before each wait, also before one that follows an event that nobody waits for.
#[test]
fn waits_without_on_sleep() {
    if descriptors::EVENT_PORT {
        return descriptors::skip("waits_without_on_sleep", "what nobody waits for is no event");
    }
    let mut storage = ReactorStorage::<Deaf, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let (read_end, write_end) = pipe();
    reactor.spawn_with((read_end, Interest::READ), |_| Deaf).unwrap();
    let mut sleeper = Sleeper { write_end, sleeps: 0 };
    // There is somebody to be run: no sleep.
    reactor.run_once(Timeout::Now, &mut sleeper).unwrap();
    for _ in 0..20 {
        reactor.run_once(Duration::from_millis(150), &mut sleeper).unwrap();
    }
    // Event ports are not asked about what nobody waits for.
    let events = if util::EVENT_PORT { 0 } else { 20 };
    assert_eq!(reactor.stats().polls, sleeper.sleeps + 1);
    assert!(reactor.stats().events == events || !util::is_orderly());
}

// At the limit of descriptors, storage that a poller was forgotten on is emptied first, which makes room for the next poller.
#[test]
fn forgotten_storage_at_the_limit() {
    alone(|| {
        let mut storage = PollerStorage::<200>::new();
        let mut poller = Poller::new(&mut storage).unwrap();
        let (read_end, _write_end) = pipe();
        let taken = open_fds();
        let end = (0..).filter(|fd| !taken.contains(fd)).nth(40).unwrap();
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(end as u64), maximum }).unwrap();
        while let Ok(copy) = rustix::io::dup(&read_end) {
            poller.io(ME).open(copy, Interest::READ).unwrap();
        }
        assert_eq!((rustix::io::dup(&read_end).unwrap_err(), poller.descriptors()), (Errno::MFILE, 40));
        mem::forget(poller);
        for _ in 0..4 {
            drop(Poller::new(&mut storage).unwrap());
        }
    });
}

// Another handler polls a dial that is under way (it lies in the shared state): the attempt is forgotten, its place is not given back.
#[test]
fn dial_polled_by_another_handler_is_not_lost() {
    type Dialling = Option<Dial>;
    let listener = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let addr = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let mut storage = ReactorStorage::<Script<Dialling>, 2, 4>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    // Nobody has time for it.
    let _fill: Vec<_> = (0..3).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let shared = &mut Some(Dial::to(addr));
    let give_up = Rc::new(Cell::new(false));
    let is_given_up = give_up.clone();
    let owner = reactor
        .spawn(script(move |cx: &mut Context<'_, Script<Dialling>>| {
            let (io, dial) = cx.split();
            let dial = dial.as_mut().unwrap();
            if is_given_up.get() {
                dial.cancel(io);
            } else {
                assert!(dial.poll(io).is_pending());
            }
            let _ = cx.poll_notified();
            Poll::Pending
        }))
        .unwrap();
    settle(&mut reactor, shared);
    assert_eq!(reactor.descriptors(), 1);
    reactor
        .spawn(script(move |cx: &mut Context<'_, Script<Dialling>>| {
            let (io, dial) = cx.split();
            assert_eq!(dial.as_mut().unwrap().poll(io).map(|answer| answer.unwrap_err().error), Poll::Ready(Error::NotOwner));
            DONE
        }))
        .unwrap();
    settle(&mut reactor, shared);
    give_up.set(true);
    reactor.notify(owner).unwrap();
    settle(&mut reactor, shared);
    assert_eq!(reactor.descriptors(), 0, "the half-connected socket is nobody's");
}

// A writer that says it took more than it was given: refused, as Go does ("invalid write count"), not an overflow.
#[test]
fn writer_that_takes_more_than_there_is() {
    struct Liar(Cell<bool>);
    impl Writer for Liar {
        fn write(&self, _: &mut Io<'_>, _: &[u8]) -> Poll<Result<usize, Error>> {
            Poll::Ready(Ok(if self.0.replace(true) { usize::MAX } else { 1 }))
        }
    }
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let mut sent = 0;
    let _ = Liar(Cell::new(false)).write_all(&mut poller.io(ME), b"abc", &mut sent);
    assert!(sent <= 3);
}

// The socket of the documentation's example, `[::]`, is for IPv4 too; its limit of hops is not.
#[test]
fn ttl_of_a_socket_for_both_families() {
    let mut storage = PollerStorage::<1>::new();
    let mut poller = Poller::new(&mut storage).unwrap();
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap().open(&mut poller.io(ME)).unwrap();
    socket.set_ttl(&mut poller.io(ME), 5).unwrap();
    let fd = socket.close(&mut poller.io(ME)).unwrap();
    assert_eq!((sockopt::ipv6_unicast_hops(&fd), sockopt::ip_ttl(&fd)), (Ok(5), Ok(5)));
}

// A byte that the kernel did not take left the flag set: every later wake was taken for one that is pending.
#[test]
fn wake_after_one_that_was_refused() {
    alone(|| {
        let mut storage = PollerStorage::<0>::new();
        let mut poller = Poller::new(&mut storage).unwrap();
        let [_, write_end] = break_pipe_of(|fd| poller.is_poll_descriptor(fd));
        let kept = write_end.try_clone_to_owned().unwrap();
        replace(write_end, std::fs::File::open("/dev/null").unwrap());
        for _ in 0..3 {
            assert_eq!(poller.breaker().wake(), Err(Error::Os(Errno::BADF)));
        }
        replace(write_end, kept);
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Duration::from_secs(20), |_| {}).unwrap().woken);
    });
}

// On event ports a break pipe that could not be emptied was never heard of again.
#[test]
fn break_pipe_that_could_not_be_emptied() {
    alone(|| {
        let mut storage = PollerStorage::<0>::new();
        let mut poller = Poller::new(&mut storage).unwrap();
        let [read_end, write_end] = break_pipe_of(|fd| poller.is_poll_descriptor(fd));
        // Nobody can write: the pipe is at its end.
        replace(write_end, std::fs::File::open("/dev/null").unwrap());
        for _ in 0..3 {
            assert_eq!(poller.poll(Timeout::Now, |_| {}), Err(Error::Os(Errno::PIPE)));
        }
        let path = format!("/proc/self/fd/{}", read_end.as_raw_fd());
        replace(write_end, std::fs::File::options().write(true).open(path).unwrap());
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Duration::from_secs(20), |_| {}).unwrap().woken);
    });
}

// The error of a pass that a panic has ended was answered by a later `run`, when that was asked to stop.
#[test]
fn error_of_a_pass_that_has_panicked() {
    alone(|| {
        let mut storage = ReactorStorage::<Script, 2, 0>::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        reactor.spawn(script(|_| planned_panic())).unwrap();
        let [read_end, write_end] = break_pipe_of(|fd| reactor.is_poll_descriptor(fd));
        // Nobody can write: the pipe is at its end.
        replace(write_end, std::fs::File::open("/dev/null").unwrap());
        expect_panic(|| reactor.run(&mut ()).unwrap());
        let path = format!("/proc/self/fd/{}", read_end.as_raw_fd());
        replace(write_end, std::fs::File::options().write(true).open(path).unwrap());
        let stops = |cx: &mut Context<'_, Script>| {
            cx.stop();
            Poll::Pending
        };
        reactor.spawn(script(stops)).unwrap();
        assert_eq!(reactor.run(&mut ()), Ok(()));
    });
}

/// Takes room whenever there is some, for a handler that ends when it is run.
fn takes_room(who: usize) -> Script<Vec<usize>> {
    script(move |cx: &mut Context<'_, Script<Vec<usize>>>| {
        loop {
            ready!(cx.poll_room())?;
            cx.shared().push(who);
            let (read_end, _) = pipe();
            cx.spawn_with((read_end, Interest::READ), |_| script(|_| DONE))?;
        }
    })
}

// Asked before each pass, `next_deadline` called one handler for the room that there was, and the pass another, who came in vain and went
// to the end of the line: of two that wait for room one never got any.
#[test]
fn next_deadline_takes_the_turn_of_who_waits_for_room() {
    let mut storage = ReactorStorage::<Script<Vec<usize>>, 3, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    (0..2).for_each(|who| _ = reactor.spawn(takes_room(who)).unwrap());
    let mut took = Vec::new();
    while took.len() < 6 {
        assert!(reactor.next_deadline().is_some());
        reactor.run_once(Timeout::Now, &mut took).unwrap();
    }
    assert_eq!(took, [0, 0, 1, 0, 1, 0]);
}

// On event ports a wake was never heard of again if the program's clock panicked in the pass that it began.
#[test]
fn clock_that_panics_in_the_pass_of_a_wake() {
    let mut storage = ReactorStorage::<Script<u32>, 1, 0>::new();
    let mut reactor = Reactor::with_clock(&mut storage, Clock::Custom(clock_that_may_panic)).unwrap();
    let counts_wakes = |cx: &mut Context<'_, Script<u32>>| {
        cx.set_timer_after(Duration::from_secs(1));
        while cx.poll_wake().is_ready() {
            *cx.shared() += 1;
        }
        Poll::Pending
    };
    reactor.spawn(script(counts_wakes)).unwrap();
    let mut wakes = 0;
    reactor.run_once(Timeout::Now, &mut wakes).unwrap();
    reactor.breaker().wake().unwrap();
    CLOCK_PANICS.set(true);
    expect_panic(|| reactor.run_once(Timeout::Now, &mut wakes).unwrap());
    settle(&mut reactor, &mut wakes);
    assert_eq!(wakes, 1);
}
