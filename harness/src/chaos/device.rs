//! What every fault has in common: it is prepared before the upgrade is asked for,
//! done while it is under way, and undone when all is over.

use std::fmt::{self, Debug};
use std::path::Path;

use crate::clock::{Clock, Stamp};
use crate::event::Sightings;
use crate::subject::Subject;

/// What a fault has in its hands.
pub struct Scene<'a> {
    /// The server.
    pub subject: &'a mut Subject,
    /// Who answers.
    pub sightings: &'a Sightings,
    /// The run's clock.
    pub clock: Clock,
    /// The run's private directory.
    pub directory: &'a Path,
    /// The process that serves when the upgrade begins.
    pub old: u32,
    /// When waiting is of no use any more.
    pub give_up: Stamp,
    /// Whether waiting is of no use any more for another reason: the request for the
    /// upgrade has ended, or the run was interrupted.
    pub over: &'a mut dyn FnMut() -> bool,
}

impl Debug for Scene<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("old", &self.old).finish_non_exhaustive()
    }
}

/// One fault, aimed at one upgrade.
///
/// Dropping it undoes what it has done to anything but processes, so nothing stays
/// behind whichever way a run ends.
pub trait Device: Debug {
    /// Prepares it, before the upgrade is asked for.
    ///
    /// # Errors
    ///
    /// Why it cannot be done here. The upgrade then goes on without it.
    fn prepare(&mut self, _scene: &mut Scene<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Does it, or sees that it is done, while the upgrade is under way.
    fn inject(&mut self, scene: &mut Scene<'_>) -> Attempt;

    /// Undoes it when it is known what became of the upgrade. Called on every way out,
    /// also of an upgrade that it has missed. Returns what else is known by then of
    /// what it did.
    fn heal(&mut self, _scene: &mut Scene<'_>) -> Option<String> {
        None
    }
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was done.
    Delivered(Hit),
    /// It was not; the upgrade goes on as if nothing had been tried.
    Missed {
        /// The process that was aimed at, if one was seen.
        pid: Option<u32>,
        /// What happened instead.
        evidence: String,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The process that it was done to, where there is one.
    pub pid: Option<u32>,
    /// The process that has died of it, or is to die.
    pub victim: Option<u32>,
    /// When.
    pub injected: Stamp,
    /// The proof, in words.
    pub evidence: String,
}
