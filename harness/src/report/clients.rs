//! What the clients went through.

use std::collections::BTreeMap;

use serde::Serialize;

use super::latency::{Latency, histogram};
use super::windows::{Standing, Window, Windows, longest_gap, upgrade_at};
use crate::clock::nanos;
use crate::event::{Fate, Harm, OpKind, Operation, Recording, Served};

/// More connections than this nobody looks at one by one.
const MAX_CONNS: usize = 200;

/// One population of clients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Population {
    pub(super) name: String,
    pub(super) ops: usize,
    /// Operations per second of load.
    pub(super) rate: f64,
    pub(super) ok: usize,
    pub(super) harmed: usize,
    pub(super) latency: Option<Latency>,
    pub(super) service: Option<Latency>,
    /// How long the harmed waited until they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure_latency: Option<Latency>,
    pub(super) windows: PerWindow,
    pub(super) longest_gap_ns: u64,
}

/// Latency by window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PerWindow {
    pub(super) baseline: Option<Latency>,
    pub(super) during: Option<Latency>,
    pub(super) after: Option<Latency>,
}

/// The populations, in the recording's order.
pub(super) fn populations(recording: &Recording, standing: &Standing) -> Vec<Population> {
    let windows = Windows::new(recording);
    let named = recording.populations.iter().enumerate();
    named.map(|(index, name)| population(recording, standing, &windows, index, name)).collect()
}

fn population(
    recording: &Recording,
    standing: &Standing,
    windows: &Windows,
    index: usize,
    name: &str,
) -> Population {
    let mine = |operation: &&Operation| usize::from(operation.population) == index;
    let all: Vec<_> = recording.operations.iter().filter(mine).collect();
    let ok: Vec<_> = all.iter().copied().filter(|op| standing.is_ok(op)).collect();
    let harmed: Vec<_> = all.iter().copied().filter(|op| standing.harm(op).is_some()).collect();
    let warm: Vec<_> =
        ok.iter().copied().filter(|op| op.intended >= recording.timeline.warmed_up).collect();
    let within = |window| {
        let there = warm.iter().copied().filter(|op| windows.of(op.intended) == Some(window));
        Latency::intended(&histogram(there.map(response)))
    };
    let seconds = (recording.timeline.load_ended - recording.timeline.load_began).as_secs_f64();
    Population {
        name: name.to_owned(),
        ops: all.len(),
        rate: if seconds > 0.0 { all.len() as f64 / seconds } else { 0.0 },
        ok: ok.len(),
        harmed: harmed.len(),
        latency: Latency::intended(&histogram(warm.iter().copied().map(response))),
        service: Latency::dispatched(&histogram(warm.iter().map(|op| op.finished - op.dispatched))),
        failure_latency: Latency::intended(&histogram(harmed.iter().copied().map(response))),
        windows: PerWindow {
            baseline: within(Window::Baseline),
            during: within(Window::During),
            after: within(Window::After),
        },
        longest_gap_ns: nanos(longest_gap(
            ok.iter().map(|op| op.dispatched).collect(),
            &recording.timeline,
        )),
    }
}

fn response(operation: &Operation) -> std::time::Duration {
    operation.finished - operation.intended
}

/// How often a kind of harm was done, and to which connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct HarmDone {
    pub(super) count: usize,
    pub(super) conns: Vec<u64>,
}

/// Every kind of harm, done or not.
pub(super) fn harm(recording: &Recording, standing: &Standing) -> BTreeMap<&'static str, HarmDone> {
    let mut all: BTreeMap<_, HarmDone> =
        Harm::ALL.into_iter().map(|harm| (harm.id(), HarmDone::default())).collect();
    for operation in &recording.operations {
        let Some(harm) = standing.harm(operation) else { continue };
        let done = all.entry(harm.id()).or_default();
        done.count += 1;
        if done.conns.len() < MAX_CONNS && !done.conns.contains(&operation.connection) {
            done.conns.push(operation.connection);
        }
    }
    all
}

/// How the operations ended, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Fates {
    pub(super) intended: u64,
    pub(super) dispatched: usize,
    pub(super) ok: usize,
    pub(super) harmed: usize,
    pub(super) cancelled: usize,
    pub(super) limit_hit: usize,
    /// Connections on which `connect` was called.
    pub(super) connections: usize,
}

/// Counts how the operations ended.
pub(super) fn fates(recording: &Recording, standing: &Standing) -> Fates {
    let mut fates = Fates {
        intended: recording.observer.intended.iter().sum(),
        dispatched: recording.operations.len(),
        connections: recording.connections.iter().filter(|conn| conn.opened.is_some()).count(),
        ..Fates::default()
    };
    for operation in &recording.operations {
        match standing.of(operation) {
            Fate::Ok => fates.ok += 1,
            Fate::Harmed(_) => fates.harmed += 1,
            Fate::Cancelled => fates.cancelled += 1,
            Fate::LimitHit => fates.limit_hit += 1,
        }
    }
    fates
}

/// The first operation that was seen to be harmed: where to look first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FirstHarm {
    pub(super) harm: Harm,
    pub(super) operation: u64,
    pub(super) kind: OpKind,
    pub(super) population: Option<String>,
    pub(super) conn: u64,
    pub(super) local: Option<String>,
    pub(super) dispatched_ns: u64,
    pub(super) finished_ns: u64,
    /// The upgrade under way when it ended.
    pub(super) upgrade: Option<u64>,
    pub(super) after_trigger_ns: Option<u64>,
    pub(super) errno: Option<i32>,
    pub(super) served: Option<Served>,
}

/// Finds the first harm, if there is any.
pub(super) fn first_harm(recording: &Recording, standing: &Standing) -> Option<FirstHarm> {
    let harmed = recording.operations.iter().filter_map(|op| Some((op, standing.harm(op)?)));
    let (first, harm) = harmed.min_by_key(|(op, _)| (op.finished, op.id))?;
    let conn = recording.connections.iter().find(|conn| conn.id == first.connection);
    let upgrade = upgrade_at(&recording.upgrades, first.finished);
    Some(FirstHarm {
        harm,
        operation: first.id,
        kind: first.kind,
        population: recording.populations.get(usize::from(first.population)).cloned(),
        conn: first.connection,
        local: conn.and_then(|conn| conn.local).map(|local| local.to_string()),
        dispatched_ns: first.dispatched.0,
        finished_ns: first.finished.0,
        upgrade: upgrade.map(|upgrade| upgrade.number),
        after_trigger_ns: upgrade.map(|upgrade| nanos(first.finished - upgrade.triggered)),
        errno: first.errno,
        served: conn.and_then(|conn| conn.served),
    })
}
