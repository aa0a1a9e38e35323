//! Every kind of socket, handed over by real processes: what crosses, what is
//! let go of, and what happens at the limits.
//!
//! The processes are the examples `every_socket` and `bequest`. `cargo test`
//! builds them; `cargo test --test sockets` alone does not, and would go on with
//! those of the last build.

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
mod threads;
mod descriptors;
mod bequest;
mod manners;
mod later_versions;
mod earlier_versions;
