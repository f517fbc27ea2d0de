//! W2 on tokio's current-thread runtime: a `Sleep` for each timer; those that fire are awaited by a task each.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio::time::{Instant, Sleep, sleep_until};

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
    runtime: Runtime,
    tasks: LocalSet,
    shared: Rc<RefCell<Shared>>,
    sleeps: Vec<Pin<Box<Sleep>>>,
    order: Order,
}

/// It is registered when it is first polled.
async fn register(mut sleep: Pin<&mut Sleep>) {
    poll_fn(|cx| {
        let _ = sleep.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

impl Timers {
    fn fire(&mut self, ops: u64) {
        self.shared.borrow_mut().fired = 0;
        let (shared, mut until) = (&self.shared, 0);
        while until < ops {
            until += shared.borrow().plan.count as u64;
            shared.borrow().plan.sleep();
            self.tasks.block_on(&self.runtime, async {
                while shared.borrow().fired < until {
                    tokio::task::yield_now().await;
                }
            });
        }
    }
}

impl Work for Timers {
    fn run(&mut self, ops: u64) {
        if self.shared.borrow().plan.operation == Operation::Fire {
            return self.fire(ops);
        }
        let Timers { runtime, shared, sleeps, order, .. } = self;
        let Shared { plan, random, .. } = &mut *shared.borrow_mut();
        runtime.block_on(async {
            let mut now = Instant::now();
            for done in 1..=ops {
                if plan.operation == Operation::AddCancel {
                    let mut sleep = std::pin::pin!(sleep_until(now + Duration::from_nanos(random.long_delay())));
                    register(sleep.as_mut()).await;
                } else {
                    let which = order.next(plan.operation, random);
                    sleeps[which].as_mut().reset(now + IDLE);
                }
                if done % OPERATIONS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                    now = Instant::now();
                }
            }
        });
    }
}

async fn task(shared: Rc<RefCell<Shared>>) {
    let first = shared.borrow_mut().next(Instant::now());
    let mut sleep = std::pin::pin!(sleep_until(first));
    loop {
        sleep.as_mut().await;
        let shared = &mut *shared.borrow_mut();
        shared.fired += 1;
        sleep.as_mut().reset(shared.next(Instant::now()));
    }
}

pub fn start(case: &Case) -> Box<dyn Work> {
    let plan = Plan::of(case);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (tasks, mut sleeps) = (LocalSet::new(), Vec::new());
    let mut random = Random::new();
    let order = Order::new(plan.count, &mut random);
    let shared = Rc::new(RefCell::new(Shared { plan, random, fired: 0 }));
    if shared.borrow().plan.operation == Operation::Fire {
        for _ in 0..shared.borrow().plan.count {
            tasks.spawn_local(task(Rc::clone(&shared)));
        }
        tasks.block_on(&runtime, tokio::task::yield_now());
    } else {
        runtime.block_on(async {
            let count = shared.borrow().plan.count;
            for _ in 0..count {
                let delay = {
                    let Shared { plan, random, .. } = &mut *shared.borrow_mut();
                    Duration::from_nanos(random.delay(plan))
                };
                let mut sleep = Box::pin(sleep_until(Instant::now() + delay));
                register(sleep.as_mut()).await;
                sleeps.push(sleep);
            }
        });
    }
    Box::new(Timers { runtime, tasks, shared, sleeps, order })
}
