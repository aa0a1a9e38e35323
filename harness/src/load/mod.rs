//! The open-loop load: clients that follow a schedule, never the server.
//!
//! A thread of its own (`pacer`) merges what every population wants
//! (`schedule`) and hands each operation over at its intended time; it never
//! waits for an answer, drops nothing and moves nothing. Clients of all kinds
//! (`churn`, `keepalive`) talk through one `client`, which only collects facts;
//! `classify` alone turns facts into a [`crate::event::Fate`]. Datagrams have no
//! connection to talk through: a `flow` sends and receives them, and `flight` says
//! what the answers amount to. Rows go to the
//! `ledger`, whose count of intended operations is kept where they are wanted
//! and not where they end, so that a row that vanished is missed.
//!
//! A retry never repairs an operation: whatever is tried again is a new one.

mod schedule;
mod payload;
mod greeting;
mod http;
mod tcpinfo;
mod classify;
mod ledger;
mod intended;
mod pacer;
mod burst;
mod hiccup;
mod seqpacket;
mod link;
mod client;
mod churn;
mod keepalive;
mod flight;
mod flow;
mod generator;

#[cfg(test)]
mod tests;

pub use burst::Volley;
pub use generator::{Gathered, Running, Site, start};
pub use intended::{Intended, intended};
