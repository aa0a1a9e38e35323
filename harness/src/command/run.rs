//! `harness run`: from a scenario to a verdict.

use std::fs;
use std::io::{self, IsTerminal};

use super::judge;
use super::scenarios::{load, warn};
use super::terminal::complain;
use super::trouble::Trouble;
use crate::cli::{self, Format};
use crate::conduct::{self, Prepared};
use crate::event::{Progress, Recording};
use crate::exit::Exit;
use crate::observe::machine;
use crate::report::Ticker;
use crate::scenario::Plan;
use crate::scenario::plan::Namespace;
use crate::store::{Part, Run};
use crate::units::{Shard, seed_text};

pub(super) fn run(run: &cli::Run) -> Result<Exit, Trouble> {
    let format = run.format.chosen();
    let (mut plan, lints) = load(&run.scenario, run.seed)?;
    if format != Format::Quiet {
        complain(&format!("seed {}\n", seed_text(plan.seed)));
        warn(&lints);
    }
    let outputs = run.out.as_deref().map(judge::open).transpose()?;
    let machine = machine::read()
        .map_err(|error| Trouble::Environment(format!("cannot read /proc: {error}")))?;
    let prepared = prepare(&mut plan, run.allow_tainted)?;
    let recording = observe(&plan, prepared, format == Format::Quiet)?;
    let run_made = Run { plan, parts: vec![Part { shard: Shard::WHOLE, machine, recording }] };
    if let Some(outputs) = outputs.as_ref().filter(|_| !run.no_recording) {
        run_made.write(outputs.dir())?;
    }
    judge::judge(&run_made, outputs.as_ref(), format)
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
    // These are written only in a private namespace: the machine's are not ours.
    plan.network.sysctl.clear();
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
