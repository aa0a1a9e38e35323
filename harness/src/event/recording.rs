//! Everything that a verdict may rest on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::burst::Burst;
use super::fault::FaultRecord;
use super::kernel::KernelLedger;
use super::operation::{Connection, Operation};
use super::process::{Generation, Upgrade};
use crate::clock::Stamp;

/// The format of a stored recording. Raise it when a reader of the old form
/// would misunderstand the new one.
pub const VERSION: u32 = 1;

/// The edges of a run's phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The first answer of the subject; load begins.
    pub load_began: Stamp,
    /// The warm-up is over; from here on latency counts. Harm counts always.
    pub warmed_up: Stamp,
    /// The first upgrade may start.
    pub storm_began: Stamp,
    /// The last upgrade is decided.
    pub storm_ended: Stamp,
    /// The schedule's last operation has been dispatched.
    pub load_ended: Stamp,
    /// Every process is gone and every ledger is closed.
    pub ended: Stamp,
}

/// What the observer has to say about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observer {
    /// Operations that the schedule wanted, per population.
    pub intended: Vec<u64>,
    /// The longest time in which a thread of the harness that only sleeps and
    /// wakes was not woken.
    pub hiccup_max: Duration,
    /// The 99th percentile of the same.
    pub hiccup_p99: Duration,
}

/// One run, complete or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// [`VERSION`] when it was written.
    pub version: u32,
    /// The wall clock at the epoch, seconds since 1970.
    pub started_unix: u64,
    /// Names of the populations, in the plan's order.
    pub populations: Vec<String>,
    /// The phases' edges.
    pub timeline: Timeline,
    /// The client ledger.
    pub operations: Vec<Operation>,
    /// The connections that the operations used.
    pub connections: Vec<Connection>,
    /// The subject's processes, in the order in which they were seen.
    pub generations: Vec<Generation>,
    /// The upgrades, in order.
    pub upgrades: Vec<Upgrade>,
    /// The faults, in order.
    pub faults: Vec<FaultRecord>,
    /// The bursts, in order.
    #[serde(default)]
    pub bursts: Vec<Burst>,
    /// The kernel's ledger.
    pub kernel: KernelLedger,
    /// The observer's own account.
    pub observer: Observer,
    /// Why the run ended early, if it did (`SIGINT`, …): then nothing is proved.
    pub interrupted: Option<String>,
    /// Processes that had to be killed at the end because they would not go.
    pub leaked: Vec<u32>,
}
