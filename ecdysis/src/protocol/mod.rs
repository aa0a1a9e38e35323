//! The handoff as two state machines, one for each end. No I/O and no clock:
//! inputs are events and `Instant`s, outputs are things to do and one deadline.
//!
//! ```text
//! predecessor: Leaving                        successor: Joining
//!
//!   Initialising  ◄────────── ready ───────────  Initialising
//!   stop accepting
//!   Probation     ─────────── go ─────────────►  Waiting → accept
//!     died: accept again                         Unsettled
//!   Settling      ─────────── settled ────────►  Settled
//!   Done          ◄────────── (closes) ────────
//!                 ─────────── (closes) ───────►  may be upgraded
//! ```
//!
//! A successor that was told to stop before it hears *go* declines instead, and the
//! predecessor accepts again.
//!
//! A predecessor that leads connections past members of a group while it empties
//! them closes its pipe only after that: a generation that joined the group
//! earlier would lead them there again.
//!
//! A successor built on the published crate accepts when it has said ready,
//! and takes no words; a predecessor built on it sends none. Both are the same
//! machines with some arrows left out.

mod words;
mod leaving;
mod ready;
mod joining;

pub(crate) use joining::{Act, Heard, Joining};
pub(crate) use leaving::{Do, Leaving, Seen, Verdict, after};
pub(crate) use ready::Listener;
pub(crate) use words::{Later, READY, READY_OURS, Then, Word};

#[cfg(test)]
mod tests;
