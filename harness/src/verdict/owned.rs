//! What may be lost when a process is killed on purpose: what it had accepted.

use std::collections::{HashMap, HashSet};

use super::check::NamedReset;
use super::evidence::Evidence;
use crate::event::{Connection, Fate, FaultRecord, Harm, Spared};

/// The kernel's reason for the RST that closes a connection which nobody had accepted.
const NEVER_ACCEPTED: &str = "TCP_STATE";

/// The harmed operations on connections that a process had accepted which died of a
/// fault that may cost it these.
pub(super) fn owned(evidence: &Evidence<'_>, resets: &[NamedReset]) -> HashSet<u64> {
    let faults = evidence.recording.faults.iter().filter(|fault| fault.delivered);
    let deadly: Vec<&FaultRecord> =
        faults.filter(|fault| fault.expected.clients == Spared::ButItsOwn).collect();
    if deadly.is_empty() {
        return HashSet::new();
    }
    let queued: HashSet<u64> = resets
        .iter()
        .filter(|reset| reset.reason.as_deref() == Some(NEVER_ACCEPTED))
        .filter_map(|reset| reset.connection)
        .collect();
    let connections: HashMap<u64, &Connection> =
        evidence.recording.connections.iter().map(|one| (one.id, one)).collect();
    let operations = evidence.recording.operations.iter();
    let its_own = operations.filter(|operation| {
        let (Fate::Harmed(harm), Some(connection)) =
            (operation.fate, connections.get(&operation.connection))
        else {
            return false;
        };
        deadly.iter().any(|fault| {
            fault.injected.is_some_and(|injected| operation.finished >= injected)
                && had(fault, connection, harm)
                && !queued.contains(&connection.id)
        })
    });
    its_own.map(|operation| operation.id).collect()
}

/// Whether the process that died had accepted this connection. One that has not been
/// greeted may have been, if it was begun before; it then ends with the process, and is
/// not refused or late. (A busy client notes only later that it is connected.)
fn had(fault: &FaultRecord, connection: &Connection, harm: Harm) -> bool {
    match connection.served {
        Some(served) => fault.victim == Some(served.pid),
        None => {
            let ends = matches!(harm, Harm::EofGreeting | Harm::ResetQueue | Harm::ResetRequest);
            ends && connection.established.is_some()
                && connection.opened <= fault.injected
                && Some(connection.closed) >= fault.injected
        }
    }
}
