//! How much was done and how long it took, step by step.

use maud::{Markup, html};

use super::super::number::rate;
use super::super::timeline::{Course, HarmDot, Timeline};
use super::axis::{Linear, Log};
use super::svg::{Anchor, Path, label, picture};

const RATE_HEIGHT: f64 = 62.0;
const LATENCY_HEIGHT: f64 = 120.0;
/// No operation takes less than this; to fail may.
pub(super) const QUICK_NS: u64 = 100_000;
/// A single harm must be seen beside thousands that are well.
const LEAST: f64 = 5.0;

/// Operations per second.
pub(super) fn rates(
    timeline: &Timeline,
    course: &Course,
    axis: &Linear,
    behind: &impl Fn(f64) -> Markup,
) -> Markup {
    let per_second = |count: u64| count as f64 * 1e9 / timeline.step_ns as f64;
    let most = course.ok.iter().chain(&course.harmed).max().copied().unwrap_or_default();
    let scale = Linear::up_to(per_second(most));
    let height = RATE_HEIGHT - 12.0;
    let up = |count: u64| scale.at(per_second(count)) * height;
    let step = |nth: usize| step_at(timeline, axis, nth);
    let (mut ok, mut harmed) = (Path::default(), Path::default());
    ok.move_to(step(0), RATE_HEIGHT);
    for (nth, count) in course.ok.iter().enumerate() {
        ok.line_to(step(nth), RATE_HEIGHT - up(*count));
        ok.line_to(step(nth + 1), RATE_HEIGHT - up(*count));
    }
    ok.line_to(step(course.ok.len()), RATE_HEIGHT);
    ok.close();
    for (nth, count) in course.harmed.iter().enumerate().filter(|(_, count)| **count > 0) {
        let high = up(*count).max(LEAST);
        harmed.block(step(nth), step(nth + 1).max(step(nth) + 0.002), RATE_HEIGHT - high, high);
    }
    let shapes = html! {
        (behind(RATE_HEIGHT))
        (ok.draw("rate"))
        (harmed.draw("rate-harm"))
        (across(RATE_HEIGHT - height).draw("grid"))
    };
    let top = label("axis", 0.0, RATE_HEIGHT - height - 3.0, Anchor::Start, &rate(scale.end()));
    let harm: u64 = course.harmed.iter().sum();
    let says = format!("{}: operations per second; {harm} were harmed", course.name);
    picture(RATE_HEIGHT, &says, &shapes, &top)
}

/// The latency axis that all populations share.
pub(super) fn shared_axis(timeline: &Timeline) -> Log {
    let courses = timeline.populations.iter();
    let seen = courses.flat_map(|course| course.p50_ns.iter().chain(&course.max_ns).flatten());
    // Harm that was done at once is drawn at the lower edge, not given decades.
    let slow = timeline.harm.iter().map(|dot| dot.latency_ns).filter(|ns| *ns > QUICK_NS);
    Log::around(seen.copied().chain(slow))
}

/// Latency: half, almost all and all of the operations; each harm as a point.
pub(super) fn latencies(
    timeline: &Timeline,
    course: &Course,
    harm: &[HarmDot],
    axis: &Linear,
    behind: &impl Fn(f64) -> Markup,
) -> Markup {
    let scale = shared_axis(timeline);
    let down = |ns: u64| 2.0 + (1.0 - scale.at(ns)) * (LATENCY_HEIGHT - 4.0);
    let band = |low: &[Option<u64>], high: &[Option<u64>]| {
        let mut path = Path::default();
        for (nth, (low, high)) in low.iter().zip(high).enumerate() {
            if let (Some(low), Some(high)) = (low, high) {
                let (from, to) = (step_at(timeline, axis, nth), step_at(timeline, axis, nth + 1));
                path.block(from, to, down(*high), down(*low) - down(*high) + 0.5);
            }
        }
        path
    };
    let (mut middle, mut dots, mut grid) = (Path::default(), Path::default(), Path::default());
    let mut joined = false;
    for (nth, ns) in course.p50_ns.iter().enumerate() {
        if let Some(ns) = ns {
            let (from, to) = (step_at(timeline, axis, nth), step_at(timeline, axis, nth + 1));
            if joined {
                middle.line_to(from, down(*ns))
            } else {
                middle.move_to(from, down(*ns))
            }
            middle.line_to(to, down(*ns));
        }
        joined = ns.is_some();
    }
    harm.iter().for_each(|dot| dots.point(axis.at(dot.t_ns as f64), down(dot.latency_ns)));
    let decades = scale.decades();
    for (ns, _) in &decades {
        grid.move_to(0.0, down(*ns));
        grid.line_to(1.0, down(*ns));
    }
    let shapes = html! {
        (behind(LATENCY_HEIGHT))
        (grid.draw("grid"))
        (band(&course.p99_ns, &course.max_ns).draw("band-max"))
        (band(&course.p50_ns, &course.p99_ns).draw("band-p99"))
        (middle.draw("p50"))
        (dots.draw("dots harm"))
    };
    // The name of the topmost decade would stand in the lane above.
    let named = decades.iter().filter(|(ns, _)| down(*ns) > 12.0);
    let marks = html! {
        @for (ns, name) in named { (label("axis", 0.0, down(*ns) - 2.0, Anchor::Start, name)) }
    };
    let says = format!("{}: latency at half, 99 of 100 and the worst", course.name);
    picture(LATENCY_HEIGHT, &says, &shapes, &marks)
}

fn step_at(timeline: &Timeline, axis: &Linear, nth: usize) -> f64 {
    let nth = u32::try_from(nth).unwrap_or(u32::MAX);
    axis.at(f64::from(nth) * timeline.step_ns as f64)
}

fn across(y: f64) -> Path {
    let mut path = Path::default();
    path.move_to(0.0, y);
    path.line_to(1.0, y);
    path
}
