//! Scenarios, read for whoever needs their plans.

use std::path::Path;

use super::terminal::complain;
use super::trouble::Trouble;
use crate::cli::Changes;
use crate::scenario::{Attachment, Change, Lint, Plan};

/// The plan of a scenario with `changes`, and what is doubtful in it.
pub(super) fn load(scenario: &Path, changes: &Changes) -> Result<(Plan, Vec<Lint>), Trouble> {
    let (plan, lints) = Plan::load_changed(scenario, changes.seed, &written(changes)?)?;
    Ok((scaled(plan, changes)?, lints))
}

/// The same, where the server of `attachment` takes the place of the scenario's.
pub(super) fn load_attached(
    scenario: &Path,
    changes: &Changes,
    attachment: &Attachment,
) -> Result<(Plan, Vec<Lint>), Trouble> {
    let all = written(changes)?;
    let (plan, lints) = Plan::load_attached(scenario, changes.seed, &all, attachment)?;
    Ok((scaled(plan, changes)?, lints))
}

/// The changes that could have been made in the file.
fn written(changes: &Changes) -> Result<Vec<Change>, Trouble> {
    let set = changes.set.iter().map(|text| {
        text.parse::<Change>().map_err(|why| Trouble::Usage(format!("--set {text}: {why}")))
    });
    let mut all: Vec<Change> = set.collect::<Result<_, _>>()?;
    if let Some(span) = &changes.duration {
        all.push(Change::of(format!("--duration {span}"), &["phases", "storm"], span));
    }
    Ok(all)
}

fn scaled(plan: Plan, changes: &Changes) -> Result<Plan, Trouble> {
    let Some(factor) = changes.scale else { return Ok(plan) };
    plan.scaled(factor).map_err(|error| Trouble::Usage(format!("--scale {factor}: {error}")))
}

/// Says what is doubtful.
pub(super) fn warn(lints: &[Lint]) {
    lints.iter().for_each(|lint| complain(&format!("warning: {lint}\n")));
}
