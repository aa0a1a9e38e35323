//! The report for people: the verdict first and last, the reasons next to it.

use std::collections::BTreeMap;
use std::path::Path;

use super::bursts::BurstRow;
use super::clients::Population;
use super::harmed::Harmed;
use super::model::Report;
use super::number::{count, maybe_span, offset, rate, share, span, things};
use super::processes::FaultRow;
use super::story;
use super::table;
use crate::event::{Scope, Upshot};
use crate::exit::Exit;
use crate::verdict::{Outcome, Status};

/// A few proofs show what they look like; the rest is in the JSON.
const EVIDENCE_SHOWN: usize = 3;

/// The whole report; `out_dir` is where the files of the run are.
#[must_use]
pub fn render(report: &Report, out_dir: Option<&Path>) -> String {
    let blank = String::new;
    let mut lines = vec![head(report), blank(), verdict(report), blank()];
    lines.extend(table::gates(report));
    lines.push(blank());
    lines.extend(load(report));
    lines.push(blank());
    lines.extend(upgrades(report));
    lines.extend(faults(report));
    lines.extend(bursts(report));
    if let Some(first) = &report.first_harm {
        lines.push(blank());
        lines.extend(first_harm(first));
    }
    lines.push(blank());
    lines.push(bounds(report));
    if let Some(dir) = out_dir {
        lines.push(format!("report: {}/result.json", dir.display()));
    }
    lines.push(blank());
    lines.push(verdict(report));
    lines.push(totals(report));
    lines.push(blank());
    lines.join("\n")
}

/// The verdict, and nothing else.
#[must_use]
pub fn brief(report: &Report) -> String {
    format!("{}\n{}\n", verdict(report), totals(report))
}

fn head(report: &Report) -> String {
    let netns = match report.environment.netns {
        Scope::Private => "private",
        Scope::Host => "host",
    };
    format!(
        "run {}  scenario {}  seed {}  target {}  netns {netns}",
        report.run_id, report.scenario.name, report.seed, report.target
    )
}

fn verdict(report: &Report) -> String {
    let number = |status| report.gates.iter().filter(|gate| gate.status == status).count();
    let made = things(report.gates.len() - number(Status::NotChecked), "check");
    let (word, mut sentence) = match report.verdict {
        Outcome::Pass => ("PASS", format!("all of {made} held")),
        Outcome::Fail => ("FAIL", format!("{} of {made} failed", number(Status::Fail))),
        Outcome::Inconclusive => (
            "INCONCLUSIVE",
            format!("nothing disproved; {} of {made} saw too little", number(Status::Inconclusive)),
        ),
    };
    if number(Status::NotChecked) > 0 {
        sentence += &format!(", {} not made", number(Status::NotChecked));
    }
    if let Some(by) = &report.interrupted {
        sentence += &format!(", interrupted by {by}");
    }
    let totals = &report.upgrade_totals;
    let delivered = report.faults.iter().filter(|fault| fault.delivered).count();
    format!(
        "VERDICT  {word}  {sentence}  |  {}  |  {} ({} ok, {} failed as planned, {} failed)  |  {} delivered",
        span(report.duration_ns),
        things(report.upgrades.len(), "upgrade"),
        totals.completed,
        totals.failed_as_planned,
        totals.failed,
        things(delivered, "fault")
    )
}

/// For whoever reads only the last line. What proved nothing counts as failed,
/// so that nobody takes it for a success.
fn totals(report: &Report) -> String {
    let number = |wanted: &[Status]| {
        report.gates.iter().filter(|gate| wanted.contains(&gate.status)).count()
    };
    let failed = number(&[Status::Fail, Status::Inconclusive]);
    let failed = failed.max(usize::from(report.exit != Exit::Pass));
    format!("{} passed, {failed} failed", number(&[Status::Pass]))
}

fn load(report: &Report) -> Vec<String> {
    let cells = ["LOAD", "ops", "rate", "ok", "harm", "p50", "p99", "p99.9", "max", "longest gap"];
    let mut lines = vec![load_row(&cells.map(str::to_owned))];
    for population in &report.populations {
        lines.push(population_row(population));
        lines.push(during_row(population));
    }
    lines
}

fn load_row(cells: &[String; 10]) -> String {
    let [name, ops, rate, ok, harm, p50, p99, p999, max, gap] = cells;
    let row = format!(
        "{name:<20} {ops:>11} {rate:>8} {ok:>11} {harm:>7} {p50:>8} {p99:>8} {p999:>8} {max:>8}  {gap}"
    );
    row.trim_end().to_owned()
}

fn population_row(population: &Population) -> String {
    let figures = population.latency.as_ref().map(|latency| latency.figures);
    load_row(&[
        format!("  {}", population.name),
        count(population.ops),
        rate(population.rate),
        count(population.ok),
        count(population.harmed),
        maybe_span(figures.map(|figures| figures.p50)),
        maybe_span(figures.map(|figures| figures.p99)),
        maybe_span(figures.map(|figures| figures.p999)),
        maybe_span(figures.map(|figures| figures.max)),
        span(population.longest_gap_ns),
    ])
}

/// What an upgrade costs: the same figures, but of operations intended during one.
fn during_row(population: &Population) -> String {
    let figures = population.windows.during.as_ref().map(|latency| latency.figures);
    load_row(&[
        "    during upgrades".to_owned(),
        String::new(),
        String::new(),
        count(figures.map_or(0, |figures| figures.count)),
        String::new(),
        maybe_span(figures.map(|figures| figures.p50)),
        maybe_span(figures.map(|figures| figures.p99)),
        maybe_span(figures.map(|figures| figures.p999)),
        maybe_span(figures.map(|figures| figures.max)),
        String::new(),
    ])
}

fn upgrades(report: &Report) -> Vec<String> {
    let answered = report.upgrade_totals.answered;
    let Some(answered) = answered else {
        return vec![format!("UPGRADES  {} ok", report.upgrade_totals.completed)];
    };
    vec![format!(
        "UPGRADES  {} ok  trigger -> new generation answers: p50 {}  p99 {}  max {}",
        report.upgrade_totals.completed,
        span(answered.p50),
        span(answered.p99),
        span(answered.max)
    )]
}

fn faults(report: &Report) -> Vec<String> {
    if report.faults.is_empty() {
        return Vec::new();
    }
    let delivered: Vec<_> = report.faults.iter().filter(|fault| fault.delivered).collect();
    let late = report.faults.len() - delivered.len();
    let met = delivered.iter().filter(|fault| fault.met == Some(true)).count();
    let mut lines = vec![format!(
        "FAULTS    {} delivered, {met} of them answered as they must be; {late} missed",
        delivered.len()
    )];
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    let mut left_out = 0;
    for row in &report.faults {
        let of_its_kind = shown.entry(&row.id).or_default();
        // What is wrong is never left out.
        if *of_its_kind < EVIDENCE_SHOWN || row.met == Some(false) {
            *of_its_kind += 1;
            lines.extend(fault(row));
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        lines.push(format!("  ... {left_out} more"));
    }
    lines
}

fn bursts(report: &Report) -> Vec<String> {
    let line = |row: &BurstRow| {
        let off = match &row.off {
            Some(off) => format!("aimed off by p50 {}  p99 {}", span(off.p50), span(off.p99)),
            None => "the event was never seen".to_owned(),
        };
        format!(
            "BURSTS    {} of {} in all {} {} ({}): {off}",
            count(row.bursts),
            things(usize::try_from(row.operations).unwrap_or(usize::MAX), "operation"),
            offset(row.offset_ns),
            row.anchor.name(),
            row.population,
        )
    };
    report.bursts.iter().map(line).collect()
}

fn fault(row: &FaultRow) -> [String; 2] {
    let mark = match row.met {
        Some(true) => "ok",
        Some(false) => "x",
        None => "?",
    };
    let expected = match row.expected.upgrade {
        Upshot::Fails => "is to fail",
        Upshot::Completes => "is to complete",
    };
    [
        format!("  {mark:<2} {} upgrade {} {expected}: {}", row.id, row.upgrade, row.got),
        format!("       {}", row.evidence),
    ]
}

fn first_harm(first: &Harmed) -> Vec<String> {
    let population = first.population.as_deref().unwrap_or("?");
    let errno = first.errno.map_or_else(String::new, |errno| format!(", errno {errno}"));
    let local = first.local.as_ref().map_or_else(String::new, |local| format!(" from {local}"));
    let served = story::who(first);
    let upgrade = match (first.upgrade, first.after_trigger_ns) {
        (Some(number), Some(after)) => {
            format!("{} after the trigger of upgrade {number}", span(after))
        }
        _ => "while no upgrade was under way".to_owned(),
    };
    vec![
        format!(
            "FIRST HARM  {}  operation {} on connection {} ({population}{local}){errno}",
            first.harm, first.operation, first.conn
        ),
        format!(
            "  begun at +{:.6} s, harmed at +{:.6} s, {upgrade}; {served}",
            seconds(first.dispatched_ns),
            seconds(first.finished_ns)
        ),
    ]
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn bounds(report: &Report) -> String {
    let bounds = &report.bounds;
    let (upgrades, connections) = (bounds.upgrades, bounds.connections);
    format!(
        "{} of {} upgrades: < {} of upgrades harm somebody; {} of {} connections: < {} are harmed ({:.0} % confidence)",
        count(upgrades.harmed),
        count(upgrades.of),
        share(bounds.bad_upgrade_upper),
        count(connections.harmed),
        count(connections.of),
        share(bounds.bad_connection_upper),
        bounds.confidence * 100.0,
    )
}
