//! The laws, once for every upgrade: between its trigger and the moment when
//! the old generation is gone, or the next upgrade is triggered.
//!
//! Counters are read while clients go on. A connection that was being opened
//! just then may be counted by the reading or not, so at each edge a counter is
//! known between two bounds: what had surely happened, and what may have. Outside
//! of them a law is broken; between them nothing is said; where both are the
//! same, the law is exact.

use std::collections::BTreeMap;

use super::check::{Check, Closing, Law, Status, UpgradeWindow};
use super::counters::MUST_BE_ZERO;
use super::evidence::Evidence;
use super::gates::Findings;
use crate::clock::Stamp;
use crate::event::{Connection, Edge, Operation, Sample, Upgrade};

/// How many broken laws a check names.
const NAMED: usize = 5;

/// The windows of all upgrades, in their order.
pub(super) fn windows(evidence: &Evidence<'_>, findings: &Findings<'_>) -> Vec<UpgradeWindow> {
    let upgrades = &evidence.recording.upgrades;
    let books = Books::new(evidence);
    let one = |(place, upgrade): (usize, &Upgrade)| {
        window(upgrade, upgrades.get(place + 1), &books, evidence, findings)
    };
    upgrades.iter().enumerate().map(one).collect()
}

/// All of them in one check.
pub(super) fn check(windows: &[UpgradeWindow]) -> Option<Check> {
    let laws =
        || windows.iter().flat_map(|window| window.laws.iter().map(move |law| (window, law)));
    let with = |status| laws().filter(|(_, law)| law.status == status).count();
    let worst = laws().map(|(_, law)| law.status).max()?;
    // One that was open beside others that held is no reason to doubt these.
    let held = worst == Status::NotChecked && with(Status::Pass) > 0;
    let status = if held { Status::Pass } else { worst };
    let wrong = laws().filter(|(_, law)| matches!(law.status, Status::Fail | Status::Inconclusive));
    let named: Vec<String> = wrong
        .take(NAMED)
        .map(|(window, law)| format!("#{} {}: {} = {}", window.number, law.id, law.lhs, law.rhs))
        .collect();
    let detail = match (named.is_empty(), status) {
        (false, _) => Some(named.join(", ")),
        (true, Status::NotChecked) => Some("no law could be checked between upgrades".to_owned()),
        (true, Status::Pass | Status::Inconclusive | Status::Fail) => None,
    };
    Some(Check {
        id: "upgrades.laws".to_owned(),
        status,
        limit: "exact".to_owned(),
        got: format!(
            "{} held, {} open, {} broken",
            with(Status::Pass),
            with(Status::NotChecked),
            with(Status::Fail)
        ),
        detail,
        gate: None,
    })
}

/// The clients' ledger, in orders that make windows cheap.
#[derive(Debug)]
struct Books<'a> {
    /// By the time for which they were intended.
    operations: Vec<&'a Operation>,
    /// For each operation that left no row, when the one before it was
    /// intended. `None`: the ids do not tell.
    lost: Option<Vec<Stamp>>,
    opened: Happening,
    reset: Happening,
}

impl<'a> Books<'a> {
    fn new(evidence: &Evidence<'a>) -> Self {
        let recording = evidence.recording;
        let mut operations: Vec<&Operation> = recording.operations.iter().collect();
        operations.sort_by_key(|operation| (operation.intended, operation.id));
        let shaken = |connection: &Connection| connection.established.unwrap_or(connection.closed);
        // The kernel's counters know of no other connections.
        let reset = recording.connections.iter();
        let reset = reset.filter(|connection| connection.reset && evidence.is_tcp(connection));
        let opened = evidence.opened().filter(|connection| evidence.is_tcp(connection));
        Self {
            operations,
            lost: lost(evidence),
            opened: Happening::new(opened.filter_map(|one| Some((one.opened?, shaken(one))))),
            reset: Happening::new(reset.map(|one| (one.opened.unwrap_or_default(), one.closed))),
        }
    }

    fn between(&self, from: Stamp, until: Stamp) -> &[&'a Operation] {
        let place = |stamp| self.operations.partition_point(|one| one.intended < stamp);
        self.operations.get(place(from)..place(until)).unwrap_or_default()
    }
}

/// Ids are given in the order in which operations are intended, without gaps. So
/// one that is missing was intended about when its neighbour was.
fn lost(evidence: &Evidence<'_>) -> Option<Vec<Stamp>> {
    let intended: u64 = evidence.recording.observer.intended.iter().sum();
    let mut rows: Vec<(u64, Stamp)> =
        evidence.recording.operations.iter().map(|one| (one.id, one.intended)).collect();
    rows.sort_unstable();
    if rows.last().is_some_and(|(id, _)| *id >= intended) {
        return None;
    }
    let (mut lost, mut next, mut before) = (Vec::new(), 0, Stamp::default());
    for (id, stamp) in rows.into_iter().chain([(intended, Stamp(u64::MAX))]) {
        lost.extend((next..id).map(|_| before));
        (next, before) = (id + 1, stamp);
    }
    Some(lost)
}

/// Things of which each is counted at some moment between two that are known.
#[derive(Debug)]
struct Happening {
    earliest: Vec<Stamp>,
    latest: Vec<Stamp>,
}

impl Happening {
    fn new(spans: impl Iterator<Item = (Stamp, Stamp)>) -> Self {
        let (mut earliest, mut latest): (Vec<_>, Vec<_>) = spans.unzip();
        earliest.sort_unstable();
        latest.sort_unstable();
        Self { earliest, latest }
    }

    /// How many a reading has counted, at the least and at the most.
    fn counted_by(&self, reading: &Sample) -> (i128, i128) {
        let surely = self.latest.partition_point(|latest| *latest <= reading.from);
        let maybe = self.earliest.partition_point(|earliest| *earliest < reading.to);
        (count(surely), count(maybe))
    }

    /// How many are counted between two readings, at the least and at the most.
    fn between(&self, from: &Sample, to: &Sample) -> (i128, i128) {
        let ((early, early_most), (late, late_most)) = (self.counted_by(from), self.counted_by(to));
        (late - early_most, late_most - early)
    }

    /// A law that a counter which moved by `moved` counts these.
    fn law(&self, id: &str, says: &str, moved: i128, from: &Sample, to: &Sample) -> Law {
        let ((early, early_most), (late, late_most)) = (self.counted_by(from), self.counted_by(to));
        let (least, most) = self.between(from, to);
        let status = if moved < least || moved > most {
            Status::Fail
        } else if least == most {
            Status::Pass
        } else {
            Status::NotChecked
        };
        let open = if least == most {
            String::new()
        } else {
            format!(
                ", {} of them under way at the edges",
                (early_most - early) + (late_most - late)
            )
        };
        let rhs = moved.clamp(least, most.max(least));
        Law { id: id.to_owned(), says: format!("{says}{open}"), lhs: moved, rhs, status }
    }
}

fn window(
    upgrade: &Upgrade,
    next: Option<&Upgrade>,
    books: &Books<'_>,
    evidence: &Evidence<'_>,
    findings: &Findings<'_>,
) -> UpgradeWindow {
    let (closing, until) = closing(upgrade, next, evidence);
    let rows = books.between(upgrade.triggered, until);
    let harmed = rows.iter().filter(|row| findings.harmed.contains(&row.id)).count();
    let mut window = UpgradeWindow {
        number: upgrade.number,
        from: upgrade.triggered,
        until,
        closing,
        operations: u64::try_from(rows.len()).unwrap_or(u64::MAX),
        harmed: u64::try_from(harmed).unwrap_or(u64::MAX),
        laws: clients(upgrade, until, rows, books),
        moved: BTreeMap::new(),
        deepest_queue: 0,
    };
    kernel(&mut window, upgrade, next, books, evidence);
    window.laws.push(listeners(upgrade, evidence));
    window
}

/// The old generation may have been gone before the upgrade was known to be over.
fn closing(upgrade: &Upgrade, next: Option<&Upgrade>, evidence: &Evidence<'_>) -> (Closing, Stamp) {
    let generations = evidence.recording.generations.iter();
    let old = generations.rev().find(|process| process.pid == upgrade.old_pid);
    let gone = old.and_then(|process| process.gone).filter(|gone| *gone >= upgrade.triggered);
    match (gone, next.map(|next| next.triggered)) {
        (Some(gone), Some(next)) if gone <= next => (Closing::OldGone, gone),
        (Some(gone), None) => (Closing::OldGone, gone),
        (_, Some(next)) => (Closing::NextTrigger, next),
        (None, None) => (Closing::RunEnded, evidence.recording.timeline.ended),
    }
}

fn clients(upgrade: &Upgrade, until: Stamp, rows: &[&Operation], books: &Books<'_>) -> Vec<Law> {
    let lost = books.lost.as_ref().map_or(0, |lost| {
        lost.iter().filter(|before| (upgrade.triggered..until).contains(*before)).count()
    });
    let mut ids: Vec<u64> = rows.iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let intended = Law {
        id: "L1".to_owned(),
        says: "operations intended = dispatched".to_owned(),
        lhs: count(rows.len() + lost),
        rhs: count(rows.len()),
        status: match (&books.lost, lost) {
            (None, _) => Status::NotChecked,
            (Some(_), 0) => Status::Pass,
            // That the generator fell behind is no fault of the server's.
            (Some(_), _) => Status::Inconclusive,
        },
    };
    // Every row has one fate, so what is left to prove is that none is there twice.
    let once = exact("L2", "operations dispatched, each once = ended", ids.len(), rows.len());
    vec![intended, once]
}

fn kernel(
    window: &mut UpgradeWindow,
    upgrade: &Upgrade,
    next: Option<&Upgrade>,
    books: &Books<'_>,
    evidence: &Evidence<'_>,
) {
    let samples = &evidence.recording.kernel.samples;
    let to = match (window.closing, next) {
        (Closing::OldGone, _) => samples.at(Edge::Gone(upgrade.old_pid)),
        (Closing::NextTrigger, Some(next)) => samples.at(Edge::Triggered(next.number)),
        (Closing::NextTrigger, None) | (Closing::RunEnded, _) => None,
    };
    let to = to.or_else(|| samples.at(Edge::Ended));
    let edges = samples.at(Edge::Triggered(upgrade.number)).zip(to);
    let (l3, l6) =
        ("kernel's ActiveOpens = connections opened", "kernel's OutRsts = connections reset");
    let Some(((from, first), (to, last))) = edges.filter(|((from, _), (to, _))| from < to) else {
        window.laws.extend([unchecked("L3", l3), unchecked("L6", l6)]);
        return;
    };
    let rows = samples.rows.get(from..=to).unwrap_or_default();
    let queues = rows.iter().flat_map(|row| &row.queues).map(|queue| queue.waiting);
    window.deepest_queue = queues.max().unwrap_or(0);
    if evidence.tainted().is_some() {
        window.laws.extend([unchecked("L3", l3), unchecked("L6", l6)]);
        return;
    }
    let moved = samples.moved(from, to);
    let by = |name: &str| moved.get(name).copied().unwrap_or(0);
    window.laws.push(books.opened.law("L3", l3, by("Tcp.ActiveOpens"), first, last));
    let (_, most) = books.reset.between(first, last);
    let strays = evidence.strays_of(by("Tcp.RetransSegs"))
        + evidence.sent_by_listeners(|at| (first.from..=last.to).contains(&at));
    let sent = by("Tcp.OutRsts") - (by("Tcp.OutRsts") - most).clamp(0, strays);
    window.laws.push(books.reset.law("L6", l6, sent, first, last));
    let bad = MUST_BE_ZERO.into_iter().filter(|name| by(name) != 0);
    window.moved = bad.map(|name| (name.to_owned(), by(name))).collect();
}

/// The new generation listens at the very sockets of the old.
fn listeners(upgrade: &Upgrade, evidence: &Evidence<'_>) -> Law {
    let says = "listening sockets that only one of both generations has = 0";
    let of = |pid: u32| {
        let generations = evidence.recording.generations.iter().rev();
        let mut known = generations.filter(|process| !process.listeners.is_empty());
        known.find(|process| process.pid == pid).map(|process| &process.listeners)
    };
    let pair = of(upgrade.old_pid).zip(upgrade.new_pid.and_then(of));
    pair.map_or_else(
        || unchecked("L10", says),
        |(old, new)| exact("L10", says, old.symmetric_difference(new).count(), 0),
    )
}

fn exact(id: &str, says: &str, lhs: usize, rhs: usize) -> Law {
    let status = if lhs == rhs { Status::Pass } else { Status::Fail };
    Law { id: id.to_owned(), says: says.to_owned(), lhs: count(lhs), rhs: count(rhs), status }
}

fn unchecked(id: &str, says: &str) -> Law {
    let (id, says) = (id.to_owned(), says.to_owned());
    Law { id, says, lhs: 0, rhs: 0, status: Status::NotChecked }
}

fn count(number: usize) -> i128 {
    i128::try_from(number).unwrap_or(i128::MAX)
}
