//! Descriptors held back for the upgrade of a process that has used up its own:
//! the very one that needs to be upgraded.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// What an upgrade opens before its successor runs: two pipes, the wake-up, the
/// state, the pidfd, and some to spare.
const COUNT: usize = 10;

/// Descriptors that stand for nothing.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<OwnedFd>>);

impl Spares {
    /// Holds back as many as there should be; where there are not so many, half of
    /// what can be had, since a process that can accept nobody is in no need of an
    /// upgrade.
    pub(crate) fn fill(&self) {
        self.refill();
        let mut held = self.held();
        if held.len() < COUNT {
            let half = held.len() / 2;
            held.truncate(half);
        }
    }

    /// Holds back as many as there should be, or as can be had.
    pub(crate) fn refill(&self) {
        let mut held = self.held();
        while held.len() < COUNT {
            match EventFd::from_flags(EfdFlags::EFD_CLOEXEC) {
                Ok(spare) => held.push(spare.into()),
                Err(error) => {
                    tracing::debug!(%error, "cannot hold descriptors back for an upgrade");
                    return;
                }
            }
        }
    }

    /// Lets go of them.
    pub(crate) fn release(&self) {
        self.held().clear();
    }

    fn held(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a call failed because there are no descriptors left.
pub(crate) fn used_up(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}
