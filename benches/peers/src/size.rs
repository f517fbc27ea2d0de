//! W6: how large a program of each peer is, and how much memory it takes: idle, and for connections.
//!
//! Each is an echo server and nothing else (`size/`), built for size, stripped, with and without a C library of its own.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::echo::{Server, raise_limit};
use crate::report::{Report, Row};
use crate::work::Options;

const WORKLOAD: &str = "size";

/// Of all peers.
pub const NAMES: &[&str] = &[
    "raw",
    "bare",
    "netpoll:nolibc",
    "netpoll",
    "std",
    "mio",
    "polling",
    "calloop",
    "tokio",
    "async-io",
    "libev",
    "libuv",
    "libevent",
    "libevent:bufferevent",
];

/// What a peer's program is made of.
enum Made {
    /// C: the file with the server, the server, the library.
    C(&'static str, &'static str, &'static [&'static str]),
    /// The package `size`, with a feature.
    Rust(&'static str),
    /// The package `size/bare`.
    Bare,
    /// `examples/nolibc`, with room for so many connections.
    NoLibc(usize),
}

use Made::{Bare, C, NoLibc, Rust};

const PROGRAMS: &[(&str, Made)] = &[
    ("raw", C("raw", "echo_raw", &[])),
    ("bare", Bare),
    ("netpoll:nolibc", NoLibc(64)),
    ("netpoll", Rust("netpoll")),
    ("std", Rust("std")),
    ("mio", Rust("mio")),
    ("polling", Rust("polling")),
    ("calloop", Rust("calloop")),
    ("tokio", Rust("tokio")),
    ("async-io", Rust("async-io")),
    ("libev", C("ev", "echo_ev", &["-lev", "-lm"])),
    ("libuv", C("uv", "echo_uv", &["-luv_a", "-pthread", "-ldl", "-lrt"])),
    ("libevent", C("event", "echo_event", &["-levent_core"])),
    ("libevent:bufferevent", C("event", "echo_event_bufferevent", &["-levent_core"])),
];

const CONNECTIONS: [usize; 2] = [1000, 9000];

const STATIC: [&str; 4] = ["static, idle", "static, 1000", "static, 9000", "static, one more"];
const DYNAMIC: [&str; 4] = ["dynamic, idle", "dynamic, 1000", "dynamic, 9000", "dynamic, one more"];

/// Those that are built in seconds.
const QUICK: [&str; 6] = ["raw", "bare", "netpoll:nolibc", "libev", "libuv", "libevent"];

pub fn run(options: &Options, report: &mut Report) {
    if !options.exact {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wanted = |(peer, _): &&(&str, Made)| options.wants(peer) && (!options.quick || QUICK.contains(peer));
    for (peer, made) in PROGRAMS.iter().filter(wanted) {
        eprintln!("{WORKLOAD} {peer}");
        let mut add = |case: &str, measure, value: f64| {
            report.add(Row { workload: WORKLOAD, case: case.to_owned(), peer: (*peer).to_owned(), measure, value, ratio: None });
        };
        if let Err(why) = measure(peer, made, folder.path(), &mut add) {
            report.fail(WORKLOAD, format!("{peer}: {why}"));
        }
    }
    for note in [
        "Each program is an echo server and nothing else: Rust with `opt-level = \"z\"`, `lto = \"fat\"`, `panic = \"abort\"`, C with `-Os -flto`, all \
         stripped; static against glibc, and dynamic, whose libraries are not counted.",
        "`bare` is a loop on rustix without libc, with one buffer, no state of a connection and no deadlines: what it leaves out is what a \
         reactor is for. `std` binds a listener and ends: what every Rust program of std has. `netpoll:nolibc` is `examples/nolibc`: an idle \
         deadline for each connection and 2 KiB of buffer in each handler; `netpoll` and the other Rust programs share one buffer, but tokio \
         and async-io, which have one in each task.",
        "Memory: when idle, and with so many connections. One more: anonymous bytes from 1 000 to 9 000 connections, divided by 8 000.",
    ] {
        report.note(WORKLOAD, note);
    }
}

type Add<'a> = dyn FnMut(&str, &'static str, f64) + 'a;

fn measure(peer: &str, made: &Made, folder: &Path, add: &mut Add<'_>) -> Result<(), String> {
    let of_its_own = build(made, true, folder)?;
    add("static", "bytes", size(&of_its_own));
    match made {
        // The same program, with more room: memory that no connection uses costs none.
        NoLibc(_) => memory(&build(&NoLibc(CONNECTIONS[1] + 1), true, folder)?, STATIC, add),
        Bare => memory(&of_its_own, STATIC, add),
        _ => {
            let shared = build(made, false, folder)?;
            add("dynamic", "bytes", size(&shared));
            // Serves nobody.
            if peer == "std" {
                return Ok(());
            }
            memory(&of_its_own, STATIC, add)?;
            memory(&shared, DYNAMIC, add)
        }
    }
}

fn size(program: &Path) -> f64 {
    program.metadata().expect("a program").len() as f64
}

/// This package's folder: the programs lie beside its sources.
fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn build(made: &Made, of_its_own: bool, folder: &Path) -> Result<PathBuf, String> {
    match made {
        C(file, server, libraries) => {
            let program = folder.join(format!("{server}-{of_its_own}"));
            let mut cc = Command::new("cc");
            cc.args(["-Os", "-flto", "-s", "-std=gnu11", "-Wl,--gc-sections", "-ffunction-sections", &format!("-DSERVE={server}"), "-o"]);
            cc.arg(&program).arg(here().join("size/main.c")).arg(here().join(format!("c/echo_{file}.c")));
            if of_its_own {
                cc.arg("-static");
                succeed(cc.args(*libraries))?;
            } else {
                // Debian names its static libuv otherwise.
                succeed(cc.args(libraries.iter().map(|library| if *library == "-luv_a" { "-luv" } else { library })))?;
            }
            Ok(program)
        }
        Rust(feature) => {
            let flags = if of_its_own { "-C target-feature=+crt-static -C relocation-model=static" } else { "" };
            let directory = folder.join(format!("rust-{of_its_own}"));
            // Named, so that build scripts are not built with these flags.
            let mut cargo = cargo(&here().join("size"), &directory);
            succeed(cargo.args(["-p", "netpoll-peers-size", "--features", feature, "--target", &target()]).env("RUSTFLAGS", flags))?;
            keep(&directory.join(target()).join("release/size"), &folder.join(format!("{feature}-{of_its_own}")))
        }
        Bare => {
            let target = folder.join("bare");
            succeed(cargo(&here().join("size"), &target).args(["-p", "netpoll-peers-bare"]))?;
            Ok(target.join("release/bare"))
        }
        NoLibc(connections) => {
            let package = with_room(*connections, &folder.join(format!("nolibc-{connections}")))?;
            let target = folder.join("nolibc-target");
            succeed(&mut cargo(&package, &target))?;
            keep(&target.join("release/netpoll-echo-nolibc"), &folder.join(format!("nolibc-{connections}.program")))
        }
    }
}

/// Of this machine.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn cargo(package: &Path, target: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--release", "--manifest-path"]).arg(package.join("Cargo.toml"));
    // What this program was built with is no concern of those.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env("CARGO_TARGET_DIR", target);
    cargo
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))) }
}

fn keep(from: &Path, to: &Path) -> Result<PathBuf, String> {
    std::fs::copy(from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    Ok(to.to_owned())
}

/// A copy of `examples/nolibc` in which the one constant is another.
fn with_room(connections: usize, folder: &Path) -> Result<PathBuf, String> {
    let crate_root = here().join("../..").canonicalize().map_err(|error| error.to_string())?;
    succeed(Command::new("cp").arg("-r").arg(crate_root.join("examples/nolibc")).arg(folder))?;
    let edit = |file: &str, from: &str, to: &str| {
        let path = folder.join(file);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        if !text.contains(from) {
            return Err(format!("no `{from}` in examples/nolibc/{file}"));
        }
        std::fs::write(&path, text.replacen(from, to, 1)).map_err(failed)
    };
    edit("src/main.rs", "const CONNECTIONS: usize = 64;", &format!("const CONNECTIONS: usize = {connections};"))?;
    edit("Cargo.toml", "path = \"../..\"", &format!("path = {crate_root:?}"))?;
    Ok(folder.to_owned())
}

/// Memory of a server, idle and with connections, each of which has been answered once.
fn memory(program: &Path, cases: [&str; 4], add: &mut Add<'_>) -> Result<(), String> {
    raise_limit();
    let mut command = Command::new(program);
    // The program of the example wants to be told.
    if program.extension().is_some() {
        command.arg("127.0.0.1:0");
    }
    let server = Server::start(&mut command, false)?;
    let (rss, anonymous) = status(server.pid)?;
    add(cases[0], "RSS kB", rss);
    add(cases[0], "anonymous kB", anonymous);
    let (mut clients, mut before) = (Vec::new(), 0.0);
    for (case, connections) in cases[1..3].iter().zip(CONNECTIONS) {
        while clients.len() < connections {
            clients.push(ping(&server).map_err(|error| format!("connection {} of {connections}: {error}", clients.len() + 1))?);
        }
        let (rss, anonymous) = status(server.pid)?;
        add(case, "RSS kB", rss);
        add(case, "anonymous kB", anonymous);
        if connections == CONNECTIONS[1] {
            let bytes = (anonymous - before) * 1024.0 / (CONNECTIONS[1] - CONNECTIONS[0]) as f64;
            add(cases[3], "bytes of a connection", bytes);
        }
        before = anonymous;
    }
    for client in &clients {
        let _ = rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO));
    }
    Ok(())
}

/// A connection that has been answered.
fn ping(server: &Server) -> std::io::Result<TcpStream> {
    use std::io::{Read, Write};
    let mut stream = TcpStream::connect(server.addr)?;
    let mut answer = [0; 64];
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(&[7; 64])?;
    stream.read_exact(&mut answer)?;
    Ok(stream)
}

/// `VmRSS` and `RssAnon`, in kB.
fn status(pid: u32) -> Result<(f64, f64), String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| format!("the status of a server: {error}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or_else(|| format!("no {name} in {text}"))
    };
    Ok((field("VmRSS:")?, field("RssAnon:")?))
}
