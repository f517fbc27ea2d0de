//! What a workload is made of.

/// One peer, set up and ready to work.
pub trait Work {
    /// Does so many operations more.
    fn run(&mut self, ops: u64);

    /// Waits (turns of the loop) so far, where events per wait mean something.
    fn waits(&self) -> Option<u64> {
        None
    }
}

/// A variant of a workload.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub parameters: &'static [u64],
    /// Operations of one round. A tenth of them and two tenths are what instructions and system calls are counted of.
    pub ops: u64,
    /// Also with `--quick`.
    pub quick: bool,
    /// Has so many descriptors that two processes would not find room for them in the kernel's epolls.
    pub alone: bool,
}

/// `peer` is the library, then the idiom: `raw`, `raw:drain`, `mio:short`. Ratios are taken against `raw`, the C loop.
#[derive(Debug)]
pub struct Entry {
    pub peer: &'static str,
    /// Called once in the life of a process: it may take a `static`.
    pub start: fn(&Case) -> Box<dyn Work>,
}

/// What a peer cannot do, or what would not be fair to it.
#[derive(Debug)]
pub struct LeftOut {
    pub peer: &'static str,
    /// All cases if empty.
    pub case: &'static str,
    pub why: &'static str,
}

/// Work of one thread that never blocks for long. Each round of each peer is a process of its own, so that none lives in the heap or among
/// the descriptors that another has left, and each storage can be a `static`.
#[derive(Debug)]
pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    /// What one operation is: `event`, `timer`.
    pub unit: &'static str,
    pub cases: &'static [Case],
    pub entries: &'static [Entry],
    pub left_out: &'static [LeftOut],
}

/// What is to be measured.
#[derive(Debug)]
pub struct Options {
    pub quick: bool,
    pub rounds: u32,
    /// Instructions and system calls.
    pub exact: bool,
    pub times: bool,
    /// Workloads; all if empty.
    pub only: Vec<String>,
    /// Peers or libraries; all if empty.
    pub peers: Vec<String>,
}

impl Options {
    /// Whether a peer is wanted, by its own name or by its library's. `raw` always is: others are compared with it.
    pub fn wants(&self, peer: &str) -> bool {
        let library = peer.split(':').next();
        peer == "raw" || self.peers.is_empty() || self.peers.iter().any(|wanted| wanted == peer || Some(wanted.as_str()) == library)
    }
}

impl Workload {
    /// The cases that are to be measured, each with the peers that can do it.
    pub fn chosen<'a>(&'a self, options: &'a Options) -> impl Iterator<Item = (&'a Case, Vec<&'a Entry>)> {
        let cases = self.cases.iter().filter(|case| case.quick || !options.quick);
        cases.map(|case| {
            let can = |entry: &&Entry| options.wants(entry.peer) && !self.is_left_out(entry.peer, case.name);
            (case, self.entries.iter().filter(can).collect())
        })
    }

    fn is_left_out(&self, peer: &str, case: &str) -> bool {
        self.left_out.iter().any(|out| out.peer == peer && (out.case.is_empty() || out.case == case))
    }
}
