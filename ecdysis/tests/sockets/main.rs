//! Every kind of socket, handed over by real processes: what crosses, what is
//! let go of, and what happens at the limits.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod server;
mod process;
mod clients;
mod rounds;
mod addresses;
mod unix;
mod datagrams;
mod coming_and_going;
mod reuseport;
mod stops;
mod limits;
mod descriptors;
