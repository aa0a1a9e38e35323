//! What a run comes to, for people and for programs.
//!
//! [`Report`] holds every figure; the text, the JSON and the histograms are
//! functions of it or of the recording, and compute nothing of their own. So
//! two outputs of one run cannot contradict each other.

mod explain;
mod latency;
mod windows;
mod clients;
mod ledgers;
mod processes;
mod model;
mod number;
mod table;
mod text;
mod json;
mod hgrm;
mod outputs;
mod progress;

pub use explain::explain;
pub use hgrm::{Latencies, latencies};
pub use json::render as json;
pub use model::{Report, exit};
pub use outputs::Outputs;
pub use progress::Ticker;
pub use text::{brief, render as text};
