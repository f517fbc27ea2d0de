//! What all peers of W2 in Rust have in common; c/timers.h says the same in C.

use std::time::Duration;

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

pub struct Plan {
    pub operation: Operation,
    pub count: usize,
    /// Timers that are to fire do so at random between `start` and `start + window` after they were armed.
    pub start: Duration,
    pub window: Duration,
}

impl Plan {
    /// Under valgrind everything takes so much longer that timers would pass while they are being armed.
    pub fn new(operation: Operation, count: u64) -> Plan {
        let is_slow = std::env::var("LD_PRELOAD").is_ok_and(|libraries| libraries.contains("vgpreload"));
        let slowness = if is_slow { 40 } else { 1 };
        let start = Duration::from_millis(20) + Duration::from_micros(2) * count as u32;
        Plan { operation, count: count as usize, start: start * slowness, window: Duration::from_millis(10) + Duration::from_micros(count) }
    }

    /// After this all timers that were armed have passed.
    pub fn sleep(&self) {
        std::thread::sleep(self.start + self.window + Duration::from_millis(5));
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

    #[inline]
    pub fn delay(&mut self, start: Duration, window: Duration) -> Duration {
        start + Duration::from_nanos(self.below(window.as_nanos() as u64))
    }

    /// When a timer that is added and cancelled would have passed.
    #[inline]
    pub fn long_delay(&mut self) -> Duration {
        self.delay(IDLE, IDLE)
    }

    /// When a timer is first armed for.
    #[inline]
    pub fn first_delay(&mut self, plan: &Plan) -> Duration {
        match plan.operation {
            Operation::AddCancel => self.long_delay(),
            Operation::PushOutInTurn | Operation::PushOutRandom => IDLE,
            Operation::Fire => self.delay(plan.start, plan.window),
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
        if operation == Operation::PushOutRandom {
            return random.below(self.permutation.len() as u64) as usize;
        }
        let which = self.permutation[self.cursor];
        self.cursor += 1;
        if self.cursor == self.permutation.len() {
            self.cursor = 0;
        }
        which as usize
    }
}
