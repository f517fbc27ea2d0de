//! W2 on netpoll: handlers with a timer each; and descriptors with a deadline each, on a bare poller.

use std::task::Poll;

use netpoll::{
    Context, Direction, Error, Handler, HandlerId, Instant, Interest, LendReactor, Poller, PollerStorage, Reactor, ReactorStorage, Timeout,
    Token, Waiter,
};

use super::shared::{IDLE, OPERATIONS_PER_TURN, Operation, Order, Plan, Random};
use crate::work::{Case, Work};

struct Shared {
    plan: Plan,
    random: Random,
    /// Timers that have fired.
    fired: u64,
    /// Operations that the handler of the extra timer is to do when it is next run.
    ops: u64,
}

/// Without what `Instant + Duration` does at the end of time.
#[inline]
fn after(now: Instant, nanos: u64) -> Instant {
    Instant::from_nanos(now.as_nanos() + nanos)
}

enum Timer {
    /// One of many, which is armed all the time.
    Armed,
    /// Is added and cancelled.
    Extra,
}

impl Handler for Timer {
    type Shared = Shared;
    type Error = Error;

    #[inline]
    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        match self {
            Timer::Armed => {
                if cx.poll_timer().is_ready() {
                    cx.shared().fired += 1;
                }
                // In the other cases it was run for something that its peer did, and waits as long again.
                let now = cx.now();
                let Shared { random, plan, .. } = cx.shared();
                let at = after(now, random.delay(plan));
                cx.set_timer(Some(at));
            }
            Timer::Extra => {
                for _ in 0..core::mem::take(&mut cx.shared().ops) {
                    let at = after(cx.now(), cx.shared().random.long_delay());
                    cx.set_timer(Some(at));
                    cx.set_timer(None);
                }
                let _ = cx.poll_notified();
            }
        }
        Poll::Pending
    }
}

/// Handlers with a timer each. To push one's own timer out a handler has to run: the figure has its notification and its run in it.
struct Timers {
    reactor: Reactor<'static, Timer>,
    shared: Shared,
    ids: Vec<HandlerId>,
    extra: HandlerId,
    order: Order,
}

impl Timers {
    fn on<S: LendReactor<Timer> + Default + 'static>(plan: Plan) -> Timers {
        let storage = Box::leak(Box::<S>::default());
        let mut reactor = Reactor::new(storage).expect("a reactor");
        let ids = (0..plan.count).map(|_| reactor.spawn(Timer::Armed).expect("room")).collect();
        let extra = reactor.spawn(Timer::Extra).expect("room");
        let mut random = Random::new();
        let order = Order::new(plan.count, &mut random);
        let mut shared = Shared { plan, random, fired: 0, ops: 0 };
        reactor.run_once(Timeout::Now, &mut shared).expect("a turn");
        shared.fired = 0;
        Timers { reactor, shared, ids, extra, order }
    }

    fn turn(&mut self) {
        self.reactor.run_once(Timeout::Now, &mut self.shared).expect("a turn");
    }

    fn fire(&mut self, ops: u64) {
        self.shared.fired = 0;
        while self.shared.fired < ops {
            let until = self.shared.fired + self.shared.plan.count as u64;
            self.shared.plan.sleep();
            while self.shared.fired < until {
                self.turn();
            }
        }
    }
}

impl Work for Timers {
    fn run(&mut self, ops: u64) {
        let operation = self.shared.plan.operation;
        if operation == Operation::Fire {
            return self.fire(ops);
        }
        let mut left = ops;
        while left > 0 {
            let now = left.min(OPERATIONS_PER_TURN);
            left -= now;
            if operation == Operation::AddCancel {
                self.shared.ops = now;
                self.reactor.notify(self.extra).expect("a handler");
            } else {
                for _ in 0..now {
                    let which = self.order.next(operation, &mut self.shared.random);
                    self.reactor.notify(self.ids[which]).expect("a handler");
                }
            }
            self.turn();
        }
    }
}

/// A reactor of as many handlers.
pub fn timers(case: &Case) -> Box<dyn Work> {
    let plan = Plan::of(case);
    match plan.count {
        0..=1_000 => Box::new(Timers::on::<ReactorStorage<Timer, 1_001, 0>>(plan)),
        1_001..=10_000 => Box::new(Timers::on::<ReactorStorage<Timer, 10_001, 0>>(plan)),
        _ => Box::new(Timers::on::<ReactorStorage<Timer, 100_001, 0>>(plan)),
    }
}

/// Descriptors with a read deadline each, all waited for.
struct Deadlines {
    poller: Poller<'static>,
    tokens: Vec<Token>,
    extra: Token,
    plan: Plan,
    random: Random,
    order: Order,
    due: Vec<u32>,
}

const MOST_DESCRIPTORS: usize = 10_001;

impl Deadlines {
    fn new(plan: Plan) -> Deadlines {
        let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current = limit.maximum;
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("the hard limit is allowed");
        let storage = Box::leak(Box::<PollerStorage<MOST_DESCRIPTORS>>::default());
        let mut poller = Poller::new(storage).expect("a poller");
        let mut open = |number: usize| {
            let flags = rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC;
            let fd = rustix::event::eventfd(0, flags).expect("an eventfd");
            poller.io(Waiter::new(number as u32)).open(fd, Interest::READ).expect("room")
        };
        let tokens = (0..plan.count).map(&mut open).collect();
        let extra = open(plan.count);
        let mut random = Random::new();
        let order = Order::new(plan.count, &mut random);
        let mut deadlines = Deadlines { poller, tokens, extra, plan, random, order, due: Vec::new() };
        for which in 0..deadlines.plan.count as u32 {
            deadlines.wait(which);
        }
        deadlines
    }

    /// Reads, which answers that the deadline has passed if it has, sets another, and waits again.
    fn wait(&mut self, which: u32) {
        let token = self.tokens[which as usize];
        let mut io = self.poller.io(Waiter::new(which));
        let read = |io: &mut netpoll::Io<'_>| io.poll_io(token, Direction::Read, |fd| rustix::io::read(fd, &mut [0; 8]));
        let _ = read(&mut io);
        let at = after(io.now(), self.random.delay(&self.plan));
        io.set_deadline(token, Direction::Read, Some(at)).expect("a descriptor");
        let _ = read(&mut io);
    }

    fn turn(&mut self) {
        self.due.clear();
        let due = &mut self.due;
        self.poller.poll(Timeout::Now, |waiter| due.push(waiter.get())).expect("a turn");
    }

    fn fire(&mut self, ops: u64) {
        let mut fired = 0;
        while fired < ops {
            let until = fired + self.plan.count as u64;
            self.plan.sleep();
            while fired < until {
                self.turn();
                fired += self.due.len() as u64;
                for at in 0..self.due.len() {
                    self.wait(self.due[at]);
                }
            }
        }
    }

    fn add_and_cancel(&mut self, ops: u64) {
        let mut io = self.poller.io(Waiter::new(0));
        for _ in 0..ops {
            let at = after(io.now(), self.random.long_delay());
            io.set_deadline(self.extra, Direction::Read, Some(at)).expect("a descriptor");
            io.set_deadline(self.extra, Direction::Read, None).expect("a descriptor");
        }
    }

    #[inline]
    fn push_out(&mut self, ops: u64, mut which: impl FnMut(&mut Order, &mut Random) -> usize) {
        let mut io = self.poller.io(Waiter::new(0));
        for _ in 0..ops {
            let which = which(&mut self.order, &mut self.random);
            let at = io.now() + IDLE;
            io.set_deadline(self.tokens[which], Direction::Read, Some(at)).expect("a descriptor");
        }
    }
}

impl Work for Deadlines {
    fn run(&mut self, ops: u64) {
        if self.plan.operation == Operation::Fire {
            return self.fire(ops);
        }
        let mut left = ops;
        while left > 0 {
            let now = left.min(OPERATIONS_PER_TURN);
            left -= now;
            match self.plan.operation {
                Operation::AddCancel => self.add_and_cancel(now),
                Operation::PushOutRandom => self.push_out(now, Order::random),
                _ => self.push_out(now, Order::in_turn),
            }
            if now == OPERATIONS_PER_TURN {
                self.turn();
            }
        }
    }
}

/// A poller of as many descriptors; not more than a process here may have.
pub fn deadlines(case: &Case) -> Box<dyn Work> {
    let plan = Plan::of(case);
    assert!(plan.count < MOST_DESCRIPTORS, "more descriptors than a process may have");
    Box::new(Deadlines::new(plan))
}
