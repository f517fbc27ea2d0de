//! Signals and children: runs commands until they end, starts them anew on SIGHUP, and ends them on SIGTERM and SIGINT.
//!
//! ```text
//! cargo run --release --example signals -- 'socat TCP-LISTEN:7777,reuseaddr,fork EXEC:cat' 'exec sleep 60'
//! kill -HUP $(pidof signals)
//! ```
//!
//! The recipe without a thread and without a signalfd: a real signal handler that records what came and wakes the reactor. A signalfd wants
//! its signals blocked, and children inherit that mask over exec (as they inherit what is ignored, but not what is handled): these start
//! with nothing blocked and nothing ignored. `std::process` keeps the handler from running in a child that has not come to its exec, where
//! it would write to the parent's break pipe; a bare `fork` would not.
//!
//! Signals are coalesced, so a SIGCHLD does not say how many children have ended, or which: whoever has a child asks about that one
//! (`waitpid` with `WNOHANG`), and nobody asks for any, which would take away other people's children. From Linux 5.4 on
//! [`ChildExit`](netpoll::linux::ChildExit) does without the signal.

use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::task::{Poll, ready};
use core::time::Duration;
use std::io;
use std::process::{Child, Command, ExitCode};

use clap::Parser;
use netpoll::{Breaker, Context, Handler, Reactor, ReactorStorage};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use static_cell::ConstStaticCell;

/// Runs commands; SIGHUP starts them anew, SIGTERM and SIGINT end them
#[derive(Parser)]
#[command(name = "signals")]
struct Arguments {
    /// How long a command may go on after it was told to end, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    grace: u64,

    /// What the shell is to run
    #[arg(required = true, value_name = "COMMAND", num_args = 1..=32)]
    commands: Vec<String>,
}

static RELOAD: AtomicBool = AtomicBool::new(false);
static END: AtomicBool = AtomicBool::new(false);

/// Records a signal, if there is something to be recorded, and wakes the reactor.
fn watch(signal: i32, record: Option<&'static AtomicBool>, breaker: Breaker<'static>) -> io::Result<()> {
    let action = move || {
        if let Some(record) = record {
            record.store(true, SeqCst); // before the wake, so that whoever is woken sees it
        }
        let _ = breaker.wake();
    };
    // SAFETY: the action is async-signal-safe and does not panic: it stores to an atomic, and `wake` makes one `write` to a non-blocking
    // pipe. signal-hook keeps errno.
    unsafe { signal_hook::low_level::register(signal, action) }.map(drop)
}

struct Shared {
    grace: Duration,
    running: usize,
    /// Counts reloads.
    generation: u32,
    ending: bool,
}

enum Supervisor {
    Signals,
    Job(Job),
}

struct Job {
    command: String,
    child: Child,
    generation: u32,
    told: bool,
}

impl Handler for Supervisor {
    type Shared = Shared;
    type Error = io::Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<io::Result<()>> {
        match self {
            Supervisor::Signals => loop {
                ready!(cx.poll_wake());
                let (reload, end) = (RELOAD.swap(false, SeqCst), END.swap(false, SeqCst));
                if reload || end {
                    cx.shared().generation += 1;
                    cx.shared().ending |= end;
                    cx.notify_all(); // those who have already run in this pass
                }
            },
            Supervisor::Job(job) => job.attend(cx),
        }
    }

    fn on_error(&mut self, error: io::Error, cx: &mut Context<'_, Self>) {
        eprintln!("signals: {error}");
        Job::leave(cx);
    }
}

impl Job {
    fn start(command: String, generation: u32) -> io::Result<Job> {
        let child = Command::new("sh").args(["-c", &command]).spawn()?;
        println!("signals: {} started: {command}", child.id());
        Ok(Job { command, child, generation, told: false })
    }

    fn attend(&mut self, cx: &mut Context<'_, Supervisor>) -> Poll<io::Result<()>> {
        loop {
            let (generation, ending, grace) = (cx.shared().generation, cx.shared().ending, cx.shared().grace);
            if let Some(status) = self.child.try_wait()? {
                println!("signals: {} ended: {status}", self.child.id());
                if ending || self.generation == generation {
                    Job::leave(cx);
                    return Poll::Ready(Ok(()));
                }
                *self = Job::start(core::mem::take(&mut self.command), generation)?;
            }
            if self.generation != generation && !self.told {
                kill_process(Pid::from_child(&self.child), Signal::TERM)?; // it has not been waited for: the number is still its own
                self.told = true;
                cx.set_timer_after(grace);
            }
            if cx.poll_timer().is_ready() && self.told {
                self.child.kill()?;
            }
            // Asked last: what ended a child before this was seen above, what ends one later wakes again.
            ready!(cx.poll_wake());
        }
    }

    fn leave(cx: &mut Context<'_, Supervisor>) {
        cx.shared().running -= 1;
        if cx.shared().running == 0 {
            cx.stop();
        }
    }
}

fn supervise(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // 32 commands and the signals; nobody has a descriptor.
    static STORAGE: ConstStaticCell<ReactorStorage<Supervisor, 33, 0>> = ConstStaticCell::new(ReactorStorage::new());
    let mut reactor = Reactor::new(STORAGE.take())?;
    for (signal, record) in [(SIGCHLD, None), (SIGHUP, Some(&RELOAD)), (SIGTERM, Some(&END)), (SIGINT, Some(&END))] {
        watch(signal, record, reactor.breaker())?;
    }
    reactor.spawn(Supervisor::Signals)?;
    let running = arguments.commands.len();
    for command in arguments.commands {
        reactor.spawn(Supervisor::Job(Job::start(command, 0)?))?;
    }
    let mut shared = Shared { grace: Duration::from_millis(arguments.grace), running, generation: 0, ending: false };
    Ok(reactor.run(&mut shared)?)
}

fn main() -> ExitCode {
    match supervise(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signals: {error}");
            ExitCode::FAILURE
        }
    }
}
