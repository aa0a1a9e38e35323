//! One process of the subject, through a pidfd: a signal can never reach
//! another that has been given its number.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::clock::Stamp;
use crate::event::Exit;

/// One process of the subject.
#[derive(Debug)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// When the harness first saw it.
    pub seen: Stamp,
    /// When it was found gone.
    pub gone: Option<Stamp>,
    /// How it ended.
    pub exit: Option<Exit>,
    pidfd: OwnedFd,
}

impl Process {
    /// A process that was seen just now.
    pub(super) fn open(pid: u32, seen: Stamp) -> io::Result<Self> {
        let raw =
            rustix::process::Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty())?;
        Ok(Self { pid, seen, gone: None, exit: None, pidfd })
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal as i32)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits for its end; whether it has ended.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let timeout = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, timeout).is_ok_and(|ready| ready > 0)
    }

    /// Looks whether it has ended, and takes its status if it is a child of
    /// ours. A zombie whose parent lives is gone too: it is that one's to reap.
    pub(super) fn look(&mut self, now: Stamp) {
        if self.gone.is_some() || !self.wait(Duration::ZERO) {
            return;
        }
        self.gone = Some(now);
        let pid = Pid::from_raw(self.pid.cast_signed());
        self.exit = Some(match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
            // Not our child, or not yet: the parent may end before it reaps,
            // and then it comes to us (`reap_late`).
            Ok(_) | Err(_) => Exit::Reaped,
        });
    }

    /// Takes the status of a zombie that has become a child of ours since.
    pub(super) fn reap_late(&mut self) {
        if self.gone.is_none() || self.exit != Some(Exit::Reaped) {
            return;
        }
        let pid = Pid::from_raw(self.pid.cast_signed());
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => self.exit = Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => self.exit = Some(Exit::Signal(signal as i32)),
            Ok(_) | Err(_) => {}
        }
    }
}
