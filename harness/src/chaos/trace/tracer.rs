//! The tracing thread, and the orders that it is given.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::follow::{Follower, options};
use super::orders::{Account, Orders};
use crate::observe::procfs;

/// A signal that wakes the tracing thread, and that the process does not see: it is
/// ignored by all who do not ask for it, but a tracer is told of it.
pub(super) const POKE: Signal = Signal::SIGURG;

/// How long it may take until orders are taken.
const OBEDIENCE: Duration = Duration::from_secs(2);

/// Follows a server from generation to generation. Dropping it changes nothing: the
/// thread that follows ends with the last process.
#[derive(Debug)]
pub struct Tracer {
    shared: Arc<Shared>,
}

/// What the tracing thread and those that give it orders share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    desk: Mutex<Desk>,
    changed: Condvar,
    pokes: AtomicU32,
}

#[derive(Debug, Default)]
struct Desk {
    orders: Option<Orders>,
    /// Counts the orders that were given, and which were taken last.
    number: u64,
    taken: u64,
    account: Account,
}

impl Tracer {
    /// Follows `pid`, with all its threads and all that will come of it.
    ///
    /// # Errors
    /// It may not be traced (`EPERM`: somebody else traces it, or a security module
    /// forbids it), or is gone.
    pub fn attach(pid: u32) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (seized, outcome) = channel();
        let its = Arc::clone(&shared);
        // Tracing is a matter between threads: what one has seized, no other can touch.
        thread::Builder::new().name("tracer".to_owned()).spawn(move || match seize(pid) {
            Ok(threads) => {
                let told = seized.send(Ok(()));
                let threads = threads.into_iter().map(|thread| (thread, pid));
                told.map_or_else(|_| (), |()| Follower::new(&its, threads).run());
            }
            Err(errno) => drop(seized.send(Err(errno))),
        })?;
        outcome.recv().map_err(io::Error::other)??;
        Ok(Self { shared })
    }

    /// Gives orders for the next upgrade, in the place of all before; they are in
    /// force when this returns.
    ///
    /// # Errors
    /// The process that is upgraded is gone, or is not followed.
    pub fn order(&self, orders: Orders) -> io::Result<()> {
        self.give(Some(orders), orders.old)
    }

    /// What has been seen since the last orders.
    #[must_use]
    pub fn account(&self) -> Account {
        self.shared.desk().account.clone()
    }

    /// Looks at what has been seen since the last orders.
    pub fn look<R>(&self, at: impl FnOnce(&Account) -> R) -> R {
        at(&self.shared.desk().account)
    }

    /// Waits until the account is so, for `at_most`; whether it is.
    pub fn wait_until(&self, at_most: Duration, mut holds: impl FnMut(&Account) -> bool) -> bool {
        let desk = self.shared.desk();
        let waited =
            self.shared.changed.wait_timeout_while(desk, at_most, |desk| !holds(&desk.account));
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    /// Kills the process that is being stopped for that, though a thread of it still
    /// runs: one that waits for a device cannot be stopped, and may wait for long.
    pub fn insist(&self) {
        let mut desk = self.shared.desk();
        let Some(mut hit) = desk.account.condemned.clone() else { return };
        let Ok(pid) = i32::try_from(hit.pid) else { return };
        if desk.account.hit.is_none() && !desk.account.ended.contains_key(&hit.pid) {
            hit.clients = procfs::peers(hit.pid).unwrap_or_default();
            if kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
                desk.account.hit = Some(hit);
            }
        }
    }

    /// From now on nobody is watched, only followed. `serving` is a process that is
    /// followed, to be woken by.
    ///
    /// # Errors
    /// It is gone.
    pub fn rest(&self, serving: u32) -> io::Result<()> {
        self.give(None, serving)
    }

    fn give(&self, orders: Option<Orders>, through: u32) -> io::Result<()> {
        let pid = i32::try_from(through).map_err(|_| Errno::ESRCH)?;
        let mut desk = self.shared.desk();
        desk.orders = orders;
        desk.number += 1;
        desk.account = Account::default();
        let number = desk.number;
        drop(desk);
        self.shared.pokes.fetch_add(1, Ordering::SeqCst);
        kill(Pid::from_raw(pid), POKE)?;
        let desk = self.shared.desk();
        let waited =
            self.shared.changed.wait_timeout_while(desk, OBEDIENCE, |desk| desk.taken < number);
        match waited {
            Ok((_, timeout)) if !timeout.timed_out() => Ok(()),
            Ok(_) | Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("process {through} is not followed, or cannot be woken"),
            )),
        }
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest orders, and their number.
    pub(super) fn orders(&self) -> (u64, Option<Orders>) {
        let desk = self.desk();
        (desk.number, desk.orders)
    }

    /// The orders of this number are in force.
    pub(super) fn obeyed(&self, number: u64) {
        self.desk().taken = number;
        self.changed.notify_all();
    }

    /// Writes something down.
    pub(super) fn account<R>(&self, change: impl FnOnce(&mut Account) -> R) -> R {
        let changed = change(&mut self.desk().account);
        self.changed.notify_all();
        changed
    }

    /// Whether this signal was to wake the tracing thread.
    pub(super) fn was_poked(&self) -> bool {
        let taken = |pokes: u32| pokes.checked_sub(1);
        self.pokes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken).is_ok()
    }
}

/// Seizes every thread of `pid`, those included that are started meanwhile: a thread
/// that is seized takes its own with it.
fn seize(pid: u32) -> nix::Result<Vec<Pid>> {
    let mut seized = Vec::new();
    loop {
        let mut grown = false;
        for thread in procfs::threads(pid) {
            let thread = Pid::from_raw(i32::try_from(thread).map_err(|_| Errno::ESRCH)?);
            if seized.contains(&thread) {
                continue;
            }
            match ptrace::seize(thread, options()) {
                Ok(()) => {}
                // One that has ended, or that was started by one that was seized.
                Err(Errno::ESRCH | Errno::EPERM) if !seized.is_empty() => {}
                Err(errno) => return Err(errno),
            }
            seized.push(thread);
            grown = true;
        }
        if seized.is_empty() {
            return Err(Errno::ESRCH);
        }
        if !grown {
            return Ok(seized);
        }
    }
}
