//! Zero windows: peers that ask and ask, and never read an answer.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::{Deadlines, LINE};
use crate::polite::expect_end;
use crate::siege::{Rules, alone, besiege};
use crate::util;

const PEERS: u64 = 40;
const WRITE: Duration = Duration::from_millis(300);

/// The peers' receive buffers are the kernel's choice: one that is made small afterwards drops what comes, acknowledgements included, and both ends
/// stand still.
///
/// The server stops reading from who does not read, and the write deadline ends it, not before its time.
#[test]
fn who_never_reads_is_cut_off_by_the_write_deadline() {
    alone(|| {
        let deadlines = Deadlines { idle: 100 * WRITE, request: None, write: WRITE };
        besiege("zero window, write deadline", Rules { deadlines, small_send_buffers: true, ..Rules::default() }, |site| {
            let begin = Instant::now();
            let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| site.connect()).collect();
            util::eventually("all cut off", || {
                peers.iter_mut().for_each(fill);
                site.journal.write_cut.get() == PEERS
            });
            assert!(begin.elapsed() >= WRITE);
            site.until_answered(100);
            assert_eq!(site.journal.clients.get(), 1);
            for peer in &mut peers {
                peer.set_nonblocking(false).unwrap();
                expect_end(peer);
            }
        });
    });
}

/// Asks until it would block.
fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut line = [b'q'; LINE];
    line[LINE - 1] = b'\n';
    loop {
        match stream.write(&line) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // The deadline has come.
            Err(error) => return assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}"),
        }
    }
}
