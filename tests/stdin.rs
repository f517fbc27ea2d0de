//! Standard input and output of programs that share them: this program runs itself, and looks at the open files from outside.

#![cfg(target_os = "linux")]

#[path = "util/os.rs"]
mod os_util;
#[path = "util/reactor.rs"]
mod util;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::task::Poll;
use std::time::Duration;

use netpoll::Unopened;
use netpoll::linux::{Input, Output};
use netpoll::{AsFd, Context, Errno, Error, Io, Reactor, ReactorStorage};
use os_util::{
    Folder, ME, alone, assert_flags, assert_ownership, assert_passed, assert_times_out, assert_waits, block, expect_bytes, is_alone, open,
    open_path, pty, with_poller,
};
use rustix::fs::{Mode, OFlags, fchmod, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd, ioctl_fionbio};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use util::{Answer, PATIENCE, Script, script};

// ---- The program

fn stdin() -> Result<Unopened<Input>, Error> {
    #[cfg(feature = "std")]
    return netpoll::linux::stdin();
    #[cfg(not(feature = "std"))]
    Input::reopen(std::io::stdin())
}

fn stdout() -> Result<Unopened<Output>, Error> {
    #[cfg(feature = "std")]
    return netpoll::linux::stdout();
    #[cfg(not(feature = "std"))]
    Output::reopen(std::io::stdout())
}

/// Says on standard error what it hears, when it waits for the first time, and when it has heard the end `ends` times.
fn echo(ends: usize) {
    let mut left = ends;
    serve(stdin().unwrap(), move |input: &Input, io: &mut Io<'_>| {
        let mut buf = [0; 100];
        let n = std::task::ready!(input.read(io, &mut buf)).unwrap();
        eprintln!("heard {:?}", String::from_utf8_lossy(&buf[..n]));
        left -= usize::from(n == 0);
        Poll::Ready(left == 0)
    });
}

/// Runs a handler until it says that it is done. A timer comes in between, if nothing blocks.
fn serve<S>(source: S, mut step: impl FnMut(&S::Opened, &mut Io<'_>) -> Poll<bool> + 'static)
where
    S::Opened: 'static,
    S: netpoll::Source + std::fmt::Debug,
{
    let mut storage = ReactorStorage::<Script<()>, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    let handler = |opened: S::Opened| {
        let mut told = false;
        script(move |cx: &mut Context<'_, Script>| -> Answer {
            loop {
                match step(&opened, cx) {
                    Poll::Ready(true) => return Poll::Ready(Ok(())),
                    Poll::Ready(false) => {}
                    Poll::Pending => {
                        if cx.poll_timer().is_ready() && !told {
                            told = true;
                            eprintln!("waiting");
                        }
                        if !told {
                            cx.set_timer_after(Duration::from_millis(1));
                        }
                        return Poll::Pending;
                    }
                }
            }
        })
    };
    reactor.spawn_with(source, handler).unwrap();
    reactor.run(&mut ()).unwrap();
}

// ---- The program, from outside

struct Program {
    child: Child,
    said: BufReader<ChildStderr>,
}

impl Program {
    fn start(test: &str, stdin: impl Into<Stdio>, stdout: impl Into<Stdio>) -> Program {
        util::limit_this_program();
        let mut child = alone(test).stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Program { child, said }
    }

    #[track_caller]
    fn expect(&mut self, expected: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        if line.trim_end() != expected {
            self.said.read_to_string(&mut line).unwrap();
            panic!("not {expected:?} but {line}");
        }
    }

    #[track_caller]
    fn finish(mut self) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        assert_eq!(rest, "");
    }
}

#[track_caller]
fn assert_blocking(shared: impl AsFd) {
    assert!(!fcntl_getfl(shared).unwrap().contains(OFlags::NONBLOCK));
}

/// A conversation over standard input. `shared` is the open file that the program is given, of which a duplicate stays here; what `end`
/// returns is kept until the program has heard the end.
#[track_caller]
fn talk<W: Write, R>(test: &str, shared: OwnedFd, mut far_end: W, end: impl FnOnce(W) -> R, ends: usize) {
    assert_blocking(&shared);
    let mut program = Program::start(test, shared.try_clone().unwrap(), Stdio::null());
    program.expect("waiting");
    far_end.write_all(b"hello\n").unwrap();
    program.expect(r#"heard "hello\n""#);
    assert_blocking(&shared);
    if ends > 1 {
        far_end.write_all(b"\x04").unwrap();
        program.expect(r#"heard """#);
    }
    far_end.write_all(b"again\n").unwrap();
    program.expect(r#"heard "again\n""#);
    let kept = end(far_end);
    program.expect(r#"heard """#);
    drop(kept);
    program.finish();
    assert_blocking(&shared);
}

#[test]
fn a_pipe() {
    if is_alone() {
        return echo(1);
    }
    let (ours, theirs) = std::io::pipe().unwrap();
    talk("a_pipe", ours.into(), theirs, drop, 1);
}

#[test]
fn a_fifo() {
    if is_alone() {
        return echo(1);
    }
    let folder = Folder::new();
    let path = folder.fifo("fifo");
    let ours = open_path(&path, OFlags::RDONLY);
    ioctl_fionbio(&ours, false).unwrap();
    let theirs = File::options().write(true).open(path).unwrap();
    talk("a_fifo", ours, theirs, drop, 1);
}

#[test]
fn a_socket() {
    if is_alone() {
        return echo(1);
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    talk("a_socket", ours.into(), theirs, drop, 1);
}

// Lines, as the terminal makes them; after ^D it goes on.
#[test]
fn a_terminal() {
    if is_alone() {
        return echo(2);
    }
    let (wire, name) = pty();
    let ours = open_path(&name, OFlags::RDWR);
    ioctl_fionbio(&ours, false).unwrap();
    // A hang-up would overtake what has not been read.
    let end = |mut wire: File| {
        wire.write_all(b"\x04").unwrap();
        wire
    };
    talk("a_terminal", ours, File::from(wire), end, 2);
}

// What never waits is refused: with it nothing is done, and the standard library reads it.
#[test]
fn a_file() {
    if is_alone() {
        assert_eq!(stdin().unwrap_err(), Error::NotPollable);
        let mut content = String::new();
        std::io::stdin().read_to_string(&mut content).unwrap();
        eprintln!("{content}");
        return;
    }
    let folder = Folder::new();
    let mut program = Program::start("a_file", File::open(folder.file("file", b"content")).unwrap(), Stdio::null());
    program.expect("content");
    program.finish();
}

#[test]
fn nothing() {
    if is_alone() {
        let error = with_poller(|poller| stdin().unwrap().open(&mut poller.io(ME)).unwrap_err().error);
        return eprintln!("{error}");
    }
    let mut program = Program::start("nothing", Stdio::null(), Stdio::null());
    program.expect("not pollable");
    program.finish();
}

// Standard output that nobody reads makes its writer wait, and only that; all of it arrives.
#[test]
fn output_to_a_pipe() {
    const LENGTH: usize = 300_000;
    if is_alone() {
        let mut sent = 0;
        return serve(stdout().unwrap(), move |output: &Output, io: &mut Io<'_>| {
            output.write_all(io, &[b'x'; LENGTH], &mut sent).map(|written| written.is_ok())
        });
    }
    let (mut theirs, ours) = std::io::pipe().unwrap();
    let mut program = Program::start("output_to_a_pipe", Stdio::null(), ours.try_clone().unwrap());
    program.expect("waiting");
    assert_blocking(&ours);
    drop(ours);
    let mut output = String::new();
    theirs.read_to_string(&mut output).unwrap();
    assert_eq!(output.matches('x').count(), LENGTH);
    program.finish();
}

// ---- In this process

fn unix_pair() -> (OwnedFd, OwnedFd) {
    let (one, other) = UnixStream::pair().unwrap();
    (one.into(), other.into())
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), writer.into())
}

// A file of one's own never blocks and is not inherited; of a socket there is but one.
#[test]
fn flags() {
    let (reader, writer) = pipe();
    assert_flags(Input::reopen(&reader).unwrap());
    assert_flags(Output::reopen(&writer).unwrap());
    let (ours, _theirs) = unix_pair();
    let input = Input::reopen(&ours).unwrap();
    assert_blocking(&input);
    assert!(fcntl_getfd(&input).unwrap().contains(FdFlags::CLOEXEC));
}

// Sockets block, and their operations do not.
#[test]
fn both_ways_over_a_socket() {
    let (ours, theirs) = unix_pair();
    ioctl_fionbio(&theirs, true).unwrap();
    with_poller(|poller| {
        let (input, output) = (open(poller, Input::reopen(&ours).unwrap()), open(poller, Output::reopen(&ours).unwrap()));
        assert_waits(poller, |io| input.read(io, &mut [0; 8]));
        rustix::io::write(&theirs, b"hello").unwrap();
        assert_eq!(block(poller, |io| input.read(io, &mut [0; 8])), Ok(5));
        let mut total = 0;
        while let Poll::Ready(written) = output.write(&mut poller.io(ME), &[b'x'; 4096]) {
            total += written.unwrap();
        }
        assert_waits(poller, |io| output.write(io, b"x"));
        expect_bytes(&theirs, &vec![b'x'; total]);
        assert_eq!(block(poller, |io| output.write(io, b"x")), Ok(1));
        // Not closed: a child that another test is starting may have it for a moment.
        rustix::net::shutdown(&theirs, rustix::net::Shutdown::Both).unwrap();
        assert_eq!(block(poller, |io| output.write(io, b"x")), Err(Error::Os(Errno::PIPE)));
        assert_blocking(&ours);
    });
}

#[test]
fn output_to_a_terminal() {
    let (wire, name) = pty();
    let shared = open_path(&name, OFlags::RDWR);
    ioctl_fionbio(&shared, false).unwrap();
    with_poller(|poller| {
        let output = open(poller, Output::reopen(&shared).unwrap());
        assert_eq!(block(poller, |io| output.write(io, b"hello")), Ok(5));
        expect_bytes(&wire, b"hello");
        while let Poll::Ready(written) = output.write(&mut poller.io(ME), &[b'x'; 4096]) {
            written.unwrap();
        }
        assert_blocking(&shared);
        drop(wire);
        assert_eq!(block(poller, |io| output.write(io, b"x")), Err(Error::Os(Errno::IO)));
    });
}

#[test]
fn deadlines() {
    let ((reader, _far_writer), (_far_reader, writer)) = (pipe(), pipe());
    with_poller(|poller| {
        let (input, output) = (open(poller, Input::reopen(reader).unwrap()), open(poller, Output::reopen(writer).unwrap()));
        assert_times_out(poller, |io, after| input.set_read_timeout(io, after), |io| input.read(io, &mut [0; 8]));
        while output.write(&mut poller.io(ME), &[b'x'; 4096]).is_ready() {}
        assert_times_out(poller, |io, after| output.set_write_timeout(io, after), |io| output.write(io, b"x"));
    });
}

#[test]
fn one_owner() {
    let (reader, writer) = pipe();
    assert_ownership(Input::reopen(&reader).unwrap(), Input::token, |input, io| input.read(io, &mut [0; 8]));
    assert_ownership(Output::reopen(&writer).unwrap(), Output::token, |output, io| output.write(io, b"x"));
}

#[test]
fn empty_buffers() {
    let (reader, writer) = pipe();
    with_poller(|poller| {
        let (input, output) = (open(poller, Input::reopen(&reader).unwrap()), open(poller, Output::reopen(&writer).unwrap()));
        assert_waits(poller, |io| input.read(io, &mut [0; 8]));
        assert_eq!(input.read(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
        while output.write(&mut poller.io(ME), &[b'x'; 4096]).is_ready() {}
        assert_eq!(output.write(&mut poller.io(ME), &[]), Poll::Ready(Ok(0)));
    });
}

#[test]
fn output_that_nobody_reads() {
    let (reader, writer) = pipe();
    with_poller(|poller| {
        let output = open(poller, Output::reopen(writer).unwrap());
        while output.write(&mut poller.io(ME), &[b'x'; 4096]).is_ready() {}
        drop(reader);
        assert_eq!(block(poller, |io| output.write(io, b"x")), Err(Error::Os(Errno::PIPE)));
    });
}

// What is refused, and the words for it. Nothing is written to a file that is opened anew.
#[test]
fn what_is_not_waited_for() {
    let folder = Folder::new();
    let path = folder.file("file", b"content");
    let file = File::options().append(true).open(&path).unwrap();
    assert_eq!(Output::reopen(&file).unwrap_err(), Error::NotPollable);
    assert_eq!(Input::reopen(File::open(folder.path(".")).unwrap()).unwrap_err(), Error::NotPollable);
    assert_eq!(std::fs::read(path).unwrap(), b"content");
    let fifo = open_path(&folder.fifo("fifo"), OFlags::RDWR);
    let writer = open_path(&folder.path("fifo"), OFlags::WRONLY);
    drop(fifo);
    // A child that another test is starting may have the reading end for a moment.
    let end = std::time::Instant::now() + PATIENCE;
    let refused = loop {
        match Output::reopen(&writer) {
            Err(error) => break error,
            Ok(_) => assert!(std::time::Instant::now() < end, "somebody reads"),
        }
    };
    assert_eq!(refused, Error::Os(Errno::NXIO));
    let blocking = Unopened::<Input>::from(pipe().0);
    assert_eq!(with_poller(|poller| blocking.open(&mut poller.io(ME)).unwrap_err().error), Error::Os(Errno::INVAL));
    // Another kind of descriptor that cannot be opened anew.
    let mut storage = netpoll::PollerStorage::<1>::new();
    let poller = netpoll::Poller::new(&mut storage).unwrap();
    assert_eq!(Input::reopen(&poller).unwrap_err(), Error::Os(Errno::NXIO));
}

/// Does it as somebody who may open only what its mode allows.
fn unprivileged<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Those of one thread.
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
            set_capabilities(None, sets).unwrap();
            act()
        });
        thread.join().unwrap()
    })
}

// What may be used but not opened: a plain answer; but the program's own terminal is opened by its other name.
#[test]
fn what_may_not_be_opened() {
    if !is_alone() {
        return assert_passed(&alone("what_may_not_be_opened").output().unwrap());
    }
    let denied = Error::Os(Errno::ACCESS);
    let (reader, _writer) = pipe();
    fchmod(&reader, Mode::empty()).unwrap();
    assert_eq!(unprivileged(|| Input::reopen(&reader).map(drop)), Err(denied));
    setsid().unwrap();
    let (wire, name) = pty();
    let terminal = open_path(Path::new(&name), OFlags::RDWR);
    fchmod(&terminal, Mode::empty()).unwrap();
    assert_eq!(unprivileged(|| Input::reopen(&terminal).map(drop)), Err(denied));
    ioctl_tiocsctty(&terminal).unwrap();
    let (input, output) = unprivileged(|| (Input::reopen(&terminal).unwrap(), Output::reopen(&terminal).unwrap()));
    assert_flags(&input);
    with_poller(|poller| {
        let (input, output) = (open(poller, input), open(poller, output));
        assert_waits(poller, |io| input.read(io, &mut [0; 8]));
        rustix::io::write(&wire, b"line\n").unwrap();
        assert_eq!(block(poller, |io| input.read(io, &mut [0; 8])), Ok(5));
        expect_bytes(&wire, b"line\r\n"); // the terminal's echo
        assert_eq!(block(poller, |io| output.write(io, b"x")), Ok(1));
        expect_bytes(&wire, b"x");
    });
    std::mem::forget(wire); // else the terminal hangs up, and the program with it
}
