//! The histogram behind every latency figure, and the figures read from it.

use std::time::Duration;

use hdrhistogram::Histogram as Hdr;
use serde::Serialize;

use crate::clock::nanos;

/// An operation that took an hour would have met its deadline long before.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Latencies to three significant digits. The only user of the crate behind it.
#[derive(Clone, Debug)]
pub(super) struct Histogram(Hdr<u64>);

impl Histogram {
    pub(super) fn new() -> Self {
        let hdr = Hdr::new_with_bounds(1, LONGEST_NS, 3);
        Self(hdr.expect("the bounds are constants, and in order"))
    }

    pub(super) fn record(&mut self, span: Duration) {
        self.0.saturating_record(nanos(span));
    }

    pub(super) fn len(&self) -> u64 {
        self.0.len()
    }

    fn quantile(&self, quantile: f64) -> u64 {
        // The upper edge of a bucket may lie beyond every value in it.
        self.0.value_at_quantile(quantile).min(self.0.max())
    }

    /// The figures, or `None` if there is nothing they could be figures of.
    pub(super) fn figures(&self) -> Option<Figures> {
        (self.len() > 0).then(|| Figures {
            count: self.len(),
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.0.max(),
        })
    }

    /// Calls `row` with (value in ns, quantile, how many up to it) at each step
    /// of the standard percentile distribution.
    pub(super) fn distribution(&self, mut row: impl FnMut(u64, f64, u64)) {
        let mut total = 0;
        for step in self.0.iter_quantiles(5) {
            total += step.count_since_last_iteration();
            row(step.value_iterated_to().min(self.0.max()), step.quantile_iterated_to(), total);
        }
    }

    /// Mean and standard deviation, in nanoseconds.
    pub(super) fn mean_and_deviation(&self) -> (f64, f64) {
        (self.0.mean(), self.0.stdev())
    }

    pub(super) fn max_ns(&self) -> u64 {
        self.0.max()
    }

    /// How many buckets it has, for the foot of a `.hgrm` file.
    pub(super) fn buckets(&self) -> u8 {
        self.0.buckets()
    }
}

impl FromIterator<Duration> for Histogram {
    fn from_iter<I: IntoIterator<Item = Duration>>(spans: I) -> Self {
        let mut histogram = Self::new();
        spans.into_iter().for_each(|span| histogram.record(span));
        histogram
    }
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
        histogram.figures().map(|figures| Self { clock: "intended", unit: "ns", figures })
    }

    /// From the moment it was really begun.
    pub(super) fn dispatched(histogram: &Histogram) -> Option<Self> {
        histogram.figures().map(|figures| Self { clock: "dispatched", unit: "ns", figures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_need_something_to_be_figures_of() {
        assert_eq!(Histogram::new().figures(), None);
        let histogram: Histogram = (1..=1000).map(Duration::from_micros).collect();
        let figures = histogram.figures().unwrap();
        assert_eq!(figures.count, 1000);
        assert!(figures.p50.abs_diff(500_000) < 1_000, "{figures:?}");
        assert!(figures.p99.abs_diff(990_000) < 1_000, "{figures:?}");
        assert!(figures.max.abs_diff(1_000_000) < 1_000, "{figures:?}");
    }
}
