//! What a run would do, without doing it.

use std::time::Duration;

use super::schedule::{Schedule, Wanted};
use crate::scenario::Plan;

/// An operation that a run intends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intended<'a> {
    /// Since the load began.
    pub offset: Duration,
    /// The name of its population.
    pub population: &'a str,
    /// Bytes of payload.
    pub payload: usize,
}

/// Every operation that a run of `plan` intends, in order of time, for as long as
/// its phases are to take. A storm that ends sooner or later moves the end and
/// nothing else.
pub fn intended(plan: &Plan) -> impl Iterator<Item = Intended<'_>> {
    let phases = plan.phases;
    let end = phases.warmup + phases.baseline + phases.storm + phases.settle;
    let mut heads: Vec<(Wanted, &str, Schedule)> = plan
        .loads
        .iter()
        .filter_map(|load| {
            let mut schedule = Schedule::new(plan.seed, load);
            Some((schedule.next()?, load.name.as_str(), schedule))
        })
        .collect();
    std::iter::from_fn(move || {
        let (wanted, population, schedule) =
            heads.iter_mut().min_by_key(|(wanted, ..)| wanted.offset)?;
        let due = Intended { offset: wanted.offset, population, payload: wanted.payload };
        if due.offset > end {
            return None;
        }
        *wanted = schedule.next()?;
        Some(due)
    })
}
