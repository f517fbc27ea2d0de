//! netpoll's table, gates, deadline queue and ready list without a kernel.

use std::hint::black_box;
use std::num::{NonZeroU8, NonZeroU32};
use std::ops::Range;
use std::task::Poll;
use std::time::Duration;

use netpoll::deadline::QueueStorage;
use netpoll::readiness::Readiness;
use netpoll::table::{PollDesc, Step, Table, TableStorage, Turn};
use netpoll::{Context, Direction, Error, Handler, HandlerId, Instant, Interest, Reactor, ReactorStorage, Timeout, Token, Waiter};
use static_cell::ConstStaticCell;

use super::{BATCH, EDGE, FIRE, MILLION, PUSH_OUT, RUN, THOUSAND, order};
use crate::work::{Case, Work};

/// What stands for a descriptor: as large as one, and with the same niche.
type Fd = NonZeroU32;

const IDLE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_micros(1);

const THOUSAND_KEYS: usize = THOUSAND as usize;
const MILLION_KEYS: usize = MILLION as usize;

type Queue<const N: usize> = ConstStaticCell<QueueStorage<N>>;
type Handlers<const N: usize> = ConstStaticCell<ReactorStorage<Count, N, 0>>;

pub fn start(case: &Case) -> Box<dyn Work> {
    static FEW_DEADLINES: Queue<THOUSAND_KEYS> = ConstStaticCell::new(QueueStorage::new());
    static MANY_DEADLINES: Queue<MILLION_KEYS> = ConstStaticCell::new(QueueStorage::new());
    static FEW_HANDLERS: Handlers<THOUSAND_KEYS> = ConstStaticCell::new(ReactorStorage::new());
    static MANY_HANDLERS: Handlers<MILLION_KEYS> = ConstStaticCell::new(ReactorStorage::new());
    let &[what, n, random] = case.parameters else { panic!("{case:?}") };
    let order = order(n, random);
    match (what, n) {
        (EDGE, THOUSAND) => Box::new(Edges::<THOUSAND_KEYS>::new(order)),
        (EDGE, MILLION) => Box::new(Edges::<MILLION_KEYS>::new(order)),
        (PUSH_OUT, THOUSAND) => Box::new(PushOut::new(FEW_DEADLINES.take(), order)),
        (PUSH_OUT, MILLION) => Box::new(PushOut::new(MANY_DEADLINES.take(), order)),
        (FIRE, THOUSAND) => Box::new(Fire::new(FEW_DEADLINES.take(), &order)),
        (FIRE, MILLION) => Box::new(Fire::new(MANY_DEADLINES.take(), &order)),
        (RUN, THOUSAND) => Box::new(Run::new(Reactor::new(FEW_HANDLERS.take()), &order)),
        (RUN, MILLION) => Box::new(Run::new(Reactor::new(MANY_HANDLERS.take()), &order)),
        _ => panic!("{case:?}"),
    }
}

/// Where the next batch begins.
fn advance(at: &mut usize, len: usize) -> Range<usize> {
    let batch = *at..*at + BATCH;
    *at = if batch.end == len { 0 } else { batch.end };
    batch
}

/// Every slot in use for the first time.
fn token(index: u32) -> Token {
    Token::from_u64(1 << 32 | u64::from(index)).unwrap()
}

struct Edges<const N: usize> {
    storage: Box<TableStorage<Fd, N>>,
    order: Vec<u32>,
    at: usize,
    woken: Vec<Waiter>,
    turn: Turn,
}

impl<const N: usize> Edges<N> {
    fn new(order: Vec<u32>) -> Edges<N> {
        let mut storage = Box::new(TableStorage::new());
        let mut table = storage.lend();
        for index in 0..N as u32 {
            let token = table.insert(Fd::MIN, Interest::READ).unwrap();
            table.get_mut(token).unwrap().wait(Direction::Read, Waiter::new(index));
        }
        let turn = Turn { run: 0, budget: NonZeroU8::new(32).unwrap() };
        Edges { storage, order, at: 0, woken: Vec::with_capacity(BATCH), turn }
    }

    /// A batch of edges, each of which ends a wait; then whoever waited tries, in vain, and waits again. `also` is what else they do.
    fn batch(&mut self, mut also: impl FnMut(u32, &mut PollDesc<Fd>)) {
        let mut table: Table<'_, Fd> = self.storage.lend();
        for &index in &self.order[advance(&mut self.at, N)] {
            let readiness = Readiness::from_epoll(black_box(1));
            table.edge(1 << 32 | u64::from(index), readiness, |waiter| self.woken.push(waiter));
        }
        for waiter in self.woken.drain(..) {
            let desc = table.get_mut(token(waiter.get())).unwrap();
            self.turn.run = self.turn.run.wrapping_add(1);
            if desc.prepare(Direction::Read, waiter, Some(self.turn)) == Step::Call {
                also(waiter.get(), desc);
                desc.wait(Direction::Read, waiter);
            }
        }
    }
}

impl<const N: usize> Work for Edges<N> {
    fn run(&mut self, ops: u64) {
        for _ in 0..ops / BATCH as u64 {
            self.batch(|_, _| ());
        }
    }
}

struct PushOut<const N: usize> {
    edges: Edges<N>,
    queue: &'static mut QueueStorage<N>,
    now: Instant,
}

impl<const N: usize> PushOut<N> {
    fn new(queue: &'static mut QueueStorage<N>, order: Vec<u32>) -> PushOut<N> {
        let mut push_out = PushOut { edges: Edges::new(order), queue, now: Instant::from_nanos(1) };
        push_out.run(N as u64);
        if !push_out.edges.order.is_sorted() {
            // Another order than the one in which their entries lie.
            fastrand::Rng::with_seed(9).shuffle(&mut push_out.edges.order);
        }
        push_out
    }
}

impl<const N: usize> Work for PushOut<N> {
    fn run(&mut self, ops: u64) {
        let PushOut { edges, queue, now } = self;
        let mut queue = queue.lend();
        for _ in 0..ops / BATCH as u64 {
            edges.batch(|index, desc| {
                *now = *now + STEP;
                if let Some(at) = desc.set_deadline(Direction::Read, Some(*now + IDLE), *now) {
                    queue.schedule(index, at).unwrap();
                }
            });
        }
    }
}

struct Fire<const N: usize> {
    queue: &'static mut QueueStorage<N>,
    random: fastrand::Rng,
}

impl<const N: usize> Fire<N> {
    fn new(queue: &'static mut QueueStorage<N>, order: &[u32]) -> Fire<N> {
        let mut fire = Fire { queue, random: fastrand::Rng::with_seed(8) };
        let mut queue = fire.queue.lend();
        for &key in order {
            queue.schedule(key, Instant::from_nanos(fire.random.u64(1..60_000_000_000))).unwrap();
        }
        fire
    }
}

impl<const N: usize> Work for Fire<N> {
    fn run(&mut self, ops: u64) {
        let mut queue = self.queue.lend();
        for _ in 0..ops {
            let now = queue.next().unwrap();
            black_box(queue.due(now).unwrap());
            queue.postpone_first(now + Duration::from_nanos(self.random.u64(1..120_000_000_000)));
        }
    }
}

/// A handler that counts its runs.
struct Count(u64);

impl Handler for Count {
    type Shared = ();
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        while cx.poll_notified().is_ready() {
            self.0 += 1;
        }
        Poll::Pending
    }
}

struct Run {
    reactor: Reactor<'static, Count>,
    ids: Vec<HandlerId>,
    at: usize,
}

impl Run {
    fn new(reactor: Result<Reactor<'static, Count>, Error>, order: &[u32]) -> Run {
        let mut reactor = reactor.expect("a reactor");
        let ids: Vec<HandlerId> = order.iter().map(|_| reactor.spawn(Count(0)).expect("room")).collect();
        reactor.run_once(Timeout::Now, &mut ()).expect("a pass");
        Run { reactor, ids: order.iter().map(|&index| ids[index as usize]).collect(), at: 0 }
    }
}

impl Work for Run {
    fn run(&mut self, ops: u64) {
        for _ in 0..ops / BATCH as u64 {
            for &id in &self.ids[advance(&mut self.at, self.ids.len())] {
                self.reactor.notify(id).expect("a handler");
            }
            self.reactor.run_once(Timeout::Now, &mut ()).expect("a pass");
        }
    }
}
