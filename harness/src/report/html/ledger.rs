//! Where operations and connections were lost, by three accounts.

use maud::{Markup, html};

use super::super::model::Report;
use super::super::number::count;
use crate::event::Scope;
use crate::verdict::Status;

/// A step on the way from wanted to well, and what did not get there.
struct Stage {
    name: &'static str,
    /// `None`: nobody counted.
    number: Option<i128>,
    whose: &'static str,
    /// What was lost between the step before and this, by name.
    leaks: Vec<(String, i128)>,
}

impl Stage {
    fn new(name: &'static str, number: impl TryInto<i128>, whose: &'static str) -> Self {
        Self { name, number: number.try_into().ok(), whose, leaks: Vec::new() }
    }

    /// Names what is missing since `before`, if anything is.
    fn lost(mut self, before: &Self, name: &str) -> Self {
        if let (Some(before), Some(number)) = (before.number, self.number)
            && before != number
        {
            self.leaks.push((name.to_owned(), before - number));
        }
        self
    }
}

/// The ways, the laws and the kernel's counters.
pub(super) fn ledger(report: &Report) -> Markup {
    html! {
        section id="ledger" {
            h2 { "Ledgers" }
            h3 { "Operations" }
            (flow(&operations(report)))
            h3 { "Connections" }
            (flow(&connections(report)))
            (laws(report))
            (kernel(report))
        }
    }
}

fn operations(report: &Report) -> Vec<Stage> {
    let clients = &report.ledger.clients;
    let intended = Stage::new("intended", clients.intended, "by the schedule");
    let dispatched = Stage::new("dispatched", clients.dispatched, "by the clients")
        .lost(&intended, "never begun, by the harness's doing");
    let mut ok = Stage::new("ok", clients.ok, "by the clients");
    let done = report.harm.iter().map(|(harm, done)| (harm.id(), done.count));
    for (name, number) in done.chain([
        ("cancelled by the plan", clients.cancelled),
        ("limit of the harness", clients.limit_hit),
    ]) {
        if number > 0 {
            ok.leaks.push((name.to_owned(), i128::try_from(number).unwrap_or(i128::MAX)));
        }
    }
    vec![intended, dispatched, ok]
}

fn connections(report: &Report) -> Vec<Stage> {
    let (clients, server) = (&report.ledger.clients, &report.ledger.server);
    let opened = Stage::new("opened", clients.connections, "by the clients");
    let established = Stage::new("established", clients.established, "by the clients")
        .lost(&opened, "handshake not completed");
    let accepted = match server {
        Some(server) => Stage::new("accepted", server.accepted, "by the servers")
            .lost(&established, "in no server's ledger"),
        None => Stage { number: None, ..Stage::new("accepted", 0, "the server keeps no ledger") },
    };
    let read = server.map(|server| {
        Stage::new("read from", server.first_read, "by the servers")
            .lost(&accepted, "accepted, never read from")
    });
    let served = Stage::new("served", clients.answered, "a first byte, by the clients")
        .lost(&established, "connected, never served");
    let mut stages = vec![opened, established, accepted];
    stages.extend(read);
    stages.push(served);
    let whole = clients.connections.saturating_sub(clients.reset);
    let mut ended = Stage::new("not reset", whole, "by the clients");
    if clients.reset > 0 {
        ended.leaks.push((
            "ended by a reset".to_owned(),
            i128::try_from(clients.reset).unwrap_or(i128::MAX),
        ));
    }
    stages.push(ended);
    stages
}

fn flow(stages: &[Stage]) -> Markup {
    html! {
        ol.flow {
            @for (nth, stage) in stages.iter().enumerate() {
                @if nth > 0 {
                    li.between {
                        @for (name, lost) in &stage.leaks { span { "−" (count(*lost)) " " (name) } }
                        b aria-hidden="true" { "→" }
                    }
                }
                li.stage.leaked[!stage.leaks.is_empty()] {
                    strong { (stage.number.map_or_else(|| "–".to_owned(), count)) } " " (stage.name) " " small { (stage.whose) }
                }
            }
        }
    }
}

fn laws(report: &Report) -> Markup {
    html! {
        h3 { "Laws" }
        table.cards {
            thead { tr { th { "" } th { "law" } th { "left" } th { "right" } } }
            tbody {
                @for law in &report.ledger.laws {
                    @let (class, mark) = marked(law.status);
                    tr class=(class) {
                        td.mark { (mark) }
                        td.id { code { (law.id) } " " (law.says) }
                        td data-name="left" { (count(law.lhs)) }
                        td data-name="right" { (count(law.rhs)) }
                    }
                }
            }
        }
    }
}

fn marked(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Pass => ("good", "holds"),
        Status::Fail => ("bad", "broken"),
        Status::Inconclusive => ("unsure", "unclear"),
        Status::NotChecked => ("none", "not made"),
    }
}

/// The kernel's counters that moved; those nobody's harm explains stand out.
fn kernel(report: &Report) -> Markup {
    let whose = match report.kernel.scope {
        Scope::Private => "of the run's own network",
        Scope::Host => "of the whole machine, so others are counted too",
    };
    html! {
        h3 { "Kernel's counters " small { (whose) } }
        ul.counters {
            @for (name, delta) in &report.kernel.delta {
                @let odd = report.kernel.unexplained.contains_key(name);
                li.odd[odd] { code { (name) } " " (count(*delta)) @if odd { " unexplained" } }
            }
        }
    }
}
