//! The upgrades, one after the other, and the faults that are aimed at them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::chaos::{Attempt, KillBeforeReady};
use crate::clock::Stamp;
use crate::event::{Edge, FaultRecord, Outcome, Resources, Upgrade};
use crate::observe::procfs;
use crate::scenario::plan::{Addressee, Fault, FaultKind, Upgrades};

use super::aim::Aim;
use super::stage::Stage;
use super::trigger::Trigger;

/// What a successor takes to initialise, until one has been seen to.
const FIRST_GUESS: Duration = Duration::from_millis(3);

/// A fault that comes too late this often in a row cannot be delivered.
const MOST_MISSES: u32 = 20;

/// What the storm leaves to be recorded.
#[derive(Debug, Default)]
pub(super) struct Storm {
    pub(super) upgrades: Vec<Upgrade>,
    pub(super) faults: Vec<FaultRecord>,
    pub(super) aim: Aim,
    pub(super) listeners: BTreeMap<u32, BTreeSet<u64>>,
    pub(super) resources: BTreeMap<u32, Resources>,
    /// How long successors took from the first sight to the first answer.
    initialisations: Vec<Duration>,
    /// Faults that were due and have not been delivered.
    owed: u32,
    misses: u32,
}

impl Storm {
    /// Upgrades the subject until the phase is over, or it cannot go on.
    pub(super) fn blow(&mut self, stage: &mut Stage<'_>, upgrades: Upgrades, until: Stamp) {
        let mut chance = StdRng::seed_from_u64(stage.plan.seed ^ 0x6368_616f_735f_6b69);
        if let Some(pid) = stage.serving() {
            self.note_listeners(pid);
        }
        let overtime = until.after(stage.plan.target.ready_timeout);
        for number in 1..=upgrades.most {
            // A fault that came too late is aimed again, at one upgrade more if
            // the last was the one that it missed.
            let aims_again = self.owed > 0 && self.misses < MOST_MISSES;
            let until = if aims_again { overtime } else { until };
            let last =
                self.upgrades.last().map_or_else(Stamp::default, |upgrade| upgrade.triggered);
            stage.rest(last.after(upgrades.every).min(until));
            stage.wait(until, |stage| stage.subject.alive() < upgrades.max_alive);
            if stage.clock.now() >= until || stage.interrupted.is_some() {
                return;
            }
            let upgrade = self.upgrade(stage, number, &mut chance);
            let outcome = upgrade.outcome;
            self.aim.learn(&upgrade);
            self.upgrades.push(upgrade);
            match outcome {
                Outcome::Completed => stage.progress.upgrades += 1,
                Outcome::FailedAsPlanned => stage.progress.sabotaged += 1,
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
        }
    }

    fn upgrade(&mut self, stage: &mut Stage<'_>, number: u64, chance: &mut StdRng) -> Upgrade {
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
        let known = known(stage);
        let Ok(mut trigger) = stage.pull(old) else { return upgrade };
        let give_up = triggered.after(stage.plan.target.ready_timeout);
        upgrade.outcome = if self.sabotage(stage, &mut upgrade, give_up, chance) {
            // That it has failed is no news; but what asks must not do so any longer.
            stage.wait(give_up, |_| trigger.outcome().is_some());
            Outcome::FailedAsPlanned
        } else {
            self.await_answer(stage, &mut upgrade, give_up, &known, &mut trigger)
        };
        upgrade.decided = stage.clock.now();
        upgrade
    }

    /// Aims a fault at this upgrade, if one is due. True: it hit.
    fn sabotage(
        &mut self,
        stage: &mut Stage<'_>,
        upgrade: &mut Upgrade,
        give_up: Stamp,
        chance: &mut StdRng,
    ) -> bool {
        let plan = stage.plan;
        let Some(Fault { kind: kind @ FaultKind::KillBeforeReady, every }) = plan.faults.first()
        else {
            if Aim::watches(plan) {
                watch(stage, upgrade, give_up);
            }
            return false;
        };
        if upgrade.number.is_multiple_of(*every) {
            self.owed += 1;
        }
        if self.owed == 0 || self.misses >= MOST_MISSES {
            // The time that this one takes to initialise tells where to aim.
            watch(stage, upgrade, give_up);
            return false;
        }
        let delay = self.usual_initialisation().mul_f64(chance.random());
        let kill = KillBeforeReady { old: upgrade.old_pid, delay, give_up };
        let attempt = kill.inject(&mut stage.subject, &stage.sightings, stage.clock);
        let mut record = FaultRecord {
            id: kind.id().to_owned(),
            upgrade: upgrade.number,
            pid: None,
            planned_delay_ns: crate::clock::nanos(delay),
            injected: None,
            delivered: false,
            evidence: String::new(),
            old_answered: None,
        };
        let delivered = match attempt {
            Attempt::Delivered { pid, injected, old_answered, evidence } => {
                (self.owed, self.misses) = (self.owed - 1, 0);
                record = FaultRecord {
                    pid: Some(pid),
                    injected: Some(injected),
                    delivered: true,
                    evidence,
                    old_answered,
                    ..record
                };
                true
            }
            Attempt::Missed { pid, evidence } => {
                self.misses += 1;
                record = FaultRecord { pid, evidence, ..record };
                false
            }
        };
        (upgrade.new_pid, upgrade.new_seen) = (record.pid, record.injected);
        self.faults.push(record);
        delivered
    }

    fn await_answer(
        &mut self,
        stage: &mut Stage<'_>,
        upgrade: &mut Upgrade,
        give_up: Stamp,
        known: &HashSet<u32>,
        trigger: &mut Trigger,
    ) -> Outcome {
        let mut answered = None;
        stage.wait(give_up, |stage| {
            let newcomer = |served: &crate::event::Served| !known.contains(&served.pid);
            answered = answered.or_else(|| stage.sightings.all().into_iter().find(newcomer));
            match trigger.outcome() {
                Some(Ok(())) => answered.is_some() || stage.subject.is_over(),
                Some(Err(_)) => true,
                None => false,
            }
        });
        let pulled = trigger.outcome();
        if let Some(Err(trouble)) = pulled {
            upgrade.trouble = Some(trouble);
            return Outcome::TriggerFailed;
        }
        let Some(served) = answered.filter(|_| pulled.is_some()) else {
            return if stage.interrupted.is_some() {
                Outcome::Interrupted
            } else if pulled.is_none() {
                let at_most = stage.plan.target.ready_timeout;
                upgrade.trouble = Some(format!("it did not end within {at_most:?}"));
                Outcome::TriggerFailed
            } else if stage.subject.is_over() {
                Outcome::ServerGone
            } else {
                Outcome::TimedOut
            };
        };
        let process = stage.subject.processes().iter().find(|process| process.pid == served.pid);
        let seen = upgrade.new_seen.or_else(|| process.map(|process| process.seen));
        // By HTTP somebody else may answer on a connection that was there before.
        let first = stage.sightings.first_by(served.pid);
        upgrade.new_answered = first.map(|first| first.max(upgrade.triggered));
        if let (Some(seen), Some(answered)) = (upgrade.new_seen, upgrade.new_answered) {
            self.initialisations.push(answered - seen);
        }
        (upgrade.new_pid, upgrade.new_seen) = (Some(served.pid), seen);
        stage.watch.edges(vec![Edge::Answered(upgrade.number)]);
        self.note_listeners(served.pid);
        if self.resources.is_empty() && compares(stage) {
            // Once, the next upgrade waits until this one is wholly over.
            let gone = stage.clock.now().after(stage.plan.target.drain_timeout);
            stage.wait(gone, |stage| stage.alone(upgrade.triggered));
            self.note_resources(served.pid);
        }
        Outcome::Completed
    }

    fn usual_initialisation(&self) -> Duration {
        let mut spans = self.initialisations.clone();
        spans.sort_unstable();
        spans.get(spans.len() / 2).copied().unwrap_or(FIRST_GUESS)
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

/// Who has answered, or could have: a newcomer is none of these. Of the processes
/// that a supervisor has, one that was there before may answer first after the
/// trigger.
fn known(stage: &mut Stage<'_>) -> HashSet<u32> {
    let mut known: HashSet<u32> = stage.sightings.all().iter().map(|served| served.pid).collect();
    if stage.plan.target.trigger.to == Addressee::Main {
        stage.subject.refresh();
        known.extend(stage.subject.processes().iter().map(|process| process.pid));
    }
    known
}
