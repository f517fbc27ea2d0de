//! What users supply: functions that the compiler knows nothing of.

use core::task::Poll;

use netpoll::frame::{Framing, Scan};
use netpoll::{Context, Error, Handler, Io, Outbox, Reader, Rejected, Source, Stats, Writer};

type OnReady = fn(&mut Activity, &mut Context<'_, Activity>) -> Poll<Result<(), Error>>;

pub struct Activity {
    on_ready: OnReady,
    on_error: fn(&mut Activity, Error, &mut Context<'_, Activity>),
    end: fn(),
}

pub struct Shared {
    #[expect(dead_code, reason = "it is found by a function that nobody knows")]
    outbox: Outbox<[u8; 16], 4, 2>,
    on_sleep: fn(&Stats),
}

impl Handler for Activity {
    type Shared = Shared;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        (self.on_ready)(self, cx)
    }

    fn on_error(&mut self, error: Error, cx: &mut Context<'_, Self>) {
        (self.on_error)(self, error, cx);
    }

    fn on_sleep(shared: &mut Shared, stats: &Stats) {
        (shared.on_sleep)(stats);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        (self.end)();
    }
}

pub struct Stream {
    read: fn(&mut [u8]) -> Poll<Result<usize, Error>>,
    write: fn(&[u8]) -> Poll<Result<usize, Error>>,
}

impl Reader for Stream {
    fn read(&self, _: &mut Io<'_>, buf: &mut [u8]) -> Poll<Result<usize, Error>> {
        (self.read)(buf)
    }
}

impl Writer for Stream {
    fn write(&self, _: &mut Io<'_>, buf: &[u8]) -> Poll<Result<usize, Error>> {
        (self.write)(buf)
    }
}

pub struct Opening(fn(Opening, &mut Io<'_>) -> Result<u64, Rejected<Opening>>);

impl Source for Opening {
    type Opened = u64;

    fn open(self, io: &mut Io<'_>) -> Result<u64, Rejected<Opening>> {
        (self.0)(self, io)
    }
}

#[derive(Debug)]
pub struct Messages {
    scan: fn(&[u8], usize) -> Scan,
    overlap: fn() -> usize,
}

impl Framing for Messages {
    fn scan(&self, bytes: &[u8], seen: usize) -> Scan {
        (self.scan)(bytes, seen)
    }

    fn overlap(&self) -> usize {
        (self.overlap)()
    }
}
