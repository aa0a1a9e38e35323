//! Looking for the plan that goes wrong, and for the smallest such plan. Nothing is
//! run here: a plan is drawn, or proposed, and somebody else says whether it fails.

mod odds;
mod sound;
mod bounds;
mod draw;
mod proposals;
mod shrink;

pub use draw::draw;
pub use odds::Odds;
pub use shrink::{Answer, Search, shrink};
pub use sound::{Size, sound};
