//! The lives of the server's processes.

use maud::{Markup, html};

use super::super::model::Report;
use super::super::processes::GenerationRow;
use super::axis::Linear;
use super::svg::{Anchor, Path, label, percent, picture};
use crate::event::Exit;

const BAR: f64 = 11.0;
const ROW: f64 = 15.0;
/// A bar must be this share of the width for its number to fit, on a wide page
/// and on a narrow one.
const FITS: f64 = 0.03;
const FITS_NARROW: f64 = 0.08;

/// A process, and the row in which its bar has room.
struct Bar<'a> {
    life: &'a GenerationRow,
    row: f64,
    from: f64,
    to: f64,
}

/// Puts each bar in the first row that is free when it begins.
fn packed<'a>(report: &'a Report, axis: &Linear) -> (Vec<Bar<'a>>, f64) {
    let end = report.duration_ns;
    let mut free: Vec<f64> = Vec::new();
    let mut bars = Vec::new();
    for life in &report.generations {
        let (from, to) =
            (axis.at(life.seen_ns as f64), axis.at(life.gone_ns.unwrap_or(end) as f64));
        let row = free.iter().position(|until| *until <= from).unwrap_or(free.len());
        // A hair between two bars keeps them apart.
        match free.get_mut(row) {
            Some(until) => *until = to + 0.002,
            None => free.push(to + 0.002),
        }
        bars.push(Bar { life, row: (0..row).map(|_| ROW).sum(), from, to });
    }
    (bars, free.iter().map(|_| ROW).sum())
}

/// The picture.
pub(super) fn generations(
    report: &Report,
    axis: &Linear,
    behind: &impl Fn(f64) -> Markup,
) -> Markup {
    let (bars, height) = packed(report, axis);
    let height = height.max(ROW) + 2.0;
    let [mut starting, mut serving, mut draining, mut silent] = [const { Vec::new() }; 4];
    let mut ends = Path::default();
    for bar in &bars {
        let first = bar.life.first_answered_ns.map_or(bar.to, |ns| axis.at(ns as f64));
        let last = bar.life.last_answered_ns.map_or(bar.to, |ns| axis.at(ns as f64));
        if bar.life.first_answered_ns.is_none() && !is_successor(report, bar.life) {
            silent.push((bar.from, bar.to, bar.row));
            continue;
        }
        starting.push((bar.from, first, bar.row));
        if bar.life.first_answered_ns.is_some() {
            serving.push((first, last, bar.row));
            draining.push((last, bar.to, bar.row));
        }
        // Where a life did not end well.
        if bar.life.gone_ns.is_some() && abnormal(bar.life.exit) {
            ends.upright(bar.to, bar.row + 1.0, bar.row + BAR + 3.0);
        }
    }
    let shapes = html! {
        (behind(height))
        @for (class, spans) in [
            ("silent", &silent),
            ("starting", &starting),
            ("draining", &draining),
            ("serving", &serving),
        ] {
            (blocks(spans).draw(class))
        }
        (ends.draw("killed"))
    };
    let marks = html! {
        @for bar in bars.iter().filter(|bar| bar.to - bar.from > FITS) { (number(bar)) }
    };
    picture(height, &says(report), &shapes, &marks)
}

/// Whether an upgrade was to lead to this process. One that was not, and answers
/// nobody, is a supervisor.
fn is_successor(report: &Report, life: &GenerationRow) -> bool {
    report.upgrades.iter().any(|row| row.new.pid == Some(life.pid))
}

fn blocks(spans: &[(f64, f64, f64)]) -> Path {
    let mut path = Path::default();
    for (from, to, row) in spans {
        path.block(*from, *to, row + 2.0, BAR);
    }
    path
}

fn number(bar: &Bar<'_>) -> Markup {
    let Some(generation) = bar.life.generation else { return html! {} };
    let name = generation.to_string();
    let class = if bar.to - bar.from > FITS_NARROW { "in-bar" } else { "in-bar wide-only" };
    html! {
        g {
            title { (told(bar.life)) }
            rect.hit x=(percent(bar.from)) y=(bar.row) width=(percent(bar.to - bar.from)) height=(ROW) {}
            (label(class, bar.from, bar.row + BAR, Anchor::Start, &name))
        }
    }
}

fn told(life: &GenerationRow) -> String {
    let generation = life.generation.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let end = life.exit.map_or_else(|| "end not seen".to_owned(), |exit| ended(exit).to_owned());
    format!(
        "generation {generation}, pid {}: {} connections answered, {end}",
        life.pid, life.connections
    )
}

/// How a process ended.
pub(super) fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Reaped => "ended".to_owned(),
    }
}

fn abnormal(exit: Option<Exit>) -> bool {
    match exit {
        Some(Exit::Code(code)) => code != 0,
        Some(Exit::Signal(_)) => true,
        Some(Exit::Reaped) | None => false,
    }
}

fn says(report: &Report) -> String {
    format!("the lives of {} processes", report.generations.len())
}
