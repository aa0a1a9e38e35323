//! A server from its beginning to its end, and the runs that are made of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::error::ConductError;
use super::generations::{generations, remove_ledgers};
use super::interrupt::Interrupts;
use super::prepare::Prepared;
use super::relief::Relief;
use super::run::play;
use super::stage::Stage;
use super::start::{address, subject};
use super::storm::Storm;
use super::witness::Witness;
use crate::clock::{Clock, Stamp};
use crate::event::{Observer, Progress, Recording, Scope, Sightings, Timeline, VERSION};
use crate::load::{self, Gathered};
use crate::observe::{Watch, loss};
use crate::scenario::Plan;
use crate::subject::{Binaries, Disguise, Subject, native};

/// A server that is there for one run, or for several, one after another.
#[derive(Debug)]
pub struct Tenure {
    clock: Clock,
    address: SocketAddr,
    subject: Subject,
    binaries: Binaries,
    disguise: Option<Disguise>,
    interrupts: Interrupts,
    scope: Scope,
    /// Below the subject, which uses it until it is dropped.
    directory: TempDir,
}

impl Tenure {
    /// Starts the server of `plan`, or finds it where it runs.
    ///
    /// # Errors
    ///
    /// What keeps the run from beginning.
    pub fn begin(plan: &Plan, prepared: Prepared) -> Result<Self, ConductError> {
        let directory = TempDir::new().map_err(ConductError::system("make a directory"))?;
        let address = address(plan).map_err(ConductError::system("find a free port"))?;
        let clock = Clock::start();
        let Prepared { binaries, scope, interrupts } = prepared;
        let disguise = binaries
            .disguise(&plan.target.command, directory.path())
            .map_err(ConductError::system("lay the path of the server's program"))?;
        let subject = subject(plan, directory.path(), address, &binaries, clock)?;
        Ok(Self { clock, address, subject, binaries, disguise, interrupts, scope, directory })
    }

    /// Conducts a run of this server, and ends it.
    ///
    /// # Errors
    ///
    /// When the load cannot be started.
    pub fn last(
        self,
        plan: &Plan,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<Recording, ConductError> {
        let (mut tenure, played, ()) = self.play(plan, tell, as_planned)?;
        let leaked = tenure.stop(plan, played.serving);
        Ok(tenure.close(plan, played, leaked, None))
    }

    /// Has the load of `plan` on this server while `course` does with it what it
    /// wants, instead of the plan's upgrades, and ends it.
    ///
    /// # Errors
    ///
    /// When the load cannot be started.
    pub(super) fn otherwise<R>(
        self,
        plan: &Plan,
        tell: &mut dyn FnMut(&Progress),
        course: impl FnOnce(&mut Stage<'_>) -> R,
    ) -> Result<(Recording, R), ConductError> {
        let course = |stage: &mut Stage<'_>, _: &mut Timeline| (Storm::new(plan), course(stage));
        let (mut tenure, played, done) = self.play(plan, tell, course)?;
        let leaked = tenure.stop(plan, played.serving);
        Ok((tenure.close(plan, played, leaked, None), done))
    }

    /// Conducts a run of this server, and has its last process pass on to a fresh
    /// one, which serves in the next run: every process that has a part in this one
    /// has ended when the books are closed.
    ///
    /// # Errors
    ///
    /// When the load cannot be started.
    pub fn next(
        self,
        plan: &Plan,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<(Self, Recording, Relief), ConductError> {
        let (mut tenure, played, ()) = self.play(plan, tell, as_planned)?;
        let (relief, leaked) = tenure.relieve(plan, played.serving);
        let next = relief.pid();
        let recording = tenure.close(plan, played, leaked, next);
        tenure.forget(plan, &recording);
        Ok((tenure, recording, relief))
    }

    /// Ends the server when there is no load, and says who had to be killed.
    #[must_use]
    pub fn end(mut self, plan: &Plan) -> Vec<u32> {
        self.subject.refresh();
        let serving = self.subject.processes().iter().find(|process| process.gone.is_none());
        let serving = serving.map(|process| process.pid);
        self.stop(plan, serving)
    }

    /// The load, the upgrades and the faults of one run.
    fn play<R>(
        self,
        plan: &Plan,
        tell: &mut dyn FnMut(&Progress),
        course: impl FnOnce(&mut Stage<'_>, &mut Timeline) -> (Storm, R),
    ) -> Result<(Self, Played, R), ConductError> {
        let Self { clock, address, subject, binaries, disguise, interrupts, scope, directory } =
            self;
        let watch = Watch::start(clock, address)
            .map_err(ConductError::system("read the kernel's counters"))?;
        let started_unix = Clock::unix_seconds();
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
            interrupts,
            address,
            directory: directory.path(),
            binaries,
            disguise,
            interrupted: None,
            progress: Progress::default(),
            tell,
            told: now,
        };
        let mut timeline = Timeline { load_began: now, ..Timeline::default() };
        let (storm, done) = course(&mut stage, &mut timeline);
        let serving = stage.serving();
        let Stage {
            subject,
            sightings,
            load,
            watch,
            interrupts,
            binaries,
            disguise,
            interrupted,
            ..
        } = stage;
        let gathered = if interrupted.is_some() { load.abort() } else { load.finish() };
        timeline.load_ended = gathered.load_ended;
        let interrupted = interrupted.or_else(|| interrupts.came());
        let tenure =
            Self { clock, address, subject, binaries, disguise, interrupts, scope, directory };
        let played = Played {
            watch,
            sightings,
            storm,
            gathered,
            timeline,
            started_unix,
            serving,
            interrupted,
        };
        Ok((tenure, played, done))
    }

    /// A server that was there before the run is there after it.
    fn stop(&mut self, plan: &Plan, serving: Option<u32>) -> Vec<u32> {
        if plan.target.attach.is_none() {
            if let Some(pid) = serving {
                // One that is gone by itself is seen as gone.
                let _ = self.subject.signal(pid, native(plan.target.stop_signal));
            }
            let until = self.clock.now().after(plan.target.drain_timeout);
            await_end(&mut self.subject, self.clock, until);
        }
        self.subject.end()
    }

    /// Whoever is in the way when the serving process has passed on is killed.
    fn relieve(&mut self, plan: &Plan, serving: Option<u32>) -> (Relief, Vec<u32>) {
        let relief = Relief::of(plan, &mut self.subject, self.clock, serving);
        let living = self.subject.processes().iter().filter(|process| process.gone.is_none());
        let others: Vec<u32> =
            living.map(|process| process.pid).filter(|pid| Some(*pid) != relief.pid()).collect();
        for pid in &others {
            // One that has just gone by itself is in nobody's way.
            let _ = self.subject.kill(*pid);
            self.subject.wait_gone(*pid, plan.target.drain_timeout);
        }
        (relief, others)
    }

    /// Closes the books. The clients' ledger is closed by now, and so are the
    /// servers'; the kernel's comes last.
    fn close(
        &mut self,
        plan: &Plan,
        played: Played,
        leaked: Vec<u32>,
        next: Option<u32>,
    ) -> Recording {
        let Played { watch, sightings, mut storm, gathered, mut timeline, .. } = played;
        let ledgers = self.ledgers(plan);
        let attached = plan.target.attach.is_some();
        let generations =
            generations(&self.subject, next, &sightings, &mut storm, ledgers.as_deref(), attached);
        let mut kernel = watch.finish(self.scope);
        if plan.network.loss.is_some() {
            // What cannot be counted excuses nobody.
            kernel.after.extend(loss::count().unwrap_or_default());
        }
        timeline.ended = self.clock.now();
        let Gathered { operations, connections, intended, hiccup_max, hiccup_p99, .. } = gathered;
        Recording {
            version: VERSION,
            started_unix: played.started_unix,
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
            interrupted: played.interrupted,
            leaked,
        }
    }

    /// Where the server leaves its ledgers.
    fn ledgers(&self, plan: &Plan) -> Option<PathBuf> {
        let template = plan.target.ledger.as_ref()?;
        Some(PathBuf::from(template.replace("{dir}", &self.directory.path().to_string_lossy())))
    }

    /// What was recorded need not be remembered.
    fn forget(&mut self, plan: &Plan, recording: &Recording) {
        self.subject.forget_gone();
        if let Some(directory) = self.ledgers(plan) {
            remove_ledgers(&directory, &recording.generations);
        }
    }
}

fn as_planned(stage: &mut Stage<'_>, timeline: &mut Timeline) -> (Storm, ()) {
    (play(stage, timeline), ())
}

/// A run of which the books are still open.
#[derive(Debug)]
struct Played {
    watch: Watch,
    sightings: Sightings,
    storm: Storm,
    gathered: Gathered,
    timeline: Timeline,
    started_unix: u64,
    /// Who served in the end.
    serving: Option<u32>,
    interrupted: Option<String>,
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
