//! The three ledgers side by side, and the observer's account of itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::clients::Fates;
use super::latency::{Figures, Unit, figures, histogram};
use crate::clock::nanos;
use crate::event::{KernelLedger, Recording, Scope};
use crate::verdict::{Law, Status, Verdict};

/// What clients, servers and kernel counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Ledger {
    #[serde(flatten)]
    pub(super) clients: Fates,
    /// `None`: the server keeps no ledger.
    pub(super) server: Option<ServerSums>,
    pub(super) kernel: KernelSums,
    pub(super) laws: Vec<LawRow>,
}

/// The sums over the ledgers of all generations that left one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct ServerSums {
    pub(super) accepted: u64,
    pub(super) first_read: u64,
    pub(super) closed_clean: u64,
    pub(super) closed_dirty: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// What the kernel counted of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KernelSums {
    pub(super) active_opens: i128,
    pub(super) passive_opens: i128,
    pub(super) out_rsts: i128,
}

/// A conservation law.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct LawRow {
    pub(super) id: String,
    pub(super) says: String,
    pub(super) ok: bool,
    pub(super) status: Status,
    pub(super) lhs: i128,
    pub(super) rhs: i128,
}

impl From<&Law> for LawRow {
    fn from(law: &Law) -> Self {
        Self {
            id: law.id.clone(),
            says: law.says.clone(),
            ok: law.status == Status::Pass,
            status: law.status,
            lhs: law.lhs,
            rhs: law.rhs,
        }
    }
}

impl Ledger {
    pub(super) fn new(recording: &Recording, verdict: &Verdict, clients: Fates) -> Self {
        let kernel = &recording.kernel;
        Self {
            clients,
            server: server_sums(recording),
            kernel: KernelSums {
                active_opens: kernel.delta("Tcp.ActiveOpens"),
                passive_opens: kernel.delta("Tcp.PassiveOpens"),
                out_rsts: kernel.delta("Tcp.OutRsts"),
            },
            laws: verdict.laws.iter().map(LawRow::from).collect(),
        }
    }
}

fn server_sums(recording: &Recording) -> Option<ServerSums> {
    let ledgers = recording.generations.iter().filter_map(|one| one.ledger.as_ref());
    ledgers.fold(None, |sums, ledger| {
        let sums: ServerSums = sums.unwrap_or_default();
        Some(ServerSums {
            accepted: sums.accepted + ledger.accepted,
            first_read: sums.first_read + ledger.first_read,
            closed_clean: sums.closed_clean + ledger.closed_clean,
            closed_dirty: sums.closed_dirty + ledger.closed_dirty,
            bytes_in: sums.bytes_in + ledger.bytes_in,
            bytes_out: sums.bytes_out + ledger.bytes_out,
        })
    })
}

/// The kernel's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Kernel {
    pub(super) scope: Scope,
    /// Those that moved, and how far.
    pub(super) delta: BTreeMap<String, i128>,
    pub(super) unexplained: BTreeMap<String, i128>,
}

impl Kernel {
    pub(super) fn new(ledger: &KernelLedger, verdict: &Verdict) -> Self {
        let names = ledger.before.keys().chain(ledger.after.keys());
        let moved = names.map(|name| (name.clone(), ledger.delta(name)));
        Self {
            scope: ledger.scope,
            delta: moved.filter(|(_, delta)| *delta != 0).collect(),
            unexplained: verdict.unexplained.clone(),
        }
    }
}

/// How well the observer kept up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Observer {
    /// From intended to dispatched.
    pub(super) lateness: Option<Figures>,
    pub(super) hiccup: Hiccup,
}

/// How late threads that only sleep were woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Hiccup {
    pub(super) unit: Unit,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Observer {
    pub(super) fn new(recording: &Recording) -> Self {
        let late = recording.operations.iter().map(|op| op.dispatched - op.intended);
        Self {
            lateness: figures(&histogram(late)),
            hiccup: Hiccup {
                unit: Unit::Nanoseconds,
                p99: nanos(recording.observer.hiccup_p99),
                max: nanos(recording.observer.hiccup_max),
            },
        }
    }
}
