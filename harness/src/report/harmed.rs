//! The operations that came to harm, one by one.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::windows::{Standing, upgrade_at};
use crate::clock::nanos;
use crate::event::{Connection, Harm, OpKind, Operation, Recording, Served};

/// More connections than this nobody looks at one by one.
pub(super) const MAX_CONNS: usize = 200;

/// An operation that came to harm, and what its connection went through.
/// Moments are nanoseconds since the run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Harmed {
    pub(super) harm: Harm,
    /// The operation's id.
    pub(super) operation: u64,
    pub(super) kind: OpKind,
    pub(super) population: Option<String>,
    /// The connection's id.
    pub(super) conn: u64,
    /// The client's address.
    pub(super) local: Option<String>,
    pub(super) intended_ns: u64,
    pub(super) dispatched_ns: u64,
    /// When the harm was seen.
    pub(super) finished_ns: u64,
    /// When `connect` was called.
    pub(super) opened_ns: Option<u64>,
    /// When the handshake was complete.
    pub(super) established_ns: Option<u64>,
    pub(super) first_byte_ns: Option<u64>,
    pub(super) closed_ns: Option<u64>,
    /// The upgrade under way when it ended.
    pub(super) upgrade: Option<u64>,
    /// How long after that upgrade's trigger it ended.
    pub(super) after_trigger_ns: Option<u64>,
    pub(super) errno: Option<i32>,
    /// Who answered, if anybody did.
    pub(super) served: Option<Served>,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
    /// Whether the connection ended by a reset.
    pub(super) reset: bool,
}

/// The first harm of each harmed connection, in the order in which they were
/// seen, up to [`MAX_CONNS`].
pub(super) fn harmed(recording: &Recording, standing: &Standing) -> Vec<Harmed> {
    let hurt = recording.operations.iter().filter_map(|op| Some((op, standing.harm(op)?)));
    let mut hurt: Vec<_> = hurt.collect();
    hurt.sort_by_key(|(op, _)| (op.finished, op.id));
    let mut seen = HashMap::new();
    hurt.retain(|(op, _)| {
        let fresh = seen.len() < MAX_CONNS && !seen.contains_key(&op.connection);
        if fresh {
            seen.insert(op.connection, None);
        }
        fresh
    });
    for connection in &recording.connections {
        if let Some(slot) = seen.get_mut(&connection.id) {
            *slot = Some(connection);
        }
    }
    let found = |id| seen.get(&id).copied().flatten();
    hurt.into_iter().map(|(op, harm)| row(recording, op, harm, found(op.connection))).collect()
}

fn row(
    recording: &Recording,
    op: &Operation,
    harm: Harm,
    connection: Option<&Connection>,
) -> Harmed {
    let upgrade = upgrade_at(&recording.upgrades, op.finished);
    Harmed {
        harm,
        operation: op.id,
        kind: op.kind,
        population: recording.populations.get(usize::from(op.population)).cloned(),
        conn: op.connection,
        local: connection.and_then(|conn| conn.local).map(|local| local.to_string()),
        intended_ns: op.intended.0,
        dispatched_ns: op.dispatched.0,
        finished_ns: op.finished.0,
        opened_ns: connection.and_then(|conn| conn.opened).map(|at| at.0),
        established_ns: connection.and_then(|conn| conn.established).map(|at| at.0),
        first_byte_ns: connection.and_then(|conn| conn.first_byte).map(|at| at.0),
        closed_ns: connection.map(|conn| conn.closed.0),
        upgrade: upgrade.map(|upgrade| upgrade.number),
        after_trigger_ns: upgrade.map(|upgrade| nanos(op.finished - upgrade.triggered)),
        errno: op.errno,
        served: connection.and_then(|conn| conn.served),
        bytes_out: connection.map_or(0, |conn| conn.bytes_out),
        bytes_in: connection.map_or(0, |conn| conn.bytes_in),
        reset: connection.is_some_and(|conn| conn.reset),
    }
}
