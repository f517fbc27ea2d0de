//! The changelist: the kernel's `kqueue_register`.

use std::vec::Vec;

use rustix::event::epoll::{self, EventFlags as EpollFlags};
use rustix::fd::BorrowedFd;
use rustix::io::{self, Errno};

use super::descriptor;
use super::event::{Event, EventFilter, EventFlags};
use super::filter::{Filter, Kind, Truth};
use super::state::{Counter, Identity, Key, Knote, State, mark};

impl State {
    /// Answers and receipts, if there are any or if the call is over: rows 42 to 48.
    pub(super) fn apply_all(&mut self, changes: &[Event], room: usize) -> io::Result<Option<Vec<Event>>> {
        let mut answers = Vec::new();
        for change in changes {
            let outcome = self.apply(change);
            if outcome.is_ok() && !change.flags().contains(EventFlags::RECEIPT) {
                continue;
            }
            if answers.len() < room {
                answers.push(change.answer(outcome, self.quirks.answers_keep_flags));
                continue;
            }
            outcome?;
            if !self.quirks.goes_on_without_room {
                return Ok(Some(Vec::new()));
            }
        }
        let waits = room > 0 && answers.is_empty();
        if !changes.is_empty() && !waits && Counter::is_due(&mut self.counter.changes, self.quirks.interrupts_changes) {
            return Err(Errno::INTR);
        }
        Ok((!answers.is_empty()).then_some(answers))
    }

    fn apply(&mut self, change: &Event) -> io::Result<()> {
        let filter = match change.filter() {
            EventFilter::Read(_) => Filter::Read,
            EventFilter::Write(_) => Filter::Write,
            _ => return Err(Errno::INVAL), // row 41
        };
        let key = (change.fd(), filter);
        let flags = change.flags();
        let fd = match descriptor::borrow(key.0) {
            Err(_) if flags.contains(EventFlags::DELETE) => return Err(self.quirks.delete_closed),
            fd => fd?,
        };
        self.reap(key);
        if !self.knotes.contains_key(&key) {
            if !flags.contains(EventFlags::ADD) {
                return Err(Errno::NOENT); // row 38
            }
            self.attach(fd, key, change)?;
        } else if flags.contains(EventFlags::DELETE) {
            self.remove(key);
            return Ok(());
        }
        self.modify(key, change);
        Ok(())
    }

    fn attach(&mut self, fd: BorrowedFd<'_>, key: Key, change: &Event) -> io::Result<()> {
        let kind = Kind::of(fd)?;
        kind.attach(fd, key.1, &self.quirks)?;
        self.generation = self.generation.wrapping_add(1);
        let knote = Knote {
            generation: self.generation,
            identity: self.watch(fd, key)?,
            kind,
            udata: change.udata().addr(),
            mode: change.flags().intersection(EventFlags::CLEAR | EventFlags::ONESHOT | EventFlags::RECEIPT),
            disabled: false,
            active: false,
            truth: Truth::default(),
            seen: None,
            repeated_eof: false,
        };
        self.knotes.insert(key, knote);
        Ok(())
    }

    /// Epoll tells of edges in any mode: what stays ready is kept in the queue.
    fn watch(&self, fd: BorrowedFd<'_>, key: Key) -> io::Result<Identity> {
        let events = EpollFlags::ET
            | match key.1 {
                Filter::Read => EpollFlags::IN | EpollFlags::RDHUP,
                Filter::Write => EpollFlags::OUT,
            };
        let ear = self.ears.of(key.1);
        match epoll::add(ear, fd, mark(key.0, self.generation), events) {
            Ok(()) => Ok(Identity::Watched),
            // Of a knote that is dead because its number was closed while a dup lived, which has the number again.
            Err(Errno::EXIST) => epoll::modify(ear, fd, mark(key.0, self.generation), events).map(|()| Identity::Watched),
            Err(Errno::PERM) => rustix::fs::fstat(fd).map(|stat| Identity::Static(stat.st_dev, stat.st_ino)),
            Err(Errno::LOOP) => Err(Errno::INVAL), // a queue in itself
            Err(errno) => Err(errno),
        }
    }

    fn modify(&mut self, key: Key, change: &Event) {
        let flags = change.flags();
        let is_add = flags.contains(EventFlags::ADD);
        let Some(knote) = self.knotes.get_mut(&key) else { return };
        if is_add || self.quirks.any_change_sets_udata {
            knote.udata = change.udata().addr(); // row 56
        }
        if flags.contains(EventFlags::DISABLE) {
            knote.disabled = true;
            self.unqueue(key);
        } else if flags.contains(EventFlags::ENABLE) && knote.disabled {
            knote.disabled = false;
            if knote.active {
                self.queue.push_back(key);
            }
        }
        let enabled = self.knotes.get(&key).is_some_and(|knote| !knote.disabled);
        if enabled && (is_add || self.quirks.enable_looks) {
            if let Some(truth) = self.look(key) {
                self.activate(key, truth); // rows 3, 4
            }
        }
    }
}
