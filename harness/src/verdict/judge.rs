//! All checks together.

use std::collections::HashSet;

use super::check::{Check, Outcome, Seen, Status, UpgradeWindow, Verdict};
use super::evidence::Evidence;
use super::gates::{self, Findings};
use super::windows::Windows;
use super::{
    bounds, counters, coverage, faults, gaps, harm, laws, network, owned, per_upgrade, processes,
    resets, upgrades,
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
    let resets = resets::named(&evidence, &windows);
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
    let owned = owned::owned(&evidence, &resets);
    checks.extend(harm::checks(&evidence, &harm, &owned, &resets));
    checks.extend(laws.iter().map(|law| laws::check(law, &evidence)));
    checks.extend(per_upgrade::check(&windows_of_upgrades));
    checks.push(counters::check(&evidence, &unexplained));
    checks.extend(network::check(&evidence));
    checks.push(upgrades::check(&evidence));
    let wrongly = harm::wrongly(&evidence, &harm, &owned);
    let faults = faults::findings(&evidence, &wrongly);
    checks.extend(faults::checks(&evidence, &faults));
    checks.extend(processes::checks(&evidence));
    checks.extend(coverage::checks(&evidence, &windows));

    Verdict {
        outcome: outcome(&checks),
        checks,
        harm,
        laws,
        unexplained,
        bounds: bounds::bounds(
            seen_upgrades(&evidence, &windows_of_upgrades),
            seen_connections(&evidence, &harmed),
        ),
        gaps,
        upgrades: windows_of_upgrades,
        faults,
        resets,
    }
}

/// An upgrade that failed otherwise than planned says nothing of those that work.
fn seen_upgrades(evidence: &Evidence<'_>, windows: &[UpgradeWindow]) -> Seen {
    let upgrades = evidence.recording.upgrades.iter().zip(windows);
    let judged = upgrades.filter(|(upgrade, _)| {
        matches!(upgrade.outcome, Ended::Completed | Ended::FailedAsPlanned)
    });
    judged.fold(Seen::default(), |seen, (_, window)| Seen {
        harmed: seen.harmed + u64::from(window.harmed > 0),
        of: seen.of + 1,
    })
}

fn seen_connections(evidence: &Evidence<'_>, harmed: &HashSet<u64>) -> Seen {
    let operations = evidence.recording.operations.iter();
    let hurt: HashSet<u64> = operations
        .filter(|operation| harmed.contains(&operation.id))
        .map(|operation| operation.connection)
        .collect();
    evidence.opened().fold(Seen::default(), |seen, connection| Seen {
        harmed: seen.harmed + u64::from(hurt.contains(&connection.id)),
        of: seen.of + 1,
    })
}

pub(super) fn outcome(checks: &[Check]) -> Outcome {
    match checks.iter().map(|check| check.status).max() {
        Some(Status::Fail) => Outcome::Fail,
        Some(Status::Inconclusive) | None => Outcome::Inconclusive,
        Some(Status::Pass | Status::NotChecked) => Outcome::Pass,
    }
}
