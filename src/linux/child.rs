//! [`ChildExit`]: the end of a child process, by its pidfd.

use core::fmt;
use core::task::Poll;

use rustix::process::{Pid, Signal, WaitIdStatus};

use crate::arch::pidfd;
use crate::descriptor::{Unopened, descriptor};
use crate::error::Error;
use crate::interest::{Direction, Interest};
use crate::poller::Io;
use crate::token::Token;

/// Waits for a child process to end, and reaps it: Go's `os.Process.Wait`, without a signal handler. Linux 5.4; not on Android.
///
/// Closing it neither ends nor reaps the child. Nobody else may wait for that child: the `wait` of `std::process::Child`, a waitpid(2) for
/// any child elsewhere in the program, or an ignored `SIGCHLD` reap it first.
///
/// ```
/// # use core::task::{Poll, ready};
/// use netpoll::linux::{ChildExit, ExitStatus, Pid};
/// use netpoll::{Context, Error, Handler, Reactor, ReactorStorage};
///
/// struct Script { child: ChildExit }
///
/// impl Handler for Script {
///     type Shared = Option<ExitStatus>;
///     type Error = Error;
///
///     fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
///         let status = ready!(self.child.poll_exit(cx))?;
///         *cx.shared() = Some(status);
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// let child = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
/// let pid = Pid::from_raw(child.id() as i32).unwrap();
///
/// let mut storage = ReactorStorage::<Script, 1, 1>::new();
/// let mut reactor = Reactor::new(&mut storage)?;
/// reactor.spawn_with(ChildExit::of(pid)?, |child| Script { child })?;
/// let mut status = None;
/// reactor.run(&mut status)?;
/// assert_eq!(status, Some(ExitStatus::Code(3)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct ChildExit {
    token: Token,
}

// waitid(2) is told not to block.
descriptor!(ChildExit, interest: Interest::READ, must_not_block: false);
wait_deadline!(ChildExit);

impl ChildExit {
    /// A child of this process, whether or not it has ended already. While nobody reaps it, its number is nobody else's.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] as pidfd_open(2): `ESRCH` when there is no such process, `ENOSYS` before Linux 5.3 and on Android, `EMFILE`.
    pub fn of(pid: Pid) -> Result<Unopened<ChildExit>, Error> {
        Ok(Unopened::new(pidfd::open(pid)?))
    }

    /// Waits until the child ends, and reaps it: no zombie is left. It answers once.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `ECHILD` when the process is no child of this one, or has been reaped, by this or by somebody else; `EINVAL` on
    /// Linux 5.3. [`Error::TimedOut`], [`Error::Closed`], [`Error::NotOwner`].
    pub fn poll_exit(&self, io: &mut Io<'_>) -> Poll<Result<ExitStatus, Error>> {
        io.poll_io(self.token, Direction::Read, |fd| match pidfd::try_wait(fd)? {
            Some(status) => Ok(ExitStatus::of(&status)),
            // It runs: its end will be an edge.
            None => Err(rustix::io::Errno::AGAIN),
        })
    }

    /// Sends a signal to this very process, never to another one that has been given its number (pidfd_send_signal(2)).
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `ESRCH` when it has ended and been reaped, `EPERM`. [`Error::Closed`], [`Error::NotOwner`].
    pub fn send_signal(&self, io: &mut Io<'_>, signal: Signal) -> Result<(), Error> {
        Ok(pidfd::send_signal(io.fd(self.token)?, signal)?)
    }
}

/// How a child ended. Prints as Go's `os.ProcessState`, with the number of the signal instead of its name.
///
/// ```
/// use netpoll::linux::ExitStatus;
/// assert_eq!(ExitStatus::Code(3).to_string(), "exit status 3");
/// assert_eq!(ExitStatus::Signal { number: 11, core_dumped: true }.to_string(), "signal: 11 (core dumped)");
/// assert!(ExitStatus::Code(0).is_success());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExitStatus {
    /// It said so itself: 0 to 255; 0 is success.
    Code(i32),
    /// It was ended by a signal.
    Signal {
        /// Which one: see signal(7), and the constants of [`Signal`].
        number: i32,
        /// Whether it left a core file.
        core_dumped: bool,
    },
}

impl ExitStatus {
    fn of(status: &WaitIdStatus) -> ExitStatus {
        match (status.exit_status(), status.terminating_signal()) {
            (None, Some(number)) => ExitStatus::Signal { number, core_dumped: status.dumped() },
            (code, _) => ExitStatus::Code(code.unwrap_or_default()),
        }
    }

    /// Whether it ended by itself, with code 0.
    pub fn is_success(self) -> bool {
        self == ExitStatus::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Code(code) => write!(f, "exit status {code}"),
            ExitStatus::Signal { number, core_dumped } => {
                write!(f, "signal: {number}{}", if core_dumped { " (core dumped)" } else { "" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn only_code_0_is_success() {
        let killed = |core_dumped| ExitStatus::Signal { number: 9, core_dumped };
        let all = [ExitStatus::Code(0), ExitStatus::Code(1), killed(false), killed(true)];
        assert_eq!(all.map(ExitStatus::is_success), [true, false, false, false]);
        assert_eq!(all.map(|status| status.to_string()), ["exit status 0", "exit status 1", "signal: 9", "signal: 9 (core dumped)"]);
    }
}
