//! An echo loop on epoll with nothing around it: one buffer, no state of a connection, no deadlines. A connection that does not take its echo
//! at once is hung up on.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;
use core::net::{Ipv4Addr, SocketAddrV4};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

core::arch::global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym main);

extern "C" fn main() -> ! {
    let _ = serve();
    loop {
        // SAFETY: An instruction that ends the process.
        unsafe { core::arch::asm!("ud2") }
    }
}

/// Says the port in digits.
fn say(port: u16) {
    let mut line = *b"listening on 127.0.0.1:00000\n";
    let (mut at, mut rest) = (27, port);
    while rest > 0 {
        line[at] = b'0' + (rest % 10) as u8;
        (at, rest) = (at - 1, rest / 10);
    }
    // SAFETY: Standard output is there for the whole life of the process.
    let _ = rustix::io::write(unsafe { rustix::stdio::stdout() }, &line);
}

fn serve() -> Result<(), Errno> {
    let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    rustix::net::listen(&listener, 4096)?;
    if let Ok(addr) = SocketAddrV4::try_from(rustix::net::getsockname(&listener)?) {
        say(addr.port());
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let mut events = [const { MaybeUninit::uninit() }; 128];
    let mut buf = [0_u8; 4096];
    loop {
        let (events, _) = epoll::wait(&epoll, &mut events[..], None)?;
        for event in events {
            if event.data.u64() == u64::MAX {
                while let Ok(client) = rustix::net::accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                    epoll::add(&epoll, &client, EventData::new_u64(client.as_raw_fd() as u64), EventFlags::IN)?;
                    let _ = client.into_raw_fd();
                }
                continue;
            }
            let fd = event.data.u64() as i32;
            // SAFETY: What was added is open until it is closed below, and no longer heard of then.
            let client = unsafe { BorrowedFd::borrow_raw(fd) };
            let len = rustix::net::recv(client, &mut buf[..], RecvFlags::empty()).map_or(0, |(len, _)| len);
            let sent = buf.get(..len).map_or(Ok(0), |echo| rustix::net::send(client, echo, SendFlags::NOSIGNAL));
            if len == 0 || sent != Ok(len) {
                // SAFETY: As above.
                drop(unsafe { <OwnedFd as rustix::fd::FromRawFd>::from_raw_fd(fd) });
            }
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: An instruction that ends the process.
    unsafe { core::arch::asm!("ud2", options(noreturn)) }
}

/// The compiler makes calls of these.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: The caller vouches for `len` bytes at both; the direction flag is clear at every call.
    unsafe { core::arch::asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") len => _, options(nostack, preserves_flags)) };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: As above.
    unsafe { core::arch::asm!("rep stosb", inout("rdi") to => _, in("al") byte as u8, inout("rcx") len => _, options(nostack, preserves_flags)) };
    to
}
