//! Frames cut out of what was read: many in one buffer.

use netpoll::frame::{Delimiter, FrameBuffer, Framing, LengthPrefix};

use crate::meter::count;

const FRAMES: usize = 16;
const FRAME: usize = 64;

fn cut<F: Framing>(framing: F, stream: &[u8; FRAMES * FRAME]) {
    let mut buffer = FrameBuffer::<F, { FRAMES * FRAME }>::new(framing);
    for _ in 0..10 {
        buffer.space().copy_from_slice(stream);
        count(FRAMES as u64, || {
            buffer.filled(stream.len());
            let mut frames = 0;
            while let Ok(Some(_)) = buffer.next_frame() {
                frames += 1;
            }
            assert_eq!(frames, FRAMES);
        });
    }
}

pub fn length_prefix() {
    let mut stream = [0; FRAMES * FRAME];
    for frame in stream.chunks_mut(FRAME) {
        frame[..2].copy_from_slice(&(FRAME as u16 - 2).to_be_bytes());
    }
    cut(LengthPrefix::U16_BE, &stream);
}

pub fn delimiter() {
    let mut stream = [b'x'; FRAMES * FRAME];
    for frame in stream.chunks_mut(FRAME) {
        frame[FRAME - 1] = b'\n';
    }
    cut(Delimiter::new(*b"\n"), &stream);
}
