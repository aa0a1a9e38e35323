//! What each sub-command does: one file each, and `execute` to choose. They
//! decide nothing about a server; they bring plan, run, verdict and report
//! together, and say how the process ends.

mod trouble;
mod terminal;
mod github;
mod report;
mod scenarios;
mod result;
mod expectation;
mod child;
mod flags;
mod series;
mod junit;
mod place;
mod suite;
mod trials;
mod explore;
mod replay;
mod shrink;
mod judge;
mod soaked;
mod soak;
mod doctor;
mod run;
mod attach;
mod analyze;
mod merge;
mod check;
mod explain;
mod list;
mod compare;
mod describe;
mod sweep;

use crate::cli::Command;
use crate::exit::Exit;

/// Does what was asked for, and says how the process should end.
#[must_use]
pub fn execute(command: &Command) -> Exit {
    let outcome = match command {
        Command::Run(run) => run::run(run),
        Command::Attach(attach) => attach::attach(attach),
        Command::Suite(suite) => suite::suite(suite),
        Command::Control(control) => suite::control(control),
        Command::Explore(explore) => explore::explore(explore),
        Command::Soak(soak) => soak::soak(soak),
        Command::Replay(replay) => replay::replay(replay),
        Command::Shrink(shrink) => shrink::shrink(shrink),
        Command::Sweep(options) => sweep::sweep(options),
        Command::Analyze(analyze) => analyze::analyze(analyze),
        Command::Merge(merge) => merge::merge(merge),
        Command::Compare(compare) => compare::compare(compare),
        Command::Check(scenario) => check::check(scenario),
        Command::Plan(scenario) => check::plan(scenario),
        Command::Explain { id } => explain::explain(id),
        Command::List { what, dir } => list::list(*what, dir),
        Command::Doctor { require } => doctor::doctor(require),
        Command::Report { run, form } => report::report(run, form),
        Command::Schema => report::schema(),
        Command::Completions { shell } => describe::completions(*shell),
        Command::Man => describe::man(),
    };
    outcome.unwrap_or_else(|trouble| {
        terminal::complain(&format!("harness: {trouble}\n"));
        trouble.exit()
    })
}
