use netpoll::net::{Dial, Multicast, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixSeqpacket, UnixStream};
use netpoll::{AsFd, OwnedFd, Reader, Source, Unopened, Writer, net};

use crate::{functions, methods};

pub fn take_all() {
    methods! {
        TcpListener: accept 2, accept_own 2, set_deadline 3, set_timeout 3, bind 1, bind_with 2, local_addr 2, token 1, close 2;
        TcpStream: connect 1, connect_with 2, poll_connected 2, read 3, read_exact 4, read_vectored 3, peek 3, write 3, write_all 4,
            write_vectored 3, local_addr 2, peer_addr 2, take_error 2, set_deadline 3, set_timeout 3, set_read_deadline 3,
            set_read_timeout 3, set_write_deadline 3, set_write_timeout 3, shutdown 3, set_nodelay 3, set_keepalive 3, set_reset_on_close 3,
            token 1, close 2;
        Dial: to 1;
        Dial<4>: new 1, with_options 2, with_timeout 2, with_deadline 2, poll 2, cancel 2;
        UdpSocket: bind 1, bind_with 2, connect 1, connect_with 3, recv 3, recv_from 3, peek_from 3, recv_msg 3, send 3, send_to 4,
            send_msg 4, set_broadcast 3, set_ttl 3, set_recv_buffer_size 3, set_send_buffer_size 3, multicast 2, local_addr 2, peer_addr 2,
            take_error 2, set_deadline 3, set_timeout 3, set_read_deadline 3, set_read_timeout 3, set_write_deadline 3, set_write_timeout 3,
            token 1, close 2;
        Multicast<'static>: join 3, leave 3, set_interface 2, set_ttl 2, set_loop 2;
        UnixListener: bind 1, bind_with 2;
        UnixListener<UnixSeqpacket>: bind_seqpacket 1, bind_seqpacket_with 2;
        UnixListener<UnixStream>: accept 2, accept_own 2, local_addr 2, set_deadline 3, set_timeout 3, token 1, close 2;
        UnixStream: connect 1, pair 0, read 3, read_exact 4, read_vectored 3, peek 3, write 3, write_all 4, write_vectored 3,
            send_with_fds 4, recv_with_fds 4, local_addr 2, peer_addr 2, peer_credentials 2, take_error 2, shutdown 3, set_deadline 3,
            set_timeout 3, set_read_deadline 3, set_read_timeout 3, set_write_deadline 3, set_write_timeout 3, token 1, close 2;
        UnixSeqpacket: connect 1, pair 0, recv 3, send 3, send_with_fds 4, recv_with_fds 4, local_addr 2, peer_addr 2, peer_credentials 2,
            take_error 2, shutdown 3, set_deadline 3, set_timeout 3, set_read_deadline 3, set_read_timeout 3, set_write_deadline 3,
            set_write_timeout 3, token 1, close 2;
        UnixDatagram: bind 1, unbound 0, connect 1, connect_from 2, pair 0, recv 3, recv_from 3, send 3, send_to 4, send_with_fds 4,
            recv_with_fds 4, local_addr 2, peer_addr 2, take_error 2, set_deadline 3, set_timeout 3, set_read_deadline 3, set_read_timeout 3,
            set_write_deadline 3, set_write_timeout 3, token 1, close 2;
        Unopened<TcpListener>: open 2, local_addr 1;
        Unopened<TcpStream>: open 2, local_addr 1, peer_addr 1;
        Unopened<UdpSocket>: open 2, local_addr 1, peer_addr 1, multicast 1;
        Unopened<UnixListener<UnixStream>>: open 2, local_addr 1;
        Unopened<UnixStream>: open 2, local_addr 1, peer_addr 1, peer_credentials 1;
        Unopened<UnixSeqpacket>: open 2, local_addr 1, peer_addr 1, peer_credentials 1;
        Unopened<UnixDatagram>: open 2, local_addr 1, peer_addr 1;
    }
    functions! {
        net::unlink_stale as fn(_) -> _;
        <Unopened<TcpStream> as Source>::open as fn(_, _) -> _;
        <Unopened<TcpStream> as AsFd>::as_fd as fn(_) -> _;
        <Unopened<TcpStream> as From<OwnedFd>>::from as fn(_) -> _;
        <OwnedFd as From<Unopened<TcpStream>>>::from as fn(_) -> _;
        <TcpStream as Reader>::read as fn(_, _, _) -> _;
        <TcpStream as Writer>::write as fn(_, _, _) -> _;
    }
}
