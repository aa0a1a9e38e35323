//! Looking at the machine: its network namespace, its counters, its processes.
//! Observers are given pids and addresses; they know nothing of a run.

mod netns;
mod counters;
mod procfs;

pub use counters::read;
pub use netns::{NetnsError, enter};
pub use procfs::{children, group, is_listening, listeners, resources};
