//! The gates and the reactor beside models of them, through every sequence of events: no promise of the diagram is out of reach, no
//! wake-up is lost, nobody is run without a reason.
//!
//! `model/diagram.rs` is the documentation of the gates in executable form. The real table walks along it on a kernel of its own
//! (`model/kernel.rs`), through all states that there are.

#![cfg(target_os = "linux")]

#[path = "model/diagram.rs"]
mod diagram;
#[path = "model/explore.rs"]
mod explore;
#[path = "model/gates.rs"]
mod gates;
#[path = "model/kernel.rs"]
mod kernel;
#[path = "model/play.rs"]
mod play;
#[path = "model/script.rs"]
mod script;
#[path = "model/stage.rs"]
mod stage;

use diagram::Taken;
use explore::explore;
use gates::{Event, Scope, When};
use kernel::{Amount, Far};
use netpoll::Interest;

const BOTH: Interest = Interest::READ.union(Interest::WRITE);
const ALL: usize = usize::MAX;

/// One descriptor that is read from and written to by one waiter.
const PLAIN: Scope = Scope {
    places: 1,
    interests: &[BOTH],
    far: &[],
    amounts: &[Amount::All],
    waiters: 1,
    deadlines: &[],
    closes: false,
    budget: false,
    is_stream: false,
};

fn walk(name: &str, scope: &Scope) -> Taken {
    explore(name, &[], ALL, |events: &[Event], _| gates::replay(scope, events))
}

const ANY_AMOUNT: &[Amount] = &[Amount::Part, Amount::All];
const SOME_DEADLINES: &[When] = &[When::Never, When::Passed, When::Ahead];

/// Every way in which a far end can make itself felt.
const EDGES: Scope =
    Scope { far: &[Far::Writes, Far::Reads, Far::HalfCloses, Far::HangsUp, Far::Breaks, Far::Stirs], amounts: ANY_AMOUNT, ..PLAIN };

/// Both deadlines, in all their orders with edges.
const DEADLINES: Scope = Scope { far: &[Far::Writes], deadlines: &[When::Never, When::Passed, When::Ahead, When::FarAhead], ..PLAIN };

const URGENT: &[Interest] = &[Interest::READ.union(Interest::PRIORITY)];
const ALL_GATES: &[Interest] = &[BOTH.union(Interest::PRIORITY)];

/// A TCP stream, where a short read may close the gate; urgent data, at which a read stops short.
const STREAMS: Scope =
    Scope { far: &[Far::Writes, Far::WritesUrgently, Far::HalfCloses, Far::HangsUp], interests: URGENT, is_stream: true, ..PLAIN };

/// A socket that is not yet connected.
const CONNECTING: Scope = Scope {
    far: &[Far::Connects, Far::Writes, Far::Reads, Far::HangsUp, Far::Breaks],
    interests: &[BOTH.union(Interest::CONNECTING)],
    ..PLAIN
};

/// Directions that were not opened, with their deadlines.
const ONE_WAY: Scope = Scope {
    far: &[Far::Writes, Far::Reads],
    interests: &[Interest::READ, Interest::WRITE, Interest::PRIORITY],
    deadlines: SOME_DEADLINES,
    ..PLAIN
};

/// One call for each run.
const BUDGET: Scope = Scope { far: &[Far::Writes, Far::Reads], amounts: ANY_AMOUNT, budget: true, ..PLAIN };

/// Two descriptors: closed and opened again, used when they are stale.
const TABLE: Scope = Scope { places: 2, interests: &[Interest::READ], far: &[Far::Writes], closes: true, ..PLAIN };

/// Each scope is walked through to its last state, and all arrows together are the diagram.
#[test]
fn gates_walk_along_the_diagram_and_every_arrow_is_taken() {
    let mut taken = Taken::default();
    taken.add(walk("edges", &EDGES));
    taken.add(walk("deadlines", &DEADLINES));
    taken.add(walk("streams", &STREAMS));
    taken.add(walk("connecting", &CONNECTING));
    taken.add(walk("one way", &ONE_WAY));
    taken.add(walk("budget", &BUDGET));
    taken.add(walk("table", &TABLE));
    assert_eq!(taken.missing(), [], "promised by the diagram, and out of reach");
}

/// More of everything at once; a minute in a release build.
#[test]
#[ignore = "long; all that the short form knows is in it"]
fn gates_walk_along_the_diagram_in_wider_scopes() {
    walk("edges", &Scope { waiters: 2, closes: true, ..EDGES });
    walk("deadlines", &Scope { far: &[Far::Writes, Far::Reads], closes: true, ..DEADLINES });
    walk("streams", &Scope { interests: ALL_GATES, amounts: ANY_AMOUNT, deadlines: SOME_DEADLINES, ..STREAMS });
    walk("connecting", &Scope { deadlines: SOME_DEADLINES, closes: true, ..CONNECTING });
    walk("one way", &Scope { far: EDGES.far, closes: true, ..ONE_WAY });
    walk("budget", &Scope { deadlines: SOME_DEADLINES, ..BUDGET });
    walk("table", &Scope { waiters: 2, ..TABLE });
}

/// Every sequence of so many events; of one less after both handlers have begun to wait for something to read; of two less after both
/// have ended and left their places, with a timer, a notification, a wake that was seen and a wait in them, to others.
fn play(depth: usize) {
    use script::Does::{AskNotified, AskWake, ReadAll, SetTimer};
    use script::Event::{End, Notify, Order, Spawn, Tell, Turn, Wake};
    let depth = std::env::var("NETPOLL_MODEL_DEPTH").map_or(depth, |depth| depth.parse().expect("a number"));
    let waiting = [Order(0, ReadAll(0)), Order(1, ReadAll(1)), Turn];
    let mut replaced = vec![Order(1, AskWake), Wake, Turn, Order(0, SetTimer), Order(1, AskWake), Turn];
    replaced.extend([Notify(0), End(0), End(1), Spawn(0), Spawn(1), Tell(0, AskNotified), Turn]);
    explore("reactor", &[], depth, stage::replay);
    explore("reactor, both wait", &waiting, depth.saturating_sub(1), stage::replay);
    explore("reactor, both replaced", &replaced, depth.saturating_sub(2), stage::replay);
}

#[test]
fn reactor_plays_as_the_model_does() {
    play(4);
}

/// `NETPOLL_MODEL_DEPTH` says how long the sequences of both forms are.
#[test]
#[ignore = "a minute or two in a release build; the same with longer sequences"]
fn reactor_plays_as_the_model_does_in_longer_plays() {
    play(5);
}
