//! What a run has in its hands while it goes on, and the one place in which it
//! waits.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::{Clock, Stamp};
use crate::event::{Progress, Sightings};
use crate::load::Running;
use crate::observe::Watch;
use crate::scenario::Plan;
use crate::scenario::plan::{Addressee, By};
use crate::subject::{Binaries, Disguise, Places, Subject, native, resolve};

use super::interrupt::Interrupts;
use super::trigger::Trigger;
use super::witness::Witness;

/// How often a waiting run looks around.
const TICK: Duration = Duration::from_millis(10);

/// How often it tells how far it has come.
const TELL: Duration = Duration::from_secs(1);

/// A run that goes on.
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) clock: Clock,
    pub(super) subject: Subject,
    pub(super) sightings: Sightings,
    pub(super) load: Running,
    pub(super) watch: Watch,
    pub(super) witness: Witness,
    pub(super) interrupts: Interrupts,
    /// Where the server is.
    pub(super) address: SocketAddr,
    /// The run's private directory.
    pub(super) directory: &'a Path,
    pub(super) binaries: Binaries,
    /// The path of the server's program, if it can lead elsewhere.
    pub(super) disguise: Option<Disguise>,
    /// The signal that ended the run early.
    pub(super) interrupted: Option<String>,
    pub(super) progress: Progress,
    pub(super) tell: &'a mut dyn FnMut(&Progress),
    pub(super) told: Stamp,
}

impl Stage<'_> {
    /// Waits until `done`, or until `until`; whether it was done. Returns early,
    /// with false, when the run is interrupted.
    pub(super) fn wait(&mut self, until: Stamp, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        loop {
            self.look_around();
            if done(self) {
                return true;
            }
            let now = self.clock.now();
            if now >= until || self.interrupted.is_some() {
                return false;
            }
            // A client's answer is what is mostly waited for; it cuts the tick short.
            let mut looks = 0;
            self.sightings.wait_until(TICK.min(until - now), |_| {
                looks += 1;
                looks > 1
            });
        }
    }

    /// Lets time pass until `until`.
    pub(super) fn rest(&mut self, until: Stamp) {
        self.wait(until, |_| false);
    }

    /// The process to be upgraded or stopped now, if there is one: the process
    /// that was started first, or the youngest that has answered a client.
    pub(super) fn serving(&self) -> Option<u32> {
        let processes = self.subject.processes();
        match self.plan.target.trigger.to {
            Addressee::Main => {
                let main = self.subject.main_pid();
                processes.iter().rev().find(|process| Some(process.pid) == main)
            }
            Addressee::Serving if self.plan.target.greeting.is_none() => processes.last(),
            Addressee::Serving => processes
                .iter()
                .filter(|process| process.gone.is_none())
                .filter(|process| self.sightings.first_by(process.pid).is_some())
                .max_by_key(|process| process.seen)
                // Before the first answer, there is the one that was started.
                .or_else(|| processes.first()),
        }
        .filter(|process| process.gone.is_none())
        .map(|process| process.pid)
    }

    /// The process that answered last, of a server whose processes are not seen.
    pub(super) fn answers(&self) -> Option<u32> {
        let answered = self.sightings.all().into_iter();
        answered.map(|served| served.pid).max_by_key(|pid| self.sightings.newest_by(*pid))
    }

    /// Asks for an upgrade of `pid`.
    pub(super) fn pull(&mut self, pid: u32) -> io::Result<Trigger> {
        let target = &self.plan.target;
        let trigger = match &target.trigger.by {
            By::Signal(signal) => {
                self.subject.signal(pid, native(*signal))?;
                Trigger::Done(Ok(()))
            }
            By::Command(command) => {
                let here = here(&self.plan.path);
                let (address, directory, binaries) = (self.address, self.directory, &self.binaries);
                let places = Places { address, directory, here: &here, pid: Some(pid), binaries };
                Trigger::run(&resolve(command, places), directory)
            }
            By::Socket { path, send } => {
                let path = path.replace("{dir}", &self.directory.to_string_lossy());
                Trigger::send(path.into(), send.clone(), target.ready_timeout)
            }
        };
        if let Some(group) = trigger.group() {
            self.subject.claim(group);
        }
        Ok(trigger)
    }

    /// Whether every process that has answered clients is gone, but for the
    /// youngest, or those that a supervisor has started since `triggered`: the last
    /// upgrade is over for everybody.
    pub(super) fn alone(&self, triggered: Stamp) -> bool {
        let living = self.subject.processes().iter().filter(|process| process.gone.is_none());
        let mut serving = living.filter(|process| self.sightings.first_by(process.pid).is_some());
        match self.plan.target.trigger.to {
            Addressee::Main => serving.all(|process| process.seen >= triggered),
            Addressee::Serving => serving.count() == 1 || self.subject.is_unseen(),
        }
    }

    fn look_around(&mut self) {
        self.subject.refresh();
        self.watch.edges(self.witness.news(self.subject.processes()));
        if self.interrupted.is_none() {
            self.interrupted = self.interrupts.came();
        }
        let now = self.clock.now();
        if now - self.told >= TELL {
            self.told = now;
            let (operations, harmed) = self.load.counts();
            self.progress.elapsed = now - Stamp::default();
            self.progress.operations = operations;
            self.progress.harmed = harmed;
            self.progress.alive = self.subject.alive();
            (self.tell)(&self.progress);
        }
    }
}

/// The directory that a scenario is in.
pub(super) fn here(scenario: &Path) -> PathBuf {
    let directory = scenario.parent().map_or_else(PathBuf::new, Path::to_owned);
    // Without a current directory there is no better name for it.
    std::path::absolute(directory.join(".")).unwrap_or(directory)
}
