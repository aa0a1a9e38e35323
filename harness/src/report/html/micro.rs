//! What one connection went through, in a strip.

use maud::{Markup, html};

use super::super::harmed::Harmed;
use super::super::number::span;
use super::axis::Linear;
use super::svg::{Path, picture};

const HEIGHT: f64 = 18.0;

/// The states of a connection, in order: class and name.
const STATES: [(&str, &str); 4] = [
    ("wait", "waiting to begin"),
    ("syn", "connecting"),
    ("open", "connected"),
    ("served", "being served"),
];

/// What the strips' colours mean.
pub(super) fn legend() -> Markup {
    html! {
        p.legend {
            @for (class, name) in STATES {
                span { i class={ "swatch " (class) } {} (name) } " "
            }
            span { i.swatch.harm {} "harm seen" } " "
            span { i.swatch.trigger {} "upgrade triggered" }
        }
    }
}

/// The strip, from when the operation was intended or its connection opened
/// until both had ended. Of a connection that had been kept for long, only what
/// is near the harm is drawn.
pub(super) fn strip(harmed: &Harmed) -> Markup {
    let end = harmed.closed_ns.unwrap_or_default().max(harmed.finished_ns);
    let begin = begin(harmed, end);
    let axis = Linear::new(begin as f64, end as f64);
    let at = |ns: u64| axis.at(ns as f64);
    let opened = harmed.opened_ns.unwrap_or(harmed.finished_ns);
    let established = harmed.established_ns.unwrap_or(end);
    let first_byte = harmed.first_byte_ns.unwrap_or(end);
    let closed = harmed.closed_ns.unwrap_or(end).max(begin);
    let edges =
        [begin, opened, established, first_byte, closed].map(|edge| edge.clamp(begin, closed));
    let shapes = html! {
        @for ((class, _), edge) in STATES.iter().zip(edges.windows(2)) {
            @if edge[0] < edge[1] {
                ({
                    let mut path = Path::default();
                    path.block(at(edge[0]), at(edge[1]), 4.0, HEIGHT - 8.0);
                    path.draw(class)
                })
            }
        }
        (trigger(harmed, begin).map_or_else(Path::default, |ns| line(at(ns))).draw("trigger"))
        ({
            let mut path = Path::default();
            path.point(at(harmed.finished_ns), HEIGHT / 2.0);
            path.draw("dots harm")
        })
    };
    html! {
        div.strip {
            (picture(HEIGHT, &says(harmed), &shapes, &html! {}))
            span.long { (span(end.saturating_sub(begin))) }
        }
    }
}

fn begin(harmed: &Harmed, end: u64) -> u64 {
    let trigger = harmed.after_trigger_ns.map(|after| harmed.finished_ns.saturating_sub(after));
    let focus = harmed.intended_ns.min(trigger.unwrap_or(harmed.intended_ns));
    let near = focus.saturating_sub(end.saturating_sub(focus) / 4);
    let whole = harmed.opened_ns.unwrap_or(harmed.intended_ns).min(harmed.intended_ns);
    whole.max(near)
}

/// When the upgrade was triggered, if that lies within the strip.
fn trigger(harmed: &Harmed, begin: u64) -> Option<u64> {
    let at = harmed.finished_ns.saturating_sub(harmed.after_trigger_ns?);
    (at >= begin).then_some(at)
}

fn line(x: f64) -> Path {
    let mut path = Path::default();
    path.upright(x, 0.0, HEIGHT);
    path
}

/// The same for those who do not see it.
fn says(harmed: &Harmed) -> String {
    let Some(opened) = harmed.opened_ns else { return "never opened".to_owned() };
    let since = |name: &str, at: Option<u64>| {
        at.map(|at| format!("{name} after {}", span(at.saturating_sub(opened))))
    };
    let parts = [
        since("connected", harmed.established_ns),
        since("first byte", harmed.first_byte_ns),
        since(harmed.harm.id(), Some(harmed.finished_ns)),
        since("closed", harmed.closed_ns),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
