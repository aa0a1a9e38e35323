//! Latencies second by second, in the interval log that HdrHistogram's tools read.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use super::windows::Standing;
use crate::event::Recording;
use crate::histogram::Histogram;
use crate::verdict::Verdict;

/// One histogram a population and interval.
const INTERVAL: Duration = Duration::from_secs(1);

/// The latencies of a run, from intended to done, of operations that went well
/// after the warm-up, by the second in which they were done.
#[derive(Clone, Debug)]
pub struct Latencies {
    started_unix: u64,
    populations: Vec<String>,
    /// By interval and population.
    intervals: BTreeMap<(u32, u16), Histogram>,
}

/// The latencies of each population.
#[must_use]
pub fn latencies(recording: &Recording, verdict: &Verdict) -> Latencies {
    let standing = Standing::new(verdict);
    let mut intervals: BTreeMap<_, Histogram> = BTreeMap::new();
    for op in &recording.operations {
        let warm = op.intended >= recording.timeline.warmed_up;
        if warm && standing.is_ok(op) {
            let seconds = Duration::from_nanos(op.finished.0).as_secs();
            let interval = u32::try_from(seconds).unwrap_or(u32::MAX);
            let histogram = intervals.entry((interval, op.population)).or_default();
            histogram.record(op.finished - op.intended);
        }
    }
    Latencies {
        started_unix: recording.started_unix,
        populations: recording.populations.clone(),
        intervals,
    }
}

impl Latencies {
    /// Writes the log: a tag a population, values in nanoseconds, the column of
    /// maxima in milliseconds.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder.add_comment("[Values are nanoseconds from intended to done]");
        let epoch = SystemTime::UNIX_EPOCH;
        if let Some(start) = epoch.checked_add(Duration::from_secs(self.started_unix)) {
            builder.with_start_time(start).with_base_time(start);
        }
        let mut log = builder.with_max_value_divisor(1e6).begin_log_with(out, &mut serializer)?;
        for ((interval, population), histogram) in &self.intervals {
            let name = self.populations.get(usize::from(*population));
            let tag = name.map_or_else(String::new, |name| as_tag(name));
            let tag = Tag::new(&tag).filter(|tag| !tag.as_str().is_empty());
            log.write_histogram(histogram.counts(), INTERVAL * *interval, INTERVAL, tag).map_err(
                |error| match error {
                    IntervalLogWriterError::IoError(error) => error,
                    IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
                },
            )?;
        }
        Ok(())
    }
}

/// A tag ends at a comma, and a line at its end.
fn as_tag(name: &str) -> String {
    name.chars()
        .map(|c| if c == ',' || c.is_whitespace() || c.is_control() { '_' } else { c })
        .collect()
}
