//! The handlers of this program: one type, which is which, and what they share.

use crate::broker::Broker;
use crate::control::Control;
use crate::meter::Meter;
use crate::spool::Spool;
use core::fmt;
use core::task::Poll;
use netpoll::{Context, Error, Handler, HandlerId};
use std::io::{Write, stderr};

pub type Cx<'a> = Context<'a, App>;

#[allow(clippy::large_enum_variant)] // three of them, without a heap
pub enum App {
    Control(Control),
    Meter(Meter),
    Broker(Broker),
}

impl Handler for App {
    type Shared = Shared;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        match self {
            App::Control(control) => control.on_ready(cx),
            App::Meter(meter) => meter.on_ready(cx),
            App::Broker(broker) => broker.on_ready(cx),
        }
    }
}

pub struct Shared {
    pub spool: Spool,
    /// No more readings: what is left is delivered, and then the program ends.
    pub closing: bool,
    pub handlers: Handlers,
    pub counters: Counters,
}

/// Whom to notify of what.
#[derive(Clone, Copy, Default)]
pub struct Handlers {
    /// There is room in the queue.
    pub meter: Option<HandlerId>,
    /// There is a reading.
    pub broker: Option<HandlerId>,
}

impl Shared {
    pub const fn new() -> Shared {
        Shared { spool: Spool::new(), closing: false, handlers: Handlers { meter: None, broker: None }, counters: Counters::ZERO }
    }

    /// Nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.closing && self.spool.is_empty()
    }
}

#[derive(Clone, Copy)]
pub struct Counters {
    pub readings: u64,
    pub held: u64,
    pub published: u64,
    pub repeated: u64,
    pub acknowledged: u64,
    pub connections: u64,
    pub failed_attempts: u64,
    pub pings: u64,
    pub ignored: u64,
}

impl Counters {
    const ZERO: Counters = Counters {
        readings: 0,
        held: 0,
        published: 0,
        repeated: 0,
        acknowledged: 0,
        connections: 0,
        failed_attempts: 0,
        pings: 0,
        ignored: 0,
    };
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { readings, held, published, repeated, acknowledged, .. } = self;
        writeln!(f, "readings: {readings}, held {held} times; published: {published}, again: {repeated}, acknowledged: {acknowledged}")?;
        let Counters { connections, failed_attempts, pings, ignored, .. } = self;
        write!(f, "broker: {connections} connections, {failed_attempts} failed attempts, {pings} pings, {ignored} packets ignored")
    }
}

/// Says something on standard error. Nobody may be there to read it, and that is no reason to end.
pub fn report(what: fmt::Arguments<'_>) {
    let _ = writeln!(stderr(), "mqtt bridge: {what}");
}
