//! Why a stored run cannot be read.

use std::io;
use std::path::PathBuf;

/// A run that cannot be stored, or read again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file is not there, or cannot be read.
    #[error(
        "cannot read {}: {cause}; what is wanted is the directory that `harness run --out` filled",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A file ends too early, or was damaged.
    #[error("{} is cut short or damaged: {cause}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How that was seen.
        cause: io::Error,
    },
    /// A file that this program did not write.
    #[error("{} is not {wanted}: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        wanted: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A file in a form that this version does not know.
    #[error(
        "{} has the form `{found}`, and this harness reads `{wanted}`; read it with the version \
         that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The form that it has.
        found: String,
        /// The form that would be accepted.
        wanted: String,
    },
    /// There is nothing to be read.
    #[error("no run was named")]
    Nothing,
    /// A plan and a recording of different runs.
    #[error(
        "{} is not the plan of the recording beside it: one of the two was changed or replaced",
        path.display()
    )]
    OtherPlan {
        /// The plan's file.
        path: PathBuf,
    },
}
