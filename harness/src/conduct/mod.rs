//! The run itself: it starts the subject, sets the load on it, upgrades and
//! disturbs it, and writes down what happened. It judges nothing, and returns
//! a recording even of a run that went wrong half-way.

mod error;
mod descriptors;
mod prepare;
mod interrupt;
mod trigger;
mod witness;
mod stage;
mod aim;
mod outcome;
mod sabotage;
mod storm;
mod start;
mod generations;
mod relief;
mod run;
mod tenure;
mod sweep;

pub use error::ConductError;
pub use prepare::{Prepared, prepare};
pub use relief::Relief;
pub use run::conduct;
pub use sweep::{Course, Span, sweep};
pub use tenure::Tenure;
