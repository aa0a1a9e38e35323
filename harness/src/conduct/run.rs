//! The course of a run.

use super::error::ConductError;
use super::prepare::Prepared;
use super::stage::Stage;
use super::storm::Storm;
use super::tenure::Tenure;
use crate::event::{Progress, Recording, Timeline};
use crate::scenario::Plan;

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
    Tenure::begin(plan, prepared)?.last(plan, tell)
}

/// The phases in which there is load.
pub(super) fn play(stage: &mut Stage<'_>, timeline: &mut Timeline) -> Storm {
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
