//! What a scenario demands of a run, beyond what is always demanded.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Harm;

/// One demand: a metric, and what it must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The metric as it is written in the file.
    pub name: String,
    /// What is measured.
    pub metric: Metric,
    /// The limit as it is written in the file.
    pub is: String,
    /// What it must be.
    pub limit: Limit,
    /// With fewer samples the gate is inconclusive.
    pub min_samples: u64,
    /// Where the gate stands in the file, counted from 1.
    pub line: usize,
}

/// What a gate measures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Harmed operations, of one kind or of all. Samples are operations.
    Harm(Option<Harm>),
    /// The conservation laws. Samples are laws that held.
    Ledger,
    /// Kernel counters that moved without explanation, summed. Samples are
    /// readings.
    KernelUnexplained,
    /// Upgrades that failed though nobody had planned it. Samples are upgrades.
    UnplannedFailures,
    /// From the intended time to the end, of operations that went well.
    Latency {
        /// Whose.
        population: String,
        /// Intended when.
        window: Window,
        /// Which figure.
        figure: Figure,
    },
    /// The longest time in which no operation of a population ended well.
    Gap {
        /// Whose.
        population: String,
    },
    /// How long upgrades take. Samples are upgrades that were completed.
    Upgrade {
        /// From where to where.
        span: UpgradeSpan,
        /// Which figure.
        figure: Figure,
    },
    /// What a generation holds more than the one before it, on average.
    /// Samples are generations that were looked at.
    Growth(Resource),
    /// Processes that had to be killed at the end, or live on. Samples are processes.
    Leaked,
    /// The most connections that waited to be accepted. Samples are readings.
    QueueDepth,
}

/// A part of the run, by what the upgrades were doing. An operation belongs to
/// the window in which it was intended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Warm, before the first upgrade could start.
    Baseline,
    /// From the trigger until the new generation accepts; to the outcome of an
    /// upgrade that failed.
    Init,
    /// Both accept: until the last connection that the old generation answered.
    Handover,
    /// Until the old generation is gone.
    Drain,
    /// No upgrade is under way, but the first has been possible.
    After,
    /// Init, handover or drain.
    During,
}

impl Window {
    /// Every window.
    pub const ALL: [Self; 6] =
        [Self::Baseline, Self::Init, Self::Handover, Self::Drain, Self::After, Self::During];

    /// Its name in scenarios and reports.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Init => "init",
            Self::Handover => "handover",
            Self::Drain => "drain",
            Self::After => "after",
            Self::During => "during",
        }
    }

    /// Whether it is there only because of upgrades.
    #[must_use]
    pub fn is_of_upgrades(self) -> bool {
        match self {
            Self::Init | Self::Handover | Self::Drain | Self::During => true,
            Self::Baseline | Self::After => false,
        }
    }
}

/// A figure of many spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// The span that this many of a million do not exceed.
    Quantile(u32),
    /// The longest.
    Max,
}

/// A million: quantiles are counted in its parts, so that they can be compared.
pub(super) const WHOLE: u32 = 1_000_000;

impl Figure {
    /// How many spans there must be for it to be worth something, when the
    /// scenario does not say: ten of them beyond the quantile.
    #[must_use]
    pub fn floor(self) -> u64 {
        self.beyond(10)
    }

    /// With fewer it is the maximum by another name.
    #[must_use]
    pub fn least(self) -> u64 {
        self.beyond(1)
    }

    fn beyond(self, many: u64) -> u64 {
        match self {
            Self::Quantile(parts) => {
                let rest = u64::from(WHOLE.saturating_sub(parts).max(1));
                (many * u64::from(WHOLE)).div_ceil(rest)
            }
            Self::Max => 1,
        }
    }

    /// The quantile as a share, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        match self {
            Self::Quantile(parts) => f64::from(parts) / f64::from(WHOLE),
            Self::Max => 1.0,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantile(parts) => write!(f, "p{}", f64::from(*parts) / 1e4),
            Self::Max => f.write_str("max"),
        }
    }
}

/// A part of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradeSpan {
    /// From the trigger until the new process is seen.
    Started,
    /// From the trigger until the new process answers.
    Answered,
    /// From the trigger until the old process is gone.
    Drained,
}

impl UpgradeSpan {
    pub(super) const ALL: [Self; 3] = [Self::Started, Self::Answered, Self::Drained];

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Answered => "answered",
            Self::Drained => "drained",
        }
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Descriptors, connections not counted.
    Fds,
    /// Resident memory, KiB.
    RssKib,
    /// Threads.
    Threads,
    /// Bytes of environment.
    EnvironBytes,
}

impl Resource {
    pub(super) const ALL: [Self; 4] = [Self::Fds, Self::RssKib, Self::Threads, Self::EnvironBytes];

    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Fds => "fds",
            Self::RssKib => "rss_kib",
            Self::Threads => "threads",
            Self::EnvironBytes => "environ_bytes",
        }
    }
}

/// What a metric must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// On which side of the bound.
    pub comparison: Comparison,
    /// The bound.
    pub bound: Bound,
}

/// On which side of its bound a metric must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
}

impl Comparison {
    /// Whether `value` is on this side of `bound`.
    #[must_use]
    pub fn holds<T: PartialOrd>(self, value: &T, bound: &T) -> bool {
        match self {
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::AtLeast => value >= bound,
            Self::Above => value > bound,
        }
    }
}

/// What a metric is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// A span of time.
    Span(Duration),
    /// A number.
    Number(f64),
    /// So many times the same figure in the baseline, and so much more. Never
    /// without the latter: where both are tiny, a ratio alone fails by chance.
    OfBaseline {
        /// How many times.
        factor: f64,
        /// How much more.
        slack: Duration,
    },
    /// All laws hold.
    Balanced,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_leave_ten_beyond_the_quantile() {
        for (parts, floor, least) in [
            (500_000, 20, 2),
            (990_000, 1000, 100),
            (999_000, 10_000, 1000),
            (999_999, 10_000_000, 1_000_000),
        ] {
            let figure = Figure::Quantile(parts);
            assert_eq!((figure.floor(), figure.least()), (floor, least), "{figure}");
        }
        assert_eq!(Figure::Max.floor(), 1);
        assert_eq!(Figure::Quantile(999_000).to_string(), "p99.9");
    }

    #[test]
    fn equality_is_on_neither_open_side() {
        use Comparison::*;
        let holds = |value: u8| [Below, AtMost, Equal, AtLeast, Above].map(|c| c.holds(&value, &5));
        assert_eq!(holds(4), [true, true, false, false, false]);
        assert_eq!(holds(5), [false, true, true, true, false]);
        assert_eq!(holds(6), [false, false, false, true, true]);
    }
}
