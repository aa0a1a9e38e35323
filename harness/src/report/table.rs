//! The table of checks: what is wrong first, what is right in few lines.

use super::model::{Gate, Report};
use super::number::{count, things};
use crate::verdict::Status;

/// The table, a line each.
pub(super) fn gates(report: &Report) -> Vec<String> {
    let mut lines = vec![format!("{:<49} {:<18} got", "GATES", "limit")];
    lines.extend(with_status(report, Status::Fail).flat_map(|gate| blamed("x", gate)));
    lines.extend(with_status(report, Status::Inconclusive).flat_map(|gate| blamed("?", gate)));
    lines.extend(passed(report));
    lines.extend(not_checked(report));
    lines
}

fn with_status(report: &Report, status: Status) -> impl Iterator<Item = &Gate> {
    report.gates.iter().filter(move |gate| gate.status == status)
}

fn row(mark: &str, id: &str, limit: &str, got: &str) -> String {
    format!("  {mark:<2} {id:<44} {limit:<18} {got}").trim_end().to_owned()
}

/// A check that did not hold, and what a person would ask next.
fn blamed(mark: &str, gate: &Gate) -> impl Iterator<Item = String> {
    let detail = gate.detail.as_ref().map(|detail| format!("       {detail}"));
    [row(mark, &gate.id, &gate.limit, &gate.got)].into_iter().chain(detail)
}

/// The checks that held. Kinds of harm that were not done share a line, and so
/// do the laws: there are many, and they all say the same.
fn passed(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (family, line) in [("harm.", harmless as fn(&Report, usize) -> String), ("law.", balanced)]
    {
        let held = with_status(report, Status::Pass).filter(|gate| gate.id.starts_with(family));
        let held = held.count();
        if held > 0 {
            lines.push(line(report, held));
        }
    }
    let alone = |gate: &&Gate| !gate.id.starts_with("harm.") && !gate.id.starts_with("law.");
    let others = with_status(report, Status::Pass).filter(alone);
    lines.extend(others.map(|gate| row("ok", &gate.id, &gate.limit, &gate.got)));
    lines
}

fn harmless(report: &Report, held: usize) -> String {
    let all = report.gates.iter().filter(|gate| gate.id.starts_with("harm.")).count();
    let others = if held < all { " other" } else { "" };
    // Harm that the plan tolerates passes, but it is not nothing.
    let got: Vec<_> = with_status(report, Status::Pass)
        .filter(|gate| gate.id.starts_with("harm.") && gate.got != "0")
        .map(|gate| format!("{} {}", gate.id, gate.got))
        .collect();
    let (limit, got) = match got.as_slice() {
        [] => ("= 0", "0".to_owned()),
        [..] => ("= 0, or allowed", got.join(", ")),
    };
    row("ok", &format!("harm.* ({held}{others} kinds)"), limit, &got)
}

fn balanced(report: &Report, held: usize) -> String {
    let all = report.gates.iter().filter(|gate| gate.id.starts_with("law.")).count();
    let ledger = &report.ledger;
    match &ledger.server {
        Some(server) if held == all => {
            let laws = things(held, "law");
            let [client, accepted, kernel] = [
                count(ledger.clients.connections),
                count(server.accepted),
                count(ledger.kernel.passive_opens),
            ];
            // The laws may allow for a difference; a line that says "equal" may not.
            if client == accepted && accepted == kernel {
                let id = format!("ledger client = server = kernel ({laws})");
                row("ok", &id, "exact", &format!("{client} = {accepted} = {kernel}"))
            } else {
                let got = format!("client {client}, server {accepted}, kernel {kernel}");
                row("ok", &format!("ledger ({laws})"), "explained", &got)
            }
        }
        _ => row("ok", &format!("law.* ({})", things(held, "law")), "exact", "exact"),
    }
}

/// Checks that were not made, those with the same reason in one line.
fn not_checked(report: &Report) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for gate in with_status(report, Status::NotChecked) {
        let why = gate.detail.as_deref().unwrap_or(&gate.got);
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, ids)) => ids.push(&gate.id),
            None => reasons.push((why, vec![&gate.id])),
        }
    }
    let line =
        |(why, ids): (&str, Vec<&str>)| format!("  -  {:<44} not checked: {why}", ids.join(" "));
    reasons.into_iter().map(line).collect()
}
