//! Why a peer's process failed, for those that say nothing of their own accord, and another try where the reason was not the peer's.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// Seconds after which a process that measures has hung.
const HUNG: u32 = 300;

/// How long to wait for other programs to give watches back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends this process, with a signal that tells of it, if it still runs after some minutes: a library that hides an error may wait for ever.
pub fn end_if_hung() {
    // SAFETY: nobody else uses this clock.
    unsafe { libc::alarm(HUNG) };
}

/// How a process ended, and what it said before: `said` is its standard error.
pub fn describe(status: ExitStatus, said: &str) -> String {
    use std::os::unix::process::ExitStatusExt;
    let words = own_words(said);
    match (status.signal(), words.is_empty()) {
        (Some(libc::SIGALRM), _) => format!("hung for {HUNG} s {words}"),
        (Some(libc::SIGABRT), true) => "aborted without a word, as libuv does when epoll_ctl fails".to_owned(),
        _ => format!("{status}: {words}"),
    }
}

/// What a program said before it failed, without what valgrind adds.
fn own_words(said: &str) -> String {
    let own = said.lines().filter(|line| !line.starts_with("==") && !line.trim().is_empty());
    own.take(3).collect::<Vec<_>>().join("; ")
}

/// Runs it; once more if it failed while other programs had the watches that it needed. What the machine lacks is part of the error.
pub fn retried<T>(run: impl Fn() -> Result<T, String>) -> Result<T, String> {
    run().or_else(|why| {
        let (shortage, lacked_room) = (shortage(), why.contains("No space left") || why.contains("aborted without a word"));
        if shortage.is_none() && !lacked_room {
            return Err(why);
        }
        let end = Instant::now() + PATIENCE;
        while self::shortage().is_some() && Instant::now() < end {
            sleep(Duration::from_secs(1));
        }
        run().map_err(|why| [Some(why), self::shortage().or(shortage)].into_iter().flatten().collect::<Vec<_>>().join("; "))
    })
}

/// What other programs leave of the watches that all epolls of one user may have, if a twentieth or more is gone.
fn shortage() -> Option<String> {
    let limit: usize = std::fs::read_to_string("/proc/sys/fs/epoll/max_user_watches").ok()?.trim().parse().ok()?;
    // Where there are more than a process can have descriptors, no case needs them.
    let tried = limit.min(19_900);
    let room = room(tried)?;
    (room < tried - limit.min(tried) / 20).then(|| {
        format!("no room: other programs leave {room} of the {limit} watches of fs.epoll.max_user_watches, and one case needs 19 001")
    })
}

/// How many watches can be added, up to so many.
fn room(tried: usize) -> Option<usize> {
    let counter = eventfd(0, EventfdFlags::CLOEXEC).ok()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC).ok()?;
    let copies: Vec<OwnedFd> = (0..tried).map_while(|_| counter.try_clone().ok()).collect();
    let add = |copy: &OwnedFd| epoll::add(&epoll, copy.as_fd(), EventData::new_u64(0), EventFlags::empty());
    let full = copies.iter().position(|copy| add(copy) == Err(Errno::NOSPC));
    // As many as there were descriptors for.
    Some(full.unwrap_or(tried))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::process::Command;

    use super::*;

    #[test]
    fn words_of_the_program_are_told_from_those_of_valgrind() {
        assert_eq!(own_words("==1== Callgrind\n\nepoll_ctl: No space left\n==1== Terminating"), "epoll_ctl: No space left");
    }

    #[test]
    fn who_says_nothing_is_spoken_for() {
        let ended_by = |signal: &str| Command::new("sh").args(["-c", &format!("kill -{signal} $$")]).status().unwrap();
        assert!(describe(ended_by("ABRT"), "").contains("without a word"));
        assert!(describe(ended_by("ABRT"), "panicked").contains("panicked"));
        assert!(describe(ended_by("ALRM"), "").contains("hung"));
    }

    #[test]
    fn what_lacked_room_is_tried_once_more() {
        let tries = Cell::new(0);
        let run = |why: &str, good: u32| {
            tries.set(tries.get() + 1);
            if tries.get() == good { Ok(()) } else { Err(why.to_owned()) }
        };
        assert_eq!(retried(|| run("epoll_ctl: No space left on device", 2)), Ok(()));
        tries.set(0);
        assert!(retried(|| run("epoll_ctl: No space left on device", 9)).is_err());
        assert_eq!(tries.get(), 2);
    }
}
