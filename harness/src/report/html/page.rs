//! The page as a whole.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::model::Report;
use super::super::story;
use super::banner::banner;
use super::coverage::coverage;
use super::gates::gates;
use super::harms::harms;
use super::ledger::ledger;
use super::percentiles::percentiles;
use super::superposed::superposed;
use super::timeline::timeline;
use super::upgrades::upgrades;

/// Nothing is fetched, whatever a name in the report may try.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// The report as one page of HTML.
///
/// # Errors
///
/// When a number cannot be written as JSON.
pub fn render(report: &Report) -> serde_json::Result<String> {
    // A script ends at the first tag that says so, inside of a string too.
    let data = serde_json::to_string(report)?.replace('<', "\\u003c");
    let title = format!("{}: {}", story::word(report.verdict), report.scenario.name);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main { (body(report)) }
                script type="application/json" id="result" { (PreEscaped(data)) }
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    };
    Ok(page.into_string())
}

fn body(report: &Report) -> Markup {
    html! {
        (banner(report))
        (timeline(report))
        (superposed(report))
        (harms(report))
        (gates(report))
        (percentiles(report))
        (ledger(report))
        (upgrades(report))
        (coverage(report))
        footer {
            p {
                (report.run_id) ", harness " (report.environment.harness)
                ". The whole report is in this page as JSON, in the element with the id " code { "result" } "."
            }
        }
    }
}
