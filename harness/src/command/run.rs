//! `harness run`: from a scenario to a verdict.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::child::Children;
use super::doctor;
use super::flags;
use super::judge;
use super::scenarios::{load, warn};
use super::series::Case;
use super::terminal::{complain, say};
use super::trouble::Trouble;
use crate::cli::{self, Capability, Format, Runs};
use crate::conduct::{self, Prepared};
use crate::event::{Progress, Recording};
use crate::exit::Exit;
use crate::observe::machine;
use crate::report::Ticker;
use crate::scenario::plan::Namespace;
use crate::scenario::{Lint, Plan};
use crate::store::{Part, Run};
use crate::units::{Shard, seed_text};

pub(super) fn run(run: &cli::Run) -> Result<Exit, Trouble> {
    match run.scenarios.as_slice() {
        [scenario] if run.runs.repeat == 1 && !run.runs.until_fail => {
            one(scenario, &run.runs, run.shard.unwrap_or(Shard::WHOLE))
        }
        scenarios => several(scenarios, &run.runs, run.shard),
    }
}

/// Each in a process of its own; the gravest of their ends is ours.
fn several(scenarios: &[PathBuf], runs: &Runs, shard: Option<Shard>) -> Result<Exit, Trouble> {
    let format = runs.format.chosen();
    let (mut flags, mut children) = (flags::of(runs, format), Children::new()?);
    if runs.github {
        flags.push("--github".into());
    }
    flags.extend(shard.map(|shard| format!("--shard={shard}").into()));
    let mut exits = Vec::new();
    'all: for round in runs.rounds() {
        for scenario in scenarios {
            let mut arguments: Vec<OsString> = vec!["run".into()];
            arguments.extend_from_slice(&flags);
            if let Some(out) = &runs.kept.out {
                let case = Case::new(scenario, false, round, out);
                arguments.extend(["--out".into(), case.out.into()]);
            }
            arguments.extend(["--".into(), scenario.into()]);
            let ended = children.run(&arguments, None)?;
            exits.push(ended.exit);
            if ended.interrupted || (runs.until_fail && ended.exit != Exit::Pass) {
                break 'all;
            }
        }
    }
    if format != Format::Json {
        let passed = exits.iter().filter(|exit| **exit == Exit::Pass).count();
        say(&format!("{passed} passed, {} failed\n", exits.len() - passed))?;
    }
    Ok(Exit::gravest(exits))
}

fn one(scenario: &Path, runs: &Runs, shard: Shard) -> Result<Exit, Trouble> {
    judged(load(scenario, &runs.changes)?, runs, shard)
}

/// Runs what was loaded, and judges it.
pub(super) fn judged(
    (mut plan, lints): (Plan, Vec<Lint>),
    runs: &Runs,
    shard: Shard,
) -> Result<Exit, Trouble> {
    let format = runs.format.chosen();
    if format != Format::Quiet {
        complain(&format!("seed {}\n", seed_text(plan.seed)));
        warn(&lints);
    }
    doctor::demand(&runs.require)?;
    let outputs = runs.kept.out.as_deref().map(|dir| judge::open(dir, &plan)).transpose()?;
    let machine = machine::read()
        .map_err(|error| Trouble::Environment(format!("cannot read /proc: {error}")))?;
    let prepared =
        prepare(&mut plan, runs.allow_tainted && !runs.require.contains(&Capability::Netns))?;
    let recording = observe(&plan.share(shard), prepared, format == Format::Quiet)?;
    let run_made = Run { plan, parts: vec![Part { shard, machine, recording }] };
    if let Some(outputs) = outputs.as_ref().filter(|_| !runs.kept.no_recording) {
        run_made.write(outputs.dir())?;
    }
    judge::judge(&run_made, outputs, format, runs.github)
}

/// Builds the server and enters the network, the machine's own if a private one
/// cannot be had and the caller has allowed it.
fn prepare(plan: &mut Plan, allow_tainted: bool) -> Result<Prepared, Trouble> {
    let network = || fs::read_link("/proc/self/ns/net").ok();
    let home = network();
    let error = match conduct::prepare(plan) {
        Ok(prepared) => return Ok(prepared),
        Err(error) => error,
    };
    let tainted = allow_tainted && error.exit() == Exit::Environment;
    // A namespace that was entered but could not be set up cannot be left again,
    // and what runs in it is not what the report would say.
    if !tainted || plan.network.namespace == Namespace::Host || network() != home {
        return Err(error.into());
    }
    complain(&format!("warning: {error}; running in the machine's network\n"));
    plan.network.namespace = Namespace::Host;
    // These are for a private namespace only: the machine's is not ours.
    plan.network.sysctl.clear();
    plan.network.loss = None;
    Ok(conduct::prepare(plan)?)
}

fn observe(plan: &Plan, prepared: Prepared, quiet: bool) -> Result<Recording, Trouble> {
    let terminal = io::stderr().is_terminal();
    let mut ticker = Ticker::new(io::stderr(), terminal);
    let mut progress = |progress: &Progress| {
        if !quiet {
            drop(ticker.tick(progress));
        }
    };
    let recording = conduct::conduct(plan, prepared, &mut progress);
    if !quiet {
        drop(ticker.finish());
    }
    Ok(recording?)
}
