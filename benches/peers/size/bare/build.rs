//! Makes a static program without a C library, as examples/nolibc does.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}/../../../../examples/nolibc/link.ld", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    for flag in ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,--no-eh-frame-hdr", "-Wl,-z,norelro"] {
        println!("cargo::rustc-link-arg-bins={flag}");
    }
}
