//! The wait for the kernel: what it reports opens gates, deadlines pass, the break pipe is emptied.

use core::cell::Cell;
use core::time::Duration;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;

use super::{Io, Polled, Stats, Timeout, arm};
use crate::arch::{self, Event};
use crate::deadline::Queue;
use crate::error::Error;
use crate::gates::Waiter;
use crate::interest::Directions;
use crate::poll_desc::{Owner, PollDesc};
use crate::table::{Table, find};
use crate::time::Instant;
use crate::token::Token;

impl Io<'_> {
    /// See [`Poller::poll`](super::Poller::poll).
    pub(super) fn wait(&mut self, timeout: Timeout, mut each: impl FnMut(Waiter)) -> Result<Polled, Error> {
        let (waiters, mut woken) = (Cell::new(0), false);
        let mut each = |waiter| {
            waiters.set(waiters.get() + 1);
            each(waiter);
        };
        let until = self.until(timeout);
        let mut block = timeout != Timeout::Now;
        self.rearm_break()?;
        if self.state.table.is_closing() {
            Table::new(&mut self.state.table, self.slots.reborrow()).take_closing(&mut each);
            block = false;
        }
        loop {
            let timeout = if block { self.remaining(until) } else { Some(Duration::ZERO) };
            let broken = self.look(timeout, |desc, woken| desc.gates.waiters(woken, &mut each))?;
            if broken {
                woken = true;
                self.empty_break_pipe()?;
            }
            self.expire(&mut each);
            let polled = Polled { waiters: waiters.get(), woken };
            // A clock of the program's own may stand still while this waits.
            let once = self.state.custom_clock;
            if polled.waiters > 0 || woken || !block || once || until.is_some_and(|until| until <= self.state.now()) {
                return Ok(polled);
            }
        }
    }

    /// One wait for a reactor: hands out the owners whose waits the kernel's events end. Says whether the break pipe was reported.
    #[inline(always)]
    pub(crate) fn wait_for_owners(&mut self, longest: Option<Duration>, mut each: impl FnMut(Owner)) -> Result<bool, Error> {
        self.rearm_break()?;
        self.look(longest, |desc, _| each(desc.owner))
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        self.state.queue.len() > 0
    }

    /// How long the kernel may wait for a reactor, one of whose timers comes first.
    pub(crate) fn longest_wait(&mut self, timeout: Timeout, timer: Option<Instant>) -> Option<Duration> {
        if timeout == Timeout::Now {
            return Some(Duration::ZERO);
        }
        let until = self.until(timeout).into_iter().chain(timer).min();
        self.remaining(until)
    }

    /// When a wait ends at the latest; `None` is never.
    fn until(&self, timeout: Timeout) -> Option<Instant> {
        match timeout {
            Timeout::Never => None,
            Timeout::Now => Some(Instant::from_nanos(0)),
            Timeout::At(at) => Some(at),
            Timeout::After(after) => Some((self.state.clock)() + after),
        }
    }

    /// How long to wait until that moment, or the first deadline.
    fn remaining(&mut self, until: Option<Instant>) -> Option<Duration> {
        let first = Queue::new(&mut self.state.queue, self.nodes.reborrow()).next();
        match (first, until) {
            (None, None) => None,
            (first, until) => {
                let first = first.unwrap_or(Instant::FAR_FUTURE).min(until.unwrap_or(Instant::FAR_FUTURE));
                // The handlers have run since this pass began: what counts is the time now.
                Some(first - (self.state.clock)())
            }
        }
    }

    /// Waits for the kernel once, and opens the gates that it reports: hands out descriptors with the waits that this ends. Says whether the
    /// break pipe was reported.
    #[inline(always)]
    fn look(&mut self, timeout: Option<Duration>, mut each: impl FnMut(&PollDesc<OwnedFd>, Directions)) -> Result<bool, Error> {
        let (selector, state, descs) = (self.selector, &mut *self.state, self.slots.as_mut_slice());
        state.now = None;
        state.stats.polls += 1;
        let mut broken = false;
        let waited = selector.wait(timeout, |event| match find(descs, event.bits, arch::KEPT) {
            Some(desc) if is_about(&event, desc) => {
                arm::disarm_unused(selector, &event, desc);
                let mut woken = desc.edge(event.readiness);
                woken = woken.union(arm::rearm(selector, &event, desc));
                if woken != Directions::NONE {
                    each(desc, woken);
                }
            }
            // No slot has the break pipe's index.
            _ if event.bits == Token::BREAK => broken = true,
            _ => count_stale(&mut state.stats),
        });
        match waited {
            Ok(events) => state.stats.events += events as u64,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if broken {
            state.stats.events -= 1;
            // Before anything that may panic, so that the wake is reported again.
            state.break_is_spent = true;
        }
        Ok(broken)
    }

    /// The break pipe was reported.
    pub(crate) fn empty_break_pipe(&mut self) -> Result<(), Error> {
        self.state.stats.wakes += 1;
        let drained = self.pipe.drain();
        // Also of a pipe that could not be emptied, whose byte is then reported again. Should this fail, then this wake counts all the
        // same, and the next wait says why.
        let _ = self.rearm_break();
        Ok(drained?)
    }

    /// Where the break pipe's event was its last one, asks for another.
    #[inline]
    fn rearm_break(&mut self) -> Result<(), Errno> {
        if arch::BREAK_IS_ONE_SHOT && self.state.break_is_spent {
            if let Some(read_end) = self.pipe.read_end() {
                self.selector.open_break(read_end, Token::BREAK)?;
            }
            self.state.break_is_spent = false;
        }
        Ok(())
    }

    /// Lets deadlines pass.
    #[inline(always)]
    pub(crate) fn expire(&mut self, each: impl FnMut(Waiter)) {
        if self.has_deadlines() {
            self.expire_due(each);
        }
    }

    #[inline(never)]
    fn expire_due(&mut self, mut each: impl FnMut(Waiter)) {
        let state = &mut *self.state;
        let now = state.now();
        let mut queue = Queue::new(&mut state.queue, self.nodes.reborrow());
        let mut table = Table::new(&mut state.table, self.slots.reborrow());
        while let Some(index) = queue.due(now) {
            state.stats.deadlines += 1;
            match table.expire(index, now, &mut each) {
                Some(at) => queue.postpone_first(at),
                None => queue.remove_first(),
            }
        }
    }
}

#[cold]
fn count_stale(stats: &mut Stats) {
    stats.stale_events += 1;
}

/// Whether an event whose bits may not all have come back is this descriptor's.
#[inline]
fn is_about(event: &Event, desc: &PollDesc<OwnedFd>) -> bool {
    arch::KEPT == u64::MAX || desc.fd().is_some_and(|fd| fd.as_raw_fd() == event.fd)
}
