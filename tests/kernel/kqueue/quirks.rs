//! In what the systems differ.

use std::env;

use core::time::Duration;
use rustix::io::Errno;

/// One field for each deviation that can be switched; the rows are those of the table of measured and remembered behaviour by which the
/// tests in `tests/kqueue_model.rs` go.
///
/// `NETPOLL_KQUEUE` names one of the associated functions; without it, it is [`Quirks::freebsd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Row 6: a one-shot event is looked at again when it is taken, instead of being reported as it was.
    pub oneshot_rechecked: bool,
    /// Rows 7, 9, 10: another R when somebody has read a part, accepted one of several, or drained up to the end.
    pub repeats_reads: bool,
    /// Rows 8, 11, 12: another W when the peer has read, though there was room all the time.
    pub repeats_writes: bool,
    /// Row 25, and what varies from run to run: on streams the end of W comes twice.
    pub repeats_own_eof: bool,
    /// Row 30: what one hang-up says of reading and of writing comes in separate calls.
    pub splits_hangups: bool,
    /// Row 35: what EV_ADD of W says for a pipe whose other end is closed.
    pub broken_pipe: Option<Errno>,
    /// Row 39: what EV_DELETE says for a closed descriptor. FreeBSD's ENOTCAPABLE has no name on Linux.
    pub delete_closed: Errno,
    /// Row 43: an answer to a change has the flags of the change beside EV_ERROR.
    pub answers_keep_flags: bool,
    /// Row 48: where there is no room for a receipt, the changes behind it are applied all the same.
    pub goes_on_without_room: bool,
    /// Row 52: EV_ENABLE looks whether the descriptor is ready, as EV_ADD does.
    pub enable_looks: bool,
    /// Row 56: not only EV_ADD sets udata, but any change.
    pub any_change_sets_udata: bool,
    /// Row 65: a wait ends with one of these, and not with the next.
    pub tick: Option<Duration>,
    /// Row 67: more seconds are EINVAL.
    pub longest_wait: Option<i64>,
    /// Row 77: what EV_ADD of W says for a regular file.
    pub file_write: Option<Errno>,
    /// Row 77: what EV_ADD says for a directory.
    pub directory: Option<Errno>,
    /// Darwin: who reads from a FIFO is not told that the last writer has gone.
    pub misses_fifo_close: bool,
    /// Darwin: each so many waits that are over without an event answer ETIMEDOUT.
    pub timeouts_fail: Option<u32>,
    /// golang/go#14127, NetBSD: each so many calls with events an event of nothing, with ident and udata 0.
    pub nothings: Option<u32>,
    /// Row 68: each so many waits that would sleep are ended by a signal.
    pub interrupts: Option<u32>,
    /// Each so many calls with changes alone end with EINTR, when all the changes have been applied and the receipts are lost.
    pub interrupts_changes: Option<u32>,
    /// Each so many waits that would sleep return without an event.
    pub wakes_early: Option<u32>,
    /// Events come in any order, and as few of them as the model likes.
    pub shuffles: bool,
    /// What is counted in `data` is not to be relied on.
    pub lies_about_data: bool,
}

impl Quirks {
    /// What is documented, and nothing else.
    pub const PLAIN: Quirks = Quirks {
        oneshot_rechecked: false,
        repeats_reads: false,
        repeats_writes: false,
        repeats_own_eof: false,
        splits_hangups: false,
        broken_pipe: None,
        delete_closed: Errno::BADF,
        answers_keep_flags: false,
        goes_on_without_room: false,
        enable_looks: true,
        any_change_sets_udata: false,
        tick: None,
        longest_wait: None,
        file_write: None,
        directory: None,
        misses_fifo_close: false,
        timeouts_fail: None,
        nothings: None,
        interrupts: None,
        interrupts_changes: None,
        wakes_early: None,
        shuffles: false,
        lies_about_data: false,
    };

    /// What the BSDs have in common, since the code is.
    const BSD: Quirks = Quirks { repeats_reads: true, repeats_writes: true, ..Quirks::PLAIN };

    pub const FREEBSD: Quirks = Quirks { broken_pipe: Some(Errno::PIPE), any_change_sets_udata: true, ..Quirks::BSD };

    pub const DRAGONFLY: Quirks = Quirks { broken_pipe: Some(Errno::PIPE), ..Quirks::BSD };

    pub const OPENBSD: Quirks = Quirks { tick: Some(Duration::from_millis(10)), ..Quirks::BSD };

    pub const NETBSD: Quirks = Quirks {
        repeats_own_eof: true,
        splits_hangups: true,
        broken_pipe: Some(Errno::BADF),
        enable_looks: false,
        tick: Some(Duration::from_millis(10)),
        file_write: Some(Errno::INVAL),
        directory: Some(Errno::OPNOTSUPP),
        nothings: Some(8),
        ..Quirks::BSD
    };

    pub const MACOS: Quirks = Quirks {
        oneshot_rechecked: true,
        broken_pipe: Some(Errno::PIPE),
        answers_keep_flags: true,
        goes_on_without_room: true,
        any_change_sets_udata: true,
        longest_wait: Some(100_000_000),
        misses_fifo_close: true,
        timeouts_fail: Some(4),
        ..Quirks::PLAIN
    };

    /// All at once that may happen, but for what no program could live with.
    pub const HOSTILE: Quirks = Quirks {
        repeats_reads: true,
        repeats_writes: true,
        repeats_own_eof: true,
        splits_hangups: true,
        broken_pipe: Some(Errno::PIPE),
        delete_closed: Errno::NOENT,
        answers_keep_flags: true,
        any_change_sets_udata: true,
        enable_looks: false,
        tick: Some(Duration::from_millis(10)),
        longest_wait: Some(100_000_000),
        timeouts_fail: Some(3),
        nothings: Some(5),
        interrupts: Some(4),
        interrupts_changes: Some(5),
        wakes_early: Some(5),
        shuffles: true,
        lies_about_data: true,
        ..Quirks::PLAIN
    };

    const NAMED: [(&str, Quirks); 7] = [
        ("plain", Quirks::PLAIN),
        ("freebsd", Quirks::FREEBSD),
        ("dragonfly", Quirks::DRAGONFLY),
        ("openbsd", Quirks::OPENBSD),
        ("netbsd", Quirks::NETBSD),
        ("macos", Quirks::MACOS),
        ("hostile", Quirks::HOSTILE),
    ];

    pub fn from_environment() -> Quirks {
        let Some(asked) = env::var_os("NETPOLL_KQUEUE") else { return Quirks::FREEBSD };
        match Quirks::NAMED.iter().find(|(name, _)| *name == asked) {
            Some((_, quirks)) => *quirks,
            None => panic!("NETPOLL_KQUEUE={}: plain, freebsd, dragonfly, openbsd, netbsd, macos or hostile", asked.display()),
        }
    }
}
