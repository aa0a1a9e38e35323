//! Whether the upgrades did what they were to do.

use super::check::{Check, Status};
use super::evidence::Evidence;
use crate::event::Outcome;

/// Upgrades that failed though nobody had planned it.
pub(super) fn check(evidence: &Evidence<'_>) -> Check {
    let planned = |number| {
        evidence.recording.faults.iter().any(|fault| fault.delivered && fault.upgrade == number)
    };
    let mut failed = Vec::new();
    let mut interrupted = false;
    for upgrade in &evidence.recording.upgrades {
        match upgrade.outcome {
            Outcome::Completed => {}
            Outcome::FailedAsPlanned if planned(upgrade.number) => {}
            Outcome::Interrupted => interrupted = true,
            Outcome::FailedAsPlanned
            | Outcome::TimedOut
            | Outcome::ServerGone
            | Outcome::TriggerFailed => {
                let trouble = upgrade.trouble.iter().map(|trouble| format!(": {trouble}"));
                let trouble: String = trouble.collect();
                failed.push(format!("#{} {:?}{trouble}", upgrade.number, upgrade.outcome));
            }
        }
    }
    let status = match (failed.is_empty(), interrupted) {
        (false, _) => Status::Fail,
        (true, true) => Status::Inconclusive,
        (true, false) => Status::Pass,
    };
    Check {
        id: "upgrades.unplanned_failures".to_owned(),
        status,
        limit: "= 0".to_owned(),
        got: failed.len().to_string(),
        detail: (!failed.is_empty()).then(|| failed.join(", ")),
    }
}
