//! Every check: what was wanted, what was seen, and how much room was left.

use maud::{Markup, html};

use super::super::model::{Gate, Report};
use crate::verdict::Status;

/// The table of checks, what is wrong first.
pub(super) fn gates(report: &Report) -> Markup {
    let of = |status: Status| report.gates.iter().filter(move |gate| gate.status == status);
    let of_harm = |gate: &&Gate| gate.id.starts_with("harm.") && gate.got == "0";
    let of_law = |gate: &&Gate| gate.id.starts_with("law.");
    let (harmless, lawful): (Vec<_>, Vec<_>) =
        (of(Status::Pass).filter(of_harm).collect(), of(Status::Pass).filter(of_law).collect());
    html! {
        section id="checks" {
            h2 { "Checks" }
            table.cards {
                thead { tr { th { "" } th { "check" } th { "wanted" } th { "seen" } th { "room left" } } }
                tbody {
                    @for gate in of(Status::Fail) { (row("bad", "failed", gate)) }
                    @for gate in of(Status::Inconclusive) { (row("unsure", "too little", gate)) }
                    @for gate in of(Status::Pass).filter(|gate| !of_harm(gate) && !of_law(gate)) { (row("good", "held", gate)) }
                    (together("law.", &lawful, "both sums are equal"))
                    (together("harm.", &harmless, "= 0"))
                    @for gate in of(Status::NotChecked) { (row("none", "not made", gate)) }
                }
            }
        }
    }
}

fn row(class: &str, mark: &str, gate: &Gate) -> Markup {
    html! {
        tr class=(class) {
            td.mark { (mark) }
            td.id { code { (gate.id) } @if let Some(detail) = &gate.detail { p.detail { (detail) } } }
            td data-name="wanted" { (gate.limit) }
            td.got data-name="seen" { @if gate.status == Status::NotChecked { "–" } @else { (gate.got) } }
            td.room data-name="room left" { (room(gate)) }
        }
    }
}

/// Kinds of harm that were not done, and laws that hold, all say the same.
fn together(family: &str, held: &[&Gate], wanted: &str) -> Markup {
    let ids: Vec<_> = held.iter().filter_map(|gate| gate.id.strip_prefix(family)).collect();
    html! {
        @if !ids.is_empty() {
            tr.good {
                td.mark { "held" }
                td.id { code { (family) "*" } p.detail { (ids.len()) " of them: " (ids.join(", ")) } }
                td data-name="wanted" { (wanted) }
                td.got data-name="seen" { @if family == "harm." { "0" } @else { "equal" } }
                td.room { }
            }
        }
    }
}

/// How far what was seen is from the limit, where both are sizes.
fn room(gate: &Gate) -> Markup {
    let Some(limit) = Limit::read(&gate.limit) else { return html! {} };
    let Some(got) = size(&gate.got) else { return html! {} };
    let used = if limit.floor { limit.size / got } else { got / limit.size };
    if !used.is_finite() || gate.status == Status::NotChecked {
        return html! {};
    }
    html! {
        span.meter { i style={ "width:" (format!("{:.1}%", used.min(1.0) * 100.0)) } {} }
        span { @if used <= 1.0 { (format!("{:.0} %", (1.0 - used) * 100.0)) } @else { "none" } }
    }
}

/// A limit from one side.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    /// Whether it must be reached, rather than kept below.
    floor: bool,
    size: f64,
}

impl Limit {
    fn read(text: &str) -> Option<Self> {
        let rest = text.trim_start_matches(['<', '>', '=']);
        let floor = match text.get(..1)? {
            "<" => false,
            ">" => true,
            _ => return None,
        };
        size(rest.trim()).filter(|size| *size > 0.0).map(|size| Self { floor, size })
    }
}

/// A number, or a span in seconds.
fn size(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "µs" | "us" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_sizes_have_room() {
        assert_eq!(Limit::read(">= 100"), Some(Limit { floor: true, size: 100.0 }));
        assert_eq!(Limit::read("<= 50ms"), Some(Limit { floor: false, size: 0.05 }));
        assert_eq!(Limit::read("= 0"), None);
        assert_eq!(Limit::read("all 0"), None);
        assert_eq!(Limit::read("<= 3 * baseline"), None);
        assert_eq!((size("148.7ms"), size("5/12")), (Some(0.1487), None));
    }
}
