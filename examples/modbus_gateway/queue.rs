//! What the handlers share: the requests on their way from many clients to one line and back.
//!
//! Every client has a seat with room for [`WINDOW`] transactions. A transaction stays in its seat, where the answer takes the place of
//! the request, so a client's answers leave in the order of its requests, and there is no common queue that one client could fill.

use crate::frame::{self, BROADCAST, LAST_UNIT, Pdu, TcpFrame};
use core::fmt;
use heapless::{Deque, Vec};
use modbus_core::Exception;
use netpoll::HandlerId;

/// Seats that there is memory for.
pub const MAX_CLIENTS: usize = 256;

/// Requests of one client that may be on their way at once; further ones wait in the client's socket.
pub const WINDOW: usize = 4;

/// A bit for each seat.
const WORDS: usize = MAX_CLIENTS.div_ceil(64);

pub struct Queue {
    seats: Vec<Seat, MAX_CLIENTS>,
    /// Which seats have a request that waits for the line.
    asking: [u64; WORDS],
    /// The seat that is asked first for the next request.
    turn: usize,
    last_ticket: u32,
    /// The program is about to end: what is owed is delivered, nothing new is taken.
    pub closing: bool,
    /// A handler failed without which this is no gateway.
    pub failed: bool,
    pub handlers: Handlers,
    pub counters: Counters,
}

/// Whom to notify of what.
#[derive(Clone, Copy, Default)]
pub struct Handlers {
    /// A seat is free again.
    pub listener: Option<HandlerId>,
    /// There is a request.
    pub line: Option<HandlerId>,
    /// A client has left.
    pub control: Option<HandlerId>,
}

struct Seat {
    client: Option<HandlerId>,
    taken: bool,
    transactions: Deque<Transaction, WINDOW>,
}

impl Seat {
    const FREE: Seat = Seat { client: None, taken: false, transactions: Deque::new() };
}

struct Transaction {
    ticket: u32,
    id: u16,
    unit: u8,
    state: State,
    /// The request, once answered the answer.
    pdu: Pdu,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Queued,
    OnLine,
    Answered,
    /// A broadcast that was sent: nobody answers it.
    Silent,
}

/// A request that the line has taken. Its client may leave meanwhile; then nobody wants the answer.
pub struct Job {
    seat: usize,
    ticket: u32,
    pub unit: u8,
    pub request: Pdu,
}

impl Queue {
    pub const fn new() -> Queue {
        let handlers = Handlers { listener: None, line: None, control: None };
        let counters = Counters::ZERO;
        Queue { seats: Vec::new(), asking: [0; WORDS], turn: 0, last_ticket: 0, closing: false, failed: false, handlers, counters }
    }

    /// Makes seats for `clients`, at most [`MAX_CLIENTS`].
    pub fn set_capacity(&mut self, clients: usize) {
        while self.seats.len() < clients && self.seats.push(Seat::FREE).is_ok() {}
    }

    /// Takes no more requests, and refuses those that wait for the line.
    pub fn close(&mut self) {
        self.closing = true;
        while let Some(job) = self.take() {
            self.settle(&job, Outcome::NoPath);
        }
    }

    pub fn has_seat(&self) -> bool {
        self.seats.iter().any(|seat| !seat.taken)
    }

    pub fn is_empty(&self) -> bool {
        !self.seats.iter().any(|seat| seat.taken)
    }

    pub fn sit_down(&mut self) -> Option<usize> {
        let number = self.seats.iter().position(|seat| !seat.taken)?;
        self.seats[number].taken = true;
        Some(number)
    }

    /// Who is run when an answer for this seat has come.
    pub fn introduce(&mut self, seat: usize, client: HandlerId) {
        self.seats[seat].client = Some(client);
    }

    /// Whatever is still owed is dropped.
    pub fn leave(&mut self, seat: usize) {
        self.seats[seat] = Seat::FREE;
        self.set_asking(seat, false);
    }

    fn set_asking(&mut self, seat: usize, asking: bool) {
        let bit = 1 << (seat % 64);
        let word = &mut self.asking[seat / 64];
        *word = if asking { *word | bit } else { *word & !bit };
    }

    /// The first asking seat from `first` on.
    fn find_asking(&self, first: usize) -> Option<usize> {
        (first / 64..WORDS).find_map(|word| {
            let below = if word == first / 64 { first % 64 } else { 0 };
            let asking = self.asking[word] & u64::MAX << below;
            (asking != 0).then(|| 64 * word + asking.trailing_zeros() as usize)
        })
    }

    /// May this client ask once more?
    pub fn has_room(&self, seat: usize) -> bool {
        !self.seats[seat].transactions.is_full()
    }

    /// Has this client asked for something that it has not got yet?
    pub fn owes(&self, seat: usize) -> bool {
        !self.seats[seat].transactions.is_empty()
    }

    /// Queues a request, if there is [room](Queue::has_room). What no slave can be asked is refused at once.
    pub fn ask(&mut self, seat: usize, id: u16, unit: u8, request: &[u8]) {
        let (Ok(pdu), Some(&function)) = (Pdu::from_slice(request), request.first()) else { return };
        let refusal = match (unit, function) {
            (_, 0 | 0x80..) => Some(Exception::IllegalFunction), // its answer could not be told from an exception
            (unit, _) if unit > LAST_UNIT => Some(Exception::GatewayPathUnavailable),
            _ => None,
        };
        let (state, pdu) = match refusal {
            Some(exception) => (State::Answered, frame::refusal(function, exception)),
            None => (State::Queued, pdu),
        };
        if state == State::Queued {
            self.set_asking(seat, true);
        }
        self.counters.requests += 1;
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let _ = self.seats[seat].transactions.push_back(Transaction { ticket: self.last_ticket, id, unit, state, pdu });
    }

    /// The next answer for a client, in the order of its requests.
    pub fn collect(&mut self, seat: usize) -> Option<TcpFrame> {
        let transactions = &mut self.seats[seat].transactions;
        while transactions.front().is_some_and(|first| first.state == State::Silent) {
            transactions.pop_front();
        }
        let first = transactions.pop_front_if(|first| first.state == State::Answered)?;
        self.counters.answers += 1;
        Some(frame::tcp_frame(first.id, first.unit, &first.pdu))
    }

    /// The next request for the line: one of each client in turn.
    pub fn take(&mut self) -> Option<Job> {
        let seat = self.find_asking(self.turn).or_else(|| self.find_asking(0))?;
        let mut queued = self.seats[seat].transactions.iter_mut().filter(|transaction| transaction.state == State::Queued);
        let next = queued.next()?;
        let more = queued.next().is_some();
        next.state = State::OnLine;
        let job = Job { seat, ticket: next.ticket, unit: next.unit, request: next.pdu.clone() };
        self.set_asking(seat, more);
        self.turn = seat + 1;
        Some(job)
    }

    /// Settles a job; answers whom to notify.
    pub fn settle(&mut self, job: &Job, outcome: Outcome<'_>) -> Option<HandlerId> {
        let seat = &mut self.seats[job.seat];
        let transaction = seat.transactions.iter_mut().find(|transaction| transaction.ticket == job.ticket)?;
        transaction.state = State::Answered;
        match outcome {
            Outcome::Answer(pdu) => transaction.pdu = Pdu::from_slice(pdu).ok()?,
            Outcome::Sent => {
                transaction.state = State::Silent;
                self.counters.broadcasts += 1;
            }
            Outcome::NoAnswer => {
                transaction.pdu = transaction.refusal(Exception::GatewayTargetDevice);
                self.counters.timeouts += 1;
            }
            Outcome::NoPath => {
                transaction.pdu = transaction.refusal(Exception::GatewayPathUnavailable);
                self.counters.unavailable += 1;
            }
        }
        seat.client
    }
}

/// What became of a job.
pub enum Outcome<'a> {
    /// The slave's answer.
    Answer(&'a [u8]),
    /// A broadcast is on its way.
    Sent,
    /// The slave kept silent.
    NoAnswer,
    /// There is no line.
    NoPath,
}

impl Transaction {
    fn refusal(&self, exception: Exception) -> Pdu {
        frame::refusal(self.pdu.first().copied().unwrap_or(0), exception)
    }
}

impl Job {
    pub fn is_broadcast(&self) -> bool {
        self.unit == BROADCAST
    }
}

#[derive(Clone, Copy)]
pub struct Counters {
    pub clients: u64,
    pub clients_idle: u64,
    pub clients_broken: u64,
    pub requests: u64,
    pub answers: u64,
    pub broadcasts: u64,
    pub timeouts: u64,
    pub unavailable: u64,
    pub noise_bytes: u64,
    pub line_openings: u64,
}

impl Counters {
    const ZERO: Counters = Counters {
        clients: 0,
        clients_idle: 0,
        clients_broken: 0,
        requests: 0,
        answers: 0,
        broadcasts: 0,
        timeouts: 0,
        unavailable: 0,
        noise_bytes: 0,
        line_openings: 0,
    };
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { clients, clients_idle, clients_broken, .. } = self;
        writeln!(
            f,
            "clients: {clients} accepted, {clients_idle} closed as idle, {clients_broken} closed for an error or what is not Modbus"
        )?;
        let Counters { requests, answers, broadcasts, timeouts, unavailable, .. } = self;
        writeln!(f, "requests: {requests}, answers: {answers}, broadcasts: {broadcasts}, no answer: {timeouts}, no line: {unavailable}")?;
        write!(f, "line: opened {} times, {} bytes of noise", self.line_openings, self.noise_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(clients: usize) -> Queue {
        let mut queue = Queue::new();
        queue.set_capacity(clients);
        for seat in 0..clients {
            assert_eq!(queue.sit_down(), Some(seat));
        }
        queue
    }

    fn ids(queue: &mut Queue, seat: usize) -> std::vec::Vec<u16> {
        core::iter::from_fn(|| queue.collect(seat)).map(|frame| u16::from_be_bytes([frame[0], frame[1]])).collect()
    }

    #[test]
    fn seats_are_limited_and_free_again() {
        let mut queue = queue(2);
        assert!(!queue.has_seat() && queue.sit_down().is_none());
        queue.leave(0);
        assert_eq!(queue.sit_down(), Some(0));
        queue.leave(0);
        queue.leave(1);
        assert!(queue.is_empty());
    }

    #[test]
    fn clients_are_served_in_turn() {
        let mut queue = queue(3);
        for id in 0..WINDOW as u16 {
            queue.ask(0, id, 10, &[3, 0, 0, 0, 1]);
        }
        assert!(!queue.has_room(0));
        let first = queue.take().unwrap();
        queue.ask(1, 7, 11, &[3, 0, 0, 0, 1]);
        queue.ask(2, 8, 12, &[3, 0, 0, 0, 1]);
        let order: std::vec::Vec<u8> = core::iter::from_fn(|| queue.take()).map(|job| job.unit).collect();
        assert_eq!((first.unit, order), (10, [11, 12, 10, 10, 10].into()));
    }

    #[test]
    fn every_seat_is_found_from_every_other() {
        let mut queue = queue(MAX_CLIENTS);
        for (turn, seat) in (0..=MAX_CLIENTS).flat_map(|turn| [0, 1, 63, 64, 127, MAX_CLIENTS - 1].map(|seat| (turn, seat))) {
            queue.turn = turn;
            queue.ask(seat, 1, 1, &[3, 0, 0, 0, 1]);
            assert_eq!(queue.take().map(|job| job.seat), Some(seat), "from {turn}");
            assert!(queue.take().is_none());
            queue.ask(seat, 2, 1, &[3, 0, 0, 0, 1]);
            queue.leave(seat);
            assert!(queue.take().is_none(), "somebody who left");
            queue.seats[seat].taken = true;
        }
    }

    #[test]
    fn answers_leave_in_the_order_of_the_requests_with_their_ids() {
        let mut queue = queue(1);
        queue.ask(0, 500, 1, &[3, 0, 0, 0, 1]);
        queue.ask(0, 501, 255, &[3, 0, 0, 0, 1]);
        queue.ask(0, 502, 1, &[0x83]);
        assert_eq!(ids(&mut queue, 0), []); // the refused ones wait for the first
        let job = queue.take().unwrap();
        assert!(queue.take().is_none());
        queue.settle(&job, Outcome::Answer(&[3, 2, 0, 9]));
        assert_eq!(queue.collect(0).unwrap(), [1, 244, 0, 0, 0, 5, 1, 3, 2, 0, 9]);
        assert_eq!(queue.collect(0).unwrap(), [1, 245, 0, 0, 0, 3, 255, 0x83, 0x0A]);
        assert_eq!(queue.collect(0).unwrap(), [1, 246, 0, 0, 0, 3, 1, 0x83, 1]);
        assert!(!queue.owes(0));
    }

    #[test]
    fn broadcast_takes_room_until_it_is_sent_and_is_not_answered() {
        let mut queue = queue(1);
        queue.ask(0, 1, BROADCAST, &[6, 0, 0, 0, 1]);
        queue.ask(0, 2, 1, &[3, 0, 0, 0, 1]);
        for outcome in [Outcome::Sent, Outcome::NoAnswer] {
            let job = queue.take().unwrap();
            queue.settle(&job, outcome);
        }
        assert_eq!(ids(&mut queue, 0), [2]);
        assert!(!queue.owes(0));
    }

    #[test]
    fn what_waits_at_the_end_is_refused_and_what_is_on_the_line_is_not() {
        let mut queue = queue(1);
        queue.ask(0, 1, 1, &[3, 0, 0, 0, 1]);
        queue.ask(0, 2, 1, &[3, 0, 0, 0, 1]);
        let job = queue.take().unwrap();
        queue.close();
        assert!(queue.collect(0).is_none());
        queue.settle(&job, Outcome::Answer(&[3, 2, 0, 9]));
        assert_eq!(queue.collect(0).unwrap()[7], 3);
        assert_eq!(queue.collect(0).unwrap()[7..], [0x83, 0x0A]);
    }

    #[test]
    fn answer_for_a_client_that_left_is_nobodys() {
        let mut queue = queue(1);
        queue.ask(0, 1, 1, &[3, 0, 0, 0, 1]);
        let job = queue.take().unwrap();
        queue.leave(0);
        queue.sit_down();
        queue.ask(0, 2, 1, &[3, 0, 0, 0, 1]);
        queue.settle(&job, Outcome::Answer(&[3, 2, 0, 9]));
        assert!(queue.collect(0).is_none());
        assert!(queue.take().is_some());
    }
}
