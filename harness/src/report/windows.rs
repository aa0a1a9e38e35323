//! Which operations a figure counts: the harmed and the rest, before, during
//! and after upgrades.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Stamp;
use crate::event::{Fate, Harm, Operation, Recording, Timeline, Upgrade};
use crate::verdict::Verdict;

/// An upgrade can still be felt for this long after it is decided: the old
/// generation is letting go of its last connections.
pub(super) const AFTERMATH: Duration = Duration::from_millis(50);

/// The part of the run in which an operation was intended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// Before the first upgrade could start, but warm.
    Baseline,
    /// While an upgrade was under way.
    During,
    /// Since the first upgrade could start, but between upgrades or after them.
    After,
}

/// Tells the windows apart.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    timeline: Timeline,
    /// Spans of upgrades, in order and apart from each other.
    upgrades: Vec<(Stamp, Stamp)>,
}

impl Windows {
    pub(super) fn new(recording: &Recording) -> Self {
        let mut spans: Vec<_> = recording.upgrades.iter().map(span_of).collect();
        spans.sort_unstable();
        let mut apart: Vec<(Stamp, Stamp)> = Vec::new();
        for (from, to) in spans {
            match apart.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => apart.push((from, to)),
            }
        }
        Self { timeline: recording.timeline, upgrades: apart }
    }

    /// The window of `intended`; `None` while the run was warming up.
    pub(super) fn of(&self, intended: Stamp) -> Option<Window> {
        let begun = self.upgrades.partition_point(|(from, _)| *from <= intended);
        if begun > 0 && intended <= self.upgrades[begun - 1].1 {
            Some(Window::During)
        } else if intended >= self.timeline.storm_began {
            Some(Window::After)
        } else {
            (intended >= self.timeline.warmed_up).then_some(Window::Baseline)
        }
    }
}

/// From the trigger until nobody can feel the upgrade any more.
pub(super) fn span_of(upgrade: &Upgrade) -> (Stamp, Stamp) {
    (upgrade.triggered, upgrade.decided.after(AFTERMATH))
}

/// The newest upgrade that was under way at `moment`.
pub(super) fn upgrade_at(upgrades: &[Upgrade], moment: Stamp) -> Option<&Upgrade> {
    upgrades.iter().rev().find(|upgrade| {
        let (from, to) = span_of(upgrade);
        from <= moment && moment <= to
    })
}

/// How each operation ended once the judge has had its say: some harm no
/// client can see by itself.
#[derive(Clone, Debug)]
pub(super) struct Standing(BTreeMap<u64, Harm>);

impl Standing {
    pub(super) fn new(verdict: &Verdict) -> Self {
        let harmed = |(harm, ids): (&Harm, &Vec<u64>)| {
            let harm = *harm;
            ids.clone().into_iter().map(move |id| (id, harm))
        };
        Self(verdict.harm.iter().flat_map(harmed).collect())
    }

    /// The operation's fate, the judge's findings included.
    pub(super) fn of(&self, operation: &Operation) -> Fate {
        self.0.get(&operation.id).map_or(operation.fate, |harm| Fate::Harmed(*harm))
    }

    pub(super) fn is_ok(&self, operation: &Operation) -> bool {
        self.of(operation) == Fate::Ok
    }

    pub(super) fn harm(&self, operation: &Operation) -> Option<Harm> {
        match self.of(operation) {
            Fate::Harmed(harm) => Some(harm),
            Fate::Ok | Fate::LimitHit | Fate::Cancelled => None,
        }
    }
}

/// The longest time in which no operation was begun that went well. The edges
/// of the load count: a server that dies halfway leaves a gap to the end.
pub(super) fn longest_gap(mut begun: Vec<Stamp>, timeline: &Timeline) -> Duration {
    begun.extend([timeline.load_began, timeline.load_ended]);
    begun.sort_unstable();
    begun.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(number: u64, triggered: u64, decided: u64) -> Upgrade {
        Upgrade {
            number,
            triggered: Stamp(triggered),
            old_pid: 1,
            new_pid: None,
            new_seen: None,
            new_answered: None,
            outcome: crate::event::Outcome::TimedOut,
            decided: Stamp(decided),
            trouble: None,
        }
    }

    #[test]
    fn every_warm_moment_has_one_window() {
        const MS: u64 = 1_000_000;
        let timeline = Timeline {
            warmed_up: Stamp(10 * MS),
            storm_began: Stamp(100 * MS),
            ..Timeline::default()
        };
        let spans = [upgrade(2, 140 * MS, 200 * MS), upgrade(1, 110 * MS, 120 * MS)];
        let merged = vec![(Stamp(110 * MS), Stamp(250 * MS))];
        let windows = Windows { timeline, upgrades: merged };
        for (moment, window) in [
            (9, None),
            (10, Some(Window::Baseline)),
            (99, Some(Window::Baseline)),
            (100, Some(Window::After)),
            (110, Some(Window::During)),
            (250, Some(Window::During)),
            (251, Some(Window::After)),
        ] {
            assert_eq!(windows.of(Stamp(moment * MS)), window, "{moment} ms");
        }
        assert_eq!(upgrade_at(&spans, Stamp(105 * MS)), None);
        assert_eq!(upgrade_at(&spans, Stamp(165 * MS)).unwrap().number, 1);
    }

    #[test]
    fn a_gap_at_the_end_counts() {
        let timeline =
            Timeline { load_began: Stamp(0), load_ended: Stamp(100), ..Timeline::default() };
        assert_eq!(longest_gap(vec![Stamp(40), Stamp(10)], &timeline), Duration::from_nanos(60));
        assert_eq!(longest_gap(Vec::new(), &timeline), Duration::from_nanos(100));
    }
}
