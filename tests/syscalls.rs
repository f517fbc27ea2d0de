//! Which system calls are made, and how many: the echo server and a program that uses everything, under `strace`.
//!
//! Debian package: `strace`. Where it is missing these tests fail.

#![cfg(target_os = "linux")]

#[path = "util/example.rs"]
mod example;
#[path = "util/reactor.rs"]
mod util;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::task::{Poll, ready};
use std::time::{Duration, Instant as StdInstant};

use netpoll::net::{KeepAlive, Shutdown, TcpListener, TcpStream};
use netpoll::{Breaker, Callback, Context, Direction, Interest, Reactor, ReactorStorage, Token};
use rustix::process::{Pid, Signal, getppid, kill_process};
use static_cell::ConstStaticCell;
use util::{Answer, DONE, std_connect};

/// All system calls that the crate makes, at any time; the README has the same list.
const DOCUMENTED: [&str; 21] = [
    // The poller.
    "epoll_create1",
    "pipe2",
    "epoll_ctl",
    "epoll_pwait",
    "read",
    "write",
    "close",
    // Sockets.
    "socket",
    "setsockopt",
    "getsockopt",
    "bind",
    "listen",
    "connect",
    "accept4",
    "getsockname",
    "getpeername",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
    "shutdown",
];

/// And these, which are made only under circumstances.
fn is_circumstantial(call: &Call) -> bool {
    match call.name.as_str() {
        // Where the vDSO does not answer.
        "clock_gettime" => true,
        // Builds with debug assertions: the crate looks at a descriptor that it opens, the standard library at one that it closes.
        "fcntl" => cfg!(debug_assertions) && (call.line.contains("F_GETFL)") || call.line.contains("F_GETFD)")),
        // Once in the life of a process, when the clock is first read: rustix looks for the vDSO, here or in the file.
        "prctl" => call.line.contains("0x41555856") || call.line.contains("PR_GET_AUXV"),
        "open" | "openat" => call.line.contains("\"/proc/self/auxv\""),
        _ => false,
    }
}

/// What the reactor of the echo server may call while it runs.
const WHILE_RUNNING: [&str; 7] = ["epoll_pwait", "epoll_ctl", "accept4", "recvfrom", "sendto", "read", "close"];

/// One line of strace's.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    line: String,
}

impl Call {
    fn parse(line: &str) -> Option<Call> {
        let name = line.split_once('(')?.0;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let name = match name {
            // Other names of the same wait: with `linux_5_11`, and on machines whose kernel has the old one only.
            "epoll_wait" | "epoll_pwait2" => "epoll_pwait",
            // On machines of 32 bits.
            "recv" => "recvfrom",
            "send" => "sendto",
            "fcntl64" => "fcntl",
            "clock_gettime64" => "clock_gettime",
            name => name,
        };
        Some(Call { name: name.to_owned(), line: line.to_owned() })
    }

    fn result(&self) -> i64 {
        let result = self.line.rsplit_once(" = ").unwrap_or_else(|| panic!("{}", self.line)).1;
        result.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{}", self.line))
    }

    fn says(&self, name: &str, what: &str) -> bool {
        self.name == name && self.line.contains(what)
    }
}

fn names(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.name.as_str()).collect()
}

/// A command that runs another one under strace; each thread's calls go to a file of their own.
fn strace(test: &str) -> (Command, PathBuf) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("syscalls-{test}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let mut command = Command::new("strace");
    command.args(["-ff", "-qq", "-s", "64", "-o"]).arg(directory.join("calls"));
    (command, directory)
}

fn start(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("strace: {error}: install the package strace"))
}

/// The calls of the thread that `is_it`.
fn calls(directory: &PathBuf, is_it: impl Fn(&str) -> bool) -> Vec<Call> {
    let texts = fs::read_dir(directory).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let text = texts.into_iter().find(|text| is_it(text)).expect("strace has recorded nothing: may this user trace?");
    fs::remove_dir_all(directory).unwrap();
    // What a signal handler of the program does in the midst of it is not the reactor's.
    let mut in_handler = false;
    let mut outside = |line: &&str| {
        let was = in_handler;
        in_handler = (in_handler || line.starts_with("--- SIG")) && !line.starts_with("rt_sigreturn(");
        !was && !in_handler
    };
    text.lines().filter(|line| outside(line)).filter_map(Call::parse).collect()
}

/// The echo server under strace.
struct Echo {
    strace: Child,
    output: BufReader<ChildStdout>,
    directory: PathBuf,
    address: SocketAddr,
}

impl Echo {
    fn start(test: &str, arguments: &[&str]) -> Echo {
        let (mut command, directory) = strace(test);
        command.arg(example::path("echo")).args(["--listen", "127.0.0.1:0", "--stats"]).args(arguments).stdout(Stdio::piped());
        let mut strace = start(&mut command);
        let mut output = BufReader::new(strace.stdout.take().unwrap());
        let mut greeting = String::new();
        output.read_line(&mut greeting).unwrap();
        let address = greeting.trim().rsplit(' ').next().and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{greeting:?}"));
        Echo { strace, output, directory, address }
    }

    /// The file of the main thread's calls, whose name ends in the number of the server's process.
    fn main_thread(&self) -> Option<PathBuf> {
        let mut files = fs::read_dir(&self.directory).ok()?.map(|entry| entry.unwrap().path());
        files.find(|path| is_main(&fs::read_to_string(path).unwrap()))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.main_thread().and_then(|path| path.extension()?.to_str()?.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    fn connect(&self) -> StdStream {
        std_connect(self.address)
    }

    /// Ends the server; what its reactor called, from its first wait to the end of `run`.
    fn finish(mut self) -> Vec<Call> {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.strace.wait().unwrap().success());
        assert!(rest.contains("polls"), "{rest}");
        let all = calls(&self.directory, is_main);
        let began = all.iter().position(|call| call.name == "epoll_pwait").unwrap();
        let ended = all.iter().position(|call| call.says("write", "write(1, \"Stats")).expect("--stats prints when `run` has returned");
        assert!(began < ended);
        let running = all[began..ended].to_vec();
        for call in &running {
            assert!(WHILE_RUNNING.contains(&call.name.as_str()) || is_circumstantial(call), "{}", call.line);
        }
        running.into_iter().filter(|call| !is_circumstantial(call)).collect()
    }
}

/// A test that fails leaves no server behind.
impl Drop for Echo {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.strace.wait();
    }
}

fn is_main(text: &str) -> bool {
    text.contains("execve(")
}

fn ping(stream: &mut StdStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
}

// Property 3: one message echoed is one wait, one receive, one send, and nothing else; deadlines that are pushed out each time cost none.
#[test]
fn steady_state_echo() {
    const MESSAGES: usize = 100;
    for (test, arguments) in [("plain", &[][..]), ("idle-timeout", &["--idle-timeout", "60000"][..])] {
        let echo = Echo::start(test, arguments);
        let mut client = echo.connect();
        for _ in 0..=MESSAGES {
            ping(&mut client, b"some message");
        }
        drop(client);
        let calls = echo.finish();
        let first = calls.iter().position(|call| call.name == "sendto").unwrap();
        let last = calls.iter().rposition(|call| call.name == "sendto").unwrap();
        let expected: Vec<&str> = std::iter::repeat_n(["epoll_pwait", "recvfrom", "sendto"], MESSAGES).flatten().collect();
        assert_eq!(names(&calls[first + 1..=last]), expected, "{test}");
    }
}

// Property 3: of several clients at once, each message has one receive and one send; no wait comes back with nothing.
#[test]
fn many_clients_cost_one_receive_and_one_send_each() {
    let echo = Echo::start("pipelined", &[]);
    let mut clients: Vec<StdStream> = (0..8).map(|_| echo.connect()).collect();
    for client in &mut clients {
        ping(client, b"hello");
    }
    for _ in 0..20 {
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        for client in &mut clients {
            client.read_exact(&mut [0]).unwrap();
        }
    }
    drop(clients);
    let calls = echo.finish();
    let count = |name: &str| calls.iter().filter(|call| call.says(name, "\"x\"")).count();
    assert_eq!((count("recvfrom"), count("sendto")), (160, 160));
    let first = calls.iter().position(|call| call.says("sendto", "\"x\"")).unwrap();
    let last = calls.iter().rposition(|call| call.says("sendto", "\"x\"")).unwrap();
    let flow = &calls[first..=last];
    assert!(flow.iter().all(|call| ["epoll_pwait", "recvfrom", "sendto"].contains(&call.name.as_str())));
    assert!(flow.iter().filter(|call| call.name == "epoll_pwait").all(|call| call.result() > 0));
}

// Property 3: per connection exactly one `epoll_ctl` ADD and one DEL, and never a MOD, however it ends.
#[test]
fn one_epoll_ctl_to_open_and_one_to_close() {
    const CLIENTS: usize = 21;
    let echo = Echo::start("epoll-ctl", &["--idle-timeout", "50"]);
    for number in 0..CLIENTS {
        let mut client = echo.connect();
        ping(&mut client, b"hello");
        match number % 3 {
            0 => {}
            1 => rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap(),
            _ => assert_eq!(client.read(&mut [0]).unwrap(), 0), // its idle timeout
        }
    }
    let mut last = echo.connect();
    ping(&mut last, b"until the end");
    let calls = echo.finish();
    let count = |what: &str| calls.iter().filter(|call| call.says("epoll_ctl", what)).count();
    // Those before the first wait, of the break pipe and the listener, are not in here.
    assert_eq!((count("EPOLL_CTL_ADD"), count("EPOLL_CTL_MOD")), (CLIENTS + 1, 0));
    assert_eq!(count("EPOLL_CTL_DEL"), CLIENTS + 1 + 1, "clients and the listener");
    let accepted = calls.iter().filter(|call| call.name == "accept4" && call.result() >= 0).count();
    assert_eq!(accepted, CLIENTS + 1);
    drop(last);
}

// An idle server makes no system call between events but one wait for each deadline entry that was pushed out.
#[test]
fn idle_server_waits() {
    let echo = Echo::start("idle", &["--idle-timeout", "150"]);
    let mut client = echo.connect();
    let began = StdInstant::now();
    let mut messages = 0;
    // For longer than a wait may be late, so that the first entry comes up before the last deadline.
    while began.elapsed() < Duration::from_millis(20) {
        ping(&mut client, b"x");
        messages += 1;
    }
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the idle timeout");
    let calls = echo.finish();
    let accepted = calls.iter().position(|call| call.name == "accept4" && call.result() >= 0).unwrap();
    let fd = calls[accepted].result();
    let closed = calls.iter().position(|call| call.says("close", &format!("({fd})"))).unwrap();
    let life = &calls[accepted..closed];
    let idle = life.iter().filter(|call| call.name == "epoll_pwait" && call.result() == 0).count();
    assert!((1..=2).contains(&idle), "{idle} waits without an event: the entry that was pushed out, and the deadline");
    let last_message = life.iter().rposition(|call| call.name == "sendto").unwrap();
    let silence = names(&life[last_message + 1..]);
    assert_eq!(silence, [vec!["epoll_pwait"; idle], vec!["epoll_ctl"]].concat());
    assert_eq!(life.iter().filter(|call| call.name == "sendto").count(), messages);
}

// A6: while the table is full, nothing is called for a client in the backlog; when a slot is freed it is accepted by one call.
#[test]
fn full_table_makes_no_accept() {
    let echo = Echo::start("full", &["--capacity", "1"]);
    let mut first = echo.connect();
    ping(&mut first, b"first");
    let mut second = echo.connect();
    second.write_all(b"second").unwrap();
    for _ in 0..10 {
        ping(&mut first, b"again");
    }
    drop(first);
    second.read_exact(&mut [0; 6]).unwrap();
    let calls = echo.finish();
    let accepts: Vec<i64> = calls.iter().filter(|call| call.name == "accept4").map(Call::result).collect();
    assert!(accepts.iter().filter(|&&fd| fd >= 0).count() == 2, "{accepts:?}");
    let accepted: Vec<usize> = (0..calls.len()).filter(|&at| calls[at].name == "accept4" && calls[at].result() >= 0).collect();
    let between = &calls[accepted[0] + 1..accepted[1]];
    assert!(between.iter().all(|call| call.name != "accept4"));
}

// ---- A program that uses everything

/// One side of the conversation, and how far it has come.
enum Part {
    Listener(TcpListener),
    Server(TcpStream, u8),
    Client(TcpStream, u8),
    Pipe(Token, Breaker<'static>),
}

type Everything = Callback<u8, Part>;

fn use_everything(part: &mut Part, cx: &mut Context<'_, Everything>) -> Answer {
    let mut buf = [0; 16];
    match part {
        Part::Listener(listener) => {
            listener.local_addr(cx)?;
            listener.set_timeout(cx, Some(Duration::from_secs(60)))?;
            let (socket, _) = ready!(listener.accept(cx))?;
            cx.spawn_with(socket, |stream| Callback { f: use_everything, data: Part::Server(stream, 0) })?;
            drop(listener.close(cx)?);
            DONE
        }
        Part::Server(stream, step) => {
            if *step == 0 {
                assert_eq!(ready!(stream.read_vectored(cx, &mut [IoSliceMut::new(&mut buf)]))?, 4);
                stream.set_reset_on_close(cx, false)?;
                stream.set_read_timeout(cx, Some(Duration::from_secs(60)))?;
                *step = 1;
            }
            assert_eq!(ready!(stream.write_vectored(cx, &[IoSlice::new(b"po"), IoSlice::new(b"ng")]))?, 4);
            stream.shutdown(cx, Shutdown::Write)?;
            DONE
        }
        Part::Client(stream, step) => {
            if *step == 0 {
                ready!(stream.poll_connected(cx))?;
                stream.local_addr(cx)?;
                stream.peer_addr(cx)?;
                stream.set_nodelay(cx, true)?;
                stream.set_keepalive(cx, Some(KeepAlive::default()))?;
                assert_eq!(ready!(stream.write(cx, b"ping"))?, 4);
                *step = 1;
            }
            if *step == 1 {
                ready!(stream.peek(cx, &mut buf))?;
                assert_eq!(ready!(stream.read(cx, &mut buf))?, 4);
                assert_eq!(stream.take_error(cx)?, None);
                *step = 2;
            }
            assert_eq!(ready!(stream.read(cx, &mut buf))?, 0);
            *cx.shared() += 1;
            drop(stream.close(cx)?);
            DONE
        }
        Part::Pipe(token, breaker) => {
            if cx.poll_wake().is_pending() {
                cx.set_timer_after(Duration::from_millis(1));
                assert!(cx.poll_ready(*token, Direction::Priority).is_ready());
                if *cx.shared() < 100 {
                    *cx.shared() += 100;
                    breaker.wake()?;
                }
                return Poll::Pending;
            }
            DONE
        }
    }
}

fn life_of_everything() {
    util::limit_this_program();
    static STORAGE: ConstStaticCell<ReactorStorage<Everything, 4, 4>> = ConstStaticCell::new(ReactorStorage::new());
    let (read_end, write_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let everything = |data| Callback { f: use_everything, data };
    let _ = getppid(); // marks the beginning
    let mut reactor = Reactor::new(STORAGE.take()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    reactor.spawn_with(listener, |listener| everything(Part::Listener(listener))).unwrap();
    reactor.spawn_with(socket, |stream| everything(Part::Client(stream, 0))).unwrap();
    let breaker = reactor.breaker();
    reactor.spawn_with((read_end, Interest::READ), |token| everything(Part::Pipe(token, breaker))).unwrap();
    let mut finished = 0;
    reactor.run(&mut finished).unwrap();
    drop(reactor);
    let _ = getppid(); // and the end
    assert_eq!(finished, 101);
    drop(write_end);
}

// Property 3: the set of system calls is the documented one, no more and no less, of everything that the crate can do on TCP.
#[test]
fn syscall_set_is_allowed_list() {
    const MARK: &str = "NETPOLL_TEST_UNDER_STRACE";
    if std::env::var_os(MARK).is_some() {
        return life_of_everything();
    }
    let (mut command, directory) = strace("everything");
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "syscall_set_is_allowed_list"]).env(MARK, "1");
    let mut strace = start(command.stdout(Stdio::null()));
    assert!(strace.wait().unwrap().success());
    let calls = calls(&directory, |text| text.lines().filter(|line| line.starts_with("getppid(")).count() == 2);
    let marks: Vec<usize> = (0..calls.len()).filter(|&at| calls[at].name == "getppid").collect();
    let (checks, calls): (Vec<Call>, Vec<Call>) = calls[marks[0] + 1..marks[1]].iter().cloned().partition(is_circumstantial);
    assert_eq!(BTreeSet::from_iter(names(&calls)), BTreeSet::from(DOCUMENTED));
    let opened = checks.iter().filter(|call| call.says("fcntl", "F_GETFL)")).count();
    assert_eq!(opened, usize::from(cfg!(debug_assertions)), "one for the descriptor that is no socket of `net`");
}
