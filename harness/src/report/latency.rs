//! The figures that are read from a histogram.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::nanos;
use crate::histogram::Histogram;

/// The figures of `histogram`, or `None` if there is nothing they could be
/// figures of.
pub(super) fn figures(histogram: &Histogram) -> Option<Figures> {
    let quantile = |share| nanos(histogram.quantile(share));
    (!histogram.is_empty()).then(|| Figures {
        unit: Unit::Nanoseconds,
        count: histogram.len(),
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: nanos(histogram.max()),
    })
}

/// Counts `spans`.
pub(super) fn histogram(spans: impl IntoIterator<Item = Duration>) -> Histogram {
    let mut histogram = Histogram::new();
    spans.into_iter().for_each(|span| histogram.record(span));
    histogram
}

/// What figures are given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) enum Unit {
    /// Nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
}

/// From which moment a latency counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// From when the schedule wanted the operation.
    Intended,
    /// From when it was really begun.
    Dispatched,
}

/// What a histogram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Figures {
    /// The unit of all but the count.
    pub(super) unit: Unit,
    /// How many were counted.
    pub(super) count: u64,
    /// The median.
    pub(super) p50: u64,
    /// 99 of 100 were not longer.
    pub(super) p99: u64,
    /// 999 of 1000 were not longer.
    pub(super) p999: u64,
    /// The longest, exactly.
    pub(super) max: u64,
}

/// [`Figures`], from which moment they count, and what they were read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Latency {
    /// From which moment it counts.
    pub(super) clock: Origin,
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// The whole histogram, in nanoseconds: HdrHistogram's V2 encoding,
    /// deflated, in base 64.
    pub(super) hdr_v2: String,
}

impl Latency {
    /// From the moment the schedule wanted the operation.
    pub(super) fn intended(histogram: &Histogram) -> Option<Self> {
        Self::of(Origin::Intended, histogram)
    }

    /// From the moment it was really begun.
    pub(super) fn dispatched(histogram: &Histogram) -> Option<Self> {
        Self::of(Origin::Dispatched, histogram)
    }

    fn of(clock: Origin, histogram: &Histogram) -> Option<Self> {
        let figures = figures(histogram)?;
        Some(Self { clock, figures, hdr_v2: histogram.encode() })
    }

    /// The histogram that the figures were read from; one without a value if
    /// the text is none.
    pub(super) fn histogram(&self) -> Histogram {
        let max = Duration::from_nanos(self.figures.max);
        Histogram::decode(&self.hdr_v2, max).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_need_something_to_be_figures_of() {
        assert_eq!(figures(&Histogram::new()), None);
        let figures = figures(&histogram((1..=1000).map(Duration::from_micros))).unwrap();
        assert_eq!((figures.count, figures.max), (1000, 1_000_000));
        assert!(figures.p50.abs_diff(500_000) < 1_000, "{figures:?}");
        assert!(figures.p99.abs_diff(990_000) < 1_000, "{figures:?}");
    }

    #[test]
    fn a_stored_latency_gives_its_histogram_back() {
        let latency = Latency::intended(&histogram((1..=1000).map(Duration::from_micros))).unwrap();
        let text = serde_json::to_string(&latency).unwrap();
        let again: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(again, latency);
        assert_eq!(figures(&again.histogram()), Some(latency.figures));
    }
}
