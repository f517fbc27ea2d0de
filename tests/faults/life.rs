//! What every life is made of: operations that are made again after an error, which is noted; and the report at the end.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use netpoll::net::Unopened;
use netpoll::{Descriptor, Error, Io, Poller, Stats, Timeout, Waiter};
use rustix::process::getppid;

use crate::errors::name_of;
use crate::util::{limit_this_process, open_fds};

/// Which life a process of its own is to live.
pub const LIFE: &str = "NETPOLL_FAULTS_LIFE";
/// What goes wrong there: the call, a space, the error.
pub const FAULT: &str = "NETPOLL_FAULTS_FAULT";
/// What the report begins with.
pub const REPORT: &str = "life: ";

/// Nothing here takes as long; what hangs must fail.
const LIMIT: Duration = Duration::from_secs(20);

/// An error that is told more often is not one that goes away.
const MOST_ERRORS: usize = 64;

/// In whose name the straight-line lives work.
pub const ME: Waiter = Waiter::new(1);

/// What a program was told. A clone shares the list.
#[derive(Clone, Default)]
pub struct Told(Rc<RefCell<Vec<String>>>);

impl Told {
    pub fn note(&self, what: &str, error: impl Into<Error>) {
        self.add(format!("{what}: {}", name_of(error.into())));
    }

    pub fn add(&self, entry: String) {
        self.0.borrow_mut().push(entry);
        assert!(self.0.borrow().len() < MOST_ERRORS, "{:?}", self.0);
    }

    /// Until it succeeds: the same call, made again.
    pub fn again<T, E: Into<Error>>(&self, what: &str, mut call: impl FnMut() -> Result<T, E>) -> T {
        loop {
            match call() {
                Ok(value) => return value,
                Err(error) => self.note(what, error),
            }
        }
    }

    /// Opens what comes back unharmed from a failure.
    pub fn open<T: Descriptor>(&self, poller: &mut Poller<'_>, mut source: Unopened<T>) -> T {
        loop {
            match source.open(&mut poller.io(ME)) {
                Ok(opened) => return opened,
                Err(rejected) => {
                    self.note("open", rejected.error);
                    source = rejected.value;
                }
            }
        }
    }

    /// What a blocking call would do; made again after an error.
    pub fn wait<T>(&self, poller: &mut Poller<'_>, what: &str, mut operation: impl FnMut(&mut Io<'_>) -> Poll<Result<T, Error>>) -> T {
        loop {
            match operation(&mut poller.io(ME)) {
                Poll::Ready(Ok(value)) => return value,
                Poll::Ready(Err(error)) => self.note(what, error),
                Poll::Pending => self.turn(poller),
            }
        }
    }

    /// One wait until somebody is to be run.
    pub fn turn(&self, poller: &mut Poller<'_>) {
        self.again("poll", || poller.poll(Timeout::Never, |waiter| assert_eq!(waiter, ME)));
    }
}

/// Lives a life between two marks in the record of system calls, and reports.
pub fn live(life: impl FnOnce(&Told) -> Stats) {
    limit_this_process(LIMIT);
    let told = Told::default();
    let before = open_fds().len();
    let _ = getppid();
    let stats = life(&told);
    let _ = getppid();
    let after = open_fds().len();
    assert_eq!(stats.parked_handlers, 0, "a handler that waits for nothing is lost");
    let told = told.0.borrow();
    println!(
        "{REPORT}leaked {} lost {} polls {} told {}",
        after as i64 - before as i64,
        stats.lost_descriptors,
        stats.polls,
        told.join(", ")
    );
}

/// Whether this fault is being injected.
pub fn suffers(fault: &str) -> bool {
    std::env::var_os(FAULT).is_some_and(|it| it == fault)
}
