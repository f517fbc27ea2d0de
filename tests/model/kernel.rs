//! One descriptor as an edge-triggered epoll has it: what is there, and whether an event is on its way.
//!
//! As in the kernel, a descriptor is either on the ready list or not, and what an event says is looked up when it is handed over.

use netpoll::readiness::Readiness;
use netpoll::{Direction, Interest};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Inbox {
    Empty,
    Data,
    /// Data, an urgent byte, and data behind it: a read stops before the urgent byte.
    Marked,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FarEnd {
    Open,
    /// Writes no more.
    HalfClosed,
    HungUp,
    /// Has left an error behind.
    Broken,
}

/// What happens at the far end, or on the way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Far {
    Connects,
    Writes,
    WritesUrgently,
    /// There is room again.
    Reads,
    HalfCloses,
    HangsUp,
    Breaks,
    /// An event without news.
    Stirs,
}

/// How much a call does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Amount {
    /// There is more, or more room.
    Part,
    All,
}

pub enum Says {
    Again,
    Answer,
    /// A read that got less than it had room for.
    Short,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    interest: u8,
    connected: bool,
    inbox: Inbox,
    urgent: bool,
    room: bool,
    far: FarEnd,
    /// On the ready list.
    pub on_its_way: bool,
}

impl Kernel {
    /// `epoll_ctl` looks once by itself.
    pub fn new(interest: Interest) -> Kernel {
        let bit = |mask, bit| if interest.contains(mask) { bit } else { 0 };
        let bits = bit(Interest::READ, 1) | bit(Interest::WRITE, 4) | bit(Interest::PRIORITY, 2);
        let connected = !interest.contains(Interest::CONNECTING);
        let (inbox, far) = (Inbox::Empty, FarEnd::Open);
        let mut kernel = Kernel { interest: bits, connected, inbox, urgent: false, room: true, far, on_its_way: false };
        kernel.on_its_way = !kernel.level().is_empty();
        kernel
    }

    fn wants(&self, direction: Direction) -> bool {
        self.interest & 1 << direction as u8 != 0
    }

    /// Whether a call in this direction would answer anything but `EAGAIN`.
    pub fn has(&self, direction: Direction) -> bool {
        let gone = matches!(self.far, FarEnd::HungUp | FarEnd::Broken);
        match direction {
            Direction::Read => gone || self.inbox != Inbox::Empty || self.far == FarEnd::HalfClosed,
            Direction::Write => gone || self.connected && self.room,
            Direction::Priority => gone || self.urgent,
        }
    }

    /// What epoll would say, were it asked.
    fn level(&self) -> Readiness {
        let mut level = Readiness::EMPTY;
        let hung_up = self.far == FarEnd::HungUp;
        let half_closed = hung_up || self.far == FarEnd::HalfClosed;
        for (holds, readiness) in [
            (self.wants(Direction::Read) && (half_closed || self.inbox != Inbox::Empty), Readiness::READ),
            (self.wants(Direction::Read) && half_closed, Readiness::READ_CLOSED),
            (self.wants(Direction::Priority) && self.urgent, Readiness::PRIORITY),
            (self.wants(Direction::Write) && (hung_up || self.connected && self.room), Readiness::WRITE),
            (hung_up, Readiness::HUP),
            (self.far == FarEnd::Broken, Readiness::ERROR),
        ] {
            if holds {
                level |= readiness;
            }
        }
        level
    }

    /// The event, if there still is one.
    pub fn hand_over(&mut self) -> Option<Readiness> {
        self.on_its_way = false;
        Some(self.level()).filter(|level| !level.is_empty())
    }

    pub fn call(&mut self, direction: Direction, amount: Amount) -> Says {
        if !self.has(direction) {
            return Says::Again;
        }
        match (direction, amount, self.inbox) {
            (Direction::Read, Amount::All, Inbox::Data) => self.inbox = Inbox::Empty,
            (Direction::Read, Amount::All, Inbox::Marked) => self.inbox = Inbox::Data,
            (Direction::Read, ..) => return Says::Answer,
            (Direction::Write, Amount::All, _) => self.room = false,
            (Direction::Priority, ..) => self.urgent = false,
            (Direction::Write, Amount::Part, _) => {}
        }
        if direction == Direction::Read { Says::Short } else { Says::Answer }
    }

    /// Whether this can happen, and makes a difference.
    pub fn can(&self, far: Far) -> bool {
        let open = self.connected && self.far == FarEnd::Open;
        match far {
            Far::Connects => !self.connected && self.far == FarEnd::Open,
            Far::Writes => open && self.inbox == Inbox::Empty && self.wants(Direction::Read),
            Far::WritesUrgently => open && !self.urgent && self.inbox != Inbox::Marked && self.wants(Direction::Priority),
            Far::Reads => !self.room && matches!(self.far, FarEnd::Open | FarEnd::HalfClosed),
            Far::HalfCloses => open,
            Far::HangsUp | Far::Breaks => matches!(self.far, FarEnd::Open | FarEnd::HalfClosed),
            Far::Stirs => !self.on_its_way,
        }
    }

    /// Whatever is asked for goes on the ready list; errors and hang-ups need not be asked for.
    pub fn happen(&mut self, far: Far) {
        let asked_for = match far {
            Far::Connects => {
                self.connected = true;
                self.wants(Direction::Write)
            }
            Far::Writes => {
                self.inbox = Inbox::Data;
                self.wants(Direction::Read)
            }
            Far::WritesUrgently => {
                (self.inbox, self.urgent) = (Inbox::Marked, true);
                true
            }
            Far::Reads => {
                self.room = true;
                self.wants(Direction::Write)
            }
            Far::HalfCloses => {
                self.far = FarEnd::HalfClosed;
                self.wants(Direction::Read)
            }
            Far::HangsUp => {
                self.far = FarEnd::HungUp;
                true
            }
            Far::Breaks => {
                self.far = FarEnd::Broken;
                true
            }
            Far::Stirs => true,
        };
        self.on_its_way |= asked_for;
    }
}
