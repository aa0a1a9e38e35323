//! When a population wants its operations, and how large they are.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::scenario::plan::{Arrivals, Load, LoadKind};

/// One operation that a schedule wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Since the load began.
    pub(super) offset: Duration,
    /// Bytes of payload.
    pub(super) payload: usize,
    /// Whether the client finishes sending before it has the whole reply.
    pub(super) half_close: bool,
}

/// The endless schedule of one population, in order of time.
#[derive(Debug)]
pub(super) struct Schedule {
    rng: StdRng,
    arrivals: Arrivals,
    rate: f64,
    payload: (usize, usize),
    half_close: f64,
    index: u64,
    offset: Duration,
}

impl Schedule {
    /// What `load` wants in a run with this seed.
    pub(super) fn new(seed: u64, load: &Load) -> Self {
        Self {
            rng: rng(seed, &load.name, "schedule"),
            arrivals: load.arrivals,
            rate: load.rate,
            payload: load.payload,
            half_close: match load.kind {
                LoadKind::Stream { half_close, .. } => half_close,
                LoadKind::Churn | LoadKind::KeepAlive { .. } | LoadKind::Idle { .. } => 0.0,
            },
            index: 0,
            offset: Duration::ZERO,
        }
    }
}

impl Iterator for Schedule {
    type Item = Wanted;

    fn next(&mut self) -> Option<Wanted> {
        self.offset = match self.arrivals {
            // A multiple of the index and not a sum, so that no rounding adds up.
            Arrivals::Uniform => seconds(self.index as f64 / self.rate),
            Arrivals::Poisson => {
                let chance: f64 = self.rng.random();
                self.offset.saturating_add(seconds(-(1.0 - chance).ln() / self.rate))
            }
        };
        self.index += 1;
        let (least, most) = self.payload;
        let payload = self.rng.random_range(least..=most.max(least));
        // Drawn only where it is used, so that other schedules stay as they were.
        let half_close = self.half_close > 0.0 && self.rng.random_bool(self.half_close);
        Some(Wanted { offset: self.offset, payload, half_close })
    }
}

/// The source of chance of one use by one population. It depends on the
/// population's name and not on its place in the plan, so that another
/// population can be added without shifting what this one does.
pub(super) fn rng(seed: u64, population: &str, purpose: &str) -> StdRng {
    let mut bytes = [0; 32];
    let words = [seed, fnv(population), fnv(purpose)];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    StdRng::from_seed(bytes)
}

/// FNV-1a: a hash that stays the same over versions of the standard library.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A rate of zero wants its next operation never.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::plan::{Endpoint, Pace, Speak};

    fn load(name: &str, rate: f64, arrivals: Arrivals) -> Load {
        Load {
            name: name.to_owned(),
            kind: LoadKind::Churn,
            to: Endpoint::Tcp,
            speak: Speak::Echo,
            rate,
            arrivals,
            payload: (1, 4096),
            timeout: Duration::from_secs(1),
            stall: Duration::from_secs(1),
        }
    }

    fn arrivals() -> impl Strategy<Value = Arrivals> {
        prop_oneof![Just(Arrivals::Uniform), Just(Arrivals::Poisson)]
    }

    proptest! {
        #[test]
        fn time_never_runs_backwards(seed: u64, arrivals in arrivals(), rate in 0.5..9000.0) {
            let wanted: Vec<_> = Schedule::new(seed, &load("a", rate, arrivals)).take(500).collect();
            prop_assert!(wanted.is_sorted_by_key(|wanted| wanted.offset));
            prop_assert!(wanted.iter().all(|wanted| (1..=4096).contains(&wanted.payload)));
        }

        // The spread of a Poisson count is its root: 10 % are six of them here.
        #[test]
        fn ten_seconds_hold_what_the_rate_says(
            seed: u64, arrivals in arrivals(), rate in 400.0..4000.0,
        ) {
            let count = Schedule::new(seed, &load("a", rate, arrivals))
                .take_while(|wanted| wanted.offset < Duration::from_secs(10))
                .count();
            let share = count as f64 / (rate * 10.0);
            prop_assert!((0.9..1.1).contains(&share), "{share}");
        }

        #[test]
        fn the_seed_decides_everything(seed: u64, arrivals in arrivals()) {
            let draw = |seed| -> Vec<_> {
                Schedule::new(seed, &load("a", 100.0, arrivals)).take(50).collect()
            };
            prop_assert_eq!(draw(seed), draw(seed));
            prop_assert_ne!(draw(seed), draw(seed.wrapping_add(1)));
        }

        #[test]
        fn populations_do_not_share_their_chance(seed: u64) {
            let draw = |name: &str| -> Vec<_> {
                Schedule::new(seed, &load(name, 100.0, Arrivals::Poisson)).take(50).collect()
            };
            let alone = draw("a");
            let mut other = Schedule::new(seed, &load("b", 100.0, Arrivals::Poisson));
            let mut beside = Schedule::new(seed, &load("a", 100.0, Arrivals::Poisson));
            let interleaved: Vec<_> =
                (0..50).filter_map(|_| { other.next(); beside.next() }).collect();
            prop_assert_eq!(&alone, &interleaved);
            prop_assert_ne!(alone, draw("b"));
        }
    }

    #[test]
    fn the_share_that_half_closes_is_the_one_asked_for() {
        let share = |half_close| {
            let kind = LoadKind::Stream { pace: Pace::default(), half_close };
            let load = Load { kind, ..load("a", 10.0, Arrivals::Uniform) };
            let drawn = Schedule::new(7, &load).take(10_000);
            drawn.filter(|wanted| wanted.half_close).count()
        };
        assert_eq!((share(0.0), share(1.0)), (0, 10_000));
        assert!((2300..2700).contains(&share(0.25)), "{}", share(0.25));
    }

    #[test]
    fn a_rate_of_zero_wants_nothing_soon() {
        let mut schedule = Schedule::new(1, &load("a", 0.0, Arrivals::Poisson));
        assert_eq!(schedule.next().unwrap().offset, Duration::MAX);
    }
}
