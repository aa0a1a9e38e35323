//! What is claimed of a service under systemd, tried on a real one: the echo server,
//! as a unit, with clients that count what they come to.
//!
//! `ci/systemd` builds it, boots a systemd in namespaces of its own (`ci/sdbox`), and
//! runs it in there. Each line is a claim that was tried, with what was measured. The
//! last line is the sum.
//!
//! `report` counts, `unit` is a unit and what systemd says of it, `clients` are the
//! clients; each module in `claims` is one service, or a few, and what is claimed of
//! them.

use std::path::PathBuf;
use std::process::ExitCode;

mod report;
mod unit;
mod clients;
mod claims;

use report::Report;

/// Usage: `systemd-claims ECHO-SERVER [NAME…]`; those groups of claims that are
/// named, or all of them.
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(program) = arguments.next().map(PathBuf::from) else {
        return ExitCode::from(2);
    };
    let wanted: Vec<String> = arguments.collect();
    let mut report = Report::default();
    for (name, group) in claims::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            report.group(name, || unit::install(&program), group);
        }
    }
    if report.finish() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
