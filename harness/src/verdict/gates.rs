//! What the scenario demands, measured and compared.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::check::{Check, Gap, Gated, Law, Status};
use super::evidence::Evidence;
use super::upgrades;
use super::windows::Windows;
use crate::event::{Fate, Generation, Harm, Outcome, Resources};
use crate::histogram::Histogram;
use crate::scenario::gate::{
    Bound, Comparison, Figure, Gate, Metric, Resource, UpgradeSpan, Window,
};

/// What other checks have found already.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) harm: &'a BTreeMap<Harm, Vec<u64>>,
    /// Operations that came to any harm.
    pub(super) harmed: &'a HashSet<u64>,
    pub(super) laws: &'a [Law],
    pub(super) unexplained: &'a BTreeMap<String, i128>,
    pub(super) gaps: &'a [Gap],
    pub(super) windows: &'a Windows,
}

/// A check for every gate, in the order of the file.
pub(super) fn checks(evidence: &Evidence<'_>, findings: &Findings<'_>) -> Vec<Check> {
    evidence.plan.gates.iter().map(|gate| check(gate, evidence, findings)).collect()
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Span(Duration),
    Number(f64),
    /// Laws that were broken, and laws that nothing could be said of.
    Balance {
        broken: usize,
        open: usize,
    },
}

/// A measurement, and what it rests on.
#[derive(Clone, Debug)]
struct Measured {
    value: Value,
    samples: u64,
    /// Why there is nothing to measure here.
    blind: Option<&'static str>,
}

fn check(gate: &Gate, evidence: &Evidence<'_>, findings: &Findings<'_>) -> Check {
    let measured = measure(&gate.metric, evidence, findings);
    let mut details = Vec::new();
    let mut samples = measured.samples;
    let holds = match (gate.limit.bound, measured.value) {
        (Bound::OfBaseline { factor, slack }, Value::Span(span)) => {
            let baseline = baseline(&gate.metric, evidence, findings);
            samples = samples.min(baseline.samples);
            let usual = match baseline.value {
                Value::Span(usual) => usual,
                Value::Number(_) | Value::Balance { .. } => Duration::ZERO,
            };
            let most = usual.mul_f64(factor).saturating_add(slack);
            details.push(format!("baseline {usual:.1?}, so the limit is {most:.1?}"));
            Some(gate.limit.comparison.holds(&span, &most))
        }
        (Bound::Span(bound), Value::Span(span)) => Some(gate.limit.comparison.holds(&span, &bound)),
        (Bound::Number(bound), Value::Number(number)) => {
            Some(gate.limit.comparison.holds(&number, &bound))
        }
        (Bound::Balanced, Value::Balance { broken, open }) => {
            (broken > 0 || open == 0).then_some(broken == 0)
        }
        // The plan pairs each metric with a bound of its kind.
        (Bound::OfBaseline { .. } | Bound::Span(_) | Bound::Number(_) | Bound::Balanced, _) => None,
    };
    // What was seen too rarely proves nothing, but one harm is one too many.
    let enough = samples >= gate.min_samples || is_count(gate, measured.value);
    let status = match (measured.blind, holds) {
        (Some(_), _) | (None, None) => Status::Inconclusive,
        (None, Some(_)) if !enough => Status::Inconclusive,
        (None, Some(true)) => Status::Pass,
        (None, Some(false)) => Status::Fail,
    };
    if !enough {
        details.push(format!("{samples} samples, and {} are needed", gate.min_samples));
    }
    details.extend(measured.blind.map(str::to_owned));
    Check {
        id: format!("gate.{}", gate.name),
        status,
        limit: gate.is.clone(),
        got: measured.value.to_string(),
        detail: (!details.is_empty()).then(|| details.join("; ")),
        gate: Some(Gated { line: gate.line, samples, min_samples: gate.min_samples }),
    }
}

/// Whether the value is a count that is over its limit: then more samples could
/// only have made it worse.
fn is_count(gate: &Gate, value: Value) -> bool {
    let over = match (value, gate.limit.bound) {
        (Value::Number(number), Bound::Number(bound)) => number > bound,
        (Value::Span(_) | Value::Number(_) | Value::Balance { .. }, _) => false,
    };
    let counts = matches!(
        gate.metric,
        Metric::Harm(_)
            | Metric::KernelUnexplained
            | Metric::UnplannedFailures
            | Metric::Leaked
            | Metric::QueueDepth
    );
    let capped =
        matches!(gate.limit.comparison, Comparison::Below | Comparison::AtMost | Comparison::Equal);
    over && counts && capped
}

fn measure(metric: &Metric, evidence: &Evidence<'_>, findings: &Findings<'_>) -> Measured {
    let recording = evidence.recording;
    match metric {
        Metric::Harm(kind) => {
            let number = kind
                .map_or(findings.harmed.len(), |kind| findings.harm.get(&kind).map_or(0, Vec::len));
            counted(number, recording.operations.len())
        }
        Metric::Ledger => balance(findings.laws),
        Metric::KernelUnexplained => {
            let sum: i128 = findings.unexplained.values().sum();
            let read = usize::from(!recording.kernel.after.is_empty());
            Measured {
                blind: evidence.tainted(),
                ..counted(usize::try_from(sum).unwrap_or(usize::MAX), read)
            }
        }
        Metric::UnplannedFailures => {
            counted(upgrades::failed(evidence).len(), recording.upgrades.len())
        }
        Metric::Latency { population, window, figure } => {
            spans(*figure, latencies(population, *window, evidence, findings))
        }
        Metric::Gap { population } => gap(population, findings.gaps),
        Metric::Upgrade { span, figure } => spans(*figure, upgrade_spans(*span, evidence)),
        Metric::Growth(resource) => growth(*resource, evidence),
        Metric::Leaked => {
            let living = recording.generations.iter().filter(|process| process.gone.is_none());
            counted(living.count() + recording.leaked.len(), recording.generations.len())
        }
        Metric::QueueDepth => {
            let told = recording.kernel.samples.rows.iter().filter(|row| !row.queues.is_empty());
            let depths = told.clone().flat_map(|row| &row.queues).map(|queue| queue.waiting);
            let most = depths.max().unwrap_or(0);
            counted(usize::try_from(most).unwrap_or(usize::MAX), told.count())
        }
    }
}

/// The same figure of the same population, in the baseline.
fn baseline(metric: &Metric, evidence: &Evidence<'_>, findings: &Findings<'_>) -> Measured {
    match metric {
        Metric::Latency { population, figure, .. } => {
            spans(*figure, latencies(population, Window::Baseline, evidence, findings))
        }
        Metric::Harm(_)
        | Metric::Ledger
        | Metric::KernelUnexplained
        | Metric::UnplannedFailures
        | Metric::Gap { .. }
        | Metric::Upgrade { .. }
        | Metric::Growth(_)
        | Metric::Leaked
        | Metric::QueueDepth => spans(Figure::Max, []),
    }
}

fn counted(number: usize, samples: usize) -> Measured {
    Measured { value: Value::Number(lossy(number)), samples: wide(samples), blind: None }
}

fn spans(figure: Figure, spans: impl IntoIterator<Item = Duration>) -> Measured {
    let mut histogram = Histogram::new();
    spans.into_iter().for_each(|span| histogram.record(span));
    let value = match figure {
        Figure::Quantile(_) => histogram.quantile(figure.share()),
        Figure::Max => histogram.max(),
    };
    Measured { value: Value::Span(value), samples: histogram.len(), blind: None }
}

fn balance(laws: &[Law]) -> Measured {
    let with = |status| laws.iter().filter(|law| law.status == status).count();
    let (broken, open) = (with(Status::Fail), with(Status::Inconclusive));
    let value = Value::Balance { broken, open };
    Measured { value, samples: wide(with(Status::Pass)), blind: None }
}

/// Of those that went well: the harmed are counted as harm, and how long they
/// waited for it says nothing of what the others got.
fn latencies<'a>(
    population: &str,
    window: Window,
    evidence: &Evidence<'a>,
    findings: &'a Findings<'_>,
) -> impl Iterator<Item = Duration> + 'a {
    let recording = evidence.recording;
    let place = recording.populations.iter().position(|name| name == population);
    let operations = recording.operations.iter();
    operations
        .filter(move |operation| place == Some(usize::from(operation.population)))
        .filter(|operation| operation.fate == Fate::Ok)
        .filter(|operation| !findings.harmed.contains(&operation.id))
        .filter(move |operation| findings.windows.within(window, operation.intended))
        .map(|operation| operation.finished - operation.intended)
}

fn gap(population: &str, gaps: &[Gap]) -> Measured {
    let found = gaps.iter().find(|gap| gap.population == population);
    let longest = found.map_or(Duration::ZERO, Gap::length);
    Measured {
        value: Value::Span(longest),
        samples: found.map_or(0, |gap| gap.served),
        blind: None,
    }
}

fn upgrade_spans(span: UpgradeSpan, evidence: &Evidence<'_>) -> Vec<Duration> {
    let gone = |pid| {
        let process = evidence.recording.generations.iter().rev().find(|one| one.pid == pid);
        process.and_then(|process| process.gone)
    };
    let completed = evidence.upgrades(Outcome::Completed);
    let spans = completed.filter_map(|upgrade| {
        let to = match span {
            UpgradeSpan::Started => upgrade.new_seen,
            UpgradeSpan::Answered => upgrade.new_answered,
            UpgradeSpan::Drained => gone(upgrade.old_pid),
        };
        Some(to? - upgrade.triggered)
    });
    spans.collect()
}

/// From the first generation that an upgrade started to the last that was
/// looked at: how much more each holds than the one before, on average.
fn growth(resource: Resource, evidence: &Evidence<'_>) -> Measured {
    let looked_at = |(place, process): (usize, &Generation)| {
        process.resources.as_ref().map(|held| (place, amount(resource, held)))
    };
    let held: Vec<(usize, f64)> =
        evidence.recording.generations.iter().enumerate().skip(1).filter_map(looked_at).collect();
    let slope = match (held.first(), held.last()) {
        (Some((from, first)), Some((to, last))) if to > from => (last - first) / lossy(to - from),
        (_, _) => 0.0,
    };
    Measured { value: Value::Number(slope), samples: wide(held.len()), blind: None }
}

fn amount(resource: Resource, held: &Resources) -> f64 {
    let number = match resource {
        Resource::Fds => wide(held.fds.len()),
        Resource::RssKib => held.rss_kib,
        Resource::Threads => held.threads,
        Resource::EnvironBytes => held.environ_bytes,
    };
    lossy(usize::try_from(number).unwrap_or(usize::MAX))
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Span(span) => write!(f, "{span:.1?}"),
            Self::Number(number) => write!(f, "{}", (number * 1000.0).round() / 1000.0),
            Self::Balance { broken: 0, open: 0 } => f.write_str("balanced"),
            Self::Balance { broken, open } => write!(f, "{broken} broken, {open} open"),
        }
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Beyond four thousand million more does not matter.
fn lossy(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
