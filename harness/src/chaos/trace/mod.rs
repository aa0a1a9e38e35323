//! Faults at a system call: a server is followed by ptrace(2) from generation to
//! generation, and one of its processes is killed at the entry of its N-th call, or
//! one call of it fails without being made.
//!
//! `orders` says what is to be done and what came of it, `call` reads and changes
//! one call of a stopped thread, `follow` is what the tracing thread does at each
//! stop, and `tracer` starts that thread and gives it orders.
//!
//! Only the process that the orders are about is stopped at its calls. All others
//! are stopped when they start a thread or a process, and when they get a signal:
//! that is what following costs them.

mod call;
mod orders;
mod follow;
mod tracer;

pub use call::CAN_FAIL;
pub use orders::{Account, Deed, Orders};
pub use tracer::Tracer;

#[cfg(test)]
mod tests;
