//! The only place that reads a clock.
//!
//! Every moment in a [`crate::event::Recording`] is a [`Stamp`]: nanoseconds
//! since the run began, on the monotonic clock, so that two stamps can always
//! be compared and a step of the wall clock moves none of them.

use std::ops::Sub;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds since the run's epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Stamp(pub u64);

impl Stamp {
    /// This moment, later by `span`.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// This moment, earlier by `span`, or the epoch if that is nearer.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Sub for Stamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// A span in nanoseconds; spans beyond 584 years are cut there.
#[must_use]
pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of one run. Copies share the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
    /// The same moment as the kernel's monotonic clock has it.
    epoch_monotonic: u64,
}

impl Clock {
    /// Starts a run's clock: this moment is its epoch.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
    pub fn start() -> Self {
        // The two read the same clock; what lies between them is some nanoseconds.
        let (epoch, now) = (Instant::now(), clock_gettime(ClockId::CLOCK_MONOTONIC));
        let epoch_monotonic = now.map(|now| nanos(Duration::from(now))).unwrap_or_default();
        Self { epoch, epoch_monotonic }
    }

    /// The present moment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the clock")]
    pub fn now(&self) -> Stamp {
        Stamp(nanos(Instant::now() - self.epoch))
    }

    /// `stamp` as an `Instant`, for timers that want one.
    #[must_use]
    pub fn instant(&self, stamp: Stamp) -> Instant {
        self.epoch + Duration::from_nanos(stamp.0)
    }

    /// A moment of the kernel's monotonic clock, in nanoseconds.
    #[must_use]
    pub fn at_monotonic(&self, nanos: u64) -> Stamp {
        Stamp(nanos.saturating_sub(self.epoch_monotonic))
    }

    /// Seconds since 1970 on the wall clock, for the head of a report only.
    #[must_use]
    pub fn unix_seconds() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_never_go_below_the_epoch() {
        assert_eq!(Stamp(5).before(Duration::from_secs(1)), Stamp(0));
        assert_eq!(Stamp(5) - Stamp(9), Duration::ZERO);
        assert_eq!(Stamp(5).after(Duration::from_nanos(2)), Stamp(7));
    }
}
