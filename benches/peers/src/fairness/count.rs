//! How many operations the quiet connection waits for: client and loop on one thread, so that nothing depends on who runs when. Whoever reads a
//! flooded connection fills all of them up again, and now and then sends the quiet one a byte.

use std::cell::RefCell;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use super::{Counters, ENOUGH, Flood, Serve, connection};

/// So many operations the quiet connection waits for its turn; then the flood pauses until it has come.
const LIMIT: u64 = 20_000;

/// The most operations between the quiet one's turn and its next byte.
const GAP: u64 = 997;

thread_local! {
    static CLIENT: RefCell<Option<Client>> = const { RefCell::new(None) };
}

struct Client {
    counters: &'static Counters,
    flood: Flood,
    quiet: TcpStream,
    random: fastrand::Rng,
    /// When the quiet one is sent its next byte, and when it was sent the one that it has not read; in operations.
    next: u64,
    sent: Option<u64>,
    waited: Vec<u64>,
    pings: usize,
}

impl Client {
    fn operations(&self) -> u64 {
        self.counters.operations.load(Ordering::Relaxed)
    }

    fn flooded(&mut self) {
        let now = self.operations();
        if self.sent.is_none_or(|sent| now - sent < LIMIT) && !self.counters.is_over() {
            self.flood.fill_all();
        }
        if self.sent.is_none() && now >= self.next {
            self.quiet.write_all(b"q").expect("a connection");
            self.sent = Some(now);
        }
    }

    fn quiet(&mut self) {
        let Some(sent) = self.sent.take() else { return };
        let now = self.operations();
        self.waited.push((now - sent).min(LIMIT));
        self.next = now + self.random.u64(1..=GAP);
        let unfair = self.waited.iter().filter(|waited| **waited == LIMIT).count();
        if self.waited.len() == self.pings || unfair == ENOUGH {
            self.counters.stop.store(true, Ordering::Release);
        } else {
            // After a pause nobody reads a flooded connection.
            self.flood.fill_all();
        }
    }
}

fn with_client(act: fn(&mut Client)) {
    CLIENT.with_borrow_mut(|client| act(client.as_mut().expect("a client")));
}

extern "C" fn flooded() {
    with_client(Client::flooded);
}

extern "C" fn quiet() {
    with_client(Client::quiet);
}

/// Operations: the median, and the most.
pub fn round(serve: Serve, floods: usize, pings: usize) -> [f64; 2] {
    let counters: &'static Counters = Box::leak(Box::new(Counters { flooded: Some(flooded), quiet: Some(quiet), ..Counters::default() }));
    let (mut theirs, ours): (Vec<_>, Vec<_>) = (0..=floods).map(|_| connection()).unzip();
    let quiet = theirs.pop().expect("one more than are flooded");
    let mut flood = Flood::new(theirs);
    flood.fill_all();
    let (random, waited) = (fastrand::Rng::with_seed(5), Vec::new());
    // Some turns after all are full.
    CLIENT.set(Some(Client { counters, flood, quiet, random, next: 2000, sent: None, waited, pings }));
    serve(counters, ours);
    let mut waited = CLIENT.take().expect("a client").waited;
    waited.sort_unstable();
    [waited[waited.len() / 2], waited[waited.len() - 1]].map(|operations| operations as f64)
}
