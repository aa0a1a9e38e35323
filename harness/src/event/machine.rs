//! Where a run was made.

use serde::{Deserialize, Serialize};

/// The machine a run was made on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// Processors the harness could use.
    pub cpus: usize,
    /// Different for each machine and each start of it, so that two parts of a
    /// run are known to have shared their processors. Empty where it is not told.
    pub boot: String,
}
