//! Closing descriptors by the range, in a child that has not called exec yet. Nothing
//! here allocates or locks.

#![allow(clippy::disallowed_types, reason = "the child has numbers, and owns none of them")]

use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc;

/// Bytes of directory entries that are read at a time.
const ENTRIES: usize = 2048;

/// Where an entry has its length, and its name (`struct linux_dirent64`, getdents(2)).
const LENGTH_AT: usize = 16;
const NAME_AT: usize = 19;

/// Aligned as the kernel's entries are.
#[repr(C, align(8))]
struct Entries([u8; ENTRIES]);

/// Closes `first..=last`, of which none is above `limit`. Kernels before 5.9 have no
/// such call, and seccomp filters older than it deny it, often with `EPERM`, which the
/// call itself never gives (close_range(2)). There what /proc lists is closed: numbers
/// up to a limit of a thousand million, which is what some containers have, would take
/// minutes. Where that cannot be read either, each number is tried.
pub(super) fn close_range(first: RawFd, last: RawFd, limit: RawFd) -> Result<(), Errno> {
    if first > last {
        return Ok(());
    }
    // SAFETY: a call on numbers; the table is the child's own.
    match Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }) {
        Ok(_) => return Ok(()),
        Err(Errno::ENOSYS | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    if close_listed(first, last).is_err() {
        (first..=last.min(limit)).for_each(close);
    }
    Ok(())
}

fn close(number: RawFd) {
    // SAFETY: a call on a number; the table is the child's own, and one that is not
    // open gives EBADF, no harm.
    unsafe { libc::close(number) };
}

/// Closes those of `first..=last` that are open.
fn close_listed(first: RawFd, last: RawFd) -> Result<(), Errno> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is a literal with its null byte. The child is a process of its
    // own, so these are its own.
    let list = Errno::result(unsafe { libc::open(c"/proc/self/fd".as_ptr(), flags) })?;
    let mut entries = Entries([0; ENTRIES]);
    let outcome = loop {
        // SAFETY: writes at most as many bytes as there are.
        let read =
            unsafe { libc::syscall(libc::SYS_getdents64, list, entries.0.as_mut_ptr(), ENTRIES) };
        match Errno::result(read).map(usize::try_from) {
            Ok(Ok(0)) => break Ok(()),
            // An entry is remembered by its number, so closing some skips none.
            Ok(Ok(read)) => numbers(&entries.0[..read.min(ENTRIES)])
                .filter(|number| (first..=last).contains(number) && *number != list)
                .for_each(close),
            Ok(Err(_)) => break Err(Errno::EIO),
            Err(errno) => break Err(errno),
        }
    };
    close(list);
    outcome
}

/// The names that are numbers, of these entries.
fn numbers(mut entries: &[u8]) -> impl Iterator<Item = RawFd> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(*entries.get(LENGTH_AT..)?.first_chunk()?);
        let entry = entries.get(..usize::from(length).max(NAME_AT))?;
        entries = &entries[entry.len()..];
        let name = entry[NAME_AT..].split(|byte| *byte == 0).next()?;
        // The two that are none are those of every directory.
        Some(str::from_utf8(name).ok().and_then(|name| name.parse().ok()))
    })
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;

    use super::*;
    use crate::sys::spawn::STARTING;

    /// In a child, whose table is its own.
    fn in_child(check: impl FnOnce() -> bool) -> bool {
        let _starting = STARTING.lock().unwrap();
        // SAFETY: the child calls nothing but what may be called before exec.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let status = i32::from(!check());
            // SAFETY: ends the child and nothing else.
            unsafe { libc::_exit(status) };
        }
        waitpid(Pid::from_raw(child), None) == Ok(WaitStatus::Exited(Pid::from_raw(child), 0))
    }

    fn is_open(number: RawFd) -> bool {
        // SAFETY: a call on a number; it touches no memory.
        unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
    }

    #[test]
    fn what_is_open_is_closed_and_nothing_else() {
        let null = File::open("/dev/null").unwrap();
        // More than are read at a time, and with gaps.
        let copies: Vec<_> = (0..300)
            .map(|place| fcntl(&null, FcntlArg::F_DUPFD_CLOEXEC(1000 + 3 * place)).unwrap())
            .collect();
        let (from, to) = (copies[10], copies[290]);
        assert!(in_child(|| {
            close_listed(from, to).is_ok()
                && copies.iter().all(|copy| is_open(*copy) != (from..=to).contains(copy))
                && is_open(null.as_raw_fd())
        }));
        assert!(in_child(|| {
            close_listed(from, RawFd::MAX).is_ok()
                && copies.iter().all(|copy| is_open(*copy) == (*copy < from))
        }));
        copies.into_iter().for_each(close);
    }

    #[test]
    fn entries_that_are_cut_or_nonsense_name_nothing() {
        for length in [0_u8, 3, 18, 19, 200, 255] {
            let mut entry = [b'7'; 40];
            entry[LENGTH_AT..NAME_AT].copy_from_slice(&[length, 0, 4]);
            assert!(numbers(&entry).count() <= 2, "{length}");
            assert_eq!(numbers(&entry[..10]).count(), 0);
        }
    }
}
