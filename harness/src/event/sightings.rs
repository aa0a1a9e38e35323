//! The live view of who answers: written by the load, read while the run goes
//! on by whoever must know which process serves now.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

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

/// What is known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Board(HashMap<u32, Sighting>);

impl Board {
    /// Dispatch time of the first connection that `pid` answered.
    #[must_use]
    pub fn first_by(&self, pid: u32) -> Option<Stamp> {
        self.0.get(&pid).map(|sighting| sighting.first)
    }

    /// Dispatch time of the newest connection that `pid` answered.
    #[must_use]
    pub fn newest_by(&self, pid: u32) -> Option<Stamp> {
        self.0.get(&pid).map(|sighting| sighting.newest)
    }

    /// Everybody who has answered, as they called themselves.
    pub fn answered(&self) -> impl Iterator<Item = Served> {
        self.0.values().map(|sighting| sighting.served)
    }
}

/// Who answered connections, and when these were dispatched. Clones share one board.
///
/// Moments are those of the *dispatch*: an answer to a connection dispatched
/// after some moment proves that its server accepted after that moment.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    shared: Arc<(Mutex<Board>, Condvar)>,
}

impl Sightings {
    /// Notes that `served` answered a connection dispatched at `dispatched`.
    pub fn note(&self, served: Served, dispatched: Stamp) {
        let (board, changed) = &*self.shared;
        let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = !board.0.contains_key(&served.pid);
        let sighting = board.0.entry(served.pid).or_insert(Sighting {
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
        self.look(|board| board.0.get(&pid).map(|sighting| sighting.served))
    }

    /// Dispatch time of the first connection that `pid` answered.
    #[must_use]
    pub fn first_by(&self, pid: u32) -> Option<Stamp> {
        self.look(|board| board.first_by(pid))
    }

    /// Dispatch time of the newest connection that `pid` answered.
    #[must_use]
    pub fn newest_by(&self, pid: u32) -> Option<Stamp> {
        self.look(|board| board.newest_by(pid))
    }

    /// Every process that has answered, with what it called itself.
    #[must_use]
    pub fn all(&self) -> Vec<Served> {
        self.look(|board| board.answered().collect())
    }

    /// Waits until `holds` does, for `at_most`; whether it did. It is looked at
    /// anew whenever something was noted.
    pub fn wait_until(&self, at_most: Duration, mut holds: impl FnMut(&Board) -> bool) -> bool {
        let (board, changed) = &*self.shared;
        let board = board.lock().unwrap_or_else(PoisonError::into_inner);
        changed
            .wait_timeout_while(board, at_most, |board| !holds(board))
            .is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    fn look<R>(&self, at: impl FnOnce(&Board) -> R) -> R {
        let (board, _) = &*self.shared;
        at(&board.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
