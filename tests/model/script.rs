//! What can happen in a play: two handlers, two descriptors, their far ends, a clock, a breaker.

use netpoll::Error;

/// What a handler does when it is run; again, as long as the answer is `Pending`, else nothing more. It then says `Pending`, but for `End`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Does {
    Nothing,
    ReadOnce(usize),
    /// Until the answer is `Pending`, the end or an error.
    ReadAll(usize),
    WriteAll(usize),
    Close(usize),
    /// To the other handler.
    Give(usize),
    Unwait(usize),
    /// Of reading, one tick ahead.
    SetDeadline(usize),
    /// A moment ago.
    SetPastDeadline(usize),
    ClearDeadline(usize),
    SetTimer,
    AskTimer,
    AskWake,
    AskNotified,
    Yield,
    NotifyOther,
    EndOther,
    End,
}

/// Handlers and descriptors by number. At first each handler has the descriptor of its own number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Is told what to do when it is next run.
    Tell(usize, Does),
    /// Is told, and notified.
    Order(usize, Does),
    FarWrites(usize),
    FarReads(usize),
    /// Having read.
    FarCloses(usize),
    Tick,
    Wake,
    Notify(usize),
    End(usize),
    /// A new handler in the place of one that has ended.
    Spawn(usize),
    /// One pass of the reactor, which does not wait.
    Turn,
}

/// One run of a handler: who, how many bytes, and the last answer: `None` for `Pending`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    pub who: usize,
    pub bytes: Bytes,
    pub answer: Option<Result<(), Error>>,
}

/// What has gone through a descriptor in one run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bytes {
    None,
    /// Each byte says how many came before it.
    Read(Vec<u8>),
    /// As many as there was room for.
    Written,
}

impl Event {
    /// Between two turns the order of most things makes no difference: they come in this one.
    fn rank(self) -> (usize, usize) {
        match self {
            Event::Tell(who, _) | Event::Order(who, _) => (0, who),
            Event::FarWrites(of) => (1, of),
            Event::FarReads(of) => (2, of),
            Event::FarCloses(of) => (3, of),
            Event::Tick => (4, 0),
            Event::Wake => (5, 0),
            Event::Notify(who) => (6, who),
            Event::End(who) => (7, who),
            Event::Spawn(who) => (8, who),
            Event::Turn => (9, 0),
        }
    }

    /// Which handler or descriptor it is about.
    fn about(self) -> Option<usize> {
        if matches!(self, Event::Tick | Event::Wake | Event::Turn) { None } else { Some(self.rank().1) }
    }

    /// Whether this is worth trying after those: not if it only changes the order of things that do not meet, and not if everything so far
    /// was about neither of the two handlers, and this is about the second.
    pub fn follows(self, before: &[Event]) -> bool {
        let in_order = match before.last() {
            None | Some(Event::Turn) => true,
            Some(last) if matches!(self, Event::FarWrites(_)) => last.rank() <= self.rank(),
            Some(last) => last.rank() < self.rank(),
        };
        in_order && (self.about() != Some(1) || before.iter().any(|event| event.about().is_some()))
    }
}

/// All that is ever tried.
pub fn all() -> Vec<Event> {
    let mut all = Vec::new();
    for one in [0, 1] {
        let other = 1 - one;
        let only_when_told = [Does::NotifyOther, Does::EndOther, Does::End, Does::Close(one), Does::Give(one), Does::Unwait(one)];
        let also = [
            Does::Nothing,
            Does::ReadOnce(one),
            Does::ReadAll(one),
            Does::ReadAll(other),
            Does::WriteAll(one),
            Does::Close(other),
            Does::SetDeadline(one),
            Does::SetPastDeadline(one),
            Does::ClearDeadline(one),
            Does::SetTimer,
            Does::AskTimer,
            Does::AskWake,
            Does::AskNotified,
            Does::Yield,
        ];
        all.extend(only_when_told.map(|does| Event::Tell(one, does)));
        all.extend(only_when_told.into_iter().chain(also).map(|does| Event::Order(one, does)));
        all.extend([
            Event::FarWrites(one),
            Event::FarReads(one),
            Event::FarCloses(one),
            Event::Notify(one),
            Event::End(one),
            Event::Spawn(one),
        ]);
    }
    all.extend([Event::Tick, Event::Wake, Event::Turn]);
    all
}
