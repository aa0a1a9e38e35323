//! What a soak comes to: whether anything grew from one generation to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::trials::{Shown, Tally};
use crate::event::Resources;
use crate::exit::Exit;
use crate::trend;

/// A leak of so much resident memory is one: more in a thousand upgrades than a
/// fresh process may differ from another by chance.
const MOST_GROWTH_KIB: f64 = 512.0;

/// With fewer generations a slope is nothing but scatter.
const LEAST_POINTS: usize = 8;

/// What a fresh process held, with no client and no predecessor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Gauge {
    /// Upgrades until then.
    upgrades: u64,
    fds: usize,
    /// Descriptor number → what it is.
    #[serde(skip)]
    which: BTreeMap<u32, String>,
    rss_kib: u64,
    threads: u64,
    environ_bytes: u64,
    /// Processes that were there when no client was left.
    processes: usize,
    /// What the harness itself held then.
    harness_rss_kib: Option<u64>,
}

impl Gauge {
    pub(super) fn new(
        upgrades: u64,
        held: &Resources,
        processes: usize,
        harness: Option<&Resources>,
    ) -> Self {
        Self {
            upgrades,
            fds: held.fds.len(),
            which: held.fds.clone(),
            rss_kib: held.rss_kib,
            threads: held.threads,
            environ_bytes: held.environ_bytes,
            processes,
            harness_rss_kib: harness.map(|held| held.rss_kib),
        }
    }
}

/// What all the runs of one server came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Soaked {
    #[serde(rename = "duration_ns", serialize_with = "as_nanos")]
    pub(super) lasted: Duration,
    pub(super) runs: Tally,
    pub(super) completed: u64,
    pub(super) sabotaged: u64,
    /// Upgrades between two runs, when there is no client.
    pub(super) upgrades_between: u64,
    pub(super) faults: u64,
    pub(super) operations: u64,
    pub(super) harmed: u64,
    /// Why the server could not go on.
    pub(super) stopped: Option<String>,
    pub(super) interrupted: Option<String>,
    /// Processes that had to be killed at the end.
    pub(super) leaked: usize,
    gauges: Vec<Gauge>,
}

fn as_nanos<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(crate::clock::nanos(*span))
}

/// One thing that has to stay as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    shown: Shown,
    what: &'static str,
    got: String,
}

impl Soaked {
    /// Upgrades that were completed.
    pub(super) fn upgrades(&self) -> u64 {
        self.completed + self.upgrades_between
    }

    pub(super) fn gauge(&mut self, gauge: Gauge) {
        self.gauges.push(gauge);
    }

    fn checks(&self) -> Vec<Line> {
        let of = |shown, what, got| Line { shown, what, got };
        let equal = |what, get: fn(&Gauge) -> u64, unit: &str| {
            let mut all: Vec<u64> = self.gauges.iter().map(get).collect();
            all.sort_unstable();
            all.dedup();
            let shown = match (all.len(), self.gauges.len()) {
                (_, 0 | 1) => Shown::Nothing,
                (1, _) => Shown::Held,
                (_, _) => Shown::Failed,
            };
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            of(
                shown,
                what,
                format!("{}{unit} in {} generations", all.join(", "), self.gauges.len()),
            )
        };
        let stopped = match &self.stopped {
            Some(why) => of(Shown::Failed, "goes on", why.clone()),
            None => of(Shown::Held, "goes on", "it passed on after each run".to_owned()),
        };
        let leaked = if self.leaked == 0 { Shown::Held } else { Shown::Failed };
        vec![
            stopped,
            self.descriptors(),
            equal("environment", |gauge| gauge.environ_bytes, " B"),
            equal("threads", |gauge| gauge.threads, ""),
            equal(
                "processes",
                |gauge| u64::try_from(gauge.processes).unwrap_or(u64::MAX),
                " without a client",
            ),
            self.memory(),
            of(leaked, "ends", format!("{} processes had to be killed", self.leaked)),
        ]
    }

    /// The same numbers for the same things: a number that wanders is a leak as well.
    fn descriptors(&self) -> Line {
        let what = "descriptors";
        let Some((first, others)) = self.gauges.split_first().filter(|(_, rest)| !rest.is_empty())
        else {
            return Line { shown: Shown::Nothing, what, got: "too few generations".to_owned() };
        };
        let got = format!("{} in {} generations", first.fds, self.gauges.len());
        match others.iter().find(|other| other.which != first.which) {
            None => Line { shown: Shown::Held, what, got },
            Some(other) => {
                let after = other.upgrades;
                let got =
                    format!("{:?}, and after {after} upgrades {:?}", first.which, other.which);
                Line { shown: Shown::Failed, what, got }
            }
        }
    }

    /// No process is the child of another's memory, so that what grows is what is
    /// handed over, or done for it.
    fn memory(&self) -> Line {
        let what = "resident memory";
        let points: Vec<(f64, f64)> =
            self.gauges.iter().map(|gauge| (lossy(gauge.upgrades), lossy(gauge.rss_kib))).collect();
        let slope = trend::slope(&points).filter(|_| points.len() >= LEAST_POINTS);
        let Some(slope) = slope else {
            let got = format!("{} generations; {LEAST_POINTS} are needed", points.len());
            return Line { shown: Shown::Nothing, what, got };
        };
        let growth = 1000.0 * slope;
        let (least, most) = self.gauges.iter().fold((u64::MAX, 0), |(least, most), gauge| {
            (least.min(gauge.rss_kib), most.max(gauge.rss_kib))
        });
        Line {
            shown: if growth <= MOST_GROWTH_KIB { Shown::Held } else { Shown::Failed },
            what,
            got: format!(
                "{growth:+.0} KiB in 1000 upgrades (Theil-Sen over {}), at the most \
                 {MOST_GROWTH_KIB:.0}; {least} to {most} KiB",
                points.len()
            ),
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = self.runs;
        self.checks().iter().for_each(|line| tally.add(line.shown));
        tally
    }

    pub(super) fn exit(&self) -> Exit {
        let tally = self.tally().exit();
        // A soak that could not measure what it is for has not passed.
        let unmeasured = self.checks().iter().any(|line| line.shown == Shown::Nothing);
        match (tally, self.interrupted.as_deref()) {
            (Exit::Pass, Some("SIGINT")) => Exit::Interrupted(2),
            (Exit::Pass, Some(_)) => Exit::Interrupted(15),
            (Exit::Pass, None) if unmeasured => Exit::Inconclusive,
            (exit, _) => exit,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "SOAK  {:.0} s, {} runs of one server, {} upgrades ({} of them between runs), {} failed \
             as planned, {} faults, {} operations, {} harmed\n",
            self.lasted.as_secs_f64(),
            self.gauges.len(),
            self.upgrades(),
            self.upgrades_between,
            self.sabotaged,
            self.faults,
            self.operations,
            self.harmed
        );
        for line in self.checks() {
            let word = match line.shown {
                Shown::Held => "ok",
                Shown::Failed => "x ",
                Shown::Nothing => "? ",
            };
            text += &format!("  {word}  {:<16} {}\n", line.what, line.got);
        }
        let own: Vec<u64> = self.gauges.iter().filter_map(|gauge| gauge.harness_rss_kib).collect();
        if let (Some(first), Some(last), Some(most)) = (own.first(), own.last(), own.iter().max()) {
            text += &format!("  the harness itself: {first} KiB, then {last}; the most {most}\n");
        }
        let mut tally = self.tally();
        if self.exit() != Exit::Pass && tally.exit() == Exit::Pass {
            tally.failed += 1;
        }
        text + &tally.text()
    }
}

/// For a slope, beyond four thousand million more does not matter.
fn lossy(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soaked(gauges: impl IntoIterator<Item = (u32, u64)>) -> Soaked {
        let mut soaked =
            Soaked { runs: Tally { held: 20, failed: 0, unproved: 0 }, ..Soaked::default() };
        for (number, (fds, rss_kib)) in (1..).zip(gauges) {
            let fds = (0..fds).map(|fd| (fd, "socket:listener".to_owned())).collect();
            let held = Resources { fds, environ_bytes: 10, rss_kib, threads: 3 };
            soaked.gauge(Gauge::new(number * 10, &held, 1, None));
        }
        soaked
    }

    #[test]
    fn what_stays_as_it_is_passes() {
        let steady = soaked((0..20).map(|at| (9, 5000 + at % 3)));
        assert_eq!(steady.exit(), Exit::Pass);
        assert!(steady.text().ends_with("27 passed, 0 failed\n"), "{}", steady.text());
    }

    #[test]
    fn one_descriptor_more_is_a_leak() {
        let leaking = soaked((0..20).map(|at| (9 + u32::from(at > 10), 5000)));
        assert_eq!(leaking.exit(), Exit::Fail);
        assert!(leaking.text().contains("x   descriptors"), "{}", leaking.text());
    }

    #[test]
    fn memory_that_grows_with_the_upgrades_is_a_leak() {
        // Ten upgrades from one to the next: 2 KiB each are 2000 in a thousand.
        let leaking = soaked((0..20).map(|at| (9, 5000 + 20 * at)));
        assert_eq!(leaking.exit(), Exit::Fail);
        assert!(leaking.text().contains("+2000 KiB in 1000"), "{}", leaking.text());
    }

    #[test]
    fn too_few_generations_prove_nothing() {
        assert_eq!(soaked((0..3).map(|_| (9, 5000))).exit(), Exit::Inconclusive);
        assert_eq!(soaked([]).exit(), Exit::Inconclusive);
    }

    #[test]
    fn a_server_that_cannot_go_on_has_failed() {
        let mut stopped = soaked((0..20).map(|_| (9, 5000)));
        stopped.stopped = Some("it has ended".to_owned());
        assert_eq!(stopped.exit(), Exit::Fail);
        let mut stayed = soaked((0..20).map(|_| (9, 5000)));
        stayed.leaked = 1;
        assert_eq!(stayed.exit(), Exit::Fail);
    }
}
