//! Every fault that can be done, under the ids that reports name.

use std::time::Duration;

use super::fault::{Blow, Fault, FaultKind, Misdeed, Obstacle};
use crate::event::{Expected, Spared, Upshot};

/// How long something takes, or lasts, when a scenario does not say.
const A_WHILE: Duration = Duration::from_millis(300);

/// A fault, as it is when a scenario does not say more.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The id, which variants of a fault share.
    pub id: &'static str,
    /// The name, which is its own.
    pub name: &'static str,
    /// What it does.
    pub kind: FaultKind,
    /// What becomes of the upgrade.
    pub upgrade: Upshot,
    /// Which clients are spared.
    pub clients: Spared,
    /// What befalls the successor, or its program.
    pub says: &'static str,
}

impl Entry {
    /// The entry that a scenario calls by this name, or the first with this id.
    #[must_use]
    pub fn find(word: &str) -> Option<&'static Self> {
        ENTRIES.iter().find(|entry| entry.name == word || entry.id == word)
    }

    /// The entry that `fault` is, and how long it lasts, where that is not what the
    /// entry says. `None` if the catalogue does not have it.
    #[must_use]
    pub fn of(fault: &Fault) -> Option<(&'static Self, Option<Duration>)> {
        let all = ENTRIES.iter().filter(|entry| entry.id == fault.id);
        all.clone().find(|entry| entry.kind == fault.kind).map(|entry| (entry, None)).or_else(
            || {
                all.clone().find_map(|entry| match (entry.kind, fault.kind) {
                    (FaultKind::Shim { misdeed, .. }, FaultKind::Shim { misdeed: same, after })
                        if misdeed == same =>
                    {
                        Some((entry, Some(after)))
                    }
                    (
                        FaultKind::AfterReady { blow, .. },
                        FaultKind::AfterReady { blow: same, span },
                    ) if blow == same => Some((entry, Some(span))),
                    _ => None,
                })
            },
        )
    }

    /// Whether whoever is hit, or asked for it, ends of it by itself and at once, and
    /// without a privilege: a schedule can have many of these.
    #[must_use]
    pub fn is_prompt(&self) -> bool {
        match self.kind {
            FaultKind::KillBeforeReady => true,
            FaultKind::Shim { misdeed, .. } => matches!(
                misdeed,
                Misdeed::Die
                    | Misdeed::Abort
                    | Misdeed::Crash
                    | Misdeed::ReadAndDie
                    | Misdeed::Exit
                    | Misdeed::Fail
                    | Misdeed::Slow
                    | Misdeed::Chain
            ),
            FaultKind::AfterReady { .. } | FaultKind::Path(_) => false,
        }
    }

    /// The right answer, when a scenario does not say another.
    #[must_use]
    pub fn usual(&self) -> Expected {
        Expected { upgrade: self.upgrade, clients: self.clients, told: None }
    }

    /// Who or what is hit.
    #[must_use]
    pub fn whom(&self) -> &'static str {
        match self.kind {
            FaultKind::KillBeforeReady | FaultKind::AfterReady { .. } | FaultKind::Shim { .. } => {
                "the successor"
            }
            FaultKind::Path(_) => "the program",
        }
    }
}

const fn shim(misdeed: Misdeed) -> FaultKind {
    FaultKind::Shim { misdeed, after: Duration::ZERO }
}

const fn entry(
    (id, name): (&'static str, &'static str),
    kind: FaultKind,
    (upgrade, clients): (Upshot, Spared),
    says: &'static str,
) -> Entry {
    Entry { id, name, kind, upgrade, clients, says }
}

const FAILS: (Upshot, Spared) = (Upshot::Fails, Spared::All);
const COSTS_ITS_OWN: (Upshot, Spared) = (Upshot::Fails, Spared::ButItsOwn);
const COMPLETES: (Upshot, Spared) = (Upshot::Completes, Spared::All);

/// Every fault, by id.
pub const ENTRIES: &[Entry] = &[
    entry(
        ("C01", "die"),
        shim(Misdeed::Die),
        FAILS,
        "is killed (SIGKILL) before it has read anything",
    ),
    entry(
        ("C01", "abort"),
        shim(Misdeed::Abort),
        FAILS,
        "aborts (SIGABRT) before it has read anything",
    ),
    entry(
        ("C01", "crash"),
        shim(Misdeed::Crash),
        FAILS,
        "crashes (SIGSEGV) before it has read anything",
    ),
    entry(
        ("C02", "read-and-die"),
        shim(Misdeed::ReadAndDie),
        FAILS,
        "is killed when it has read what it was told, and adopted nothing",
    ),
    entry(
        ("C03", "bind-and-die"),
        shim(Misdeed::BindAndDie),
        FAILS,
        "is killed when it has bound another listener, whose address must be free again",
    ),
    entry(
        ("C04", "kill-before-ready"),
        FaultKind::KillBeforeReady,
        FAILS,
        "is killed at a random moment before it is ready",
    ),
    entry(
        ("C05", "kill-after-ready"),
        FaultKind::AfterReady { blow: Blow::Kill, span: A_WHILE },
        COSTS_ITS_OWN,
        "is killed when it has answered its first client",
    ),
    entry(("C06", "hang"), shim(Misdeed::Hang), FAILS, "hangs before it is ready"),
    entry(
        ("C06", "hang-on"),
        shim(Misdeed::HangOn),
        FAILS,
        "hangs before it is ready, with SIGTERM blocked",
    ),
    entry(("C07", "exit"), shim(Misdeed::Exit), FAILS, "exits with status 0 without a word"),
    entry(("C07", "fail"), shim(Misdeed::Fail), FAILS, "exits with status 3 without a word"),
    entry(
        ("C08", "babble"),
        shim(Misdeed::Babble),
        FAILS,
        "writes garbage to every pipe it was given, and hangs",
    ),
    entry(
        ("C08", "mumble"),
        shim(Misdeed::Mumble),
        FAILS,
        "writes one byte to every pipe it was given, and hangs",
    ),
    entry(
        ("C08", "flood"),
        shim(Misdeed::Flood),
        FAILS,
        "fills every pipe it was given, and hangs",
    ),
    entry(
        ("C09", "close-pipes"),
        shim(Misdeed::ClosePipes),
        FAILS,
        "closes every pipe it was given, and lives on",
    ),
    entry(("C10", "freeze"), shim(Misdeed::Freeze), FAILS, "stops (SIGSTOP) before it is ready"),
    entry(
        ("C11", "freeze-after-ready"),
        FaultKind::AfterReady { blow: Blow::Freeze, span: A_WHILE },
        COMPLETES,
        "stands still (SIGSTOP, SIGCONT) when it has answered its first client",
    ),
    entry(
        ("C12", "little-memory"),
        shim(Misdeed::LittleMemory),
        FAILS,
        "has no memory (RLIMIT_AS)",
    ),
    entry(("C12", "few-files"), shim(Misdeed::FewFiles), FAILS, "may open no file (RLIMIT_NOFILE)"),
    entry(
        ("C13", "slow"),
        FaultKind::Shim { misdeed: Misdeed::Slow, after: A_WHILE },
        COMPLETES,
        "is slow to start",
    ),
    entry(
        ("C16", "shut-listeners"),
        shim(Misdeed::ShutListeners),
        FAILS,
        "shuts the listeners down that it has inherited, for everybody",
    ),
    entry(
        ("C17", "make-blocking"),
        shim(Misdeed::MakeBlocking),
        COMPLETES,
        "makes the listeners blocking that it has inherited, for everybody, and serves",
    ),
    entry(
        ("C17", "make-blocking-and-die"),
        shim(Misdeed::MakeBlockingAndDie),
        FAILS,
        "makes the listeners blocking that it has inherited, for everybody, and is killed",
    ),
    entry(
        ("C18", "leave-child"),
        shim(Misdeed::LeaveChild),
        FAILS,
        "leaves all that it was given to a child that lives on, and is killed",
    ),
    entry(
        ("C19", "daemonise"),
        shim(Misdeed::Daemonise),
        FAILS,
        "goes into the background, by a child in a session of its own",
    ),
    entry(
        ("C20", "chain"),
        shim(Misdeed::Chain),
        COMPLETES,
        "is started by a script that executes it",
    ),
    entry(
        ("C21", "drop-privileges"),
        shim(Misdeed::DropPrivileges),
        COMPLETES,
        "gives up the rights of root before it starts",
    ),
    entry(("C25", "die-again"), shim(Misdeed::Die), FAILS, "is killed at its start, over and over"),
    entry(
        ("C28", "block-signals"),
        shim(Misdeed::BlockSignals),
        COMPLETES,
        "starts with every signal blocked",
    ),
    entry(
        ("C28", "ignore-hangup"),
        shim(Misdeed::IgnoreHangup),
        COMPLETES,
        "starts with SIGHUP ignored",
    ),
    entry(
        ("C29", "accept-and-die"),
        shim(Misdeed::AcceptAndDie),
        COSTS_ITS_OWN,
        "accepts one client before it is ready, and is killed",
    ),
    entry(("P09", "missing"), FaultKind::Path(Obstacle::Missing), FAILS, "is not there (ENOENT)"),
    entry(
        ("P10", "not-executable"),
        FaultKind::Path(Obstacle::NotExecutable),
        FAILS,
        "must not be executed (EACCES)",
    ),
    entry(
        ("P11", "directory"),
        FaultKind::Path(Obstacle::Directory),
        FAILS,
        "is a directory (EACCES)",
    ),
    entry(
        ("P12", "other-machine"),
        FaultKind::Path(Obstacle::OtherMachine),
        FAILS,
        "is for another machine (ENOEXEC)",
    ),
    entry(
        ("P12", "truncated"),
        FaultKind::Path(Obstacle::Truncated),
        FAILS,
        "is cut short (ENOEXEC)",
    ),
    entry(("P12", "empty"), FaultKind::Path(Obstacle::Empty), FAILS, "is empty (ENOEXEC)"),
    entry(
        ("P13", "written-to"),
        FaultKind::Path(Obstacle::WrittenTo),
        FAILS,
        "is being written to (ETXTBSY)",
    ),
    entry(
        ("P14", "link-loop"),
        FaultKind::Path(Obstacle::Loop),
        FAILS,
        "is a link to itself (ELOOP)",
    ),
    entry(
        ("P15", "no-interpreter"),
        FaultKind::Path(Obstacle::NoInterpreter),
        FAILS,
        "is a script whose interpreter is missing (ENOENT)",
    ),
    entry(
        ("P16", "replaced"),
        FaultKind::Path(Obstacle::Replaced),
        COMPLETES,
        "is another file than that which runs",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_a_name_of_their_own_and_by_id() {
        for entry in ENTRIES {
            let found = Entry::find(entry.name).unwrap();
            assert_eq!((found.name, found.kind), (entry.name, entry.kind));
            assert_eq!(Entry::find(entry.id).unwrap().id, entry.id);
        }
        let mut names: Vec<_> = ENTRIES.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ENTRIES.len());
        assert!(ENTRIES.is_sorted_by_key(|entry| entry.id));
        assert!(Entry::find("C99").is_none());
    }
}
