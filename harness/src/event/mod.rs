//! What happened, in words that every part of the harness shares.
//!
//! [`Recording`] is the narrow waist: load, chaos and observers only write
//! it, the verdict and the reports only read it. It can be stored and judged
//! again. Nothing here decides whether something was good or bad, but for
//! [`Fate`], which says how one operation of one client ended.

mod burst;
mod fate;
mod fault;
mod kernel;
mod machine;
mod operation;
mod process;
mod progress;
mod recording;
mod sightings;
mod sweep;

pub use burst::{Anchor, Burst};
pub use fate::{Fate, Harm};
pub use fault::{Expected, FaultRecord, Spared, Upshot};
pub use kernel::{
    Counters, Edge, KernelLedger, LOST_HANDSHAKES, LOST_OTHERS, Queue, Reset, Resets, Sample,
    Samples, Scope,
};
pub use machine::Machine;
pub use operation::{Connection, Datagrams, OpKind, Operation, Served};
pub use process::{Exit, Generation, Outcome, Resources, ServerLedger, Upgrade};
pub use progress::Progress;
pub use recording::{Observer, Recording, Timeline, VERSION};
pub use sightings::{Board, Sightings};
pub use sweep::{Aim, Episode, Hit, Phase, Point, Sweep, Whom};
