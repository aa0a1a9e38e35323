//! Latency distributions in the text format that HdrHistogram's plotters read.

use super::latency::Latency;
use super::model::Report;

/// The standard percentile distribution of each population, in milliseconds:
/// the name of the file, and what is in it. Counted are the operations that went
/// well after the warm-up, from intended to done.
#[must_use]
pub fn hgrm(report: &Report) -> Vec<(String, Vec<u8>)> {
    let file = |name: &str, latency: Option<&Latency>| {
        let mut text = Vec::new();
        let histogram = latency.map(Latency::histogram).unwrap_or_default();
        // Memory takes what is written to it.
        let _ = histogram.write_hgrm(&mut text);
        (file_name(name), text)
    };
    report.populations.iter().map(|one| file(&one.name, one.latency.as_ref())).collect()
}

/// What the file of a population is called: its name, made safe for a file system.
pub(super) fn file_name(population: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    population.chars().map(safe).chain(".hgrm".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_directory() {
        assert_eq!(file_name("../b c"), "___b_c.hgrm");
    }
}
