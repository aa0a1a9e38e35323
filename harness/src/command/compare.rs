//! `harness compare`: two results beside each other.

use std::fmt;
use std::time::Duration;

use super::result::{LatencyResult, RunResult};
use super::terminal::say;
use super::trouble::Trouble;
use crate::cli::Compare;
use crate::exit::Exit;
use crate::units::span;

/// How a limit is written.
const FORM: &str = "POPULATION[.WINDOW].QUANTILE=+SHARE%+SPAN, like churn.p99=+20%+1ms or \
                    churn.during.p99.9=+50%+2ms; both slacks are needed, because a fifth of a \
                    short time is less than what two runs differ by";

/// Below this, a share of the time says nothing.
const TELLING: u64 = 1_000_000;

pub(super) fn compare(compare: &Compare) -> Result<Exit, Trouble> {
    let limits: Vec<Limit> =
        compare.max_regress.iter().map(|text| Limit::parse(text)).collect::<Result<_, _>>()?;
    let (base, new) = (RunResult::read(&compare.base)?, RunResult::read(&compare.new)?);
    let mut lines = vec![
        format!("base {}: {}", compare.base.display(), base.verdict.id()),
        format!("new  {}: {}", compare.new.display(), new.verdict.id()),
        format!(
            "{:<18} {:<9} {:<6} {:>12} {:>12} {:>13} {:>8}",
            "POPULATION", "WINDOW", "", "base", "new", "difference", ""
        ),
    ];
    lines.extend(rows(&base, &new));
    let mut exits = vec![Exit::Pass];
    for limit in &limits {
        let (exit, line) = limit.judge(&base, &new)?;
        exits.push(exit);
        lines.push(line);
    }
    lines.push(String::new());
    say(&lines.join("\n"))?;
    Ok(Exit::gravest(exits))
}

/// A quantile of a window of a population.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantile {
    P50,
    P99,
    P999,
    Max,
}

impl Quantile {
    const ALL: [Self; 4] = [Self::P50, Self::P99, Self::P999, Self::Max];

    fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
        }
    }

    fn of(self, latency: &LatencyResult) -> u64 {
        match self {
            Self::P50 => latency.p50,
            Self::P99 => latency.p99,
            Self::P999 => latency.p999,
            Self::Max => latency.max,
        }
    }
}

/// Which operations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Whole,
    Baseline,
    During,
    After,
}

impl Window {
    const ALL: [Self; 4] = [Self::Whole, Self::Baseline, Self::During, Self::After];

    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Baseline => "baseline",
            Self::During => "during",
            Self::After => "after",
        }
    }

    fn of<'a>(self, result: &'a RunResult, population: &str) -> Option<&'a LatencyResult> {
        let population = result.populations.iter().find(|one| one.name == population)?;
        match self {
            Self::Whole => population.latency.as_ref(),
            Self::Baseline => population.windows.baseline.as_ref(),
            Self::During => population.windows.during.as_ref(),
            Self::After => population.windows.after.as_ref(),
        }
    }
}

/// Every quantile that both have.
fn rows(base: &RunResult, new: &RunResult) -> Vec<String> {
    let mut rows = Vec::new();
    for population in &base.populations {
        for window in Window::ALL {
            let both = window.of(base, &population.name).zip(window.of(new, &population.name));
            let Some((base, new)) = both else { continue };
            rows.extend(Quantile::ALL.map(|quantile| {
                let (base, new) = (quantile.of(base), quantile.of(new));
                let (window, quantile) = (window.name(), quantile.name());
                let difference = Difference { base, new };
                format!(
                    "{:<18} {window:<9} {quantile:<6} {:>12} {:>12} {difference}",
                    population.name,
                    millis(base),
                    millis(new),
                )
            }));
        }
    }
    rows
}

/// How much longer it takes now.
#[derive(Clone, Copy, Debug)]
struct Difference {
    base: u64,
    new: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.new < self.base { '-' } else { '+' };
        write!(f, "{:>13}", format!("{sign}{}", millis(self.new.abs_diff(self.base))))?;
        if self.base < TELLING {
            return Ok(());
        }
        let percent = (self.new as f64 / self.base as f64 - 1.0) * 100.0;
        write!(f, " {:>8}", format!("{percent:+.0} %"))
    }
}

fn millis(nanos: u64) -> String {
    format!("{:.3}ms", Duration::from_nanos(nanos).as_secs_f64() * 1e3)
}

/// By how much a quantile may grow.
#[derive(Clone, Debug, PartialEq)]
struct Limit {
    text: String,
    population: String,
    window: Window,
    quantile: Quantile,
    share: f64,
    slack: Duration,
}

impl Limit {
    fn parse(text: &str) -> Result<Self, Trouble> {
        let refused =
            |why: String| Trouble::Usage(format!("--max-regress {text}: {why}; write {FORM}"));
        let (what, much) =
            text.split_once('=').ok_or_else(|| refused("there is no `=`".to_owned()))?;
        let quantile = Quantile::ALL.into_iter().find_map(|quantile| {
            let rest = what.strip_suffix(quantile.name())?.strip_suffix('.')?;
            Some((quantile, rest))
        });
        let (quantile, rest) = quantile
            .ok_or_else(|| refused(format!("`{what}` does not end in p50, p99, p99.9 or max")))?;
        let window = Window::ALL.into_iter().find_map(|window| {
            let rest = rest.strip_suffix(window.name())?.strip_suffix('.')?;
            Some((window, rest))
        });
        let (window, population) = window.unwrap_or((Window::Whole, rest));
        let slacks = much.strip_prefix('+').and_then(|much| much.split_once("%+"));
        let (share, slack) =
            slacks.ok_or_else(|| refused(format!("`{much}` has not both slacks")))?;
        let share = share.parse().ok().filter(|share: &f64| share.is_finite() && *share >= 0.0);
        Ok(Self {
            text: text.to_owned(),
            population: population.to_owned(),
            window,
            quantile,
            share: share.ok_or_else(|| refused(format!("`{much}` has no share")))?,
            slack: span(slack).map_err(|error| refused(error.to_string()))?,
        })
    }

    /// What was not measured has not passed.
    fn judge(&self, base: &RunResult, new: &RunResult) -> Result<(Exit, String), Trouble> {
        for (which, result) in [("base", base), ("new", new)] {
            if result.populations.iter().all(|one| one.name != self.population) {
                let names: Vec<_> = result.populations.iter().map(|one| &*one.name).collect();
                return Err(Trouble::Usage(format!(
                    "--max-regress {}: {which} has no population `{}`; it has: {}",
                    self.text,
                    self.population,
                    names.join(", ")
                )));
            }
        }
        let of = |result| self.window.of(result, &self.population);
        let (Some(base), Some(new)) = (of(base), of(new)) else {
            let line = format!("INCONCLUSIVE  {}: nothing was measured there", self.text);
            return Ok((Exit::Inconclusive, line));
        };
        let (base, new) = (self.quantile.of(base), self.quantile.of(new));
        let most = Duration::from_nanos(base).as_secs_f64() * (1.0 + self.share / 100.0)
            + self.slack.as_secs_f64();
        let got = Duration::from_nanos(new).as_secs_f64();
        let (exit, word) = if got > most { (Exit::Fail, "FAIL") } else { (Exit::Pass, "ok") };
        let line =
            format!("{word:<12}  {}: {} of at most {:.3}ms", self.text, millis(new), most * 1e3);
        Ok((exit, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(p99: u64) -> RunResult {
        let latency = serde_json::json!({
            "clock": "intended", "count": 9, "p50": p99 / 2, "p99": p99, "p999": p99, "max": p99,
        });
        serde_json::from_value(serde_json::json!({
            "schema": "harness/result/1",
            "verdict": "pass",
            "gates": [],
            "harm": {},
            "upgrade_totals": { "completed": 0 },
            "populations": [{
                "name": "churn",
                "latency": latency,
                "windows": { "baseline": null, "during": latency, "after": null },
            }],
        }))
        .unwrap()
    }

    fn judged(limit: &str, base: u64, new: u64) -> Exit {
        Limit::parse(limit).unwrap().judge(&result(base), &result(new)).unwrap().0
    }

    #[test]
    fn both_slacks_must_be_used_up() {
        for (base, new, exit) in [
            (10_000_000, 13_000_000, Exit::Pass),
            (10_000_000, 13_000_001, Exit::Fail),
            // Thrice as long, and nobody could tell.
            (200_000, 600_000, Exit::Pass),
            (200_000, 1_300_000, Exit::Fail),
            (10_000_000, 1, Exit::Pass),
        ] {
            assert_eq!(judged("churn.p99=+20%+1ms", base, new), exit, "{base} {new}");
        }
        assert_eq!(judged("churn.during.max=+0%+0s", 5, 6), Exit::Fail);
        assert_eq!(judged("churn.baseline.p50=+20%+1ms", 5, 5), Exit::Inconclusive);
    }

    #[test]
    fn a_limit_with_half_its_slack_is_refused() {
        for (text, part) in [
            ("churn.p99=+20%", "both slacks"),
            ("churn.p99=+1ms", "both slacks"),
            ("churn.p99=20%+1ms", "both slacks"),
            ("churn.p99=+x%+1ms", "no share"),
            ("churn.p99=+20%+1", "no unit"),
            ("churn.p98=+20%+1ms", "p99.9 or max"),
            ("p99", "no `=`"),
        ] {
            let message = Limit::parse(text).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("+20%+1ms"), "{text}: {message}");
        }
        let limit = Limit::parse("chrun.p99=+20%+1ms").unwrap();
        let message = limit.judge(&result(1), &result(1)).unwrap_err().to_string();
        assert!(message.contains("`chrun`") && message.contains("churn"), "{message}");
        let limit = Limit::parse("a.b.during.p99.9=+20%+1ms").unwrap();
        assert_eq!((&*limit.population, limit.window), ("a.b", Window::During));
        assert_eq!(limit.quantile, Quantile::P999);
    }

    #[test]
    fn short_times_have_no_ratio() {
        let text = |base, new| Difference { base, new }.to_string();
        assert_eq!(text(100_000, 300_000).trim(), "+0.200ms");
        assert_eq!(text(2_000_000, 1_000_000).trim(), "-1.000ms    -50 %");
        assert_eq!(rows(&result(5), &result(6)).len(), 8);
    }
}
