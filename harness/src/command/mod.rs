//! What each sub-command does: one file each, and `execute` to choose. They
//! decide nothing about a server; they bring plan, run, verdict and report
//! together, and say how the process ends.

mod trouble;
mod terminal;
mod scenarios;
mod judge;
mod run;
mod analyze;
mod check;
mod explain;
mod list;

use crate::cli::Command;
use crate::exit::Exit;

/// Does what was asked for, and says how the process should end.
#[must_use]
pub fn execute(command: &Command) -> Exit {
    let outcome = match command {
        Command::Run(run) => run::run(run),
        Command::Analyze(analyze) => analyze::analyze(analyze),
        Command::Check { scenario } => check::check(scenario),
        Command::Explain { harm } => explain::explain(*harm),
        Command::List { what } => list::list(*what),
    };
    outcome.unwrap_or_else(|trouble| {
        terminal::complain(&format!("harness: {trouble}\n"));
        trouble.exit()
    })
}
