//! What so few, or none, of so many is worth.

use super::check::{Bounds, Seen};

const CONFIDENCE: f64 = 0.95;

/// Halvings of an interval: beyond these a double does not tell its ends apart.
const STEPS: usize = 60;

/// With 95 % confidence, no larger shares of upgrades and of connections come to
/// harm than these.
pub(super) fn bounds(upgrades: Seen, connections: Seen) -> Bounds {
    Bounds {
        confidence: CONFIDENCE,
        upgrades,
        connections,
        bad_upgrade_upper: upper(upgrades),
        bad_connection_upper: upper(connections),
    }
}

/// The largest probability at which seeing as few is still as likely as 5 %
/// (the upper limit of Clopper and Pearson). Of none of `n` it is the solution
/// of (1 − p)^n = 0.05.
fn upper(seen: Seen) -> f64 {
    let (harmed, of) = (lossy(seen.harmed), lossy(seen.of));
    if seen.harmed >= seen.of {
        return 1.0;
    }
    if seen.harmed == 0 {
        return 1.0 - (1.0 - CONFIDENCE).powf(1.0 / of);
    }
    let (mut low, mut high) = (harmed / of, 1.0);
    for _ in 0..STEPS {
        let middle = (low + high) / 2.0;
        if at_most(seen.harmed, of, middle) > 1.0 - CONFIDENCE {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The probability of `most` or fewer of `of`, each with this probability. In
/// logarithms, because the terms are smaller than a double can be.
fn at_most(most: u64, of: f64, each: f64) -> f64 {
    let odds = each.ln() - (-each).ln_1p();
    let mut term = of * (-each).ln_1p();
    let mut sum = term.exp();
    for count in 1..=most {
        let count = lossy(count);
        term += ((of - count + 1.0) / count).ln() + odds;
        sum += term.exp();
    }
    sum
}

/// More than four thousand million of anything is as good as that many.
fn lossy(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(harmed: u64, of: u64) -> f64 {
        upper(Seen { harmed, of })
    }

    #[test]
    fn the_bound_is_about_three_over_the_number() {
        assert!((of(0, 0) - 1.0).abs() < 1e-9);
        assert!((of(0, 1) - 0.95).abs() < 1e-9);
        assert!((of(0, 500) - 0.005_973_5).abs() < 1e-6);
        assert!((of(0, 671_648) - 4.46e-6).abs() < 1e-8);
    }

    // The values are those of any table of Clopper and Pearson's limits.
    #[test]
    fn what_was_seen_raises_it() {
        assert!((of(1, 10) - 0.394_2).abs() < 1e-3);
        assert!((of(3, 100) - 0.075_7).abs() < 1e-3);
        assert!((of(9, 10) - 0.994_9).abs() < 1e-3);
        assert!((of(10, 10) - 1.0).abs() < 1e-9);
        let many = of(3000, 600_000);
        assert!((0.005_1..0.005_2).contains(&many), "{many}");
    }
}
