//! Why an upgrade failed, by who is to blame.
//!
//! Payloads are types of `std` only, so that no import cycle can begin here.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

/// Why an upgrade did not happen. Whatever the kind, the process that reports
/// it serves on.
#[derive(Clone, Debug)]
pub struct UpgradeError {
    kind: UpgradeErrorKind,
    source: Option<Arc<io::Error>>,
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
    /// The state for the successor could not be made, or not in time.
    State,
    /// There is more to pass on than a manifest can name: so many descriptors. No
    /// successor was started.
    TooManySockets(usize),
    /// Another upgrade was under way and has completed. The request was passed
    /// on to the generation that serves now.
    PassedOn,
    /// This process has been succeeded: it is not the one to upgrade any more.
    Succeeded,
    /// This process stops.
    Stopping,
    /// It was asked for by a hook ([`Ecdysis::on_upgrade`](crate::Ecdysis::on_upgrade),
    /// [`Ecdysis::on_phase`](crate::Ecdysis::on_phase)), which what it would have
    /// to wait for waits for. Ask from another thread.
    InHook,
    /// A system call of this process failed.
    System,
}

impl UpgradeError {
    pub(crate) fn new(kind: UpgradeErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn with_source(kind: UpgradeErrorKind, source: io::Error) -> Self {
        Self { kind, source: Some(Arc::new(source)) }
    }

    /// The error of the system call that failed, if one did.
    pub(crate) fn io(&self) -> Option<&io::Error> {
        self.source.as_deref()
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> &UpgradeErrorKind {
        &self.kind
    }
}

impl From<UpgradeErrorKind> for UpgradeError {
    fn from(kind: UpgradeErrorKind) -> Self {
        Self::new(kind)
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
            UpgradeErrorKind::State => f.write_str("cannot make the state for the successor")?,
            UpgradeErrorKind::TooManySockets(count) => {
                write!(
                    f,
                    "{count} descriptors are too many to pass on; at most 65536 can be, and "
                )?;
                f.write_str("fewer where their paths are long")?;
            }
            UpgradeErrorKind::PassedOn => {
                f.write_str("another upgrade has completed, passed on to the new generation")?;
            }
            UpgradeErrorKind::Succeeded => f.write_str("this process has been succeeded")?,
            UpgradeErrorKind::Stopping => f.write_str("this process stops")?,
            UpgradeErrorKind::InHook => {
                f.write_str("asked for by a hook, which cannot wait for it")?;
            }
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
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// An error of a system call, with the file it was about.
#[derive(Debug)]
struct AtPath {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// `source`, saying what was being done (`bind`, `remove`, …) and to which
/// file. The kind stays what it was.
pub(crate) fn at_path(step: &'static str, path: &Path, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), AtPath { step, path: path.to_owned(), source })
}

impl fmt::Display for AtPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In quotes and escaped: a path need not be UTF-8.
        write!(f, "cannot {} {:?}: {}", self.step, self.path, self.source)
    }
}

impl Error for AtPath {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}
