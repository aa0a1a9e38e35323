//! What a run came to, on the page of a GitHub job.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};

use super::terminal::{complain, say};
use crate::cli::Format;
use crate::report::{self, Report};

/// Where GitHub wants a job's summary.
const SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Annotates what failed, and adds the report to the job's summary.
pub(super) fn publish(report: &Report, format: Format) -> io::Result<()> {
    let annotations = report::annotations(report);
    match format {
        // There a program reads, and GitHub reads both.
        Format::Json => complain(&annotations),
        Format::Text | Format::Quiet => say(&annotations)?,
    }
    summarise(&report::markdown(report))
}

/// Adds to the job's summary, if there is a job.
pub(super) fn summarise(markdown: &str) -> io::Result<()> {
    let Some(path) = env::var_os(SUMMARY).filter(|path| !path.is_empty()) else { return Ok(()) };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(markdown.as_bytes())
}
