//! What is done to the subject on purpose. A fault comes with the proof that
//! it was delivered: one that was not has been survived by nobody.

mod device;
mod kill;
mod ready;
mod shim;
mod obstacle;
mod errors;
pub mod trace;

pub use device::{Attempt, Device, Hit, Scene};
pub use errors::{Errors, TableError};
pub use kill::KillBeforeReady;
pub use obstacle::InTheWay;
pub use ready::AfterReady;
pub use shim::Shim;
