//! What a run has in its hands while it goes on, and the one place in which it
//! waits.

use std::time::Duration;

use crate::clock::{Clock, Stamp};
use crate::event::{Progress, Sightings};
use crate::load::Running;
use crate::observe::Watch;
use crate::scenario::Plan;
use crate::scenario::plan::Addressee;
use crate::subject::Subject;

use super::interrupt::Interrupts;
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
            Addressee::Main => processes.first(),
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

    /// Whether every process that has answered clients is gone, but for the
    /// youngest: the last upgrade is over for everybody.
    pub(super) fn alone(&mut self) -> bool {
        let answered = |pid| self.sightings.first_by(pid).is_some();
        let living = self.subject.processes().iter().filter(|process| process.gone.is_none());
        living.filter(|process| answered(process.pid)).count() == 1
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
