//! The diagram of a gate as a table, in the order in which one reads it: what a gate is, what happens, what it is then, what comes of it.
//!
//! A pair that stands in no line cannot happen.

use std::sync::OnceLock;

use Becomes::*;
use Happens::*;
use Is::*;

/// One direction of a descriptor, who waits there left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Is {
    /// This direction was not asked for.
    Unopened,
    /// The last call found nothing.
    Idle,
    /// The next call may find something.
    Ready,
    /// As `Idle`, and somebody is to be run.
    Waiting,
    /// The descriptor was closed; its token is stale.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Happens {
    /// The kernel reports something that opens this gate.
    Edge,
    /// Somebody wants to read or write.
    Operation,
    /// The same, when this run of the handler has made all the calls that it may.
    OperationOverBudget,
    /// The same, when the deadline has passed.
    OperationTooLate,
    /// The system call of an operation answers `EAGAIN`.
    CallSaysAgain,
    /// It answers anything else.
    CallAnswers,
    /// It answers that the next one would say `EAGAIN`: a short read of a TCP stream that never reported more than readiness.
    CallEmpties,
    /// A call that was made without the poller has said `EAGAIN`.
    ClearReady,
    /// The poller looks, and the deadline has passed.
    DeadlinePasses,
    /// The wait is withdrawn. So it is when the descriptor is given to another handler.
    Unwait,
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Becomes {
    Nothing,
    /// The waiter is run, once.
    Run,
    /// `Pending`, without a system call; whoever asked is the waiter, and whoever was it before is not.
    Wait,
    /// `Pending`, and the handler comes again by itself.
    Yield,
    /// The system call is made.
    Call,
    /// Its answer.
    Answer,
    TimedOut,
    NotPollable,
    /// "use of closed network connection"
    UseOfClosed,
}

type Arrow = (Is, Happens, Is, Becomes);

#[rustfmt::skip]
pub const DIAGRAM: &[Arrow] = &[
    (Idle,     Edge,                Ready,    Nothing),
    (Ready,    Edge,                Ready,    Nothing),
    (Waiting,  Edge,                Ready,    Run),

    (Ready,    Operation,           Ready,    Call),
    (Ready,    CallSaysAgain,       Waiting,  Wait),
    (Ready,    CallAnswers,         Ready,    Answer),
    (Ready,    CallEmpties,         Idle,     Answer),
    (Idle,     Operation,           Waiting,  Wait),
    (Waiting,  Operation,           Waiting,  Wait),

    (Ready,    OperationOverBudget, Ready,    Yield),
    (Idle,     OperationOverBudget, Waiting,  Wait),
    (Waiting,  OperationOverBudget, Waiting,  Wait),

    (Idle,     DeadlinePasses,      Idle,     Nothing),
    (Ready,    DeadlinePasses,      Ready,    Nothing),
    (Waiting,  DeadlinePasses,      Idle,     Run),
    (Idle,     OperationTooLate,    Idle,     TimedOut),
    (Ready,    OperationTooLate,    Ready,    TimedOut),
    (Waiting,  OperationTooLate,    Waiting,  TimedOut),

    (Idle,     ClearReady,          Idle,     Nothing),
    (Ready,    ClearReady,          Idle,     Nothing),
    (Waiting,  ClearReady,          Waiting,  Nothing),

    (Idle,     Unwait,              Idle,     Nothing),
    (Ready,    Unwait,              Ready,    Nothing),
    (Waiting,  Unwait,              Idle,     Nothing),

    (Idle,     Close,               Closed,   Nothing),
    (Ready,    Close,               Closed,   Nothing),
    (Waiting,  Close,               Closed,   Run),
    (Closed,   Close,               Closed,   UseOfClosed),
    (Closed,   Edge,                Closed,   Nothing),
    (Closed,   Operation,           Closed,   UseOfClosed),

    (Unopened, Edge,                Unopened, Nothing),
    (Unopened, Operation,           Unopened, NotPollable),
    (Unopened, OperationTooLate,    Unopened, TimedOut),
    (Unopened, DeadlinePasses,      Unopened, Nothing),
    (Unopened, Unwait,              Unopened, Nothing),
    (Unopened, Close,               Closed,   Nothing),
];

/// The arrows that were taken, by their place in the table.
#[derive(Clone, Copy, Default)]
pub struct Taken(u64);

impl Taken {
    pub fn add(&mut self, other: Taken) {
        self.0 |= other.0;
    }

    pub fn missing(self) -> Vec<Arrow> {
        DIAGRAM.iter().enumerate().filter(|(at, _)| self.0 & 1 << at == 0).map(|(_, &arrow)| arrow).collect()
    }

    /// The one arrow that leads on from here.
    pub fn follow(&mut self, is: Is, happens: Happens) -> Result<(Is, Becomes), String> {
        let Some(at) = arrows()[is as usize][happens as usize] else {
            return Err(format!("no arrow in the diagram: {is:?}, {happens:?}"));
        };
        self.0 |= 1 << at;
        Ok((DIAGRAM[at].2, DIAGRAM[at].3))
    }
}

/// Where in the table the arrow is that begins here. No two do.
fn arrows() -> &'static [[Option<usize>; 11]; 5] {
    static ARROWS: OnceLock<[[Option<usize>; 11]; 5]> = OnceLock::new();
    ARROWS.get_or_init(|| {
        let mut arrows = [[None; 11]; 5];
        for (at, &(is, happens, ..)) in DIAGRAM.iter().enumerate() {
            assert_eq!(arrows[is as usize][happens as usize].replace(at), None, "two arrows: {is:?}, {happens:?}");
        }
        arrows
    })
}
