//! How latencies are spread, up to the rarest.

use maud::{Markup, html};

use super::super::latency::Latency;
use super::super::model::Report;
use super::super::number::{count, span};
use super::axis::Log;
use super::rates::QUICK_NS;
use super::svg::{Anchor, Path, label, picture};
use crate::clock::nanos;

const HEIGHT: f64 = 320.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = HEIGHT - 20.0;
/// A SYN that was lost is sent again until the handshake is complete. A client
/// that was held up by that waited this long: 1.04, 2.06 or 3.08 s.
const COMB_NS: [u64; 3] = [1_040_000_000, 2_060_000_000, 3_080_000_000];
/// Left out where there is little room.
const OPTIONAL: [&str; 3] = ["99.9 %", "99.999 %", "99.99999 %"];
/// So many populations have a colour of their own.
const COLOURS: usize = 5;

/// A curve of the picture.
struct Curve<'a> {
    class: String,
    name: String,
    latency: &'a Latency,
}

/// The picture and its figures.
pub(super) fn percentiles(report: &Report) -> Markup {
    let curves = curves(report);
    html! {
        section id="percentiles" {
            h2 { "Percentiles of latency" }
            p.note {
                "From the moment the schedule wanted an operation, so that a slow server cannot slow down the clock. \
                Operations that were harmed are not in the curves of those that ended well."
            }
            (drawn(&curves))
            (figures(&curves))
        }
    }
}

fn curves(report: &Report) -> Vec<Curve<'_>> {
    let mut curves = Vec::new();
    for (index, population) in report.populations.iter().enumerate() {
        let colour = index % COLOURS;
        for (class, what, latency) in [
            (format!("curve c{colour}"), "", &population.latency),
            (format!("curve during c{colour}"), ", during upgrades", &population.windows.during),
            ("curve harm".to_owned(), ", until harmed", &population.failure_latency),
        ] {
            if let Some(latency) = latency {
                curves.push(Curve { class, name: format!("{}{what}", population.name), latency });
            }
        }
    }
    curves
}

fn drawn(curves: &[Curve<'_>]) -> Markup {
    let spans: Vec<Vec<_>> = curves.iter().map(|curve| points(curve.latency)).collect();
    // Harm that was done at once is drawn at the lower edge, not given decades.
    let seen = spans.iter().flatten().map(|(_, ns)| *ns).filter(|ns| *ns > QUICK_NS);
    let scale = Log::around(seen.chain(COMB_NS));
    let nines = spans.iter().flatten().map(|(nines, _)| *nines).fold(3.0, f64::max);
    let down = |ns: u64| TOP + (1.0 - scale.at(ns)) * (BOTTOM - TOP);
    let (mut grid, mut comb) = (Path::default(), Path::default());
    let decades = scale.decades();
    for (path, ns) in decades.iter().map(|(ns, _)| (false, *ns)).chain(COMB_NS.map(|ns| (true, ns)))
    {
        let path = if path { &mut comb } else { &mut grid };
        path.move_to(0.0, down(ns));
        path.line_to(1.0, down(ns));
    }
    let line = |points: &[(f64, u64)]| {
        let mut path = Path::default();
        for (at, ns) in points {
            let (x, y) = (at / nines, down(*ns));
            if path.is_empty() { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        path
    };
    let shapes = html! {
        (grid.draw("grid")) (comb.draw("comb"))
        @for (curve, points) in curves.iter().zip(&spans) { (line(points).draw(&curve.class)) }
    };
    let comb_name = "dotted lines: a lost SYN sent again, 1.04, 2.06, 3.08 s";
    let marks = html! {
        @for (ns, name) in &decades { (label("axis", 0.0, down(*ns) - 3.0, Anchor::Start, name)) }
        (label("comb-name", 1.0, 11.0, Anchor::End, comb_name))
        (ticks(nines))
    };
    picture(HEIGHT, "latency by percentile", &shapes, &marks)
}

/// The distribution: how many nines a share has, and the latency that it does
/// not exceed. All of them have as many nines as half of the last one leaves.
fn points(latency: &Latency) -> Vec<(f64, u64)> {
    let histogram = latency.histogram();
    let rest = 0.5 / (histogram.len().max(1) as f64);
    let nines = |share: f64| -(1.0 - share).max(rest).log10();
    histogram.distribution().map(|(share, span)| (nines(share), nanos(span))).collect()
}

fn ticks(nines: f64) -> Markup {
    let named = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %", "99.99999 %"];
    html! {
        @for (at, name) in (0..8).map(f64::from).zip(named).take_while(|(at, _)| *at <= nines) {
            @let share = at / nines;
            @let anchor = if share < 0.02 { Anchor::Start } else if share > 0.93 { Anchor::End } else { Anchor::Middle };
            @let class = if OPTIONAL.contains(&name) { "axis wide-only" } else { "axis" };
            (label(class, share, HEIGHT - 5.0, anchor, name))
        }
    }
}

/// The same in numbers; it is the legend, too.
fn figures(curves: &[Curve<'_>]) -> Markup {
    html! {
        table.cards.figures {
            thead { tr { th { "" } th { "operations" } th { "p50" } th { "p99" } th { "p99.9" } th { "max" } } }
            tbody {
                @for curve in curves {
                    @let figures = curve.latency.figures;
                    tr {
                        td.id { i class={ "swatch line " (curve.class) } {} (curve.name) }
                        td data-name="operations" { (count(figures.count)) }
                        td data-name="p50" { (span(figures.p50)) }
                        td data-name="p99" { (span(figures.p99)) }
                        td data-name="p99.9" { (span(figures.p999)) }
                        td data-name="max" { (span(figures.max)) }
                    }
                }
            }
        }
    }
}
