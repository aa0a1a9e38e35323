//! The thread that keeps the time.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::ledger::Ledger;
use super::schedule::{Schedule, Wanted};
use crate::clock::{Clock, Stamp};

/// A sleeping thread wakes late by about the timer's slack. It is put to sleep
/// until so long before the moment, and burns the rest.
const SPIN: Duration = Duration::from_micros(120);

/// The longest sleep, so that the end of the schedule is noticed soon.
const NAP: Duration = Duration::from_millis(5);

/// An operation whose time has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// The operation's id.
    pub(super) id: u64,
    /// Whose it is.
    pub(super) population: u16,
    /// When the schedule wanted it.
    pub(super) intended: Stamp,
    /// Bytes of payload.
    pub(super) payload: usize,
    /// Whether the client finishes sending before it has the whole reply.
    pub(super) half_close: bool,
}

/// The last moment of the schedule, which may be decided while it runs.
#[derive(Clone, Debug)]
pub(super) struct End(Arc<AtomicU64>);

impl End {
    /// No end yet.
    pub(super) fn open() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// What is intended until `stamp` is still done, even if it is late.
    pub(super) fn set(&self, stamp: Stamp) {
        self.0.fetch_min(stamp.0, Ordering::Relaxed);
    }

    fn get(&self) -> Stamp {
        Stamp(self.0.load(Ordering::Relaxed))
    }
}

/// Merges the schedules and hands every operation over at its time.
#[derive(Debug)]
pub(super) struct Pacer {
    /// The run's clock.
    pub(super) clock: Clock,
    /// When the load begins.
    pub(super) began: Stamp,
    /// When it ends.
    pub(super) end: End,
    /// The books.
    pub(super) ledger: Arc<Ledger>,
    /// Where operations go. Unbounded: a slow reader makes them late, never fewer.
    pub(super) out: UnboundedSender<Due>,
}

impl Pacer {
    /// Runs until the end, and says when the last operation was handed over.
    pub(super) fn run(self, schedules: Vec<(u16, Schedule)>) -> Stamp {
        let mut heads: Vec<(Wanted, u16, Schedule)> = schedules
            .into_iter()
            .filter_map(|(population, mut schedule)| Some((schedule.next()?, population, schedule)))
            .collect();
        while let Some((wanted, population, schedule)) =
            heads.iter_mut().min_by_key(|(wanted, ..)| wanted.offset)
        {
            let intended = self.began.after(wanted.offset);
            if !wait(self.clock, &self.end, intended) {
                return self.clock.now();
            }
            let id = self.ledger.intend(*population);
            let Wanted { payload, half_close, .. } = *wanted;
            let due = Due { id, population: *population, intended, payload, half_close };
            // With nobody left to hand it to, the missing row tells.
            let _ = self.out.send(due);
            if let Some(next) = schedule.next() {
                *wanted = next;
            }
        }
        // Populations without a schedule go on until the end, too.
        wait(self.clock, &self.end, Stamp(u64::MAX));
        self.clock.now()
    }
}

/// Waits for `moment`; says no if it lies behind the end.
pub(super) fn wait(clock: Clock, end: &End, moment: Stamp) -> bool {
    loop {
        if moment > end.get() {
            return false;
        }
        let left = moment.since(clock.now());
        if left.is_zero() {
            return true;
        }
        match left.checked_sub(SPIN) {
            Some(sleep) if !sleep.is_zero() => thread::sleep(sleep.min(NAP)),
            _ => hint::spin_loop(),
        }
    }
}
