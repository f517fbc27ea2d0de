//! Tells the linker to make a static program that starts at our own `_start`.
//!
//! The flags stand here and not in `.cargo/config.toml`, which cargo looks for in the folder that it is called from, nor in
//! RUSTFLAGS: so `cargo build --manifest-path` works from everywhere.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}/link.ld", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    for flag in [
        "-nostartfiles", // no crt1.o: `_start` is ours
        "-nostdlib",     // no libc, no libgcc
        "-static",       // no dynamic loader ...
        "-no-pie",       // ... and a fixed address, so that nothing has to be relocated at the start
        // What a program of one segment or two has no use for.
        "-Wl,--build-id=none",
        "-Wl,--no-eh-frame-hdr",
        "-Wl,-z,norelro",
    ] {
        println!("cargo::rustc-link-arg-bins={flag}");
    }
}
