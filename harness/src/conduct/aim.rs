//! Bursts of clients that are to meet an event of an upgrade. When it will happen is
//! known from when it happened so far.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Stamp;
use crate::event::{Anchor, Burst, Outcome, Upgrade};
use crate::load::Volley;
use crate::scenario::Plan;
use crate::scenario::plan::{self, Load};

use super::stage::Stage;

/// A burst is announced at least so long before its moment.
const NOTICE: Duration = Duration::from_millis(3);

/// What is known of when events happen.
#[derive(Debug, Default)]
pub(super) struct Aim {
    /// How long after the trigger each event happened.
    spans: BTreeMap<Anchor, Vec<Duration>>,
    /// The bursts so far.
    pub(super) bursts: Vec<Burst>,
    /// Upgrades whose old process was not known to have stopped, or to be gone.
    leaving: Vec<Leaving>,
}

/// An old process that makes way.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    upgrade: u64,
    triggered: Stamp,
    pid: u32,
    stopped: bool,
}

impl Aim {
    /// Whether the moment in which a process appears has to be watched for.
    pub(super) fn watches(plan: &Plan) -> bool {
        wanted(plan).any(|(_, _, burst)| burst.on == Anchor::NewSeen)
    }

    /// Announces the bursts of the upgrade `number`, and says when to trigger it. The
    /// first of a run has only those that are aimed at the trigger.
    pub(super) fn announce(&mut self, stage: &Stage<'_>, number: u64) -> Stamp {
        self.look_back(stage);
        let now = stage.clock.now();
        let aimed: Vec<_> = wanted(stage.plan)
            .filter_map(|(population, load, burst)| {
                Some((population, load, burst, self.usual(burst.on)?))
            })
            .collect();
        // The earliest may be wanted long before the trigger.
        let lead = aimed.iter().map(|(_, _, burst, usual)| lead(burst.offset, *usual)).max();
        let trigger = lead.map_or(now, |lead| now.after(lead + NOTICE));
        for (population, load, burst, usual) in aimed {
            let expected = trigger.after(usual);
            let volley = Volley {
                population,
                moment: shifted(expected, burst.offset),
                count: burst.count,
                number: self.bursts.len() as u64,
            };
            // Without a thread for it there is no burst, and none is recorded.
            if stage.load.burst(load, volley).is_ok() {
                self.bursts.push(Burst {
                    population,
                    upgrade: number,
                    anchor: burst.on,
                    offset_ns: burst.offset.0,
                    count: burst.count,
                    expected,
                    happened: None,
                });
            }
        }
        trigger
    }

    /// Learns from an upgrade when its events happened.
    pub(super) fn learn(&mut self, upgrade: &Upgrade) {
        for (anchor, happened) in [
            (Anchor::Trigger, Some(upgrade.triggered)),
            (Anchor::NewSeen, upgrade.new_seen),
            (Anchor::NewAnswered, upgrade.new_answered),
        ] {
            if let Some(happened) = happened {
                self.note(anchor, upgrade.number, upgrade.triggered, happened);
            }
        }
        if upgrade.outcome == Outcome::Completed {
            let &Upgrade { number, triggered, old_pid, .. } = upgrade;
            let stopped = false;
            self.leaving.push(Leaving { upgrade: number, triggered, pid: old_pid, stopped });
        }
    }

    /// Learns what became of the old processes of upgrades before this one: only when
    /// the next begins is it plain which connection was an old process's last.
    pub(super) fn look_back(&mut self, stage: &Stage<'_>) {
        for mut leaving in std::mem::take(&mut self.leaving) {
            let Leaving { upgrade, triggered, pid, stopped } = leaving;
            let newest = stage.sightings.newest_by(pid).filter(|newest| *newest >= triggered);
            if let Some(newest) = newest.filter(|_| !stopped) {
                self.note(Anchor::OldStopped, upgrade, triggered, newest);
            }
            leaving.stopped = true;
            let mut processes = stage.subject.processes().iter();
            match processes.find(|process| process.pid == pid).map(|process| process.gone) {
                Some(Some(gone)) => self.note(Anchor::OldGone, upgrade, triggered, gone),
                Some(None) => self.leaving.push(leaving),
                // Of a server that is not ours, processes may not be seen.
                None => {}
            }
        }
    }

    fn note(&mut self, anchor: Anchor, upgrade: u64, triggered: Stamp, happened: Stamp) {
        self.spans.entry(anchor).or_default().push(happened - triggered);
        let aimed = self.bursts.iter_mut().rev().filter(|burst| burst.upgrade == upgrade);
        aimed
            .filter(|burst| burst.anchor == anchor)
            .for_each(|burst| burst.happened = Some(happened));
    }

    /// The median of how long after the trigger it happened.
    fn usual(&self, anchor: Anchor) -> Option<Duration> {
        if anchor == Anchor::Trigger {
            return Some(Duration::ZERO);
        }
        let mut spans = self.spans.get(&anchor)?.clone();
        spans.sort_unstable();
        spans.get(spans.len() / 2).copied()
    }
}

/// The bursts of a plan, with the index of their population, and its load.
fn wanted(plan: &Plan) -> impl Iterator<Item = (u16, &Load, &plan::Burst)> {
    let loads = (0..).zip(&plan.loads);
    loads.flat_map(|(population, load)| {
        load.bursts.iter().map(move |burst| (population, load, burst))
    })
}

/// How long before the trigger a burst begins that is aimed at an event after it.
fn lead(offset: plan::Offset, usual: Duration) -> Duration {
    if offset.0 < 0 {
        Duration::from_nanos(offset.0.unsigned_abs()).saturating_sub(usual)
    } else {
        Duration::ZERO
    }
}

fn shifted(moment: Stamp, offset: plan::Offset) -> Stamp {
    let span = Duration::from_nanos(offset.0.unsigned_abs());
    if offset.0 < 0 { moment.before(span) } else { moment.after(span) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;
    use crate::scenario::plan::Offset;

    const MS: u64 = 1_000_000;

    fn upgrade(number: u64, answered_after: u64) -> Upgrade {
        let triggered = Stamp(number * 1000 * MS);
        Upgrade {
            number,
            triggered,
            old_pid: 1,
            new_pid: None,
            new_seen: None,
            new_answered: Some(Stamp(triggered.0 + answered_after * MS)),
            outcome: Outcome::Completed,
            trouble: None,
            decided: triggered,
        }
    }

    #[test]
    fn an_event_is_expected_when_it_usually_happens() {
        let mut aim = Aim::default();
        assert_eq!(aim.usual(Anchor::Trigger), Some(Duration::ZERO));
        assert_eq!(aim.usual(Anchor::NewAnswered), None);
        for (number, answered_after) in [(1, 5), (2, 90), (3, 6)] {
            aim.learn(&upgrade(number, answered_after));
        }
        assert_eq!(aim.usual(Anchor::NewAnswered), Some(Duration::from_millis(6)));
        assert_eq!(aim.usual(Anchor::NewSeen), None);
    }

    #[test]
    fn a_burst_is_told_when_its_event_happened() {
        let mut aim = Aim::default();
        let burst = |upgrade| Burst {
            population: 0,
            upgrade,
            anchor: Anchor::NewAnswered,
            offset_ns: 0,
            count: 1,
            expected: Stamp(2005 * MS),
            happened: None,
        };
        aim.bursts = vec![burst(1), burst(2)];
        aim.learn(&upgrade(2, 7));
        let off: Vec<_> = aim.bursts.iter().map(Burst::off_ns).collect();
        assert_eq!(off, [None, Some(-2_000_000)]);
    }

    #[test]
    fn an_event_that_is_known_late_is_told_to_its_own_upgrade() {
        let mut aim = Aim::default();
        let burst = |upgrade| Burst {
            population: 0,
            upgrade,
            anchor: Anchor::OldGone,
            offset_ns: 0,
            count: 1,
            expected: Stamp(1050 * MS),
            happened: None,
        };
        aim.bursts = vec![burst(1), burst(2)];
        aim.learn(&upgrade(1, 5));
        aim.learn(&upgrade(2, 5));
        assert_eq!(aim.leaving.len(), 2);
        aim.note(Anchor::OldGone, 1, Stamp(1000 * MS), Stamp(1060 * MS));
        let off: Vec<_> = aim.bursts.iter().map(Burst::off_ns).collect();
        assert_eq!(off, [Some(-10_000_000), None]);
        assert_eq!(aim.usual(Anchor::OldGone), Some(Duration::from_millis(60)));
    }

    #[test]
    fn what_is_wanted_before_the_trigger_makes_it_wait() {
        let ms = Duration::from_millis;
        assert_eq!(lead(Offset(-5_000_000), ms(2)), ms(3));
        assert_eq!(lead(Offset(-5_000_000), ms(9)), ms(0));
        assert_eq!(lead(Offset(5_000_000), ms(0)), ms(0));
        assert_eq!(shifted(Stamp(10), Offset(-4)), Stamp(6));
        assert_eq!(shifted(Stamp(10), Offset(4)), Stamp(14));
    }
}
