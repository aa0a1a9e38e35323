//! From a recording to everything that is said about it. A run and its second
//! judgement both come through here, so they cannot differ.

use std::path::Path;

use super::terminal::say;
use super::trouble::Trouble;
use crate::cli::Format;
use crate::exit::Exit;
use crate::report::{self, Outputs, Report};
use crate::store::Run;
use crate::verdict;

/// Opens the place for the files before anything is run.
pub(super) fn open(dir: &Path) -> Result<Outputs, Trouble> {
    Outputs::open(dir)
        .map_err(|error| Trouble::Usage(format!("cannot write to {}: {error}", dir.display())))
}

/// Judges `run`, says what it comes to, and leaves it in `outputs`.
pub(super) fn judge(run: &Run, outputs: Option<&Outputs>, format: Format) -> Result<Exit, Trouble> {
    let part = &run.parts[0];
    let verdict = verdict::judge(&run.plan, &part.recording);
    let report = Report::new(&run.plan, &part.recording, &verdict, &part.machine);
    say(&match format {
        Format::Quiet => report::brief(&report),
        Format::Text => report::text(&report, outputs.map(Outputs::dir)),
        Format::Json => report::json(&report).map_err(std::io::Error::from)?,
    })?;
    if let Some(outputs) = outputs {
        outputs.write(&report, &report::latencies(&part.recording, &verdict))?;
    }
    Ok(report.exit())
}
