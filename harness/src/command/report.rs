//! `harness report`: a result in other words, and `harness schema`: its form.

use std::fs;
use std::io;
use std::path::Path;

use super::terminal::{say, say_bytes};
use super::trouble::Trouble;
use crate::cli::Form;
use crate::exit::Exit;
use crate::report::{self, Report};

const RESULT: &str = "result.json";

/// The report that a run left: in its directory, or the file itself.
pub(super) fn read(path: &Path) -> Result<Report, Trouble> {
    let file = if path.is_dir() { path.join(RESULT) } else { path.to_owned() };
    let refuse = |why: &dyn std::fmt::Display| {
        let file = file.display();
        Trouble::Usage(format!("{file} is no result that `harness run --out` left: {why}"))
    };
    let text = fs::read_to_string(&file).map_err(|error| refuse(&error))?;
    report::parse(&text).map_err(|error| refuse(&error))
}

pub(super) fn report(path: &Path, form: &Form) -> Result<Exit, Trouble> {
    let report = read(path)?;
    let text = if form.html {
        report::html(&report).map_err(io::Error::from)?
    } else if form.json {
        report::json(&report).map_err(io::Error::from)?
    } else if form.junit {
        report::junit(&[&report]).map_err(io::Error::other)?
    } else if form.markdown {
        report::markdown(&report)
    } else if form.prometheus {
        report::prometheus(&report)
    } else if let Some(population) = &form.hgrm {
        return percentiles(&report, population);
    } else {
        report::text(&report, None)
    };
    say(&text)?;
    Ok(Exit::Pass)
}

fn percentiles(report: &Report, population: &str) -> Result<Exit, Trouble> {
    let all = report::hgrm(report);
    let name = format!("{population}.hgrm");
    let found = all.iter().find(|(file, _)| *file == name);
    let (_, text) = found.ok_or_else(|| {
        let names: Vec<&str> =
            all.iter().filter_map(|(file, _)| file.strip_suffix(".hgrm")).collect();
        Trouble::Usage(format!(
            "--hgrm: there is no population `{population}`; there are: {}",
            names.join(", ")
        ))
    })?;
    say_bytes(text)?;
    Ok(Exit::Pass)
}

pub(super) fn schema() -> Result<Exit, Trouble> {
    say(&report::schema())?;
    Ok(Exit::Pass)
}
