//! What a network that loses packets has to answer for, and what it has not.

use super::check::{Check, Status};
use super::evidence::Evidence;
use crate::event::{LOST_HANDSHAKES, LOST_OTHERS};

/// How many packets have got lost on purpose.
pub(super) fn lost(evidence: &Evidence<'_>) -> i128 {
    let kernel = &evidence.recording.kernel;
    kernel.delta(LOST_HANDSHAKES) + kernel.delta(LOST_OTHERS)
}

/// Whether every handshake that took long has the network to blame: no more SYNs were
/// sent again than got lost with their answers. Then nobody knows of one that the
/// server has dropped; if it did drop one, the kernel has counted that.
pub(super) fn explains_late_handshakes(evidence: &Evidence<'_>) -> bool {
    let lost = evidence.recording.kernel.delta(LOST_HANDSHAKES);
    lost > 0 && evidence.sent_again() <= lost
}

/// That packets got lost at all, in the course of connections and before them. Nothing,
/// where none was to.
pub(super) fn check(evidence: &Evidence<'_>) -> Option<Check> {
    evidence.plan.network.loss?;
    let kernel = &evidence.recording.kernel;
    let [handshakes, others] = [LOST_HANDSHAKES, LOST_OTHERS].map(|name| kernel.delta(name));
    let status = if handshakes > 0 && others > 0 { Status::Pass } else { Status::Inconclusive };
    Some(Check {
        id: "network.loss".to_owned(),
        status,
        limit: ">= 1 of each".to_owned(),
        got: format!("{handshakes} of handshakes, {others} others"),
        detail: Some(format!("{} SYNs were sent again", evidence.sent_again())),
        gate: None,
    })
}
