//! The recipe is in `linux.rs`: no other system has such lines.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return linux::main();
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("gpio_watch: only Linux has these character devices, and sysfs");
        ExitCode::FAILURE
    }
}
