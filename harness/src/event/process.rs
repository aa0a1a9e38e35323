//! The processes of the subject, and the upgrades that led from one to the next.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ProcessExit")]
pub enum Exit {
    /// By `exit`, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It ended, but its parent took the status before we could.
    Reaped,
}

/// One process of the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its pid, in the harness's pid namespace.
    pub pid: u32,
    /// The generation it claims to be, once a client or a ledger has told.
    pub generation: Option<u64>,
    /// When the harness first saw it.
    pub seen: Stamp,
    /// When it was found gone; `None` while it lived at the end of the run.
    pub gone: Option<Stamp>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// What it says it did, if it keeps a ledger.
    pub ledger: Option<ServerLedger>,
    /// Inodes of its listening sockets. The same inode is the same accept queue.
    pub listeners: BTreeSet<u64>,
    /// What it held when it had just begun to serve.
    pub resources: Option<Resources>,
}

/// A server's own account of itself, as it writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLedger {
    /// The generation, counted from 0.
    pub generation: u64,
    /// The process.
    pub pid: u32,
    /// Connections that `accept` gave it.
    pub accepted: u64,
    /// Connections on which it read at least one byte of request.
    pub first_read: u64,
    /// Connections it finished after the client had finished (FIN for FIN).
    pub closed_clean: u64,
    /// Connections that ended in any other way: error, or cut at the deadline.
    pub closed_dirty: u64,
    /// Request bytes it read.
    pub bytes_in: u64,
    /// Bytes it wrote, the greeting included.
    pub bytes_out: u64,
    /// UDP datagrams it read, which count nowhere else here; `None`: it does not say.
    #[serde(default)]
    pub datagrams_in: Option<u64>,
    /// UDP datagrams it sent.
    #[serde(default)]
    pub datagrams_out: Option<u64>,
}

/// What a process holds, connections not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Descriptor number → what it is (`socket:listener`, `pipe`, `anon_inode:[eventpoll]`, …),
    /// connections left out.
    pub fds: BTreeMap<u32, String>,
    /// Bytes in `/proc/PID/environ`.
    pub environ_bytes: u64,
    /// Resident set size when it had just begun to serve, KiB, the least of up to five
    /// generations next to it: it depends on how many clients a process has had.
    pub rss_kib: u64,
    /// Threads.
    pub threads: u64,
}

/// How an upgrade ended, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "UpgradeOutcome")]
pub enum Outcome {
    /// A client was answered by a process it had not been answered by before.
    Completed,
    /// A planned fault ended the successor, and the old generation still answered.
    FailedAsPlanned,
    /// No new process answered by the deadline.
    TimedOut,
    /// The process to be upgraded was gone.
    ServerGone,
    /// What was to ask for the upgrade failed.
    TriggerFailed,
    /// The run was interrupted.
    Interrupted,
}

/// One upgrade, from the harness's trigger to its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Counted from 1.
    pub number: u64,
    /// When the trigger was sent.
    pub triggered: Stamp,
    /// The process that served then.
    pub old_pid: u32,
    /// The process that was started, once known.
    pub new_pid: Option<u32>,
    /// When the new process was first seen.
    pub new_seen: Option<Stamp>,
    /// Dispatch time of the first connection that the new process answered.
    pub new_answered: Option<Stamp>,
    /// How it ended.
    pub outcome: Outcome,
    /// When the outcome was known.
    pub decided: Stamp,
    /// What the trigger had to say, if it failed.
    #[serde(default)]
    pub trouble: Option<String>,
}
