//! All checks together.

use super::check::{Check, Outcome, Status, Verdict};
use super::evidence::Evidence;
use super::gates::{self, Findings};
use super::windows::Windows;
use super::{
    bounds, counters, coverage, faults, gaps, harm, laws, per_upgrade, processes, upgrades,
};
use crate::event::{Outcome as Ended, Recording};
use crate::scenario::Plan;

/// What the recording proves. Pure: the same recording, judged again, gives the
/// same verdict.
#[must_use]
pub fn judge(plan: &Plan, recording: &Recording) -> Verdict {
    let evidence = Evidence::new(plan, recording);
    let harm = harm::harmed(&evidence);
    let laws = laws::laws(&evidence);
    let unexplained = counters::unexplained(&evidence);
    let windows = Windows::new(recording);
    let harmed = harm.values().flatten().copied().collect();
    let gaps = gaps::gaps(&evidence, &harmed);
    let findings = Findings {
        harm: &harm,
        harmed: &harmed,
        laws: &laws,
        unexplained: &unexplained,
        gaps: &gaps,
        windows: &windows,
    };

    let windows_of_upgrades = per_upgrade::windows(&evidence, &findings);

    // What the scenario's author asked for comes first.
    let mut checks = gates::checks(&evidence, &findings);
    checks.extend(harm::checks(&evidence, &harm));
    checks.extend(laws.iter().map(|law| laws::check(law, &evidence)));
    checks.extend(per_upgrade::check(&windows_of_upgrades));
    checks.push(counters::check(&evidence, &unexplained));
    checks.push(upgrades::check(&evidence));
    checks.extend(faults::checks(&evidence));
    checks.extend(processes::checks(&evidence));
    checks.extend(coverage::checks(&evidence, &windows));

    let survived = evidence.upgrades(Ended::Completed).count()
        + evidence.upgrades(Ended::FailedAsPlanned).count();
    Verdict {
        outcome: outcome(&checks),
        checks,
        harm,
        laws,
        unexplained,
        bounds: bounds::bounds(survived, evidence.opened().count()),
        gaps,
        upgrades: windows_of_upgrades,
    }
}

pub(super) fn outcome(checks: &[Check]) -> Outcome {
    match checks.iter().map(|check| check.status).max() {
        Some(Status::Fail) => Outcome::Fail,
        Some(Status::Inconclusive) | None => Outcome::Inconclusive,
        Some(Status::Pass | Status::NotChecked) => Outcome::Pass,
    }
}
