//! A sweep: one upgrade for each point at which a process can be hit, and what came
//! of each.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::process::Exit;
use super::recording::Recording;
use crate::clock::Stamp;

/// Whose calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// The process that an upgrade starts, from its birth on.
    Successor,
    /// The process that is upgraded, from the trigger on.
    Predecessor,
}

impl Whom {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Successor => "successor",
            Self::Predecessor => "predecessor",
        }
    }
}

/// How far an upgrade has come, as far as it can be seen from outside: libraries that
/// pass sockets by inheritance pass the rest through pipes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No successor has been started.
    #[default]
    Asked,
    /// It has been started, and has not called exec.
    Born,
    /// It runs its program.
    Started,
    /// What it needs has been passed on to it: written to a pipe, if the predecessor
    /// is watched; read from one, if the successor is.
    Passed,
    /// It has said something to the predecessor: written, or read, in the same way.
    Ready,
}

impl Phase {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Born => "born",
            Self::Started => "started",
            Self::Passed => "passed on",
            Self::Ready => "ready",
        }
    }
}

/// What is done at one point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// The process is killed at the entry of this call, counted from 1.
    KillAt(u64),
    /// One call fails without being made.
    Fail {
        /// Its name.
        call: String,
        /// Which call of that name, counted from 1.
        turn: u64,
        /// The name of the error.
        errno: String,
    },
}

/// A fault that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The process.
    pub pid: u32,
    /// The number of the call, counted from 1.
    pub number: u64,
    /// Its name.
    pub call: &'static str,
    /// How far the upgrade had come.
    pub phase: Phase,
    /// How many connections it had accepted since it was watched.
    pub accepted: u64,
    /// The clients' addresses of the TCP connections that a killed process had.
    pub clients: BTreeSet<SocketAddr>,
    /// How it ended, if it was killed or crashed of it.
    pub ended: Option<Exit>,
}

/// One upgrade that was hit, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// What was to be done.
    pub aim: Aim,
    /// The process that was upgraded.
    pub old: u32,
    /// When that was asked for.
    pub triggered: Stamp,
    /// What was done; `None`: the point was never reached.
    pub hit: Option<Hit>,
    /// Somebody answered a connection that was begun after that.
    pub answered: bool,
    /// No process of the server was left.
    pub nobody: bool,
    /// The upgrade completed all the same.
    pub completed: bool,
    /// What was said of its failure: by whom it was asked of, or in the server's log.
    pub told: Option<String>,
    /// The next upgrade, which nothing was done to, completed; `None`: there was none.
    pub next: Option<bool>,
    /// What was there afterwards and had not been before: descriptors, processes, files.
    pub left: Vec<String>,
    /// When all this was known.
    pub until: Stamp,
}

/// Points that one server was hit at, and its books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// In their order.
    pub points: Vec<Point>,
    /// What its clients saw.
    pub recording: Recording,
}

/// All points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Whose calls they are.
    pub whom: Whom,
    /// With a server each.
    pub episodes: Vec<Episode>,
    /// Every point was tried, up to the last that the upgrade has.
    pub complete: bool,
    /// What first kept a point from being tried, if something did.
    pub trouble: Option<String>,
}
