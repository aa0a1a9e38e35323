//! From a recording to everything that is said about it. A run and its second
//! judgement both come through here, so they cannot differ.

use std::path::Path;

use super::github;
use super::terminal::say;
use super::trouble::Trouble;
use crate::cli::Format;
use crate::exit::Exit;
use crate::report::{self, Outputs, Report};
use crate::scenario::Plan;
use crate::store::Run;
use crate::verdict::{self, Part, Verdict};

/// Opens the place for the files before anything is run.
pub(super) fn open(dir: &Path, plan: &Plan) -> Result<Outputs, Trouble> {
    Outputs::open(dir, plan.loads.iter().map(|load| load.name.as_str()))
        .map_err(|error| Trouble::Usage(format!("cannot write to {}: {error}", dir.display())))
}

/// Judges `run`, says what it comes to, and leaves it in `outputs`.
pub(super) fn judge(
    run: &Run,
    mut outputs: Option<Outputs>,
    format: Format,
    github: bool,
) -> Result<Exit, Trouble> {
    let verdict = verdict(run);
    let (recording, machine) = run.view();
    let report = Report::new(&run.plan, &recording, &verdict, &machine);
    if github {
        // First, because whoever reads only the last line wants to read the verdict.
        github::publish(&report, format)?;
    }
    say(&match format {
        Format::Quiet => report::brief(&report),
        Format::Text => report::text(&report, outputs.as_ref().map(Outputs::dir)),
        Format::Json => report::json(&report).map_err(std::io::Error::from)?,
    })?;
    if let Some(outputs) = &mut outputs {
        outputs.write(&report, &report::latencies(&recording, &verdict))?;
    }
    Ok(report.exit())
}

/// Each part is judged by its own share of the plan.
pub(super) fn verdict(run: &Run) -> Verdict {
    let parts: Vec<Part<'_>> = run
        .parts
        .iter()
        .map(|one| Part {
            name: one.shard.to_string(),
            plan: run.plan.share(one.shard),
            recording: &one.recording,
        })
        .collect();
    let of = run.parts.first().map_or(1, |one| one.shard.of());
    verdict::judge_parts(&parts, usize::try_from(of).unwrap_or(usize::MAX))
}
