//! `inherited`, given its sockets as supervisors give them.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl};

use crate::example::{self, PATIENCE};
use crate::program::{Program, command, expect_usage};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Starts it as systemd does: `socket` is what `redirections` call descriptor 0.
fn activated(socket: impl Into<OwnedFd>, redirections: &str, environment: &str) -> Program {
    let script = format!("{environment} exec \"$0\" --listen 127.0.0.1:0 {redirections} </dev/null");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(example::path("inherited")).stdin(socket.into());
    Program::spawn(shell)
}

fn inetd(socket: impl Into<OwnedFd>) -> Program {
    let mut command = command("inherited", &["--inetd"]);
    command.stdin(Stdio::from(socket.into()));
    Program::spawn(command)
}

#[track_caller]
fn expect_served(mut client: TcpStream) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    client.read_to_string(&mut line).unwrap();
    assert_eq!(line, format!("you are {}\n", client.local_addr().unwrap()));
}

/// It listens on what it was given; and on which address, and as what, it says.
#[track_caller]
fn expect_listening(program: &mut Program, address: SocketAddr, name: &str) {
    assert_eq!(program.expect("inherited: listening on "), format!("{address} ({name})"));
}

#[track_caller]
fn expect_own_socket(mut program: Program, given: SocketAddr) {
    let line = program.expect("inherited: listening on ");
    let address = line.strip_suffix(" (a socket of its own)").unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    assert_ne!(given, address);
    expect_served(TcpStream::connect(address).unwrap());
}

#[test]
fn socket_of_systemd_serves_also_who_came_before() {
    let (listener, address) = listener();
    let early = TcpStream::connect(address).unwrap();
    let mut program = activated(listener.try_clone().unwrap(), "3<&0", "LISTEN_FDS=1 LISTEN_PID=$$");
    expect_listening(&mut program, address, "descriptor 3");
    expect_served(early);
    expect_served(TcpStream::connect(address).unwrap());
    // It was set for whoever has the socket, as the recipe says.
    assert!(fcntl_getfl(&listener).unwrap().contains(OFlags::NONBLOCK));
    let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/3", program.child.id())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    assert_ne!(u32::from_str_radix(flags, 8).unwrap() & 0o2000000, 0, "descriptor 3 would go to its children: {info}");
}

#[test]
fn each_socket_has_its_name() {
    let (listener, address) = listener();
    let mut program = activated(listener, "3<&0 4<&0", "LISTEN_FDS=2 LISTEN_FDNAMES=web:admin LISTEN_PID=$$");
    expect_listening(&mut program, address, "descriptor 3, web");
    expect_listening(&mut program, address, "descriptor 4, admin");
    expect_served(TcpStream::connect(address).unwrap());
}

#[test]
fn sockets_for_another_process_are_not_touched() {
    for environment in ["LISTEN_FDS=1 LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_PID=$$"] {
        let (listener, address) = listener();
        expect_own_socket(activated(listener.try_clone().unwrap(), "3<&0", environment), address);
        assert!(!fcntl_getfl(&listener).unwrap().contains(OFlags::NONBLOCK));
    }
}

#[test]
fn socket_of_an_inetd_is_descriptor_0() {
    let (listener, address) = listener();
    let early = TcpStream::connect(address).unwrap();
    let mut program = inetd(listener);
    expect_listening(&mut program, address, "descriptor 0");
    expect_served(early);
    expect_served(TcpStream::connect(address).unwrap());
}

/// As inetutils-inetd starts it: the socket is where messages would go, too.
#[test]
fn inetd_gives_the_socket_as_all_three_descriptors() {
    let (listener, address) = listener();
    let mut command = command("inherited", &["--inetd"]);
    let copy = || Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    let mut child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
    expect_served(TcpStream::connect(address).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Every client wakes both; one of them finds nothing to accept, and goes on.
#[test]
fn processes_that_share_the_socket_do_not_block_each_other() {
    let (listener, address) = listener();
    let [mut first, mut second] = [(); 2].map(|()| inetd(listener.try_clone().unwrap()));
    expect_listening(&mut first, address, "descriptor 0");
    expect_listening(&mut second, address, "descriptor 0");
    (0..50).for_each(|_| expect_served(TcpStream::connect(address).unwrap()));
    drop(first);
    (0..5).for_each(|_| expect_served(TcpStream::connect(address).unwrap()));
}

#[test]
fn what_is_no_listening_socket_is_an_error() {
    let silent = || rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let (listener, address) = listener();
    let connected = TcpStream::connect(address).unwrap();
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let datagram = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let unix = OwnedFd::from(std::os::unix::net::UnixStream::pair().unwrap().0);
    let pid = "LISTEN_FDS=1 LISTEN_PID=$$";
    let copy = |socket: &dyn AsFd| socket.as_fd().try_clone_to_owned().unwrap();
    for (program, error) in [
        (activated(silent(), "3<&0", pid), "descriptor 3: a socket that does not listen"),
        (activated(copy(&connected), "3<&0", pid), "descriptor 3: a socket that does not listen"),
        (activated(datagram, "3<&0", pid), "descriptor 3: a socket that does not listen"),
        (activated(null(), "3<&0", pid), "descriptor 3: socket operation on non-socket"),
        (activated(null(), "3<&-", pid), "descriptor 3: bad file descriptor"),
        (activated(copy(&listener), "3<&0 4<&-", "LISTEN_FDS=2 LISTEN_PID=$$"), "descriptor 4: bad file descriptor"),
        (activated(copy(&listener), "3<&0", "LISTEN_FDS=many LISTEN_PID=$$"), "malformed socket activation environment"),
        (inetd(null()), "descriptor 0: socket operation on non-socket"),
        (inetd(copy(&connected)), "descriptor 0: a socket that does not listen"),
        (inetd(unix), "descriptor 0: a socket that does not listen"),
    ] {
        let ended = program.end();
        assert_eq!((ended.status.code(), ended.errors), (Some(1), format!("inherited: {error}\n")), "{:?}", ended.lines);
    }
}

#[test]
fn listener_of_another_family_is_an_error() {
    let path = std::env::temp_dir().join(format!("netpoll-inherited-{}", std::process::id()));
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let ended = inetd(unix).end();
    std::fs::remove_file(path).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.errors.contains("descriptor 0: address family not supported"), "{ended:?}");
}

#[test]
fn nonsense_is_refused() {
    expect_usage("inherited", &[&["--listen", "here"], &["--inetd", "--listen", "127.0.0.1:0"], &["x"], &["--listen"], &["--fd", "3"]]);
}
