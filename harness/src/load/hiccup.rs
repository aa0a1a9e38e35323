//! How long the machine kept the harness from running.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::{Clock, nanos};

const PERIOD: Duration = Duration::from_millis(1);

/// How much later than asked a thread that only sleeps was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hiccups {
    /// The longest.
    pub(super) max: Duration,
    /// The 99th percentile.
    pub(super) p99: Duration,
}

impl Hiccups {
    /// What must be assumed when nothing was measured.
    pub(super) const UNKNOWN: Self = Self { max: Duration::MAX, p99: Duration::MAX };
}

/// Sleeps and wakes until told to stop.
pub(super) fn watch(clock: Clock, stop: &AtomicBool) -> Hiccups {
    let Ok(mut overshoots) = Histogram::<u64>::new(3) else {
        return Hiccups::UNKNOWN;
    };
    let mut max = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let before = clock.now();
        thread::sleep(PERIOD);
        let overshoot = (clock.now() - before).saturating_sub(PERIOD);
        max = max.max(overshoot);
        if overshoots.record(nanos(overshoot)).is_err() {
            return Hiccups::UNKNOWN;
        }
    }
    let p99 = Duration::from_nanos(overshoots.value_at_quantile(0.99));
    // A bucket's upper edge may lie above the longest that was in it.
    Hiccups { max, p99: p99.min(max) }
}
