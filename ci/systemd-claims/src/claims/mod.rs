//! What is claimed, by service. Each port is one service's.

mod reloads;
mod stops;
mod failures;
mod crashes;
mod store;
mod activation;
mod hardened;
mod watchdog;

use crate::report::{Failure, Report};

/// Tries what is claimed of one service, or of a few.
type Group = fn(&mut Report) -> Result<(), Failure>;

/// All groups.
pub(crate) const ALL: [(&str, Group); 9] = [
    ("reloads", reloads::under_load),
    ("notify", reloads::in_steps),
    ("stops", stops::drain),
    ("failures", failures::cost_nothing),
    ("crashes", crashes::are_noticed),
    ("store", store::keeps_the_queue),
    ("activation", activation::finds_its_sockets),
    ("hardened", hardened::units),
    ("watchdog", watchdog::is_fed),
];
