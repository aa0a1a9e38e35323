//! Which part of the run a moment belongs to, by what the upgrades were doing.

use std::collections::{HashMap, HashSet};

use crate::clock::Stamp;
use crate::event::{Generation, Outcome, Recording, Timeline, Upgrade};
use crate::scenario::gate::Window;

/// The edges of one upgrade, in order: none is before the one above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges {
    /// [`Upgrade::number`].
    pub number: u64,
    /// It was triggered.
    pub triggered: Stamp,
    /// The new generation accepts; of an upgrade that failed, its outcome was known.
    pub answered: Stamp,
    /// The old generation accepted its last connection that we know of.
    pub handed: Stamp,
    /// The old generation is gone.
    pub gone: Stamp,
}

/// Tells the windows of a run apart.
#[derive(Clone, Debug)]
pub struct Windows {
    timeline: Timeline,
    /// By their triggers.
    upgrades: Vec<Edges>,
    /// For each of these, when the last old generation of it and of all before is gone.
    drained: Vec<Stamp>,
}

impl Windows {
    /// The windows of this run.
    #[must_use]
    pub fn new(recording: &Recording) -> Self {
        let newest = newest_accepted(recording);
        let mut upgrades: Vec<Edges> =
            recording.upgrades.iter().map(|upgrade| edges(upgrade, recording, &newest)).collect();
        upgrades.sort_by_key(|edges| edges.triggered);
        let mut last = Stamp::default();
        let drained = upgrades
            .iter()
            .map(|edges| {
                last = last.max(edges.gone);
                last
            })
            .collect();
        Self { timeline: recording.timeline, upgrades, drained }
    }

    /// The edges of each upgrade, by their triggers.
    #[must_use]
    pub fn upgrades(&self) -> &[Edges] {
        &self.upgrades
    }

    /// The window of a moment: never [`Window::During`], which is three of
    /// them, and `None` while the run was warming up. Where upgrades overlap,
    /// the newest decides, for its own old generation serves.
    #[must_use]
    pub fn of(&self, moment: Stamp) -> Option<Window> {
        let begun = self.upgrades.partition_point(|edges| edges.triggered <= moment);
        if let (Some(newest), Some(drained)) =
            (self.upgrades[..begun].last(), self.drained[..begun].last())
        {
            return Some(if moment < newest.answered {
                Window::Init
            } else if moment <= newest.handed {
                Window::Handover
            } else if moment < *drained {
                Window::Drain
            } else {
                Window::After
            });
        }
        if moment >= self.timeline.storm_began {
            Some(Window::After)
        } else {
            (moment >= self.timeline.warmed_up).then_some(Window::Baseline)
        }
    }

    /// Whether a moment is in `window`.
    #[must_use]
    pub fn within(&self, window: Window, moment: Stamp) -> bool {
        self.of(moment)
            .is_some_and(|of| of == window || window == Window::During && of.is_of_upgrades())
    }
}

/// For each process, when the last connection that it answered was begun.
fn newest_accepted(recording: &Recording) -> HashMap<u32, Stamp> {
    let mut newest: HashMap<u32, Stamp> = HashMap::new();
    for connection in &recording.connections {
        if let (Some(served), Some(opened)) = (connection.served, connection.opened) {
            let known = newest.entry(served.pid).or_default();
            *known = (*known).max(opened);
        }
    }
    newest
}

fn edges(upgrade: &Upgrade, recording: &Recording, newest: &HashMap<u32, Stamp>) -> Edges {
    let Upgrade { number, triggered, decided, .. } = *upgrade;
    if upgrade.outcome != Outcome::Completed {
        return Edges { number, triggered, answered: decided, handed: decided, gone: decided };
    }
    let answered = upgrade.new_answered.unwrap_or(decided).max(triggered);
    let old = old_processes(upgrade, recording, newest);
    let handed = old.iter().filter_map(|process| newest.get(&process.pid)).max();
    let end = recording.timeline.ended;
    let gone = old.iter().map(|process| process.gone.unwrap_or(end)).max();
    let gone = gone.unwrap_or(decided).max(answered);
    let handed = handed.copied().unwrap_or(answered).max(answered).min(gone);
    Edges { number, triggered, answered, handed, gone }
}

/// Who served before. The process that was told to upgrade, if it is one that
/// answers clients; if it only supervises those that do, then these.
fn old_processes<'a>(
    upgrade: &Upgrade,
    recording: &'a Recording,
    newest: &HashMap<u32, Stamp>,
) -> Vec<&'a Generation> {
    let itself = newest.contains_key(&upgrade.old_pid);
    let new: HashSet<u32> = upgrade.new_pid.into_iter().collect();
    let served = |process: &&Generation| {
        if itself {
            process.pid == upgrade.old_pid
        } else {
            newest.contains_key(&process.pid)
                && !new.contains(&process.pid)
                && process.seen <= upgrade.triggered
                && process.gone.is_none_or(|gone| gone > upgrade.triggered)
        }
    };
    recording.generations.iter().filter(served).collect()
}
