//! What was done to the subject on purpose, and the proof that it was done.

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// One fault of the plan. A fault that was not delivered makes the run
/// inconclusive: nothing was survived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// The catalogue's id (`C04`, …).
    pub id: String,
    /// The [`super::Upgrade::number`] it was aimed at.
    pub upgrade: u64,
    /// The process it was aimed at, once known.
    pub pid: Option<u32>,
    /// How long after the process was seen the plan wanted it.
    pub planned_delay_ns: u64,
    /// When it was done.
    pub injected: Option<Stamp>,
    /// Whether it happened as planned.
    pub delivered: bool,
    /// What proves that it did, or what happened instead.
    pub evidence: String,
    /// When a client was next answered by the old generation after the fault
    /// (dispatch time of that connection): the proof that it had gone on accepting.
    pub old_answered: Option<Stamp>,
}
