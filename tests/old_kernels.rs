//! The crate on the oldest kernel that it names, Linux 4.14, for which a seccomp filter stands: see `old_kernels/filter.rs`. Also `eventfd2`
//! is refused, which is older, but which nothing but [`netpoll::linux::EventFd`] needs.
//!
//! Each test runs in two processes of its own: in one a newer system call answers `ENOSYS`, in the other it is the end of the process. The C
//! library and the standard library call newer ones where there are some, above all to start threads and processes; so the filter begins
//! within the test, when these have been started.
//!
//! `.ci/old-kernel` runs all tests under this filter, and on old kernels themselves.

#![cfg(target_os = "linux")]

#[path = "util/example.rs"]
mod example;
#[path = "old_kernels/filter.rs"]
mod filter;
#[path = "util/reactor.rs"]
mod handlers;
#[cfg(target_arch = "x86_64")]
#[path = "util/nolibc.rs"]
mod nolibc;
mod util;
#[cfg(not(feature = "linux_5_11"))]
#[path = "old_kernels/work.rs"]
mod work;

use std::process::{Command, Output};

use filter::{Filter, Refusal};
use handlers::limit_this_program;

/// Says to a process which of the two it is.
const MARK: &str = "NETPOLL_TEST_OLD_KERNEL";

/// What a test begins its work with.
#[derive(Clone, Copy)]
struct Kernel(Refusal);

impl Kernel {
    /// From here on the calling thread is on the old kernel.
    fn begin(self) {
        self.begin_without(&[]);
    }

    /// And these calls fail.
    fn begin_without(self, calls: &[(libc::c_long, i32)]) {
        limit_this_program(); // which starts a thread
        let filter = Filter::linux_4_14(self.0).call(libc::SYS_eventfd2, libc::ENOSYS);
        calls.iter().fold(filter, |filter, &(call, errno)| filter.call(call, errno)).install().unwrap();
    }
}

/// In a process that was made for it: on which kernel.
fn kernel() -> Option<Kernel> {
    let refusal = match std::env::var(MARK).ok()?.as_str() {
        "answer" => Refusal::Answer,
        _ => Refusal::Kill,
    };
    Some(Kernel(refusal))
}

fn run(test: &str, mark: &str) -> Output {
    let arguments = ["--exact", test, "--test-threads=1", "--nocapture"];
    Command::new(std::env::current_exe().unwrap()).args(arguments).env(MARK, mark).output().unwrap()
}

/// Runs the test `name` on both kernels, and passes if it does on both.
#[track_caller]
fn on_old_kernels(name: &str, test: impl FnOnce(Kernel)) {
    match kernel() {
        Some(kernel) => test(kernel),
        None => ["answer", "kill"].iter().for_each(|mark| util::expect_passed(&run(name, mark))),
    }
}

/// Runs the test `name` on both kernels; passes if it does where a newer system call answers, and is killed for it where it does not.
#[track_caller]
fn calls_newer(name: &str, test: impl FnOnce(Kernel)) {
    use std::os::unix::process::ExitStatusExt;
    if let Some(kernel) = kernel() {
        return test(kernel);
    }
    util::expect_passed(&run(name, "answer"));
    assert_eq!(run(name, "kill").status.signal(), Some(libc::SIGSYS));
}

/// Makes a launcher of this program, for other tests or any program: `old_kernels launch --ignored --exact -- PROGRAM ARGUMENT...`. Only
/// newer system calls are refused, by `ENOSYS`.
#[test]
#[ignore = "runs a program that it is given"]
fn launch() {
    use std::os::unix::process::CommandExt;
    let mut words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let Some(program) = words.next() else { return };
    Filter::linux_4_14(Refusal::Answer).install().unwrap();
    panic!("{program:?}: {}", Command::new(&program).args(words).exec());
}

/// What needs a newer kernel says so, by an error; and these tests would notice a newer call.
mod newer {
    use netpoll::linux::{ChildExit, EventFd, Pid};
    use netpoll::{Errno, Error};

    use crate::{calls_newer, on_old_kernels};

    const UNKNOWN: Error = Error::Os(Errno::NOSYS);

    /// The filter itself, without the crate.
    #[test]
    fn a_newer_system_call_is_noticed() {
        calls_newer("newer::a_newer_system_call_is_noticed", |kernel| {
            kernel.begin();
            // SAFETY: no memory is named.
            let answer = unsafe { libc::syscall(libc::SYS_epoll_pwait2, -1, 0_usize, 0, 0_usize, 0_usize, 0_usize) };
            assert_eq!((answer, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOSYS)));
        });
    }

    #[test]
    fn the_auxiliary_vector_is_not_to_be_had_by_prctl() {
        on_old_kernels("newer::the_auxiliary_vector_is_not_to_be_had_by_prctl", |kernel| {
            kernel.begin();
            let mut vector = [0_u64; 64];
            // SAFETY: the kernel writes to the array at the most.
            let answer = unsafe { libc::prctl(0x4155_5856, vector.as_mut_ptr(), size_of_val(&vector), 0, 0) };
            assert_eq!((answer, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EINVAL)));
        });
    }

    #[test]
    fn children_as_descriptors() {
        calls_newer("newer::children_as_descriptors", |kernel| {
            kernel.begin();
            assert_eq!(ChildExit::of(Pid::INIT).err(), Some(UNKNOWN));
        });
    }

    #[test]
    fn counters_where_there_are_none() {
        on_old_kernels("newer::counters_where_there_are_none", |kernel| {
            kernel.begin();
            assert_eq!(EventFd::counter(0).err(), Some(UNKNOWN));
        });
    }

    /// The feature's wait on a kernel without it: an error, and nothing is lost.
    #[test]
    #[cfg(feature = "linux_5_11")]
    fn waits_in_nanoseconds() {
        use netpoll::{Poller, PollerStorage, Timeout};
        calls_newer("newer::waits_in_nanoseconds", |kernel| {
            kernel.begin();
            let mut storage = PollerStorage::<1>::new();
            let mut poller = Poller::new(&mut storage).unwrap();
            assert_eq!(poller.poll(Timeout::Now, |_| {}), Err(UNKNOWN));
            assert_eq!(poller.poll(Timeout::Never, |_| {}), Err(UNKNOWN));
        });
    }
}
