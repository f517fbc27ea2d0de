//! The example programs as processes of their own.

#![allow(dead_code)] // no test needs all of it

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where cargo has put an example of this package.
pub fn path(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap(); // target/<profile>/deps/<test>-<hash>
    path.pop();
    path.pop();
    path.extend(["examples", name]);
    assert!(path.exists(), "{} is missing: cargo build --all-features --examples", path.display());
    path
}

/// A server that runs; killed when it is dropped.
#[derive(Debug)]
pub struct Example {
    pub child: Child,
    pub output: BufReader<ChildStdout>,
    /// Its first line.
    pub greeting: String,
    /// The address in it.
    pub address: SocketAddr,
}

impl Example {
    pub fn start(name: &str, arguments: &[&str]) -> Example {
        let mut command = Command::new(path(name));
        command.args(arguments);
        Example::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Example {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        output.read_line(&mut greeting).unwrap();
        let address =
            greeting.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("no address in {greeting:?}"));
        Example { child, output, greeting, address }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
