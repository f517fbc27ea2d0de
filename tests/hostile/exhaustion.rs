//! No descriptor left in the process: the listener waits and tries again, everybody else goes on.

use std::net::TcpStream;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::polite::ask;
use crate::server::TRY_AGAIN;
use crate::siege::{Rules, alone, besiege};
use crate::{report, util};

#[test]
fn out_of_descriptors() {
    alone(|| {
        const PEERS: usize = 40;
        const SERVED: usize = 10;
        let limits = getrlimit(Resource::Nofile);
        besiege("no descriptor left", Rules::default(), |site| {
            let enough = report::descriptors() + PEERS + SERVED;
            setrlimit(Resource::Nofile, Rlimit { current: Some(enough as u64), ..limits }).unwrap();
            let mut peers: Vec<TcpStream> = Vec::new();
            while peers.len() < PEERS {
                // The server may have been faster, and taken what there was.
                let Ok(stream) = TcpStream::connect(site.address) else { break };
                stream.set_read_timeout(Some(util::PATIENCE)).unwrap();
                peers.push(stream);
            }
            util::eventually("no descriptor for the server", || site.journal.exhausted.get() > 0);
            let (begin, before) = (Instant::now(), site.journal.exhausted.get());
            site.until_answered(100);
            // It does not spin: it tries again when its timer says so.
            let attempts = u128::from(site.journal.exhausted.get() - before);
            assert!(attempts <= 2 + begin.elapsed().as_millis() / TRY_AGAIN.as_millis(), "{attempts} attempts");
            setrlimit(Resource::Nofile, limits).unwrap();
            peers.iter_mut().for_each(|peer| ask(peer, b"at last"));
            assert_eq!(site.journal.accepted.get(), peers.len() as u64 + 1);
        });
    });
}
