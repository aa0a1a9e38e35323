//! What "none was seen" is worth.

use super::check::Bounds;

const CONFIDENCE: f64 = 0.95;

/// If none of `upgrades` and none of `connections` came to harm, these shares
/// are not exceeded, with 95 % confidence.
pub(super) fn bounds(upgrades: usize, connections: usize) -> Bounds {
    Bounds {
        confidence: CONFIDENCE,
        bad_upgrade_upper: none_of(upgrades),
        bad_connection_upper: none_of(connections),
    }
}

/// The largest probability at which seeing none of `count` is still as likely
/// as 5 %: (1 − p)^count = 0.05.
fn none_of(count: usize) -> f64 {
    let Ok(count) = u32::try_from(count) else { return none_of_many(count) };
    if count == 0 { 1.0 } else { 1.0 - (1.0 - CONFIDENCE).powf(1.0 / f64::from(count)) }
}

/// For more than four thousand million of anything, four thousand million will do.
fn none_of_many(_count: usize) -> f64 {
    1.0 - (1.0 - CONFIDENCE).powf(1.0 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_about_three_over_the_number() {
        assert!((none_of(0) - 1.0).abs() < 1e-9);
        assert!((none_of(1) - 0.95).abs() < 1e-9);
        assert!((none_of(500) - 0.005_973_5).abs() < 1e-6);
        assert!((none_of(671_648) - 4.46e-6).abs() < 1e-8);
    }
}
