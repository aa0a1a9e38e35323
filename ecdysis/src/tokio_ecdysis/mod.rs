//! Graceful restarts for services that run on Tokio.
//!
//! [`TokioEcdysisBuilder`] is where a process begins: it finds out whether it
//! has a predecessor, binds or inherits its sockets, and is consumed by
//! [`TokioEcdysisBuilder::ready`], from where on the process serves.

mod listener;
mod control;
mod trigger;
mod upgrader;
mod builder;

pub use builder::{TokioEcdysis, TokioEcdysisBuilder};
pub use listener::{StopOnShutdown, StoppableStream};
pub use tokio::signal::unix::SignalKind;
pub use trigger::{ExitMode, ExitReason};
pub use upgrader::TokioEcdysisUpgradeResult;

/// What stops streams; the published crate has these names here as well.
pub mod supervisor {
    pub use super::listener::{StopOnShutdown, StoppableStream};
}
