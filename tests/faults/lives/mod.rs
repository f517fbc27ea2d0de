//! The lives: short programs on one thread, each with the parts of the crate that its name says. All end in success if what failed once is
//! done again.

mod clock;
mod linux;
mod pipes;
mod poller;
mod server;
mod tcp;
mod udp;
mod unix;

use netpoll::{Poller, PollerStorage};

use crate::life::Told;

/// A life by its name; and what its process prepares before the first mark.
pub const LIVES: &[(&str, fn())] = &[
    ("poller", poller::live),
    ("clock", clock::live),
    ("server", server::live),
    ("tcp", tcp::live),
    ("udp", udp::live),
    ("unix", unix::live),
    ("pipes", pipes::live),
    ("linux", linux::live),
];

/// A folder for files of this process, gone with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a straight-line life needs.
fn on_poller(life: impl FnOnce(&Told, &mut Poller<'_>)) {
    crate::life::live(|told| {
        let mut storage = PollerStorage::<8>::new();
        let mut poller = loop {
            match Poller::new(&mut storage) {
                Ok(poller) => break poller,
                Err(error) => told.note("new", error),
            }
        };
        life(told, &mut poller);
        assert_eq!(poller.descriptors(), 0);
        poller.stats()
    });
}
