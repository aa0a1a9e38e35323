//! What is to be run and what must hold: from a file to a [`Plan`].
//!
//! The file is read in two steps. `file` (with `form`) says which keys there are, what each
//! accepts and what it is when left out; `check` (with `demand`, for the gates) then
//! asks whether the whole can be meant, and makes a plan of it. Both name the line that is at fault.

pub mod gate;
pub mod expect;
pub mod fault;
pub mod catalogue;
pub mod plan;
pub mod vary;
mod change;
mod error;
mod lint;
mod text;
mod form;
mod file;
mod speak;
mod target;
mod demand;
mod carry;
mod swell;
mod mischief;
mod check;
mod share;
mod attachment;
mod write;

use std::fs;
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;

use self::expect::Expect;
use crate::units::SeedChoice;

pub use attachment::Attachment;
pub use change::Change;
pub use demand::METRICS;
pub use error::ScenarioError;
pub use lint::Lint;
pub use plan::Plan;

impl Plan {
    /// Reads a scenario file. `seed` takes the place of the file's.
    ///
    /// Beside the plan it returns what can be meant, but is probably not.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or cannot be meant. The message names the
    /// file, the line, the value and what to write instead.
    pub fn load(path: &Path, seed: Option<SeedChoice>) -> Result<(Self, Vec<Lint>), ScenarioError> {
        Self::load_changed(path, seed, &[])
    }

    /// Reads a scenario file, and takes it as if `changes` had been made in it.
    ///
    /// # Errors
    ///
    /// Those of [`Plan::load`], and when a change leads nowhere. A mistake in a
    /// changed value is said to be that of the change.
    pub fn load_changed(
        path: &Path,
        seed: Option<SeedChoice>,
        changes: &[Change],
    ) -> Result<(Self, Vec<Lint>), ScenarioError> {
        loaded(path, seed, changes, None)
    }

    /// Reads the text of a scenario as if it stood in the file at `path`.
    ///
    /// # Errors
    ///
    /// Those of [`Plan::load`], but for a file that cannot be read.
    pub fn parse(source: &str, path: &Path) -> Result<Self, ScenarioError> {
        planned(source, path, None, None).map_err(|mistake| mistake.in_file(path, source))
    }

    /// The same, for a server that runs already, which the scenario need not name.
    ///
    /// # Errors
    ///
    /// As [`Self::load_changed`], and when it is not said where the server is.
    pub fn load_attached(
        path: &Path,
        seed: Option<SeedChoice>,
        changes: &[Change],
        attachment: &Attachment,
    ) -> Result<(Self, Vec<Lint>), ScenarioError> {
        loaded(path, seed, changes, Some(attachment))
    }
}

fn loaded(
    path: &Path,
    seed: Option<SeedChoice>,
    changes: &[Change],
    attachment: Option<&Attachment>,
) -> Result<(Plan, Vec<Lint>), ScenarioError> {
    let source = change::apply(&read(path)?, changes)
        .map_err(|change::Nowhere { flag, message }| ScenarioError::Change { flag, message })?;
    let plan = planned(&source, path, seed, attachment).map_err(|mistake| {
        let outside = |mistake: error::Mistake| mistake.in_file(path, &source);
        mistake.in_change(&source, changes).unwrap_or_else(outside)
    })?;
    let lints = lint::lints(&plan);
    Ok((plan, lints))
}

fn planned(
    source: &str,
    path: &Path,
    seed: Option<SeedChoice>,
    attachment: Option<&Attachment>,
) -> Result<Plan, error::Mistake> {
    let (mut scenario, written) = file::parse(source)?;
    if let Some(attachment) = attachment {
        attachment.apply(&mut scenario)?;
    }
    check::plan(scenario, path, drawn(seed.unwrap_or(written))?, source)
}

impl Expect {
    /// Reads from a scenario file how its run must end, if it says so.
    ///
    /// # Errors
    ///
    /// Those of [`Plan::load`]: what cannot be run need not end in any way.
    pub fn load(path: &Path) -> Result<Option<Self>, ScenarioError> {
        Plan::load(path, None)?;
        let source = read(path)?;
        let (scenario, _) =
            file::parse(&source).map_err(|mistake| mistake.in_file(path, &source))?;
        Ok(scenario.expect.map(|expect| Self {
            verdict: expect.verdict.0,
            harm: expect.harm.into_iter().map(|harm| harm.0).collect(),
            only: expect.only,
            checks: expect.checks,
        }))
    }
}

fn read(path: &Path) -> Result<String, ScenarioError> {
    fs::read_to_string(path).map_err(|cause| ScenarioError::Read { path: path.to_owned(), cause })
}

fn drawn(choice: SeedChoice) -> Result<u64, error::Mistake> {
    match choice {
        SeedChoice::Fixed(seed) => Ok(seed),
        SeedChoice::Random => SysRng.try_next_u64().map_err(|cause| {
            error::Mistake::anywhere(format!(
                "the system gave no random seed ({cause}); write one, like seed = \"0x5eed\""
            ))
        }),
    }
}
