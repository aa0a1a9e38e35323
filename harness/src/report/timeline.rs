//! The run as it went, in steps that a picture can show.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scale::floor;
use super::windows::Standing;
use crate::clock::{Stamp, nanos};
use crate::event::{Harm, Operation, Recording};

/// The length of a step.
const STEP_NS: u64 = 100_000_000;
/// In longer runs the steps are longer, so that there are no more than these.
const MOST_STEPS: u64 = 3000;
/// Harm is told apart in so many moments of a run. No picture shows more.
const MOMENTS: u64 = 10_000;

/// The course of a run. Moments are nanoseconds since it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Timeline {
    pub(super) phases: Vec<Phase>,
    /// The length of a step of `populations`.
    pub(super) step_ns: u64,
    pub(super) populations: Vec<Course>,
    /// All harm: what lies close together is counted together.
    pub(super) harm: Vec<HarmDot>,
}

/// A part of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Phase {
    pub(super) name: PhaseName,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

/// What the parts of a run are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PhaseName {
    /// Load, not judged for its latency.
    Warmup,
    /// Load alone.
    Baseline,
    /// Load, upgrades and faults.
    Storm,
    /// Load alone again.
    Settle,
    /// No load; the last processes end.
    End,
}

/// What the clients of one population went through, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Course {
    pub(super) name: String,
    /// Operations that ended well, by the step in which they ended.
    pub(super) ok: Vec<u64>,
    /// Operations that were harmed, by the step in which that was seen.
    pub(super) harmed: Vec<u64>,
    /// Latency of what ended well, by the step in which it was intended.
    pub(super) p50_ns: Vec<Option<u64>>,
    pub(super) p99_ns: Vec<Option<u64>>,
    pub(super) max_ns: Vec<Option<u64>>,
}

/// Harm of one kind, done at about one moment after about the same wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct HarmDot {
    /// When it was seen.
    pub(super) t_ns: u64,
    /// How long the client had waited since the operation was intended, at least.
    pub(super) latency_ns: u64,
    /// Index into the populations.
    pub(super) population: u16,
    pub(super) harm: Harm,
    pub(super) count: u64,
}

impl Timeline {
    pub(super) fn new(recording: &Recording, standing: &Standing) -> Self {
        let last = recording.operations.iter().map(|op| op.finished).max().unwrap_or_default();
        let end = recording.timeline.ended.max(last).0;
        let step_ns = STEP_NS * (end / STEP_NS / MOST_STEPS + 1);
        let populations = recording.populations.iter().enumerate().map(|(index, name)| {
            let all = recording.operations.iter();
            let mine = all.filter(|op| usize::from(op.population) == index);
            course(name, mine, standing, step_ns, end)
        });
        Self {
            phases: phases(recording),
            step_ns,
            populations: populations.collect(),
            harm: harm(recording, standing, end / MOMENTS + 1),
        }
    }
}

fn phases(recording: &Recording) -> Vec<Phase> {
    let edges = recording.timeline;
    let spans = [
        (PhaseName::Warmup, edges.load_began, edges.warmed_up),
        (PhaseName::Baseline, edges.warmed_up, edges.storm_began),
        (PhaseName::Storm, edges.storm_began, edges.storm_ended),
        (PhaseName::Settle, edges.storm_ended, edges.load_ended),
        (PhaseName::End, edges.load_ended, edges.ended),
    ];
    // A run that ended early has not seen them all.
    let seen = spans.into_iter().filter(|(_, from, to)| from < to);
    seen.map(|(name, from, to)| Phase { name, from_ns: from.0, to_ns: to.0 }).collect()
}

fn course<'a>(
    name: &str,
    operations: impl Iterator<Item = &'a Operation>,
    standing: &Standing,
    step_ns: u64,
    end: u64,
) -> Course {
    let step = |stamp: Stamp| usize::try_from(stamp.0 / step_ns).unwrap_or(usize::MAX);
    let steps = step(Stamp(end)).saturating_add(1);
    let (mut ok, mut harmed) = (vec![0; steps], vec![0; steps]);
    let mut latencies = vec![Vec::new(); steps];
    for op in operations {
        if standing.is_ok(op) {
            ok[step(op.finished)] += 1;
            latencies[step(op.intended)].push(nanos(op.finished - op.intended));
        } else if standing.harm(op).is_some() {
            harmed[step(op.finished)] += 1;
        }
    }
    latencies.iter_mut().for_each(|spans| spans.sort_unstable());
    let quantile = |hundredths: usize| {
        let nth = move |spans: &Vec<u64>| spans.get(spans.len() * hundredths / 100).copied();
        latencies.iter().map(nth).collect()
    };
    Course {
        name: name.to_owned(),
        ok,
        harmed,
        p50_ns: quantile(50),
        p99_ns: quantile(99),
        max_ns: latencies.iter().map(|spans| spans.last().copied()).collect(),
    }
}

fn harm(recording: &Recording, standing: &Standing, moment_ns: u64) -> Vec<HarmDot> {
    let mut dots = BTreeMap::new();
    for op in &recording.operations {
        let Some(harm) = standing.harm(op) else { continue };
        let waited = floor(nanos(op.finished - op.intended));
        let moment = op.finished.0 / moment_ns * moment_ns;
        *dots.entry((moment, waited, op.population, harm)).or_default() += 1;
    }
    let dot = |((t_ns, latency_ns, population, harm), count)| HarmDot {
        t_ns,
        latency_ns,
        population,
        harm,
        count,
    };
    dots.into_iter().map(dot).collect()
}
