//! The whole run on one axis of time.

use maud::{Markup, html};

use super::super::model::Report;
use super::super::number::{count, span, things};
use super::super::timeline::{HarmDot, Phase, PhaseName};
use super::axis::Linear;
use super::generations::generations;
use super::rates::{latencies, rates};
use super::svg::{Anchor, Path, label, percent, picture};

const PHASES_HEIGHT: f64 = 34.0;
const MARKS_HEIGHT: f64 = 22.0;
const AXIS_HEIGHT: f64 = 18.0;

/// The lanes.
pub(super) fn timeline(report: &Report) -> Markup {
    let axis = Linear::new(0.0, report.duration_ns as f64);
    // Behind every lane: upgrades that did harm, and the first harm.
    let behind = |height: f64| {
        html! {
            use href="#harmful" width="1000" height=(height) {}
            (first_line(report, &axis, height).draw("first"))
        }
    };
    html! {
        section id="run" {
            h2 { "The run" }
            (harmful(report, &axis))
            div.lanes {
                (lane("phases", &html! {}, &phases(report, &axis, &behind)))
                (lane("upgrades", &upgrades_note(report), &triggers(report, &axis, &behind)))
                (lane("generations", &generations_note(), &generations(report, &axis, &behind)))
                @for (index, course) in report.timeline.populations.iter().enumerate() {
                    @let harmed: u64 = course.harmed.iter().sum();
                    (lane(&course.name, &rate_note(harmed), &rates(&report.timeline, course, &axis, &behind)))
                    @let harm = of_population(report, index);
                    (lane("", &latency_note(), &latencies(&report.timeline, course, &harm, &axis, &behind)))
                }
                (lane("", &html! {}, &ticks(&axis)))
            }
        }
    }
}

fn lane(name: &str, note: &Markup, drawn: &Markup) -> Markup {
    html! { div.lane { div.name { strong { (name) } " " (note) } div.drawn { (drawn) } } }
}

fn of_population(report: &Report, index: usize) -> Vec<HarmDot> {
    let harm = report.timeline.harm.iter().copied();
    harm.filter(|dot| usize::from(dot.population) == index).collect()
}

/// Defines the bands of the upgrades that did harm; they are used in every lane.
fn harmful(report: &Report, axis: &Linear) -> Markup {
    let mut bands = Path::default();
    for row in report.upgrades.iter().filter(|row| row.harmed > 0) {
        let from = axis.at(row.t_trigger_ns as f64);
        let to = axis.at(row.t_trigger_ns.saturating_add(row.phases_ns.decided) as f64);
        bands.block(from, to.max(from + 0.002), 0.0, 1.0);
    }
    html! {
        svg.defs width="0" height="0" aria-hidden="true" {
            symbol id="harmful" viewBox="0 0 1000 1" preserveAspectRatio="none" { (bands.draw("harmful")) }
        }
    }
}

fn first_line(report: &Report, axis: &Linear, height: f64) -> Path {
    let mut path = Path::default();
    if let Some(first) = &report.first_harm {
        path.upright(axis.at(first.finished_ns as f64), 0.0, height);
    }
    path
}

fn phases(report: &Report, axis: &Linear, behind: &impl Fn(f64) -> Markup) -> Markup {
    let span = |phase: &Phase| (axis.at(phase.from_ns as f64), axis.at(phase.to_ns as f64));
    let mut blocks = Path::default();
    for phase in report.timeline.phases.iter().step_by(2) {
        let (from, to) = span(phase);
        blocks.block(from, to, PHASES_HEIGHT - 16.0, 16.0);
    }
    let shapes = html! { (behind(PHASES_HEIGHT)) (blocks.draw("phase")) };
    let marks = html! {
        @for phase in &report.timeline.phases {
            @let (from, to) = span(phase);
            @if to - from > 0.07 {
                @let class = if to - from > 0.16 { "phase-name" } else { "phase-name wide-only" };
                (label(class, from, PHASES_HEIGHT - 4.0, Anchor::Start, name_of(phase.name)))
            }
        }
        @if let Some(first) = &report.first_harm {
            @let at = axis.at(first.finished_ns as f64);
            @let anchor = if at > 0.7 { Anchor::End } else { Anchor::Start };
            (label("first-name", at, 12.0, anchor, &format!("first harm: {}", first.harm)))
        }
    };
    picture(PHASES_HEIGHT, "the phases of the run", &shapes, &marks)
}

fn name_of(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Warmup => "warm-up",
        PhaseName::Baseline => "baseline",
        PhaseName::Storm => "storm",
        PhaseName::Settle => "settle",
        PhaseName::End => "end",
    }
}

/// A mark for each trigger, and one for each fault.
fn triggers(report: &Report, axis: &Linear, behind: &impl Fn(f64) -> Markup) -> Markup {
    let (mut well, mut harmed) = (Path::default(), Path::default());
    for row in &report.upgrades {
        let path = if row.harmed > 0 { &mut harmed } else { &mut well };
        path.upright(axis.at(row.t_trigger_ns as f64), 4.0, MARKS_HEIGHT - 2.0);
    }
    let shapes = html! {
        (behind(MARKS_HEIGHT)) (well.draw("tick")) (harmed.draw("tick harm"))
    };
    let seen = report.faults.iter().filter_map(|fault| Some((fault, fault.injected_ns?)));
    let marks = html! {
        @for (fault, at) in seen {
            circle class=(if fault.delivered { "fault" } else { "fault missed" })
                cx=(percent(axis.at(at as f64))) cy="8" r="3.5" {
                title { (fault.id) " in upgrade " (fault.upgrade) ": " (fault.evidence) }
            }
        }
    };
    picture(MARKS_HEIGHT, "triggers of upgrades, and faults", &shapes, &marks)
}

fn upgrades_note(report: &Report) -> Markup {
    let delivered = report.faults.iter().filter(|fault| fault.delivered).count();
    html! {
        small {
            (things(report.upgrades.len(), "trigger"))
            @if !report.faults.is_empty() { ", " span { i.swatch.fault {} (things(delivered, "fault")) } }
            @if report.upgrade_totals.harmful > 0 { span.harm-text { ", " (report.upgrade_totals.harmful) " did harm" } }
        }
    }
}

fn generations_note() -> Markup {
    html! {
        small {
            span { i.swatch.starting {} "starting" } " " span { i.swatch.serving {} "accepting" } " "
            span { i.swatch.draining {} "draining" } " " span { i.swatch.silent {} "answers nobody" }
        }
    }
}

fn rate_note(harmed: u64) -> Markup {
    html! {
        small {
            "per second: " span { i.swatch.rate {} "ok" } " "
            @if harmed > 0 { span.harm-text { i.swatch.harm {} (count(harmed)) " harmed" } }
        }
    }
}

fn latency_note() -> Markup {
    html! { small { "latency: " span { i.swatch.p50 {} "p50" } " " span { i.swatch.band-p99 {} "p99" } " " span { i.swatch.band-max {} "max" } } }
}

/// The axis of time. Every second mark is left out where there is little room.
fn ticks(axis: &Linear) -> Markup {
    let mut path = Path::default();
    let ticks = axis.ticks(10);
    ticks.iter().for_each(|tick| path.upright(axis.at(*tick), 0.0, 4.0));
    let marks = html! {
        @for (nth, tick) in ticks.iter().enumerate() {
            @let at = axis.at(*tick);
            @let anchor = if at < 0.02 { Anchor::Start } else if at > 0.98 { Anchor::End } else { Anchor::Middle };
            @let class = if nth % 2 == 0 { "axis" } else { "axis wide-only" };
            (label(class, at, 15.0, anchor, &seconds(*tick)))
        }
    };
    picture(AXIS_HEIGHT, &format!("the run took {}", span_of(axis)), &path.draw("tick"), &marks)
}

fn span_of(axis: &Linear) -> String {
    span(std::time::Duration::try_from_secs_f64(axis.end() / 1e9).map_or(0, crate::clock::nanos))
}

fn seconds(ns: f64) -> String {
    let text = format!("{:.1}", ns / 1e9);
    format!("{} s", text.strip_suffix(".0").unwrap_or(&text))
}
