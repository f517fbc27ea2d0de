//! Floods of datagrams, empty and longer than the buffer among them, at a socket of the same loop.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::BUDGET;
use crate::siege::{Rules, alone, besiege};
use crate::util;

#[test]
fn flood_of_datagrams() {
    alone(|| {
        besiege("flood of datagrams", Rules { datagrams: true, ..Rules::default() }, |site| {
            let address = site.datagrams.unwrap();
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                        while !stop.load(Ordering::Relaxed) {
                            // None, some, more than the buffer takes, much more. What does not fit in the socket's queue is dropped.
                            for len in [0, 5, 17, 9000] {
                                let _ = socket.send_to(&[b'u'; 9000][..len], address);
                            }
                        }
                    });
                }
                site.until_answered(300);
                util::eventually("a flood that uses up the budget", || site.journal.most_calls.get() >= BUDGET);
                stop.store(true, Ordering::Relaxed);
            });
            // One by one they are not dropped.
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            util::eventually("one by one", || {
                let before = site.journal.datagrams.get();
                socket.send_to(b"", address).unwrap();
                std::thread::yield_now();
                site.journal.datagrams.get() > before
            });
        });
    });
}
