//! The processes of the subject, as a recording has them.

use std::collections::BTreeSet;
use std::path::Path;

use super::storm::Storm;
use crate::event::{Generation, ServerLedger, Sightings};
use crate::subject::Subject;

/// Every process that had a part in the run: all but `next`, which serves in the next.
pub(super) fn generations(
    subject: &Subject,
    next: Option<u32>,
    sightings: &Sightings,
    storm: &mut Storm,
    ledgers: Option<&Path>,
    attached: bool,
) -> Vec<Generation> {
    let record = |process: &crate::subject::Process| {
        let ledger = ledgers.and_then(|directory| read_ledger(directory, process.pid));
        let claimed = sightings.served_by(process.pid).and_then(|served| served.generation);
        Generation {
            pid: process.pid,
            generation: claimed.or_else(|| ledger.as_ref().map(|ledger| ledger.generation)),
            seen: process.seen,
            gone: process.gone,
            exit: process.exit,
            ledger,
            listeners: storm.listeners.remove(&process.pid).unwrap_or_default(),
            resources: storm.resources.remove(&process.pid),
        }
    };
    let mut generations: Vec<_> = subject
        .processes()
        .iter()
        .filter(|process| process.gone.is_some() || Some(process.pid) != next)
        .map(record)
        .collect();
    if attached {
        // Of a server that is not ours, a process may be known by its answers alone.
        let seen = |pid| subject.processes().iter().any(|process| process.pid == pid);
        let others = sightings.all().into_iter().filter(|served| !seen(served.pid));
        generations.extend(others.map(|served| Generation {
            pid: served.pid,
            generation: served.generation,
            seen: sightings.first_by(served.pid).unwrap_or_default(),
            gone: None,
            exit: None,
            ledger: None,
            listeners: BTreeSet::new(),
            resources: None,
        }));
        generations.sort_by_key(|generation| generation.seen);
    }
    generations
}

/// A ledger that is not there, or cannot be read, is missing: the judge says so.
fn read_ledger(directory: &Path, pid: u32) -> Option<ServerLedger> {
    let text = std::fs::read(directory.join(format!("{pid}.json"))).ok()?;
    serde_json::from_slice(&text).ok()
}
