//! `harness suite` and `harness control`: everything that is proved, and that
//! the harness would have noticed the contrary.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::child::Children;
use super::flags;
use super::github;
use super::junit;
use super::place::Place;
use super::report;
use super::series::{Case, Done, totals};
use super::terminal::{complain, say};
use super::trouble::Trouble;
use crate::cli::{Control, Format, Runs, Suite};
use crate::exit::Exit;

const CONTROLS: &str = "controls";

/// Beside the scenarios: each was the smallest plan that showed a bug, and passes
/// since it is mended.
const REGRESSIONS: &str = "regressions";

/// What a program reads of a suite.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    schema: &'static str,
    passed: usize,
    failed: usize,
    #[serde(rename = "exit_code")]
    exit: Exit,
    runs: &'a [Done],
}

pub(super) fn suite(suite: &Suite) -> Result<Exit, Trouble> {
    let mut scenarios = files(&suite.dir)?;
    scenarios.extend(files_below(&suite.dir, REGRESSIONS)?);
    let controls = controls_in(&suite.dir)?;
    if scenarios.is_empty() && controls.is_empty() {
        let dir = suite.dir.display();
        return Err(Trouble::Usage(format!("there is no scenario in {dir}: nothing to prove")));
    }
    let unproved = if controls.is_empty() {
        complain(&format!(
            "warning: there is no control in {}/{CONTROLS}: nothing shows that the harness would \
             have noticed harm, so the suite is inconclusive; `harness run` makes runs without\n",
            suite.dir.display()
        ));
        Exit::Inconclusive
    } else {
        Exit::Pass
    };
    let all = scenarios.iter().map(|path| (path.as_path(), false));
    let all: Vec<_> = all.chain(controls.iter().map(|path| (path.as_path(), true))).collect();
    make(&all, &suite.runs, suite.junit.as_deref(), unproved)
}

pub(super) fn control(control: &Control) -> Result<Exit, Trouble> {
    let there = controls_in(&control.dir)?;
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names: Vec<String> = there.iter().map(|path| stem(path)).collect();
    if let Some(wrong) = control.names.iter().find(|name| !names.contains(name)) {
        return Err(Trouble::Usage(format!(
            "there is no control `{wrong}` in {}/{CONTROLS}; there are: {}",
            control.dir.display(),
            names.join(", ")
        )));
    }
    if there.is_empty() {
        let dir = control.dir.display();
        return Err(Trouble::Usage(format!("there is no control in {dir}/{CONTROLS}")));
    }
    let chosen = |path: &&PathBuf| control.names.is_empty() || control.names.contains(&stem(path));
    let all: Vec<_> = there.iter().filter(chosen).map(|path| (path.as_path(), true)).collect();
    make(&all, &control.runs, control.junit.as_deref(), Exit::Pass)
}

/// The controls that belong to a directory of scenarios.
pub(super) fn controls_in(dir: &Path) -> Result<Vec<PathBuf>, Trouble> {
    files_below(dir, CONTROLS)
}

/// Nothing, where there is no such directory.
fn files_below(dir: &Path, name: &str) -> Result<Vec<PathBuf>, Trouble> {
    let dir = dir.join(name);
    if dir.is_dir() { files(&dir) } else { Ok(Vec::new()) }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let entries = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut files = entries().map_err(|error| {
        Trouble::Usage(format!("cannot read the directory {}: {error}", dir.display()))
    })?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    Ok(files)
}

fn make(
    scenarios: &[(&Path, bool)],
    runs: &Runs,
    junit: Option<&Path>,
    at_best: Exit,
) -> Result<Exit, Trouble> {
    // Opened before the first run: a path that cannot be written costs nothing then.
    let mut junit = junit.map(junit::open).transpose()?;
    let place = Place::open(runs.kept.out.as_deref())?;
    let format = runs.format.chosen();
    let done = all_rounds(scenarios, runs, place.dir(), |one| {
        if format == Format::Text {
            say(&one.text())?;
        }
        if runs.github {
            publish(one, format)?;
        }
        Ok(())
    })?;
    let exit = Exit::gravest(done.iter().map(Done::exit).chain([at_best]));
    if let Some(file) = &mut junit {
        junit::write(file, &done)?;
    }
    if exit != Exit::Pass
        && let Some(kept) = place.keep()
    {
        complain(&format!("the reports are in {}\n", kept.display()));
    }
    let (passed, failed) = totals(&done);
    // Of a suite that proves nothing, nobody must read that nothing failed.
    let failed = failed.max(usize::from(exit != Exit::Pass));
    if format == Format::Json {
        let schema = "harness/suite/1";
        let summary = Summary { schema, passed, failed, exit, runs: &done };
        let text = serde_json::to_string_pretty(&summary).map_err(io::Error::from)?;
        say(&format!("{text}\n"))?;
    } else {
        say(&format!("{passed} passed, {failed} failed\n"))?;
    }
    Ok(exit)
}

/// A line about each run for the summary of a job, and the whole report of one
/// that did not end as it must. What a control was convicted of is annotated
/// nowhere.
fn publish(done: &Done, format: Format) -> Result<(), Trouble> {
    let outcome = done.complaint.as_ref().map_or("ok", |complaint| complaint);
    github::summarise(&format!("* `{}`: {outcome}\n", done.name()))?;
    if done.complaint.is_some()
        && let Ok(report) = report::read(&done.out)
    {
        github::publish(&report, format)?;
    }
    Ok(())
}

/// Makes every run of every round, and tells of each.
fn all_rounds(
    scenarios: &[(&Path, bool)],
    runs: &Runs,
    out: &Path,
    mut tell: impl FnMut(&Done) -> Result<(), Trouble>,
) -> Result<Vec<Done>, Trouble> {
    let flags = flags::of(runs, Format::Text);
    let mut children = Children::new()?;
    let mut done = Vec::new();
    for round in runs.rounds() {
        for (scenario, control) in scenarios {
            let one = Case::new(scenario, *control, round, out).make(&mut children, &flags)?;
            tell(&one)?;
            let stop = one.interrupted || (runs.until_fail && one.complaint.is_some());
            done.push(one);
            if stop {
                return Ok(done);
            }
        }
    }
    Ok(done)
}
