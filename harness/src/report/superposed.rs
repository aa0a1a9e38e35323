//! All upgrades laid over one another, as if they had been triggered at one moment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scale::floor;
use super::windows::{AFTERMATH, Standing};
use crate::clock::{Stamp, nanos};
use crate::event::{Harm, Recording, Upgrade};

/// A picture has so many columns.
const COLUMNS: u64 = 80;
/// An upgrade is looked at for this long at least, and at most.
const SHORTEST_NS: u64 = 100_000_000;
const LONGEST_NS: u64 = 2_000_000_000;

/// What clients met around a trigger. Moments are nanoseconds since the trigger
/// of the upgrade in which an operation was intended; before it they are negative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Superposed {
    /// How many lie over one another.
    pub(super) upgrades: usize,
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
    /// The width of a column.
    pub(super) column_ns: u64,
    /// The columns in which there were operations that ended well.
    pub(super) columns: Vec<Column>,
    /// How often each latency was met, by column.
    pub(super) cells: Vec<Cell>,
    /// All harm.
    pub(super) harm: Vec<Hurt>,
    /// When the new process was seen, in the median.
    pub(super) seen_ns: Option<u64>,
    /// When it first answered, in the median.
    pub(super) answered_ns: Option<u64>,
    /// When the upgrade was decided, in the median.
    pub(super) decided_ns: Option<u64>,
}

/// The operations intended in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Column {
    /// Where it begins.
    pub(super) at_ns: i64,
    pub(super) median_ns: u64,
    pub(super) worst_ns: u64,
}

/// Operations of about one latency in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Cell {
    pub(super) at_ns: i64,
    /// They took at least this long.
    pub(super) latency_ns: u64,
    pub(super) count: u64,
}

/// Harm of one kind in one column, after about the same wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Hurt {
    /// The column in which the operation was intended.
    pub(super) at_ns: i64,
    pub(super) latency_ns: u64,
    pub(super) harm: Harm,
    pub(super) count: u64,
}

/// Where the columns are.
#[derive(Clone, Copy, Debug)]
struct Frame {
    before: u64,
    after: u64,
    column: u64,
}

impl Frame {
    /// Wide enough for nineteen of twenty upgrades.
    fn around(upgrades: &[Upgrade]) -> Self {
        let mut took: Vec<_> =
            upgrades.iter().map(|one| nanos(one.decided - one.triggered)).collect();
        took.sort_unstable();
        let most = took.get(took.len() * 95 / 100).copied().unwrap_or_default();
        let after = (most + nanos(AFTERMATH)).clamp(SHORTEST_NS, LONGEST_NS);
        // The trigger is an edge between two columns.
        let column = (after + after / 4) / COLUMNS;
        Self { before: column * (COLUMNS / 5), after: column * (COLUMNS - COLUMNS / 5), column }
    }

    /// The column of `moment`: of the newest upgrade it is after, or else of the
    /// next if it is shortly before.
    fn place(&self, triggers: &[Stamp], moment: Stamp) -> Option<i64> {
        let next = triggers.partition_point(|trigger| *trigger <= moment);
        let since = next.checked_sub(1).map(|last| nanos(moment - triggers[last]));
        if let Some(since) = since.filter(|since| *since < self.after) {
            return i64::try_from(since / self.column * self.column).ok();
        }
        let until = triggers.get(next).map(|trigger| nanos(*trigger - moment))?;
        let column = until.div_ceil(self.column) * self.column;
        (until <= self.before).then(|| i64::try_from(column).ok().map(|ns| -ns)).flatten()
    }
}

/// `None` if there was no upgrade.
pub(super) fn superposed(recording: &Recording, standing: &Standing) -> Option<Superposed> {
    let upgrades = &recording.upgrades;
    if upgrades.is_empty() {
        return None;
    }
    let frame = Frame::around(upgrades);
    let mut triggers: Vec<_> = upgrades.iter().map(|upgrade| upgrade.triggered).collect();
    triggers.sort_unstable();
    let (mut by_column, mut hurt) = (BTreeMap::new(), BTreeMap::new());
    for op in &recording.operations {
        let Some(at) = frame.place(&triggers, op.intended) else { continue };
        let took = nanos(op.finished - op.intended);
        if standing.is_ok(op) {
            by_column.entry(at).or_insert_with(Vec::new).push(took);
        } else if let Some(harm) = standing.harm(op) {
            *hurt.entry((at, floor(took), harm)).or_default() += 1;
        }
    }
    let median = |of: fn(&Upgrade) -> Option<Stamp>| {
        let since = |one: &Upgrade| of(one).map(|stamp| nanos(stamp - one.triggered));
        middle(upgrades.iter().filter_map(since).collect())
    };
    Some(Superposed {
        upgrades: upgrades.len(),
        from_ns: i64::try_from(frame.before).map_or(i64::MIN, |ns| -ns),
        to_ns: i64::try_from(frame.after).unwrap_or(i64::MAX),
        column_ns: frame.column,
        cells: by_column.iter().flat_map(|(at, took)| cells(*at, took)).collect(),
        columns: by_column.into_iter().filter_map(|(at, took)| column(at, took)).collect(),
        harm: hurt.into_iter().map(as_hurt).collect(),
        seen_ns: median(|one| one.new_seen),
        answered_ns: median(|one| one.new_answered),
        decided_ns: median(|one| Some(one.decided)),
    })
}

fn as_hurt(((at_ns, latency_ns, harm), count): ((i64, u64, Harm), u64)) -> Hurt {
    Hurt { at_ns, latency_ns, harm, count }
}

fn cells(at_ns: i64, took: &[u64]) -> Vec<Cell> {
    let mut counts = BTreeMap::new();
    took.iter().for_each(|took| *counts.entry(floor(*took)).or_default() += 1);
    let cell = |(latency_ns, count)| Cell { at_ns, latency_ns, count };
    counts.into_iter().map(cell).collect()
}

fn column(at_ns: i64, took: Vec<u64>) -> Option<Column> {
    let worst_ns = took.iter().copied().max()?;
    Some(Column { at_ns, median_ns: middle(took)?, worst_ns })
}

fn middle(mut all: Vec<u64>) -> Option<u64> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_belongs_to_the_upgrade_it_follows() {
        let frame = Frame { before: 20, after: 80, column: 10 };
        let triggers = [100, 150, 400].map(Stamp);
        for (moment, column) in [
            (79, None),
            (80, Some(-20)),
            (99, Some(-10)),
            (100, Some(0)),
            (149, Some(40)),
            (150, Some(0)),
            (229, Some(70)),
            (230, None),
            (391, Some(-10)),
            (490, None),
        ] {
            assert_eq!(frame.place(&triggers, Stamp(moment)), column, "{moment}");
        }
    }
}
