//! Figures drawn as SVG: a row for each server, a mark at the median, a line from the
//! least to the most.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::ranged1d::{BoldPoints, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figures::{Figures, Spread};
use crate::peer::OURS;
use crate::table::title;

const WIDTH: i32 = 860;
const ROW: i32 = 34;
/// Where the axis begins and ends.
const SPAN: (i32, i32) = (250, WIDTH - 110);
const TOP: i32 = 64;
const BOTTOM: i32 = 52;

/// On a logarithmic axis, less is not told apart: half a millisecond.
const LEAST: f64 = 0.5;

const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const FAINT: RGBColor = RGBColor(0xd0, 0xd7, 0xde);
const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const COLOURS: [RGBColor; 2] = [RGBColor(0x09, 0x69, 0xda), RGBColor(0xbc, 0x4c, 0x00)];

/// The same by night: a reader's browser that prefers it takes these instead.
const NIGHT: [(&str, &str); 5] = [
    ("#1F2328", "#E6EDF3"),
    ("#D0D7DE", "#3D444D"),
    ("#FFFFFF", "#0D1117"),
    ("#0969DA", "#4493F8"),
    ("#BC4C00", "#F0883E"),
];

/// One plot.
#[derive(Debug)]
pub(crate) struct Plot<'a> {
    pub(crate) file: &'a str,
    pub(crate) title: String,
    pub(crate) axis: &'a str,
    pub(crate) rows: &'a [&'a str],
    /// What is shown of each, by measure, and how it is called.
    pub(crate) series: &'a [(&'a str, &'a str)],
    /// Figures that may be zero are drawn on a linear axis.
    pub(crate) logarithmic: bool,
    pub(crate) digits: usize,
}

type Drawn = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

enum Axis {
    Linear(RangedCoordf64),
    Logarithmic(LogCoord<f64>),
}

impl Axis {
    /// Where a figure lies.
    fn place(&self, figure: f64) -> i32 {
        match self {
            Self::Linear(axis) => axis.map(&figure, SPAN),
            // Nothing is further left than the axis.
            Self::Logarithmic(axis) => axis.map(&figure.max(LEAST), SPAN).max(SPAN.0),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        let few = BoldPoints(8);
        match self {
            Self::Linear(axis) => axis.key_points(few),
            Self::Logarithmic(axis) => axis.key_points(few),
        }
    }
}

pub(crate) fn draw(plot: &Plot<'_>, figures: &Figures, directory: &Path) -> Drawn {
    let rows: Vec<_> = plot
        .rows
        .iter()
        .copied()
        .filter(|row| spreads(plot, figures, row).next().is_some())
        .collect();
    let height = TOP + BOTTOM + ROW * i32::try_from(rows.len())?;
    let mut text = String::new();
    {
        let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&PAPER)?;
        let axis = axis(plot, figures);
        frame(plot, &axis, height, &area)?;
        for (row, middle) in rows.iter().zip((TOP + ROW / 2..).step_by(usize::try_from(ROW)?)) {
            draw_row(plot, figures, &axis, row, middle, &area)?;
        }
        area.present()?;
    }
    fs::write(directory.join(plot.file), by_night(&text))?;
    Ok(())
}

/// The series that a row has, with their place among all.
fn spreads<'a>(
    plot: &'a Plot<'a>,
    figures: &'a Figures,
    row: &'a str,
) -> impl Iterator<Item = (usize, Spread)> + 'a {
    let series = plot.series.iter().enumerate();
    series.filter_map(move |(place, (measure, _))| Some((place, figures.spread(measure, row)?)))
}

fn axis(plot: &Plot<'_>, figures: &Figures) -> Axis {
    let all = || plot.rows.iter().flat_map(|row| spreads(plot, figures, row));
    let least = all().map(|(_, spread)| spread.least).fold(f64::INFINITY, f64::min);
    let most = all().map(|(_, spread)| spread.most).fold(0.0, f64::max);
    if plot.logarithmic && most > 0.0 {
        return Axis::Logarithmic((least.max(LEAST) / 1.5..most * 1.5).log_scale().into());
    }
    Axis::Linear((0.0..most.max(1.0) * 1.05).into())
}

fn frame(plot: &Plot<'_>, axis: &Axis, height: i32, area: &Area<'_>) -> Drawn {
    let foot = height - BOTTOM;
    area.draw(&Text::new(plot.title.as_str(), (16, 20), font(21, HPos::Left)))?;
    let mut left = 16;
    for ((_, name), colour) in plot.series.iter().zip(COLOURS) {
        area.draw(&Circle::new((left + 5, 44), 5, colour.filled()))?;
        area.draw(&Text::new(*name, (left + 16, 44), font(16, HPos::Left)))?;
        left += 44 + 7 * i32::try_from(name.len())?;
    }
    for tick in axis.ticks() {
        let x = axis.place(tick);
        area.draw(&PathElement::new([(x, TOP), (x, foot)], FAINT.stroke_width(1)))?;
        area.draw(&Text::new(short(tick), (x, foot + 12), font(15, HPos::Center)))?;
    }
    let middle = i32::midpoint(SPAN.0, SPAN.1);
    area.draw(&Text::new(plot.axis, (middle, foot + 34), font(16, HPos::Center)))?;
    Ok(())
}

fn draw_row(
    plot: &Plot<'_>,
    figures: &Figures,
    axis: &Axis,
    row: &str,
    middle: i32,
    area: &Area<'_>,
) -> Drawn {
    let name = if row == OURS { format!("▸ {}", title(row)) } else { title(row).to_owned() };
    area.draw(&Text::new(name, (SPAN.0 - 14, middle), font(16, HPos::Right)))?;
    let mut values = Vec::new();
    for (place, spread) in spreads(plot, figures, row) {
        let colour = COLOURS.get(place).copied().unwrap_or(INK);
        // Side by side, so that none hides another.
        let y = middle + if place == 0 { -5 } else { 5 };
        let [least, median, most] =
            [spread.least, spread.median, spread.most].map(|figure| axis.place(figure));
        area.draw(&PathElement::new([(least, y), (most, y)], colour.stroke_width(2)))?;
        area.draw(&Circle::new((median, y), 5, colour.filled()))?;
        values.push(format!("{:.*}", plot.digits, spread.median));
    }
    let text = values.join(" · ");
    area.draw(&Text::new(text, (SPAN.1 + 12, middle), font(15, HPos::Left)))?;
    Ok(())
}

fn font(size: i32, at: HPos) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&INK);
    style.pos(Pos::new(at, VPos::Center))
}

/// A tick as one would write it.
fn short(figure: f64) -> String {
    let text = format!("{figure:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

/// Adds the colours of the night. Everything drawn has one of ours as an attribute.
fn by_night(svg: &str) -> String {
    let mut rules = String::new();
    for (day, night) in NIGHT {
        for attribute in ["fill", "stroke"] {
            let _ = write!(rules, "[{attribute}=\"{day}\"]{{{attribute}:{night}}}");
        }
    }
    let style = format!("<style>@media(prefers-color-scheme:dark){{{rules}}}</style>\n");
    match svg.find(">\n") {
        Some(end) => format!("{}{style}{}", &svg[..end + 2], &svg[end + 2..]),
        None => svg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_written_short() {
        assert_eq!([0.1, 1.0, 500.0, 2.25].map(short), ["0.1", "1", "500", "2.25"]);
    }

    #[test]
    fn a_plot_has_every_row_that_was_measured_by_day_and_by_night() {
        let mut figures = Figures::default();
        figures.note("latency.stopped", OURS, 4.0);
        figures.note("latency.stopped", "published", 502.0);
        let directory = std::env::temp_dir();
        let file = format!("peers-plot-{}.svg", std::process::id());
        let plot = Plot {
            file: &file,
            title: "A title".to_owned(),
            axis: "ms",
            rows: &[OURS, "published", "haproxy"],
            series: &[("latency.stopped", "stopped")],
            logarithmic: true,
            digits: 1,
        };
        draw(&plot, &figures, &directory).unwrap();
        let svg = fs::read_to_string(directory.join(&file)).unwrap();
        fs::remove_file(directory.join(&file)).unwrap();
        assert!(svg.contains("this library") && svg.contains("ecdysis 1.1.1"), "{svg}");
        assert!(!svg.contains("HAProxy"), "{svg}");
        assert!(svg.contains("prefers-color-scheme:dark"), "{svg}");
        for (day, _) in NIGHT {
            assert!(svg.contains(day), "{day} is in no attribute of {svg}");
        }
    }
}
