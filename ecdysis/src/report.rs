//! What became of an upgrade.

use std::fmt;
use std::time::Duration;

use crate::error::UpgradeError;

/// What became of one upgrade. Made by the process that was to be succeeded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpgradeReport {
    /// Which upgrade of this process it was, counted from 1; 0 if it was refused
    /// before it began.
    pub attempt: u64,
    /// The generation that the successor was to be.
    pub generation: u64,
    /// This process.
    pub predecessor: u32,
    /// The successor, if it was started at all.
    pub successor: Option<u32>,
    /// From the beginning of the upgrade, for which a request may have had to wait,
    /// until the successor had been started (its exec included).
    pub started: Option<Duration>,
    /// From the beginning until the successor was ready and this process had
    /// stopped accepting.
    pub handed_off: Option<Duration>,
    /// From the beginning until the outcome was certain, probation included.
    pub decided: Duration,
    /// The outcome. `Ok`: the successor serves, and this process may go.
    /// `Err`: this process goes on as before; it serves, unless the kind says that
    /// it stops or has been succeeded.
    pub outcome: Result<(), UpgradeError>,
}

impl UpgradeReport {
    /// An upgrade of generation `from` that this process could not even begin.
    pub(crate) fn not_started(from: u64, error: UpgradeError) -> Self {
        Self {
            attempt: 0,
            generation: from + 1,
            predecessor: std::process::id(),
            successor: None,
            started: None,
            handed_off: None,
            decided: Duration::ZERO,
            outcome: Err(error),
        }
    }
}

impl fmt::Display for UpgradeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upgrade to generation {}", self.generation)?;
        if let Some(pid) = self.successor {
            write!(f, " (pid {pid})")?;
        }
        match (&self.outcome, self.handed_off) {
            (Ok(()), Some(span)) => write!(f, " completed, handed off after {span:.1?}"),
            (Ok(()), None) => write!(f, " completed"),
            (Err(error), _) => write!(f, " failed after {:.1?}: {error}", self.decided),
        }
    }
}
