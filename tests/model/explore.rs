//! Every sequence of events, breadth first, so that the first one to fail is a shortest one. Sequences that lead to the same state are
//! gone on with once.

use std::collections::HashSet;
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::diagram::Taken;

/// What a sequence has led to.
pub struct Reached<E> {
    /// The state, folded: what tells it from others that behave differently.
    pub key: u64,
    /// What can happen.
    pub next: Vec<E>,
    pub taken: Taken,
}

/// Begins anew, lets a sequence happen, and says what was wrong; and how many events may follow.
pub trait Replay<E>: Fn(&[E], usize) -> Result<Reached<E>, String> {}

impl<E, F: Fn(&[E], usize) -> Result<Reached<E>, String>> Replay<E> for F {}

/// All sequences of up to `depth` events that follow those at the `start`. Fails with the shortest one that goes wrong.
pub fn explore<E: Copy + Debug>(name: &str, start: &[E], depth: usize, system: impl Replay<E>) -> Taken {
    let began = Instant::now();
    let first = attempt(&system, start, depth);
    let (mut seen, mut taken) = (HashSet::from([first.key]), first.taken);
    let mut frontier = vec![(start.to_vec(), first.next)];
    let (mut sequences, mut length) = (0_u64, 0);
    while length < depth && !frontier.is_empty() {
        let mut beyond = Vec::new();
        for (events, next) in &frontier {
            for &event in next {
                let mut events = Vec::clone(events);
                events.push(event);
                let reached = attempt(&system, &events, depth - length - 1);
                sequences += 1;
                taken.add(reached.taken);
                if seen.insert(reached.key) && !reached.next.is_empty() {
                    beyond.push((events, reached.next));
                }
            }
        }
        frontier = beyond;
        length += 1;
    }
    let rest = if length < depth { "no state is left" } else { "there are more" };
    println!("{name}: {} states, {sequences} sequences of up to {length} events; {rest}; {:.1?}", seen.len(), began.elapsed());
    taken
}

fn attempt<E: Copy + Debug>(system: &impl Replay<E>, events: &[E], left: usize) -> Reached<E> {
    let failure = match catch_unwind(AssertUnwindSafe(|| system(events, left))) {
        Ok(Ok(reached)) => return reached,
        Ok(Err(failure)) => failure,
        Err(_) => "a panic, see above".to_owned(),
    };
    let lines: Vec<String> = events.iter().enumerate().map(|(at, event)| format!("{:4}. {event:?}", at + 1)).collect();
    panic!("{failure}\nafter\n{}", lines.join("\n"));
}

/// A state as a number: what the model knows, and what the real thing says of itself, with its numbers folded: moments as far as they are
/// ahead, and those in the fields of `forgotten`, which only count, not at all.
pub fn fold(model: impl Hash, real: impl Debug, now: u64, forgotten: &[&str]) -> u64 {
    let mut folded = Folded { hasher: DefaultHasher::new(), now, forgotten, forget: false, number: None };
    model.hash(&mut folded.hasher);
    write!(folded, "{real:?}.").expect("hashing does not fail");
    folded.hasher.finish()
}

struct Folded<'a> {
    hasher: DefaultHasher,
    now: u64,
    forgotten: &'a [&'a str],
    /// The last piece was the name of a field that is forgotten.
    forget: bool,
    /// It was this number.
    number: Option<u64>,
}

impl fmt::Write for Folded<'_> {
    /// Names and numbers come in pieces of their own.
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if let Some(number) = self.number.take() {
            if piece == "ns" {
                number.saturating_sub(self.now).hash(&mut self.hasher);
            } else if !self.forget {
                number.hash(&mut self.hasher);
            }
        }
        if piece.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            self.number = piece.parse().ok();
            return Ok(());
        }
        self.hasher.write(piece.as_bytes());
        if piece != ": " {
            self.forget = self.forgotten.contains(&piece);
        }
        Ok(())
    }
}
