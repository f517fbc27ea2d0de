//! Debug and Display.

use netpoll::deadline::{Queue, QueueStorage};
use netpoll::frame::{Delimiter, FrameBuffer, FrameError, LengthPrefix, Scan};
use netpoll::linux::{ChildExit, ExitStatus, InotifyEvent, InotifyEvents, Notice, TimerSpec, Uevent};
use netpoll::net::{
    ConnectOptions, Dial, ListenOptions, Multicast, MulticastInterface, PeerCredentials, Received, TcpStream, UdpOptions,
    UnixListenOptions, UnixListener, UnixReceived, UnixStream,
};
use netpoll::os::SerialSettings;
use netpoll::readiness::Readiness;
use netpoll::table::{Gate, PollDesc, Step, Table, TableStorage};
use netpoll::{
    Breaker, Callback, Clock, Context, Direction, Error, HandlerId, Instant, Interest, Io, OpError, Outbox, OwnedFd, Polled, Poller,
    PollerStorage, Reactor, ReactorStorage, Rejected, Stats, Timeout, Token, Unopened, Waiter,
};

use crate::foreign::{Activity, Messages};

/// The functions of these traits, for each type.
macro_rules! formats {
    ($($format:ident: $($kind:ty),+;)+) => {
        $($(core::hint::black_box(<$kind as core::fmt::$format>::fmt as fn(&$kind, &mut core::fmt::Formatter<'_>) -> _);)+)+
    };
}

pub fn take_all() {
    formats! {
        Display: Error, FrameError, ExitStatus, OpError<u32>, Rejected<u32>, SerialSettings;
        Debug: Error, FrameError, ExitStatus, OpError<u32>, Rejected<u32>, SerialSettings, Breaker<'static>, Callback<(), u32>, ChildExit, Clock,
            ConnectOptions, Context<'static, Activity>, Delimiter<2>, Dial<4>, Direction, FrameBuffer<Messages, 64>, Gate, HandlerId,
            InotifyEvent<'static>, InotifyEvents<'static>, Instant, Interest, Io<'static>, LengthPrefix, ListenOptions, Multicast<'static>,
            MulticastInterface, Notice<u32>, Outbox<[u8; 16], 4>, PeerCredentials, PollDesc<OwnedFd>, Polled, Poller<'static>, PollerStorage<8>,
            Queue<'static>, QueueStorage<8>, Reactor<'static, Callback<(), u32>>, ReactorStorage<u32, 4, 8>, Readiness, Received, Scan, Stats, Step,
            Table<'static, OwnedFd>, TableStorage<OwnedFd, 8>, TcpStream, Timeout, TimerSpec, Token, UdpOptions, Uevent<'static>,
            UnixListenOptions, UnixListener<UnixStream>, UnixReceived, Unopened<TcpStream>, Waiter;
    }
}
