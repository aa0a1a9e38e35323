//! Scenarios, read for whoever needs their plans.

use std::path::Path;

use super::terminal::complain;
use super::trouble::Trouble;
use crate::scenario::{Lint, Plan};
use crate::units::SeedChoice;

/// The plan of a scenario, and what is doubtful in it.
pub(super) fn load(
    scenario: &Path,
    seed: Option<SeedChoice>,
) -> Result<(Plan, Vec<Lint>), Trouble> {
    Ok(Plan::load(scenario, seed)?)
}

/// Says what is doubtful.
pub(super) fn warn(lints: &[Lint]) {
    lints.iter().for_each(|lint| complain(&format!("warning: {lint}\n")));
}
