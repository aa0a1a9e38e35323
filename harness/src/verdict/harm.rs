//! Who was hurt, and how.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::check::{Check, NamedReset, Status};
use super::evidence::Evidence;
use super::network;
use crate::event::{Connection, Fate, Harm, OpKind, Operation, Outcome};
use crate::scenario::plan::Addressee;

/// After an upgrade is decided, the old generation may still answer what it
/// had accepted before; a client may take this long to have its greeting read.
const GRACE: Duration = Duration::from_secs(1);

/// How many ids a check names.
const NAMED: usize = 8;

/// The harmed operations, by kind. Every kind is there.
pub(super) fn harmed(evidence: &Evidence<'_>) -> BTreeMap<Harm, Vec<u64>> {
    let mut harm: BTreeMap<Harm, Vec<u64>> =
        Harm::ALL.into_iter().map(|kind| (kind, Vec::new())).collect();
    for operation in &evidence.recording.operations {
        if let Fate::Harmed(kind) = operation.fate {
            harm.entry(kind).or_default().push(operation.id);
        }
    }
    harm.entry(Harm::StallSyn).or_default().extend(late_handshakes(evidence));
    harm.entry(Harm::WrongGeneration).or_default().extend(wrongly_served(evidence));
    harm
}

/// Operations that went well on a connection whose SYN had to be sent again: the
/// kernel's word on it, where the client has only seen how long it took.
fn late_handshakes(evidence: &Evidence<'_>) -> Vec<u64> {
    let lost = |connection: &&Connection| connection.syn_retransmits.is_some_and(|lost| lost > 0);
    let late: HashSet<u64> =
        evidence.recording.connections.iter().filter(lost).map(|one| one.id).collect();
    let opened = |operation: &&Operation| match operation.kind {
        OpKind::Churn | OpKind::Open => late.contains(&operation.connection),
        OpKind::Request | OpKind::Close | OpKind::Datagram => false,
    };
    let operations = evidence.recording.operations.iter();
    operations
        .filter(|operation| operation.fate == Fate::Ok)
        .filter(opened)
        .map(|operation| operation.id)
        .collect()
}

/// A check for every kind.
pub(super) fn checks(
    evidence: &Evidence<'_>,
    harm: &BTreeMap<Harm, Vec<u64>>,
    owned: &HashSet<u64>,
    resets: &[NamedReset],
) -> Vec<Check> {
    let closed_idle = evidence.closed_idle();
    harm.iter()
        .map(|(kind, ids)| {
            let within = |allowed: &HashSet<u64>| ids.iter().any(|id| allowed.contains(id));
            let all = ids.iter().all(|id| closed_idle.contains(id) || owned.contains(id));
            let allowed = !ids.is_empty() && all;
            let excuse = excuse(evidence, *kind);
            let blind = *kind == Harm::WrongGeneration && evidence.plan.target.greeting.is_none();
            if blind {
                return Check {
                    id: format!("harm.{kind}"),
                    status: Status::NotChecked,
                    limit: "= 0".to_owned(),
                    got: "-".to_owned(),
                    detail: Some("the server does not say who it is".to_owned()),
                    gate: None,
                };
            }
            let status = if ids.is_empty() || excuse.is_some() || allowed {
                Status::Pass
            } else {
                Status::Fail
            };
            Check {
                id: format!("harm.{kind}"),
                status,
                limit: match (excuse, allowed) {
                    (Some(excuse), _) => excuse,
                    (None, true) if within(owned) => "of a killed process",
                    (None, true) => "on idle connections",
                    (None, false) => "= 0",
                }
                .to_owned(),
                got: ids.len().to_string(),
                detail: (!ids.is_empty()).then(|| named(ids) + &culprit(evidence, ids, resets)),
                gate: None,
            }
        })
        .collect()
}

/// The operations that came to harm which is neither tolerated nor allowed.
pub(super) fn wrongly(
    evidence: &Evidence<'_>,
    harm: &BTreeMap<Harm, Vec<u64>>,
    owned: &HashSet<u64>,
) -> HashSet<u64> {
    let closed_idle = evidence.closed_idle();
    let harm = harm.iter().filter(|(kind, _)| excuse(evidence, **kind).is_none());
    harm.flat_map(|(_, ids)| ids)
        .filter(|id| !closed_idle.contains(id) && !owned.contains(id))
        .copied()
        .collect()
}

/// Why harm of this kind is not held against the server, whoever it was done to.
fn excuse(evidence: &Evidence<'_>, kind: Harm) -> Option<&'static str> {
    if evidence.plan.coverage.tolerated.contains(&kind) {
        return Some("tolerated");
    }
    let late = kind == Harm::StallSyn && network::explains_late_handshakes(evidence);
    late.then_some("by the network")
}

fn named(ids: &[u64]) -> String {
    let first: Vec<String> = ids.iter().take(NAMED).map(u64::to_string).collect();
    let more = if ids.len() > NAMED { " …" } else { "" };
    format!("operations {}{more}", first.join(" "))
}

/// The first RST that hurt one of these operations, if one did and was traced.
fn culprit(evidence: &Evidence<'_>, ids: &[u64], resets: &[NamedReset]) -> String {
    let hurt: BTreeMap<u64, &NamedReset> = resets
        .iter()
        .rev()
        .filter(|reset| reset.hurt)
        .filter_map(|reset| Some((reset.connection?, reset)))
        .collect();
    if hurt.is_empty() {
        return String::new();
    }
    let harmed: HashSet<u64> = ids.iter().copied().collect();
    let operations = evidence.recording.operations.iter();
    let harmed = operations.filter(|operation| harmed.contains(&operation.id));
    let first =
        harmed.filter_map(|operation| hurt.get(&operation.connection)).min_by_key(|reset| reset.at);
    first.map_or_else(String::new, |reset| format!("; first by {reset}"))
}

/// Operations on connections that were served by a process that must not have
/// served them: one that was killed before it was ready, one that is none of the
/// subject's, or one that had been succeeded. No client can see that.
fn wrongly_served(evidence: &Evidence<'_>) -> Vec<u64> {
    let generations = &evidence.recording.generations;
    let age: BTreeMap<u32, usize> =
        generations.iter().enumerate().map(|(age, generation)| (generation.pid, age)).collect();
    // From each moment on, only this process or a younger one may answer.
    let mut successions: Vec<_> = evidence
        .upgrades(Outcome::Completed)
        .filter(|_| evidence.plan.target.trigger.to == Addressee::Serving)
        .filter_map(|upgrade| Some((upgrade.decided.after(GRACE), *age.get(&upgrade.new_pid?)?)))
        .collect();
    successions.sort_unstable();
    let wrong = |connection: &&Connection| {
        let (Some(served), Some(opened)) = (connection.served, connection.opened) else {
            return false;
        };
        let Some(age) = age.get(&served.pid) else { return true };
        let succeeded = successions.partition_point(|(from, _)| *from <= opened);
        let youngest = successions[..succeeded].last().map_or(0, |(_, youngest)| *youngest);
        evidence.unborn.contains(&served.pid) || *age < youngest
    };
    let operations = evidence.operations_by_connection();
    let connections = evidence.recording.connections.iter().filter(wrong);
    connections
        .flat_map(|connection| operations.get(&connection.id).cloned().unwrap_or_default())
        .collect()
}
