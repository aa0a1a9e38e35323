//! What a recording proves: a pure function of the plan and the recording.
//!
//! Three outcomes, everywhere: what failed is a fact about the server, what is
//! inconclusive a fact about the observer, and a check that could not be made
//! is said to have not been made. Fail beats inconclusive beats pass.

mod check;
mod windows;
mod evidence;
mod bounds;
mod resets;
mod owned;
mod network;
mod harm;
mod gaps;
mod laws;
mod counters;
mod processes;
mod upgrades;
mod faults;
mod coverage;
mod gates;
mod per_upgrade;
mod judge;
mod combine;
mod sweep;

#[cfg(test)]
mod tests;

pub use check::{
    Bounds, Check, Closing, FaultFinding, Gap, Gated, Law, NamedReset, Outcome, Seen, Status,
    UpgradeWindow, Verdict,
};
pub use combine::{Part, judge_parts};
pub use judge::judge;
pub use sweep::{PointOutcome, PointVerdict, SweepVerdict, judge_sweep};
pub use windows::{Edges, Windows};
