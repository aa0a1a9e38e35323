//! The upgrades, one after the other, and the faults that are aimed at them.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Stamp;
use crate::event::{Edge, Outcome, Resources, Served, Upgrade};
use crate::observe::procfs;
use crate::scenario::Plan;
use crate::scenario::plan::{Addressee, Upgrades};

use super::aim::Aim;
use super::outcome::{self, Asked, Failure};
use super::sabotage::{Aimed, Sabotage};
use super::stage::Stage;

/// What the storm leaves to be recorded.
#[derive(Debug)]
pub(super) struct Storm {
    pub(super) upgrades: Vec<Upgrade>,
    pub(super) sabotage: Sabotage,
    pub(super) aim: Aim,
    pub(super) listeners: BTreeMap<u32, BTreeSet<u64>>,
    pub(super) resources: BTreeMap<u32, Resources>,
    /// The resident memory of each generation when it had just begun to serve, KiB.
    fresh: Vec<u64>,
    /// The first that was started by an upgrade.
    first: Option<u32>,
}

/// Of so many generations at either end, memory is compared.
const SOME: usize = 5;

impl Storm {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            upgrades: Vec::new(),
            sabotage: Sabotage::new(plan),
            aim: Aim::default(),
            listeners: BTreeMap::new(),
            resources: BTreeMap::new(),
            fresh: Vec::new(),
            first: None,
        }
    }

    /// Upgrades the subject until the phase is over, or it cannot go on.
    pub(super) fn blow(&mut self, stage: &mut Stage<'_>, upgrades: Upgrades, until: Stamp) {
        if let Some(pid) = stage.serving() {
            self.note_listeners(pid);
        }
        let overtime = until.after(stage.plan.target.ready_timeout);
        for number in 1.. {
            // A fault that came too late is aimed again, at one upgrade more if
            // the last was the one that it missed.
            let aims_again = self.sabotage.aims_again();
            let until = if aims_again { overtime } else { until };
            let last =
                self.upgrades.last().map_or_else(Stamp::default, |upgrade| upgrade.triggered);
            if number > upgrades.most && !aims_again {
                return;
            }
            stage.rest(last.after(upgrades.every).min(until));
            stage.wait(until, |stage| stage.subject.alive() < upgrades.max_alive);
            if stage.clock.now() >= until || stage.interrupted.is_some() {
                return;
            }
            let (upgrade, sabotaged) = self.upgrade(stage, number);
            let outcome = upgrade.outcome;
            self.aim.learn(&upgrade);
            self.upgrades.push(upgrade);
            match outcome {
                Outcome::Completed => stage.progress.upgrades += 1,
                Outcome::FailedAsPlanned => stage.progress.sabotaged += 1,
                // It failed otherwise than it was to, but may yet answer the next fault.
                Outcome::TimedOut | Outcome::TriggerFailed
                    if sabotaged && stage.serving().is_some() => {}
                // A server that cannot be upgraded has failed; there is no
                // more to learn from trying.
                Outcome::TimedOut
                | Outcome::ServerGone
                | Outcome::TriggerFailed
                | Outcome::Interrupted => return,
            }
        }
    }

    /// What the last generation holds, to be compared with what the first
    /// upgraded one held: when its predecessors are gone, so that it holds
    /// nothing of the handoff any more.
    pub(super) fn note_last(&mut self, stage: &mut Stage<'_>) {
        self.aim.look_back(stage);
        let settled = stage.clock.now().after(stage.plan.target.drain_timeout);
        let last = self.upgrades.last().map_or_else(Stamp::default, |upgrade| upgrade.triggered);
        stage.wait(settled, |stage| stage.alone(last));
        if let Some(pid) = stage.serving().filter(|_| compares(stage)) {
            self.note_resources(pid);
            self.compare_memory(pid);
        }
    }

    /// Of memory, what is compared is the least of some generations at either end: one
    /// alone may have had a crowd of clients before it could be looked at.
    fn compare_memory(&mut self, last: u32) {
        let some = SOME.min(self.fresh.len() / 2);
        let least = |generations: &[u64]| generations.iter().min().copied();
        let (first, rest) = (self.first, self.fresh.len() - some);
        for (pid, generations) in
            [(first, self.fresh.get(..some)), (Some(last), self.fresh.get(rest..))]
        {
            let held = pid.and_then(|pid| self.resources.get_mut(&pid));
            if let Some((held, least)) = held.zip(generations.and_then(least)) {
                held.rss_kib = least;
            }
        }
    }

    /// One upgrade, and whether a fault was aimed at it.
    fn upgrade(&mut self, stage: &mut Stage<'_>, number: u64) -> (Upgrade, bool) {
        let mut aimed = self.sabotage.aim(stage, number);
        let upgrade = self.ask(stage, number, aimed.as_mut());
        let sabotaged = aimed.is_some();
        if let Some(aimed) = aimed {
            self.sabotage.close(stage, aimed, &upgrade);
        }
        (upgrade, sabotaged)
    }

    fn ask(&mut self, stage: &mut Stage<'_>, number: u64, aimed: Option<&mut Aimed>) -> Upgrade {
        let moment = self.aim.announce(stage, number);
        stage.rest(moment);
        stage.watch.edges(vec![Edge::Triggered(number)]);
        let triggered = stage.clock.now();
        let mut upgrade = Upgrade {
            number,
            triggered,
            old_pid: 0,
            new_pid: None,
            new_seen: None,
            new_answered: None,
            outcome: Outcome::ServerGone,
            decided: triggered,
            trouble: None,
        };
        let unseen = stage.answers().filter(|_| stage.subject.is_unseen());
        let Some(old) = stage.serving().or(unseen) else { return upgrade };
        upgrade.old_pid = old;
        let known = outcome::known(stage);
        let Ok(mut trigger) = stage.pull(old) else { return upgrade };
        let give_up = triggered.after(stage.plan.target.ready_timeout);
        let mut asked = Asked { old, known, give_up, hit: None, is_to_fail: false };
        match aimed {
            Some(aimed) => {
                aimed.inject(stage, &mut upgrade, &mut trigger, give_up);
                asked.hit = aimed.hit();
                asked.is_to_fail = aimed.is_to_fail(stage.plan);
            }
            // The time that this one takes to initialise tells where to aim.
            None if Aim::watches(stage.plan) || !stage.plan.faults.is_empty() => {
                watch(stage, &mut upgrade, give_up);
            }
            None => {}
        }
        upgrade.outcome = match asked.outcome(stage, &mut trigger) {
            Ok(served) => {
                self.completed(stage, &mut upgrade, served);
                Outcome::Completed
            }
            Err(Failure { outcome, said }) => {
                upgrade.trouble = said;
                outcome
            }
        };
        upgrade.decided = stage.clock.now();
        upgrade
    }

    /// Notes what a new generation is that has answered.
    fn completed(&mut self, stage: &mut Stage<'_>, upgrade: &mut Upgrade, served: Served) {
        let process = stage.subject.processes().iter().find(|process| process.pid == served.pid);
        let seen = upgrade.new_seen.or_else(|| process.map(|process| process.seen));
        // By HTTP somebody else may answer on a connection that was there before.
        let first = stage.sightings.first_by(served.pid);
        upgrade.new_answered = first.map(|first| first.max(upgrade.triggered));
        if let (Some(seen), Some(answered)) = (upgrade.new_seen, upgrade.new_answered) {
            self.sabotage.learn(answered - seen);
        }
        (upgrade.new_pid, upgrade.new_seen) = (Some(served.pid), seen);
        stage.watch.edges(vec![Edge::Answered(upgrade.number)]);
        self.note_listeners(served.pid);
        if let Ok(resident) = procfs::resident_kib(served.pid) {
            self.fresh.push(resident);
        }
        if self.resources.is_empty() && compares(stage) {
            // Once, the next upgrade waits until this one is wholly over.
            let gone = stage.clock.now().after(stage.plan.target.drain_timeout);
            stage.wait(gone, |stage| stage.alone(upgrade.triggered));
            self.note_resources(served.pid);
            self.first = Some(served.pid);
        }
    }

    /// A process that is gone already has nothing to note.
    fn note_listeners(&mut self, pid: u32) {
        if let Ok(listeners) = procfs::listeners(pid) {
            self.listeners.insert(pid, listeners);
        }
    }

    fn note_resources(&mut self, pid: u32) {
        if let Ok(resources) = procfs::resources(pid) {
            self.resources.insert(pid, resources);
        }
    }
}

/// Looks for the new process, to know when it was there.
fn watch(stage: &mut Stage<'_>, upgrade: &mut Upgrade, give_up: Stamp) {
    if let Some(pid) = stage.subject.watch_for_child(upgrade.old_pid, give_up) {
        (upgrade.new_pid, upgrade.new_seen) = (Some(pid), Some(stage.clock.now()));
    }
}

/// Whether generations are to hold the same: those that a supervisor starts may be
/// many at a time, each with something of its own.
fn compares(stage: &Stage<'_>) -> bool {
    stage.plan.target.trigger.to == Addressee::Serving
}
