//! `harness sweep`: an upgrade for each call at which a process can be hit.

use std::fs;
use std::io::{self, IsTerminal};

use serde::Serialize;
use syscalls::Sysno;

use super::scenarios::load;
use super::terminal::{complain, say};
use super::trouble::Trouble;
use crate::chaos::trace::CAN_FAIL;
use crate::cli::{Format, Sweep, Who};
use crate::conduct::{self, Course, Span};
use crate::event::{Progress, Whom};
use crate::exit::Exit;
use crate::report::{self, SWEEP_SCHEMA, Ticker};
use crate::scenario::plan::Addressee;
use crate::units::seed_text;
use crate::verdict::{Outcome, SweepVerdict, judge_sweep};

/// What a program reads of a sweep.
#[derive(Debug, Serialize)]
struct Result<'a> {
    schema: &'static str,
    scenario: &'a str,
    #[serde(flatten)]
    verdict: &'a SweepVerdict,
}

pub(super) fn sweep(options: &Sweep) -> std::result::Result<Exit, Trouble> {
    if options.errors && !CAN_FAIL {
        return Err(Trouble::Environment(
            "calls can be made to fail on x86_64 only; without --errors the sweep kills, which \
             works here"
                .to_owned(),
        ));
    }
    // What its author is warned of concerns runs with other upgrades than these.
    let (plan, _) = load(&options.scenario, &options.changes)?;
    if plan.target.attach.is_some() || plan.target.trigger.to == Addressee::Main {
        return Err(Trouble::Usage(format!(
            "{}: a sweep is made of a server that the harness starts, and whose serving process \
             is the one that is upgraded",
            options.scenario.display()
        )));
    }
    let format = options.format.chosen();
    if format != Format::Quiet {
        complain(&format!("seed {}\n", seed_text(plan.seed)));
    }
    let whom = match options.who {
        Who::Successor => Whom::Successor,
        Who::Predecessor => Whom::Predecessor,
    };
    let call = options.call.as_ref().map(|name| {
        name.parse::<Sysno>().map_err(|_| {
            Trouble::Usage(format!(
                "--call {name}: no system call of this machine; write one like pipe2"
            ))
        })
    });
    let call = call.transpose()?;
    let span = Span { from: options.from, to: options.to.unwrap_or(u64::MAX), step: options.step };
    let course =
        Course { whom, errors: options.errors, call, span, healthy_every: options.healthy_every };
    let prepared = conduct::prepare(&plan)?;
    let mut ticker = Ticker::new(io::stderr(), io::stderr().is_terminal());
    let mut tell = |progress: &Progress| {
        if format != Format::Quiet {
            drop(ticker.tick(progress));
        }
    };
    let swept = conduct::sweep(&plan, &prepared, &course, &mut tell)?;
    if format != Format::Quiet {
        drop(ticker.finish());
    }
    let verdict = judge_sweep(&swept);
    let json = || -> io::Result<String> {
        let result = Result { schema: SWEEP_SCHEMA, scenario: &plan.name, verdict: &verdict };
        Ok(serde_json::to_string_pretty(&result)? + "\n")
    };
    if let Some(path) = &options.out {
        fs::write(path, json()?)?;
    }
    match format {
        Format::Text => say(&report::sweep(&verdict))?,
        Format::Json => say(&json()?)?,
        Format::Quiet => say(&format!("{} passed, {} failed\n", verdict.passed, verdict.failed))?,
    }
    Ok(match verdict.outcome {
        Outcome::Pass => Exit::Pass,
        Outcome::Inconclusive => Exit::Inconclusive,
        Outcome::Fail => Exit::Fail,
    })
}
