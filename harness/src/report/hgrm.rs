//! Latency distributions in the text format that HdrHistogram's plotters read.

use std::io::{self, Write};

use super::windows::Standing;
use crate::event::Recording;
use crate::histogram::Histogram;
use crate::verdict::Verdict;

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
        self.histogram.write_hgrm(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_directory() {
        let latencies = Latencies { population: "../b c".to_owned(), histogram: Histogram::new() };
        assert_eq!(latencies.file_name(), "___b_c.hgrm");
    }
}
