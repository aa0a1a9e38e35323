//! What the tracing thread is to do, and what came of it.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use syscalls::Sysno;

use crate::event::{Exit, Hit, Phase, Whom};

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing; its calls are only written down.
    Watch,
    /// It is killed at the entry of this call, counted from 1, before it is made.
    KillAt(u64),
    /// This call of its fails so; but for `close`, it is not made.
    Fail {
        /// The call.
        call: Sysno,
        /// Which call of that name, counted from 1.
        turn: u64,
        /// With what.
        errno: Errno,
    },
}

/// One upgrade's orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// The process that is upgraded.
    pub old: u32,
    /// Whose calls are counted.
    pub whom: Whom,
    /// What is done to it.
    pub deed: Deed,
    /// The signal whose arrival is the trigger. `None`: a predecessor's calls are
    /// counted from the order on.
    pub trigger: Option<Signal>,
}

/// What was seen since the orders were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The successor, once it was born.
    pub successor: Option<u32>,
    /// How far the upgrade has come.
    pub phase: Phase,
    /// The calls that were counted, in their order.
    pub calls: Vec<&'static str>,
    /// How many connections the process has accepted since then.
    pub accepted: u64,
    /// The process that is being stopped, to be killed when it stands still.
    pub condemned: Option<Hit>,
    /// The fault, once it is done.
    pub hit: Option<Hit>,
    /// Processes that have ended, and how.
    pub ended: BTreeMap<u32, Exit>,
    /// What the tracing thread could not do.
    pub trouble: Option<String>,
}
