//! Medians side by side.

use std::fmt::Write;
use std::time::Duration;

use crate::Round;

type Row = (&'static str, fn(&Round) -> Duration);

const ROWS: [Row; 4] = [
    ("start -> first answer", |round| round.first_answer),
    ("SIGHUP -> first answer by the new", |round| round.new_answers),
    ("SIGHUP -> old stops accepting", |round| round.old_stops),
    ("SIGHUP -> old's shutdown future resolves", |round| round.resolved),
];

pub(crate) fn render(ours: &[Round], published: &[Round]) -> String {
    let mut text = format!(
        "{} rounds each, interleaved; milliseconds\n{:<42}{:>10}{:>8}{:>12}{:>8}{:>13}\n",
        ours.len(),
        "",
        "ours p50",
        "p90",
        "1.1.1 p50",
        "p90",
        "1.1.1/ours"
    );
    for (name, of) in ROWS {
        let [a, b] = [ours, published].map(|rounds| sorted(rounds.iter().map(of)));
        let ratio = quantile(&b, 50).as_secs_f64() / quantile(&a, 50).as_secs_f64();
        let [a50, a90, b50, b90] =
            [quantile(&a, 50), quantile(&a, 90), quantile(&b, 50), quantile(&b, 90)]
                .map(|span| span.as_secs_f64() * 1e3);
        let _ = writeln!(text, "{name:<42}{a50:>10.2}{a90:>8.2}{b50:>12.2}{b90:>8.2}{ratio:>13.2}");
    }
    for (name, rounds) in [("ours", ours), ("1.1.1", published)] {
        let failed: usize = rounds.iter().map(|round| round.failed).sum();
        let connections: usize = rounds.iter().map(|round| round.connections).sum();
        let late: usize = rounds.iter().map(|round| round.both_answered).sum();
        let _ = writeln!(
            text,
            "{name}: {connections} connections, {failed} failed, \
             {late} answered by the old after the new had answered one"
        );
    }
    text
}

pub(crate) fn median(spans: impl Iterator<Item = Duration>) -> Duration {
    quantile(&sorted(spans), 50)
}

fn sorted(spans: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut spans: Vec<_> = spans.collect();
    spans.sort_unstable();
    spans
}

/// The smallest that at least `percent` of the spans do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_rank() {
        let spans: Vec<_> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(quantile(&spans, 50), Duration::from_millis(10));
        assert_eq!(quantile(&spans, 90), Duration::from_millis(18));
        assert_eq!(quantile(&spans[..1], 90), Duration::from_millis(1));
    }
}
