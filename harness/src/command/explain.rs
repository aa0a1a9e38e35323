//! `harness explain`: what a finding means.

use super::terminal::say;
use super::trouble::Trouble;
use crate::event::{Harm, Spared, Upshot};
use crate::exit::Exit;
use crate::report;
use crate::scenario::catalogue::{ENTRIES, Entry};

/// Every check, as reports name it, and what it asks. An id that ends in a star
/// stands for a family.
pub(super) const CHECKS: &[(&str, &str)] = &[
    ("harm.*", "no operation of any client came to this harm"),
    (
        "law.L1",
        "every operation that the schedule intended was begun; if not, the load fell behind and \
         nothing is proved",
    ),
    ("law.L2", "every operation that was begun ended in exactly one way; none vanished"),
    (
        "law.L3",
        "the kernel counted as many connections opened (Tcp.ActiveOpens) as the clients did; more \
         means that somebody else was at work in the run's network",
    ),
    (
        "law.L4",
        "the servers accepted every connection that the kernel had completed for them \
         (Tcp.PassiveOpens); what is missing was lost in an accept queue",
    ),
    (
        "law.L5",
        "the servers read from every connection that they accepted, unless its client sent \
         nothing; what is missing was accepted and never served",
    ),
    (
        "law.L6",
        "every reset that the kernel sent (Tcp.OutRsts) ended a connection whose client saw it, or, \
         by HTTP, answered what was sent again to a client that was gone already",
    ),
    (
        "law.L7.out",
        "the servers read every byte that the clients sent; what is missing was lost in a buffer",
    ),
    ("law.L7.in", "the clients read every byte that the servers sent"),
    ("law.L9", "no connection is open when every process is gone (Tcp.CurrEstab)"),
    ("law.L9.processes", "no process is left when the run is over"),
    (
        "law.L10",
        "each generation listens on the very sockets of the first; with other sockets there are \
         other accept queues, and what waits in the old ones can be lost",
    ),
    (
        "law.L6.traced",
        "the tracer named as many resets as the kernel counted; where it lost some, it proves \
         nothing",
    ),
    (
        "law.L8",
        "every datagram that the clients sent was received by a server, and answered; what the \
         kernel's counters do not have was lost in a queue that was closed",
    ),
    (
        "upgrades.laws",
        "the laws hold in the window of each upgrade by itself, wherever they can be exact there",
    ),
    ("gate.*", "what the scenario demands in [gates] is so, and enough was seen to say it"),
    (
        "kernel.unexplained",
        "no counter of the kernel moved that stands for loss, but for what the clients' ledger \
         explains",
    ),
    (
        "network.loss",
        "packets got lost as the scenario has it; what had to be sent again for that is not held \
         against the server, and no more than that",
    ),
    ("upgrades.unplanned_failures", "every upgrade succeeded, but for those that a fault ended"),
    ("faults.delivered", "enough faults hit, and none is owed; what missed has tested nothing"),
    (
        "faults.met",
        "each fault that hit was answered as it must be: the upgrade failed, or completed, as \
         the plan says, whoever asked was told, nobody was harmed who had to be spared, and \
         nothing was left behind",
    ),
    (
        "faults.survived",
        "after each fault the old generation went on accepting, and the next upgrade worked",
    ),
    ("processes.exits", "every process that served ended with status 0"),
    (
        "processes.resources",
        "the last generation holds the descriptors, the environment and about the memory of the \
         first that an upgrade started; what grows leaks",
    ),
    ("ledger.complete", "every process that served left its own account"),
    ("coverage.connections", "enough connections were seen for a verdict to mean anything"),
    ("coverage.upgrades", "enough upgrades were completed for a verdict to mean anything"),
    (
        "coverage.connections_per_upgrade",
        "enough connections were begun during each upgrade that a loss would have met one",
    ),
    (
        "observer.limit_hit",
        "the clients never ran out of ports, descriptors or buffers of their own; that would be \
         the observer's fault",
    ),
    (
        "observer.lateness_p99",
        "operations were begun when they were intended; a late observer takes its own delay for \
         the server's",
    ),
    (
        "observer.hiccup_max",
        "the machine let the observer run; what it slept through it did not see",
    ),
    ("coverage.faults_delivered", "so many faults of all kinds hit as the scenario demands"),
    (
        "coverage.ops_in_window.*",
        "enough operations were intended in this part of the upgrades that it was looked at",
    ),
    ("observer.shed", "every operation that was wanted was begun"),
    ("observer.lateness_max", "no operation was begun much later than it was intended"),
    (
        "run.parts",
        "every part of a run of several generators is there; one that is missing may have seen harm",
    ),
    ("run.interrupted", "the run was not ended early"),
];

pub(super) fn explain(id: &str) -> Result<Exit, Trouble> {
    let text = said(id).ok_or_else(|| {
        Trouble::Usage(format!(
            "there is no `{id}`{}; `harness list harms`, `list gates` and `list faults` name them all",
            nearest(id).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
        ))
    })?;
    say(&text)?;
    Ok(Exit::Pass)
}

fn said(id: &str) -> Option<String> {
    if let Some(harm) = Harm::from_id(id.strip_prefix("harm.").unwrap_or(id)) {
        return Some(report::explain(harm));
    }
    let entries: Vec<&Entry> =
        ENTRIES.iter().filter(|entry| entry.id == id || entry.name == id).collect();
    if !entries.is_empty() {
        return Some(entries.into_iter().map(fault).collect());
    }
    let law = format!("law.{id}");
    let family = |known: &str| known.strip_suffix('*').is_some_and(|head| id.starts_with(head));
    let one = CHECKS.iter().find(|(known, _)| *known == id || *known == law);
    let (id, asks) = one.or_else(|| CHECKS.iter().find(|(known, _)| family(known)))?;
    Some(format!("{id}\n  It holds if {asks}.\n"))
}

/// What a fault does, and what the right answer to it is.
fn fault(entry: &Entry) -> String {
    let upgrade = match entry.upgrade {
        Upshot::Fails => "The upgrade fails, and the old generation serves on",
        Upshot::Completes => "The upgrade completes all the same",
    };
    let clients = match entry.clients {
        Spared::All => "nobody is harmed",
        Spared::ButItsOwn => "only connections may be harmed that the dead process had accepted",
    };
    format!(
        "{} {}\n  In the upgrade that it hits, {} {}.\n  {upgrade}; {clients}.\n",
        entry.id,
        entry.name,
        entry.whom(),
        entry.says
    )
}

/// The id that was nearly typed.
fn nearest(id: &str) -> Option<&'static str> {
    let harms = Harm::ALL.into_iter().map(Harm::id);
    let faults = ENTRIES.iter().map(|entry| entry.name);
    let all = harms.chain(faults).chain(CHECKS.iter().map(|(known, _)| *known));
    let near = |known: &&str| {
        let ahead = known.chars().zip(id.chars()).take_while(|(a, b)| a == b).count();
        ahead * 2 > id.len().max(known.len())
    };
    all.filter(near)
        .max_by_key(|known| known.chars().zip(id.chars()).take_while(|(a, b)| a == b).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harms_laws_and_checks_are_explained_by_the_ids_of_reports() {
        for (id, part) in [
            ("reset_queue", "reset_queue\n"),
            ("harm.reset_queue", "reset_queue\n"),
            ("law.L4", "accept queue"),
            ("L4", "accept queue"),
            ("coverage.upgrades", "enough upgrades"),
            ("C06", "SIGTERM blocked"),
            ("hang-on", "serves on"),
        ] {
            assert!(said(id).unwrap().contains(part), "{id}");
        }
        assert_eq!(said("bad_luck"), None);
        assert_eq!(nearest("reset_queu"), Some("reset_queue"));
        assert_eq!(nearest("law.L7.ou"), Some("law.L7.out"));
        assert_eq!(nearest("xyz"), None);
    }
}
