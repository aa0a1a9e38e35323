//! Descriptors: adopting one that came over exec, and asking what it is.

#![allow(clippy::disallowed_types, reason = "numbers end and begin here")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::fstat;

/// What tells one open pipe from every other: its device and inode (`pipefs`
/// gives each pipe an inode of its own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// Which end of a pipe a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Read,
    Write,
}

/// Numbers that [`adopt`] has given an owner. A number is never adopted twice
/// in the life of a process: the second time it may well be somebody else's.
static ADOPTED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes ownership of a descriptor that this process was started with, and
/// marks it close-on-exec before anything else can be started.
///
/// # Errors
/// `EBADF` if the number is not open; `EBUSY` if it was adopted before.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF.into());
    }
    let mut adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
    if adopted.contains(&number) {
        return Err(Errno::EBUSY.into());
    }
    // SAFETY: the borrow lives for the one call below, which only asks the
    // kernel about the number; a number that is not open gives `EBADF`.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    adopted.insert(number);
    // SAFETY: the number is open, came to us over exec, and the set above
    // makes sure that no second owner is ever made for it here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Looks at a number that may or may not be an open pipe, without owning it.
///
/// # Errors
/// `EBADF` if it is not open; `EINVAL` if it is not that end of a pipe.
pub(crate) fn inspect_pipe(number: RawFd, end: End) -> io::Result<Identity> {
    if number < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: the borrow lives for the calls below, which only ask the kernel
    // about the number; a number that is not open gives `EBADF`.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let mode = OFlag::from_bits_truncate(fcntl(borrowed, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
    let wanted = match end {
        End::Read => OFlag::O_RDONLY,
        End::Write => OFlag::O_WRONLY,
    };
    let status = fstat(borrowed)?;
    if status.st_mode & libc::S_IFMT != libc::S_IFIFO || mode != wanted {
        return Err(Errno::EINVAL.into());
    }
    Ok(Identity { device: status.st_dev, inode: status.st_ino })
}

/// The identity of a pipe that we hold.
pub(crate) fn identity(pipe: impl AsFd) -> io::Result<Identity> {
    let status = fstat(pipe)?;
    Ok(Identity { device: status.st_dev, inode: status.st_ino })
}

/// Whether `O_NONBLOCK` is set.
pub(crate) fn is_nonblocking(fd: impl AsFd) -> io::Result<bool> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    Ok(flags.contains(OFlag::O_NONBLOCK))
}

/// Sets or clears `O_NONBLOCK`. It belongs to the open file, not to the
/// descriptor, so whoever shares the open file shares the flag.
pub(crate) fn set_nonblocking(fd: impl AsFd, nonblocking: bool) -> io::Result<()> {
    let old = OFlag::from_bits_truncate(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    let mut new = old;
    new.set(OFlag::O_NONBLOCK, nonblocking);
    if new != old {
        fcntl(fd.as_fd(), FcntlArg::F_SETFL(new))?;
    }
    Ok(())
}

/// Keeps SIGPIPE from this thread, for its whole life. A write to a pipe whose
/// reader is gone then fails with `EPIPE` and does no more, whatever the
/// application has made of the signal (pipe(7): it goes to the writing thread).
pub(crate) fn refuse_sigpipe() -> io::Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGPIPE);
    // On Linux of this thread only. The other function of that kind gives an error
    // number, which `nix` takes for success.
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use nix::unistd::pipe2;

    use super::*;

    #[test]
    fn a_number_is_adopted_once() {
        let (read, _write) = pipe2(OFlag::empty()).unwrap();
        let number = read.into_raw_fd();
        let adopted = adopt(number).unwrap();
        let flags = fcntl(&adopted, FcntlArg::F_GETFD).unwrap();
        assert_eq!(FdFlag::from_bits_truncate(flags), FdFlag::FD_CLOEXEC);
        assert_eq!(adopt(number).unwrap_err().raw_os_error(), Some(libc::EBUSY));
    }

    #[test]
    fn a_closed_or_negative_number_is_refused() {
        assert_eq!(adopt(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(adopt(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_pipe_end_is_told_from_the_other_and_from_anything_else() {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let seen = inspect_pipe(read.as_raw_fd(), End::Read).unwrap();
        assert_eq!(seen, identity(&write).unwrap());
        assert!(inspect_pipe(read.as_raw_fd(), End::Write).is_err());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(inspect_pipe(null.as_raw_fd(), End::Read).is_err());
    }
}
