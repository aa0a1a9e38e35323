//! Where several runs leave their files.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::trouble::Trouble;

/// Where the runs leave their files.
#[derive(Debug)]
pub(super) enum Place {
    /// Somebody wants them there.
    Named(PathBuf),
    /// Gone in the end, if nobody has to look into it.
    Passing(TempDir),
}

impl Place {
    pub(super) fn open(out: Option<&Path>) -> Result<Self, Trouble> {
        let Some(out) = out else { return Ok(Self::Passing(TempDir::new()?)) };
        fs::create_dir_all(out).map_err(|error| {
            Trouble::Usage(format!("cannot write to {}: {error}", out.display()))
        })?;
        Ok(Self::Named(out.to_owned()))
    }

    pub(super) fn dir(&self) -> &Path {
        match self {
            Self::Named(dir) => dir,
            Self::Passing(dir) => dir.path(),
        }
    }

    /// Where they stay, if nobody knows yet.
    pub(super) fn keep(self) -> Option<PathBuf> {
        match self {
            Self::Named(_) => None,
            Self::Passing(dir) => Some(dir.keep()),
        }
    }
}
