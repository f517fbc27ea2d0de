//! One pass of the loop: wait, then run everyone who is ready once.

use core::task::Poll;
use core::time::Duration;

use super::context::{Context, Handlers};
use super::handler::Handler;
use super::roster::NIL;
use super::storage::Cell;
use crate::deadline::Queue;
use crate::error::Error;
use crate::poller::{Io, Marks, Timeout};

impl<H: Handler> Context<'_, H> {
    #[inline(always)]
    pub(super) fn pass(&mut self, timeout: Timeout) -> Result<(), Error> {
        let Context { io, handlers, shared } = self;
        handlers.look_after_freed(io);
        let timeout = if handlers.roster().anybody_ready() { Timeout::Now } else { timeout };
        if timeout != Timeout::Now {
            H::on_sleep(shared, &io.stats());
        }
        let longest = handlers.longest_wait(io, timeout);
        let state = &mut *handlers.state;
        state.woken.clear();
        // One wait, so that `on_sleep` comes before each.
        let broken = io.wait_for_owners(longest, |owner| _ = state.woken.push(owner))?;
        // From here on a panic, be it of the program's clock, loses none of them.
        let mut round = Round { cx: self, next: 0 };
        let Context { io, handlers, .. } = &mut *round.cx;
        if broken || handlers.state.released || handlers.has_timers(io) {
            handlers.note(io, broken);
        }
        handlers.roster().begin_round();
        io.run().begin_pass();
        while let Some(index) = round.next() {
            round.cx.dispatch(index);
        }
        Ok(())
    }

    #[inline(always)]
    fn dispatch(&mut self, index: u32) {
        let Some(owned) = self.handlers.roster().begin_run(index) else { return };
        let Some(place) = self.handlers.places.get(index as usize) else { return };
        let Ok(mut cell) = place.try_borrow_mut() else { return };
        let Cell::Live(handler) = &mut *cell else { return };
        if cfg!(panic = "unwind") {
            self.handlers.state.running = index;
        }
        self.io.set_owner(index);
        self.io.run().begin(owned);
        let answer = handler.on_ready(self);
        // By far the most common end of a run is a wait, and nothing else.
        let has_waited = self.io.run().marks == Marks::WAITED;
        if has_waited && matches!(answer, Poll::Pending) {
            self.io.run().marks = Marks::NONE;
            if cfg!(panic = "unwind") {
                self.handlers.state.running = NIL;
            }
            return;
        }
        let finished = match answer {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                handler.on_error(error, self);
                true
            }
        };
        drop(cell);
        self.handlers.finish(&mut self.io, index, finished);
    }
}

/// Who is run in this pass: first those whose waits the kernel has ended, in its order, then those on the ready list. Where somebody has waited
/// for room, which has come, they are queued behind them.
struct Round<'c, 'a, H: Handler> {
    cx: &'c mut Context<'a, H>,
    next: usize,
}

impl<H: Handler> Round<'_, '_, H> {
    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        match self.cx.handlers.state.woken.get(self.next) {
            Some(&owner) => {
                self.next += 1;
                Some(owner)
            }
            None => self.cx.handlers.roster().next(),
        }
    }
}

impl<H: Handler> Drop for Round<'_, '_, H> {
    fn drop(&mut self) {
        if cfg!(panic = "unwind") && self.next < self.cx.handlers.state.woken.len() {
            self.cx.handlers.roster().break_off(self.next);
        }
    }
}

impl<H> Handlers<'_, H> {
    #[inline]
    pub(super) fn timers(&mut self) -> Queue<'_> {
        Queue::new(&mut self.state.timers, self.timers.reborrow())
    }

    /// Whether any timer or deadline is set.
    #[inline]
    fn has_timers(&self, io: &Io<'_>) -> bool {
        self.state.timers.len() != 0 || io.has_deadlines()
    }

    /// How long the kernel may wait; `None` is for ever.
    #[inline]
    fn longest_wait(&mut self, io: &mut Io<'_>, timeout: Timeout) -> Option<Duration> {
        match timeout {
            Timeout::Now => Some(Duration::ZERO),
            Timeout::Never if !self.has_timers(io) => None,
            _ => self.longest_wait_timed(io, timeout),
        }
    }

    #[inline(never)]
    fn longest_wait_timed(&mut self, io: &mut Io<'_>, timeout: Timeout) -> Option<Duration> {
        let timer = self.timers().next();
        io.longest_wait(timeout, timer)
    }

    /// Slots may have been freed: whoever waits for room gets a turn.
    #[inline]
    pub(super) fn look_after_freed(&mut self, io: &mut Io<'_>) {
        if io.run().freed {
            io.run().freed = false;
            self.roster().begin_release();
        }
        if self.state.is_releasing() {
            self.release(io);
        }
    }

    #[inline(never)]
    fn release(&mut self, io: &mut Io<'_>) {
        // Whoever waits wants one of the two.
        let has_room = self.roster().has_room() || io.has_descriptor_room();
        self.roster().release_next(has_room);
    }

    /// Notes what has happened besides readiness.
    #[inline(never)]
    fn note(&mut self, io: &mut Io<'_>, broken: bool) {
        if core::mem::take(&mut self.state.released) {
            // Or whom the kernel has woken would take the room that another has waited for.
            self.roster().queue_woken();
        }
        let (state, headers) = (&mut *self.state, self.headers.as_mut_slice());
        io.expire(|waiter| state.enqueue(headers, waiter.get()));
        self.fire_timers(io);
        if broken {
            self.roster().wake();
            if let Err(error) = io.empty_break_pipe() {
                self.state.fail(error);
            }
        }
    }

    #[inline]
    fn fire_timers(&mut self, io: &mut Io<'_>) {
        if self.state.timers.len() == 0 {
            return;
        }
        let now = io.now();
        while let Some(index) = self.timers().due(now) {
            io.count_deadline();
            let Some(header) = self.headers.get_mut(index) else { return self.timers().remove_first() };
            let passes = header.timer.advance(now);
            match header.timer.ahead() {
                Some(at) => self.timers().postpone_first(at),
                None => self.timers().remove_first(),
            }
            if passes {
                self.roster().enqueue(index);
            }
        }
    }

    /// The rest of a run that was more than a wait.
    #[inline(never)]
    fn finish(&mut self, io: &mut Io<'_>, index: u32, finished: bool) {
        self.undo_half_made(io);
        self.state.running = NIL;
        let marks = core::mem::replace(&mut io.run().marks, Marks::NONE);
        if marks.has(Marks::OWNED) {
            let owned = io.run().owned;
            self.roster().set_owned(index, owned);
        }
        if finished || marks.has(Marks::ENDED) {
            self.end(io, index);
        } else if marks.has(Marks::YIELDED) {
            self.roster().enqueue(index);
        } else {
            if marks.has(Marks::ROOM) {
                self.roster().wait_for_room(index);
            }
            if !marks.has(Marks::WAITED) && !marks.has(Marks::ROOM) && self.is_parked(io, index) {
                io.count_parked();
            }
        }
    }

    /// Whether nothing but a notification will run this handler, which has just said `Pending` and waits for no gate that it waited for
    /// before, no timer, no wake.
    fn is_parked(&self, io: &mut Io<'_>, index: u32) -> bool {
        let Some(header) = self.headers.get(index) else { return false };
        let will_run = header.is_due() || header.waits_for_wake() || header.timer.ahead().is_some();
        let owned = header.owned;
        !will_run && !io.any_wait(owned)
    }
}
