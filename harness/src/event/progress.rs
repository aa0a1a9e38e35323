//! How far a run has come.

use std::time::Duration;

/// A glance at a run, for a progress line. Counts only; judging comes later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since the run began.
    pub elapsed: Duration,
    /// Operations ended.
    pub operations: u64,
    /// Of these, harmed.
    pub harmed: u64,
    /// Upgrades completed.
    pub upgrades: u64,
    /// Upgrades that a planned fault ended.
    pub sabotaged: u64,
    /// Processes of the subject now alive.
    pub alive: usize,
}
