//! One verdict on a run whose load came from several generators, each with a
//! server, a network and a clock of its own.
//!
//! Each part is judged by itself, with its own evidence and its own observer, and
//! the verdicts are put together: so nothing in one part can make up for, or be
//! blamed on, what happened in another.

use std::collections::BTreeMap;

use super::bounds::bounds;
use super::check::{Bounds, Check, Gap, Law, Seen, Status, Verdict};
use super::judge::{judge, outcome};
use crate::event::{Harm, Recording};
use crate::scenario::Plan;

/// How many parts a check quotes.
const QUOTED: usize = 3;

/// What one generator was to do, and did.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// What reports call it, like `2/4`.
    pub name: String,
    /// Its share of the plan.
    pub plan: Plan,
    /// What happened. No two parts have an operation, a connection or an upgrade of
    /// the same number.
    pub recording: &'a Recording,
}

/// What all parts together prove; `of` is how many there must be. A single part
/// proves what [`judge`] says.
#[must_use]
pub fn judge_parts(parts: &[Part<'_>], of: usize) -> Verdict {
    let verdicts: Vec<Verdict> =
        parts.iter().map(|part| judge(&part.plan, part.recording)).collect();
    let verdicts = match <[Verdict; 1]>::try_from(verdicts) {
        Ok([only]) => return only,
        Err(verdicts) => verdicts,
    };
    let mut checks = checks(parts, &verdicts);
    checks.push(complete(parts.len(), of));
    let mut harm: BTreeMap<Harm, Vec<u64>> = BTreeMap::new();
    let mut unexplained: BTreeMap<String, i128> = BTreeMap::new();
    for verdict in &verdicts {
        for (kind, ids) in &verdict.harm {
            harm.entry(*kind).or_default().extend(ids);
        }
        for (name, by) in &verdict.unexplained {
            *unexplained.entry(name.clone()).or_default() += by;
        }
    }
    let seen = |of: fn(&Bounds) -> Seen| {
        verdicts.iter().map(|verdict| of(&verdict.bounds)).fold(Seen::default(), |sum, part| Seen {
            harmed: sum.harmed + part.harmed,
            of: sum.of + part.of,
        })
    };
    Verdict {
        outcome: outcome(&checks),
        checks,
        harm,
        laws: laws(&verdicts),
        unexplained,
        bounds: bounds(seen(|bounds| bounds.upgrades), seen(|bounds| bounds.connections)),
        gaps: gaps(&verdicts),
        upgrades: verdicts.iter().flat_map(|verdict| verdict.upgrades.clone()).collect(),
        faults: verdicts.iter().flat_map(|verdict| verdict.faults.clone()).collect(),
        resets: verdicts.iter().flat_map(|verdict| verdict.resets.clone()).collect(),
    }
}

/// A part that is missing may be the one that saw the harm.
fn complete(parts: usize, of: usize) -> Check {
    Check {
        id: "run.parts".to_owned(),
        status: if parts == of { Status::Pass } else { Status::Inconclusive },
        limit: format!("= {of}"),
        got: parts.to_string(),
        detail: None,
        gate: None,
    }
}

/// The checks of all parts, in the order in which they first appear. A check
/// holds if it holds in every part that makes it.
fn checks(parts: &[Part<'_>], verdicts: &[Verdict]) -> Vec<Check> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_id: BTreeMap<&str, Vec<(&str, &Check)>> = BTreeMap::new();
    for (part, verdict) in parts.iter().zip(verdicts) {
        for check in &verdict.checks {
            let same = by_id.entry(&check.id).or_default();
            if same.is_empty() {
                order.push(&check.id);
            }
            same.push((&part.name, check));
        }
    }
    order.into_iter().filter_map(|id| together(by_id.get(id)?, verdicts)).collect()
}

fn together(same: &[(&str, &Check)], verdicts: &[Verdict]) -> Option<Check> {
    let (_, worst) = same.iter().max_by_key(|(_, check)| check.status)?;
    // Which parts to look at.
    let guilty = || same.iter().filter(|(_, check)| check.status == worst.status);
    let details: Vec<(&str, &str)> =
        guilty().filter_map(|(part, check)| Some((*part, check.detail.as_deref()?))).collect();
    Some(Check {
        id: worst.id.clone(),
        status: worst.status,
        limit: quoted(same.iter().map(|(part, check)| (*part, check.limit.as_str()))),
        got: summed(&worst.id, verdicts)
            .unwrap_or_else(|| quoted(guilty().map(|(part, check)| (*part, check.got.as_str())))),
        detail: (!details.is_empty()).then(|| quoted(details.into_iter())),
        gate: worst.gate,
    })
}

/// What can be added up: harmed operations, and both sides of a law.
fn summed(id: &str, verdicts: &[Verdict]) -> Option<String> {
    if let Some(harm) = id.strip_prefix("harm.").and_then(Harm::from_id) {
        let counts = verdicts.iter().filter_map(|verdict| verdict.harm.get(&harm));
        return Some(counts.map(Vec::len).sum::<usize>().to_string());
    }
    let id = id.strip_prefix("law.")?;
    let law = laws(verdicts).into_iter().find(|law| law.id == id)?;
    Some(format!("{} = {}", law.lhs, law.rhs))
}

/// The one text that all have, or the first few of them, by part.
fn quoted<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let texts: Vec<_> = texts.collect();
    match texts.as_slice() {
        [(_, first), rest @ ..] if rest.iter().all(|(_, text)| text == first) => {
            (*first).to_owned()
        }
        texts => {
            let some = texts.iter().take(QUOTED).map(|(part, text)| format!("{part}: {text}"));
            let more = if texts.len() > QUOTED { "; …" } else { "" };
            format!("{}{more}", some.collect::<Vec<_>>().join("; "))
        }
    }
}

/// The longest gap that a part has seen, for each population; each part had clients
/// and a server of its own.
fn gaps(verdicts: &[Verdict]) -> Vec<Gap> {
    let mut longest: Vec<Gap> = Vec::new();
    for gap in verdicts.iter().flat_map(|verdict| &verdict.gaps) {
        match longest.iter_mut().find(|known| known.population == gap.population) {
            Some(known) => {
                let served = known.served + gap.served;
                if gap.length() > known.length() {
                    *known = gap.clone();
                }
                known.served = served;
            }
            None => longest.push(gap.clone()),
        }
    }
    longest
}

/// Sums on both sides. They may agree where those of two parts do not, so a law
/// holds only if it holds in each.
fn laws(verdicts: &[Verdict]) -> Vec<Law> {
    let mut laws: Vec<Law> = Vec::new();
    for law in verdicts.iter().flat_map(|verdict| &verdict.laws) {
        match laws.iter_mut().find(|known| known.id == law.id) {
            Some(known) => {
                known.lhs += law.lhs;
                known.rhs += law.rhs;
                known.status = known.status.max(law.status);
            }
            None => laws.push(law.clone()),
        }
    }
    laws
}
