//! What is to be run and what must hold: from a file to a [`Plan`].

pub mod plan;

pub use plan::Plan;
