//! What is to be run and what must hold: from a file to a [`Plan`].
//!
//! The file is read in two steps. `file` (with `form`) says which keys there are, what each
//! accepts and what it is when left out; `check` then asks whether the whole can
//! be meant, and makes a plan of it. Both name the line that is at fault.

pub mod plan;
mod error;
mod lint;
mod text;
mod form;
mod file;
mod speak;
mod target;
mod check;
mod attachment;

use std::fs;
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;

use crate::units::SeedChoice;

pub use attachment::Attachment;
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
        read(path, seed, None)
    }

    /// The same, for a server that runs already, which the scenario need not name.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_attached(
        path: &Path,
        seed: Option<SeedChoice>,
        attachment: &Attachment,
    ) -> Result<(Self, Vec<Lint>), ScenarioError> {
        read(path, seed, Some(attachment))
    }
}

fn read(
    path: &Path,
    seed: Option<SeedChoice>,
    attachment: Option<&Attachment>,
) -> Result<(Plan, Vec<Lint>), ScenarioError> {
    let source = fs::read_to_string(path)
        .map_err(|cause| ScenarioError::Read { path: path.to_owned(), cause })?;
    let plan = file::parse(&source)
        .and_then(|(mut scenario, written)| {
            if let Some(attachment) = attachment {
                attachment.apply(&mut scenario)?;
            }
            let seed = drawn(seed.unwrap_or(written))?;
            check::plan(scenario, path, seed)
        })
        .map_err(|mistake| mistake.in_file(path, &source))?;
    let lints = lint::lints(&plan);
    Ok((plan, lints))
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
