//! What all peers of W2 in Rust have in common; c/timers.h says the same in C.

use std::time::Duration;

use crate::work::Case;

/// What is done to the timers; the numbers are those of c/timers.h.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    AddCancel = 0,
    PushOutInTurn = 1,
    PushOutRandom = 2,
    Fire = 3,
}

/// How long an idle time-out is; none of these ever passes.
pub const IDLE: Duration = Duration::from_secs(60);

/// Operations between two turns of the loop, which do not block.
pub const OPERATIONS_PER_TURN: u64 = 64;

impl Operation {
    const ALL: [Operation; 4] = [Operation::AddCancel, Operation::PushOutInTurn, Operation::PushOutRandom, Operation::Fire];
}

pub struct Plan {
    pub operation: Operation,
    pub count: usize,
    /// Timers that are to fire do so at random between `start` and `start + window` after they were armed; nanoseconds.
    pub start: u64,
    pub window: u64,
}

impl Plan {
    /// Under valgrind everything takes so much longer that timers would pass while they are being armed.
    pub fn of(case: &Case) -> Plan {
        let &[operation, count] = case.parameters else { unreachable!("{case:?}") };
        let operation = Operation::ALL[operation as usize];
        let is_slow = std::env::var("LD_PRELOAD").is_ok_and(|libraries| libraries.contains("vgpreload"));
        let slowness = if is_slow { 40 } else { 1 };
        Plan { operation, count: count as usize, start: (20_000_000 + 2000 * count) * slowness, window: 10_000_000 + 1000 * count }
    }

    /// After this all timers that were armed have passed.
    pub fn sleep(&self) {
        std::thread::sleep(Duration::from_nanos(self.start + self.window + 5_000_000));
    }
}

pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        Random(88_172_645_463_325_252)
    }

    /// A number below `limit`, without a division.
    #[inline]
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(limit)) >> 64) as u64
    }

    /// When a timer that is added and cancelled would have passed, in nanoseconds.
    #[inline]
    pub fn long_delay(&mut self) -> u64 {
        IDLE.as_nanos() as u64 + self.below(IDLE.as_nanos() as u64)
    }

    /// When a timer is first armed for, and again when it has fired, in nanoseconds.
    #[inline]
    pub fn delay(&mut self, plan: &Plan) -> u64 {
        match plan.operation {
            Operation::AddCancel => self.long_delay(),
            Operation::PushOutInTurn | Operation::PushOutRandom => IDLE.as_nanos() as u64,
            Operation::Fire => plan.start + self.below(plan.window),
        }
    }
}

/// Whose deadline is pushed out next.
pub struct Order {
    permutation: Vec<u32>,
    cursor: usize,
}

impl Order {
    pub fn new(count: usize, random: &mut Random) -> Order {
        let mut permutation: Vec<u32> = (0..count as u32).collect();
        for i in 0..count {
            permutation.swap(i, random.below(i as u64 + 1) as usize);
        }
        Order { permutation, cursor: 0 }
    }

    #[inline]
    pub fn next(&mut self, operation: Operation, random: &mut Random) -> usize {
        if operation == Operation::PushOutRandom { self.random(random) } else { self.in_turn(random) }
    }

    #[inline]
    pub fn random(&mut self, random: &mut Random) -> usize {
        random.below(self.permutation.len() as u64) as usize
    }

    #[inline]
    pub fn in_turn(&mut self, _: &mut Random) -> usize {
        let which = self.permutation[self.cursor];
        self.cursor += 1;
        if self.cursor == self.permutation.len() {
            self.cursor = 0;
        }
        which as usize
    }
}
