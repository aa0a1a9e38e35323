//! `harness explain`: what a finding means.

use super::terminal::say;
use super::trouble::Trouble;
use crate::event::Harm;
use crate::exit::Exit;
use crate::report;

pub(super) fn explain(harm: Harm) -> Result<Exit, Trouble> {
    say(&report::explain(harm))?;
    Ok(Exit::Pass)
}
