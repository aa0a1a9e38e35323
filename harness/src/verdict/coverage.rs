//! Whether enough was seen, by an observer that was up to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::check::{Check, Status};
use super::evidence::Evidence;
use super::windows::Windows;
use crate::event::{Fate, OpKind, Outcome};
use crate::scenario::gate::Window;
use crate::scenario::plan::Delivered;

/// What is begun this long after an upgrade is decided still meets its effects.
const WAKE: Duration = Duration::from_millis(50);

pub(super) fn checks(evidence: &Evidence<'_>, windows: &Windows) -> Vec<Check> {
    let mut checks = vec![connections(evidence)];
    if evidence.plan.upgrades.is_some() {
        checks.push(upgrades(evidence));
        checks.push(connections_per_upgrade(evidence));
    }
    checks.extend(faults_delivered(evidence));
    checks.extend(ops_in_windows(evidence, windows));
    checks.push(limit_hit(evidence));
    checks.push(shed(evidence));
    checks.extend(lateness(evidence));
    let hiccup = evidence.recording.observer.hiccup_max;
    let most = evidence.plan.limits.hiccup_max;
    checks.push(require(
        "observer.hiccup_max",
        hiccup <= most,
        &format!("<= {most:?}"),
        &format!("{hiccup:.1?}"),
    ));
    if let Some(signal) = &evidence.recording.interrupted {
        checks.push(require("run.interrupted", false, "no", &format!("by {signal}")));
    }
    checks
}

fn connections(evidence: &Evidence<'_>) -> Check {
    // A run in which nobody connects proves nothing, whatever the plan says.
    let least = evidence.plan.coverage.connections.max(1);
    let seen = count(evidence.opened().count());
    require("coverage.connections", seen >= least, &format!(">= {least}"), &seen.to_string())
}

fn upgrades(evidence: &Evidence<'_>) -> Check {
    let least = evidence.plan.coverage.upgrades;
    let seen = count(evidence.upgrades(Outcome::Completed).count());
    require("coverage.upgrades", seen >= least, &format!(">= {least}"), &seen.to_string())
}

/// A loss at the hand-over hits those who connect just then. If nobody does,
/// nobody is hurt, and nothing is proved.
fn connections_per_upgrade(evidence: &Evidence<'_>) -> Check {
    let mut opened: Vec<_> = evidence.opened().filter_map(|connection| connection.opened).collect();
    opened.sort_unstable();
    let before = |stamp| opened.partition_point(|opened| *opened < stamp);
    let windows: Vec<usize> = evidence
        .upgrades(Outcome::Completed)
        .map(|upgrade| before(upgrade.decided.after(WAKE)) - before(upgrade.triggered))
        .collect();
    let least = evidence.plan.coverage.connections_per_upgrade;
    let mean =
        if windows.is_empty() { 0.0 } else { lossy(windows.iter().sum()) / lossy(windows.len()) };
    require(
        "coverage.connections_per_upgrade",
        mean >= least,
        &format!(">= {least}"),
        &format!("{mean:.1}"),
    )
}

/// A fault that missed and was aimed again is delivered once; one that was not
/// is not.
fn faults_delivered(evidence: &Evidence<'_>) -> Option<Check> {
    let faults = &evidence.recording.faults;
    let hits = count(faults.iter().filter(|fault| fault.delivered).count());
    let id = "coverage.faults_delivered";
    Some(match evidence.plan.coverage.faults_delivered? {
        Delivered::AtLeast(least) => {
            require(id, hits >= least, &format!(">= {least}"), &hits.to_string())
        }
        Delivered::All => {
            let newest: BTreeMap<&str, bool> =
                faults.iter().map(|fault| (fault.id.as_str(), fault.delivered)).collect();
            let kinds = evidence.plan.faults.iter().map(|fault| fault.id.as_str());
            let owed: BTreeSet<&str> =
                kinds.filter(|id| newest.get(id).is_none_or(|delivered| !delivered)).collect();
            let got = format!("{hits}, {} kinds owed", owed.len());
            require(id, owed.is_empty(), "all", &got)
        }
    })
}

/// A window in which nothing was intended shows nothing, however many upgrades
/// there were.
fn ops_in_windows(evidence: &Evidence<'_>, windows: &Windows) -> Vec<Check> {
    let wanted = &evidence.plan.coverage.ops_in_window;
    let check = |(window, least): &(Window, u64)| {
        let operations = evidence.recording.operations.iter();
        let there = operations.filter(|operation| windows.within(*window, operation.intended));
        let seen = count(there.count());
        let id = format!("coverage.ops_in_window.{}", window.id());
        require(&id, seen >= *least, &format!(">= {least}"), &seen.to_string())
    };
    wanted.iter().map(check).collect()
}

/// Operations that were wanted and are in no row.
fn shed(evidence: &Evidence<'_>) -> Check {
    let intended: u64 = evidence.recording.observer.intended.iter().sum();
    let begun = count(evidence.recording.operations.len());
    let (shed, most) = (intended.saturating_sub(begun), evidence.plan.limits.shed);
    require("observer.shed", shed <= most, &format!("<= {most}"), &shed.to_string())
}

fn limit_hit(evidence: &Evidence<'_>) -> Check {
    let hits = evidence.fates(Fate::LimitHit);
    require("observer.limit_hit", hits == 0, "= 0", &hits.to_string())
}

/// How late the generator was. Kept connections are left out where there are
/// others: a request that waits for its connection is late by the server's doing.
fn lateness(evidence: &Evidence<'_>) -> [Check; 2] {
    let late_of = |kind: OpKind| -> Vec<Duration> {
        let operations = evidence.recording.operations.iter();
        operations
            .filter(|operation| operation.kind == kind)
            .filter(|operation| operation.intended >= evidence.recording.timeline.warmed_up)
            .map(|operation| operation.dispatched - operation.intended)
            .collect()
    };
    let kinds = [OpKind::Churn, OpKind::Datagram, OpKind::Request];
    let mut late = kinds.map(late_of).into_iter().find(|late| !late.is_empty()).unwrap_or_default();
    late.sort_unstable();
    let limits = evidence.plan.limits;
    let p99 = late.get(late.len().saturating_mul(99) / 100).copied().unwrap_or_default();
    let max = late.last().copied().unwrap_or_default();
    let at_most = |id, span: Duration, most: Duration| {
        require(id, span <= most, &format!("<= {most:?}"), &format!("{span:.1?}"))
    };
    [
        at_most("observer.lateness_p99", p99, limits.lateness_p99),
        at_most("observer.lateness_max", max, limits.lateness_max),
    ]
}

fn require(id: &str, met: bool, limit: &str, got: &str) -> Check {
    Check {
        id: id.to_owned(),
        status: if met { Status::Pass } else { Status::Inconclusive },
        limit: limit.to_owned(),
        got: got.to_owned(),
        detail: None,
        gate: None,
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// For a mean, beyond four thousand million more does not matter.
fn lossy(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
