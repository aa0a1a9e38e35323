//! Who sent each RST, why, and whom it hurt.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::check::NamedReset;
use super::evidence::Evidence;
use super::windows::Windows;
use crate::clock::Stamp;
use crate::event::{Connection, Reset, Resets};

/// The kernel's tracing prints microseconds, and cuts off what is below.
const PRECISION: Duration = Duration::from_micros(1);

/// Every RST that was traced, in order of time.
pub(super) fn named(evidence: &Evidence<'_>, windows: &Windows) -> Vec<NamedReset> {
    let Resets::Traced { resets, pids, .. } = &evidence.recording.kernel.resets else {
        return Vec::new();
    };
    let clients = Clients::new(&evidence.recording.connections);
    let mut named: Vec<NamedReset> =
        resets.iter().map(|reset| name(reset, *pids, &clients, evidence, windows)).collect();
    named.sort_by_key(|reset| reset.at);
    named
}

fn name(
    reset: &Reset,
    pids: bool,
    clients: &Clients<'_>,
    evidence: &Evidence<'_>,
    windows: &Windows,
) -> NamedReset {
    let connection = [reset.destination, reset.source]
        .into_iter()
        .find_map(|end| clients.of(end, reset.at.after(PRECISION)));
    let sender = evidence.recording.generations.iter().rev().find(|process| {
        pids && process.pid == reset.pid && process.seen <= reset.at.after(PRECISION)
    });
    let begun = windows.upgrades().partition_point(|edges| edges.triggered <= reset.at);
    let upgrade = windows.upgrades().get(..begun).and_then(<[_]>::last);
    NamedReset {
        at: reset.at,
        reason: reset.reason.clone(),
        pid: pids.then_some(reset.pid),
        command: reset.command.clone(),
        is_subject: sender.is_some(),
        generation: sender.and_then(|process| process.generation),
        source: reset.source,
        destination: reset.destination,
        connection: connection.map(|connection| connection.id),
        hurt: connection.is_some_and(|connection| connection.reset),
        upgrade: upgrade.map(|edges| edges.number),
        after_trigger: upgrade.map(|edges| reset.at - edges.triggered),
    }
}

/// The clients' connections by their own addresses. A port is used again after
/// a while, so there may be several, in order of time.
#[derive(Debug)]
struct Clients<'a>(HashMap<SocketAddr, Vec<(Stamp, &'a Connection)>>);

impl<'a> Clients<'a> {
    fn new(connections: &'a [Connection]) -> Self {
        let mut clients: HashMap<SocketAddr, Vec<_>> = HashMap::new();
        for connection in connections {
            if let (Some(local), Some(opened)) = (connection.local, connection.opened) {
                clients.entry(canonical(local)).or_default().push((opened, connection));
            }
        }
        clients.values_mut().for_each(|uses| uses.sort_by_key(|(opened, _)| *opened));
        Self(clients)
    }

    /// The connection that had this address at that moment, or had it last.
    fn of(&self, address: SocketAddr, at: Stamp) -> Option<&'a Connection> {
        let uses = self.0.get(&canonical(address))?;
        let begun = uses.partition_point(|(opened, _)| *opened <= at);
        uses.get(..begun)?.last().map(|(_, connection)| *connection)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
