//! What the kernel knows: a private network, its counters, and what each
//! process holds.
//!
//! Everything is read from `/proc`, of any process of the same user, without
//! its help: a server under test cannot lie here.

pub mod counters;
pub mod loss;
pub mod machine;
pub mod netns;
pub mod procfs;
pub mod sockdiag;
pub mod sampler;
mod reset_line;
pub mod tracefs;
mod watch;
mod capabilities;

pub use capabilities::{Capability, capabilities};
pub use watch::Watch;
