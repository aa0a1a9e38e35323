//! A process seen through a pidfd, which names it and no other for as long as
//! it is held, whatever becomes of the number (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;

/// A child of ours. Dropped, it is killed and reaped, unless it was let go.
#[derive(Debug)]
pub(crate) struct Child {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    status: Option<ExitStatus>,
    ours: bool,
}

impl Child {
    /// A child that was just started.
    pub(super) fn new(pid: libc::pid_t, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, status: None, ours: true }
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Takes its exit status if it has ended, without waiting. A child whose
    /// status is gone, because SIGCHLD is ignored or somebody else waited for
    /// it, is reported as exit status 0.
    pub(crate) fn try_reap(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait(libc::WNOHANG)
    }

    /// Kills it, if it has not ended yet, waits for its end and takes the
    /// status. SIGKILL ends a stopped process too.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.try_reap()? {
            return Ok(status);
        }
        send_signal(self.pidfd.as_fd(), libc::SIGKILL)?;
        loop {
            if let Some(status) = self.wait(0)? {
                return Ok(status);
            }
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        send_signal(self.pidfd.as_fd(), signal)
    }

    /// Lets it live when this is dropped: it has succeeded us.
    pub(crate) fn let_go(mut self) {
        self.ours = false;
    }

    fn wait(&mut self, flags: libc::c_int) -> io::Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call; the pid is that of a child we
        // have not reaped yet, so it cannot have been given to another.
        match Errno::result(unsafe { libc::waitpid(self.pid, &raw mut status, flags) }) {
            Ok(0) => {}
            Ok(_) => self.status = Some(ExitStatus::from_raw(status)),
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => self.status = Some(ExitStatus::from_raw(0)),
            Err(errno) => return Err(errno.into()),
        }
        Ok(self.status)
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = self.kill()
        {
            tracing::error!(pid = self.pid(), %error, "cannot end the process");
        }
    }
}

/// A pidfd of our parent, if `pid` is still our parent; `None` if it is not,
/// because it has ended or something stands between.
pub(crate) fn watch_parent(pid: u32) -> io::Result<Option<OwnedFd>> {
    let pidfd = open(pid)?;
    // Asked after the descriptor was made: if it is still our parent now, the
    // number was not another's when we opened it.
    Ok(pidfd.filter(|_| nix::unistd::getppid().as_raw().unsigned_abs() == pid))
}

/// A pidfd of whichever process has this number now; `None` if none has.
pub(crate) fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return Ok(None) };
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let number = match Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }) {
        Ok(number) => number,
        Err(Errno::ESRCH) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let number = i32::try_from(number).map_err(|_| io::Error::from(Errno::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us alone; it is
    // close-on-exec from birth.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Sends a signal; a process that has ended is no error.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes numbers and a null pointer, which asks for the
    // same siginfo as kill(2) would send.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
