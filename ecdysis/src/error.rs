//! Why an upgrade failed, by who is to blame.
//!
//! Payloads are types of `std` only, so that no import cycle can begin here.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why an upgrade did not happen. Whatever the kind, the process that reports
/// it serves on.
#[derive(Debug)]
pub struct UpgradeError {
    kind: UpgradeErrorKind,
    source: Option<io::Error>,
}

/// The kinds of [`UpgradeError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeErrorKind {
    /// The program could not be started; the source is the system call's own
    /// error (`ENOENT`, `EACCES`, `ENOEXEC`, …).
    Start {
        /// What was being done: `execute the program`, `pass the descriptors`, ….
        step: String,
        /// The program.
        program: PathBuf,
    },
    /// The successor ended before it was ready.
    Exited(ExitStatus),
    /// The successor was not ready in time, and was killed.
    Deadline(Duration),
    /// The successor closed its ready pipe without a word, and was killed.
    ReadyPipeClosed,
    /// The successor wrote something to its ready pipe that is no readiness,
    /// and was killed.
    Garbage,
    /// The successor ended while on probation: it had begun to serve, but this
    /// process had kept the sockets and serves again.
    RolledBack(ExitStatus),
    /// A stop was asked for while the successor started; it was killed.
    Stopped,
    /// A system call of this process failed.
    System,
}

impl UpgradeError {
    pub(crate) fn new(kind: UpgradeErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn with_source(kind: UpgradeErrorKind, source: io::Error) -> Self {
        Self { kind, source: Some(source) }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> &UpgradeErrorKind {
        &self.kind
    }
}

impl From<io::Error> for UpgradeError {
    fn from(error: io::Error) -> Self {
        Self::with_source(UpgradeErrorKind::System, error)
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            UpgradeErrorKind::Start { step, program } => {
                write!(f, "cannot {step} for {}", program.display())?;
            }
            UpgradeErrorKind::Exited(status) => {
                write!(f, "successor ended before it was ready ({status})")?;
            }
            UpgradeErrorKind::Deadline(span) => {
                write!(f, "successor was not ready within {span:?}")?;
            }
            UpgradeErrorKind::ReadyPipeClosed => {
                f.write_str("successor closed its ready pipe without saying ready")?;
            }
            UpgradeErrorKind::Garbage => {
                f.write_str("successor wrote something other than ready to its ready pipe")?;
            }
            UpgradeErrorKind::RolledBack(status) => {
                write!(f, "successor ended on probation ({status}), serving again")?;
            }
            UpgradeErrorKind::Stopped => f.write_str("stopped while the successor started")?,
            UpgradeErrorKind::System => f.write_str("system call failed")?,
        }
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for UpgradeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn Error + 'static))
    }
}
