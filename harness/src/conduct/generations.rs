//! The processes of the subject, as a recording has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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

/// Removes the ledgers that were read. A server that lives long has processes with the
/// numbers of earlier ones, and one that leaves no ledger must not get another's.
pub(super) fn remove_ledgers(directory: &Path, generations: &[Generation]) {
    for generation in generations.iter().filter(|generation| generation.ledger.is_some()) {
        // One that cannot be removed goes with the directory of the run.
        let _ = std::fs::remove_file(ledger(directory, generation.pid));
    }
}

fn ledger(directory: &Path, pid: u32) -> PathBuf {
    directory.join(format!("{pid}.json"))
}

/// A ledger that is not there, or cannot be read, is missing: the judge says so.
fn read_ledger(directory: &Path, pid: u32) -> Option<ServerLedger> {
    let text = std::fs::read(ledger(directory, pid)).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The number of a process is another's later, and its ledger was taken for that
    /// one's.
    #[test]
    fn a_ledger_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = ledger(directory.path(), 7);
        let text = r#"{"generation":3,"pid":7,"accepted":1,"first_read":1,"closed_clean":1,"closed_dirty":0,"bytes_in":1,"bytes_out":1}"#;
        fs::write(&path, text).unwrap();
        let read = || read_ledger(directory.path(), 7);
        let generation = |ledger| Generation {
            pid: 7,
            generation: None,
            seen: crate::clock::Stamp::default(),
            gone: None,
            exit: None,
            ledger,
            listeners: BTreeSet::new(),
            resources: None,
        };
        remove_ledgers(directory.path(), &[generation(None)]);
        assert!(path.exists(), "nobody has read it");
        let found = read();
        assert!(found.is_some());
        remove_ledgers(directory.path(), &[generation(found)]);
        assert!(read().is_none());
    }
}
