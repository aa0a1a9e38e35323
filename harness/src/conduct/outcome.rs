//! What became of an upgrade that was asked for.

use std::collections::HashSet;

use crate::chaos::Hit;
use crate::clock::Stamp;
use crate::event::{Outcome, Served};
use crate::scenario::plan::Addressee;

use super::stage::Stage;
use super::trigger::Trigger;

/// An upgrade that was asked for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// The process that served.
    pub(super) old: u32,
    /// Who is no newcomer.
    pub(super) known: HashSet<u32>,
    /// When it has taken too long.
    pub(super) give_up: Stamp,
    /// The fault that hit it.
    pub(super) hit: Option<&'a Hit>,
    /// Whether it is to fail of that.
    pub(super) is_to_fail: bool,
}

/// An upgrade that did not complete.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    /// What whoever asked for it was told.
    pub(super) said: Option<String>,
}

impl Asked<'_> {
    /// Waits until it is known; `Ok`: who serves now.
    pub(super) fn outcome(
        &self,
        stage: &mut Stage<'_>,
        trigger: &mut Trigger,
    ) -> Result<Served, Failure> {
        let mut answered = None;
        stage.wait(self.give_up, |stage| {
            let newcomer = |served: &Served| !self.known.contains(&served.pid);
            answered = answered.or_else(|| stage.sightings.all().into_iter().find(newcomer));
            match self.reply(trigger) {
                Some(Ok(())) => {
                    answered.is_some() || stage.subject.is_over() || self.has_failed(stage)
                }
                Some(Err(_)) => true,
                None => false,
            }
        });
        let failure = |outcome, said: Option<String>| Err(Failure { outcome, said });
        // An upgrade that is to fail and does so has done what it was to do.
        let failed = if self.hit.is_some() && self.is_to_fail {
            Outcome::FailedAsPlanned
        } else {
            Outcome::TriggerFailed
        };
        match (self.reply(trigger), answered) {
            (Some(Err(said)), _) => failure(failed, Some(said)),
            (Some(Ok(())), Some(served)) => Ok(served),
            (Some(Ok(())), None) if self.has_failed(stage) => failure(failed, None),
            (_, _) if stage.interrupted.is_some() => failure(Outcome::Interrupted, None),
            (None, _) => {
                let at_most = stage.plan.target.ready_timeout;
                let said = format!("it did not end within {at_most:?}");
                failure(Outcome::TriggerFailed, Some(said))
            }
            (Some(Ok(())), None) if stage.subject.is_over() => failure(Outcome::ServerGone, None),
            (Some(Ok(())), None) => failure(Outcome::TimedOut, None),
        }
    }

    /// What came of the request. A process that a fault has killed cannot answer it,
    /// and another may serve all the same.
    fn reply(&self, trigger: &mut Trigger) -> Option<Result<(), String>> {
        let reply = trigger.outcome()?;
        let killed = self.hit.is_some_and(|hit| hit.victim == Some(self.old));
        Some(if killed { Ok(()) } else { reply })
    }

    /// Whether the successor has died of the fault, and its predecessor went on accepting.
    fn has_failed(&self, stage: &Stage<'_>) -> bool {
        let Some(hit) = self.hit else { return false };
        let Some(victim) = hit.victim.filter(|victim| *victim != self.old) else { return false };
        stage.subject.is_gone(victim) && stage.sightings.newest_by(self.old) > Some(hit.injected)
    }
}

/// Who has answered, or could have: a newcomer is none of these. Of the processes
/// that a supervisor has, one that was there before may answer first after the
/// trigger.
pub(super) fn known(stage: &mut Stage<'_>) -> HashSet<u32> {
    let mut known: HashSet<u32> = stage.sightings.all().iter().map(|served| served.pid).collect();
    if stage.plan.target.trigger.to == Addressee::Main {
        stage.subject.refresh();
        known.extend(stage.subject.processes().iter().map(|process| process.pid));
    }
    known
}
