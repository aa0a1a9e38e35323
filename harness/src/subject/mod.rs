//! The server under test, as processes: built, started, followed from
//! generation to generation, signalled, and never left behind.
//!
//! A process is held by its pidfd from the moment it is seen, so a signal
//! cannot hit a stranger that was given the same pid later.

mod lineage;
mod process;
mod disguise;
mod program;

pub use disguise::Disguise;
pub use lineage::{Subject, read_pid};
pub use process::{Process, native};
pub use program::{Binaries, BuildError, Places, resolve};
