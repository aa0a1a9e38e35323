//! What so few, or none, of so many is worth.

use super::check::{Bounds, Seen};
use crate::binomial;

const CONFIDENCE: f64 = 0.95;

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

/// The upper limit of Clopper and Pearson, which is on one side only.
fn upper(seen: Seen) -> f64 {
    binomial::upper(seen.harmed, seen.of, 1.0 - CONFIDENCE)
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
