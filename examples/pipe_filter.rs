//! Pipes to and from a child: sends a file through a command, and prints what comes out.
//!
//! ```text
//! cargo run --release --example pipe_filter -- --input README.md tr a-z A-Z
//! ```
//!
//! Both ends are handlers, so that neither waits for the other: a parent that writes everything before it reads stands still as soon as
//! both pipes are full.
//!
//! * The standard library's pipes block. Each end of a pipe is an open file of its own, unlike a terminal or a socket that two processes
//!   share: `O_NONBLOCK` on ours changes nothing for the child, whose end blocks as its program expects.
//! * A write to a pipe that nobody reads raises SIGPIPE, for which there is no `MSG_NOSIGNAL`. The standard library ignores the signal
//!   before `main`; a `no_std` program does it itself before the first write, by `signal(SIGPIPE, SIG_IGN)` of its C library or by the
//!   system call `rt_sigaction`. What remains is `EPIPE`: here the child has heard enough, which is no failure.
//! * What is ignored stays ignored over exec, and a filter with SIGPIPE ignored does not end when its reader has gone. `std::process`
//!   gives children the default back; who forks by hand does that between fork and exec.
//! * Standard output is blocking, and shared with the shell and everybody else who has it: it is written to as it is.

use core::task::{Poll, ready};
use std::fs::File;
use std::io::{Read, Write, stdout};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use clap::Parser;
use netpoll::{Context, Direction, Errno, Error, Handler, Interest, OwnedFd, Reactor, ReactorStorage, Token};
use static_cell::ConstStaticCell;

/// Sends a file through a command, and prints what comes out
#[derive(Parser)]
#[command(name = "pipe_filter")]
struct Arguments {
    /// A regular file: it is always ready
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// What to run, and its arguments
    #[arg(required = true, value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

enum End {
    /// Writes the file to the child's input.
    Feeder { input: File, pipe: Token, buf: [u8; 16384], len: usize, sent: usize },
    /// Prints the child's output.
    Printer { pipe: Token, buf: [u8; 16384] },
}

impl Handler for End {
    type Shared = ();
    type Error = Box<dyn std::error::Error>;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Self::Error>> {
        match self {
            End::Feeder { input, pipe, buf, len, sent } => loop {
                if sent == len {
                    (*len, *sent) = (input.read(buf)?, 0);
                    if *len == 0 {
                        return Poll::Ready(Ok(())); // the pipe is closed, and the child reads the end
                    }
                }
                match ready!(cx.poll_io(*pipe, Direction::Write, |fd| rustix::io::write(fd, &buf[*sent..*len]))) {
                    Ok(n) => *sent += n,
                    Err(Error::Os(Errno::PIPE)) => return Poll::Ready(Ok(())),
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            },
            End::Printer { pipe, buf } => loop {
                match ready!(cx.poll_io(*pipe, Direction::Read, |fd| rustix::io::read(fd, &mut *buf)))? {
                    0 => return Poll::Ready(Ok(())),
                    // If nobody reads it any more this closes the pipe: SIGPIPE ends the child, and that the feeder.
                    n => stdout().write_all(&buf[..n])?,
                }
            },
        }
    }

    fn on_error(&mut self, error: Self::Error, _: &mut Context<'_, Self>) {
        let what = if let End::Feeder { .. } = self { "input" } else { "output" };
        eprintln!("pipe_filter: {what}: {error}");
    }
}

/// Our end of a pipe.
fn nonblocking(end: Option<impl Into<OwnedFd>>) -> Result<OwnedFd, Error> {
    let end = end.map(Into::into).ok_or(Error::Closed)?;
    rustix::io::ioctl_fionbio(&end, true)?;
    Ok(end)
}

fn filter(arguments: Arguments) -> Result<ExitStatus, String> {
    let input = File::open(&arguments.input).map_err(|error| format!("{}: {error}", arguments.input.display()))?;
    let (program, rest) = arguments.command.split_first().ok_or("no command")?;
    let spawned = Command::new(program).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| format!("{program}: {error}"))?;
    run(input, nonblocking(child.stdin.take()), nonblocking(child.stdout.take())).map_err(|error| error.to_string())?;
    child.wait().map_err(|error| error.to_string()) // both of its pipes are closed, and no loop stands still
}

fn run(input: File, to: Result<OwnedFd, Error>, from: Result<OwnedFd, Error>) -> Result<(), Error> {
    static STORAGE: ConstStaticCell<ReactorStorage<End, 2, 2>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take())?;
    reactor.spawn_with((to?, Interest::WRITE), |pipe| End::Feeder { input, pipe, buf: [0; 16384], len: 0, sent: 0 })?;
    reactor.spawn_with((from?, Interest::READ), |pipe| End::Printer { pipe, buf: [0; 16384] })?;
    reactor.run(&mut ())
}

fn main() -> ExitCode {
    match filter(Arguments::parse()) {
        // As a shell says it.
        Ok(status) => ExitCode::from(status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1) as u8),
        Err(error) => {
            eprintln!("pipe_filter: {error}");
            ExitCode::FAILURE
        }
    }
}
