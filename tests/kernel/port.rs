//! A model of event ports on Linux, for tests: what port_create(3C), port_associate(3C), port_dissociate(3C) and port_getn(3C) of illumos
//! document, over real Linux descriptors.
//!
//! It has the names and signatures of `rustix::event::port`, as far as a reactor needs them. The port is an epoll descriptor, whose one-shot
//! registrations are the associations; an event that is there when a descriptor is associated is queued at that moment, as illumos does it, and
//! is therefore delivered also if it is not true any more by then.
//!
//! `NETPOLL_PORT=hostile` makes waits be interrupted now and then, and time-outs take an event with them: a wait whose time is up answers
//! ETIME also if an event has come at that very moment.
//!
//! `NETPOLL_PORT=full` makes the second association fail with EAGAIN, as at the limit of events (process.max-port-events).
//!
//! What it cannot do: a number that is closed and then given to a dup of the same file is taken for the old one.

#![allow(dead_code, unsafe_code, reason = "each who includes it needs a part; numbers of descriptors become descriptors here")]

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::vec::Vec;

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::time::Duration;
use rustix::buffer::Buffer;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, Timespec, eventfd, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{self, Errno};

pub use rustix::event::PollFlags;

/// illumos' POLLRDHUP; the others are Linux's.
const RDHUP: i32 = 0x4000;
/// Where tests that count on the lowest numbers, or count descriptors, do not meet those of the model.
const OUT_OF_THE_WAY: RawFd = 1024;
/// Every so often, where the flavour is hostile.
const DISTURBED: u32 = 4;

/// `port_event_t`.
#[derive(Copy, Clone, Debug)]
pub struct Event {
    events: i32,
    object: usize,
    user: *mut c_void,
}

impl Event {
    pub fn events(&self) -> i32 {
        self.events
    }

    pub fn object(&self) -> usize {
        self.object
    }

    pub fn userdata(&self) -> *mut c_void {
        self.user
    }
}

/// port_create(3C), without close-on-exec.
pub fn create() -> io::Result<OwnedFd> {
    create_like(env::var_os("NETPOLL_PORT").is_some_and(|flavour| flavour == "hostile"))
}

/// port_create(3C) with these manners.
pub fn create_like(hostile: bool) -> io::Result<OwnedFd> {
    sweep();
    let port = epoll::create(CreateFlags::empty())?;
    let queued = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let queued = rustix::io::fcntl_dupfd_cloexec(&queued, OUT_OF_THE_WAY).unwrap_or(queued);
    epoll::add(&port, &queued, EventData::new_u64(QUEUED), EventFlags::IN)?;
    let full = env::var_os("NETPOLL_PORT").is_some_and(|flavour| flavour == "full");
    let state = State { hostile, full, associations: BTreeMap::new(), done: VecDeque::new(), generation: 0, waits: 0, signalled: false };
    ports().insert(port.as_raw_fd(), Arc::new(Port { queued, state: Mutex::new(state) }));
    Ok(port)
}

/// port_associate(3C).
///
/// # Safety
///
/// As rustix says: the descriptor must be valid while it is associated. The model bears it if it is not.
pub unsafe fn associate_fd<Fd: AsFd, Raw: AsRawFd>(port: Fd, object: Raw, events: PollFlags, userdata: *mut c_void) -> io::Result<()> {
    let port_fd = port.as_fd();
    find(port_fd)?.locked(|state| state.associate(port_fd, object.as_raw_fd(), events, userdata.addr()))
}

/// port_dissociate(3C).
///
/// # Safety
///
/// As for [`associate_fd`].
pub unsafe fn dissociate_fd<Fd: AsFd, Raw: AsRawFd>(port: Fd, object: Raw) -> io::Result<()> {
    let port_fd = port.as_fd();
    find(port_fd)?.locked(|state| state.dissociate(port_fd, object.as_raw_fd()))
}

/// port_getn(3C). What came together with an error is lost, since rustix does not hand it out.
pub fn getn<Fd: AsFd, Buf: Buffer<Event>>(
    port: Fd,
    mut events: Buf,
    min_events: u32,
    timeout: Option<&Timespec>,
) -> io::Result<Buf::Output> {
    let (first, room) = events.parts_mut();
    let list = if room == 0 { Vec::new() } else { retrieve(port.as_fd(), room, min_events, timeout)? };
    assert!(list.len() <= room);
    for (at, event) in list.iter().enumerate() {
        // SAFETY: `first` points to `room` events, and `at` is less.
        unsafe { first.add(at).write(*event) };
    }
    // SAFETY: so many have just been written.
    Ok(unsafe { events.assume_init(list.len()) })
}

/// Closes what belongs to ports whose descriptors have been closed. `create` does it too.
pub fn sweep() {
    ports().retain(|fd, port| borrow(*fd).is_ok_and(|fd| port.is(fd)));
}

/// In the place of an association: the port's own descriptor.
const QUEUED: u64 = u64::MAX;

struct Port {
    /// Readable while an event is in the list of those done.
    queued: OwnedFd,
    state: Mutex<State>,
}

struct State {
    hostile: bool,
    full: bool,
    associations: BTreeMap<RawFd, Association>,
    /// Those whose event has happened, in order.
    done: VecDeque<RawFd>,
    generation: u32,
    waits: u32,
    signalled: bool,
}

struct Association {
    /// Tells this one from others of the same number.
    generation: u32,
    user: usize,
    asked: PollFlags,
    /// What has happened.
    fired: Option<PollFlags>,
    /// Stands in for what epoll does not take.
    proxy: Option<OwnedFd>,
}

static PORTS: Mutex<BTreeMap<RawFd, Arc<Port>>> = Mutex::new(BTreeMap::new());

fn ports() -> MutexGuard<'static, BTreeMap<RawFd, Arc<Port>>> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// EBADFD if it is open and no port.
fn find(port: BorrowedFd<'_>) -> io::Result<Arc<Port>> {
    rustix::io::fcntl_getfd(port)?;
    ports().get(&port.as_raw_fd()).filter(|found| found.is(port)).cloned().ok_or(Errno::BADFD)
}

impl Port {
    fn is(&self, fd: BorrowedFd<'_>) -> bool {
        is_watched(fd, self.queued.as_fd())
    }

    /// With the lock, and afterwards the port is readable if an event waits.
    fn locked<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut state);
        let wanted = !state.done.is_empty();
        if wanted && !state.signalled {
            let _ = rustix::io::write(&self.queued, &1u64.to_ne_bytes());
        } else if !wanted && state.signalled {
            let _ = rustix::io::read(&self.queued, &mut [0u8; 8]);
        }
        state.signalled = wanted;
        result
    }
}

impl State {
    fn associate(&mut self, port: BorrowedFd<'_>, object: RawFd, events: PollFlags, user: usize) -> io::Result<()> {
        let fd = borrow(object).map_err(|_| Errno::BADFD)?;
        self.reap(port, object);
        self.generation = self.generation.wrapping_add(1) & (u32::MAX >> 1); // never `QUEUED`
        if self.full && self.generation == 2 {
            return Err(Errno::AGAIN);
        }
        let data = EventData::new_u64(u64::from(self.generation) << 32 | u64::from(object as u32));
        let asked = EventFlags::ONESHOT | EventFlags::from_bits_retain(events.bits().into());
        let mut proxy = self.forget(object).and_then(|old| old.proxy);
        match epoll::add(port, fd, data, asked) {
            Err(Errno::EXIST) => epoll::modify(port, fd, data, asked)?,
            Err(Errno::PERM) => {
                let stand_in = eventfd(1, EventfdFlags::CLOEXEC)?;
                epoll::add(port, &stand_in, data, asked)?;
                proxy = Some(stand_in);
            }
            added => added?,
        }
        let now = poll_now(fd, events);
        let fired = (!now.is_empty()).then_some(now);
        self.associations.insert(object, Association { generation: self.generation, user, asked: events, fired, proxy });
        if fired.is_some() {
            self.done.push_back(object);
        }
        Ok(())
    }

    fn dissociate(&mut self, port: BorrowedFd<'_>, object: RawFd) -> io::Result<()> {
        let fd = borrow(object).map_err(|_| Errno::BADFD)?;
        self.reap(port, object);
        let association = self.forget(object).ok_or(Errno::NOENT)?;
        if association.proxy.is_none() {
            let _ = epoll::delete(port, fd);
        }
        Ok(())
    }

    /// Closing a descriptor ends its association.
    fn reap(&mut self, port: BorrowedFd<'_>, object: RawFd) {
        let Some(association) = self.associations.get(&object) else { return };
        let lives = borrow(object).is_ok_and(|fd| association.proxy.is_some() || is_watched(port, fd));
        if !lives {
            self.forget(object);
        }
    }

    fn forget(&mut self, object: RawFd) -> Option<Association> {
        self.done.retain(|done| *done != object);
        self.associations.remove(&object)
    }

    /// What epoll has heard.
    fn harvest(&mut self, port: BorrowedFd<'_>) {
        let mut buffer = [const { MaybeUninit::uninit() }; 64];
        loop {
            let events = match epoll::wait(port, &mut buffer, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok((events, _)) => events,
                Err(_) => return,
            };
            let mut fresh = false;
            for event in events.iter() {
                // The kernel's struct is packed on x86_64.
                let (data, flags) = (event.data, event.flags);
                let data = data.u64();
                let (object, generation) = (data as u32 as RawFd, (data >> 32) as u32);
                match self.associations.get_mut(&object) {
                    Some(association) if data != QUEUED && association.generation == generation && association.fired.is_none() => {
                        association.fired = Some(PollFlags::from_bits_retain(flags.bits() as u16));
                        self.done.push_back(object);
                        fresh = true;
                    }
                    _ => {}
                }
            }
            if !fresh {
                return;
            }
        }
    }

    fn take(&mut self, port: BorrowedFd<'_>, room: usize) -> Vec<Event> {
        self.harvest(port);
        let mut list = Vec::new();
        while list.len() < room {
            let Some(object) = self.done.front().copied() else { break };
            self.reap(port, object);
            let Some(association) = self.forget(object) else { continue };
            let Some(fired) = association.fired else { continue };
            let user = core::ptr::without_provenance_mut(association.user);
            list.push(Event { events: illumos(fired, association.asked), object: object as usize, user });
        }
        list
    }
}

fn retrieve(port_fd: BorrowedFd<'_>, room: usize, min_events: u32, timeout: Option<&Timespec>) -> io::Result<Vec<Event>> {
    let port = find(port_fd)?;
    if min_events as usize > room || timeout.is_some_and(|timeout| timeout.tv_sec < 0 || !(0..1_000_000_000).contains(&timeout.tv_nsec)) {
        return Err(Errno::INVAL);
    }
    let until = timeout.and_then(|timeout| Instant::now().checked_add(Duration::new(timeout.tv_sec as u64, timeout.tv_nsec as u32)));
    let sleeps = timeout.is_none_or(|timeout| (timeout.tv_sec, timeout.tv_nsec) != (0, 0));
    if sleeps && port.locked(State::is_disturbed) {
        return Err(Errno::INTR);
    }
    let mut list = Vec::new();
    loop {
        list.extend(port.locked(|state| state.take(port_fd, room - list.len())));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let is_late = left == Some(Duration::ZERO);
        if list.len() >= min_events as usize && !(is_late && sleeps && port.locked(|state| state.hostile)) {
            return Ok(list);
        }
        if is_late {
            return Err(Errno::TIME);
        }
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ });
        poll(&mut [PollFd::from_borrowed_fd(port_fd, PollFlags::IN)], left.as_ref())?;
    }
}

impl State {
    fn is_disturbed(&mut self) -> bool {
        self.waits = self.waits.wrapping_add(1);
        self.hostile && self.waits.is_multiple_of(DISTURBED)
    }
}

/// What was asked for, and what nobody has to ask for; a stream that has hung up is never writable, as poll(2) of illumos says.
fn illumos(fired: PollFlags, asked: PollFlags) -> i32 {
    let mut fired = fired.intersection(asked.union(PollFlags::ERR).union(PollFlags::HUP));
    if fired.contains(PollFlags::HUP) {
        fired.remove(PollFlags::OUT);
    }
    let rdhup = if fired.contains(PollFlags::RDHUP) { RDHUP } else { 0 };
    fired.remove(PollFlags::RDHUP);
    i32::from(fired.bits()) | rdhup
}

fn poll_now(fd: BorrowedFd<'_>, events: PollFlags) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(fd, events)];
    match poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => polled[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

fn borrow<'a>(fd: RawFd) -> io::Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: it is not -1. It may be closed at any time, as it may be for a kernel that is given a number: all that is done with it
    // then fails with EBADF, or is done to another open descriptor, and none of it consumes anything.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(fd).map(|_| fd)
}

/// Whether this number still stands for the file that was added to `epoll` by it. Epoll goes by both, and refuses what it has.
fn is_watched(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> bool {
    match epoll::add(epoll, fd, EventData::new_u64(QUEUED), EventFlags::empty()) {
        Err(errno) => errno == Errno::EXIST,
        Ok(()) => {
            let _ = epoll::delete(epoll, fd);
            false
        }
    }
}
