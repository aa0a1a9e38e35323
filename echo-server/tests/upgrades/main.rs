//! The real server, upgraded for real: what succeeds, and what may go wrong
//! without anybody noticing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod server;
mod chain;
mod failures;
mod handoff;
mod triggers;
mod pid_file;
mod control;
mod circumstances;
mod clients;
