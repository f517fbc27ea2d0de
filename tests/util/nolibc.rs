//! The program in `examples/nolibc`, built with the command that the documentation gives, as a process.

#![allow(dead_code)] // not every test needs all of it

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Builds the program, with its symbols if asked to, and gives the path of the file.
pub fn build(symbols: bool) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(if symbols { "nolibc-symbols" } else { "nolibc" });
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--manifest-path", "examples/nolibc/Cargo.toml"]);
    if symbols {
        cargo.args(["--config", "profile.release.strip=false"]);
    }
    // Flags meant for the tests, such as those of a sanitizer, need a C library.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", &target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("release/netpoll-echo-nolibc")
}

/// A program that is made already, for another CPU too if the kernel knows an emulator for it (binfmt_misc).
pub fn made_already() -> Option<PathBuf> {
    std::env::var_os("NETPOLL_TEST_NOLIBC").map(PathBuf::from)
}

/// The file as the command leaves it, built once for all tests.
pub fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| made_already().unwrap_or_else(|| build(false)))
}

/// A running server; ended when dropped.
pub struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    pub fn start() -> Server {
        Server::spawn(Command::new(program()))
    }

    pub fn spawn(mut command: Command) -> Server {
        let mut child = command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("listening on ").expect(&line).parse().unwrap();
        Server { child, addr }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
