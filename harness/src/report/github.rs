//! What GitHub shows beside a run: annotations at the scenario's lines.

use super::model::{Gate, Report};
use crate::verdict::Status;

/// GitHub shows no more of them for a step.
const MOST: usize = 10;

/// A workflow command per check that did not hold (`::error`) or saw too little
/// (`::warning`), to be printed on standard output; at most ten of each.
#[must_use]
pub fn annotations(report: &Report) -> String {
    let of = |status, level: &'static str| {
        let gates = report.gates.iter().filter(move |gate| gate.status == status);
        gates.take(MOST).map(move |gate| annotation(report, level, gate))
    };
    of(Status::Fail, "error").chain(of(Status::Inconclusive, "warning")).collect()
}

fn annotation(report: &Report, level: &str, gate: &Gate) -> String {
    let file = property(&report.scenario.path.to_string_lossy());
    let title = property(&format!("{}: {}", report.scenario.name, gate.id));
    let detail = gate.detail.as_ref().map_or_else(String::new, |detail| format!("\n{detail}"));
    let said = message(&format!("{} wanted, {} seen{detail}", gate.limit, gate.got));
    format!("::{level} file={file},title={title}::{said}\n")
}

/// A line end would end the command.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_command_early() {
        assert_eq!(message("50 %\r\n::error::"), "50 %25%0D%0A::error::");
        assert_eq!(property("a,b::c"), "a%2Cb%3A%3Ac");
    }
}
