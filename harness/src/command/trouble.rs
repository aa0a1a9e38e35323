//! Why there is no verdict.

use std::io;

use crate::conduct::ConductError;
use crate::exit::Exit;
use crate::scenario::ScenarioError;
use crate::store::{MergeError, StoreError};

/// Why there is no verdict: what to say, and how to end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The scenario cannot be meant.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The run could not begin.
    #[error(transparent)]
    Conduct(#[from] ConductError),
    /// A stored run cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stored runs are not parts of one.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Whoever asked for this cannot have meant it.
    #[error("{0}")]
    Usage(String),
    /// This machine lacks something.
    #[error("{0}")]
    Environment(String),
    /// There is not enough for a verdict.
    #[error("{0}")]
    Unproved(String),
    /// A run of several ended without a verdict, and so would the others.
    #[error("a run ended with exit code {}, and so would the others:\n{log}", exit.code())]
    Ended {
        /// How.
        exit: Exit,
        /// What it said.
        log: String,
    },
    /// Our own output cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

impl Trouble {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Conduct(error) => error.exit(),
            Self::Store(StoreError::Write { .. }) | Self::Output(_) => Exit::Internal,
            Self::Scenario(_) | Self::Store(_) | Self::Merge(_) | Self::Usage(_) => Exit::Usage,
            Self::Environment(_) => Exit::Environment,
            Self::Unproved(_) => Exit::Inconclusive,
            Self::Ended { exit, .. } => *exit,
        }
    }
}
