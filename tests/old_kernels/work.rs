//! What programs do, on the old kernel.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::task::{Poll, ready};
use std::thread;
use std::time::Duration;

use netpoll::linux::{Inotify, Netlink, TimerClock, TimerFd, TimerSpec, WatchFlags};
use netpoll::net::{
    Dial, SocketAddrUnix, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream, Unopened, unlink_stale,
};
use netpoll::os::{PipeReader, PipeWriter, SerialPort, SerialSettings, pipe};
use netpoll::{AsFd, Breaker, Clock, Direction, Errno, Error, OwnedFd, Poller, PollerStorage, Reactor, ReactorStorage, Source};
use rustix::fs::{Mode, OFlags};

use crate::filter::{Filter, Refusal};
use crate::handlers::{DONE, Log, Script, script};
use crate::util::{READ, TestPoller, pipe as std_pipe, pty};
use crate::{Kernel, on_old_kernels};

type Storage = ReactorStorage<Script, 4, 8>;

/// Runs handlers that each have a descriptor to its end.
fn spawn<S: Source>(reactor: &mut Reactor<'_, Script>, source: S, make: impl FnOnce(S::Opened) -> Script) {
    assert!(reactor.spawn_with(source, make).is_ok());
}

/// 32-bit machines ask for 64-bit times first, as is documented, and for the old ones when they are told that there are none.
fn times_kill(kernel: Kernel) -> bool {
    cfg!(target_pointer_width = "32") && kernel.0 == Refusal::Kill
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn timers_deadlines_and_a_wake_from_another_thread() {
    on_old_kernels("work::timers_deadlines_and_a_wake_from_another_thread", |kernel| {
        let log = Log::new();
        let mut storage = Storage::new();
        let (sender, receiver) = channel::<Breaker<'_>>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let breaker = receiver.recv().unwrap();
                kernel.begin();
                breaker.wake().unwrap();
            });
            kernel.begin();
            let mut reactor = Reactor::with_clock(&mut storage, Clock::Boottime).unwrap();
            let (woken, timer) = (log.clone(), log.clone());
            let mut is_set = false;
            reactor
                .spawn(script(move |cx| {
                    if !is_set {
                        is_set = true;
                        cx.set_timer_after(Duration::from_millis(20));
                    }
                    ready!(cx.poll_timer());
                    timer.push("timer");
                    DONE
                }))
                .unwrap();
            reactor
                .spawn(script(move |cx| {
                    ready!(cx.poll_wake());
                    woken.push("woken");
                    DONE
                }))
                .unwrap();
            let ((silent, _theirs), late) = (std_pipe(), log.clone());
            spawn(&mut reactor, (silent, READ), |token| {
                let mut is_set = false;
                script(move |cx| {
                    if !is_set {
                        is_set = true;
                        cx.set_timeout(token, Direction::Read, Some(Duration::from_millis(10)))?;
                    }
                    assert_eq!(ready!(cx.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0]))), Err(Error::TimedOut));
                    late.push("timed out");
                    DONE
                })
            });
            sender.send(reactor.breaker()).unwrap();
            reactor.run(&mut ()).unwrap();
        });
        let mut events = log.take();
        events.sort_unstable();
        assert_eq!(events, ["timed out", "timer", "woken"]);
    });
}

#[test]
fn wait_longer_than_epoll_pwait_can_count() {
    on_old_kernels("work::wait_longer_than_epoll_pwait_can_count", |kernel| {
        kernel.begin();
        let mut storage = PollerStorage::<1>::new();
        let mut poller = Poller::new(&mut storage).unwrap();
        poller.breaker().wake().unwrap();
        assert!(poller.poll(Duration::from_secs(1 << 40), |_| {}).unwrap().woken);
    });
}

/// Answers each byte until the end of the stream.
fn echo(stream: TcpStream) -> Script {
    let (mut byte, mut has_read) = ([0], false);
    script(move |cx| {
        loop {
            if !has_read {
                if ready!(stream.read(cx, &mut byte))? == 0 {
                    return DONE;
                }
                has_read = true;
            }
            ready!(stream.write(cx, &byte))?;
            has_read = false;
        }
    })
}

#[test]
fn tcp() {
    on_old_kernels("work::tcp", |kernel| {
        kernel.begin();
        let log = Log::new();
        let mut storage = Storage::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let listener = TcpListener::bind(loopback()).unwrap();
        let nobody = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
        let addrs = [nobody, listener.local_addr().unwrap()];
        spawn(&mut reactor, listener, |listener| {
            script(move |cx| {
                let (socket, _) = ready!(listener.accept(cx))?;
                cx.spawn_with(socket, echo)?;
                DONE
            })
        });
        let (answers, mut dial) = (log.clone(), Dial::<2>::new(&addrs).unwrap().with_timeout(Duration::from_secs(20)));
        let (mut stream, mut has_sent) = (None, false);
        let client = script(move |cx| {
            let stream = match &stream {
                Some(stream) => stream,
                None => stream.insert(ready!(dial.poll(cx))?),
            };
            if !has_sent {
                assert_eq!(ready!(stream.write(cx, b"x"))?, 1);
                has_sent = true;
            }
            let mut byte = [0];
            assert_eq!(ready!(stream.read(cx, &mut byte))?, 1);
            answers.push(byte[0]);
            DONE
        });
        reactor.spawn(client).unwrap();
        reactor.run(&mut ()).unwrap();
        assert_eq!(log.take(), b"x");
    });
}

#[test]
fn udp() {
    on_old_kernels("work::udp", |kernel| {
        kernel.begin();
        let log = Log::new();
        let mut storage = Storage::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let server = UdpSocket::bind(loopback()).unwrap();
        let client = UdpSocket::connect(server.local_addr().unwrap()).unwrap();
        spawn(&mut reactor, server, |server| {
            script(move |cx| {
                let mut buf = [0; 8];
                let (len, from) = ready!(server.recv_from(cx, &mut buf))?;
                assert!(server.send_to(cx, &buf[..len], from).is_ready());
                DONE
            })
        });
        let (answers, mut has_sent) = (log.clone(), false);
        spawn(&mut reactor, client, |client| {
            script(move |cx| {
                if !has_sent {
                    assert_eq!(ready!(client.send(cx, b"hello"))?, 5);
                    has_sent = true;
                }
                let mut buf = [0; 8];
                let len = ready!(client.recv(cx, &mut buf))?;
                answers.push(buf[..len].to_vec());
                DONE
            })
        });
        reactor.run(&mut ()).unwrap();
        assert_eq!(log.take(), [b"hello"]);
    });
}

#[test]
fn unix_sockets_and_descriptors_that_they_pass() {
    on_old_kernels("work::unix_sockets_and_descriptors_that_they_pass", |kernel| {
        let path = format!("{}/old-kernels-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        kernel.begin();
        let addr = SocketAddrUnix::new(path.as_str()).unwrap();
        drop(UnixListener::bind(&addr).unwrap());
        assert_eq!(unlink_stale(&addr), Ok(true));

        let log = Log::new();
        let mut storage = Storage::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let received = log.clone();
        spawn(&mut reactor, UnixListener::bind(&addr).unwrap(), |listener| {
            script(move |cx| {
                let (socket, _) = ready!(listener.accept(cx))?;
                assert_eq!(socket.peer_credentials()?.pid, Some(std::process::id()));
                let received = received.clone();
                cx.spawn_with(socket, |stream: UnixStream| {
                    script(move |cx| {
                        let (mut byte, mut fds) = ([0], [None]);
                        assert_eq!(ready!(stream.recv_with_fds(cx, &mut byte, &mut fds))?.fds, 1);
                        let [fd] = fds;
                        received.push(fd.unwrap());
                        DONE
                    })
                })?;
                DONE
            })
        });
        let (ours, theirs) = std_pipe();
        spawn(&mut reactor, UnixStream::connect(&addr).unwrap(), |stream| {
            script(move |cx| {
                assert_eq!(ready!(stream.send_with_fds(cx, b"x", &[theirs.as_fd()]))?, 1);
                DONE
            })
        });
        let (one, other) = UnixDatagram::pair().unwrap();
        spawn(&mut reactor, one, |one| script(move |cx| one.send(cx, b"hello").map_ok(|len| assert_eq!(len, 5))));
        spawn(&mut reactor, other, |other| {
            script(move |cx| {
                assert_eq!(ready!(other.recv(cx, &mut [0; 8]))?, 5);
                DONE
            })
        });
        reactor.run(&mut ()).unwrap();
        let passed: Vec<OwnedFd> = log.take();
        crate::util::write(&passed[0], b"through");
        assert_eq!(crate::util::drain(&ours), 7);
        assert_eq!(unlink_stale(&addr), Ok(true));
    });
}

#[test]
fn pipes_and_a_serial_line() {
    on_old_kernels("work::pipes_and_a_serial_line", |kernel| {
        let (master, slave) = pty();
        kernel.begin();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let line = SerialPort::open(name.as_c_str(), &SerialSettings::new(9600)).unwrap();
        crate::util::write(&master, b"x");
        let (reader, writer): (Unopened<PipeReader>, Unopened<PipeWriter>) = pipe().unwrap();
        let log = Log::new();
        let mut storage = Storage::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let mut sent = 0;
        spawn(&mut reactor, writer, |writer| script(move |cx| netpoll::Writer::write_all(&writer, cx, b"hello", &mut sent)));
        let piped = log.clone();
        spawn(&mut reactor, reader, |reader| {
            script(move |cx| {
                loop {
                    match ready!(reader.read(cx, &mut [0; 8]))? {
                        0 => return DONE,
                        len => piped.push(len),
                    }
                }
            })
        });
        let came = log.clone();
        spawn(&mut reactor, line, |line| {
            script(move |cx| {
                came.push(100 + ready!(line.read(cx, &mut [0; 8]))?);
                DONE
            })
        });
        reactor.run(&mut ()).unwrap();
        let mut lengths = log.take();
        lengths.sort_unstable();
        assert_eq!(lengths, [5, 101]);
        drop(slave);
    });
}

#[test]
fn timers_of_the_kernel() {
    on_old_kernels("work::timers_of_the_kernel", |kernel| {
        if times_kill(kernel) {
            return;
        }
        kernel.begin();
        let mut storage = Storage::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let timer = TimerFd::new(TimerClock::Boottime).unwrap();
        timer.set(&TimerSpec::after(Duration::from_millis(5))).unwrap();
        spawn(&mut reactor, timer, |timer| {
            script(move |cx| {
                assert_eq!(ready!(timer.poll_expirations(cx))?, 1);
                assert_eq!(timer.remaining(cx)?, None);
                DONE
            })
        });
        reactor.run(&mut ()).unwrap();
    });
}

#[test]
fn files_and_links() {
    on_old_kernels("work::files_and_links", |kernel| {
        let path = format!("{}/old-kernels-{}.d", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        std::fs::create_dir(&path).unwrap();
        kernel.begin();
        let mut storage = Storage::new();
        let mut reactor = Reactor::new(&mut storage).unwrap();
        let inotify = Inotify::new().unwrap();
        inotify.add_watch(path.as_str(), WatchFlags::DELETE_SELF).unwrap();
        spawn(&mut reactor, inotify, |inotify| {
            script(move |cx| {
                let mut buf = [0; 4096];
                assert!(ready!(inotify.read_events(cx, &mut buf))?.next().is_some());
                DONE
            })
        });
        rustix::fs::rmdir(path.as_str()).unwrap();
        // An RTM_GETLINK with NLM_F_DUMP, for any family.
        const GETLINK: [u8; 17] = [17, 0, 0, 0, 18, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        spawn(&mut reactor, Netlink::route(0).unwrap(), |netlink| {
            let mut has_asked = false;
            script(move |cx| {
                if !has_asked {
                    netlink.send(cx, &GETLINK)?;
                    has_asked = true;
                }
                ready!(netlink.recv(cx, &mut [0; 16384]))?;
                DONE
            })
        });
        reactor.run(&mut ()).unwrap();
    });
}

#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const OPEN: [(libc::c_long, i32); 1] = [(libc::SYS_openat, libc::EACCES)];
#[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
const OPEN: [(libc::c_long, i32); 2] = [(libc::SYS_openat, libc::EACCES), (libc::SYS_open, libc::EACCES)];

/// Where /proc is not to be had either, the clock is read by a system call.
#[test]
fn clock_without_proc() {
    on_old_kernels("work::clock_without_proc", |kernel| {
        if times_kill(kernel) {
            return;
        }
        kernel.begin_without(&OPEN);
        assert_eq!(rustix::fs::open("/proc/self/auxv", OFlags::RDONLY, Mode::empty()).err(), Some(Errno::ACCESS));
        let mut storage = PollerStorage::<1>::new();
        let mut poller = TestPoller::new(&mut storage);
        let (ours, _theirs) = std_pipe();
        let token = poller.open(ours, READ);
        poller.wait_read(1, token);
        let before = std::time::Instant::now();
        poller.io(netpoll::Waiter::new(1)).set_timeout(token, Direction::Read, Some(Duration::from_millis(20))).unwrap();
        poller.expect_waiters(&[1]);
        assert!(before.elapsed() >= Duration::from_millis(20));
        assert_eq!(poller.read(1, token), Poll::Ready(Err(Error::TimedOut)));
    });
}

/// A program under the filter from its first instruction on.
fn under(filter: Filter, mut command: Command) -> Command {
    // SAFETY: the child makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(move || filter.install()) };
    command
}

/// The program without a C library, which calls nothing but what this crate does: also where a newer call is the end.
#[test]
#[cfg(target_arch = "x86_64")]
fn program_without_a_c_library() {
    use std::io::{Read as _, Write as _};
    for refusal in [Refusal::Answer, Refusal::Kill] {
        let server = crate::nolibc::Server::spawn(under(Filter::linux_4_14(refusal), Command::new(crate::nolibc::program())));
        let mut clients = [server.connect(), server.connect()];
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"hello");
        }
    }
}

/// The recipe for children on old kernels, as a program of the standard library's.
#[test]
fn children_by_sigchld() {
    let mut command = Command::new(crate::example::path("signals"));
    command.args(["exit 3", "echo done"]).stdin(Stdio::null());
    let output = under(Filter::linux_4_14(Refusal::Answer), command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("ended: exit status: 3") && said.contains("done"), "{output:?}");
}
