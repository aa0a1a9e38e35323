//! What each figure is, which way is better, and why ours may not be the best.

use crate::figures::{Figures, Spread};
use crate::peer::{OURS, PEERS, Role};

/// Figures that differ by less say nothing, however steady they are.
const MARGIN: f64 = 0.02;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) better: Better,
    /// Digits after the point.
    pub(crate) digits: usize,
    /// With whom ours is compared; with none, any graceful peer that has the figure.
    pub(crate) with: &'static [&'static str],
    /// Why ours may be worse. What has no reason must not be.
    pub(crate) excuse: Option<&'static str>,
}

const LESS: Measure =
    Measure { id: "", title: "", better: Better::Less, digits: 1, with: &[], excuse: None };

/// Those whose work is the same as ours.
const ECHO: &[&str] = &["published", "shellflip"];

/// Who tells when what is promised is not the same.
const TOLD: &str = "It answers when the outcome is certain: the old process keeps the sockets \
     through a probation of half a second, in which a successor that crashes is taken back. \
     New connections reach the new process long before. With `set_probation` it may be shorter.";

pub(crate) const MEASURES: [Measure; 15] = [
    Measure {
        id: "latency.start",
        title: "plain start → first answer, ms",
        with: ECHO,
        excuse: Some("It is the start of the program, and no upgrade."),
        ..LESS
    },
    Measure { id: "latency.answered", title: "trigger → first answer by the new, ms", ..LESS },
    Measure { id: "latency.stopped", title: "trigger → old stops accepting, ms", ..LESS },
    Measure {
        id: "latency.told",
        title: "request → told that it succeeded, ms",
        excuse: Some(TOLD),
        ..LESS
    },
    Measure { id: "storm.churn", title: "harm per upgrade, churn", digits: 2, ..LESS },
    Measure { id: "storm.kept", title: "harm per upgrade, requests on kept", digits: 2, ..LESS },
    Measure { id: "storm.idle", title: "idle connections ended per upgrade", digits: 2, ..LESS },
    Measure {
        id: "killed.harm",
        title: "harm per successor killed before it is ready",
        digits: 2,
        ..LESS
    },
    Measure {
        id: "stall.empty",
        title: "worst echo meanwhile, empty process, ms",
        with: &["published", "shellflip", "shellflip-socket"],
        ..LESS
    },
    Measure {
        id: "stall.full",
        title: "worst echo meanwhile, full process, ms",
        with: &["published", "shellflip", "shellflip-socket"],
        ..LESS
    },
    Measure {
        id: "ratio.kept",
        title: "echoes, of a plain listener's",
        better: Better::More,
        digits: 3,
        with: ECHO,
        ..LESS
    },
    Measure {
        id: "ratio.accepted",
        title: "connections, of a plain listener's",
        better: Better::More,
        digits: 3,
        with: ECHO,
        ..LESS
    },
    Measure {
        id: "cost.accepted", title: "processor time per connection, µs", with: ECHO, ..LESS
    },
    Measure { id: "stop.flight", title: "requests in flight lost by a stop", digits: 0, ..LESS },
    Measure { id: "stop.queue", title: "queued connections lost by a stop", digits: 0, ..LESS },
];

/// How ours compares with the best of the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    pub(crate) measure: Measure,
    pub(crate) ours: Spread,
    pub(crate) best: &'static str,
    pub(crate) of_best: Spread,
}

impl Comparison {
    pub(crate) fn of(measure: Measure, figures: &Figures) -> Option<Self> {
        let ours = figures.spread(measure.id, OURS)?;
        let graceful = PEERS.iter().filter(|peer| peer.role == Role::Graceful);
        let all: Vec<&'static str> = graceful.map(|peer| peer.id).collect();
        let with = if measure.with.is_empty() { &all[..] } else { measure.with };
        let others = with.iter().filter(|peer| **peer != OURS);
        let spreads = others.filter_map(|peer| Some((*peer, figures.spread(measure.id, peer)?)));
        let signed = |spread: &Spread| match measure.better {
            Better::Less => spread.median,
            Better::More => -spread.median,
        };
        let (best, of_best) = spreads.min_by(|a, b| signed(&a.1).total_cmp(&signed(&b.1)))?;
        Some(Self { measure, ours, best, of_best })
    }

    /// By the medians, whatever they are worth.
    pub(crate) fn is_worse(&self) -> bool {
        let (ours, best) = (self.ours.median, self.of_best.median);
        match self.measure.better {
            Better::Less => ours > best * (1.0 + MARGIN),
            Better::More => ours < best * (1.0 - MARGIN),
        }
    }

    /// Even our best round is worse than the worst of the best peer's. Of five rounds
    /// each that are alike, this would be said once in 252 times.
    pub(crate) fn is_worse_beyond_noise(&self) -> bool {
        let apart = match self.measure.better {
            Better::Less => self.ours.least > self.of_best.most,
            Better::More => self.ours.most < self.of_best.least,
        };
        self.is_worse() && apart
    }
}

pub(crate) fn measure(id: &str) -> Option<Measure> {
    MEASURES.into_iter().find(|measure| measure.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(ours: &[f64], theirs: &[f64]) -> Comparison {
        let mut figures = Figures::default();
        for (peer, of) in [(OURS, ours), ("published", theirs), ("haproxy", &[90.0])] {
            of.iter().for_each(|figure| figures.note("latency.stopped", peer, *figure));
        }
        let compared = measure("latency.stopped").and_then(|of| Comparison::of(of, &figures));
        compared.unwrap()
    }

    #[test]
    fn ours_is_compared_with_the_best() {
        assert_eq!(compared(&[5.0], &[4.0]).best, "published");
        assert_eq!(compared(&[5.0], &[100.0]).best, "haproxy");
    }

    #[test]
    fn only_rounds_that_do_not_overlap_are_beyond_noise() {
        assert!(compared(&[5.0, 6.0, 7.0], &[3.0, 4.0, 4.5]).is_worse_beyond_noise());
        let overlapping = compared(&[5.0, 6.0, 7.0], &[3.0, 4.0, 5.5]);
        assert!(overlapping.is_worse() && !overlapping.is_worse_beyond_noise());
        assert!(!compared(&[4.05, 4.05], &[4.0, 4.0]).is_worse());
        assert!(!compared(&[3.0, 3.1], &[4.0, 5.0]).is_worse());
    }
}
