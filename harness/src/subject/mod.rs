//! The server under test: its program, and the processes that come of it.
//!
//! The harness is their subreaper (prctl(2)), so whichever generation ends
//! first, the next becomes a child of ours, and its exit status comes to us.

mod program;
mod process;
mod lineage;

pub use lineage::Subject;
pub use process::Process;
pub use program::{Binaries, BuildError, resolve};
