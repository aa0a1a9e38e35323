//! What a run comes to, for people and for programs.
//!
//! [`Report`] holds every figure; every file is a function of it (the interval
//! log, which nobody reads figures from, one of the recording) and computes
//! nothing of its own. So two outputs of one run cannot contradict each other.

mod explain;
mod latency;
mod scale;
mod windows;
mod harmed;
mod clients;
mod ledgers;
mod processes;
mod bursts;
mod timeline;
mod superposed;
mod model;
mod number;
mod story;
mod table;
mod text;
mod json;
mod schema;
mod junit;
mod github;
mod markdown;
mod prometheus;
mod hgrm;
mod hlog;
mod html;
mod outputs;
mod progress;
mod sweep;

pub use explain::explain;
pub use github::annotations;
pub use hgrm::hgrm;
pub use hlog::{Latencies, latencies};
pub use html::render as html;
pub use json::{parse, render as json};
pub use junit::junit;
pub use markdown::markdown;
pub use model::{Report, exit};
pub use outputs::Outputs;
pub use progress::Ticker;
pub use prometheus::prometheus;
pub use schema::schema;
pub use sweep::{SWEEP_SCHEMA, sweep};
pub use text::{brief, render as text};
