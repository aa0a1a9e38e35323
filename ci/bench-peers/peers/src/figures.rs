//! What was measured, as it is kept: every figure of every round.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// By peer.
pub(crate) type ByPeer<T> = BTreeMap<String, T>;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) environment: Environment,
    pub(crate) rounds: usize,
    /// By measure and peer, the figure of each round.
    pub(crate) measures: BTreeMap<String, ByPeer<Vec<f64>>>,
    pub(crate) storms: Vec<Storm>,
    pub(crate) sabotages: Vec<Sabotage>,
    /// What could not be measured, and why.
    pub(crate) troubles: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Environment {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) kernel: String,
    pub(crate) processors: usize,
    pub(crate) versions: Vec<String>,
    /// Connections a second in the storms.
    pub(crate) rate: u32,
    /// What a full process holds.
    pub(crate) gib: u64,
    pub(crate) seconds: u64,
}

/// One run of the harness.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Storm {
    pub(crate) round: usize,
    pub(crate) peer: String,
    /// What was done to it; `"storm"` is nothing but upgrades.
    pub(crate) kind: String,
    pub(crate) verdict: String,
    pub(crate) upgrades: u64,
    /// Successors that were killed before they were ready.
    pub(crate) killed: u64,
    pub(crate) connections: u64,
    pub(crate) harm: BTreeMap<String, u64>,
    /// Of connections that carry one request.
    pub(crate) churn: u64,
    /// Of kept connections.
    pub(crate) kept: u64,
}

/// One upgrade that could not succeed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sabotage {
    pub(crate) round: usize,
    pub(crate) peer: String,
    pub(crate) fault: String,
    pub(crate) connections: u64,
    pub(crate) harmed: u64,
    pub(crate) told: Option<String>,
    /// Whether it was told that it had failed.
    pub(crate) told_failure: bool,
    pub(crate) told_ms: Option<f64>,
    /// The old one served when it was over.
    pub(crate) serves: bool,
    /// And could be upgraded then, with the true program in its place.
    pub(crate) upgrades: bool,
}

impl Figures {
    pub(crate) fn note(&mut self, measure: &str, peer: &str, figure: f64) {
        let of = self.measures.entry(measure.to_owned()).or_default();
        of.entry(peer.to_owned()).or_default().push(figure);
    }

    pub(crate) fn spread(&self, measure: &str, peer: &str) -> Option<Spread> {
        Spread::of(self.measures.get(measure)?.get(peer)?)
    }

    pub(crate) fn storms<'a>(
        &'a self,
        kind: &'a str,
        peer: &'a str,
    ) -> impl Iterator<Item = &'a Storm> {
        self.storms.iter().filter(move |storm| storm.kind == kind && storm.peer == peer)
    }
}

/// The least, the median and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        Some(Self { least, median: median(&sorted), most })
    }
}

/// The smallest that at least half of them do not exceed; zero, of none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().div_ceil(2).saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_least_the_median_and_the_most() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!(spread, Some(Spread { least: 1.0, median: 2.0, most: 3.0 }));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.0_f64.to_bits());
    }
}
