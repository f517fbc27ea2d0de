//! A seccomp filter that stands for Linux 4.14: what that kernel does not know is refused.
//!
//! The kernel numbers its system calls in the order of their coming, so all that are newer have greater numbers than the last one of 4.14:
//! `epoll_pwait2`, `pidfd_open`, `clone3`, `rseq`, those of 32-bit machines with 64-bit times, and any that is yet to come.

use std::io::Error;

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    c_long, seccomp_data, sock_filter, sock_fprog,
};

/// The last system call of Linux 4.14.
const LAST: c_long = if cfg!(target_arch = "x86") { SYS_ARCH_PRCTL_X86 } else { libc::SYS_statx };
const SYS_ARCH_PRCTL_X86: c_long = 384;

/// `PR_GET_AUXV`, Linux 6.4.
const GET_AUXV: u32 = 0x4155_5856;

/// What becomes of a system call that the kernel does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It answers `ENOSYS`, as an old kernel does.
    Answer,
    /// The process is killed (`SIGSYS`), as by the filters of some containers and services.
    Kill,
}

/// The filter's program; made beforehand, so that a child that has only forked need not allocate.
pub struct Filter(Vec<sock_filter>);

impl Filter {
    pub fn linux_4_14(refusal: Refusal) -> Filter {
        let refused = match refusal {
            Refusal::Answer => errno(libc::ENOSYS),
            Refusal::Kill => answer(SECCOMP_RET_KILL_PROCESS),
        };
        let filter = Filter(vec![load_number(), jump(BPF_JGT, LAST as u32, 0, 1), refused]);
        // Old calls that have learned something new.
        let filter = filter.argument(libc::SYS_prctl, GET_AUXV, libc::EINVAL);
        filter.argument(libc::SYS_waitid, libc::P_PIDFD, libc::EINVAL)
    }

    /// Another call is refused too, whatever its arguments.
    pub fn call(mut self, number: c_long, with: i32) -> Filter {
        self.0.extend([jump(BPF_JEQ, number as u32, 0, 1), errno(with)]);
        self
    }

    /// And another one if its first argument is `value`.
    fn argument(mut self, number: c_long, value: u32, with: i32) -> Filter {
        let first = std::mem::offset_of!(seccomp_data, args) + if cfg!(target_endian = "big") { 4 } else { 0 };
        self.0.extend([jump(BPF_JEQ, number as u32, 0, 4), load(first), jump(BPF_JEQ, value, 0, 1), errno(with), load_number()]);
        self
    }

    /// Puts it in force for the calling thread, for ever; threads and processes made by it inherit it.
    pub fn install(&self) -> Result<(), Error> {
        let allow = [answer(SECCOMP_RET_ALLOW)];
        let mut program = [answer(0); 64];
        let len = self.0.len() + allow.len();
        program[..len].iter_mut().zip(self.0.iter().chain(&allow)).for_each(|(to, from)| *to = *from);
        let program = sock_fprog { len: len as u16, filter: program.as_mut_ptr() };
        // SAFETY: prctl(2) with numbers; then seccomp in its older form, which reads the program and keeps no pointer to it.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(Error::last_os_error()) }
    }
}

fn load_number() -> sock_filter {
    load(std::mem::offset_of!(seccomp_data, nr))
}

fn load(offset: usize) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset as u32)
}

fn errno(number: i32) -> sock_filter {
    answer(SECCOMP_RET_ERRNO | number as u32)
}

fn answer(action: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, action)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Passes over so many instructions if the comparison holds, and so many if not.
fn jump(comparison: u32, with: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | comparison | BPF_K) as u16, jt: if_so, jf: if_not, k: with }
}
