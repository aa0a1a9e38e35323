//! What checks say.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::event::Harm;

/// The outcome of a whole run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was to be checked was checked, and held.
    Pass,
    /// Nothing was disproved, but not everything that had to be seen was seen.
    Inconclusive,
    /// Something that had to hold did not.
    Fail,
}

/// The outcome of one check.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It held.
    Pass,
    /// It could not be made here, and the plan did not require it; never `Pass`.
    NotChecked,
    /// The observer did not see enough, or was itself at fault.
    Inconclusive,
    /// It did not hold.
    Fail,
}

/// One check: what was demanded, what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// A stable id, `harm.refused`, `law.L3`, `coverage.upgrades`, ….
    pub id: String,
    /// How it came out.
    pub status: Status,
    /// What was demanded, as a person reads it: `= 0`, `>= 100`.
    pub limit: String,
    /// What was seen.
    pub got: String,
    /// What a person would ask next: which connections, why it was not checked.
    pub detail: Option<String>,
    /// The gate of the scenario that demanded it; `None`: it is always demanded.
    pub gate: Option<Gated>,
}

/// What a check has besides, if the scenario demanded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gated {
    /// Where the scenario does so, counted from 1.
    pub line: usize,
    /// How much was seen.
    pub samples: u64,
    /// How much had to be seen.
    pub min_samples: u64,
}

/// The longest time in which no operation of a population ended well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The population.
    pub population: String,
    /// Its last success before, or the beginning of the load.
    pub from: Stamp,
    /// Its next success, or the end of the load.
    pub to: Stamp,
    /// How many operations ended well in all.
    pub served: u64,
}

impl Gap {
    /// How long it was.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// A conservation law: two sums from independent ledgers that must be equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Law {
    /// `L1` … `L10`.
    pub id: String,
    /// What it says, `ActiveOpens = connections opened`.
    pub says: String,
    /// The left sum.
    pub lhs: i128,
    /// The right sum.
    pub rhs: i128,
    /// How it came out.
    pub status: Status,
}

/// How many of how many were harmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// Came to harm.
    pub harmed: u64,
    /// In all.
    pub of: u64,
}

/// What "none was seen" means, or so few: upper bounds of probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    /// The confidence, 0.95.
    pub confidence: f64,
    /// Upgrades, and those in whose windows somebody was harmed.
    pub upgrades: Seen,
    /// Connections, and those on which an operation was harmed.
    pub connections: Seen,
    /// At most this share of upgrades harms somebody.
    pub bad_upgrade_upper: f64,
    /// At most this share of connections is harmed.
    pub bad_connection_upper: f64,
}

/// What closes the window of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// The old generation was found gone.
    OldGone,
    /// The next upgrade was triggered.
    NextTrigger,
    /// The run ended.
    RunEnded,
}

/// One upgrade, as the ledgers have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UpgradeWindow {
    /// [`crate::event::Upgrade::number`].
    pub number: u64,
    /// The trigger.
    pub from: Stamp,
    /// The end.
    pub until: Stamp,
    /// What ended it.
    pub closing: Closing,
    /// Operations intended in it.
    pub operations: u64,
    /// Those of them that were harmed.
    pub harmed: u64,
    /// The laws; those that cannot be exact at its edges are not checked.
    pub laws: Vec<Law>,
    /// Counters of those that must not move that did, between its edges.
    pub moved: BTreeMap<String, i128>,
    /// The most connections that were seen to wait for being accepted.
    pub deepest_queue: u64,
}

/// What came of one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultFinding {
    /// The catalogue's id.
    pub id: String,
    /// The upgrade that it was aimed at.
    pub upgrade: u64,
    /// What became of that, and what of it is wrong.
    pub got: String,
    /// Whether that is the right answer; `None`: the fault did not hit.
    pub met: Option<bool>,
}

/// An RST that the kernel traced, and all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedReset {
    /// When it was sent.
    pub at: Stamp,
    /// The kernel's reason.
    pub reason: Option<String>,
    /// The process in whose context it was sent, if it is one that can be named here.
    pub pid: Option<u32>,
    /// The name of its thread.
    pub command: String,
    /// Whether that is a process of the subject.
    pub is_subject: bool,
    /// The generation that it is, if it has told.
    pub generation: Option<u64>,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// The client's connection that had one of both addresses then. `None`: one
    /// that never came to be, and so has no row with an address.
    pub connection: Option<u64>,
    /// Whether the client saw it.
    pub hurt: bool,
    /// The newest upgrade that had been triggered.
    pub upgrade: Option<u64>,
    /// How long before.
    pub after_trigger: Option<Duration>,
}

impl fmt::Display for NamedReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RST")?;
        if let Some(reason) = &self.reason {
            write!(f, " reason={reason}")?;
        }
        match (self.pid, self.is_subject, self.generation) {
            (Some(pid), true, Some(generation)) => {
                write!(f, " by pid {pid} (generation {generation})")?;
            }
            (Some(pid), true, None) => write!(f, " by pid {pid}")?,
            // The kernel answered by itself, and this is who happened to run.
            (Some(pid), false, _) => write!(f, " while pid {pid} ({}) ran", self.command)?,
            (None, _, _) => write!(f, " while {} ran", self.command)?,
        }
        if let (Some(upgrade), Some(after)) = (self.upgrade, self.after_trigger) {
            write!(f, ", {after:.2?} after the trigger of upgrade {upgrade}")?;
        }
        Ok(())
    }
}

/// What a recording proves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The outcome of all checks together.
    pub outcome: Outcome,
    /// Every check, in the order in which a person would want to read them.
    pub checks: Vec<Check>,
    /// The ids of the harmed operations, for every kind of harm, the empty
    /// ones included; harm that only the judge can see (`wrong_generation`) too.
    pub harm: BTreeMap<Harm, Vec<u64>>,
    /// The laws, which are among the checks too.
    pub laws: Vec<Law>,
    /// Kernel counters that moved and must not have, less what the clients'
    /// ledger explains.
    pub unexplained: BTreeMap<String, i128>,
    /// What the zeros mean.
    pub bounds: Bounds,
    /// The longest gap of every population, in the recording's order.
    pub gaps: Vec<Gap>,
    /// The laws of every upgrade, in the recording's order.
    pub upgrades: Vec<UpgradeWindow>,
    /// What came of every fault, in the recording's order.
    pub faults: Vec<FaultFinding>,
    /// Every RST that the kernel traced, in order of time.
    pub resets: Vec<NamedReset>,
}
