//! Whether enough was done and seen for the verdict to mean anything.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::model::Report;
use super::super::number::{count, maybe_span, offset, span};

/// What became of the faults of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    delivered: usize,
    missed: usize,
    /// Delivered, and answered as it must be.
    met: usize,
}

/// Faults by kind, and how the harness itself kept up.
pub(super) fn coverage(report: &Report) -> Markup {
    html! {
        section id="coverage" {
            h2 { "Coverage" }
            (populations(report))
            (faults(report))
            (bursts(report))
            (observer(report))
        }
    }
}

/// Operations by population and window: what was not there proves nothing.
fn populations(report: &Report) -> Markup {
    html! {
        h3 { "Operations that ended well, by window" }
        table.cards {
            thead { tr { th { "population" } th { "baseline" } th { "during upgrades" } th { "after" } th { "longest gap" } } }
            tbody {
                @for one in &report.populations {
                    @let windows = [
                        ("baseline", &one.windows.baseline),
                        ("during upgrades", &one.windows.during),
                        ("after", &one.windows.after),
                    ];
                    tr {
                        td.id { (one.name) }
                        @for (name, latency) in windows {
                            @let number = latency.as_ref().map_or(0, |latency| latency.figures.count);
                            td.empty[number == 0] data-name=(name) { (count(number)) }
                        }
                        td data-name="longest gap" { (span(one.longest_gap_ns)) }
                    }
                }
            }
        }
    }
}

fn faults(report: &Report) -> Markup {
    let mut kinds: BTreeMap<&str, Tally> = BTreeMap::new();
    for fault in &report.faults {
        let tally = kinds.entry(&fault.id).or_default();
        tally.delivered += usize::from(fault.delivered);
        tally.missed += usize::from(!fault.delivered);
        tally.met += usize::from(fault.met == Some(true));
    }
    html! {
        h3 { "Faults" }
        @if kinds.is_empty() { p.note { "None was planned." } } @else {
            table.cards {
                thead { tr { th { "fault" } th { "delivered" } th { "answered as it must be" } th { "missed" } } }
                tbody {
                    @for (id, tally) in kinds {
                        tr {
                            td.id { code { (id) } }
                            td.empty[tally.delivered == 0] data-name="delivered" { (tally.delivered) }
                            td.empty[tally.met < tally.delivered] data-name="answered as it must be" { (tally.met) }
                            td data-name="missed" { (tally.missed) }
                        }
                    }
                }
            }
        }
    }
}

fn bursts(report: &Report) -> Markup {
    html! {
        @if !report.bursts.is_empty() {
            h3 { "Bursts" }
            table.cards {
                thead { tr { th { "population" } th { "aimed" } th { "bursts" } th { "operations" } th { "off, p50" } th { "off, p99" } } }
                tbody {
                    @for row in &report.bursts {
                        tr {
                            td.id { (row.population) }
                            td data-name="aimed" { (offset(row.offset_ns)) " " code { (row.anchor.name()) } }
                            td data-name="bursts" { (count(row.bursts)) }
                            td data-name="operations" { (count(row.operations)) }
                            td.empty[row.off.is_none()] data-name="off, p50" { (maybe_span(row.off.as_ref().map(|off| off.p50))) }
                            td.empty[row.off.is_none()] data-name="off, p99" { (maybe_span(row.off.as_ref().map(|off| off.p99))) }
                        }
                    }
                }
            }
        }
    }
}

fn observer(report: &Report) -> Markup {
    let observer = &report.observer;
    html! {
        h3 { "The observer" }
        dl.facts {
            @if let Some(late) = &observer.lateness {
                div { dt { "operations begun late by" } dd {
                    "p50 " (span(late.p50)) ", p99 " (span(late.p99)) ", max " (span(late.max))
                } }
            }
            div { dt { "not woken for" } dd { "p99 " (span(observer.hiccup.p99)) ", max " (span(observer.hiccup.max)) } }
            div { dt { "limits hit" } dd { (count(report.ledger.clients.limit_hit)) } }
        }
    }
}
