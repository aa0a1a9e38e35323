//! What is done to the subject on purpose. A fault comes with the proof that
//! it was delivered: one that was not has been survived by nobody.

mod kill;

pub use kill::{Attempt, KillBeforeReady};
