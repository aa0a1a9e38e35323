//! Scenarios, read for whoever needs their plans.

use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;

use super::terminal::complain;
use super::trouble::Trouble;
use crate::cli::Changes;
use crate::scenario::{Attachment, Change, Lint, Plan};
use crate::store;
use crate::units::SeedChoice;

/// The plan of a scenario with `changes`, and what is doubtful in it. A plan that an
/// earlier run has left is read as well: of one that was made, nothing is doubtful.
pub(super) fn load(scenario: &Path, changes: &Changes) -> Result<(Plan, Vec<Lint>), Trouble> {
    if scenario.extension().is_some_and(|extension| extension == "json") {
        return Ok((stored(scenario, changes)?, Vec::new()));
    }
    let (plan, lints) = Plan::load_changed(scenario, changes.seed, &written(changes)?)?;
    Ok((scaled(plan, changes)?, lints))
}

fn stored(path: &Path, changes: &Changes) -> Result<Plan, Trouble> {
    let mut plan = store::read_plan(path)?;
    if let Some(key) = changes.set.first().or(changes.duration.as_ref()) {
        return Err(Trouble::Usage(format!(
            "{key}: {} is no scenario, but the plan that was made of one; change the scenario, or \
             leave out --set and --duration",
            path.display()
        )));
    }
    match changes.seed {
        Some(SeedChoice::Fixed(seed)) => plan.seed = seed,
        Some(SeedChoice::Random) => plan.seed = drawn_seed()?,
        None => {}
    }
    scaled(plan, changes)
}

/// A seed from the system.
pub(super) fn drawn_seed() -> Result<u64, Trouble> {
    SysRng
        .try_next_u64()
        .map_err(|cause| Trouble::Environment(format!("the system gave no random seed: {cause}")))
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
