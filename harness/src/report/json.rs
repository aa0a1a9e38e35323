//! The report for programs. Fields are only ever added to a schema.

use super::model::Report;

/// The report as pretty-printed JSON, with a newline at its end.
///
/// # Errors
///
/// When a number cannot be written as JSON.
pub fn render(report: &Report) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}

/// The report that was stored as `text`.
///
/// # Errors
///
/// When it is none, or one of a schema that is not known here. The message has
/// the line and what would be accepted.
pub fn parse(text: &str) -> serde_json::Result<Report> {
    serde_json::from_str(text)
}
