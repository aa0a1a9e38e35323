//! How often a plan fails, as far as a few runs tell.

use std::fmt;

use crate::binomial;

const CONFIDENCE: f64 = 0.95;

/// So many runs of so many failed. Runs that proved nothing are in neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odds {
    /// Failed.
    pub failed: u32,
    /// Proved something.
    pub of: u32,
}

impl Odds {
    /// The share that failed.
    #[must_use]
    pub fn share(self) -> f64 {
        if self.of == 0 { 0.0 } else { f64::from(self.failed) / f64::from(self.of) }
    }

    /// Between which probabilities the true one lies, with 95 % confidence: exactly,
    /// after Clopper and Pearson.
    #[must_use]
    pub fn interval(self) -> (f64, f64) {
        let (failed, of, risk) = (self.failed.into(), self.of.into(), (1.0 - CONFIDENCE) / 2.0);
        (binomial::lower(failed, of, risk), binomial::upper(failed, of, risk))
    }

    /// How often a smaller plan must fail in `runs` runs to be taken for the same:
    /// half as often as this one, and once at the least.
    #[must_use]
    pub fn threshold(self, runs: u32) -> u32 {
        // In whole numbers, rounded up, so that no rounding of a share matters.
        let wanted = u64::from(self.failed) * u64::from(runs);
        let needed = wanted.div_ceil(2 * u64::from(self.of.max(1)));
        u32::try_from(needed).unwrap_or(runs).max(1)
    }
}

impl fmt::Display for Odds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.interval();
        write!(
            f,
            "{}/{} = {:.0} % (95 % Clopper-Pearson: {:.0} % to {:.0} %)",
            self.failed,
            self.of,
            100.0 * self.share(),
            100.0 * low,
            100.0 * high
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_said_with_what_they_are_worth() {
        let said = |failed, of| Odds { failed, of }.to_string();
        assert_eq!(said(3, 5), "3/5 = 60 % (95 % Clopper-Pearson: 15 % to 95 %)");
        assert_eq!(said(0, 20), "0/20 = 0 % (95 % Clopper-Pearson: 0 % to 17 %)");
        assert_eq!(said(0, 0), "0/0 = 0 % (95 % Clopper-Pearson: 0 % to 100 %)");
    }

    #[test]
    fn half_as_often_is_often_enough_and_never_is_not() {
        for (failed, of, runs, threshold) in
            [(5, 5, 5, 3), (4, 5, 5, 2), (1, 5, 5, 1), (0, 5, 5, 1), (3, 4, 8, 3), (2, 2, 1, 1)]
        {
            assert_eq!(Odds { failed, of }.threshold(runs), threshold, "{failed}/{of} x {runs}");
        }
    }
}
