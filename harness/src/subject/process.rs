//! One process of the subject, held by its pidfd.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::clock::Stamp;
use crate::event::Exit;
use crate::scenario::plan;

/// One process of the subject.
#[derive(Debug)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// When it was first seen.
    pub seen: Stamp,
    /// When it was found gone; `None` while it lives.
    pub gone: Option<Stamp>,
    /// How it ended. [`Exit::Reaped`] may still become exact: when the parent
    /// ends without having taken the status, we inherit it.
    pub exit: Option<Exit>,
    /// Kept until the process is not even a zombie any more.
    handle: Option<OwnedFd>,
}

impl Process {
    /// Takes hold of a process, a zombie as well.
    pub(super) fn open(pid: u32, seen: Stamp) -> io::Result<Self> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::ESRCH)?;
        let handle = pidfd_open(id, PidfdFlags::empty())?;
        Ok(Self { pid, seen, gone: None, exit: None, handle: Some(handle) })
    }

    /// Whether nothing of it is left, not even a zombie. Its pid may be
    /// somebody else's by now.
    pub(super) fn is_settled(&self) -> bool {
        self.handle.is_none()
    }

    /// Whether it was alive when last looked at.
    pub(super) fn is_alive(&self) -> bool {
        self.gone.is_none()
    }

    pub(super) fn send(&self, signal: Signal) -> io::Result<()> {
        let handle = self.handle.as_ref().filter(|_| self.is_alive()).ok_or(Errno::ESRCH)?;
        let signal = rustix::process::Signal::from_named_raw(signal as i32).ok_or(Errno::EINVAL)?;
        Ok(pidfd_send_signal(handle, signal)?)
    }

    /// Waits until it has ended, or for `at_most`. May return early.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        self.handle.as_ref().is_none_or(|handle| has_ended(handle.as_fd(), at_most))
    }

    /// Notes that it has ended, if it has, and takes its status, if it is ours
    /// to take. Only this process is waited for: others' children are theirs.
    pub(super) fn notice(&mut self, now: Stamp) {
        let Some(handle) = &self.handle else { return };
        if self.is_alive() && !has_ended(handle.as_fd(), Duration::ZERO) {
            return;
        }
        self.gone.get_or_insert(now);
        match waitid(Id::PIDFd(handle.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(_, code)) => self.settle(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => self.settle(Exit::Signal(signal as i32)),
            // Its parent is alive, and has taken the status or may do so yet.
            Err(_) if is_vacant(handle) => self.settle(Exit::Reaped),
            Err(_) => self.exit = Some(Exit::Reaped),
            Ok(_) => {}
        }
    }

    fn settle(&mut self, exit: Exit) {
        self.exit = Some(exit);
        self.handle = None;
    }
}

/// A pidfd is readable from the end of the process on.
fn has_ended(handle: BorrowedFd<'_>, at_most: Duration) -> bool {
    let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(handle, PollFlags::POLLIN)];
    matches!(poll(&mut fds, timeout), Ok(ready) if ready > 0)
}

/// Whether the process was reaped: its pidfd then belongs to no pid.
fn is_vacant(handle: &OwnedFd) -> bool {
    fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd()))
        .is_ok_and(|text| names_no_pid(&text))
}

fn names_no_pid(fdinfo: &str) -> bool {
    fdinfo
        .lines()
        .filter_map(|line| line.strip_prefix("Pid:"))
        .any(|pid| matches!(pid.trim(), "-1" | "0"))
}

/// The signal that a scenario names.
#[must_use]
pub fn native(signal: plan::Signal) -> Signal {
    match signal {
        plan::Signal::SigHup => Signal::SIGHUP,
        plan::Signal::SigInt => Signal::SIGINT,
        plan::Signal::SigQuit => Signal::SIGQUIT,
        plan::Signal::SigTerm => Signal::SIGTERM,
        plan::Signal::SigUsr1 => Signal::SIGUSR1,
        plan::Signal::SigUsr2 => Signal::SIGUSR2,
        plan::Signal::SigWinch => Signal::SIGWINCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaped_process_has_no_pid() {
        assert!(names_no_pid("pos:\t0\nPid:\t-1\nNSpid:\t-1\n"));
        assert!(!names_no_pid("pos:\t0\nPid:\t12\nNSpid:\t12\n"));
        assert!(!names_no_pid("pos:\t0\n"));
    }

    #[test]
    fn nobody_can_be_held() {
        assert!(Process::open(0, Stamp(0)).is_err());
        assert!(Process::open(u32::MAX, Stamp(0)).is_err());
    }
}
