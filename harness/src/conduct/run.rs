//! The course of a run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::clock::{Clock, Stamp};
use crate::event::{
    Generation, Observer, Progress, Recording, Scope, ServerLedger, Sightings, Timeline, VERSION,
};
use crate::load::{self, Gathered};
use crate::observe::Watch;
use crate::scenario::Plan;
use crate::subject::{Subject, native};

use super::error::ConductError;
use super::prepare::Prepared;
use super::stage::Stage;
use super::start::{address, subject};
use super::storm::Storm;
use super::witness::Witness;

/// Conducts the run, telling `tell` every second how far it has come.
///
/// # Errors
/// What keeps the run from beginning: the subject does not start, or the
/// harness cannot do what it must.
pub fn conduct(
    plan: &Plan,
    prepared: Prepared,
    tell: &mut dyn FnMut(&Progress),
) -> Result<Recording, ConductError> {
    let directory = TempDir::new().map_err(ConductError::system("make a directory"))?;
    let address = address(plan).map_err(ConductError::system("find a free port"))?;
    let clock = Clock::start();
    let watch =
        Watch::start(clock, address).map_err(ConductError::system("read the kernel's counters"))?;
    let started_unix = Clock::unix_seconds();
    let disguise = prepared
        .binaries
        .disguise(&plan.target.command, directory.path())
        .map_err(ConductError::system("lay the path of the server's program"))?;
    let subject = subject(plan, directory.path(), address, &prepared.binaries, clock)?;

    let sightings = Sightings::default();
    let site = load::Site { address, directory: directory.path() };
    let load = load::start(plan, site, clock, sightings.clone())
        .map_err(ConductError::system("start the load"))?;
    let now = clock.now();
    let mut stage = Stage {
        plan,
        clock,
        subject,
        sightings,
        load,
        watch,
        witness: Witness::default(),
        interrupts: prepared.interrupts,
        address,
        directory: directory.path(),
        binaries: prepared.binaries,
        disguise,
        interrupted: None,
        progress: Progress::default(),
        tell,
        told: now,
    };
    let mut timeline = Timeline { load_began: now, ..Timeline::default() };
    let storm = play(&mut stage, &mut timeline);
    Ok(close(stage, timeline, storm, started_unix, directory.path(), prepared.scope))
}

/// The phases in which there is load.
fn play(stage: &mut Stage<'_>, timeline: &mut Timeline) -> Storm {
    let phases = stage.plan.phases;
    let mut storm = Storm::new(stage.plan);
    timeline.warmed_up = timeline.load_began.after(phases.warmup);
    stage.rest(timeline.warmed_up);
    stage.rest(timeline.warmed_up.after(phases.baseline));
    timeline.storm_began = stage.clock.now();
    let until = timeline.storm_began.after(phases.storm);
    match stage.plan.upgrades {
        Some(upgrades) => storm.blow(stage, upgrades, until),
        None => stage.rest(until),
    }
    timeline.storm_ended = stage.clock.now();
    storm.note_last(stage);
    stage.rest(timeline.storm_ended.after(phases.settle));
    storm
}

/// Ends the load, the subject and the books, in this order: the clients'
/// ledger is closed before the servers' are, and both before the kernel's.
fn close(
    stage: Stage<'_>,
    mut timeline: Timeline,
    mut storm: Storm,
    started_unix: u64,
    directory: &Path,
    scope: Scope,
) -> Recording {
    let serving = stage.serving();
    let Stage {
        plan, clock, mut subject, sightings, load, watch, interrupts, mut interrupted, ..
    } = stage;
    let gathered = if interrupted.is_some() { load.abort() } else { load.finish() };
    timeline.load_ended = gathered.load_ended;
    interrupted = interrupted.or_else(|| interrupts.came());
    // A server that was there before the run is there after it.
    if plan.target.attach.is_none() {
        if let Some(pid) = serving {
            // One that is gone by itself is seen as gone.
            let _ = subject.signal(pid, native(plan.target.stop_signal));
        }
        await_end(&mut subject, clock, clock.now().after(plan.target.drain_timeout));
    }
    let leaked = subject.end();
    let ledgers = plan
        .target
        .ledger
        .as_ref()
        .map(|template| PathBuf::from(template.replace("{dir}", &directory.to_string_lossy())));
    let attached = plan.target.attach.is_some();
    let generations = generations(&subject, &sightings, &mut storm, ledgers.as_deref(), attached);
    let kernel = watch.finish(scope);
    timeline.ended = clock.now();
    let Gathered { operations, connections, intended, hiccup_max, hiccup_p99, .. } = gathered;
    Recording {
        version: VERSION,
        started_unix,
        populations: plan.loads.iter().map(|load| load.name.clone()).collect(),
        timeline,
        operations,
        connections,
        generations,
        upgrades: storm.upgrades,
        faults: storm.sabotage.records,
        bursts: storm.aim.bursts,
        kernel,
        observer: Observer { intended, hiccup_max, hiccup_p99 },
        interrupted,
        leaked,
    }
}

fn generations(
    subject: &Subject,
    sightings: &Sightings,
    storm: &mut Storm,
    ledgers: Option<&Path>,
    attached: bool,
) -> Vec<Generation> {
    let record = |process: &crate::subject::Process| {
        let ledger = ledgers.and_then(|directory| read_ledger(directory, process.pid));
        let claimed = sightings.served_by(process.pid).and_then(|served| served.generation);
        Generation {
            pid: process.pid,
            generation: claimed.or_else(|| ledger.as_ref().map(|ledger| ledger.generation)),
            seen: process.seen,
            gone: process.gone,
            exit: process.exit,
            ledger,
            listeners: storm.listeners.remove(&process.pid).unwrap_or_default(),
            resources: storm.resources.remove(&process.pid),
        }
    };
    let mut generations: Vec<_> = subject.processes().iter().map(record).collect();
    if attached {
        // Of a server that is not ours, a process may be known by its answers alone.
        let seen = |pid| subject.processes().iter().any(|process| process.pid == pid);
        let others = sightings.all().into_iter().filter(|served| !seen(served.pid));
        generations.extend(others.map(|served| Generation {
            pid: served.pid,
            generation: served.generation,
            seen: sightings.first_by(served.pid).unwrap_or_default(),
            gone: None,
            exit: None,
            ledger: None,
            listeners: BTreeSet::new(),
            resources: None,
        }));
        generations.sort_by_key(|generation| generation.seen);
    }
    generations
}

/// A ledger that is not there, or cannot be read, is missing: the judge says so.
fn read_ledger(directory: &Path, pid: u32) -> Option<ServerLedger> {
    let text = std::fs::read(directory.join(format!("{pid}.json"))).ok()?;
    serde_json::from_slice(&text).ok()
}

fn await_end(subject: &mut Subject, clock: Clock, until: Stamp) {
    loop {
        subject.refresh();
        let alive = subject.processes().iter().find(|process| process.gone.is_none());
        let Some(pid) = alive.map(|process| process.pid) else { return };
        let now = clock.now();
        if now >= until {
            return;
        }
        // In steps, so that processes that are started meanwhile are seen.
        subject.wait_gone(pid, (until - now).min(Duration::from_millis(20)));
    }
}
