//! Scenarios, read for whoever needs their plans.

use std::path::Path;

use super::terminal::complain;
use super::trouble::Trouble;
use crate::cli::Changes;
use crate::scenario::{Change, Lint, Plan};

/// The plan of a scenario with `changes`, and what is doubtful in it.
pub(super) fn load(scenario: &Path, changes: &Changes) -> Result<(Plan, Vec<Lint>), Trouble> {
    let set = changes.set.iter().map(|text| {
        text.parse::<Change>().map_err(|why| Trouble::Usage(format!("--set {text}: {why}")))
    });
    let mut all: Vec<Change> = set.collect::<Result<_, _>>()?;
    if let Some(span) = &changes.duration {
        all.push(Change::of(format!("--duration {span}"), &["phases", "storm"], span));
    }
    let (plan, lints) = Plan::load_changed(scenario, changes.seed, &all)?;
    let Some(factor) = changes.scale else { return Ok((plan, lints)) };
    let plan = plan
        .scaled(factor)
        .map_err(|error| Trouble::Usage(format!("--scale {factor}: {error}")))?;
    Ok((plan, lints))
}

/// Says what is doubtful.
pub(super) fn warn(lints: &[Lint]) {
    lints.iter().for_each(|lint| complain(&format!("warning: {lint}\n")));
}
