//! Compiles `c/*.c` against libev, libuv and libevent, and says what everything was compiled with.

use std::path::PathBuf;
use std::process::Command;

/// `pkg-config` names; Debian's libev has no `.pc` file.
const LIBRARIES: [&str; 3] = ["libuv", "libevent", "libevent_pthreads"];

fn main() {
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let sources: Vec<PathBuf> = std::fs::read_dir("c")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    let mut build = cc::Build::new();
    build.files(sources).opt_level(2).flag("-std=gnu11").warnings(true).warnings_into_errors(true);
    for name in LIBRARIES {
        let library = pkg_config::probe_library(name).unwrap();
        build.includes(&library.include_paths);
        println!("cargo:rustc-env=PEERS_{}={}", name.to_uppercase(), library.version);
    }
    build.compile("peers_c");
    println!("cargo:rustc-link-lib=ev");
    println!("cargo:rustc-env=PEERS_CC={}", first_line(build.get_compiler().to_command().arg("--version")));
    println!("cargo:rustc-env=PEERS_RUSTC={}", first_line(Command::new(std::env::var("RUSTC").unwrap()).arg("--version")));
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().unwrap().stdout;
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
}
