//! The kernel's ledger.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counters by their names, `Tcp.OutRsts`, `TcpExt.ListenDrops`, ….
pub type Counters = BTreeMap<String, u64>;

/// Whose traffic the counters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A network namespace of the run's own: every count is the run's.
    Private,
    /// The machine's: others' traffic taints it, so it proves nothing.
    Host,
}

/// Counters at the edges of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLedger {
    /// Whose they are.
    pub scope: Scope,
    /// Before the subject was started.
    pub before: Counters,
    /// After the last process of the subject was gone.
    pub after: Counters,
}

impl KernelLedger {
    /// How far a counter moved. A counter this kernel does not have did not move.
    #[must_use]
    pub fn delta(&self, name: &str) -> i128 {
        let read = |counters: &Counters| counters.get(name).copied().map_or(0, i128::from);
        read(&self.after) - read(&self.before)
    }
}
