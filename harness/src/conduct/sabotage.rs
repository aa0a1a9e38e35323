//! The faults that are aimed at upgrades: which is due, what came of it, and what is
//! still owed.

use std::time::Duration;

use crate::chaos::{AfterReady, Attempt, Device, Hit, InTheWay, KillBeforeReady, Scene, Shim};
use crate::clock::{Stamp, nanos};
use crate::event::{FaultRecord, Outcome, Upgrade, Upshot};
use crate::scenario::Plan;
use crate::scenario::fault::drawn;
use crate::scenario::plan::{Addressee, Fault, FaultKind};
use crate::subject::{Disguise, Process};

use super::stage::Stage;
use super::trigger::Trigger;

/// What a successor takes to initialise, until one has been seen to.
const FIRST_GUESS: Duration = Duration::from_millis(3);

/// A fault that misses this often in a row cannot be delivered.
const MOST_MISSES: u32 = 20;

/// How long an answer by the old generation, or the end of what has failed, may take.
const AFTERMATH: Duration = Duration::from_secs(2);

/// The faults of a run.
#[derive(Debug)]
pub(super) struct Sabotage {
    pub(super) records: Vec<FaultRecord>,
    /// How often each fault of the plan was due and has not been delivered.
    owed: Vec<u32>,
    /// How often each has missed in a row.
    misses: Vec<u32>,
    /// How long successors took from the first sight to the first answer.
    initialisations: Vec<Duration>,
}

/// A fault that is aimed at the upgrade under way.
#[derive(Debug)]
pub(super) struct Aimed {
    index: usize,
    device: Box<dyn Device>,
    delay: Duration,
    /// Why it could not be prepared.
    unprepared: Option<String>,
    /// What came of it; `None` before it was tried.
    attempt: Option<Attempt>,
}

impl Sabotage {
    pub(super) fn new(plan: &Plan) -> Self {
        let none = vec![0; plan.faults.len()];
        let (records, initialisations) = (Vec::new(), Vec::new());
        Self { records, owed: none.clone(), misses: none, initialisations }
    }

    /// Whether a fault has missed that is to be aimed again.
    pub(super) fn aims_again(&self) -> bool {
        (0..self.owed.len()).any(|index| self.is_owed(index))
    }

    /// Learns how long a successor took to answer.
    pub(super) fn learn(&mut self, initialisation: Duration) {
        self.initialisations.push(initialisation);
    }

    /// The fault that is to hit the upgrade `number`, prepared. One that came too late
    /// before is aimed again.
    pub(super) fn aim(&mut self, stage: &mut Stage<'_>, number: u64) -> Option<Aimed> {
        let plan = stage.plan;
        for (index, fault) in plan.faults.iter().enumerate() {
            self.owed[index] += u32::from(fault.when.hits(plan.seed, index, number));
        }
        let index = (0..plan.faults.len()).find(|index| self.is_owed(*index))?;
        let fault = &plan.faults[index];
        let delay = self.usual_initialisation().mul_f64(drawn(plan.seed, index, number));
        let old = stage.serving()?;
        let mut aimed = Aimed {
            index,
            device: device(fault, delay, stage.disguise.as_ref())?,
            delay,
            unprepared: None,
            attempt: None,
        };
        let give_up = stage.clock.now().after(plan.target.ready_timeout);
        let mut over = || false;
        aimed.unprepared = aimed.device.prepare(&mut scene(stage, old, give_up, &mut over)).err();
        Some(aimed)
    }

    /// Heals, and writes down what came of it, when the upgrade is decided.
    pub(super) fn close(&mut self, stage: &mut Stage<'_>, aimed: Aimed, upgrade: &Upgrade) {
        let Aimed { index, mut device, delay, attempt, .. } = aimed;
        let until = upgrade.decided.after(AFTERMATH);
        let healed = device.heal(&mut scene(stage, upgrade.old_pid, until, &mut || false));
        drop(device);
        let Some(fault) = stage.plan.faults.get(index) else { return };
        let mut record = FaultRecord {
            id: fault.id.clone(),
            fault: index,
            upgrade: upgrade.number,
            expected: fault.expect.clone(),
            planned_delay_ns: nanos(delay),
            ..FaultRecord::default()
        };
        match attempt {
            Some(Attempt::Delivered(hit)) => {
                (self.owed[index], self.misses[index]) = (self.owed[index] - 1, 0);
                record.delivered = true;
                if upgrade.outcome != Outcome::Completed {
                    record.left = left(stage, upgrade);
                }
                record.old_answered = old_answered(stage, upgrade, &hit);
                (record.pid, record.victim) = (hit.pid, hit.victim);
                (record.injected, record.evidence) = (Some(hit.injected), hit.evidence);
            }
            Some(Attempt::Missed { pid, evidence }) => {
                self.misses[index] += 1;
                (record.pid, record.evidence) = (pid, evidence);
            }
            None => {
                self.misses[index] += 1;
                "the upgrade was not asked for".clone_into(&mut record.evidence);
            }
        }
        if let Some(more) = healed {
            record.evidence += &format!("; {more}");
        }
        self.records.push(record);
    }

    fn is_owed(&self, index: usize) -> bool {
        self.owed[index] > 0 && self.misses[index] < MOST_MISSES
    }

    fn usual_initialisation(&self) -> Duration {
        let mut spans = self.initialisations.clone();
        spans.sort_unstable();
        spans.get(spans.len() / 2).copied().unwrap_or(FIRST_GUESS)
    }
}

impl Aimed {
    /// Does it to an upgrade that was asked for.
    pub(super) fn inject(
        &mut self,
        stage: &mut Stage<'_>,
        upgrade: &mut Upgrade,
        trigger: &mut Trigger,
        give_up: Stamp,
    ) {
        let attempt = match self.unprepared.take() {
            Some(evidence) => Attempt::Missed { pid: None, evidence },
            None => {
                // A signal says nothing of what comes of it.
                let answers = trigger.answers();
                let mut over = || answers && trigger.outcome().is_some();
                self.device.inject(&mut scene(stage, upgrade.old_pid, give_up, &mut over))
            }
        };
        match &attempt {
            Attempt::Delivered(Hit { pid, injected, .. }) => {
                (upgrade.new_pid, upgrade.new_seen) = (*pid, pid.map(|_| *injected));
            }
            Attempt::Missed { pid, .. } => upgrade.new_pid = *pid,
        }
        self.attempt = Some(attempt);
    }

    /// What was done, if it was.
    pub(super) fn hit(&self) -> Option<&Hit> {
        match &self.attempt {
            Some(Attempt::Delivered(hit)) => Some(hit),
            Some(Attempt::Missed { .. }) | None => None,
        }
    }

    /// Whether the upgrade is to fail of it.
    pub(super) fn is_to_fail(&self, plan: &Plan) -> bool {
        plan.faults.get(self.index).is_some_and(|fault| fault.expect.upgrade == Upshot::Fails)
    }
}

/// What does each kind of fault. `None`: the server's program is at no path that
/// could lead elsewhere.
fn device(fault: &Fault, delay: Duration, disguise: Option<&Disguise>) -> Option<Box<dyn Device>> {
    Some(match fault.kind {
        FaultKind::KillBeforeReady => Box::new(KillBeforeReady { delay }),
        FaultKind::AfterReady { blow, span } => Box::new(AfterReady { blow, span }),
        FaultKind::Shim { misdeed, after } => {
            let dies = fault.expect.upgrade == Upshot::Fails;
            Box::new(Shim::new(disguise?.clone(), misdeed, after, dies))
        }
        FaultKind::Path(obstacle) => Box::new(InTheWay::new(disguise?.clone(), obstacle)),
    })
}

fn scene<'a>(
    stage: &'a mut Stage<'_>,
    old: u32,
    give_up: Stamp,
    over: &'a mut dyn FnMut() -> bool,
) -> Scene<'a> {
    let Stage { subject, sightings, clock, directory, .. } = stage;
    Scene { subject, sightings, clock: *clock, directory, old, give_up, over }
}

/// When a client was answered by the old generation that came after all that.
fn old_answered(stage: &mut Stage<'_>, upgrade: &Upgrade, hit: &Hit) -> Option<Stamp> {
    let completed = upgrade.outcome == Outcome::Completed;
    let since = if completed { hit.injected } else { hit.injected.max(upgrade.decided) };
    let to_main = stage.plan.target.trigger.to == Addressee::Main;
    let answered = |stage: &Stage<'_>| {
        // A supervisor answers nobody itself; those that it had before are its own.
        let is_old = |process: &&Process| {
            process.pid == upgrade.old_pid || to_main && process.seen < upgrade.triggered
        };
        let old = stage.subject.processes().iter().filter(is_old);
        let newest = old.filter_map(|process| stage.sightings.newest_by(process.pid)).max();
        newest.filter(|newest| *newest > since)
    };
    if !completed {
        let until = since.after(AFTERMATH);
        stage.wait(until, |stage| answered(stage).is_some());
    }
    answered(stage)
}

/// Which processes of a failed upgrade do not go. They are killed, so that they
/// disturb none of the next upgrades.
fn left(stage: &mut Stage<'_>, upgrade: &Upgrade) -> Vec<u32> {
    let remaining = |stage: &Stage<'_>| -> Vec<u32> {
        let processes = stage.subject.processes().iter();
        processes
            .filter(|process| process.seen >= upgrade.triggered && process.gone.is_none())
            .map(|process| process.pid)
            .collect()
    };
    stage.wait(stage.clock.now().after(AFTERMATH), |stage| remaining(stage).is_empty());
    let left = remaining(stage);
    for pid in &left {
        // One that goes just now needs no killing.
        let _ = stage.subject.kill(*pid);
    }
    left
}
