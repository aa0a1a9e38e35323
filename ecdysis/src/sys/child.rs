//! A process seen through a pidfd, which names it and no other for as long as
//! it is held, whatever becomes of the number (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whose child a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kin {
    /// Ours.
    #[default]
    Child,
    /// Our own parent's, which is to be its manager when we are gone. What we start
    /// as a child goes to the manager only then, and systemd takes no process for
    /// the main one that has not been its child before it was told.
    Sibling,
}

/// A process that we have started. Dropped, it is killed and, if it is our child,
/// reaped, unless it was let go.
#[derive(Debug)]
pub(crate) struct Child {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    status: Option<ExitStatus>,
    ours: bool,
    kin: Kin,
}

impl Child {
    /// A process that was just started.
    pub(super) fn new(pid: libc::pid_t, pidfd: OwnedFd, kin: Kin) -> Self {
        Self { pid, pidfd, status: None, ours: true, kin }
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Takes its exit status if it has ended, without waiting. If the status is
    /// not ours to take, because SIGCHLD is ignored or somebody else has waited for
    /// it or will, the kernel is asked in other ways; what it does not tell is
    /// reported as exit status 0.
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
        if self.kin == Kin::Sibling {
            let timeout = if flags == 0 { PollTimeout::NONE } else { PollTimeout::ZERO };
            let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ended, timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => self.status = Some(self.exit_status()),
                Err(errno) => return Err(errno.into()),
            }
            return Ok(self.status);
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call; the pid is that of a child we
        // have not reaped yet, so it cannot have been given to another.
        match Errno::result(unsafe { libc::waitpid(self.pid, &raw mut status, flags) }) {
            Ok(0) => {}
            Ok(_) => self.status = Some(ExitStatus::from_raw(status)),
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => self.status = Some(self.exit_status()),
            Err(errno) => return Err(errno.into()),
        }
        Ok(self.status)
    }

    /// How it ended, if that is not for us to take.
    fn exit_status(&self) -> ExitStatus {
        let zombie = status_of_zombie(self.pid);
        // If it is reaped by now, the number may have been another's.
        status_of_reaped(self.pidfd.as_fd()).or(zombie).unwrap_or_default()
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

/// What `PIDFD_GET_INFO` tells (`struct pidfd_info` of `linux/pidfd.h`): the mask
/// of what is wanted and given, the cgroup, eleven ids, the exit status.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit: i32,
}

const PIDFD_INFO_EXIT: u64 = 1 << 3;
const PIDFD_GET_INFO: libc::Ioctl =
    (3 << 30) | ((size_of::<PidfdInfo>() as libc::Ioctl) << 16) | (0xff << 8) | 11;

/// The status of a process that somebody else has reaped, if the kernel keeps it
/// (Linux 6.15).
fn status_of_reaped(pidfd: BorrowedFd<'_>) -> Option<ExitStatus> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel writes to `info`, which outlives the call, no more than
    // the size that is part of the number of the call. A kernel without it gives
    // an error, and `info` stays as it is.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    let known = result == 0 && info.mask & PIDFD_INFO_EXIT != 0;
    known.then(|| ExitStatus::from_raw(info.exit))
}

/// The status of a process that nobody has reaped yet: the 52nd field of
/// proc_pid_stat(5). The second, the name, is in parentheses and may hold anything.
fn status_of_zombie(pid: libc::pid_t) -> Option<ExitStatus> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let status = fields.strip_prefix("Z ")?.split_whitespace().nth(48)?;
    status.parse().ok().map(ExitStatus::from_raw)
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
