//! `netpoll::readiness`: whole event buffers, as the kernels lay them out, delivered to a table; what each event says is read from them a
//! second time, by the table in the documentation of `Readiness`.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use netpoll::readiness::{Filters, Kevent, Readiness};
use netpoll::table::{Gate, Table, TableStorage};
use netpoll::{Direction, Interest, Token, Waiter};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    kernel: Kernel,
    slots: [Slot; 4],
    /// What the kernel has written: events, and half of one.
    buffer: &'a [u8],
}

/// Whose `struct epoll_event`, `struct kevent` or `port_event_t` it is.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kernel {
    /// Packed.
    LinuxX86,
    LinuxOthers,
    FreeBsd,
    NetBsd,
    /// And macOS.
    OpenBsd,
    Illumos,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Slot {
    open: Ways,
    wait: Ways,
    /// Who was woken finds nothing, and waits again.
    again: bool,
    /// Closed before the events come; then another descriptor takes its place.
    closed: bool,
    taken: bool,
}

#[derive(Arbitrary, Clone, Copy, PartialEq, Default, Debug)]
struct Ways {
    read: bool,
    write: bool,
    priority: bool,
}

const DIRECTIONS: [Direction; 3] = [Direction::Read, Direction::Write, Direction::Priority];

impl Ways {
    fn has(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.read,
            Direction::Write => self.write,
            Direction::Priority => self.priority,
        }
    }

    fn interest(self) -> Interest {
        let mut interest = Interest::WAKEUP; // which opens nothing
        for (chosen, this) in [(self.read, Interest::READ), (self.write, Interest::WRITE), (self.priority, Interest::PRIORITY)] {
            if chosen {
                interest |= this;
            }
        }
        interest
    }
}

// ---- What an event says, read a second time

/// An event, as far as it can matter.
#[derive(Clone, Copy)]
struct Raw {
    bits: u64,
    word: Word,
}

#[derive(Clone, Copy)]
enum Word {
    Epoll(u32),
    Kqueue { event: Kevent, filters: Filters },
    Port { events: i32, of_descriptor: bool },
}

/// What is said, one by one: the columns of the documentation's table.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
struct Said {
    read: bool,
    write: bool,
    priority: bool,
    read_closed: bool,
    hup: bool,
    error: bool,
}

impl Said {
    fn by(word: Word) -> Said {
        match word {
            Word::Epoll(events) => {
                let has = |bit: u32| events / bit % 2 == 1;
                Said { read: has(1), priority: has(2), write: has(4), error: has(8), hup: has(16), read_closed: has(8192) }
            }
            Word::Port { of_descriptor: false, .. } => Said::default(),
            Word::Port { events, of_descriptor: true } => {
                let has = |bit: u32| events as u32 / bit % 2 == 1;
                Said {
                    read: has(0x1) || has(0x40),
                    write: has(0x4),
                    priority: has(0x2) || has(0x80),
                    read_closed: has(0x4000),
                    hup: has(0x10),
                    error: has(0x8) || has(0x20),
                }
            }
            Word::Kqueue { event, filters } => {
                let (reads, writes) = (event.filter == filters.read, event.filter == filters.write);
                let (answer, end) = (event.flags / 0x4000 % 2 == 1, event.flags / 0x8000 % 2 == 1);
                let refused = answer && event.data != 0;
                Said {
                    read: !answer && reads,
                    write: !answer && (writes || (reads && end)),
                    priority: false,
                    read_closed: !answer && reads && end,
                    hup: !answer && writes && end,
                    error: (reads || writes) && (refused || (!answer && end && event.fflags != 0)),
                }
            }
        }
    }

    fn is_anything(self) -> bool {
        self != Said::default()
    }

    fn opens(self, direction: Direction) -> bool {
        let plainly = match direction {
            Direction::Read => self.read || self.read_closed,
            Direction::Write => self.write,
            Direction::Priority => self.priority,
        };
        plainly || self.hup || self.error
    }

    /// The crate's word for each, and what it is called.
    fn each(self) -> [(bool, Readiness, &'static str); 6] {
        [
            (self.read, Readiness::READ, "READ"),
            (self.write, Readiness::WRITE, "WRITE"),
            (self.priority, Readiness::PRIORITY, "PRIORITY"),
            (self.read_closed, Readiness::READ_CLOSED, "READ_CLOSED"),
            (self.hup, Readiness::HUP, "HUP"),
            (self.error, Readiness::ERROR, "ERROR"),
        ]
    }

    fn and(self, other: Said) -> Said {
        Said {
            read: self.read || other.read,
            write: self.write || other.write,
            priority: self.priority || other.priority,
            read_closed: self.read_closed || other.read_closed,
            hup: self.hup || other.hup,
            error: self.error || other.error,
        }
    }
}

fn parse(word: Word) -> Readiness {
    match word {
        Word::Epoll(events) => Readiness::from_epoll(events),
        Word::Kqueue { event, filters } => Readiness::from_kqueue(&event, filters),
        Word::Port { events, of_descriptor: true } => Readiness::from_event_port(events),
        // The back-end passes them over.
        Word::Port { of_descriptor: false, .. } => Readiness::EMPTY,
    }
}

// ---- The kernels' buffers

/// Takes numbers from the front of an event; the tail of the buffer may lack some.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        *field
    }

    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    fn u64_as_i64(&mut self) -> i64 {
        self.u64().cast_signed()
    }
}

impl Kernel {
    fn size(self) -> usize {
        match self {
            Kernel::LinuxX86 => 12,
            Kernel::LinuxOthers => 16,
            Kernel::FreeBsd => 64,
            Kernel::NetBsd => 40,
            Kernel::OpenBsd => 32,
            Kernel::Illumos => 24,
        }
    }

    fn event(self, bytes: &[u8]) -> Raw {
        let mut fields = Fields(bytes);
        match self {
            Kernel::LinuxX86 => {
                let events = fields.u32();
                Raw { bits: fields.u64(), word: Word::Epoll(events) }
            }
            Kernel::LinuxOthers => {
                let (events, _padding) = (fields.u32(), fields.u32());
                Raw { bits: fields.u64(), word: Word::Epoll(events) }
            }
            Kernel::FreeBsd | Kernel::OpenBsd => {
                let (_ident, filter, flags) = (fields.u64(), fields.u16().cast_signed().into(), fields.u16().into());
                let event = Kevent { filter, flags, fflags: fields.u32(), data: fields.u64_as_i64() };
                Raw { bits: fields.u64(), word: Word::Kqueue { event, filters: Filters::COMMON } }
            }
            Kernel::NetBsd => {
                let (_ident, filter, flags) = (fields.u64(), fields.u32().cast_signed(), fields.u32());
                let (fflags, _padding) = (fields.u32(), fields.u32());
                let event = Kevent { filter, flags, fflags, data: fields.u64_as_i64() };
                Raw { bits: fields.u64(), word: Word::Kqueue { event, filters: Filters::NETBSD } }
            }
            Kernel::Illumos => {
                let (events, source, _padding, _object) = (fields.u32().cast_signed(), fields.u16(), fields.u16(), fields.u64());
                Raw { bits: fields.u64(), word: Word::Port { events, of_descriptor: source == 4 } }
            }
        }
    }

    fn events(self, buffer: &[u8]) -> Vec<Raw> {
        buffer.chunks_exact(self.size()).take(64).map(|bytes| self.event(bytes)).collect()
    }
}

// ---- What is to hold of each event, and of two

fn check_word(word: Word) {
    let (readiness, said) = (parse(word), Said::by(word));
    let mut all = Readiness::EMPTY;
    let text = format!("{readiness:?}");
    for (is_said, bit, name) in said.each() {
        assert_eq!(readiness.contains(bit), is_said, "{name}");
        assert_eq!(readiness.intersects(bit), is_said, "{name}");
        assert_eq!(text.trim_end_matches(')').split(['(', ' ']).any(|word| word == name), is_said, "{text}");
        if is_said {
            all |= bit;
        }
    }
    // Nothing that has no name.
    assert_eq!((readiness, readiness.bits()), (all, all.bits()));
    assert_eq!(readiness.is_empty(), !said.is_anything());
    let wakes = [readiness.wakes_reader(), readiness.wakes_writer(), readiness.wakes_priority()];
    assert_eq!(wakes, DIRECTIONS.map(|direction| said.opens(direction)));
    match word {
        Word::Epoll(events) => {
            assert!(Readiness::from_epoll(events & !0x201F).is_empty(), "garbage says something");
            assert_eq!(Readiness::from_epoll(events & 0x201F), readiness, "garbage says something beside other bits");
        }
        Word::Port { events, of_descriptor: true } => {
            assert!(Readiness::from_event_port(events & !0x40FF).is_empty(), "garbage says something");
            assert_eq!(Readiness::from_event_port(events & 0x40FF), readiness, "garbage says something beside other bits");
        }
        _ => {}
    }
}

/// Where a word is a set, the union of two says what both say.
fn check_union(first: Word, second: Word) {
    let both = match (first, second) {
        (Word::Epoll(first), Word::Epoll(second)) => Word::Epoll(first | second),
        (Word::Port { events: first, of_descriptor: true }, Word::Port { events: second, of_descriptor: true }) => {
            Word::Port { events: first | second, of_descriptor: true }
        }
        _ => return,
    };
    assert_eq!(parse(both), parse(first) | parse(second));
    assert_eq!(Said::by(both), Said::by(first).and(Said::by(second)));
}

// ---- The table

/// What is to be in a slot.
#[derive(Clone, Copy)]
struct Plain {
    token: Token,
    slot: Slot,
    /// In the order of `DIRECTIONS`.
    ready: [bool; 3],
    waits: [bool; 3],
    said: Said,
}

const WAITERS: usize = 3;

/// Who waits for what is closed.
const CLOSED: Waiter = Waiter::new(99);

fn waiter(slot: usize, direction: usize) -> Waiter {
    Waiter::new((slot * WAITERS + direction) as u32)
}

/// Opens the slots, has them waited for, and closes some.
fn prepare(table: &mut Table<'_, usize>, slots: &[Slot; 4]) -> [Option<Plain>; 4] {
    let tokens: [Token; 4] = core::array::from_fn(|i| table.insert(i, slots[i].open.interest()).unwrap());
    let mut plains = [None; 4];
    let closed = |taken| (0..4).filter(move |&i| slots[i].closed && slots[i].taken == taken);
    for taken in [true, false] {
        for i in closed(taken) {
            table.get_mut(tokens[i]).unwrap().wait(Direction::Read, CLOSED);
            assert_eq!(table.remove(tokens[i]), Ok(i));
        }
        if taken {
            // The others' slots are not free yet when the events come.
            table.take_closing(|waiter| assert_eq!(waiter, CLOSED));
        }
    }
    for (i, &slot) in slots.iter().enumerate() {
        let token = match slot {
            Slot { closed: false, .. } => tokens[i],
            Slot { taken: true, .. } => table.insert(i, slot.open.interest()).unwrap(),
            _ => continue,
        };
        let index = token.index() as usize;
        let mut plain = Plain { token, slot, ready: [false; 3], waits: [false; 3], said: Said::default() };
        let desc = table.get_mut(token).unwrap();
        for (d, direction) in DIRECTIONS.into_iter().enumerate() {
            desc.clear_ready(direction);
            if slot.wait.has(direction) && slot.open.has(direction) {
                desc.wait(direction, waiter(index, d));
                plain.waits[d] = true;
            }
        }
        plains[index] = Some(plain);
    }
    plains
}

/// Delivers one event and compares who is woken, and every gate.
fn deliver(table: &mut Table<'_, usize>, plains: &mut [Option<Plain>; 4], event: Raw, may_wait_again: bool) {
    let mut woken = Vec::new();
    let there = table.edge(event.bits, parse(event.word), |waiter| woken.push(waiter.get()));
    woken.sort();
    let said = Said::by(event.word);
    let named = plains.iter_mut().flatten().find(|plain| plain.token.to_u64() == event.bits);
    let mut expected = Vec::new();
    if let Some(plain) = named {
        assert!(there);
        let waited = plain.waits.contains(&true);
        plain.said = plain.said.and(said);
        for (d, direction) in DIRECTIONS.into_iter().enumerate() {
            if plain.slot.open.has(direction) && said.opens(direction) {
                if std::mem::take(&mut plain.waits[d]) {
                    expected.push(waiter(plain.token.index() as usize, d).get());
                }
                plain.ready[d] = true;
            }
        }
        if said.hup || said.error {
            assert_eq!(waited, !woken.is_empty(), "an error or a hang-up wakes whoever waits");
            assert!(!table.get(plain.token).unwrap().is_waited_for());
        }
        if plain.slot.again && may_wait_again {
            let desc = table.get_mut(plain.token).unwrap();
            for (d, direction) in DIRECTIONS.into_iter().enumerate() {
                if expected.contains(&waiter(plain.token.index() as usize, d).get()) {
                    desc.wait(direction, waiter(plain.token.index() as usize, d));
                    (plain.ready[d], plain.waits[d]) = (false, true);
                }
            }
        }
    }
    assert_eq!(woken, expected);
}

fn check(table: &Table<'_, usize>, plains: &[Option<Plain>; 4]) {
    for (i, plain) in plains.iter().enumerate() {
        let Some(plain) = plain else { continue };
        let desc = table.get(plain.token).unwrap();
        for (d, direction) in DIRECTIONS.into_iter().enumerate() {
            let expected = match (plain.slot.open.has(direction), plain.ready[d], plain.waits[d]) {
                (false, ..) => Gate::Unopened,
                (_, true, _) => Gate::Ready,
                (_, _, true) => Gate::Waiting(waiter(i, d)),
                _ => Gate::Idle,
            };
            assert_eq!(desc.gate(direction), expected);
        }
        let said = plain.said;
        assert_eq!(desc.is_broken(), said.hup || said.error);
        assert_eq!(desc.is_quiet(), !(said.hup || said.error || said.priority || said.read_closed));
    }
}

/// All events, in this order, to a new table; what the gates are then.
fn all<'e>(slots: &[Slot; 4], events: impl Iterator<Item = &'e Raw>, may_wait_again: bool) -> Vec<[Gate; 3]> {
    let mut storage = TableStorage::<usize, 4>::new();
    let mut table = storage.lend();
    let mut plains = prepare(&mut table, slots);
    check(&table, &plains);
    for &event in events {
        deliver(&mut table, &mut plains, event, may_wait_again);
        check(&table, &plains);
    }
    // Who waited for what was closed is told of that, and was not woken by an event before.
    let mut closed = 0;
    table.take_closing(|waiter| {
        assert_eq!(waiter, CLOSED);
        closed += 1;
    });
    assert_eq!(closed, plains.iter().filter(|plain| plain.is_none()).count());
    let open = plains.iter().flatten();
    open.map(|plain| DIRECTIONS.map(|direction| table.get(plain.token).unwrap().gate(direction))).collect()
}

fuzz_target!(|input: Input| {
    let events = input.kernel.events(input.buffer);
    for event in &events {
        check_word(event.word);
    }
    for pair in events.windows(2) {
        check_union(pair[0].word, pair[1].word);
    }
    all(&input.slots, events.iter(), true);
    let forward = all(&input.slots, events.iter(), false);
    let backward = all(&input.slots, events.iter().rev(), false);
    assert_eq!(forward, backward, "the order of events matters");
});
