//! What a sweep proves, point by point.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::check::Outcome;
use crate::event::{
    Aim, Connection, Episode, Fate, Harm, Hit, OpKind, Operation, Phase, Point, Sweep, Whom,
};

/// What takes longer waited for something.
const PROMPT: Duration = Duration::from_secs(1);

/// What a sweep proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SweepVerdict {
    /// Whose calls they were.
    pub whom: Whom,
    /// All points together.
    pub outcome: Outcome,
    /// Points at which all was as it has to be.
    pub passed: usize,
    /// Points at which it was not.
    pub failed: usize,
    /// Points of `passed` after which nobody was left to serve.
    pub deserted: usize,
    /// Points that were not reached.
    pub unreached: usize,
    /// Every point was tried.
    pub complete: bool,
    /// Why not, if something kept it from that.
    pub trouble: Option<String>,
    /// Operations that clients made meanwhile.
    pub operations: usize,
    /// The points, in their order.
    pub points: Vec<PointVerdict>,
}

/// How a point came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PointOutcome {
    /// All was as it has to be.
    Met,
    /// Nobody was left to serve, and nobody could be: the process that held the sockets
    /// was killed before it had passed them on.
    Deserted,
    /// Something was not as it has to be.
    Failed,
    /// The process did not come so far.
    Unreached,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PointVerdict {
    /// What was to be done.
    pub aim: Aim,
    /// How it came out.
    pub outcome: PointOutcome,
    /// The call that it was done at.
    pub call: Option<String>,
    /// Its number, counted from 1.
    pub number: Option<u64>,
    /// How far the upgrade had come.
    pub phase: Option<Phase>,
    /// How the process ended, if it was killed, which is the proof that it was, or
    /// crashed of what was done to it.
    pub ended: Option<crate::event::Exit>,
    /// The upgrade completed all the same.
    pub completed: bool,
    /// What was said of its failure.
    pub told: Option<String>,
    /// Operations harmed on connections that the killed process had accepted.
    pub owned: usize,
    /// Other operations harmed.
    pub others: usize,
    /// All of them, by the kind of harm.
    pub harm: BTreeMap<Harm, usize>,
    /// What was not as it has to be.
    pub wrong: Vec<String>,
}

/// What the sweep proves. Pure, as [`super::judge()`] is.
#[must_use]
pub fn judge_sweep(sweep: &Sweep) -> SweepVerdict {
    let points: Vec<PointVerdict> =
        sweep.episodes.iter().flat_map(|episode| judge(episode, sweep.whom)).collect();
    let count = |outcome| points.iter().filter(|point| point.outcome == outcome).count();
    let (failed, unreached) = (count(PointOutcome::Failed), count(PointOutcome::Unreached));
    let deserted = count(PointOutcome::Deserted);
    let passed = count(PointOutcome::Met) + deserted;
    let outcome = if failed > 0 {
        Outcome::Fail
    } else if passed == 0 || !sweep.complete || sweep.trouble.is_some() {
        Outcome::Inconclusive
    } else {
        Outcome::Pass
    };
    let operations = sweep.episodes.iter().map(|episode| episode.recording.operations.len()).sum();
    SweepVerdict {
        whom: sweep.whom,
        outcome,
        passed,
        failed,
        deserted,
        unreached,
        complete: sweep.complete,
        trouble: sweep.trouble.clone(),
        operations,
        points,
    }
}

/// Who was harmed by one point.
#[derive(Debug, Default)]
struct Harmed {
    owned: usize,
    others: usize,
    kinds: BTreeMap<Harm, usize>,
}

fn judge(episode: &Episode, whom: Whom) -> Vec<PointVerdict> {
    let mut harmed: Vec<Harmed> = episode.points.iter().map(|_| Harmed::default()).collect();
    let connections: HashMap<u64, &Connection> =
        episode.recording.connections.iter().map(|one| (one.id, one)).collect();
    for operation in &episode.recording.operations {
        let connection = connections.get(&operation.connection).copied();
        let Some(kind) = harm(operation, connection) else { continue };
        let Some((place, owned)) = culprit(&episode.points, operation, connection) else {
            continue;
        };
        let Some(harmed) = harmed.get_mut(place) else { continue };
        *harmed.kinds.entry(kind).or_default() += 1;
        *if owned { &mut harmed.owned } else { &mut harmed.others } += 1;
    }
    let leaked = &episode.recording.leaked;
    let last = episode.points.len().saturating_sub(1);
    let rows = episode.points.iter().zip(harmed).enumerate();
    rows.map(|(place, (point, harmed))| {
        let leaked = (place == last && !leaked.is_empty())
            .then(|| format!("left behind: processes {leaked:?}, which had to be killed"));
        row(point, &harmed, whom, leaked)
    })
    .collect()
}

/// How an operation was harmed, the kernel's word on lost SYNs included.
fn harm(operation: &Operation, connection: Option<&Connection>) -> Option<Harm> {
    let opens = matches!(operation.kind, OpKind::Churn | OpKind::Open);
    let lost = |connection: &Connection| connection.syn_retransmits.is_some_and(|lost| lost > 0);
    match operation.fate {
        Fate::Harmed(kind) => Some(kind),
        Fate::Ok if opens && connection.is_some_and(lost) => Some(Harm::StallSyn),
        Fate::Ok | Fate::LimitHit | Fate::Cancelled => None,
    }
}

/// The point that harmed an operation, and whether by killing who had accepted its
/// connection. What ended soon was harmed when it ended; what waited, when it began. A
/// point answers for everything until the next is tried, and the first for what was
/// before, too: nothing else was done to the server.
fn culprit(
    points: &[Point],
    operation: &Operation,
    connection: Option<&Connection>,
) -> Option<(usize, bool)> {
    let owns = |point: &Point, hit: &Hit, connection: &Connection| match connection.served {
        Some(served) => served.pid == hit.pid,
        // An address is used again; what it belonged to has ended by then.
        None => {
            operation.dispatched <= point.until
                && connection.local.is_some_and(|local| hit.clients.contains(&local))
        }
    };
    let owner = points.iter().rposition(|point| {
        let hit = point.hit.as_ref().filter(|hit| hit.ended.is_some());
        let killed = hit.zip(connection).is_some_and(|(hit, one)| owns(point, hit, one));
        killed && point.triggered <= operation.finished
    });
    if let Some(place) = owner {
        return Some((place, true));
    }
    let prompt = operation.finished - operation.dispatched < PROMPT;
    let moment = if prompt { operation.finished } else { operation.dispatched };
    let tried = points.partition_point(|point| point.triggered <= moment);
    (!points.is_empty()).then(|| (tried.saturating_sub(1), false))
}

fn row(point: &Point, harmed: &Harmed, whom: Whom, leaked: Option<String>) -> PointVerdict {
    let hit = point.hit.as_ref();
    let mut wrong = hit.map_or_else(Vec::new, |hit| wrongs(point, hit, harmed, whom));
    if hit.is_none() && harmed.owned + harmed.others > 0 {
        wrong.push(format!("{} clients harmed, and nothing had been done", harmed.others));
    }
    wrong.extend(leaked);
    let outcome = match hit {
        _ if !wrong.is_empty() => PointOutcome::Failed,
        None => PointOutcome::Unreached,
        Some(_) if point.nobody => PointOutcome::Deserted,
        Some(_) => PointOutcome::Met,
    };
    PointVerdict {
        aim: point.aim.clone(),
        outcome,
        call: hit.map(|hit| hit.call.to_owned()),
        number: hit.map(|hit| hit.number),
        phase: hit.map(|hit| hit.phase),
        ended: hit.and_then(|hit| hit.ended),
        completed: point.completed,
        told: point.told.clone(),
        owned: harmed.owned,
        others: harmed.others,
        harm: harmed.kinds.clone(),
        wrong,
    }
}

/// What was not as it has to be at a point that was hit.
fn wrongs(point: &Point, hit: &Hit, harmed: &Harmed, whom: Whom) -> Vec<String> {
    let mut wrong = Vec::new();
    let kills = matches!(point.aim, Aim::KillAt(_));
    let kinds: Vec<String> =
        harmed.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if kills && hit.ended.is_none() {
        wrong.push("SIGKILL did not end it".to_owned());
    }
    // Before it had passed on what it held, nobody else could serve.
    let last = kills && whom == Whom::Predecessor && hit.phase < Phase::Passed;
    if point.nobody && last {
        return wrong;
    }
    // Who is not ready has no business with clients.
    let crashed = !kills && hit.ended.is_some() && whom == Whom::Successor;
    let may_own = crashed || kills && (whom == Whom::Predecessor || hit.phase == Phase::Ready);
    if harmed.others > 0 || (harmed.owned > 0 && !may_own) {
        wrong.push(format!(
            "harmed: {} ({} of {} on connections of the process)",
            kinds.join(", "),
            harmed.owned,
            harmed.owned + harmed.others
        ));
    }
    if point.nobody {
        wrong.push("nobody was left to serve".to_owned());
        return wrong;
    }
    if !point.answered {
        wrong.push("nobody was answered any more".to_owned());
    }
    if point.next == Some(false) {
        wrong.push("the next upgrade did not complete".to_owned());
    }
    if !kills && !point.completed && point.told.is_none() {
        wrong.push("the upgrade did not complete, and nobody was told why".to_owned());
    }
    wrong.extend(point.left.iter().map(|left| format!("left behind: {left}")));
    wrong
}
