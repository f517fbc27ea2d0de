//! The recipe is in `linux.rs`: no other system has CAN sockets.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return linux::main();
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("can_log: only Linux has CAN sockets");
        ExitCode::FAILURE
    }
}
