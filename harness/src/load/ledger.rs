//! The rows of the client ledger, and the books that say how many there must be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::event::{Connection, Fate, Operation};

/// Where clients put their rows. Nobody reads them while the load runs, so a
/// row costs a place in a lock-free list and wakes nobody.
#[derive(Debug)]
pub(super) struct Ledger {
    operations: Sender<Operation>,
    connections: Sender<Connection>,
    next_operation: AtomicU64,
    next_connection: AtomicU64,
    intended: Vec<AtomicU64>,
    ended: AtomicU64,
    harmed: AtomicU64,
}

/// Where the rows come out again.
#[derive(Debug)]
pub(super) struct Rows {
    operations: Receiver<Operation>,
    connections: Receiver<Connection>,
}

impl Ledger {
    /// An empty ledger for this many populations.
    pub(super) fn new(populations: usize) -> (Self, Rows) {
        let (operations, operation_rows) = channel();
        let (connections, connection_rows) = channel();
        let ledger = Self {
            operations,
            connections,
            next_operation: AtomicU64::new(0),
            next_connection: AtomicU64::new(0),
            intended: (0..populations).map(|_| AtomicU64::new(0)).collect(),
            ended: AtomicU64::new(0),
            harmed: AtomicU64::new(0),
        };
        (ledger, Rows { operations: operation_rows, connections: connection_rows })
    }

    /// Books an operation that is wanted, and names it. From here on a row is due.
    pub(super) fn intend(&self, population: u16) -> u64 {
        if let Some(count) = self.intended.get(usize::from(population)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.next_operation.fetch_add(1, Ordering::Relaxed)
    }

    /// The name of a new connection.
    pub(super) fn connection_id(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// Enters an operation that has ended.
    pub(super) fn operation(&self, row: Operation) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if matches!(row.fate, Fate::Harmed(_)) {
            self.harmed.fetch_add(1, Ordering::Relaxed);
        }
        // The receiver outlives every client; without it nobody wants the row.
        drop(self.operations.send(row));
    }

    /// Enters a connection that has ended.
    pub(super) fn connection(&self, row: Connection) {
        drop(self.connections.send(row));
    }

    /// Operations that have ended, and how many of them were harmed.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.ended.load(Ordering::Relaxed), self.harmed.load(Ordering::Relaxed))
    }

    /// Operations that were wanted, by population.
    pub(super) fn intended(&self) -> Vec<u64> {
        self.intended.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

impl Rows {
    /// Every row entered so far, by id.
    pub(super) fn take(&self) -> (Vec<Operation>, Vec<Connection>) {
        let mut operations: Vec<_> = self.operations.try_iter().collect();
        let mut connections: Vec<_> = self.connections.try_iter().collect();
        operations.sort_unstable_by_key(|row| row.id);
        connections.sort_unstable_by_key(|row| row.id);
        (operations, connections)
    }
}
