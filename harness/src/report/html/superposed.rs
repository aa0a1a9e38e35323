//! All upgrades laid over one another: what a client meets around a trigger.

use maud::{Markup, html};

use super::super::model::Report;
use super::super::number::{count, span, things};
use super::super::superposed::Superposed;
use super::axis::{Linear, Log};
use super::rates::QUICK_NS;
use super::svg::{Anchor, Path, label, picture};

const HEIGHT: f64 = 300.0;
/// Above the field are the names of the moments, a line each.
const TOP: f64 = 56.0;
const BOTTOM: f64 = HEIGHT - 20.0;
/// Counts are told apart in so many shades.
const SHADES: u32 = 6;

/// The picture, or nothing if there was no upgrade.
pub(super) fn superposed(report: &Report) -> Markup {
    let Some(all) = &report.superposed else { return html! {} };
    html! {
        section id="superposed" {
            h2 { "All upgrades, laid over one another" }
            p.note {
                (things(all.upgrades, "upgrade")) ", the trigger of each at 0. A field is the darker, the more \
                operations were intended then and took so long. "
                i.swatch.median {} "median " i.swatch.worst {} "worst "
                @if !all.harm.is_empty() {
                    @let harmed: u64 = all.harm.iter().map(|hurt| hurt.count).sum();
                    i.swatch.harm {} span.harm-text { (count(harmed)) " harmed, after this long" }
                }
            }
            (drawn(all))
        }
    }
}

fn drawn(all: &Superposed) -> Markup {
    let axis = Linear::new(all.from_ns as f64, all.to_ns as f64);
    let columns = all.columns.iter().flat_map(|column| [column.median_ns, column.worst_ns]);
    let slow = all.harm.iter().map(|hurt| hurt.latency_ns).filter(|ns| *ns > QUICK_NS);
    let scale = Log::around(columns.chain(slow));
    let down = |ns: u64| TOP + (1.0 - scale.at(ns)) * (BOTTOM - TOP);
    let width = all.column_ns as f64;
    let column = |at_ns: i64| (axis.at(at_ns as f64), axis.at(at_ns as f64 + width));
    let (mut median, mut worst, mut dots, mut grid) =
        (Path::default(), Path::default(), Path::default(), Path::default());
    for one in &all.columns {
        let (from, to) = column(one.at_ns);
        for (path, ns) in [(&mut median, one.median_ns), (&mut worst, one.worst_ns)] {
            if path.is_empty() {
                path.move_to(from, down(ns))
            } else {
                path.line_to(from, down(ns))
            }
            path.line_to(to, down(ns));
        }
    }
    for hurt in &all.harm {
        let (from, to) = column(hurt.at_ns);
        dots.point((from + to) / 2.0, down(hurt.latency_ns));
    }
    let decades = scale.decades();
    for (ns, _) in &decades {
        grid.move_to(0.0, down(*ns));
        grid.line_to(1.0, down(*ns));
    }
    let shapes = html! {
        (shades(all, &column, &down))
        (grid.draw("grid"))
        (moments(all, &axis))
        (worst.draw("worst"))
        (median.draw("median"))
        (dots.draw("dots harm"))
    };
    let marks = html! {
        (names(all, &axis))
        @for (ns, name) in &decades { (label("axis", 0.0, down(*ns) - 3.0, Anchor::Start, name)) }
        (ticks(&axis))
    };
    picture(HEIGHT, "latency around the trigger of an upgrade", &shapes, &marks)
}

/// The field: a path for each shade.
fn shades(
    all: &Superposed,
    column: &impl Fn(i64) -> (f64, f64),
    down: &impl Fn(u64) -> f64,
) -> Markup {
    let most = all.cells.iter().map(|cell| cell.count).max().unwrap_or(1) as f64;
    // A decade has ten steps, so a step is a tenth of one high.
    let step = down(1_000_000) - down(1_258_925);
    let mut paths = vec![Path::default(); usize::try_from(SHADES).unwrap_or_default()];
    for cell in &all.cells {
        let share = (cell.count as f64 / most).sqrt() * f64::from(SHADES);
        let shade = (1..SHADES).take_while(|shade| f64::from(*shade) < share).count();
        let (from, to) = column(cell.at_ns);
        if let Some(path) = paths.get_mut(shade) {
            path.block(from, to, down(cell.latency_ns) - step, step);
        }
    }
    html! {
        @for (nth, path) in paths.iter().enumerate() { (path.draw(&format!("shade s{nth}"))) }
    }
}

/// The moments of an upgrade, in the median.
fn known(all: &Superposed) -> Vec<(u64, &'static str)> {
    let moments = [
        (Some(0), "trigger"),
        (all.seen_ns, "new process"),
        (all.answered_ns, "first answer"),
        (all.decided_ns, "decided"),
    ];
    moments.into_iter().filter_map(|(at, name)| Some((at?, name))).collect()
}

fn moments(all: &Superposed, axis: &Linear) -> Markup {
    let mut path = Path::default();
    for (nth, (at, _)) in known(all).iter().enumerate() {
        path.upright(axis.at(*at as f64), line(nth) - 9.0, BOTTOM);
    }
    path.draw("moment")
}

fn names(all: &Superposed, axis: &Linear) -> Markup {
    html! {
        @for (nth, (at, name)) in known(all).into_iter().enumerate() {
            @let share = axis.at(at as f64);
            @let anchor = if share > 0.6 { Anchor::End } else { Anchor::Start };
            @let text = if at == 0 { name.to_owned() } else { format!("{name}, median {}", span(at)) };
            (label("moment-name", share, line(nth), anchor, &text))
        }
    }
}

/// Where the name of the `nth` moment stands.
fn line(nth: usize) -> f64 {
    11.0 + (0..nth).map(|_| 13.0).sum::<f64>()
}

fn ticks(axis: &Linear) -> Markup {
    html! {
        @for (nth, tick) in axis.ticks(8).iter().enumerate() {
            @let at = axis.at(*tick);
            @let anchor = if at < 0.03 { Anchor::Start } else if at > 0.97 { Anchor::End } else { Anchor::Middle };
            @let class = if nth % 2 == 0 { "axis" } else { "axis wide-only" };
            (label(class, at, HEIGHT - 5.0, anchor, &format!("{:.0} ms", tick / 1e6)))
        }
    }
}
