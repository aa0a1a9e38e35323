//! What happened in this process, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counts what happens in this process. Clones share the counters. They are for
/// people and for metrics; nothing is decided by them, so no order between them
/// is promised, and counting an accepted connection costs one addition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Arc<Cells>);

#[derive(Debug, Default)]
struct Cells {
    accepted: AtomicU64,
    accept_connection_errors: AtomicU64,
    accept_resource_errors: AtomicU64,
    upgrades_started: AtomicU64,
    upgrades_completed: AtomicU64,
    upgrades_failed: AtomicU64,
    upgrades_rolled_back: AtomicU64,
}

/// What has happened in this process so far; the next generation begins at 0.
///
/// An upgrade that was started and is none of completed, failed and rolled back
/// is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Connections that were accepted, of all listeners.
    pub accepted: u64,
    /// Connections that failed while they were accepted (`ECONNABORTED` and its
    /// like, see accept(2)): their clients' doing, or the network's.
    pub accept_connection_errors: u64,
    /// Accepts that failed because something was used up (`EMFILE`, `ENFILE`,
    /// `ENOBUFS`, `ENOMEM`). The connections waited; a count that rises asks for
    /// a higher limit.
    pub accept_resource_errors: u64,
    /// Upgrades that began: a successor was to be started.
    pub upgrades_started: u64,
    /// Upgrades whose successor serves for good.
    pub upgrades_completed: u64,
    /// Upgrades whose successor never came to serve. This process served on.
    pub upgrades_failed: u64,
    /// Upgrades whose successor served already and did not last. This process
    /// serves again.
    pub upgrades_rolled_back: u64,
}

impl Counters {
    /// What they stand at.
    pub(crate) fn counts(&self) -> Counts {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.0.accepted),
            accept_connection_errors: read(&self.0.accept_connection_errors),
            accept_resource_errors: read(&self.0.accept_resource_errors),
            upgrades_started: read(&self.0.upgrades_started),
            upgrades_completed: read(&self.0.upgrades_completed),
            upgrades_failed: read(&self.0.upgrades_failed),
            upgrades_rolled_back: read(&self.0.upgrades_rolled_back),
        }
    }

    pub(crate) fn accepted(&self) {
        add_one(&self.0.accepted);
    }

    pub(crate) fn accept_connection_error(&self) {
        add_one(&self.0.accept_connection_errors);
    }

    pub(crate) fn accept_resource_error(&self) {
        add_one(&self.0.accept_resource_errors);
    }

    pub(crate) fn upgrade_started(&self) {
        add_one(&self.0.upgrades_started);
    }

    pub(crate) fn upgrade_completed(&self) {
        add_one(&self.0.upgrades_completed);
    }

    pub(crate) fn upgrade_failed(&self) {
        add_one(&self.0.upgrades_failed);
    }

    pub(crate) fn upgrade_rolled_back(&self) {
        add_one(&self.0.upgrades_rolled_back);
    }
}

fn add_one(cell: &AtomicU64) {
    cell.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_event_has_a_counter_of_its_own_and_clones_share_it() {
        let counters = Counters::default();
        // Each a different number of times, so that none can stand for another.
        let count: [fn(&Counters); 7] = [
            Counters::accepted,
            Counters::accept_connection_error,
            Counters::accept_resource_error,
            Counters::upgrade_started,
            Counters::upgrade_completed,
            Counters::upgrade_failed,
            Counters::upgrade_rolled_back,
        ];
        for (times, count) in (1..).zip(count) {
            (0..times).for_each(|_| count(&counters.clone()));
        }
        let json = serde_json::to_value(counters.counts()).unwrap();
        let expected = serde_json::json!({
            "accepted": 1,
            "accept_connection_errors": 2,
            "accept_resource_errors": 3,
            "upgrades_started": 4,
            "upgrades_completed": 5,
            "upgrades_failed": 6,
            "upgrades_rolled_back": 7,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        let counters = Counters::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| counters.accepted()));
            }
        });
        assert_eq!(counters.counts(), Counts { accepted: 40_000, ..Counts::default() });
    }
}
