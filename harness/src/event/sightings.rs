//! The live view of who answers: written by the load, read while the run goes
//! on by whoever must know which process serves now.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::operation::Served;
use crate::clock::Stamp;

/// What is known of one answering process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    served: Served,
    /// Dispatch time of the first connection it answered.
    first: Stamp,
    /// Dispatch time of the newest connection it answered.
    newest: Stamp,
}

/// Who answered connections, and when these were dispatched. Clones share one board.
///
/// Moments are those of the *dispatch*: an answer to a connection dispatched
/// after some moment proves that its server accepted after that moment.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    board: Arc<(Mutex<HashMap<u32, Sighting>>, Condvar)>,
}

impl Sightings {
    /// Notes that `served` answered a connection dispatched at `dispatched`.
    pub fn note(&self, served: Served, dispatched: Stamp) {
        let (board, changed) = &*self.board;
        let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = !board.contains_key(&served.pid);
        let sighting = board.entry(served.pid).or_insert(Sighting {
            served,
            first: dispatched,
            newest: dispatched,
        });
        sighting.first = sighting.first.min(dispatched);
        let newer = sighting.newest < dispatched;
        sighting.newest = sighting.newest.max(dispatched);
        drop(board);
        if fresh || newer {
            changed.notify_all();
        }
    }

    /// What `pid` called itself, if it ever answered.
    #[must_use]
    pub fn served_by(&self, pid: u32) -> Option<Served> {
        self.read(pid).map(|sighting| sighting.served)
    }

    /// Dispatch time of the first connection that `pid` answered.
    #[must_use]
    pub fn first_by(&self, pid: u32) -> Option<Stamp> {
        self.read(pid).map(|sighting| sighting.first)
    }

    /// Dispatch time of the newest connection that `pid` answered.
    #[must_use]
    pub fn newest_by(&self, pid: u32) -> Option<Stamp> {
        self.read(pid).map(|sighting| sighting.newest)
    }

    /// Every pid that has answered, with what it called itself.
    #[must_use]
    pub fn all(&self) -> Vec<Served> {
        let (board, _) = &*self.board;
        let board = board.lock().unwrap_or_else(PoisonError::into_inner);
        board.values().map(|sighting| sighting.served).collect()
    }

    /// Waits until something new was noted, or for `at_most`. It may also
    /// return without either: the caller looks at the board and decides.
    pub fn wait(&self, at_most: std::time::Duration) {
        let (board, changed) = &*self.board;
        let board = board.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout(board, at_most));
    }

    fn read(&self, pid: u32) -> Option<Sighting> {
        let (board, _) = &*self.board;
        board.lock().unwrap_or_else(PoisonError::into_inner).get(&pid).copied()
    }
}
