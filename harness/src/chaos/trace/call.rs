//! One system call of a stopped thread, in its registers.

use nix::errno::Errno;
use nix::libc::PTRACE_SYSCALL_INFO_ENTRY;
use nix::sys::ptrace;
use nix::unistd::Pid;
use syscalls::Sysno;

/// Whether a call can be made to fail here. It takes a way to skip the call, which
/// on aarch64 is a register set (`NT_ARM_SYSTEM_CALL`) without a safe wrapper.
pub const CAN_FAIL: bool = cfg!(target_arch = "x86_64");

/// A call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Which; `None`: one that this table does not know.
    pub(super) call: Option<Sysno>,
    /// Its first argument, where that is a descriptor.
    pub(super) descriptor: u32,
}

impl Entry {
    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.call.map_or("unknown", |call| call.name())
    }
}

/// Whether the thread is stopped before its call, and not after it.
pub(super) fn is_entry(thread: Pid) -> nix::Result<bool> {
    Ok(ptrace::syscall_info(thread)?.op == PTRACE_SYSCALL_INFO_ENTRY)
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use super::{Errno, Pid, ptrace};

    pub(super) fn entry(thread: Pid) -> nix::Result<(u64, u64)> {
        let registers = ptrace::getregs(thread)?;
        Ok((registers.orig_rax, registers.rdi))
    }

    pub(super) fn result(thread: Pid) -> nix::Result<u64> {
        Ok(ptrace::getregs(thread)?.rax)
    }

    /// The kernel makes no call of this number, and says so.
    pub(super) fn skip(thread: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        registers.orig_rax = u64::MAX;
        ptrace::setregs(thread, registers)
    }

    pub(super) fn fail(thread: Pid, errno: Errno) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        registers.rax = i64::from(-(errno as i32)).cast_unsigned();
        ptrace::setregs(thread, registers)
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use super::{Errno, Pid, ptrace};

    pub(super) fn entry(thread: Pid) -> nix::Result<(u64, u64)> {
        let registers = ptrace::getregs(thread)?;
        Ok((registers.regs[8], registers.regs[0]))
    }

    pub(super) fn result(thread: Pid) -> nix::Result<u64> {
        Ok(ptrace::getregs(thread)?.regs[0])
    }

    pub(super) fn skip(_: Pid) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(super) fn fail(_: Pid, _: Errno) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }
}

/// The call that the thread is stopped before.
pub(super) fn entry(thread: Pid) -> nix::Result<Entry> {
    let (number, first) = registers::entry(thread)?;
    let call = usize::try_from(number).ok().and_then(Sysno::new);
    // A descriptor is the lower half of its register, whatever the upper has.
    let descriptor = u32::try_from(first & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    Ok(Entry { call, descriptor })
}

/// What the call came to, which the thread is stopped after: negative if it failed.
pub(super) fn result(thread: Pid) -> nix::Result<i64> {
    Ok(registers::result(thread)?.cast_signed())
}

/// Has the call not made that the thread is stopped before.
pub(super) fn skip(thread: Pid) -> nix::Result<()> {
    registers::skip(thread)
}

/// Has the thread, which is stopped after a call, believe that it failed so.
pub(super) fn fail(thread: Pid, errno: Errno) -> nix::Result<()> {
    registers::fail(thread, errno)
}
