//! What the clients went through.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::harmed::MAX_CONNS;
use super::latency::{Latency, histogram};
use super::windows::{Standing, Window, Windows, longest_gap};
use crate::clock::nanos;
use crate::event::{Connection, Fate, Harm, Operation, Recording};

/// One population of clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Population {
    pub(super) name: String,
    pub(super) ops: usize,
    /// Operations per second of load.
    pub(super) rate: f64,
    pub(super) ok: usize,
    pub(super) harmed: usize,
    /// Of operations that ended well, after the warm-up.
    pub(super) latency: Option<Latency>,
    /// Of the same, the time they had to wait for the harness left out.
    pub(super) service: Option<Latency>,
    /// How long the harmed waited until they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure_latency: Option<Latency>,
    pub(super) windows: PerWindow,
    /// The longest time in which no operation was begun that ended well.
    pub(super) longest_gap_ns: u64,
}

/// Latency by window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct PerWindow {
    /// Before the first upgrade could start.
    pub(super) baseline: Option<Latency>,
    /// While an upgrade was under way.
    pub(super) during: Option<Latency>,
    /// Between upgrades and after them.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct HarmDone {
    /// Operations.
    pub(super) count: usize,
    /// The first connections it was done to, by id.
    pub(super) conns: Vec<u64>,
}

/// Every kind of harm, done or not.
pub(super) fn harm(recording: &Recording, standing: &Standing) -> BTreeMap<Harm, HarmDone> {
    let mut all: BTreeMap<_, HarmDone> =
        Harm::ALL.into_iter().map(|harm| (harm, HarmDone::default())).collect();
    for operation in &recording.operations {
        let Some(harm) = standing.harm(operation) else { continue };
        let done = all.entry(harm).or_default();
        done.count += 1;
        if done.conns.len() < MAX_CONNS && !done.conns.contains(&operation.connection) {
            done.conns.push(operation.connection);
        }
    }
    all
}

/// How the operations ended, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Fates {
    pub(super) intended: u64,
    pub(super) dispatched: usize,
    pub(super) ok: usize,
    pub(super) harmed: usize,
    pub(super) cancelled: usize,
    pub(super) limit_hit: usize,
    /// Connections on which `connect` was called.
    pub(super) connections: usize,
    /// Of these, connections whose handshake was completed.
    pub(super) established: usize,
    /// Of these, connections on which the server sent something.
    pub(super) answered: usize,
    /// Connections that were reset.
    pub(super) reset: usize,
}

/// Counts how the operations ended.
pub(super) fn fates(recording: &Recording, standing: &Standing) -> Fates {
    let connections =
        |holds: fn(&&Connection) -> bool| recording.connections.iter().filter(holds).count();
    let mut fates = Fates {
        intended: recording.observer.intended.iter().sum(),
        dispatched: recording.operations.len(),
        connections: connections(|conn| conn.opened.is_some()),
        established: connections(|conn| conn.established.is_some()),
        answered: connections(|conn| conn.first_byte.is_some()),
        reset: connections(|conn| conn.reset),
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
