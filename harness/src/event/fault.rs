//! What was done to the subject on purpose, and the proof that it was done.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// What is to become of the upgrade that a fault hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Upshot {
    /// It fails, and the old generation serves on.
    #[default]
    Fails,
    /// It completes all the same.
    Completes,
}

/// Which clients a fault may harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spared {
    /// None.
    #[default]
    All,
    /// Those whose connections the process had accepted that died of the fault; nobody else.
    ButItsOwn,
}

/// The right answer to a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Expected {
    /// What becomes of the upgrade.
    pub upgrade: Upshot,
    /// Which clients are spared.
    pub clients: Spared,
    /// What whoever asked for the upgrade is told, at the least; `None`: anything.
    pub told: Option<String>,
}

/// One fault of the plan, aimed at one upgrade. A fault that was not delivered makes
/// the run inconclusive: nothing was survived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultRecord {
    /// The catalogue's id (`C04`, …).
    pub id: String,
    /// Which of the plan's faults it is, counted from 0.
    pub fault: usize,
    /// The [`super::Upgrade::number`] it was aimed at.
    pub upgrade: u64,
    /// What was expected of it.
    pub expected: Expected,
    /// The process it was aimed at, once known.
    pub pid: Option<u32>,
    /// The process that it killed, or was to kill.
    pub victim: Option<u32>,
    /// How long after the process was seen the plan wanted it.
    pub planned_delay_ns: u64,
    /// When it was done.
    pub injected: Option<Stamp>,
    /// Whether it happened as planned.
    pub delivered: bool,
    /// What proves that it did, or what happened instead.
    pub evidence: String,
    /// When a client was next answered by the old generation after the upgrade had
    /// failed (dispatch time of that connection): the proof that it had gone on accepting.
    pub old_answered: Option<Stamp>,
    /// Processes of the failed upgrade that were still there when all was over.
    pub left: Vec<u32>,
}
