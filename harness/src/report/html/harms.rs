//! Each harmed connection: what happened to it, when, and who served it.

use maud::{Markup, html};

use super::super::harmed::Harmed;
use super::super::model::Report;
use super::super::number::{count, span};
use super::super::story;
use super::micro;

/// The table, or nothing if nobody was harmed.
pub(super) fn harms(report: &Report) -> Markup {
    if report.harmed.is_empty() {
        return html! {};
    }
    html! {
        section id="harmed" {
            h2 { "Harmed connections" }
            (kinds(report))
            p.note {
                "The first " (report.harmed.len()) " harmed connections, in the order in which the harm was seen; "
                (count(report.ledger.clients.harmed)) " operations were harmed in all."
            }
            (micro::legend())
            div.scroll tabindex="0" role="region" aria-label="harmed connections" {
            table.cards.sortable {
                thead { tr {
                    th { "harm" } th { "connection" } th { "at" } th { "upgrade" } th { "after trigger" }
                    th { "served by" } th { "bytes out, in" } th.wide { "from intended to closed" }
                } }
                tbody { @for harmed in &report.harmed { (row(harmed)) } }
            }
            }
        }
    }
}

/// How often each kind was done.
fn kinds(report: &Report) -> Markup {
    let done = report.harm.iter().filter(|(_, done)| done.count > 0);
    let most = report.harm.values().map(|done| done.count).max().unwrap_or(1).max(1);
    html! {
        dl.kinds {
            @for (harm, done) in done {
                @let wide = format!("width:{:.1}%", (done.count as f64 / most as f64 * 100.0).max(0.5));
                div {
                    dt { code { (harm) } }
                    dd { span.bar { i style=(wide) {} } span { (count(done.count)) } }
                }
            }
        }
    }
}

fn row(harmed: &Harmed) -> Markup {
    let errno = harmed.errno.map(story::errno_name);
    html! {
        tr {
            td.id { code { (harmed.harm) } @if let Some(errno) = errno { " " small { (errno) } } }
            td data-name="connection" data-sort=(harmed.conn) {
                (harmed.conn)
                @if let Some(population) = &harmed.population { " " small { (population) } }
                @if let Some(local) = &harmed.local { " " small { (local) } }
            }
            td data-name="at" data-sort=(harmed.finished_ns) { (format!("+{:.4} s", harmed.finished_ns as f64 / 1e9)) }
            td data-name="upgrade" { (harmed.upgrade.map_or_else(|| "–".to_owned(), |number| number.to_string())) }
            td data-name="after trigger" data-sort=[harmed.after_trigger_ns] {
                (harmed.after_trigger_ns.map_or_else(|| "–".to_owned(), span))
            }
            td data-name="served by" {
                @match harmed.served {
                    Some(by) => {
                        @if let Some(generation) = by.generation { "generation " (generation) " " }
                        small { "pid " (by.pid) }
                    }
                    None => "nobody"
                }
            }
            td data-name="bytes out, in" {
                (count(harmed.bytes_out)) ", " (count(harmed.bytes_in)) @if harmed.reset { " " small { "reset" } }
            }
            td.wide data-sort=(harmed.finished_ns.saturating_sub(harmed.intended_ns)) { (micro::strip(harmed)) }
        }
    }
}
