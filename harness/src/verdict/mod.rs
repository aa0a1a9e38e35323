//! What a recording proves: a pure function of the plan and the recording.
//!
//! Three outcomes, everywhere: what failed is a fact about the server, what is
//! inconclusive a fact about the observer, and a check that could not be made
//! is said to have not been made. Fail beats inconclusive beats pass.

mod check;

pub use check::{Bounds, Check, Law, Outcome, Status, Verdict};
