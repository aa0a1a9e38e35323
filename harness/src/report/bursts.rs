//! The bursts, and how well they were aimed.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::latency::{Figures, figures, histogram};
use crate::event::{Anchor, Burst, Recording};

/// The bursts of one population that were aimed at one event of the upgrades.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct BurstRow {
    pub(super) population: String,
    pub(super) anchor: Anchor,
    /// How long after the event they were wanted; before it, if negative.
    pub(super) offset_ns: i64,
    /// How many there were.
    pub(super) bursts: usize,
    /// Operations, in all of them.
    pub(super) operations: u64,
    /// How far from the event they were aimed, before it or after it, over those
    /// whose event was seen to happen.
    pub(super) off: Option<Figures>,
}

/// In the order of populations, and of events.
pub(super) fn bursts(recording: &Recording) -> Vec<BurstRow> {
    let mut alike: BTreeMap<(u16, Anchor, i64), Vec<&Burst>> = BTreeMap::new();
    for burst in &recording.bursts {
        let aim = (burst.population, burst.anchor, burst.offset_ns);
        alike.entry(aim).or_default().push(burst);
    }
    let row = |((population, anchor, offset_ns), bursts): (_, Vec<&Burst>)| BurstRow {
        population: recording
            .populations
            .get(usize::from(population))
            .map_or_else(|| "?".to_owned(), Clone::clone),
        anchor,
        offset_ns,
        bursts: bursts.len(),
        operations: bursts.iter().map(|burst| burst.count).sum(),
        off: figures(&histogram(
            bursts
                .iter()
                .filter_map(|burst| Some(Duration::from_nanos(burst.off_ns()?.unsigned_abs()))),
        )),
    };
    alike.into_iter().map(row).collect()
}
