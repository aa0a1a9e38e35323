//! How the subject's processes ended, and what they held.

use super::check::{Check, Status};
use super::evidence::Evidence;
use crate::event::{Exit, Generation, Resources};
use crate::scenario::plan::Addressee;

/// Resident memory may differ by this share of the first, or by this much.
const RSS_SHARE: u64 = 5;
const RSS_KIB: u64 = 2048;

pub(super) fn checks(evidence: &Evidence<'_>) -> Vec<Check> {
    let mut checks = vec![exits(evidence), resources(evidence)];
    checks.extend(ledgers(evidence));
    checks
}

/// Every process that served ended with status 0. (A process that its own
/// parent has reaped took its status with it.)
fn exits(evidence: &Evidence<'_>) -> Check {
    if let Some(why) = evidence.attached() {
        return Check {
            status: Status::NotChecked,
            detail: Some(why.to_owned()),
            ..check("processes.exits", "all 0", "-", &[])
        };
    }
    let mut judged: Vec<&Generation> = match evidence.plan.target.trigger.to {
        Addressee::Serving => evidence.serving().collect(),
        // A supervisor ends its servers as it pleases; it has to end well itself.
        Addressee::Main => evidence.recording.generations.iter().take(1).collect(),
    };
    judged.retain(|generation| !evidence.killed.contains(&generation.pid));
    let wrong = |generation: &&&Generation| match generation.exit {
        Some(Exit::Code(0) | Exit::Reaped) => false,
        Some(Exit::Code(_) | Exit::Signal(_)) | None => true,
    };
    let wrong: Vec<String> = judged
        .iter()
        .filter(wrong)
        .map(|generation| format!("pid {}: {:?}", generation.pid, generation.exit))
        .collect();
    check("processes.exits", "all 0", &format!("{} of {} not", wrong.len(), judged.len()), &wrong)
}

/// The last generation holds what the first that was started by an upgrade held.
fn resources(evidence: &Evidence<'_>) -> Check {
    let held: Vec<&Resources> = evidence
        .recording
        .generations
        .iter()
        .skip(1)
        .filter_map(|generation| generation.resources.as_ref())
        .collect();
    let (Some(first), Some(last)) = (held.first(), held.last().filter(|_| held.len() > 1)) else {
        return Check {
            status: Status::NotChecked,
            detail: Some("fewer than two generations that were started by an upgrade".to_owned()),
            ..check("processes.resources", "last = first", "-", &[])
        };
    };
    let mut differ = Vec::new();
    if first.fds != last.fds {
        differ.push(format!("descriptors {:?}, then {:?}", first.fds, last.fds));
    }
    if first.environ_bytes != last.environ_bytes {
        differ
            .push(format!("environment {} B, then {} B", first.environ_bytes, last.environ_bytes));
    }
    let slack = (first.rss_kib / RSS_SHARE).max(RSS_KIB);
    if last.rss_kib > first.rss_kib + slack {
        differ.push(format!("resident {} KiB, then {} KiB", first.rss_kib, last.rss_kib));
    }
    let got = format!(
        "{} descriptors, {} B of environment, {} KiB; first {} KiB",
        last.fds.len(),
        last.environ_bytes,
        last.rss_kib,
        first.rss_kib
    );
    check("processes.resources", "last = first", &got, &differ)
}

/// Every process that served left its ledger, if the server keeps one.
fn ledgers(evidence: &Evidence<'_>) -> Option<Check> {
    evidence.plan.target.ledger.as_ref()?;
    let missing: Vec<String> = evidence
        .serving()
        .filter(|generation| generation.ledger.is_none())
        .filter(|generation| !evidence.killed.contains(&generation.pid))
        .map(|generation| format!("pid {}", generation.pid))
        .collect();
    Some(check("ledger.complete", "all", &format!("{} missing", missing.len()), &missing))
}

fn check(id: &str, limit: &str, got: &str, wrong: &[String]) -> Check {
    Check {
        id: id.to_owned(),
        status: if wrong.is_empty() { Status::Pass } else { Status::Fail },
        limit: limit.to_owned(),
        got: got.to_owned(),
        detail: (!wrong.is_empty()).then(|| wrong.join("; ")),
        gate: None,
    }
}
