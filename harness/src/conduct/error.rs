//! What keeps a run from beginning.

use std::io;

use crate::exit::Exit;
use crate::observe::netns::NetnsError;
use crate::subject::BuildError;

/// What keeps a run from beginning. Once it has begun, whatever happens is
/// part of the recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConductError {
    /// The server could not be built or found.
    #[error("cannot build the server under test: {0}")]
    Build(#[from] BuildError),
    /// There is no private network to run in.
    #[error("no private network: {0}")]
    Network(#[from] NetnsError),
    /// Fewer files may be open at once than the plan needs.
    #[error(
        "the plan needs {needed} open files at once, and this process may have {hard}; allow more \
         (`ulimit -n {needed}` in a shell of root's, `LimitNOFILE=` in a unit), or write fewer \
         connections or a lower rate"
    )]
    Descriptors {
        /// What the plan needs.
        needed: u64,
        /// What may not be exceeded.
        hard: u64,
    },
    /// The server ended, or did not listen in time.
    #[error(
        "the server under test did not begin to listen on {address}: {why}; the end of its log:\n{log}"
    )]
    NotListening {
        /// Where it was told to listen.
        address: std::net::SocketAddr,
        /// What happened instead.
        why: String,
        /// What it said.
        log: String,
    },
    /// The server that was to run already could not be found.
    #[error("cannot attach to {what}: {source}")]
    Attach {
        /// What was looked for.
        what: String,
        /// Why it was not found.
        source: io::Error,
    },
    /// The server's program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A system call of the harness failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl ConductError {
    /// How the harness ends because of it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Build(_)
            | Self::NotListening { .. }
            | Self::Attach { .. }
            | Self::Start { .. } => Exit::TargetStart,
            Self::Network(_) | Self::Descriptors { .. } => Exit::Environment,
            Self::System { .. } => Exit::Internal,
        }
    }

    /// Says what was being done when a system call failed.
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
