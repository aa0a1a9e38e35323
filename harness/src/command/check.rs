//! `harness check`: what a scenario stands for.

use std::io;
use std::path::Path;

use super::scenarios::{load, warn};
use super::terminal::say;
use super::trouble::Trouble;
use crate::exit::Exit;

pub(super) fn check(scenario: &Path) -> Result<Exit, Trouble> {
    let (plan, lints) = load(scenario, None)?;
    warn(&lints);
    let json = serde_json::to_string_pretty(&plan).map_err(io::Error::from)?;
    say(&format!("{json}\n"))?;
    Ok(Exit::Pass)
}
