//! The sentences that every form of the report begins with.

use nix::errno::Errno;

use super::explain::seen;
use super::harmed::Harmed;
use super::model::Report;
use super::number::{count, span, things};
use crate::event::Served;
use crate::verdict::{Outcome, Status};

/// More names than these are not read.
const NAMED: usize = 4;

/// The verdict in a word.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "PASS",
        Outcome::Fail => "FAIL",
        Outcome::Inconclusive => "INCONCLUSIVE",
    }
}

/// What came out, in a sentence or two.
pub(super) fn headline(report: &Report) -> String {
    let clients = &report.ledger.clients;
    let (ops, upgrades) = (count(clients.dispatched), things(report.upgrades.len(), "upgrade"));
    let harmless = format!("No client was harmed: {ops} operations, {upgrades}");
    let said = match report.verdict {
        Outcome::Fail if clients.harmed > 0 => {
            let harmful = report.upgrade_totals.harmful;
            let harmed = count(clients.harmed);
            let during = match report.upgrades.len() {
                0 => String::new(),
                all => format!(", during {} of {}", count(harmful), things(all, "upgrade")),
            };
            format!("{harmed} of {ops} operations were harmed{during}.")
        }
        Outcome::Fail => format!("{harmless}. But not all holds: {}.", named(report, Status::Fail)),
        Outcome::Pass => format!("{harmless}, all checks held."),
        Outcome::Inconclusive => format!(
            "Nothing was disproved, but too little was seen to prove anything: {}.",
            named(report, Status::Inconclusive)
        ),
    };
    match &report.interrupted {
        Some(by) => format!("{said} The run ended early: {by}."),
        None => said,
    }
}

fn named(report: &Report, status: Status) -> String {
    let ids = report.gates.iter().filter(|gate| gate.status == status).map(|gate| &*gate.id);
    let ids: Vec<_> = ids.collect();
    let shown = ids.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match ids.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What the client of a harmed operation saw.
pub(super) fn what(harmed: &Harmed) -> String {
    let errno = harmed.errno.map_or_else(String::new, |errno| format!(" ({})", errno_name(errno)));
    format!("{}{errno}", seen(harmed.harm))
}

/// Whose connection it was.
pub(super) fn whose(harmed: &Harmed) -> String {
    let of = harmed.population.as_deref().map_or_else(String::new, |name| format!(" of {name}"));
    let from = harmed.local.as_ref().map_or_else(String::new, |local| format!(", from {local}"));
    format!("connection {}{of}{from}", harmed.conn)
}

/// When it came to harm, told by what went on then.
pub(super) fn when(harmed: &Harmed) -> String {
    let waited = span(harmed.finished_ns.saturating_sub(harmed.dispatched_ns));
    let begun = harmed.dispatched_ns as f64 / 1e9;
    let upgrade = match (harmed.upgrade, harmed.after_trigger_ns) {
        (Some(number), Some(after)) => {
            format!("{} after the trigger of upgrade {number}", span(after))
        }
        _ => "while no upgrade was under way".to_owned(),
    };
    format!("begun at +{begun:.3} s, harmed {waited} later, {upgrade}")
}

/// Who served it.
pub(super) fn who(harmed: &Harmed) -> String {
    harmed
        .served
        .map_or_else(|| "served by nobody".to_owned(), |by| format!("served by {}", process(by)))
}

/// A process that answered, as far as it said who it is.
pub(super) fn process(by: Served) -> String {
    match by.generation {
        Some(generation) => format!("generation {generation} (pid {})", by.pid),
        None => format!("pid {}", by.pid),
    }
}

/// An error number by its name.
pub(super) fn errno_name(errno: i32) -> String {
    let known = Errno::from_raw(errno);
    if known == Errno::UnknownErrno { format!("errno {errno}") } else { format!("{known:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_have_names() {
        assert_eq!(errno_name(104), "ECONNRESET");
        assert_eq!(errno_name(100_000), "errno 100000");
    }
}
