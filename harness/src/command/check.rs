//! `harness check` and `harness plan`: what a scenario stands for.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::scenarios::{load, warn};
use super::terminal::{complain, say};
use super::trouble::Trouble;
use crate::cli::Scenario;
use crate::exit::Exit;
use crate::load::intended;
use crate::units::seed_text;

pub(super) fn check(scenario: &Scenario) -> Result<Exit, Trouble> {
    let (plan, lints) = load(&scenario.scenario, &scenario.changes)?;
    warn(&lints);
    let json = serde_json::to_string_pretty(&plan).map_err(io::Error::from)?;
    say(&format!("{json}\n"))?;
    Ok(Exit::Pass)
}

/// One operation that a run would intend.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// Since the load began.
    offset_ns: u64,
    population: &'a str,
    payload_bytes: usize,
}

pub(super) fn plan(scenario: &Scenario) -> Result<Exit, Trouble> {
    let (plan, lints) = load(&scenario.scenario, &scenario.changes)?;
    complain(&format!("seed {}\n", seed_text(plan.seed)));
    warn(&lints);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut write = || -> io::Result<()> {
        for operation in intended(&plan) {
            let offset_ns = crate::clock::nanos(operation.offset);
            let (population, payload_bytes) = (operation.population, operation.payload);
            serde_json::to_writer(&mut out, &Line { offset_ns, population, payload_bytes })?;
            out.write_all(b"\n")?;
        }
        out.flush()
    };
    match write() {
        // Whoever reads may have seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Exit::Pass),
    }
}
