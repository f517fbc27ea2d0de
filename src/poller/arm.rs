//! What a back-end reports on demand it is asked for here, when somebody begins to wait. Where there is nothing of that kind, as on epoll,
//! nothing of this is compiled.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use crate::arch::{self, Event, Selector};
use crate::interest::Directions;
use crate::poll_desc::PollDesc;
use crate::readiness::Readiness;

/// What came of a wait that began.
pub(super) enum Armed {
    /// An edge will end it.
    Waiting,
    /// The kernel cannot report what is there already: the call says what it is.
    Ready,
    /// Nothing would end it.
    Failed(Errno),
}

/// Lets the kernel report all that is waited for.
#[inline]
pub(super) fn arm(selector: &Selector, index: u32, desc: &mut PollDesc<OwnedFd>) -> Armed {
    if arch::ON_DEMAND == Directions::NONE || !desc.gates.unarmed().intersects(arch::ON_DEMAND) {
        return Armed::Waiting;
    }
    arm_now(selector, index, desc)
}

fn arm_now(selector: &Selector, index: u32, desc: &mut PollDesc<OwnedFd>) -> Armed {
    let bits = u64::from(desc.generation) << 32 | u64::from(index);
    let wanted = desc.gates.unarmed().union(desc.gates.armed());
    let Some(fd) = desc.fd() else { return Armed::Failed(Errno::BADF) };
    match selector.arm(fd.as_fd(), bits, wanted) {
        Ok(Readiness::EMPTY) => {
            desc.gates.arm(wanted);
            Armed::Waiting
        }
        Ok(readiness) => {
            // Nobody but who asks waits in a direction that was not armed, and they find out by their own call.
            desc.edge(readiness);
            Armed::Ready
        }
        Err(errno) => Armed::Failed(errno),
    }
}

/// An event is about to be handed on: ends those for a gate that is open already, as nobody has used what the last one brought.
#[inline]
pub(super) fn disarm_unused(selector: &Selector, event: &Event, desc: &mut PollDesc<OwnedFd>) {
    if arch::ON_DEMAND == Directions::NONE {
        return;
    }
    let unused = desc.gates.unused(event.readiness.opens()).and(arch::ON_DEMAND).without(event.spent);
    if unused != Directions::NONE {
        if let Some(fd) = desc.fd() {
            selector.disarm(fd.as_fd());
        }
        desc.gates.spend(unused);
    }
}

/// An event has come; other waits than those that it ends go on. Says which do not.
#[inline]
pub(super) fn rearm(selector: &Selector, event: &Event, desc: &mut PollDesc<OwnedFd>) -> Directions {
    if arch::ON_DEMAND == Directions::NONE {
        return Directions::NONE;
    }
    desc.gates.spend(event.spent);
    match arm(selector, event.bits as u32, desc) {
        // Whoever waits is run, and learns the reason when they wait again.
        Armed::Failed(_) => desc.edge(Readiness::ERROR),
        Armed::Waiting | Armed::Ready => Directions::NONE,
    }
}
