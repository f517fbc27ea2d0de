//! Tiny portions: requests written byte by byte, answers read byte by byte, through the smallest buffers that the kernel has.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};

use crate::polite::backwards;
use crate::siege::{Rules, Site, alone, besiege};

#[test]
fn one_byte_at_a_time() {
    alone(|| {
        const PEERS: usize = 40;
        besiege("one byte at a time", Rules { small_send_buffers: true, small_recv_buffers: true, ..Rules::default() }, |site| {
            let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| small(site)).collect();
            for round in 0..3 {
                let questions: Vec<Vec<u8>> = (0..PEERS).map(|peer| format!("question {round} of peer {peer}\n").into_bytes()).collect();
                // In turns, so that each byte is an arrival of its own.
                for place in 0..32 {
                    for (peer, question) in peers.iter_mut().zip(&questions) {
                        question.get(place).iter().for_each(|&&byte| assert_eq!(peer.write(&[byte]).unwrap(), 1));
                    }
                }
                for (peer, question) in peers.iter_mut().zip(&questions) {
                    let (mut answer, mut byte) = (Vec::new(), [0]);
                    while !answer.ends_with(b"\n") {
                        assert_eq!(peer.read(&mut byte).unwrap(), 1);
                        answer.push(byte[0]);
                    }
                    assert_eq!(answer[..answer.len() - 1], backwards(&question[..question.len() - 1]));
                }
            }
            site.until_answered(50);
        });
    });
}

fn small(site: &Site<'_>) -> TcpStream {
    let stream = site.connect();
    set_socket_recv_buffer_size(&stream, 1).unwrap();
    set_socket_send_buffer_size(&stream, 1).unwrap();
    stream
}
