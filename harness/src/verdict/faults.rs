//! Whether the faults hit, and were survived.

use super::check::{Check, Status};
use super::evidence::Evidence;
use crate::event::{FaultRecord, Outcome};

/// Nothing, where no fault was planned.
pub(super) fn checks(evidence: &Evidence<'_>) -> Vec<Check> {
    if evidence.plan.faults.is_empty() {
        return Vec::new();
    }
    vec![delivered(evidence), survived(evidence)]
}

/// Enough hit, and what missed was made up for: a fault that came too late is
/// aimed again, and no delivery is owed at the end.
fn delivered(evidence: &Evidence<'_>) -> Check {
    let faults = &evidence.recording.faults;
    let hits = faults.iter().filter(|fault| fault.delivered).count();
    let wanted = evidence.plan.coverage.faults;
    let enough = u64::try_from(hits).is_ok_and(|hits| hits >= wanted);
    let owed = faults.last().filter(|last| !last.delivered);
    Check {
        id: "faults.delivered".to_owned(),
        status: if enough && owed.is_none() { Status::Pass } else { Status::Inconclusive },
        limit: format!(">= {wanted}, none owed"),
        got: format!("{hits}, and {} too late", faults.len() - hits),
        detail: owed.map(|fault| format!("upgrade #{}: {}", fault.upgrade, fault.evidence)),
        gate: None,
    }
}

/// After each, the old generation went on accepting, and the next upgrade worked.
fn survived(evidence: &Evidence<'_>) -> Check {
    let hits: Vec<&FaultRecord> =
        evidence.recording.faults.iter().filter(|fault| fault.delivered).collect();
    let mut fatal = Vec::new();
    for fault in &hits {
        if fault.old_answered.is_none() || fault.old_answered <= fault.injected {
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
