//! The subject's side: upgrades, faults and generations.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::latency::{Figures, figures, histogram};
use super::windows::{Standing, span_of, upgrade_at};
use crate::clock::{Stamp, nanos};
use crate::event::{
    Exit, Expected, FaultRecord, Generation, Operation, Outcome, Recording, Resources, Upgrade,
};
use crate::verdict::FaultFinding;

/// One upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct UpgradeRow {
    /// Counted from 1.
    pub(super) n: u64,
    pub(super) outcome: Outcome,
    pub(super) t_trigger_ns: u64,
    pub(super) old: Party<u32>,
    pub(super) new: Party<Option<u32>>,
    pub(super) phases_ns: Phases,
    /// Whether both processes have the same listening sockets; `None` if that
    /// was not seen. The same socket is the same accept queue.
    pub(super) listeners_kept: Option<bool>,
    /// Operations that were harmed while it was under way.
    pub(super) harmed: usize,
    pub(super) window: Window,
}

/// A process at one end of an upgrade, or none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Party<P> {
    pub(super) pid: P,
    pub(super) generation: Option<u64>,
    pub(super) exit: Option<Exit>,
}

/// How long after the trigger something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Phases {
    pub(super) seen: Option<u64>,
    pub(super) answered: Option<u64>,
    pub(super) decided: u64,
    /// When the old process was found gone.
    pub(super) old_gone: Option<u64>,
}

/// The operations that were intended while an upgrade was under way, and ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Window {
    pub(super) ops: usize,
    pub(super) p99_ns: Option<u64>,
    pub(super) max_ns: Option<u64>,
}

/// The upgrades, in the recording's order.
pub(super) fn upgrades(recording: &Recording, standing: &Standing) -> Vec<UpgradeRow> {
    let by_pid: HashMap<u32, &Generation> =
        recording.generations.iter().map(|one| (one.pid, one)).collect();
    let mut harmed: HashMap<u64, usize> = HashMap::new();
    for op in recording.operations.iter().filter(|op| standing.harm(op).is_some()) {
        if let Some(upgrade) = upgrade_at(&recording.upgrades, op.finished) {
            *harmed.entry(upgrade.number).or_default() += 1;
        }
    }
    let mut ok: Vec<_> = recording.operations.iter().filter(|op| standing.is_ok(op)).collect();
    ok.sort_unstable_by_key(|op| op.intended);
    let row = |upgrade: &Upgrade| UpgradeRow {
        harmed: harmed.get(&upgrade.number).copied().unwrap_or_default(),
        window: window(upgrade, &ok),
        ..UpgradeRow::new(upgrade, &by_pid)
    };
    recording.upgrades.iter().map(row).collect()
}

fn window(upgrade: &Upgrade, by_intended: &[&Operation]) -> Window {
    let (from, to) = span_of(upgrade);
    let first = by_intended.partition_point(|op| op.intended < from);
    let last = by_intended.partition_point(|op| op.intended <= to);
    let within = by_intended.get(first..last).unwrap_or_default();
    let mut took: Vec<_> = within.iter().map(|op| nanos(op.finished - op.intended)).collect();
    took.sort_unstable();
    Window {
        ops: took.len(),
        p99_ns: took.get(took.len() * 99 / 100).copied(),
        max_ns: took.last().copied(),
    }
}

impl UpgradeRow {
    fn new(upgrade: &Upgrade, by_pid: &HashMap<u32, &Generation>) -> Self {
        let since = |stamp: Stamp| nanos(stamp - upgrade.triggered);
        let old = by_pid.get(&upgrade.old_pid);
        let new = upgrade.new_pid.and_then(|pid| by_pid.get(&pid));
        let listeners = |one: Option<&&Generation>| {
            one.map(|one| one.listeners.clone()).filter(|listeners| !listeners.is_empty())
        };
        Self {
            n: upgrade.number,
            outcome: upgrade.outcome,
            t_trigger_ns: upgrade.triggered.0,
            old: Party {
                pid: upgrade.old_pid,
                generation: old.and_then(|one| one.generation),
                exit: old.and_then(|one| one.exit),
            },
            new: Party {
                pid: upgrade.new_pid,
                generation: new.and_then(|one| one.generation),
                exit: new.and_then(|one| one.exit),
            },
            phases_ns: Phases {
                seen: upgrade.new_seen.map(since),
                answered: upgrade.new_answered.map(since),
                decided: since(upgrade.decided),
                old_gone: old.and_then(|one| one.gone).map(since),
            },
            listeners_kept: listeners(old).zip(listeners(new)).map(|(old, new)| old == new),
            harmed: 0,
            window: Window { ops: 0, p99_ns: None, max_ns: None },
        }
    }
}

/// The upgrades together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct UpgradeTotals {
    pub(super) completed: usize,
    pub(super) failed_as_planned: usize,
    pub(super) failed: usize,
    /// Upgrades while which somebody was harmed.
    pub(super) harmful: usize,
    /// From the trigger to the first answer of the new generation, of the completed.
    pub(super) answered: Option<Figures>,
}

impl UpgradeTotals {
    pub(super) fn new(recording: &Recording, rows: &[UpgradeRow]) -> Self {
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
            harmful: rows.iter().filter(|row| row.harmed > 0).count(),
            answered: figures(&histogram(answered)),
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct FaultRow {
    /// The catalogue's id.
    pub(super) id: String,
    /// The upgrade it was aimed at.
    pub(super) upgrade: u64,
    pub(super) pid: Option<u32>,
    /// Whether it happened as planned.
    pub(super) delivered: bool,
    pub(super) evidence: String,
    /// What the right answer is.
    pub(super) expected: Expected,
    /// What became of the upgrade, and what of it is wrong.
    pub(super) got: String,
    /// Whether that is the right answer; `None`: it did not hit.
    pub(super) met: Option<bool>,
    /// The process that died of it.
    pub(super) victim: Option<u32>,
    pub(super) planned_delay_ns: u64,
    pub(super) injected_ns: Option<u64>,
    /// When a client was next answered by the old generation.
    pub(super) old_answered_ns: Option<u64>,
}

/// The faults, in the recording's order.
pub(super) fn faults(recording: &Recording, findings: &[FaultFinding]) -> Vec<FaultRow> {
    let mut findings = findings.iter();
    recording.faults.iter().map(|fault| FaultRow::new(fault, findings.next())).collect()
}

impl FaultRow {
    fn new(fault: &FaultRecord, finding: Option<&FaultFinding>) -> Self {
        Self {
            id: fault.id.clone(),
            upgrade: fault.upgrade,
            pid: fault.pid,
            delivered: fault.delivered,
            evidence: fault.evidence.clone(),
            expected: fault.expected.clone(),
            got: finding.map_or_else(String::new, |finding| finding.got.clone()),
            met: finding.and_then(|finding| finding.met),
            victim: fault.victim,
            planned_delay_ns: fault.planned_delay_ns,
            injected_ns: fault.injected.map(|stamp| stamp.0),
            old_answered_ns: fault.old_answered.map(|stamp| stamp.0),
        }
    }
}

/// One process of the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct GenerationRow {
    pub(super) pid: u32,
    /// The generation it claims to be.
    pub(super) generation: Option<u64>,
    /// When it was first seen.
    pub(super) seen_ns: u64,
    /// When the first connection was opened that it answered.
    pub(super) first_answered_ns: Option<u64>,
    /// When the last connection was opened that it answered.
    pub(super) last_answered_ns: Option<u64>,
    /// How many connections it answered.
    pub(super) connections: usize,
    /// When it was found gone.
    pub(super) gone_ns: Option<u64>,
    pub(super) exit: Option<Exit>,
    pub(super) resources: Option<Resources>,
}

/// The processes, in the order in which they were seen.
pub(super) fn generations(recording: &Recording) -> Vec<GenerationRow> {
    let mut answered: HashMap<u32, (Stamp, Stamp, usize)> = HashMap::new();
    for connection in &recording.connections {
        let (Some(served), Some(opened)) = (connection.served, connection.opened) else { continue };
        let (first, last, count) = answered.entry(served.pid).or_insert((opened, opened, 0));
        (*first, *last) = (opened.min(*first), opened.max(*last));
        *count += 1;
    }
    let row = |one: &Generation| {
        let served = answered.get(&one.pid).copied();
        GenerationRow {
            pid: one.pid,
            generation: one.generation,
            seen_ns: one.seen.0,
            first_answered_ns: served.map(|(first, _, _)| first.0),
            last_answered_ns: served.map(|(_, last, _)| last.0),
            connections: served.map_or(0, |(_, _, count)| count),
            gone_ns: one.gone.map(|stamp| stamp.0),
            exit: one.exit,
            resources: one.resources.clone(),
        }
    };
    recording.generations.iter().map(row).collect()
}
