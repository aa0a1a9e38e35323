//! The figures that are read from a histogram.

use std::time::Duration;

use serde::Serialize;

use crate::clock::nanos;
use crate::histogram::Histogram;

/// The figures of `histogram`, or `None` if there is nothing they could be
/// figures of.
pub(super) fn figures(histogram: &Histogram) -> Option<Figures> {
    let quantile = |share| nanos(histogram.quantile(share));
    (!histogram.is_empty()).then(|| Figures {
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

/// What a histogram says, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Figures {
    pub(super) count: u64,
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// [`Figures`], and from which moment they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    pub(super) clock: &'static str,
    pub(super) unit: &'static str,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

impl Latency {
    /// From the moment the schedule wanted the operation.
    pub(super) fn intended(histogram: &Histogram) -> Option<Self> {
        figures(histogram).map(|figures| Self { clock: "intended", unit: "ns", figures })
    }

    /// From the moment it was really begun.
    pub(super) fn dispatched(histogram: &Histogram) -> Option<Self> {
        figures(histogram).map(|figures| Self { clock: "dispatched", unit: "ns", figures })
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
}
