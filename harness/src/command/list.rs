//! `harness list`: what the harness knows.

use super::terminal::say;
use super::trouble::Trouble;
use crate::cli::Listing;
use crate::event::Harm;
use crate::exit::Exit;

pub(super) fn list(what: Listing) -> Result<Exit, Trouble> {
    say(&match what {
        Listing::Harms => Harm::ALL.map(|harm| format!("{harm}\n")).concat(),
    })?;
    Ok(Exit::Pass)
}
