//! How a gate is written: the name of a metric, and what it must be.

use std::ops::Range;
use std::time::Duration;

use super::error::{Mistake, meant, suggestion};
use super::file;
use super::gate::{
    Bound, Comparison, Figure, Gate, Limit, Metric, Resource, UpgradeSpan, WHOLE, Window,
};
use super::text;
use crate::event::Harm;
use crate::units;

/// Every metric there is, for messages and lists; what stands in angle
/// brackets is to be filled in.
pub const METRICS: [&str; 12] = [
    "harm.*",
    "harm.<id>",
    "ledger",
    "kernel.unexplained",
    "upgrade.unplanned_failures",
    "upgrade.<started|answered|drained>.<figure>",
    "latency.<load>.<baseline|init|handover|drain|after|during>.<figure>",
    "gap.<load>.max",
    "resources.<fds|rss_kib|threads|environ_bytes>.slope_per_upgrade",
    "processes.leaked",
    "queue.depth.max",
    "<figure>: p50, p99, p99.9, …, or max",
];

/// What the rest of the scenario has, as far as gates ask.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// The names of its loads.
    pub(super) loads: Vec<&'a str>,
    /// Whether there are upgrades.
    pub(super) upgrades: bool,
    /// How long it is left alone first.
    pub(super) baseline: Duration,
    /// Whether load goes on once upgrades are possible.
    pub(super) after: bool,
}

/// The gates of a scenario whose text is `source`.
pub(super) fn gates(
    written: file::Gates,
    around: &Surroundings<'_>,
    source: &str,
) -> Result<Vec<Gate>, Mistake> {
    let mut gates: Vec<Gate> = Vec::new();
    // In the order of the file, which the map has lost.
    let mut written: Vec<_> = written.into_iter().collect();
    written.sort_by_key(|(name, _)| name.span().start);
    for (name, demand) in written {
        let span = name.span();
        let wrong = |message: String| Mistake::at(span.clone(), message);
        let metric = metric(name.get_ref(), around).map_err(wrong)?;
        if let Some(other) = gates.iter().find(|other| other.metric == metric) {
            return Err(wrong(format!(
                "`{}` in line {} is a gate on the same metric, and only one can be meant; take \
                 one out",
                other.name, other.line
            )));
        }
        let demand = demand.into_inner();
        let is_span = demand.is.span();
        let limit = limit(demand.is.get_ref(), &metric, around)
            .map_err(|message| Mistake::at(is_span, message))?;
        let min_samples = match demand.min_samples {
            Some(given) => floor(*given.get_ref(), &metric, given.span())?,
            None => usual_floor(&metric),
        };
        gates.push(Gate {
            name: name.get_ref().clone(),
            metric,
            is: demand.is.into_inner(),
            limit,
            min_samples,
            line: text::line_of(source, span.start),
        });
    }
    Ok(gates)
}

fn metric(name: &str, around: &Surroundings<'_>) -> Result<Metric, String> {
    let (family, rest) = name.split_once('.').unwrap_or((name, ""));
    match (family, rest) {
        ("ledger", "") => Ok(Metric::Ledger),
        ("kernel", "unexplained") => Ok(Metric::KernelUnexplained),
        ("processes", "leaked") => Ok(Metric::Leaked),
        ("queue", "depth.max") => Ok(Metric::QueueDepth),
        ("harm", "*") => Ok(Metric::Harm(None)),
        ("harm", id) => Harm::from_id(id).map(|harm| Metric::Harm(Some(harm))).ok_or_else(|| {
            let mut ids = Harm::ALL.map(Harm::id).to_vec();
            ids.push("*");
            format!("gate `{name}`: `{id}` is no harm{}", suggestion(id, &ids))
        }),
        ("upgrade", rest) => upgrade(name, rest, around),
        ("resources", rest) => growth(name, rest, around),
        ("latency", rest) => latency(name, rest, around),
        ("gap", rest) => {
            let (load, figure) = rest.rsplit_once('.').unwrap_or((rest, ""));
            let population = known(name, load, "load of this scenario", &around.loads)?;
            known(name, figure, "figure of a gap", &["max"])?;
            Ok(Metric::Gap { population: population.to_owned() })
        }
        (_, _) => Err(unknown(name)),
    }
}

/// The nearest of the names that need nothing filled in, and every form.
fn unknown(name: &str) -> String {
    const PLAIN: [&str; 6] = [
        "harm.*",
        "ledger",
        "kernel.unexplained",
        "upgrade.unplanned_failures",
        "processes.leaked",
        "queue.depth.max",
    ];
    const FAMILIES: [&str; 9] = [
        "harm",
        "ledger",
        "kernel",
        "upgrade",
        "latency",
        "gap",
        "resources",
        "processes",
        "queue",
    ];
    let (family, _) = name.split_once('.').unwrap_or((name, ""));
    let mut near = meant(name, &PLAIN);
    if near.is_empty() && !FAMILIES.contains(&family) {
        near = meant(family, &FAMILIES);
    }
    format!("`{name}` is no metric{near}; accepted: {}", METRICS.join(", "))
}

fn known<'a>(gate: &str, word: &'a str, what: &str, accepted: &[&str]) -> Result<&'a str, String> {
    if accepted.contains(&word) {
        return Ok(word);
    }
    Err(format!("gate `{gate}`: `{word}` is no {what}{}", suggestion(word, accepted)))
}

fn needs_upgrades(gate: &str, around: &Surroundings<'_>) -> Result<(), String> {
    if around.upgrades {
        return Ok(());
    }
    Err(format!("gate `{gate}` is about upgrades, and there are none; write an [upgrades] section"))
}

fn upgrade(name: &str, rest: &str, around: &Surroundings<'_>) -> Result<Metric, String> {
    needs_upgrades(name, around)?;
    if rest == "unplanned_failures" {
        return Ok(Metric::UnplannedFailures);
    }
    let (span, rest) = rest.split_once('.').unwrap_or((rest, ""));
    let mut accepted = UpgradeSpan::ALL.map(UpgradeSpan::id).to_vec();
    accepted.push("unplanned_failures");
    known(name, span, "part of an upgrade", &accepted)?;
    let span = UpgradeSpan::ALL.into_iter().find(|known| known.id() == span);
    let span = span.ok_or_else(|| unknown(name))?;
    Ok(Metric::Upgrade { span, figure: figure(name, rest)? })
}

fn growth(name: &str, rest: &str, around: &Surroundings<'_>) -> Result<Metric, String> {
    needs_upgrades(name, around)?;
    let (resource, rest) = rest.split_once('.').unwrap_or((rest, ""));
    known(name, resource, "resource", &Resource::ALL.map(Resource::id))?;
    known(name, rest, "figure of a resource", &["slope_per_upgrade"])?;
    let found = Resource::ALL.into_iter().find(|known| known.id() == resource);
    found.map(Metric::Growth).ok_or_else(|| unknown(name))
}

fn latency(name: &str, rest: &str, around: &Surroundings<'_>) -> Result<Metric, String> {
    let (population, rest) = rest.split_once('.').unwrap_or((rest, ""));
    known(name, population, "load of this scenario", &around.loads)?;
    let (window, rest) = rest.split_once('.').unwrap_or((rest, ""));
    known(name, window, "window", &Window::ALL.map(Window::id))?;
    let found = Window::ALL.into_iter().find(|known| known.id() == window);
    let window = found.ok_or_else(|| unknown(name))?;
    if window.is_of_upgrades() {
        needs_upgrades(name, around)?;
    }
    let lasts = match window {
        Window::Baseline => !around.baseline.is_zero(),
        Window::After => around.after,
        Window::Init | Window::Handover | Window::Drain | Window::During => true,
    };
    if !lasts {
        return Err(format!(
            "gate `{name}`: the window `{}` lasts no time; write a longer phase, like \"2s\"",
            window.id()
        ));
    }
    let figure = figure(name, rest)?;
    Ok(Metric::Latency { population: population.to_owned(), window, figure })
}

/// `max`, or `p` and a percentage with at most four digits behind the point.
fn figure(gate: &str, text: &str) -> Result<Figure, String> {
    if text == "max" {
        return Ok(Figure::Max);
    }
    let parts = text.strip_prefix('p').and_then(|percent| {
        let (whole, rest) = percent.split_once('.').unwrap_or((percent, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(rest) || whole.len() > 2 || rest.len() > 4 {
            return None;
        }
        let parts: u32 = format!("{whole}{rest:0<4}").parse().ok()?;
        (parts > 0 && parts < WHOLE).then_some(parts)
    });
    parts.map(Figure::Quantile).ok_or_else(|| {
        format!("gate `{gate}`: `{text}` is no figure; write p50, p99, p99.9 and the like, or max")
    })
}

/// Whether a metric is a span of time, a number, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Span,
    Number,
    Balance,
}

fn unit(metric: &Metric) -> Unit {
    match metric {
        Metric::Ledger => Unit::Balance,
        Metric::Latency { .. } | Metric::Gap { .. } | Metric::Upgrade { .. } => Unit::Span,
        Metric::Harm(_)
        | Metric::KernelUnexplained
        | Metric::UnplannedFailures
        | Metric::Growth(_)
        | Metric::Leaked
        | Metric::QueueDepth => Unit::Number,
    }
}

fn limit(text: &str, metric: &Metric, around: &Surroundings<'_>) -> Result<Limit, String> {
    let unit = unit(metric);
    if unit == Unit::Balance {
        return match text {
            "balanced" => Ok(Limit { comparison: Comparison::Equal, bound: Bound::Balanced }),
            _ => Err(format!("`{text}` is nothing that a ledger can be; write \"balanced\"")),
        };
    }
    let form = if unit == Unit::Span {
        "write a comparison with a span, like \"< 25ms\" or \"<= 3 * baseline + 2ms\""
    } else {
        "write a comparison with a number, like \"== 0\" or \"<= 5\""
    };
    let (comparison, rest) =
        comparison(text).ok_or_else(|| format!("`{text}` is no limit; {form}"))?;
    let bound = match unit {
        Unit::Span if rest.contains("baseline") => of_baseline(text, rest, metric, around)?,
        Unit::Span => Bound::Span(units::span(rest).map_err(|error| format!("{error}; {form}"))?),
        Unit::Number | Unit::Balance => {
            Bound::Number(number(rest).ok_or_else(|| format!("`{rest}` is no number; {form}"))?)
        }
    };
    Ok(Limit { comparison, bound })
}

fn comparison(text: &str) -> Option<(Comparison, &str)> {
    let signs = [
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("<", Comparison::Below),
        (">", Comparison::Above),
        ("=", Comparison::Equal),
    ];
    signs.into_iter().find_map(|(sign, comparison)| {
        text.trim().strip_prefix(sign).map(|rest| (comparison, rest.trim()))
    })
}

/// What `f64` would also read (`inf`, `1e9`) is no number here.
fn number(text: &str) -> Option<f64> {
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    text.strip_prefix('-').unwrap_or(text).chars().all(plain).then_some(())?;
    text.parse().ok()
}

/// `FACTOR * baseline + SPAN`.
fn of_baseline(
    text: &str,
    rest: &str,
    metric: &Metric,
    around: &Surroundings<'_>,
) -> Result<Bound, String> {
    let Metric::Latency { window, .. } = metric else {
        return Err(format!(
            "`{text}`: only latencies have a baseline; write a span, like \"< 50ms\""
        ));
    };
    if *window == Window::Baseline {
        return Err(format!("`{text}` compares the baseline with itself; write a span"));
    }
    if around.baseline.is_zero() {
        return Err(format!("`{text}`: phases.baseline lasts no time; write one like \"2s\""));
    }
    let form = "write it like \"<= 3 * baseline + 2ms\"";
    let (ratio, slack) = rest.split_once('+').ok_or_else(|| {
        format!(
            "`{text}` is a ratio alone, which fails by chance where both are tiny; add a span: {form}"
        )
    })?;
    let ratio: Vec<&str> = ratio.split('*').map(str::trim).collect();
    let factor = match ratio[..] {
        ["baseline"] => Some(1.0),
        [factor, "baseline"] | ["baseline", factor] => {
            number(factor).filter(|factor| *factor > 0.0)
        }
        _ => None,
    };
    let factor =
        factor.ok_or_else(|| format!("`{text}` is no multiple of the baseline; {form}"))?;
    let slack = units::span(slack.trim()).map_err(|error| format!("{error}; {form}"))?;
    if slack.is_zero() {
        return Err(format!("`{text}` leaves no slack, and fails by chance; {form}"));
    }
    Ok(Bound::OfBaseline { factor, slack })
}

fn usual_floor(metric: &Metric) -> u64 {
    match metric {
        Metric::Latency { figure, .. } | Metric::Upgrade { figure, .. } => figure.floor(),
        // Two points make a slope.
        Metric::Growth(_) => 2,
        Metric::Harm(_)
        | Metric::Ledger
        | Metric::KernelUnexplained
        | Metric::UnplannedFailures
        | Metric::Gap { .. }
        | Metric::Leaked
        | Metric::QueueDepth => 1,
    }
}

fn floor(given: u64, metric: &Metric, span: Range<usize>) -> Result<u64, Mistake> {
    let (least, why) = match metric {
        Metric::Latency { figure, .. } | Metric::Upgrade { figure, .. } => {
            (figure.least(), format!("with fewer {figure} is the maximum by another name"))
        }
        Metric::Growth(_) => (2, "two points make a slope".to_owned()),
        Metric::Harm(_)
        | Metric::Ledger
        | Metric::KernelUnexplained
        | Metric::UnplannedFailures
        | Metric::Gap { .. }
        | Metric::Leaked
        | Metric::QueueDepth => (1, "nothing was proved by nothing".to_owned()),
    };
    if given >= least {
        return Ok(given);
    }
    Err(Mistake::at(
        span,
        format!("min_samples = {given} is too few: {why}; write {least} or more"),
    ))
}

#[cfg(test)]
mod tests;
