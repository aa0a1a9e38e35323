//! Whether the upgrades did what they were to do.

use super::check::{Check, Status};
use super::evidence::Evidence;
use crate::event::{Outcome, Upgrade, Upshot};

/// Whether every upgrade did what it was to do.
pub(super) fn check(evidence: &Evidence<'_>) -> Check {
    let failed = failed(evidence);
    let interrupted = evidence.upgrades(Outcome::Interrupted).next().is_some();
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
        gate: None,
    }
}

/// Upgrades that failed though nobody had planned it.
pub(super) fn failed(evidence: &Evidence<'_>) -> Vec<String> {
    let planned = |number| {
        let mut faults = evidence.recording.faults.iter();
        faults.any(|fault| {
            let fails = fault.delivered && fault.expected.upgrade == Upshot::Fails;
            fails && fault.upgrade == number
        })
    };
    let unplanned = |upgrade: &&Upgrade| match upgrade.outcome {
        Outcome::Completed | Outcome::Interrupted => false,
        Outcome::FailedAsPlanned => !planned(upgrade.number),
        Outcome::TimedOut | Outcome::ServerGone | Outcome::TriggerFailed => true,
    };
    let failed = evidence.recording.upgrades.iter().filter(unplanned);
    let said = |upgrade: &Upgrade| {
        let trouble = upgrade.trouble.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        format!("#{} {:?}{trouble}", upgrade.number, upgrade.outcome)
    };
    failed.map(said).collect()
}
