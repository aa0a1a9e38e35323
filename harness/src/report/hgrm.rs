//! Latency distributions in the text format that HdrHistogram's plotters read.

use std::io::{self, Write};

use super::latency::Histogram;
use super::windows::Standing;
use crate::event::Recording;
use crate::verdict::Verdict;

/// Nanoseconds per unit of a `.hgrm` file: they are in milliseconds.
const UNIT: f64 = 1e6;

/// How the latencies of one population are spread: from intended to done, of
/// operations that went well after the warm-up.
#[derive(Clone, Debug)]
pub struct Latencies {
    population: String,
    histogram: Histogram,
}

/// The latencies of each population, in the recording's order.
#[must_use]
pub fn latencies(recording: &Recording, verdict: &Verdict) -> Vec<Latencies> {
    let standing = Standing::new(verdict);
    let mut all: Vec<_> = recording
        .populations
        .iter()
        .map(|name| Latencies { population: name.clone(), histogram: Histogram::new() })
        .collect();
    for operation in &recording.operations {
        let warm = operation.intended >= recording.timeline.warmed_up;
        if let Some(latencies) = all.get_mut(usize::from(operation.population))
            && warm
            && standing.is_ok(operation)
        {
            latencies.histogram.record(operation.finished - operation.intended);
        }
    }
    all
}

impl Latencies {
    /// What the file is called: the population's name, made safe for a file system.
    #[must_use]
    pub fn file_name(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        self.population.chars().map(safe).chain(".hgrm".chars()).collect()
    }

    /// Writes the standard percentile distribution, in milliseconds.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut text = format!(
            "{:>12} {:>14} {:>10} {:>14}\n\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        );
        self.histogram.distribution(|value, quantile, total| text += &row(value, quantile, total));
        let (mean, deviation) = self.histogram.mean_and_deviation();
        text += &format!(
            "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n",
            mean / UNIT,
            deviation / UNIT
        );
        text += &format!(
            "#[Max     = {:12.3}, Total count    = {:12}]\n",
            milliseconds(self.histogram.max_ns()),
            self.histogram.len()
        );
        text += &format!(
            "#[Buckets = {:12}, SubBuckets     = {:12}]\n",
            self.histogram.buckets(),
            2048
        );
        out.write_all(text.as_bytes())
    }
}

/// One line; the last has no fourth column, which would be infinite.
fn row(value: u64, quantile: f64, total: u64) -> String {
    let value = milliseconds(value);
    if quantile < 1.0 {
        format!("{value:12.3} {quantile:14.12} {total:10} {:14.2}\n", 1.0 / (1.0 - quantile))
    } else {
        format!("{value:12.3} {quantile:14.12} {total:10}\n")
    }
}

fn milliseconds(ns: u64) -> f64 {
    // Exact up to 104 days, and an hour is the most that is recorded.
    ns as f64 / UNIT
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_format_is_the_one_plotters_read() {
        let latencies = Latencies {
            population: "a/b c".to_owned(),
            histogram: [1, 1, 1, 9].map(Duration::from_millis).into_iter().collect(),
        };
        assert_eq!(latencies.file_name(), "a_b_c.hgrm");
        let mut text = Vec::new();
        latencies.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], "       1.000 0.000000000000          3           1.00");
        assert!(text.contains("\n       9.003 1.000000000000          4\n"), "{text}");
        assert!(text.contains("Total count    =            4]"), "{text}");
    }
}
