//! Latencies, counted so that the worst of a million is still exact to three digits.
//!
//! Nothing is corrected for coordinated omission afterwards: latency is
//! counted from the intended time, so there is nothing to correct.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use crate::clock::nanos;

/// What three significant digits make of the width of a bucket, as a
/// percentile file states it.
const SUB_BUCKETS: u32 = 2048;

/// How finely a percentile file steps: this many rows per halving of the rest.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Spans of time, counted by their length.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: hdrhistogram::Histogram<u64>,
    /// Kept apart, because a bucket knows the largest only to three digits.
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// One without a value. It grows with the values; none is too long for it.
    #[must_use]
    pub fn new() -> Self {
        let counts = hdrhistogram::Histogram::new(3).expect("three digits are within 0 to 5");
        Self { counts, max: Duration::ZERO }
    }

    /// Counts one span.
    pub fn record(&mut self, span: Duration) {
        self.counts.record(nanos(span)).expect("a histogram that resizes takes every value");
        self.max = self.max.max(span);
    }

    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts.add(&other.counts).expect("a histogram that resizes takes every value");
        self.max = self.max.max(other.max);
    }

    /// The span that a share of `quantile` (0 to 1) does not exceed; zero if
    /// nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.counts.value_at_quantile(quantile)).min(self.max)
    }

    /// The longest span, exactly.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// How many spans were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.counts.len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The distribution as it is drawn: from the shortest on, the share of spans
    /// (0 to 1) that are not longer than a span, in steps that get finer towards
    /// the longest.
    pub fn distribution(&self) -> impl Iterator<Item = (f64, Duration)> {
        self.counts.iter_quantiles(TICKS_PER_HALF_DISTANCE).map(|step| {
            let span = Duration::from_nanos(step.value_iterated_to()).min(self.max);
            (step.quantile_iterated_to(), span)
        })
    }

    /// The counts, in nanoseconds, in a form that other programs read: the V2
    /// encoding of HdrHistogram, deflated, in base 64. The longest span is in it
    /// to three digits only.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.counts, &mut bytes)
            .expect("memory takes what is written to it");
        STANDARD.encode(bytes)
    }

    /// What was encoded; `max` is the longest span, exactly. `None` if `text` is
    /// no histogram.
    #[must_use]
    pub fn decode(text: &str, max: Duration) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let mut counts = Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()).ok()?;
        counts.auto(true);
        Some(Self { counts, max })
    }

    /// The counts, for writers of other formats.
    pub(crate) fn counts(&self) -> &hdrhistogram::Histogram<u64> {
        &self.counts
    }

    /// Writes the percentile distribution in the text form that HdrHistogram's
    /// plotters read, values in milliseconds.
    ///
    /// # Errors
    ///
    /// When `out` cannot be written to.
    pub fn write_hgrm(&self, out: &mut impl Write) -> io::Result<()> {
        let head = ("Value", "Percentile", "TotalCount", "1/(1-Percentile)");
        writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", head.0, head.1, head.2, head.3)?;
        let mut count = 0;
        for step in self.counts.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            let value = self.millis(step.value_iterated_to());
            let quantile = step.quantile_iterated_to();
            count += step.count_since_last_iteration();
            write!(out, "{value:>12.3} {quantile:>14.12} {count:>10}")?;
            // The last row has no fourth column: it would be infinite.
            if quantile < 1.0 {
                write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        let (mean, deviation) = (self.counts.mean() / 1e6, self.counts.stdev() / 1e6);
        writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
        let (max, total) = (self.max.as_secs_f64() * 1e3, self.len());
        writeln!(out, "#[Max     = {max:>12.3}, Total count    = {total:>12}]")?;
        let buckets = self.counts.buckets();
        writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {SUB_BUCKETS:>12}]")
    }

    fn millis(&self, value: u64) -> f64 {
        Duration::from_nanos(value).min(self.max).as_secs_f64() * 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spans: impl IntoIterator<Item = Duration>) -> Histogram {
        let mut histogram = Histogram::new();
        for span in spans {
            histogram.record(span);
        }
        histogram
    }

    fn hgrm(histogram: &Histogram) -> String {
        let mut out = Vec::new();
        histogram.write_hgrm(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_saturates() {
        let spans = [Duration::ZERO, Duration::from_secs(86_400), Duration::MAX];
        let histogram = of(spans);
        assert_eq!(histogram.len(), 3);
        assert_eq!(histogram.max(), Duration::MAX);
        assert_eq!(histogram.quantile(0.0), Duration::ZERO);
        assert!(histogram.quantile(0.5).abs_diff(spans[1]) < Duration::from_secs(87));
    }

    #[test]
    fn quantiles_are_within_a_thousandth_and_never_above_the_maximum() {
        let histogram = of((1..=10_000).map(Duration::from_micros));
        for (quantile, micros) in [(0.5, 5_000), (0.99, 9_900), (0.999, 9_990)] {
            let expected = Duration::from_micros(micros);
            assert!(histogram.quantile(quantile).abs_diff(expected) <= expected / 1000);
        }
        assert_eq!(histogram.quantile(1.0), histogram.max());
    }

    #[test]
    fn merging_is_counting_both() {
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(100));
        let mut histogram = of([short]);
        histogram.merge(&of([long, long]));
        assert_eq!((histogram.len(), histogram.max()), (3, long));
        assert!(histogram.quantile(0.3) < Duration::from_millis(2));
        assert!(Histogram::default().is_empty());
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut histogram = of((1..=10_000).map(Duration::from_micros));
        let mut again = Histogram::decode(&histogram.encode(), histogram.max()).unwrap();
        assert_eq!(hgrm(&again), hgrm(&histogram));
        assert!(again.distribution().eq(histogram.distribution()));
        assert_eq!(again.distribution().last(), Some((1.0, histogram.max())));
        for histogram in [&mut histogram, &mut again] {
            histogram.record(Duration::from_secs(100));
        }
        assert_eq!(again.quantile(1.0), histogram.quantile(1.0));
        for wrong in ["", "HIST", "!"] {
            assert!(Histogram::decode(wrong, Duration::ZERO).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_percentile_file_is_what_plotters_read() {
        let text = hgrm(&of((1..=1000).map(Duration::from_millis)));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("       Value     Percentile TotalCount 1/(1-Percentile)"));
        assert_eq!(lines.next(), Some(""));
        assert_eq!(lines.next(), Some("       1.000 0.000000000000          1           1.00"));
        let rows: Vec<Vec<f64>> = lines
            .by_ref()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert!(rows.iter().rev().skip(1).all(|row| row.len() == 4));
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] < b[1] && a[2] <= b[2]));
        assert_eq!(rows.last(), Some(&vec![1000.0, 1.0, 1000.0]));
        let tail: Vec<&str> = text.lines().rev().take(3).collect();
        assert!(tail[2].starts_with("#[Mean    =      500."), "{}", tail[2]);
        assert_eq!(tail[1], "#[Max     =     1000.000, Total count    =         1000]");
        assert!(tail[0].ends_with("SubBuckets     =         2048]"), "{}", tail[0]);
    }

    #[test]
    fn a_percentile_file_of_nothing_has_its_frame() {
        let text = hgrm(&Histogram::new());
        assert!(text.contains("Total count    =            0]"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }
}
