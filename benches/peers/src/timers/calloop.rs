//! W2 on calloop: a source for each timer.

use std::time::{Duration, Instant};

use calloop::timer::{TimeoutAction, Timer};
use calloop::{Dispatcher, EventLoop, RegistrationToken};

use super::shared::{IDLE, OPERATIONS_PER_TURN, Operation, Order, Plan, Random};
use crate::work::{Case, Work};

struct Shared {
    plan: Plan,
    random: Random,
    fired: u64,
}

impl Shared {
    fn next(&mut self, now: Instant) -> Instant {
        now + Duration::from_nanos(self.random.delay(&self.plan))
    }
}

struct Timers {
    events: EventLoop<'static, Shared>,
    shared: Shared,
    dispatchers: Vec<(Dispatcher<'static, Timer, Shared>, RegistrationToken)>,
    order: Order,
    now: Instant,
}

/// The natural deadline of the next one is from the one that has passed; this is as its peers do it.
fn on_timer(_: Instant, _: &mut (), shared: &mut Shared) -> TimeoutAction {
    shared.fired += 1;
    TimeoutAction::ToInstant(shared.next(Instant::now()))
}

impl Timers {
    fn turn(&mut self) {
        self.events.dispatch(Some(Duration::ZERO), &mut self.shared).expect("a turn");
        self.now = Instant::now();
    }

    fn add_and_cancel(&mut self) {
        let timer = Timer::from_deadline(self.now + Duration::from_nanos(self.shared.random.long_delay()));
        let token = self.events.handle().insert_source(timer, on_timer).expect("room");
        self.events.handle().remove(token);
    }

    fn push_out(&mut self) {
        let which = self.order.next(self.shared.plan.operation, &mut self.shared.random);
        let (dispatcher, token) = &self.dispatchers[which];
        dispatcher.as_source_mut().set_deadline(self.now + IDLE);
        self.events.handle().update(token).expect("a timer");
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
        if self.shared.plan.operation == Operation::Fire {
            return self.fire(ops);
        }
        for done in 1..=ops {
            match self.shared.plan.operation {
                Operation::AddCancel => self.add_and_cancel(),
                _ => self.push_out(),
            }
            if done % OPERATIONS_PER_TURN == 0 {
                self.turn();
            }
        }
    }
}

pub fn start(case: &Case) -> Box<dyn Work> {
    let plan = Plan::of(case);
    let events = EventLoop::try_new().expect("a loop");
    let mut random = Random::new();
    let order = Order::new(plan.count, &mut random);
    let now = Instant::now();
    let mut shared = Shared { plan, random, fired: 0 };
    let dispatchers = (0..shared.plan.count)
        .map(|_| {
            let dispatcher = Dispatcher::new(Timer::from_deadline(shared.next(now)), on_timer);
            let token = events.handle().register_dispatcher(dispatcher.clone()).expect("room");
            (dispatcher, token)
        })
        .collect();
    Box::new(Timers { events, shared, dispatchers, order, now })
}
