//! A run as it is kept, so that it can be judged again: the plan in
//! `plan.json`, and what happened in `recording.json.gz`, which
//! `zcat recording.json.gz | jq` reads.
//!
//! A run whose load came from several generators has a part for each. Parts are
//! kept side by side and never blended, so that nothing is lost by it.

mod error;
mod file;
mod run;
mod view;
mod merge;

pub use error::StoreError;
pub use merge::MergeError;
pub use run::{Part, Run, read_plan, write_plan};
