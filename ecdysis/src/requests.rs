//! What is asked of this process while an upgrade goes on, and the one place in
//! which an upgrade can go on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::hook;
use crate::protocol::{Seen, Then};

/// What is asked, and the place.
#[derive(Debug)]
pub(crate) struct Requests {
    asked: Mutex<Asked>,
    wake: EventFd,
    /// Held by the upgrade that is under way, or by a stop until the phase shows
    /// it.
    slot: Mutex<()>,
    attempts: AtomicU64,
}

#[derive(Debug, Default)]
struct Asked {
    /// What the upgrade that is under way has not been told yet.
    untold: Vec<Seen>,
    /// A stop has been asked for. Whatever becomes of the upgrade, this process
    /// begins no other.
    stop: bool,
    /// This process has been succeeded: nothing more can be passed on.
    succeeded: bool,
    /// An upgrade was asked for and could not be passed on, or came too late for it.
    lost: bool,
    /// Whoever succeeds it was told to stop first.
    echo: bool,
}

impl Requests {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self {
            asked: Mutex::default(),
            wake,
            slot: Mutex::default(),
            attempts: AtomicU64::new(0),
        })
    }

    /// Asks the upgrade that is under way, or the next. False: this process has
    /// been succeeded, and what is asked of it concerns nobody but itself. If it
    /// is true, a stop ends this process or the one that succeeds it.
    pub(crate) fn ask(&self, what: Seen) -> bool {
        let mut asked = self.lock();
        if asked.succeeded {
            asked.lost |= what == Seen::AskedUpgrade;
            return false;
        }
        asked.stop |= matches!(what, Seen::AskedStop { .. });
        asked.untold.push(what);
        drop(asked);
        // It can only fail when the counter is full, and then it is readable.
        let _ = self.wake.write(1);
        true
    }

    /// Takes the place of the one upgrade that can go on. If it is taken, the one
    /// who has it is asked for another upgrade, to be passed on if it completes;
    /// true: that was so.
    pub(crate) fn enter(&self) -> (MutexGuard<'_, ()>, bool) {
        match self.slot.try_lock() {
            Ok(slot) => (slot, false),
            Err(TryLockError::Poisoned(slot)) => (slot.into_inner(), false),
            Err(TryLockError::WouldBlock) => {
                self.ask(Seen::AskedUpgrade);
                (self.slot.lock().unwrap_or_else(PoisonError::into_inner), true)
            }
        }
    }

    /// Takes it for a stop. `None`: we are in a hook, and somebody who may be
    /// waiting for that has it; whoever it is looks at [`Self::is_stop_asked`]
    /// when he has given it back.
    pub(crate) fn enter_to_stop(&self) -> Option<MutexGuard<'_, ()>> {
        if !hook::is_called() {
            return Some(self.slot.lock().unwrap_or_else(PoisonError::into_inner));
        }
        match self.slot.try_lock() {
            Ok(slot) => Some(slot),
            Err(TryLockError::Poisoned(slot)) => Some(slot.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether a stop was asked for that is for this process to make.
    pub(crate) fn is_stop_asked(&self) -> bool {
        let asked = self.lock();
        asked.stop && !asked.succeeded
    }

    /// An upgrade begins: which one it is, counted from 1. What was asked of those
    /// before is not asked of it, except a stop.
    pub(crate) fn begin(&self) -> u64 {
        self.lock().untold.retain(|what| matches!(what, Seen::AskedStop { .. }));
        self.attempts.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What was asked since the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        // Emptied before the list is: a request in between wakes once more.
        let _ = self.wake.read();
        std::mem::take(&mut self.lock().untold)
    }

    /// Becomes readable when something is asked.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// From now on nothing can be asked of the upgrade, which has completed: what
    /// was asked and it has not been told, a stop before an upgrade.
    pub(crate) fn succeed(&self) -> Option<Then> {
        let mut asked = self.lock();
        asked.succeeded = true;
        std::mem::take(&mut asked.untold).into_iter().filter_map(Seen::asks).max()
    }

    /// An upgrade that was asked for could not be passed on.
    pub(crate) fn lose(&self) {
        self.lock().lost = true;
    }

    /// Whether an upgrade that somebody waits for may have been lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.lock().lost
    }

    /// The successor was told to stop, and this process was not.
    pub(crate) fn expect_echo(&self) {
        self.lock().echo = true;
    }

    /// Whether a stop that is asked of this process now may be the one that its
    /// successor has had. Once: the next one is another.
    #[cfg(feature = "tokio_ecdysis")]
    pub(crate) fn take_echo(&self) -> bool {
        std::mem::take(&mut self.lock().echo)
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Seen = Seen::AskedStop { partial: false };

    #[test]
    fn a_stop_that_came_before_an_upgrade_begins_is_told_to_it() {
        let requests = Requests::new().unwrap();
        requests.ask(Seen::AskedUpgrade);
        requests.ask(STOP);
        assert_eq!(requests.begin(), 1);
        assert_eq!(requests.take(), [STOP]);
        assert!(requests.is_stop_asked(), "and it is remembered");
    }

    #[test]
    fn what_is_asked_is_told_or_left_over_or_refused() {
        let requests = Requests::new().unwrap();
        assert!(requests.ask(STOP) && requests.ask(Seen::AskedUpgrade));
        assert_eq!(requests.succeed(), Some(Then::Stop));
        assert!(!requests.is_stop_asked(), "it is the successor's");
        assert!(!requests.ask(STOP));
        assert!(!requests.has_lost());
        assert!(!requests.ask(Seen::AskedUpgrade));
        assert!(requests.has_lost(), "nobody is told that this one was passed on");
        assert_eq!(requests.succeed(), None);
    }

    #[test]
    fn a_stop_in_a_hook_waits_for_nobody() {
        let requests = Requests::new().unwrap();
        let (slot, _) = requests.enter();
        hook::call(|| assert!(requests.enter_to_stop().is_none()));
        drop(slot);
        let mut entered = false;
        hook::call(|| entered = requests.enter_to_stop().is_some());
        assert!(entered);
    }
}
