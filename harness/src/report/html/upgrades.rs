//! Each upgrade by itself.

use maud::{Markup, html};

use super::super::model::Report;
use super::super::number::{count, maybe_span, things};
use super::super::processes::{Party, UpgradeRow};
use super::axis::Linear;
use super::generations::ended;
use super::svg::{Anchor, Path, label, picture};
use crate::event::Outcome;

/// More rows nobody reads. The harmful stay, then the slow.
const MOST: usize = 200;
const HEIGHT: f64 = 90.0;

/// The picture and the table, or nothing if there was no upgrade.
pub(super) fn upgrades(report: &Report) -> Markup {
    if report.upgrades.is_empty() {
        return html! {};
    }
    let shown = shown(&report.upgrades);
    html! {
        section id="upgrades" {
            h2 { "Upgrades" }
            p.note { "From the trigger to the first answer of the new process, upgrade by upgrade." }
            (drawn(report))
            @if shown.len() < report.upgrades.len() {
                p.note { (shown.len()) " of " (things(report.upgrades.len(), "upgrade")) ": those that did harm, then the slowest." }
            }
            div.scroll tabindex="0" role="region" aria-label="upgrades" {
            table.cards.sortable {
                thead { tr {
                    th { "upgrade" } th { "harmed" } th { "triggered" } th { "new process" } th { "answers" }
                    th { "old gone" } th { "p99" } th { "max" } th { "old" } th { "new" } th { "same queue" }
                } }
                tbody { @for row in shown { (line(row)) } }
            }
            }
        }
    }
}

fn shown(all: &[UpgradeRow]) -> Vec<&UpgradeRow> {
    let mut rows: Vec<_> = all.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.harmed, row.phases_ns.decided)));
    rows.truncate(MOST);
    rows.sort_by_key(|row| row.n);
    rows
}

fn drawn(report: &Report) -> Markup {
    let last = report.upgrades.iter().map(|row| row.n).max().unwrap_or(1);
    let axis = Linear::new(0.5, last as f64 + 0.5);
    let took = |row: &UpgradeRow| row.phases_ns.answered.unwrap_or(row.phases_ns.decided);
    let most = report.upgrades.iter().map(took).max().unwrap_or_default();
    let scale = Linear::up_to(most as f64 / 1e6);
    let down = |ms: f64| 14.0 + (1.0 - scale.at(ms)) * (HEIGHT - 16.0);
    let (mut well, mut harmed, mut grid) = (Path::default(), Path::default(), Path::default());
    for row in &report.upgrades {
        let path = if row.harmed > 0 { &mut harmed } else { &mut well };
        path.point(axis.at(row.n as f64), down(took(row) as f64 / 1e6));
    }
    let ticks = scale.ticks(2);
    for tick in &ticks {
        grid.move_to(0.0, down(*tick));
        grid.line_to(1.0, down(*tick));
    }
    let shapes = html! { (grid.draw("grid")) (well.draw("dots")) (harmed.draw("dots harm")) };
    let marks = html! {
        @for tick in ticks.iter().filter(|tick| **tick > 0.0) {
            (label("axis", 0.0, down(*tick) - 3.0, Anchor::Start, &format!("{tick} ms")))
        }
    };
    picture(HEIGHT, "how long each upgrade took", &shapes, &marks)
}

fn line(row: &UpgradeRow) -> Markup {
    let phases = &row.phases_ns;
    html! {
        tr.bad[row.harmed > 0] {
            td.id { (row.n) @if row.outcome != Outcome::Completed { " " small { (outcome(row.outcome)) } } }
            td.got data-name="harmed" { (count(row.harmed)) }
            td data-name="triggered" data-sort=(row.t_trigger_ns) { (format!("+{:.3} s", row.t_trigger_ns as f64 / 1e9)) }
            td data-name="new process" data-sort=[phases.seen] { (maybe_span(phases.seen)) }
            td data-name="answers" data-sort=[phases.answered] { (maybe_span(phases.answered)) }
            td data-name="old gone" data-sort=[phases.old_gone] { (maybe_span(phases.old_gone)) }
            td data-name="p99" data-sort=[row.window.p99_ns] { (maybe_span(row.window.p99_ns)) }
            td data-name="max" data-sort=[row.window.max_ns] { (maybe_span(row.window.max_ns)) }
            td data-name="old" { (party(&row.old, Some(row.old.pid))) }
            td data-name="new" { (party(&row.new, row.new.pid)) }
            td data-name="same queue" { (kept(row.listeners_kept)) }
        }
    }
}

fn party<P>(party: &Party<P>, pid: Option<u32>) -> Markup {
    html! {
        @if let Some(generation) = party.generation { "gen " (generation) " " }
        @if let Some(pid) = pid { small { "pid " (pid) } } @else { "–" }
        @if let Some(exit) = party.exit { " " small { (ended(exit)) } }
    }
}

fn kept(kept: Option<bool>) -> &'static str {
    match kept {
        Some(true) => "yes",
        Some(false) => "no",
        None => "–",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::FailedAsPlanned => "failed as planned",
        Outcome::TimedOut => "timed out",
        Outcome::ServerGone => "server gone",
        Outcome::TriggerFailed => "trigger failed",
        Outcome::Interrupted => "interrupted",
    }
}
