//! A sweep, as a person reads it.

use std::collections::BTreeMap;

use super::number::count;
use crate::event::{Aim, Harm};
use crate::verdict::{PointOutcome, PointVerdict, SweepVerdict};

/// The form of a sweep's JSON. Fields are only ever added to one.
pub const SWEEP_SCHEMA: &str = "harness/sweep/1";

/// So many points that went wrong are told of one by one.
const TOLD: usize = 40;

/// The table, what went wrong, and the sum.
#[must_use]
pub fn sweep(verdict: &SweepVerdict) -> String {
    let mut lines = vec![format!(
        "{:<10} {:<20} {:>6} {:>6} {:>6}  harmed",
        "PHASE", "CALL", "points", "met", "failed"
    )];
    lines.extend(rows(&verdict.points));
    let wrong: Vec<&PointVerdict> =
        verdict.points.iter().filter(|point| point.outcome == PointOutcome::Failed).collect();
    if !wrong.is_empty() {
        lines.push(String::new());
        lines.push("WRONG".to_owned());
        lines.extend(wrong.iter().take(TOLD).map(|point| blamed(point)));
        if wrong.len() > TOLD {
            lines.push(format!("  … and {} more", wrong.len() - TOLD));
        }
    }
    lines.push(String::new());
    lines.extend(sums(verdict));
    lines.push(format!("{} passed, {} failed", verdict.passed, verdict.failed));
    lines.join("\n") + "\n"
}

/// A line for each call in each phase, in the order of an upgrade.
fn rows(points: &[PointVerdict]) -> impl Iterator<Item = String> {
    let mut groups: BTreeMap<(_, u64), (String, Vec<&PointVerdict>)> = BTreeMap::new();
    let mut places: BTreeMap<(_, &str), u64> = BTreeMap::new();
    for point in points {
        let (Some(phase), Some(call), Some(number)) = (point.phase, &point.call, point.number)
        else {
            continue;
        };
        let place = *places.entry((phase, call)).or_insert(number);
        groups.entry((phase, place)).or_insert_with(|| (call.clone(), Vec::new())).1.push(point);
    }
    groups.into_iter().map(|((phase, _), (call, group))| {
        let failed = group.iter().filter(|point| point.outcome == PointOutcome::Failed).count();
        let harm = all_harm(group.iter().copied());
        format!(
            "{:<10} {call:<20} {:>6} {:>6} {failed:>6}  {}",
            phase.name(),
            group.len(),
            group.len() - failed,
            if harm.is_empty() { "-" } else { &harm },
        )
    })
}

fn all_harm<'a>(points: impl Iterator<Item = &'a PointVerdict>) -> String {
    let mut all: BTreeMap<Harm, usize> = BTreeMap::new();
    for (kind, harmed) in points.flat_map(|point| &point.harm) {
        *all.entry(*kind).or_default() += harmed;
    }
    let all: Vec<String> = all.iter().map(|(kind, harmed)| format!("{harmed} {kind}")).collect();
    all.join(", ")
}

fn blamed(point: &PointVerdict) -> String {
    let call = point.call.as_deref().unwrap_or("?");
    let phase = point.phase.map_or("?", |phase| phase.name());
    let what = match &point.aim {
        Aim::KillAt(number) => format!("killed at call {number}, {call} ({phase})"),
        Aim::Fail { call, turn, errno } => format!("{call} #{turn} = {errno} ({phase})"),
    };
    format!("  {what}: {}", point.wrong.join("; "))
}

fn sums(verdict: &SweepVerdict) -> Vec<String> {
    let SweepVerdict { points, .. } = verdict;
    let hit = points.len() - verdict.unreached;
    let owned: usize = points.iter().map(|point| point.owned).sum();
    let others: usize = points.iter().map(|point| point.others).sum();
    let mut lines = vec![format!(
        "{}: {} points hit, {} operations of clients; harmed: {} on connections that a killed \
         process had, {} others",
        verdict.whom.name(),
        count(hit),
        count(verdict.operations),
        count(owned),
        count(others)
    )];
    let deserted: Vec<&PointVerdict> =
        points.iter().filter(|point| point.outcome == PointOutcome::Deserted).collect();
    if !deserted.is_empty() {
        let cost = all_harm(deserted.iter().copied());
        lines.push(format!(
            "at {} of them the only process with the sockets was killed before it had passed them \
             on, and nobody was left; that cost {}",
            count(deserted.len()),
            if cost.is_empty() { "nobody anything" } else { &cost }
        ));
    }
    if verdict.unreached > 0 {
        lines.push(format!("{} points were not reached", count(verdict.unreached)));
    }
    if let Some(trouble) = &verdict.trouble {
        lines.push(format!("not all of it could be made: {trouble}"));
    } else if !verdict.complete {
        lines.push("not every point was tried".to_owned());
    }
    lines
}
