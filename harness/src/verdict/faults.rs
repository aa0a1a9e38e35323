//! Whether the faults hit, and were answered as they must be.

use std::collections::HashSet;

use super::check::{Check, FaultFinding, Status};
use super::evidence::Evidence;
use crate::event::{FaultRecord, Outcome, Upgrade, Upshot};
use crate::scenario::plan::{Fault, When};

/// What came of each fault of the recording. `harmed` are the operations that came to
/// harm which nobody may.
pub(super) fn findings(evidence: &Evidence<'_>, harmed: &HashSet<u64>) -> Vec<FaultFinding> {
    let faults = evidence.recording.faults.iter();
    faults.map(|fault| finding(evidence, fault, harmed)).collect()
}

/// Nothing, where no fault was planned.
pub(super) fn checks(evidence: &Evidence<'_>, findings: &[FaultFinding]) -> Vec<Check> {
    if evidence.plan.faults.is_empty() {
        return Vec::new();
    }
    vec![delivered(evidence), met(findings), survived(evidence)]
}

/// Each hit often enough, and what missed was made up for: a fault that came too late
/// is aimed again, and no delivery is owed at the end.
fn delivered(evidence: &Evidence<'_>) -> Check {
    let records = &evidence.recording.faults;
    let hits = |index| {
        let own = records.iter().filter(move |fault| fault.fault == index);
        own.filter(|fault| fault.delivered).count()
    };
    let mut owed = Vec::new();
    for (index, fault) in evidence.plan.faults.iter().enumerate() {
        let last = records.iter().rev().find(|record| record.fault == index);
        let missed = last.filter(|last| !last.delivered);
        if let Some(record) = missed {
            owed.push(format!("{} in upgrade #{}: {}", fault.id, record.upgrade, record.evidence));
        } else if hits(index) < wanted(evidence, fault) {
            owed.push(format!("{}: {} of {}", fault.id, hits(index), wanted(evidence, fault)));
        }
    }
    let all = records.iter().filter(|fault| fault.delivered).count();
    Check {
        id: "faults.delivered".to_owned(),
        status: if owed.is_empty() { Status::Pass } else { Status::Inconclusive },
        limit: format!(">= {} each, none owed", evidence.plan.coverage.faults),
        got: format!("{all}, and {} missed", records.len() - all),
        detail: (!owed.is_empty()).then(|| owed.join("; ")),
        gate: None,
    }
}

/// How often a fault must have hit.
fn wanted(evidence: &Evidence<'_>, fault: &Fault) -> usize {
    match &fault.when {
        When::Upgrades(numbers) => numbers.len(),
        When::Every(_) | When::Chance(_) => {
            usize::try_from(evidence.plan.coverage.faults).unwrap_or(usize::MAX)
        }
    }
}

/// Each that hit was answered as it must be.
fn met(findings: &[FaultFinding]) -> Check {
    let hits: Vec<&FaultFinding> =
        findings.iter().filter(|finding| finding.met.is_some()).collect();
    let unmet: Vec<String> = hits
        .iter()
        .filter(|finding| finding.met == Some(false))
        .map(|finding| format!("{} in upgrade #{}: {}", finding.id, finding.upgrade, finding.got))
        .collect();
    Check {
        id: "faults.met".to_owned(),
        status: if unmet.is_empty() { Status::Pass } else { Status::Fail },
        limit: "all".to_owned(),
        got: format!("{} of {}", hits.len() - unmet.len(), hits.len()),
        detail: (!unmet.is_empty()).then(|| unmet.join("; ")),
        gate: None,
    }
}

/// After each, somebody served, and the next upgrade worked.
fn survived(evidence: &Evidence<'_>) -> Check {
    let hits: Vec<&FaultRecord> =
        evidence.recording.faults.iter().filter(|fault| fault.delivered).collect();
    let mut fatal = Vec::new();
    for fault in &hits {
        if fault.expected.upgrade == Upshot::Fails && !accepted_again(fault) {
            fatal.push(format!("after #{} the old generation accepted nobody", fault.upgrade));
        }
        let next = evidence.recording.upgrades.iter().find(|upgrade| {
            upgrade.number > fault.upgrade && upgrade.outcome != Outcome::FailedAsPlanned
        });
        if let Some(next) = next
            && matches!(
                next.outcome,
                Outcome::TimedOut | Outcome::ServerGone | Outcome::TriggerFailed
            )
        {
            fatal.push(format!("after #{} upgrade #{} failed", fault.upgrade, next.number));
        }
    }
    Check {
        id: "faults.survived".to_owned(),
        status: if fatal.is_empty() { Status::Pass } else { Status::Fail },
        limit: "all".to_owned(),
        got: format!("{} of {}", hits.len().saturating_sub(fatal.len()), hits.len()),
        detail: (!fatal.is_empty()).then(|| fatal.join("; ")),
        gate: None,
    }
}

/// Whether the old generation answered somebody who came after the fault.
fn accepted_again(fault: &FaultRecord) -> bool {
    fault.old_answered.is_some() && fault.old_answered > fault.injected
}

fn finding(evidence: &Evidence<'_>, fault: &FaultRecord, harmed: &HashSet<u64>) -> FaultFinding {
    let upgrades = &evidence.recording.upgrades;
    let upgrade = upgrades.iter().find(|upgrade| upgrade.number == fault.upgrade);
    let (got, wrong) = answer(evidence, fault, upgrade, harmed);
    FaultFinding {
        id: fault.id.clone(),
        upgrade: fault.upgrade,
        met: fault.delivered.then_some(wrong.is_empty()),
        got: [vec![got], wrong].concat().join("; "),
    }
}

/// What became of the upgrade, in words, and what of it is wrong.
fn answer(
    evidence: &Evidence<'_>,
    fault: &FaultRecord,
    upgrade: Option<&Upgrade>,
    harmed: &HashSet<u64>,
) -> (String, Vec<String>) {
    let Some(upgrade) = upgrade else {
        return ("no upgrade".to_owned(), vec!["it was not asked for".to_owned()]);
    };
    let told = upgrade.trouble.as_deref();
    let mut wrong = Vec::new();
    let as_expected = match fault.expected.upgrade {
        Upshot::Fails => upgrade.outcome == Outcome::FailedAsPlanned,
        Upshot::Completes => upgrade.outcome == Outcome::Completed,
    };
    if !as_expected {
        let expected = match fault.expected.upgrade {
            Upshot::Fails => "fail",
            Upshot::Completes => "complete",
        };
        wrong.push(format!("it was to {expected}"));
    }
    if fault.expected.upgrade == Upshot::Fails && !accepted_again(fault) {
        wrong.push("the old generation accepted nobody afterwards".to_owned());
    }
    if let Some(words) = &fault.expected.told
        && !told.is_some_and(|told| told.contains(words))
    {
        wrong.push(format!("whoever asked was to be told `{words}`"));
    }
    if !fault.left.is_empty() {
        wrong.push(format!("pids {:?} were left behind", fault.left));
    }
    let during = harmed_during(evidence, upgrade, harmed);
    if during > 0 {
        wrong.push(format!("{during} operations harmed"));
    }
    (outcome(upgrade), wrong)
}

fn outcome(upgrade: &Upgrade) -> String {
    let after = upgrade.decided - upgrade.triggered;
    let word = match upgrade.outcome {
        Outcome::Completed => "completed",
        Outcome::FailedAsPlanned | Outcome::TriggerFailed => "failed",
        Outcome::TimedOut => "timed out",
        Outcome::ServerGone => "ended with the server",
        Outcome::Interrupted => "was interrupted",
    };
    let told = upgrade.trouble.as_ref().map_or_else(String::new, |told| format!(": {told}"));
    format!("{word} after {after:.1?}{told}")
}

/// Operations that were harmed after this upgrade had begun, and before the next did.
fn harmed_during(evidence: &Evidence<'_>, upgrade: &Upgrade, harmed: &HashSet<u64>) -> usize {
    let upgrades = &evidence.recording.upgrades;
    let next = upgrades.iter().find(|other| other.number > upgrade.number);
    let operations = evidence.recording.operations.iter();
    operations
        .filter(|operation| harmed.contains(&operation.id))
        .filter(|operation| {
            operation.finished >= upgrade.triggered
                && next.is_none_or(|next| operation.finished < next.triggered)
        })
        .count()
}
