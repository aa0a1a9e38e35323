//! Sweeps: one upgrade for each system call at which a process can be hit, under load
//! all the while.
//!
//! `aims` says which points there are, `scene` makes the upgrades of one server, and
//! `leftovers` looks for what they leave behind. A server that serves on, or is
//! succeeded, is hit at the next point; where nobody is left, another is started.

mod aims;
mod leftovers;
mod scene;

use std::io;

use aims::Aims;
pub use aims::{Course, Span};
use scene::Scene;

use super::error::ConductError;
use super::prepare::Prepared;
use super::stage::Stage;
use super::tenure::Tenure;
use crate::chaos::trace::Tracer;
use crate::event::{Episode, Point, Progress, Sweep};
use crate::scenario::Plan;

/// Makes the sweep, telling `tell` every second how far it has come.
///
/// # Errors
/// What keeps it from beginning: the subject does not start, or may not be traced, or
/// the harness cannot do what it must.
pub fn sweep(
    plan: &Plan,
    prepared: &Prepared,
    course: &Course,
    tell: &mut dyn FnMut(&Progress),
) -> Result<Sweep, ConductError> {
    let mut aims = Aims::new(*course).map_err(ConductError::system("read the table of errors"))?;
    let mut sweep =
        Sweep { whom: course.whom, episodes: Vec::new(), complete: false, trouble: None };
    let mut progress = Progress::default();
    loop {
        let tenure = Tenure::begin(plan, prepared.clone())?;
        let (recording, played) = tenure.otherwise(plan, tell, |stage| {
            stage.progress = progress;
            let played = play(stage, course, &mut aims);
            progress = stage.progress;
            played
        })?;
        let (points, trouble) = played.map_err(ConductError::system("trace the server"))?;
        let stuck = points.is_empty() && !aims.are_done();
        let trouble = trouble.or_else(|| stuck.then(|| "no point was tried".to_owned()));
        let interrupted = recording.interrupted.clone();
        let over = stuck || interrupted.is_some() || aims.are_done();
        sweep.complete = aims.are_done();
        sweep.trouble = sweep.trouble.or(interrupted).or(trouble);
        sweep.episodes.push(Episode { points, recording });
        if over {
            return Ok(sweep);
        }
    }
}

/// One server, from its first point to its last; and why there was none, if so.
fn play(
    stage: &mut Stage<'_>,
    course: &Course,
    aims: &mut Aims,
) -> io::Result<(Vec<Point>, Option<String>)> {
    let ended = || io::Error::other("the server has ended");
    let tracer = Tracer::attach(stage.serving().ok_or_else(ended)?)?;
    Ok(Scene::new(stage, tracer, course).play(aims))
}
