//! The subject's side: upgrades, faults and generations.

use serde::Serialize;

use super::latency::{Figures, figures, histogram};
use crate::clock::{Stamp, nanos};
use crate::event::{Exit, FaultRecord, Generation, Outcome, Recording, Resources, Upgrade};

/// One upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct UpgradeRow {
    pub(super) n: u64,
    pub(super) outcome: Outcome,
    pub(super) t_trigger_ns: u64,
    pub(super) old: Pid<u32>,
    pub(super) new: Pid<Option<u32>>,
    pub(super) phases_ns: Phases,
}

/// A process, or none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Pid<P> {
    pub(super) pid: P,
}

/// How long after the trigger something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Phases {
    pub(super) seen: Option<u64>,
    pub(super) answered: Option<u64>,
    pub(super) decided: u64,
}

impl From<&Upgrade> for UpgradeRow {
    fn from(upgrade: &Upgrade) -> Self {
        let since = |stamp: Stamp| nanos(stamp - upgrade.triggered);
        Self {
            n: upgrade.number,
            outcome: upgrade.outcome,
            t_trigger_ns: upgrade.triggered.0,
            old: Pid { pid: upgrade.old_pid },
            new: Pid { pid: upgrade.new_pid },
            phases_ns: Phases {
                seen: upgrade.new_seen.map(since),
                answered: upgrade.new_answered.map(since),
                decided: since(upgrade.decided),
            },
        }
    }
}

/// The upgrades together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct UpgradeTotals {
    pub(super) completed: usize,
    pub(super) failed_as_planned: usize,
    pub(super) failed: usize,
    /// From the trigger to the first answer of the new generation, of the completed.
    pub(super) answered: Option<Figures>,
}

impl UpgradeTotals {
    pub(super) fn new(recording: &Recording) -> Self {
        let count = |outcome| {
            recording.upgrades.iter().filter(|upgrade| upgrade.outcome == outcome).count()
        };
        let (completed, failed_as_planned) =
            (count(Outcome::Completed), count(Outcome::FailedAsPlanned));
        let answered = recording.upgrades.iter().filter_map(|upgrade| {
            let completed = upgrade.outcome == Outcome::Completed;
            upgrade.new_answered.filter(|_| completed).map(|at| at - upgrade.triggered)
        });
        Self {
            completed,
            failed_as_planned,
            failed: recording.upgrades.len() - completed - failed_as_planned,
            answered: figures(&histogram(answered)),
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FaultRow {
    pub(super) id: String,
    pub(super) upgrade: u64,
    pub(super) pid: Option<u32>,
    pub(super) delivered: bool,
    pub(super) evidence: String,
    pub(super) planned_delay_ns: u64,
    pub(super) injected_ns: Option<u64>,
    pub(super) old_answered_ns: Option<u64>,
}

impl From<&FaultRecord> for FaultRow {
    fn from(fault: &FaultRecord) -> Self {
        Self {
            id: fault.id.clone(),
            upgrade: fault.upgrade,
            pid: fault.pid,
            delivered: fault.delivered,
            evidence: fault.evidence.clone(),
            planned_delay_ns: fault.planned_delay_ns,
            injected_ns: fault.injected.map(|stamp| stamp.0),
            old_answered_ns: fault.old_answered.map(|stamp| stamp.0),
        }
    }
}

/// One process of the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct GenerationRow {
    pub(super) pid: u32,
    pub(super) generation: Option<u64>,
    pub(super) seen_ns: u64,
    pub(super) gone_ns: Option<u64>,
    pub(super) exit: Option<Exit>,
    pub(super) resources: Option<Resources>,
}

impl From<&Generation> for GenerationRow {
    fn from(generation: &Generation) -> Self {
        Self {
            pid: generation.pid,
            generation: generation.generation,
            seen_ns: generation.seen.0,
            gone_ns: generation.gone.map(|stamp| stamp.0),
            exit: generation.exit,
            resources: generation.resources.clone(),
        }
    }
}
