//! The verdict, and the first harm.

use maud::{Markup, html};

use super::super::explain::cause;
use super::super::harmed::Harmed;
use super::super::model::Report;
use super::super::number::{share, span, things};
use super::super::story;
use super::micro;
use crate::verdict::{Outcome, Status};

/// What must be seen first.
pub(super) fn banner(report: &Report) -> Markup {
    let class = match report.verdict {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Inconclusive => "unsure",
    };
    html! {
        header class={ "banner " (class) } {
            p.word { (story::word(report.verdict)) }
            div {
                h1 { (report.scenario.name) }
                p.headline { (story::headline(report)) }
                p.chips { (chips(report)) }
            }
        }
        @if let Some(first) = &report.first_harm { (first_harm(first)) }
        (facts(report))
    }
}

fn chips(report: &Report) -> Markup {
    let number = |status| report.gates.iter().filter(|gate| gate.status == status).count();
    let said = [
        ("bad", number(Status::Fail), "failed"),
        ("unsure", number(Status::Inconclusive), "saw too little"),
        ("", number(Status::Pass), "held"),
        ("", number(Status::NotChecked), "not made"),
    ];
    html! {
        @for (class, number, what) in said.into_iter().filter(|(_, number, _)| *number > 0) {
            a class={ "chip " (class) } href="#checks" { (things(number, "check")) " " (what) }
            " "
        }
    }
}

fn first_harm(first: &Harmed) -> Markup {
    html! {
        section.first-harm {
            h2 { "First harm: " code { (first.harm) } }
            p.what { "A client saw this: " (story::what(first)) "." }
            (micro::strip(first))
            dl {
                div { dt { "whose" } dd { (story::whose(first)) } }
                div { dt { "when" } dd { (story::when(first)) } }
                div { dt { "server" } dd { (story::who(first)) } }
                div { dt { "usual cause" } dd { (cause(first.harm)) } }
            }
        }
    }
}

/// Which run this is, and what its zeros mean.
fn facts(report: &Report) -> Markup {
    let bounds = &report.bounds;
    html! {
        dl.facts {
            div { dt { "started" } dd { (report.started) } }
            div { dt { "took" } dd { (span(report.duration_ns)) } }
            div { dt { "target" } dd { (report.target) } }
            div { dt { "upgrades" } dd {
                (report.upgrade_totals.completed) " ok, "
                (report.upgrade_totals.failed_as_planned) " failed as planned, "
                (report.upgrade_totals.failed) " failed"
            } }
            div { dt { "machine" } dd {
                "kernel " (report.environment.kernel) ", " (things(report.environment.cpus, "CPU"))
            } }
            @if report.ledger.clients.harmed == 0 {
                div { dt { "proved" } dd {
                    "less than " (share(bounds.bad_upgrade_upper)) " of upgrades harm somebody, less than "
                    (share(bounds.bad_connection_upper)) " of connections are harmed ("
                    (format!("{:.0} %", bounds.confidence * 100.0)) " confidence)"
                } }
            }
            div { dt { "run it again" } dd {
                code { "harness run " (report.scenario.path.display()) " --seed " (report.seed) }
            } }
        }
    }
}
