use netpoll::frame::{Delimiter, FrameBuffer, Framing, LengthPrefix};
use netpoll::net::TcpStream;

use crate::foreign::{Messages, Stream};
use crate::{functions, methods};

type Buffer<F> = FrameBuffer<F, 64>;

pub fn take_all() {
    methods! {
        Buffer<Messages>: new 1, with_limit 2, space 1, filled 2, next_frame 1, frame 1, pending 1, is_empty 1, skip_frame 1, clear 1, framing 1,
            framing_mut 1;
        Buffer<Delimiter<1>>: space 1, next_frame 1, skip_frame 1;
        Buffer<Delimiter<2>>: next_frame 1;
        Buffer<LengthPrefix>: space 1, next_frame 1, skip_frame 1;
        Delimiter<1>: new 1, encode 3, scan 3, overlap 1;
        Delimiter<2>: new 1, encode 3, scan 3, overlap 1;
        LengthPrefix: at 2, counted_from 2, body_from 2, encode 3, scan 3, overlap 1;
    }
    functions! {
        Buffer::<Messages>::poll_frame as fn(_, _, &Stream) -> _;
        Buffer::<Delimiter<1>>::poll_frame as fn(_, _, &TcpStream) -> _;
        Buffer::<Delimiter<2>>::poll_frame as fn(_, _, &TcpStream) -> _;
        Buffer::<LengthPrefix>::poll_frame as fn(_, _, &TcpStream) -> _;
    }
}
