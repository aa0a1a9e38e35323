//! The report for the summary page of a CI job.

use super::harmed::Harmed;
use super::model::{Gate, Report};
use super::number::{count, maybe_span, rate, share, span};
use super::story;
use crate::verdict::Status;

/// GitHub takes a megabyte a step; a little is left for others.
const MOST_BYTES: usize = 900 * 1024;
/// Rows of a table that a person reads on such a page.
const MOST_ROWS: usize = 50;
/// Characters of a cell that a person reads on such a page.
const MOST_CHARS: usize = 400;

/// The report in GitHub's markdown, at most 900 KiB.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut lines = head(report);
    lines.extend(gates(report));
    lines.extend(harm(report));
    lines.extend(load(report));
    lines.extend(bounds(report));
    cut(lines)
}

fn head(report: &Report) -> Vec<String> {
    let mut lines = vec![
        format!("## {}: {}", story::word(report.verdict), plain(&report.scenario.name)),
        String::new(),
        format!("**{}**", plain(&story::headline(report))),
        String::new(),
    ];
    if let Some(first) = &report.first_harm {
        lines.extend([
            format!("> **First harm: `{}`** on {}", first.harm, plain(&story::whose(first))),
            format!("> {}.", plain(&story::what(first))),
            format!("> {}; {}.", plain(&story::when(first)), plain(&story::who(first))),
            String::new(),
        ]);
    }
    lines.push(format!(
        "{} | seed {} | target {} | {} | kernel {}, {} CPUs",
        plain(&report.run_id),
        plain(&report.seed),
        plain(&report.target),
        span(report.duration_ns),
        plain(&report.environment.kernel),
        report.environment.cpus
    ));
    lines
}

fn gates(report: &Report) -> Vec<String> {
    let rows = |status: Status, mark: &'static str| {
        let gates = report.gates.iter().filter(move |gate| gate.status == status);
        gates.map(move |gate| gate_row(mark, gate))
    };
    let mut blamed: Vec<_> =
        rows(Status::Fail, "**failed**").chain(rows(Status::Inconclusive, "too little")).collect();
    let more = blamed.len().saturating_sub(MOST_ROWS);
    blamed.truncate(MOST_ROWS);
    let mut lines = Vec::new();
    if !blamed.is_empty() {
        lines.extend(table(&["", "check", "wanted", "seen", "why"], blamed));
    }
    if more > 0 {
        lines.push(format!("{more} more checks did not hold."));
    }
    let number = |status| report.gates.iter().filter(|gate| gate.status == status).count();
    lines.extend([
        String::new(),
        format!(
            "{} checks held, {} failed, {} saw too little, {} were not made.",
            number(Status::Pass),
            number(Status::Fail),
            number(Status::Inconclusive),
            number(Status::NotChecked)
        ),
    ]);
    lines
}

fn gate_row(mark: &str, gate: &Gate) -> Vec<String> {
    vec![
        mark.to_owned(),
        format!("`{}`", code(&gate.id)),
        plain(&gate.limit),
        plain(&gate.got),
        plain(gate.detail.as_deref().unwrap_or_default()),
    ]
}

fn harm(report: &Report) -> Vec<String> {
    if report.harmed.is_empty() {
        return Vec::new();
    }
    let shown = report.harmed.iter().take(MOST_ROWS);
    let head = ["harm", "connection", "harmed at", "upgrade", "after its trigger", "served by"];
    let mut lines = vec![String::new(), "### Harmed connections".to_owned()];
    lines.extend(table(&head, shown.map(harm_row).collect()));
    let more = report.ledger.clients.harmed.saturating_sub(report.harmed.len().min(MOST_ROWS));
    if more > 0 {
        lines.extend([String::new(), format!("{} more operations were harmed.", count(more))]);
    }
    lines
}

fn harm_row(harmed: &Harmed) -> Vec<String> {
    vec![
        format!("`{}`", harmed.harm),
        plain(&story::whose(harmed)),
        format!("+{:.6} s", harmed.finished_ns as f64 / 1e9),
        harmed.upgrade.map_or_else(String::new, |number| number.to_string()),
        harmed.after_trigger_ns.map_or_else(String::new, span),
        harmed.served.map_or_else(|| "nobody".to_owned(), story::process),
    ]
}

fn load(report: &Report) -> Vec<String> {
    let head = ["population", "operations", "rate", "ok", "harmed", "p50", "p99", "p99.9", "max"];
    let rows = report.populations.iter().map(|population| {
        let figures = population.latency.as_ref().map(|latency| latency.figures);
        vec![
            plain(&population.name),
            count(population.ops),
            rate(population.rate),
            count(population.ok),
            count(population.harmed),
            maybe_span(figures.map(|figures| figures.p50)),
            maybe_span(figures.map(|figures| figures.p99)),
            maybe_span(figures.map(|figures| figures.p999)),
            maybe_span(figures.map(|figures| figures.max)),
        ]
    });
    let mut lines = vec![String::new(), "### Load".to_owned()];
    lines.extend(table(&head, rows.collect()));
    lines
}

fn bounds(report: &Report) -> [String; 2] {
    let bounds = &report.bounds;
    let said = format!(
        "Upper bounds ({:.0} % confidence): less than {} of upgrades harm somebody, less than {} of connections are harmed.",
        bounds.confidence * 100.0,
        share(bounds.bad_upgrade_upper),
        share(bounds.bad_connection_upper)
    );
    [String::new(), said]
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let head_line = line(head.iter().map(|cell| (*cell).to_owned()).collect());
    let rule = line(head.iter().map(|_| "---".to_owned()).collect());
    [String::new(), head_line, rule].into_iter().chain(rows.into_iter().map(line)).collect()
}

/// Text that is to be read as it is written, in one line and of sane length.
fn plain(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars().take(MOST_CHARS) {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            c if c.is_control() => safe.push(' '),
            '\\' | '`' | '*' | '_' | '|' | '[' | ']' | '#' | '~' | '$' | '@' => {
                safe.extend(['\\', c]);
            }
            c => safe.push(c),
        }
    }
    if text.chars().nth(MOST_CHARS).is_some() {
        safe.push('…');
    }
    safe
}

/// Text between backquotes.
fn code(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !"`|".contains(*c)).take(MOST_CHARS).collect()
}

fn cut(lines: Vec<String>) -> String {
    let last = "\nThe rest is left out: this page has an end.\n";
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() + last.len() >= MOST_BYTES {
            return text + last;
        }
        text += &line;
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_cell() {
        assert_eq!(plain("a|b\n<img> *c*"), "a\\|b &lt;img&gt; \\*c\\*");
        assert_eq!(plain(&"x".repeat(1000)).chars().count(), MOST_CHARS + 1);
        assert_eq!(code("a`|b"), "ab");
    }

    #[test]
    fn the_page_has_an_end() {
        let text = cut(vec!["x".repeat(1000); 2000]);
        assert!(text.len() <= MOST_BYTES && text.ends_with("an end.\n"), "{}", text.len());
    }
}
